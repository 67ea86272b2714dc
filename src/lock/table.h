/*
 * The lock table: who holds what until when, and who waits for it.
 *
 * A resource is a key of one kind with a limit of slots; a lock is a resource of limit 1. A client
 * has claims on resources: a claim waits in the resource's FIFO, then holds one of its slots under
 * a lease. Events come in as calls and are answered at once; what a call means for clients other
 * than its own comes out as effects.
 *
 * The table is pure: time, entropy and memory are arguments, it makes no system call, knows no
 * thread and no socket, and the same events in the same order give the same answers and effects.
 * Who shares it between threads holds a mutex around each call.
 *
 * Times are nanoseconds of one monotonic clock, at which `now_ns` never goes back. The caller lets
 * what is due happen (table_expire) before it tells of newer events; the table does not depend on
 * it for safety: a lease that is over is never renewed, released or waited for successfully.
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

/* Resource records come in sizes of 16 bytes apart: the fixed part and the key. */
enum {
    RESOURCE_SIZE_STEP = 16,
    RESOURCE_SIZES = 20
};

enum {
    TABLE_WALKS_MAX = 11 /* walks under way at the same time, see table_walk */
};

enum lock_kind {
    LOCK_KIND_LOCK,
    LOCK_KIND_SEMAPHORE
};

/* What a client asks about. `bytes` is borrowed for the call; `hash` is keyed with a secret. */
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
    LOCK_PENDING = DFLOCKD_OUTCOME_COUNT, /* no answer yet: an effect will bring it */
    LOCK_IDLE                             /* no answer but a notice, see table_watch */
};

/* What a request gets. Token, lease and deadline are set where the outcome is a grant. */
struct lock_answer {
    int outcome; /* enum dflockd_outcome, or one of the above */
    struct lock_token token;
    uint64_t lease_s;
    uint64_t deadline_ns;
};

/* The states of all tables of a process count against one cap (--max-locks). */
struct lock_budget {
    _Atomic uint64_t used;
    uint64_t max;
};

struct lock_policy {
    uint64_t waiters_max; /* waiters of one key; 0: no limit */
    /*
     * An idle state is collected after this; 0: at once. With it goes the memory of leases on it
     * that were lost, of which no `w` has asked.
     */
    uint64_t gc_max_idle_ns;
    uint64_t gc_interval_ns; /* collections happen at multiples of this */
    bool release_on_disconnect;
};

/* What the table needs of its surroundings. */
struct lock_context {
    struct memory memory;
    /* Random bits that no client knows: they decide which fences and clients share a bucket. */
    uint64_t secret[2];
    /* A token nobody had before, its fence above those of all earlier grants. Never fails. */
    void (*token_next)(void *context, struct lock_token *token);
    /*
     * Where fences may run out, else NULL both: a claim is admitted only where it is promised one,
     * so that it can be granted later. A grant uses the promise, a waiter that leaves returns it.
     */
    bool (*fence_promise)(void *context);
    void (*fence_return)(void *context);
    /*
     * The blocked request of `client` has its answer, or the client is idle. Called within a table
     * call; must not call the table, and must not fail.
     */
    void (*effect)(void *context, uint64_t client, const struct lock_answer *answer);
    /*
     * Reports for the log that the lease of `client` on `key` is over. The bytes of the key are
     * borrowed. The rules of `effect` hold. NULL: no reports.
     */
    void (*lease_expired)(void *context, uint64_t client, const struct lock_key *key);
    void *user_data; /* of the callbacks */
};

struct table {
    struct lock_context context;
    struct mix mix; /* hashes fences and clients */
    struct lock_policy policy;
    struct lock_budget *budget;
    struct map resources;  /* by key */
    struct map tokens;     /* holding claims by fence */
    struct map clients;    /* by client: those that have a claim */
    struct map enqueued;   /* claims that `w` may ask for, by client and resource */
    struct heap deadlines; /* of claims: the end of a lease or of a wait */
    struct list idle;      /* resources without holders and waiters, longest idle first */
    uint64_t promises;     /* of fences: one for each waiting claim */
    struct pool resource_pools[RESOURCE_SIZES];
    struct pool claim_pool;
    struct pool two_phase_pool; /* claims of `e` */
    struct pool client_pool;
};

/* False when memory is short. `budget` must outlive the table and may be shared. */
bool table_init(struct table *table, const struct lock_context *context,
                const struct lock_policy *policy, struct lock_budget *budget);

/* Forgets everything, without effects. */
void table_free(struct table *table);

/*
 * `l`, `sl`: a slot of `key` for `client`, who waits for it up to `wait_s` seconds (0: not at all)
 * in FIFO order. OK with a grant, LOCK_PENDING (an effect follows: OK or TIMEOUT), TIMEOUT,
 * ERROR_MAX_LOCKS, ERROR_MAX_WAITERS, ERROR_LIMIT_MISMATCH, or ERROR when memory or fences are
 * short.
 * A client must not call it, or wait, again while one is pending.
 */
