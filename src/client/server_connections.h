/*
 * The connections of a client to one server that belong to no claim: the shared one, and idle ones.
 * The renewer's mutex guards them.
 */
#ifndef CLIENT_SERVER_CONNECTIONS_H
#define CLIENT_SERVER_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/pool.h"
#include "client/servers.h"
#include "client/shared.h"
#include "client/watcher.h"

struct server_connections {
    struct shared shared;
    struct pool pool;
    struct watch watch; /* of the shared connection */
    uint32_t apart;     /* kept claims that do not have to move */
    bool serving;       /* the renewer serves the shared connection */
};

/* Opens no connection yet. Returns false if out of memory. */
bool server_connections_open(struct server_connections *connections, struct watcher *watcher,
                             const struct servers *servers, size_t server);
void server_connections_close(struct server_connections *connections, struct watcher *watcher);

/* Updates the watch of the shared connection. */
void server_connections_watch(struct server_connections *connections, struct watcher *watcher);

/* A claim is kept. Returns true if it counts in `apart`; false if it must move. */
bool server_connections_place(struct server_connections *connections, struct claim *claim);

#endif
