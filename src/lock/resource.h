/*
 * The resources of a lock table: the slots of a key, the queue for them, and the time a key without
 * claims stays. Here claims leave a resource: the `_remove` functions end them for a request, the
 * `_expire` functions because their time is over. Then waiters are granted the slots that are free.
 */
#ifndef LOCK_RESOURCE_H
#define LOCK_RESOURCE_H

#include "lock/claim.h"

struct resource *resource_find(const struct table *table, const struct lock_key *key);

/* Returns a resource without claims that is in no list, or NULL with `*refusal` set. */
struct resource *resource_create(struct table *table, const struct lock_key *key, uint32_t limit,
                                 struct lock_answer *refusal);

/* To be called before a resource that is new or idle gets a claim. */
void resource_activate(struct resource *resource);

/* Frees a resource without holders and waiters that is not in table->idle, and its lost claims. */
void resource_remove(struct table *table, struct resource *resource);

/* Returns the resource that has been idle for the longest time, or NULL. */
struct resource *resource_first_idle(const struct table *table);

/* The time at which the first idle resource expires, or `until_ns` if that is earlier. */
uint64_t resource_expiry_ns(const struct table *table, uint64_t until_ns);

/* Removes a lost claim of the first idle resource, or the resource if it has none. */
void resource_expire_idle(struct table *table);

/* Returns the claim with the grant `fence`, also if its lease is over; or NULL. */
struct claim *resource_find_fence(const struct table *table, uint64_t fence);

/*
 * Return the claim that holds `key` by a token or by the grant `fence`, or NULL. A claim whose
 * lease is over expires here.
 */
struct claim *resource_find_holder(struct table *table, uint64_t now_ns, const struct lock_key *key,
                                   struct lock_token token);
struct claim *resource_find_grant(struct table *table, uint64_t now_ns, const struct lock_key *key,
                                  uint64_t fence);

/*
 * Grants free slots to up to `most` waiters in request order. If more can be granted, the next one
 * is due for a grant. Starts the idle time of a resource without claims, which may free it.
 */
void resource_grant_waiters(struct table *table, uint64_t now_ns, struct resource *resource,
                            uint32_t most);

/*
 * Grants slots to up to TABLE_GRANTS_MAX waiters if the first one is due for a grant. A request
 * that would wait behind them calls it, so that the queue gets shorter and not longer.
 */
void resource_grant_due(struct table *table, uint64_t now_ns, struct resource *resource);

/* Makes the first waiter due for a grant if it can be granted its slots. */
void resource_grant_later(struct table *table, uint64_t now_ns, struct resource *resource);

/* Each frees the claim. */
void resource_remove_waiter(struct table *table, uint64_t now_ns, struct claim *claim);
void resource_remove_holder(struct table *table, uint64_t now_ns, struct claim *claim);
void resource_remove_lost(struct table *table, struct claim *claim);

/* The holder loses its grant. An enqueued claim becomes CLAIM_LOST, any other one is freed. */
void resource_lose_grant(struct table *table, uint64_t now_ns, struct claim *claim);

/* The same because the lease is over, with a report for the log. */
void resource_expire_lease(struct table *table, uint64_t now_ns, struct claim *claim);

/* Grants a claim that is due for a grant its slots. Otherwise the wait of its blocked request is
 * over: the effect TIMEOUT follows, and the claim is freed. */
void resource_expire_wait(struct table *table, uint64_t now_ns, struct claim *claim);

/* Counts the end of a lease, and reports it for the log. */
void resource_report_expiry(struct table *table, uint64_t now_ns, const struct claim *claim);

#endif
