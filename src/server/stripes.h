/*
 * The lock table cut into stripes, for several threads: a mutex and a table each; the hash of a key
 * picks one. What a call means for clients of other workers goes into their mailboxes under the
 * stripe's mutex, so that it arrives in order.
 *
 * The lock order: a stripe's mutex, then a mailbox's or the log's. Whoever holds one of them locks
 * nothing else, and no second one of a kind. The only worker locks no stripe.
 *
 * Each stripe has a home worker, which sleeps no longer than until the stripe's next deadline.
 * Calls add to `wake` (a bit for each worker) whom the caller has to wake: a worker whose mailbox
 * was empty, the home of a stripe whose deadline has become earlier than what it sleeps for, or who
 * sees to the fences.
 */
#ifndef SERVER_STRIPES_H
#define SERVER_STRIPES_H

#include <stdint.h>

#include "lock/table.h"
#include "os/mailbox.h"
#include "server/fences.h"
#include "wire/request.h"

enum {
    STRIPES_MAX = 64,        /* a bit for each in a session */
    STRIPES_FENCE_WORKER = 0 /* the worker that sees to it that fences do not run out */
};

struct stripes;

struct stripes_options {
    uint32_t workers;     /* 1 to WORKERS_MAX; where it is 1, one thread at a time makes calls */
    struct memory memory; /* to be called from any thread */
    struct lock_policy policy;
    uint64_t states_max;
    uint64_t fence_first;   /* fences rise from here */
    uint64_t fence_ceiling; /* and stay below this, see stripes_fences; 0: there is none */
    /* Reports for the log that a lease is over, with a stripe's mutex held. NULL: no reports. */
    void (*lease_expired)(uint64_t now_ns, uint64_t client, const struct lock_key *key);
};

/* What a mailbox holds: the answer to the pending request of a client, or a notice to it. */
struct stripes_effect {
    uint64_t connection_id;
    struct lock_answer answer;
};

/* A key with its stripe. */
struct stripes_key {
    struct lock_key key;
    uint32_t stripe;
};

/* NULL when memory is short. */
struct stripes *stripes_create(const struct stripes_options *options);

/* No other thread may use it any more. */
void stripes_destroy(struct stripes *stripes);

/* Where effects for the clients of `worker` arrive. */
struct mailbox *stripes_mailbox(struct stripes *stripes, uint32_t worker);

/*
 * Where a ceiling was given: the fences, for whoever raises it. Once they are low,
 * STRIPES_FENCE_WORKER is among the workers to be woken; acquire and enqueue answer ERROR while
 * none is left.
 */
struct fences *stripes_fences(struct stripes *stripes);

/* Hashes `bytes`, which are borrowed by the result. */
struct stripes_key stripes_key(const struct stripes *stripes, enum lock_kind kind,
                               struct slice bytes);

/* As the functions of lock/table.h. */
struct lock_answer stripes_acquire(struct stripes *stripes, uint64_t now_ns, uint64_t client,
                                   const struct stripes_key *key, uint32_t limit, uint64_t wait_s,
                                   uint64_t lease_s, uint64_t *wake);
struct lock_answer stripes_enqueue(struct stripes *stripes, uint64_t now_ns, uint64_t client,
                                   const struct stripes_key *key, uint32_t limit, uint64_t lease_s,
                                   uint64_t *wake);
struct lock_answer stripes_wait(struct stripes *stripes, uint64_t now_ns, uint64_t client,
                                const struct stripes_key *key, uint64_t wait_s, uint64_t *wake);
struct lock_answer stripes_release(struct stripes *stripes, uint64_t now_ns,
                                   const struct stripes_key *key, struct lock_token token,
                                   uint64_t *wake);
struct lock_answer stripes_renew(struct stripes *stripes, uint64_t now_ns,
                                 const struct stripes_key *key, struct lock_token token,
                                 uint64_t lease_s, uint64_t *wake);
struct lock_answer stripes_own(struct stripes *stripes, uint64_t now_ns, uint64_t client,
                               const struct stripes_key *key, struct lock_token token,
                               uint64_t *wake);
bool stripes_cancel(struct stripes *stripes, uint64_t now_ns, uint64_t client, uint32_t index,
                    uint64_t *wake);
void stripes_leave_queues(struct stripes *stripes, uint64_t now_ns, uint64_t client, uint32_t index,
                          uint64_t *wake);
bool stripes_disconnect(struct stripes *stripes, uint64_t now_ns, uint64_t client, uint32_t index,
                        bool pending, uint32_t steps, uint64_t *wake);
bool stripes_watch(struct stripes *stripes, uint64_t client, uint32_t index);
void stripes_unwatch(struct stripes *stripes, uint64_t client, uint32_t index);

/*
 * Begins a walk over all stripes, which the caller must end. Sets its number in `walk` and returns
 * true; false if TABLE_WALKS_MAX walks are under way: the caller tries again later.
 */
bool stripes_walk_begin(struct stripes *stripes, struct lock_walk *walk);
void stripes_walk_end(struct stripes *stripes, struct lock_walk walk);

/*
 * Shows some of the resources of all stripes; `*index` (of a stripe) and `*position` start at 0 in
 * each pass of the walk, see table_walk. Returns false when all were shown.
 */
bool stripes_walk(struct stripes *stripes, uint64_t now_ns, struct lock_walk walk, uint32_t *index,
                  uint64_t *position, void (*show)(void *context, const struct lock_view *view),
                  void *context);

/* Lets what is due happen in the stripes whose home is `worker`, up to `steps` in each. */
void stripes_expire(struct stripes *stripes, uint64_t now_ns, uint32_t worker, uint32_t steps,
                    uint64_t *wake);

/*
 * `worker` is about to sleep, and will wake at `until_ns` for reasons of its own (UINT64_MAX: it
 * has none). Until when it may, for the sake of its stripes as well. From now on others ask for it
 * to be woken when a deadline becomes earlier than that; until stripes_awake.
 */
uint64_t stripes_sleep(struct stripes *stripes, uint32_t worker, uint64_t until_ns);
void stripes_awake(struct stripes *stripes, uint32_t worker);

/* Whether the invariants of all tables hold, while no other thread is at work; see table_check. */
bool stripes_check(struct stripes *stripes, const char **problem);

#endif
