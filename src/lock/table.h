/*
 * The lock table: which client holds a key until when, and which clients wait for it.
 *
 * A resource is a key of one kind with a number of slots. A client is a connection, known by its
 * id. It has claims on resources: a claim waits in the queue of the resource, then holds slots
 * under a lease. A lock has TABLE_LOCK_SLOTS: an exclusive claim takes all of them, a shared one
 * takes one. A claim on a semaphore takes one. Each call returns its answer at once. What it means
 * for other clients comes out as effects.
 *
 * The table is pure: time, entropy and memory are arguments. It makes no system call and uses no
 * thread and no socket; the same calls in the same order give the same answers and effects. Threads
 * that share a table hold a mutex around each call.
 *
 * Times are nanoseconds of one monotonic clock, and `now_ns` never goes back. Callers call
 * table_expire before newer requests. Safety does not depend on it: a lease that is over is never
 * renewed or released, and no wait for it succeeds.
 *
 * A call that may take long gets `*steps`, and subtracts one for each claim or idle resource that
 * it handles. At 0 it stops, and the caller calls again later.
 */
#ifndef LOCK_TABLE_H
#define LOCK_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/mix.h"
#include "base/pool.h"
#include "dflockd/protocol.h"
#include "lock/counters.h"

/* The sizes of resource records, in bytes: a fixed part and the key. */
enum {
    RESOURCE_SIZE_STEP = 16,
    RESOURCE_SIZES = 20
};

enum {
    TABLE_WALKS_MAX = 11, /* walks at the same time, see table_walk */
    TABLE_LOCK_SLOTS = DFLOCKD_LIMIT_MAX,
    /*
     * One call grants the slots of a resource to at most so many waiters. If more can be granted,
     * the next one is due for a grant, and table_expire goes on.
     */
    TABLE_GRANTS_MAX = 4,
    /* So many grants to due waiters may delay deadlines that are over. */
    TABLE_GRANTS_IN_ROW_MAX = 1024,
    TABLE_CLAIM_POOLS = 4, /* for each size of claims */
    TABLE_SHOWN_MAX = 100  /* holders and waiters, see struct lock_details */
};

enum lock_kind {
    LOCK_KIND_LOCK,
    LOCK_KIND_SEMAPHORE
};

/* `bytes` is borrowed for the call; `hash` is keyed with a secret. */
struct lock_key {
    const uint8_t *bytes;
    uint32_t length; /* 1 to DFLOCKD_KEY_MAX */
    enum lock_kind kind;
    uint64_t hash;
};

/* Authority over one grant: the fence rises with every grant, the salt cannot be guessed. */
struct lock_token {
    uint64_t fence;
    uint64_t salt;
};

enum {
    LOCK_PENDING = DFLOCKD_OUTCOME_COUNT, /* the answer will be an effect */
    LOCK_IDLE                             /* a notice and not an answer, see table_watch */
};

/* A request for one key. Members that the command does not use are ignored. */
struct lock_request {
    enum dflockd_command command; /* of a lock or a semaphore, which `key.kind` tells apart */
    uint32_t limit;               /* of a semaphore, the same for all claims on a key */
    uint64_t connection_id;
    struct lock_key key;
    uint64_t wait_s;
    uint64_t lease_s;
    struct lock_token token;
    bool claims_full; /* the connection has all the claims it may have; `own` ignores this */
};

/* The cap that refused a request: ERROR_MAX_LOCKS and ERROR_MAX_WAITERS do not tell. */
enum lock_cap {
    LOCK_CAP_NONE,
    LOCK_CAP_LOCKS,
    LOCK_CAP_WAITERS,
    LOCK_CAP_CLAIMS,
    LOCK_CAP_CLAIMS_OF_CONNECTION
};

/* The answer to a request. A grant sets token, lease and deadline, a renewal the lease. */
struct lock_answer {
    int outcome; /* enum dflockd_outcome, or one of the above */
    union {
        enum lock_cap cap;    /* of the answer to a request */
        uint32_t lost_grants; /* of an effect, for its receiver: see server/stripes.h */
    };
    struct lock_token token;
    uint64_t lease_s;
    uint64_t deadline_ns;
};

/*
 * The caps of all tables of a process: resources (--max-locks) and claims (--max-claims). A table
 * takes room for claims in batches, so most requests do not touch the budget. A table that has less
 * than two batches to spare keeps them, and requests on other tables may be refused earlier.
 */
struct lock_budget {
    _Atomic uint64_t used; /* resources */
    uint64_t max;
    _Atomic uint64_t claims_used; /* the tables' claims_room */
    uint64_t claims_max;          /* 0: no limit */
    uint32_t claims_batch;        /* at least 1, then no claim is refused earlier */
};

