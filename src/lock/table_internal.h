/*
 * The records of the lock table, for the table and the walker that checks it.
 *
 *   resource --- queue ---> waiting claims, first come first served
 *       ^                        |
 *       +---- claim.resource ----+---- claim.client ----> client --- claims (waiting first)
 *                                                               --- enqueued states
 */
#ifndef LOCK_TABLE_INTERNAL_H
#define LOCK_TABLE_INTERNAL_H

#include "lock/table.h"

/*
 * Invariants: waiters > 0 only while holders == limit; it is idle when neither is there, and lies
 * in table->idle when also no enqueued state refers to it.
 */
struct resource {
    struct map_link link; /* in table->resources */
    union {
        struct {
            struct list queue;   /* waiting claims */
            struct claim *owner; /* granted last; meaningful while holders > 0 */
        };
        struct {
            struct list_link idle_link;
            uint64_t idle_since_ns;
        };
    };
    uint32_t limit;
    uint32_t holders;
    uint32_t waiters;
    uint32_t enqueued;   /* two-phase states that refer to it */
    uint16_t key_length; /* 1 to DFLOCKD_KEY_MAX */
    uint8_t kind;        /* enum lock_kind */
    uint8_t key[];
};

enum claim_state {
    CLAIM_WAITING,
    CLAIM_HOLDING
};

struct claim {
    union {
        struct list_link queue_link; /* waiting: in resource->queue */
        struct map_link token_link;  /* holding: in table->tokens, its hash is the fence */
    };
    uint64_t salt; /* holding: of the token */
    struct list_link client_link;
    struct resource *resource;
    struct client *client;
    uint64_t lease_s;
    struct heap_node deadline; /* of the lease, or of the wait where one was given */
    uint8_t state;             /* enum claim_state */
    bool two_phase;            /* has an enqueued state */
    bool untold;               /* was granted while nobody waited for the answer */
};

/* Exists while it has a claim or an enqueued state. */
struct client {
    struct map_link link; /* in table->clients, its hash is the client */
    struct list claims;   /* waiting ones, then holding ones */
    struct list enqueued;
    struct claim *blocked; /* what its pending request waits for; see table_disconnect */
    bool watched;          /* to be told when the last claim has gone */
};

/*
 * What `e` leaves for `w`: a claim, or the memory of one that was lost. One at most for a client
 * and a resource, which stays as long as it is referred to.
 */
struct enqueued {
    struct map_link link; /* in table->enqueued */
    struct list_link client_link;
    struct client *client;
    struct resource *resource;
    struct claim *claim; /* NULL: its lease is over */
};

static inline uint64_t enqueued_hash(const struct client *client, const struct resource *resource)
{
    return resource->link.hash ^ client->link.hash * 0x9e3779b97f4a7c15;
}

static inline bool resource_idle(const struct resource *resource)
{
    return resource->holders == 0 && resource->waiters == 0;
}

#endif