struct lock_answer table_acquire(struct table *table, uint64_t now_ns, uint64_t client,
                                 const struct lock_key *key, uint32_t limit, uint64_t wait_s,
                                 uint64_t lease_s);

/*
 * `e`, `se`: a place in the queue. ACQUIRED with a grant, QUEUED, ERROR_ALREADY_ENQUEUED, or the
 * errors of table_acquire.
 */
struct lock_answer table_enqueue(struct table *table, uint64_t now_ns, uint64_t client,
                                 const struct lock_key *key, uint32_t limit, uint64_t lease_s);

/*
 * `w`, `sw`: waits for what the client enqueued; its lease starts again in full. OK with a grant,
 * LOCK_PENDING (an effect follows: OK or TIMEOUT), TIMEOUT, ERROR_NOT_ENQUEUED, or
 * ERROR_LEASE_EXPIRED when the grant was lost meanwhile, and its key not collected since. The
 * enqueued state ends with any of them.
 */
struct lock_answer table_wait(struct table *table, uint64_t now_ns, uint64_t client,
                              const struct lock_key *key, uint64_t wait_s);

/* `r`, `sr`: OK, or ERROR when the token does not hold `key`. */
struct lock_answer table_release(struct table *table, uint64_t now_ns, const struct lock_key *key,
                                 struct lock_token token);

/* `n`, `sn`: the lease is `lease_s` from now on. OK with it, or ERROR as table_release. */
struct lock_answer table_renew(struct table *table, uint64_t now_ns, const struct lock_key *key,
                               struct lock_token token, uint64_t lease_s);

/*
 * `own`: what `token` holds on `key` belongs to `client` from now on, as if `client` had acquired
 * it. The enqueued state of the client that it belonged to ends. Returns OK, or ERROR if the token
 * does not hold `key`, or memory is short.
 */
struct lock_answer table_own(struct table *table, uint64_t now_ns, uint64_t client,
                             const struct lock_key *key, struct lock_token token);

/*
 * Takes back the pending request of `client`. True: it will get no answer. False: its effect was
 * out before.
 */
bool table_cancel(struct table *table, uint64_t client);

/*
 * Removes all claims of `client` that wait, blocked or enqueued, from their queues, without
 * answers. Leases and grants that are on their way stay.
 */
void table_leave_queues(struct table *table, uint64_t client);

/*
 * `client` is gone: its waiters and enqueued states end, and with the policy's
 * release_on_disconnect all that it holds is released. `pending` says that a request of it on this
 * table was not answered; a grant on its way is then given back in any case. Does up to `steps` of
 * it; true when all is done, else call again.
 */
bool table_disconnect(struct table *table, uint64_t now_ns, uint64_t client, bool pending,
                      uint32_t steps);

/* When something is due next: a lease, a wait, a collection. UINT64_MAX: nothing is. */
uint64_t table_deadline(const struct table *table);

/* Lets up to `steps` things happen that are due. True when more are. */
bool table_expire(struct table *table, uint64_t now_ns, uint32_t steps);

/*
 * Whether `client` holds something or waits for it. Where it does, and until table_unwatch or the
 * client is gone, the effect LOCK_IDLE follows once, when it no longer does.
 */
bool table_watch(struct table *table, uint64_t client);
void table_unwatch(struct table *table, uint64_t client);

/* A resource as statistics show it. `key` is borrowed for the call. */
struct lock_view {
    const uint8_t *key;
    uint32_t key_length;
    enum lock_kind kind;
    uint32_t limit;
    uint32_t holders;
    uint32_t waiters;
    bool noted_idle;   /* whether it was idle in the first pass of the walk */
    uint64_t owner;    /* the holder of a resource of limit 1; 0: nobody */
    uint64_t lease_ns; /* what is left of its lease */
    uint64_t idle_ns;  /* since the last holder or waiter left, where neither is there */
};

/* Which walk calls, and whether it sees the resources for the first time. */
struct lock_walk {
    uint32_t number; /* below TABLE_WALKS_MAX; two walks under way have different ones */
    bool first_pass;
};

/*
 * Shows the resources of one bucket and returns the position to go on from, 0 after the last; start
 * with 0. A walk may make several passes; each shows a resource that stays meanwhile exactly once.
 * The first pass notes in each resource whether it is idle, and later passes see that note: so a
 * walk that lists idle resources apart lists each in one place, although they change meanwhile. A
 * resource that was created behind the first pass counts as not idle.
 */
uint64_t table_walk(struct table *table, uint64_t now_ns, struct lock_walk walk, uint64_t position,
                    void (*show)(void *context, const struct lock_view *view), void *context);

/*
 * Whether every invariant of the table holds; what is wrong first goes to `problem` as text of
 * static storage. For tests and simulation; costs as much as the table has entries.
 */
bool table_check(const struct table *table, const char **problem);

#endif