struct lock_policy {
    uint64_t waiters_max; /* waiters of one key; 0: no limit */
    /*
     * An idle resource is removed after this; 0: at once. Its lost leases that no `w` has asked for
     * are forgotten with it.
     */
    uint64_t gc_max_idle_ns;
    uint64_t gc_interval_ns; /* idle resources are removed at multiples of this */
    bool release_on_disconnect;
    /*
     * Before this time the table grants nothing: requests join the queue as if no slot were free.
     * Leases and waits end, and holders renew and release. 0: the table grants from the start.
     */
    uint64_t grant_from_ns;
};

/* The surroundings of a table. Callbacks get `user_data`; they must not call the table. */
struct lock_context {
    struct memory memory;
    uint32_t chunk_bytes; /* of its pools; 0: POOL_CHUNK_BYTES */
    /* Random bits that no client knows: they decide which fences and ids share a bucket. */
    uint64_t secret[2];
    /* Makes a new token, whose fence is above those of all earlier grants. Never fails. */
    void (*token_next)(void *context, struct lock_token *token);
    /*
     * Promise a fence, and return a promise. A claim is admitted only with a promise, so that it
     * can be granted later. A grant uses the promise. Both NULL: fences are unlimited.
     */
    bool (*fence_promise)(void *context);
    void (*fence_return)(void *context);
    /* The answer to the blocked request of `connection_id`, or LOCK_IDLE. Must not fail. */
    void (*effect)(void *context, uint64_t connection_id, const struct lock_answer *answer);
    /* Reports the end of a lease for the log. `key` is borrowed. NULL: no reports. */
    void (*lease_expired)(void *context, uint64_t connection_id, const struct lock_key *key);
    void *user_data;
};

struct table {
    struct lock_context context;
    struct mix mix; /* hashes fences and clients */
    struct lock_policy policy;
    struct lock_budget *budget;
    struct map resources;        /* by key */
    struct map tokens;           /* holding claims by fence */
    struct map clients;          /* with a claim, by connection id */
    struct map enqueued;         /* claims that `w` may ask for, by client and resource */
    struct heap deadlines;       /* of claims: the end of a lease or of a wait; and `resumption` */
    struct list idle;            /* resources without holders and waiters, longest idle first */
    uint64_t promises;           /* of fences, one for each waiting claim */
    uint32_t claim_count;        /* with lost ones */
    uint32_t claims_room;        /* taken from the budget; lost claims need room, too */
    uint32_t claims_spare;       /* the table returns a batch if more room is free */
    bool paused;                 /* grants nothing */
    uint64_t resumed;            /* position of the walk that follows the pause */
    struct heap_node resumption; /* at the end of the pause, until the walk ends */
    uint64_t grants_due;    /* last key of a waiter that is due for a grant, see claim_set_due */
    uint32_t grants_in_row; /* to due waiters, without another deadline in between */
    struct pool resource_pools[RESOURCE_SIZES];
    struct pool claim_pools[TABLE_CLAIM_POOLS];
    struct pool client_pool;
    struct lock_counters counters;
};

/* Sets the caps. `tables` share the budget; `claims_max` 0: no limit. */
void lock_budget_init(struct lock_budget *budget, uint64_t resources_max, uint64_t claims_max,
                      uint32_t tables);

/* Returns false if memory is short. `budget` must outlive the table and may be shared. */
bool table_init(struct table *table, const struct lock_context *context,
                const struct lock_policy *policy, struct lock_budget *budget);

/* Frees everything, without effects. */
void table_free(struct table *table);

/*
 * Applies one request, and returns its answer:
 *
 *   command    it does                                    outcomes
 *   l, rl, sl  takes its slots, waits for them up to      OK with a grant, PENDING, TIMEOUT,
 *              wait_s (0: not at all)                     ERROR_MAX_LOCKS, ERROR_MAX_WAITERS,
 *                                                         ERROR_LIMIT_MISMATCH, ERROR
 *   e, re, se  takes its slots or a place in the queue    ACQUIRED with a grant, QUEUED,
 *                                                         ERROR_ALREADY_ENQUEUED, or the errors
 *                                                         of l
 *   w, sw      waits for the enqueued claim, whose        OK with a grant, PENDING, TIMEOUT,
 *              lease starts again in full; the enqueued   ERROR_NOT_ENQUEUED, ERROR_LEASE_EXPIRED
 *              state ends                                 if the grant was lost
 *   r, sr      releases the slots of the token            OK, ERROR
 *   n, sn      sets the lease of the token to lease_s     OK with the lease, ERROR
 *              from now on
 *   own        gives the claim of the token to the        OK, ERROR
 *              connection; the enqueued state of its
 *              former client ends
 *
 * After PENDING an effect follows: OK with a grant, or TIMEOUT. Until then the connection must make
 * no further l or w. If no claim may be made, l and e return ERROR_MAX_LOCKS if a slot is free,
 * else ERROR_MAX_WAITERS. ERROR means that the token does not hold the key, or that memory or
 * fences are short.
 */
struct lock_answer table_apply(struct table *table, uint64_t now_ns,
                               const struct lock_request *request);

