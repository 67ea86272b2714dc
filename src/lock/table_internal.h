/*
 * The records of the lock table, for the table and the walker that checks it.
 *
 *   resource --- queue ---> waiting claims, first come first served
 *       ^                        |
 *       +---- claim.resource ----+---- claim.client ----> client --- claims
 *
 * Waiters are what there may be most of, so claims and clients are kept small: a claim is a cache
 * line, and what only `e` and `w` need lies behind it.
 */
#ifndef LOCK_TABLE_INTERNAL_H
#define LOCK_TABLE_INTERNAL_H

#include "lock/table.h"

#include <assert.h>

#include "base/chain.h"

/*
 * Invariants: waiters > 0 only while holders == limit; it is idle when neither is there, and lies
 * in table->idle when also no lost claim refers to it.
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
    uint32_t lost;       /* claims on it that are CLAIM_LOST */
    uint16_t key_length; /* 1 to DFLOCKD_KEY_MAX */
    uint8_t kind;        /* enum lock_kind */
    uint8_t key[];
};

enum claim_state {
    CLAIM_WAITING,
    CLAIM_HOLDING,
    CLAIM_LOST /* only the memory, for a `w` to come, of a lease that is over */
};

struct claim {
    union {
        struct list_link queue_link; /* waiting: in resource->queue */
        struct map_link token_link;  /* holding: in table->tokens, its hash is the fence */
    };
    union {
        uint64_t lease_s; /* waiting: of the grant to come */
        uint64_t salt;    /* holding: of the token */
    };
    struct list_link client_link; /* in client->claims */
    struct resource *resource;
    struct client *client;
    struct heap_node deadline; /* of the lease, or of the wait where one was given */
    uint8_t state;             /* enum claim_state */
    bool two_phase : 1;        /* lies in a struct two_phase */
    bool enqueued : 1;         /* `w` may ask for it */
    bool blocked : 1;          /* the client's last request waits for it, or did */
    bool untold : 1;           /* was granted while nobody waited for the answer */
};

static_assert(sizeof(struct claim) == 64, "a claim is a cache line");

/*
 * What `e` leaves for `w`, in table->enqueued until `w` has asked: one at most for a client and a
 * resource.
 */
struct two_phase {
    struct claim claim;
    struct map_link link; /* in table->enqueued */
    uint64_t lease_s;
};

/*
 * Exists while it has a claim. They are in this order: one that is blocked, those that wait or are
 * enqueued, those that it merely holds. A blocked one that was granted stays first until the
 * client's next request shows that it was told; see table_disconnect.
 */
struct client {
    struct map_link link; /* in table->clients, its hash is the client */
    struct chain claims;
    uint32_t active; /* claims that wait or hold */
    bool watched;    /* to be told when none does any more */
};

static inline struct two_phase *two_phase_of(const struct claim *claim)
{
    return CONTAINER_OF(claim, struct two_phase, claim);
}

static inline uint64_t enqueued_hash(const struct client *client, const struct resource *resource)
{
    return resource->link.hash ^ client->link.hash * 0x9e3779b97f4a7c15;
}

static inline bool resource_idle(const struct resource *resource)
{
    return resource->holders == 0 && resource->waiters == 0;
}

#endif
