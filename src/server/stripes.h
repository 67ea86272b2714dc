/*
 * The lock table cut into stripes, for several threads. A stripe is a mutex and a table; the hash
 * of a key selects it. Effects for clients of other workers go into their mailboxes with the
 * stripe's mutex held, so they arrive in order.
 *
 * Lock order: stripe, then mailbox or log. A thread that holds the mutex of a mailbox or of the log
 * takes no other. No thread holds two stripes. A single worker locks no stripe: see server/gate.h.
 *
 * Each stripe has a home worker, which sleeps until the stripe's next deadline at most. Calls set
 * in `*wake` a bit for each worker that the caller must wake:
 *
 * - a worker whose mailbox was empty
 * - the home of a stripe whose deadline is now before the end of its sleep
 * - STRIPES_FENCE_WORKER, if fences are low
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
    STRIPES_FENCE_WORKER = 0 /* the worker that stores a higher ceiling of fences */
};

struct stripes;

struct stripes_options {
    uint32_t workers;     /* 1 to WORKERS_MAX; if 1, one thread at a time makes calls, see gate.h */
    uint32_t front_ends;  /* other threads with clients; they have the numbers after the workers */
    struct memory memory; /* called from any thread */
    struct lock_policy policy;
    uint64_t states_max;
    uint64_t claims_max;    /* of all connections; 0: no limit */
    uint32_t claims_batch;  /* see struct lock_budget; 0: chosen by lock_budget_init */
    uint64_t fence_first;   /* the first fence */
    uint64_t fence_ceiling; /* fences stay below, see stripes_fences; 0: unlimited */
    /* Reports the end of a lease for the log, with a stripe's mutex held. NULL: no reports. */
    void (*lease_expired)(uint64_t now_ns, uint64_t connection_id, const struct lock_key *key);
};

/*
 * A message in a mailbox: the answer to the pending request of a connection, or a notice. The
 * answer carries the number of grants lost before it, see stripes_grant_is_lost.
 */
struct stripes_effect {
    uint64_t connection_id;
    struct lock_answer answer;
};

/* Returns NULL if memory is short. */
struct stripes *stripes_create(const struct stripes_options *options);

/* No other thread may use the stripes any more. */
void stripes_destroy(struct stripes *stripes);

/* The mailbox of effects for the clients of `worker`, or of a front end. */
struct mailbox *stripes_mailbox(struct stripes *stripes, uint32_t worker);

/*
 * The fences, for the thread that raises their ceiling. If they are low, calls wake
 * STRIPES_FENCE_WORKER; if none is left, requests that need one get ERROR.
 */
struct fences *stripes_fences(struct stripes *stripes);

/* Hashes a key. The result borrows `bytes`. */
struct lock_key stripes_key(const struct stripes *stripes, enum lock_kind kind, struct slice bytes);

/* The stripe of a key, below STRIPES_MAX. */
uint32_t stripes_index(const struct stripes *stripes, const struct lock_key *key);

/* See table_stop_granting, for all stripes. */
void stripes_stop_granting(struct stripes *stripes, uint64_t now_ns, uint64_t *wake);

/* As the functions of lock/table.h, in the stripe of the key or in stripe `index`. */
struct lock_answer stripes_apply(struct stripes *stripes, uint64_t now_ns,
                                 const struct lock_request *request, uint64_t *wake);
bool stripes_show(struct stripes *stripes, uint64_t now_ns, const struct lock_key *key,
                  struct lock_details *details);
bool stripes_revoke(struct stripes *stripes, uint64_t now_ns, const struct lock_key *key,
                    uint64_t fence, uint64_t *connection_id, uint64_t *wake);
bool stripes_cancel(struct stripes *stripes, uint64_t now_ns, uint64_t connection_id,
                    uint32_t index, uint64_t *wake);
bool stripes_leave_queues(struct stripes *stripes, uint64_t now_ns, uint64_t connection_id,
                          uint32_t index, uint32_t *steps, uint64_t *wake);
bool stripes_disconnect(struct stripes *stripes, uint64_t now_ns, uint64_t connection_id,
                        uint32_t index, bool pending, uint32_t *steps, uint64_t *wake);
bool stripes_watch(struct stripes *stripes, uint64_t connection_id, uint32_t index);
bool stripes_unwatch(struct stripes *stripes, uint64_t connection_id, uint32_t index);
bool stripes_holds(struct stripes *stripes, uint64_t connection_id, uint32_t index);
uint32_t stripes_claims(struct stripes *stripes, uint64_t connection_id, uint32_t index);

/*
 * Returns whether the grant of an effect that stripe `index` posted ended while it was in the
 * mailbox, by a revocation or by a clock that is ahead of the caller's: then the client must not
 * receive it. Asks the stripe only if a grant was revoked or a lease ended since.
 */
bool stripes_grant_is_lost(struct stripes *stripes, const struct lock_answer *grant,
                           uint32_t index);

/*
 * Starts a walk over all stripes, which the caller must end. Returns false if TABLE_WALKS_MAX walks
 * run; the caller tries again later.
 */
bool stripes_walk_begin(struct stripes *stripes, struct lock_walk *walk);
void stripes_walk_end(struct stripes *stripes, struct lock_walk walk);

/*
 * Shows the resources of up to `*steps` buckets of a stripe, and subtracts their number. `*index`
 * (of the stripe) and `*position` are 0 at the start of each pass, see table_walk. Returns false
 * after the last resource of the pass.
 */
bool stripes_walk(struct stripes *stripes, uint64_t now_ns, struct lock_walk walk, uint32_t *index,
                  uint64_t *position, uint32_t *steps,
                  void (*show)(void *context, const struct lock_view *view), void *context);

/*
 * Processes expired deadlines in the stripes whose home is `worker`. Shares `*steps` among them, so
 * that none waits for another.
 */
void stripes_expire(struct stripes *stripes, uint64_t now_ns, uint32_t worker, uint32_t *steps,
                    uint64_t *wake);

/*
 * `worker` is about to sleep until `until_ns` (UINT64_MAX: for ever). Returns the end of the sleep:
 * `until_ns`, or an earlier deadline of its stripes. Until stripes_awake, other workers wake it if
 * a deadline becomes earlier than that.
 */
uint64_t stripes_sleep(struct stripes *stripes, uint32_t worker, uint64_t until_ns);
void stripes_awake(struct stripes *stripes, uint32_t worker);

/*
 * Sets `*sum` to the sum of all tables' counters. Takes the mutex of each stripe in turn, so that
 * the numbers of different stripes may be of slightly different times; walks no table. For any
 * thread; with a single worker the caller is inside its gate.
 */
void stripes_counters(struct stripes *stripes, struct lock_counters *sum);

/* Return the number of keys, with idle ones, and its limit. */
uint64_t stripes_keys(const struct stripes *stripes);
uint64_t stripes_keys_max(const struct stripes *stripes);

/* As table_check, for all stripes. No other thread may make calls. */
bool stripes_check(struct stripes *stripes, const char **problem);

#endif
