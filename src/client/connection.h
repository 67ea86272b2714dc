/*
 * One connection, from the look-up of its host to its last reply. Its bytes take this way:
 *
 *     send -> requests -> (TLS) -> encrypted -> socket -> (TLS) -> input -> receive
 *
 * Without TLS the bytes of `requests` go to the socket. Only
 * dflockd_connection_ask waits.
 */
#ifndef CLIENT_CONNECTION_H
#define CLIENT_CONNECTION_H

#include "client/servers.h"
#include "dflockd/client.h"

/*
 * As dflockd_connection_open. `probe`: the first reply comes after the one to extensions_probe,
 * also without a name. A failure writes its reason to `problem`: DFLOCKD_PROBLEM_MAX bytes, or
 * NULL.
 */
enum dflockd_status connection_open(struct dflockd_connection **connection,
                                    const struct servers *servers, size_t server, bool probe,
                                    char *problem);

#endif
