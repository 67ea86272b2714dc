#include "client/server_connections.h"

bool server_connections_open(struct server_connections *connections, struct watcher *watcher,
                             const struct servers *servers, size_t server)
{
    const struct watch_wish nothing = {.descriptor = -1, .due_ns = UINT64_MAX};

    if (!watcher_reserve(watcher))
        return false;
    shared_init(&connections->shared, servers, server);
    connections->watch.is_shared = true;
    return watcher_add(watcher, &connections->watch, &nothing);
}

void server_connections_close(struct server_connections *connections, struct watcher *watcher)
{
    watcher_remove(watcher, &connections->watch, shared_descriptor(&connections->shared));
    shared_close(&connections->shared);
    pool_close(&connections->pool);
}

void server_connections_watch(struct server_connections *connections, struct watcher *watcher)
{
    const struct watch_wish wish = {
        .descriptor = shared_descriptor(&connections->shared),
        .events = shared_events(&connections->shared),
        .connection_number = connections->shared.connection_number,
        .due_ns = shared_due_ns(&connections->shared),
    };

    watcher_update(watcher, &connections->watch, &wish);
}

bool server_connections_place(struct server_connections *connections, struct claim *claim)
{
    if (connections->apart < SHARED_APART_MAX) {
        connections->apart++;
        return true;
    }
    shared_add(&connections->shared, claim);
    return false;
}
