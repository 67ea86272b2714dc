/*
 * The records of the lock table, and what can be read from one record alone.
 *
 *   resource --- queue ---> waiting claims, in request order
 *       ^                        |
 *       +---- claim.resource ----+---- claim.client ----> client --- claims
 *
 * Each record is found by a map and freed as soon as nothing needs it: a client with its last
 * claim, a lost claim with the `w` that asks for it or with its resource, a resource when it has
 * been idle for long enough. Waiters can be the most numerous records, so claims and clients are
 * small: a claim is a cache line, and the part that only `e` and `w` need lies behind it.
 *
 * A waiter becomes a holder in place, so a grant asks for no memory and cannot fail. Room for its
 * deadline is reserved, and a fence promised, when the claim joins the queue.
 *
 * Calls go one way: table -> resource -> claim -> client. `_remove` ends a record for a request,
 * `_expire` because its time is over.
 */
#ifndef LOCK_RECORDS_H
#define LOCK_RECORDS_H

#include "lock/table.h"

#include <assert.h>

#include "base/chain.h"

/*
 * A claim takes a number of slots: an exclusive lock takes all slots of its key, all other claims
 * take one.
 *
 * Invariants: there are waiters only while the slots of the first one are not free, or it is due
 * for a grant, or the table is paused or resumes. A resource without holders and waiters is idle
 * and is in table->idle, with or without lost claims.
 */
struct resource {
    struct map_link link; /* in table->resources */
    union {
        struct {
            struct list queue; /* waiting claims */
            /* The holder granted last, or NULL; valid while not idle. If it is not exclusive, it
             * leads to the other holders, see resource_holders. */
            struct claim *owner;
        };
        struct {
            struct list_link idle_link;
            uint64_t idle_since_ns;
        };
    };
    struct chain lost;                     /* claims in CLAIM_LOST, the oldest first */
    uint32_t limit : 21;                   /* slots */
    uint32_t kind : 1;                     /* enum lock_kind */
    uint32_t key_length : 9;               /* 1 to DFLOCKD_KEY_MAX */
    uint32_t taken : 21;                   /* slots */
    uint32_t idle_notes : TABLE_WALKS_MAX; /* one bit per walk, see table_walk */
    uint32_t waiters;
    uint8_t key[];
};

static_assert(offsetof(struct resource, key) == 60, "bit fields fill their words");
static_assert(DFLOCKD_LIMIT_MAX < 1 << 21 && DFLOCKD_KEY_MAX < 1 << 9,
              "bit fields are wide enough");

/*
 * The states of a claim. Beside waiting or holding, two properties make a state:
 * - Enqueued: `w` may ask for the claim.
 * - Blocked: a request of the client waits for its reply, or the reply is an effect that the client
 *   may not have received yet. The client's next request that takes a claim proves that it has.
 *
 *   state           event                     next             action
 *   (none)          `l`, a slot is free       HELD             reply: the grant
 *   (none)          `l`, no slot is free      BLOCKED
 *   (none)          `e`, a slot is free       HELD_ENQUEUED    reply: the grant
 *   (none)          `e`, no slot is free      QUEUED           reply: queued
 *   BLOCKED         a slot becomes free       HELD_BLOCKED     effect: the grant
 *   BLOCKED         timeout                   (none)           effect: timeout
 *   QUEUED          a slot becomes free       HELD_UNSEEN
 *   QUEUED          `w`                       QUEUED_BLOCKED
 *   QUEUED_BLOCKED  a slot becomes free       HELD_BLOCKED     effect: the grant
 *   QUEUED_BLOCKED  timeout                   (none)           effect: timeout
 *   HELD_BLOCKED    the client's next request HELD
 *   HELD_ENQUEUED   `w`                       HELD             reply: the grant, a new lease
 *   HELD_UNSEEN     `w`                       HELD             reply: the grant, a new lease
 *   HELD_ENQUEUED,  end of the lease          LOST             the slot goes to the next waiter
 *   HELD_UNSEEN
 *   HELD,           end of the lease          (none)           the slot goes to the next waiter
 *   HELD_BLOCKED
 *   any HELD        release                   (none)           the slot goes to the next waiter
 *   any HELD        `own` of another client   HELD             belongs to that client
 *   LOST            `w`                       (none)           reply: error_lease_expired
 *   LOST            `e`                       (none)           a new claim takes its place
 *   LOST            the key is collected      (none)
 *
 * The claims of a client that disconnects, see table_disconnect: waiting and lost ones are removed;
 * held ones are removed if the client did not receive the grant, or by the policy's
 * release_on_disconnect; others stay HELD until their leases end.
 */
