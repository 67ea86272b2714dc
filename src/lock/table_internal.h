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
 * Invariants: waiters > 0 only while holders == limit; a resource without holders and waiters is
 * idle and lies in table->idle; the number of lost claims has no influence on that.
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
    struct chain lost; /* claims that are CLAIM_LOST, the oldest first */
    uint32_t limit : 21;
    uint32_t kind : 1;       /* enum lock_kind */
    uint32_t key_length : 9; /* 1 to DFLOCKD_KEY_MAX */
    uint32_t holders : 21;
    uint32_t idle_notes : TABLE_WALKS_MAX; /* a bit for each walk, see table_walk */
    uint32_t waiters;
    uint8_t key[];
};

static_assert(offsetof(struct resource, key) == 60, "bit fields fill their words");
static_assert(DFLOCKD_LIMIT_MAX < 1 << 21 && DFLOCKD_KEY_MAX < 1 << 9,
              "bit fields are wide enough");

/*
 * The life of a claim. Two questions decide its state beside "does it wait, or hold?":
 * - Is it enqueued, which means that `w` may ask for it?
 * - Is it blocked, which means that a request of its client waits for the reply, or that the reply
 *   is an effect which the client may not have received yet? The client's next request that takes
 *   a claim shows that it has.
 *
 *   state           event                     next             action
 *   (none)          `l`, a slot is free       HELD             reply: the grant
 *   (none)          `l`, no slot is free      BLOCKED
 *   (none)          `e`, a slot is free       HELD_ENQUEUED    reply: the grant
 *   (none)          `e`, no slot is free      QUEUED           reply: queued
 *   BLOCKED         a slot becomes free       HELD_BLOCKED     effect: the grant
 *   BLOCKED         time-out                  (none)           effect: timeout
 *   QUEUED          a slot becomes free       HELD_UNTOLD
 *   QUEUED          `w`                       QUEUED_BLOCKED
 *   QUEUED_BLOCKED  a slot becomes free       HELD_BLOCKED     effect: the grant
 *   QUEUED_BLOCKED  time-out                  (none)           effect: timeout
 *   HELD_BLOCKED    the client's next request HELD
 *   HELD_ENQUEUED   `w`                       HELD             reply: the grant, a new lease
 *   HELD_UNTOLD     `w`                       HELD             reply: the grant, a new lease
 *   HELD_ENQUEUED,  end of the lease          LOST             the slot goes to the next waiter
 *   HELD_UNTOLD
 *   HELD,           end of the lease          (none)           the slot goes to the next waiter
 *   HELD_BLOCKED
 *   any HELD        release                   (none)           the slot goes to the next waiter
 *   any HELD        `own` of another client   HELD             belongs to that client
 *   LOST            `w`                       (none)           reply: error_lease_expired
 *   LOST            `e`                       (none)           a new claim takes its place
 *   LOST            the key is collected      (none)
 *
 * A client that disconnects loses its waiting and lost claims. It loses each held claim whose grant
 * it has not received; with the policy's release_on_disconnect it loses all. Other claims stay HELD
 * until their leases end.
 */
enum claim_state {
    CLAIM_BLOCKED,
    CLAIM_QUEUED,
    CLAIM_QUEUED_BLOCKED,
    CLAIM_HELD,
    CLAIM_HELD_BLOCKED,
    CLAIM_HELD_ENQUEUED,
    CLAIM_HELD_UNTOLD,
    CLAIM_LOST
};

/* Sets of states. */
enum {
    CLAIMS_WAITING = 1 << CLAIM_BLOCKED | 1 << CLAIM_QUEUED | 1 << CLAIM_QUEUED_BLOCKED,
    CLAIMS_HOLDING = 1 << CLAIM_HELD | 1 << CLAIM_HELD_BLOCKED | 1 << CLAIM_HELD_ENQUEUED |
                     1 << CLAIM_HELD_UNTOLD,
    CLAIMS_BLOCKED = 1 << CLAIM_BLOCKED | 1 << CLAIM_QUEUED_BLOCKED | 1 << CLAIM_HELD_BLOCKED,
    CLAIMS_ENQUEUED = 1 << CLAIM_QUEUED | 1 << CLAIM_QUEUED_BLOCKED | 1 << CLAIM_HELD_ENQUEUED |
                      1 << CLAIM_HELD_UNTOLD | 1 << CLAIM_LOST
};

struct claim {
    union {
        struct list_link queue_link; /* waiting: in resource->queue; lost: in resource->lost */
        struct map_link token_link;  /* holding: in table->tokens, its hash is the mixed fence */
    };
    union {
        uint64_t lease_s; /* waiting: of the grant to come */
        uint64_t salt;    /* holding: of the token */
    };
    struct list_link client_link; /* in client->claims */
    struct resource *resource;
    struct client *client;
    struct heap_node deadline; /* of the lease, or of the wait of one that is blocked */
    uint8_t state;             /* enum claim_state */
    bool two_phase;            /* made by `e`: lies in a struct two_phase */
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
 * enqueued, those that are HELD. A granted blocked claim stays first until the client's next
 * request proves that it received the reply; see table_disconnect.
 */
struct client {
    struct map_link link; /* in table->clients, its hash is the mixed id */
    struct chain claims;
    uint32_t active; /* claims that wait or hold */
    bool watched;    /* to be told when none does any more */
};

static inline bool claim_is(const struct claim *claim, unsigned states)
{
    return 1u << claim->state & states;
}

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
