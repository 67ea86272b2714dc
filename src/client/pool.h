/*
 * Idle connections to one server, for the next requests for grants. They hold nothing and no
 * request is pending. The renewer's mutex guards it.
 */
#ifndef CLIENT_POOL_H
#define CLIENT_POOL_H

#include <stdint.h>

#include "dflockd/client.h"

enum {
    POOL_MAX = 4
};

struct pool {
    struct dflockd_connection *connections[POOL_MAX];
    uint32_t count;
};

/* Returns the connection that was used last, or NULL. Closes those that the server has closed. */
struct dflockd_connection *pool_take(struct pool *pool);

/* Closes the connection if the pool is full. Does nothing if it is NULL. */
void pool_give(struct pool *pool, struct dflockd_connection *connection);

void pool_close(struct pool *pool);

#endif