enum claim_state {
    CLAIM_BLOCKED,
    CLAIM_QUEUED,
    CLAIM_QUEUED_BLOCKED,
    CLAIM_HELD,
    CLAIM_HELD_BLOCKED,
    CLAIM_HELD_ENQUEUED,
    CLAIM_HELD_UNSEEN,
    CLAIM_LOST
};

/* Sets of states. */
enum {
    CLAIMS_WAITING = 1 << CLAIM_BLOCKED | 1 << CLAIM_QUEUED | 1 << CLAIM_QUEUED_BLOCKED,
    CLAIMS_HOLDING = 1 << CLAIM_HELD | 1 << CLAIM_HELD_BLOCKED | 1 << CLAIM_HELD_ENQUEUED |
                     1 << CLAIM_HELD_UNSEEN,
    CLAIMS_BLOCKED = 1 << CLAIM_BLOCKED | 1 << CLAIM_QUEUED_BLOCKED | 1 << CLAIM_HELD_BLOCKED,
    CLAIMS_ENQUEUED = 1 << CLAIM_QUEUED | 1 << CLAIM_QUEUED_BLOCKED | 1 << CLAIM_HELD_ENQUEUED |
                      1 << CLAIM_HELD_UNSEEN | 1 << CLAIM_LOST
};

struct claim {
    union {
        struct list_link queue_link; /* waiting: in resource->queue; lost: in resource->lost */
        struct map_link token_link;  /* holding: in table->tokens, its hash is the mixed fence */
    };
    union {
        struct {                     /* waiting */
            uint64_t lease_s : 34;   /* of the grant to come */
            uint64_t due : 1;        /* for a grant, see claim_set_due */
            uint64_t start_low : 29; /* see claim_start_wait */
        };
        uint64_t salt; /* holding: of the token */
    };
    struct list_link client_link; /* in client->claims */
    struct resource *resource;
    struct client *client;
    struct heap_node deadline; /* of the lease; waiting: of the blocked request */
    uint32_t state : 3;        /* enum claim_state */
    uint32_t exclusive : 1;    /* takes all slots; else part of a struct shared_claim */
    uint32_t two_phase : 1;    /* created by `e` or `re`: part of a struct two_phase */
    uint32_t start : 27;       /* of the wait or of holding */
};

static_assert(sizeof(struct claim) == 64, "a claim is a cache line");
static_assert(CLAIM_LOST < 1 << 3 && DFLOCKD_SECONDS_MAX < 1ll << 34,
              "bit fields of a claim are wide enough");

/* A claim that `e` created. It is in table->enqueued until `w` ends the enqueued state. */
struct two_phase {
    struct claim claim;
    struct map_link link; /* in table->enqueued */
    uint64_t lease_s;
};

/* What lies before a claim that is not exclusive. */
struct holder_part {
    struct list_link link; /* holding: among the holders of the resource */
};

struct shared_claim {
    struct holder_part holder;
    struct claim claim;
};

struct shared_two_phase {
    struct holder_part holder;
    struct two_phase two_phase;
};

static_assert(offsetof(struct shared_claim, claim) == sizeof(struct holder_part) &&
                  offsetof(struct shared_two_phase, two_phase) == sizeof(struct holder_part),
              "the part lies directly before the claim");

/*
 * A connection with claims. Their order: a blocked one, those that wait or are enqueued, those in
 * CLAIM_HELD. A granted blocked claim stays first until the next request of the connection.
 */
struct client {
    struct map_link link; /* in table->clients, its hash is the mixed connection id */
    struct chain claims;
    uint32_t holding; /* claims in CLAIMS_HOLDING */
    uint32_t waiting : 31;
    uint32_t watched : 1; /* LOCK_IDLE is due when nothing waits or holds, see table_watch */
};

static_assert(sizeof(struct client) == 32, "a client's record has no padding");

/* Masks for bit fields. */
#define CLAIM_LEASE_MASK ((1ull << 34) - 1)

