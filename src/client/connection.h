/*
 * One connection, from the look-up of its host to its last answer. Bytes pass through it like this:
 *
 *     send -> requests -> (TLS) -> sealed -> socket -> (TLS) -> input -> receive
 *
 * Without TLS `requests` go to the socket as they are. Nothing here waits but connection_await.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include "client/servers.h"
#include "dflockd/client.h"

/* As dflockd_connection_open; `problem` is NULL or DFLOCKD_PROBLEM_MAX bytes for the reason. */
enum dflockd_status connection_open(struct dflockd_connection **connection,
                                    const struct servers *servers, size_t server, char *problem);

/*
 * Receives, and waits for that until `deadline_ns` of clock_monotonic_ns. As
 * dflockd_connection_receive, AGAIN when the time is over, and CANCELLED as soon as something can
 * be read from `bell` (-1: none).
 */
enum dflockd_status connection_await(struct dflockd_connection *connection,
                                     struct dflockd_reply *reply, uint64_t deadline_ns, int bell);

/* `milliseconds` from now, for connection_await; those of the protocol fit. */
uint64_t connection_deadline(uint64_t milliseconds);

#endif
