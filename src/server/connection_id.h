/*
 * The id of a connection in the lock table. It holds a number, which counts from 1 and is never
 * reused, and the place of the connection: its worker and its slot there. An effect for a closed
 * connection finds another number in the slot, or none. An HTTP session has such an id, too; the
 * front end counts as a worker there.
 */
#ifndef SERVER_CONNECTION_ID_H
#define SERVER_CONNECTION_ID_H

#include <stdint.h>

enum {
    CONNECTION_ID_SLOT_BITS = 20,
    CONNECTION_ID_WORKER_BITS = 6,
    CONNECTION_ID_SLOTS = 1 << CONNECTION_ID_SLOT_BITS, /* the most connections of a worker */
    ENTRANTS_MAX = 1 << CONNECTION_ID_WORKER_BITS,      /* workers and the HTTP front end */
    WORKERS_MAX = ENTRANTS_MAX - 1
};

static inline uint64_t connection_id_make(uint64_t number, uint32_t worker, uint32_t slot)
{
    return number << (CONNECTION_ID_SLOT_BITS + CONNECTION_ID_WORKER_BITS) |
           (uint64_t)worker << CONNECTION_ID_SLOT_BITS | slot;
}

static inline uint64_t connection_id_number(uint64_t connection_id)
{
    return connection_id >> (CONNECTION_ID_SLOT_BITS + CONNECTION_ID_WORKER_BITS);
}

static inline uint32_t connection_id_worker(uint64_t connection_id)
{
    return connection_id >> CONNECTION_ID_SLOT_BITS & (ENTRANTS_MAX - 1);
}

static inline uint32_t connection_id_slot(uint64_t connection_id)
{
    return connection_id & (CONNECTION_ID_SLOTS - 1);
}

#endif
