/*
 * How the lock table names a connection: its number, which counts from 1 and is used once, and
 * where it is, so that an effect finds its way. An effect for a connection that is gone meets
 * another number at that place, and nobody.
 */
#ifndef SERVER_CLIENT_ID_H
#define SERVER_CLIENT_ID_H

#include <stdint.h>

enum {
    CLIENT_SLOT_BITS = 20,
    CLIENT_WORKER_BITS = 6,
    CLIENT_SLOTS_MAX = 1 << CLIENT_SLOT_BITS, /* connections of one worker */
    WORKERS_MAX = 1 << CLIENT_WORKER_BITS
};

static inline uint64_t client_id(uint64_t number, uint32_t worker, uint32_t slot)
{
    return number << (CLIENT_SLOT_BITS + CLIENT_WORKER_BITS) |
           (uint64_t)worker << CLIENT_SLOT_BITS | slot;
}

static inline uint64_t client_number(uint64_t client)
{
    return client >> (CLIENT_SLOT_BITS + CLIENT_WORKER_BITS);
}

static inline uint32_t client_worker(uint64_t client)
{
    return client >> CLIENT_SLOT_BITS & (WORKERS_MAX - 1);
}

static inline uint32_t client_slot(uint64_t client)
{
    return client & (CLIENT_SLOTS_MAX - 1);
}

#endif