enum {
    LIMIT_MASK = (1 << 21) - 1,
    CLAIM_STATE_MASK = (1 << 3) - 1,
    CLAIM_START_MASK = (1 << 27) - 1,
    CLAIM_START_LOW_BITS = 29,
    CLAIM_START_LOW_MASK = (1 << CLAIM_START_LOW_BITS) - 1,
    KEY_LENGTH_MASK = (1 << 9) - 1,
    IDLE_NOTES_MASK = (1 << TABLE_WALKS_MAX) - 1
};

static inline struct lock_answer answer_refusal(int outcome, enum lock_cap cap)
{
    return (struct lock_answer){.outcome = outcome, .cap = cap};
}

static inline struct lock_answer answer_plain(int outcome)
{
    return (struct lock_answer){.outcome = outcome};
}

/* Returns the claims of a client that wait or hold. */
static inline uint32_t client_active(const struct client *client)
{
    return client->waiting + client->holding;
}

/* Returns the slots that a claim takes or will take. */
static inline uint32_t claim_slots(const struct claim *claim)
{
    return claim->exclusive ? claim->resource->limit : 1;
}

/*
 * The start of a wait takes all bits of `start` and `start_low`, in units of 2^CLAIM_WAIT_SHIFT ns.
 * A holder has only `start`, in units of 2^CLAIM_HOLD_SHIFT ns (0.13 s), modulo 208 days.
 */
enum {
    CLAIM_WAIT_SHIFT = 10,
    CLAIM_HOLD_SHIFT = 27
};

static inline void claim_start_wait(struct claim *claim, uint64_t now_ns)
{
    uint64_t start = now_ns >> CLAIM_WAIT_SHIFT;

    claim->start_low = start & CLAIM_START_LOW_MASK;
    claim->start = (uint32_t)(start >> CLAIM_START_LOW_BITS) & CLAIM_START_MASK;
}

static inline void claim_start_hold(struct claim *claim, uint64_t now_ns)
{
    claim->start = (uint32_t)(now_ns >> CLAIM_HOLD_SHIFT) & CLAIM_START_MASK;
}

/* Returns how long a claim has waited. */
static inline uint64_t claim_waited_ns(const struct claim *claim, uint64_t now_ns)
{
    uint64_t start = (uint64_t)claim->start << CLAIM_START_LOW_BITS | claim->start_low;

    return ((now_ns >> CLAIM_WAIT_SHIFT) - start) << CLAIM_WAIT_SHIFT;
}

/* Returns how long a claim has held, exact to 0.14 s. */
static inline uint64_t claim_held_ns(const struct claim *claim, uint64_t now_ns)
{
    uint32_t units = ((uint32_t)(now_ns >> CLAIM_HOLD_SHIFT) - claim->start) & CLAIM_START_MASK;

    return (uint64_t)units << CLAIM_HOLD_SHIFT;
}

/* For claims that are not exclusive. */
static inline struct list_link *claim_holder_link(const struct claim *claim)
{
    return &CONTAINER_OF(claim, struct shared_claim, claim)->holder.link;
}

static inline struct claim *claim_of_holder(struct list_link *holder_link)
{
    return &CONTAINER_OF(holder_link, struct shared_claim, holder.link)->claim;
}

static inline struct claim *claim_of(struct list_link *client_link)
{
    return CONTAINER_OF(client_link, struct claim, client_link);
}

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
    return resource->taken == 0 && resource->waiters == 0;
}

/* Returns whether `stats` and the counters list the resource as a lock. */
static inline bool resource_is_lock(const struct resource *resource)
{
    return resource->kind == LOCK_KIND_LOCK || resource->limit == 1;
}

/* Returns the counter of the waiters of resources like this one. */
static inline uint64_t *resource_waiter_counter(struct table *table,
                                                const struct resource *resource)
{
    return resource_is_lock(resource) ? &table->counters.lock_waiters
                                      : &table->counters.semaphore_waiters;
}

static inline uint32_t resource_slots_left(const struct resource *resource)
{
    return (uint32_t)resource->limit - resource->taken;
}

/* Returns the holders that are not exclusive, the last granted first. */
static inline struct chain resource_holders(const struct resource *resource)
{
    const struct claim *owner = resource->owner;

    return (struct chain){.first = owner && !owner->exclusive ? claim_holder_link(owner) : NULL};
}

static inline uint32_t resource_holder_count(const struct resource *resource)
{
    bool exclusive = resource->taken > 0 && resource->owner->exclusive;

    return exclusive ? 1 : resource->taken;
}

#endif
