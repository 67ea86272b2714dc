/*
 * One connection, from the look-up of its host to its last reply. Its bytes take this way:
 *
 *     send -> requests -> (TLS) -> encrypted -> socket -> (TLS) -> input -> receive
 *
 * Without TLS the bytes of `requests` go to the socket. Only connection_await and
 * dflockd_connection_ask wait.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include "client/servers.h"
#include "dflockd/client.h"

/* As dflockd_connection_open. A failure writes its reason to `problem`: DFLOCKD_PROBLEM_MAX bytes,
 * or NULL. */
enum dflockd_status connection_open(struct dflockd_connection **connection,
                                    const struct servers *servers, size_t server, char *problem);

/*
 * Waits for a reply until `deadline_ns` of clock_monotonic_ns. Returns as
 * dflockd_connection_receive, AGAIN at the deadline, or CANCELLED as soon as `cancel_fd` (-1: none)
 * is readable.
 */
enum dflockd_status connection_await(struct dflockd_connection *connection,
                                     struct dflockd_reply *reply, uint64_t deadline_ns,
                                     int cancel_fd);

/* Returns the deadline for connection_await that is `milliseconds` from now; UINT64_MAX instead of
 * an overflow. */
uint64_t connection_deadline(uint64_t milliseconds);

#endif
