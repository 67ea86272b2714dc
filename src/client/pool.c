#include "client/pool.h"

struct dflockd_connection *pool_take(struct pool *pool)
{
    while (pool->count > 0) {
        struct dflockd_connection *connection = pool->connections[--pool->count];
        struct dflockd_reply reply;

        if (dflockd_connection_receive(connection, &reply) == DFLOCKD_STATUS_AGAIN)
            return connection;
        dflockd_connection_close(connection);
    }
    return NULL;
}

void pool_give(struct pool *pool, struct dflockd_connection *connection)
{
    if (pool->count == POOL_MAX)
        dflockd_connection_close(connection);
    else if (connection)
        pool->connections[pool->count++] = connection;
}

void pool_close(struct pool *pool)
{
    while (pool->count > 0)
        dflockd_connection_close(pool->connections[--pool->count]);
}