/*
 * Ends the grant `fence` on `key` as if its lease were over, and sets `*connection_id` to its
 * holder's. If the holder was waiting and has not received the effect yet, table_knows_token tells
 * that it must not. Returns false if there is no such grant.
 */
bool table_revoke(struct table *table, uint64_t now_ns, const struct lock_key *key, uint64_t fence,
                  uint64_t *connection_id);

/* Returns whether the token holds a key. A lease that is over counts until it is processed. */
bool table_knows_token(const struct table *table, struct lock_token token);

/*
 * Cancels the pending request of a connection. Returns true if it will get no answer, false if its
 * effect was sent before or no request is pending.
 */
bool table_cancel(struct table *table, uint64_t now_ns, uint64_t connection_id);

/*
 * The server drains, so the connection makes no further `w`. Removes its waiting claims, without
 * answers, and grants that only a `w` would show; ends its enqueued states. Other held claims stay.
 * Returns true when all is done.
 */
bool table_leave_queues(struct table *table, uint64_t now_ns, uint64_t connection_id,
                        uint32_t *steps);

/*
 * The connection is closed. Removes its waiting claims and enqueued states, and releases what it
 * holds if the policy says release_on_disconnect. `pending`: a request of it on this table was not
 * answered; if an effect with a grant is on its way, the grant is released. Returns true when all
 * is done.
 */
bool table_disconnect(struct table *table, uint64_t now_ns, uint64_t connection_id, bool pending,
                      uint32_t *steps);

/* From now on the table grants nothing: the server drains. Leases and waits end, holders renew. */
void table_stop_granting(struct table *table);

/* The next time at which a lease, a wait or an idle resource expires; UINT64_MAX: never. */
uint64_t table_deadline(const struct table *table);

/* Processes expired deadlines. Returns true if more are left. */
bool table_expire(struct table *table, uint64_t now_ns, uint32_t *steps);

/*
 * Returns whether a connection holds something or waits for it. If it does, the effect LOCK_IDLE
 * follows once, when it no longer does, unless table_unwatch or table_disconnect comes first.
 */
bool table_watch(struct table *table, uint64_t connection_id);
/* Returns false if the notice was sent before, or the connection was not watched. */
bool table_unwatch(struct table *table, uint64_t connection_id);

/* Returns whether a connection holds a lease. One that is over counts until it is processed. */
bool table_holds(const struct table *table, uint64_t connection_id);

/* Returns the number of claims of a connection that hold or wait. */
uint32_t table_claims(const struct table *table, uint64_t connection_id);

/* A holder or a waiter of a key. */
struct lock_claim_view {
    uint64_t connection_id;
    uint64_t fence;   /* of a holder */
    uint64_t age_ns;  /* since its request or grant; for a holder exact to 0.14 s */
    uint64_t left_ns; /* of its lease or of its wait; TABLE_NO_DEADLINE: no request waits */
    bool exclusive;
};

#define TABLE_NO_DEADLINE UINT64_MAX

/* Who holds a key and who waits for it. */
struct lock_details {
    uint32_t limit; /* 1 for a lock */
    uint32_t holder_count;
    uint32_t waiter_count;
    struct lock_claim_view holders[TABLE_SHOWN_MAX]; /* the first ones, by grant */
    struct lock_claim_view waiters[TABLE_SHOWN_MAX]; /* the first ones, by place in the queue */
};

/* Sets `*details`. Returns false if the table does not know the key. */
bool table_show(const struct table *table, uint64_t now_ns, const struct lock_key *key,
                struct lock_details *details);

/* A resource for statistics. `key` is borrowed for the call. */
struct lock_view {
    const uint8_t *key;
    uint32_t key_length;
    enum lock_kind kind;
    uint32_t limit; /* 1 for a lock */
    uint32_t holders;
    uint32_t waiters;
    bool noted_idle;   /* it was idle in the first pass of the walk */
    uint64_t owner;    /* connection id of the last grant, while that holds; 0: none */
    uint64_t lease_ns; /* left of its lease */
    uint64_t idle_ns;  /* since it became idle; 0: it is not */
};

/* A walk over all resources, in one pass or several. */
struct lock_walk {
    uint8_t number; /* below TABLE_WALKS_MAX; unique among the walks that run */
    bool first_pass;
};

/*
 * Shows the resources of one bucket. Returns the next position, 0 after the last; start with 0.
 * Each pass shows a resource that exists all the time exactly once. The first pass notes in each
 * resource whether it is idle, and later passes show that note: so a walk that lists idle resources
 * apart lists each once, although they change meanwhile. A resource that was created behind the
 * first pass is not noted as idle.
 */
uint64_t table_walk(struct table *table, uint64_t now_ns, struct lock_walk walk, uint64_t position,
                    void (*show)(void *context, const struct lock_view *view), void *context);

/*
 * Checks every invariant of the table, for tests. Returns false with the first problem in
 * `*problem` (a constant). Takes time in proportion to the entries.
 */
bool table_check(const struct table *table, const char **problem);

#endif
