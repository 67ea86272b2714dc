/*
 * One connection, from the look-up of its host to its last reply. Bytes pass through it like this:
 *
 *     send -> requests -> (TLS) -> encrypted -> socket -> (TLS) -> input -> receive
 *
 * Without TLS `requests` go to the socket as they are. Only connection_await and
 * dflockd_connection_ask wait.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include "client/servers.h"
#include "dflockd/client.h"

/* As dflockd_connection_open; `problem` is NULL or DFLOCKD_PROBLEM_MAX bytes for the reason. */
enum dflockd_status connection_open(struct dflockd_connection **connection,
                                    const struct servers *servers, size_t server, char *problem);

/*
 * Waits for a reply until `deadline_ns` of clock_monotonic_ns. Returns as
 * dflockd_connection_receive, AGAIN at the deadline, and CANCELLED as soon as `cancel_fd` is
 * readable (-1: none).
 */
enum dflockd_status connection_await(struct dflockd_connection *connection,
                                     struct dflockd_reply *reply, uint64_t deadline_ns,
                                     int cancel_fd);

/* `milliseconds` from now, as a deadline of connection_await. Never overflows. */
uint64_t connection_deadline(uint64_t milliseconds);

#endif
