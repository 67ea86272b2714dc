#include "lock/resource.h"

#include <string.h>

static struct pool *resource_pool(struct table *table, uint32_t key_length)
{
    uint32_t bytes = (uint32_t)offsetof(struct resource, key) + key_length;

    return &table->resource_pools[(bytes - 1) / RESOURCE_SIZE_STEP];
}

static bool resource_matches(const struct resource *resource, const struct lock_key *key)
{
    return resource->kind == key->kind && resource->key_length == key->length &&
           memcmp(resource->key, key->bytes, key->length) == 0;
}

struct resource *resource_find(const struct table *table, const struct lock_key *key)
{
    struct map_link *link = map_find(&table->resources, key->hash);

    while (link && !resource_matches(CONTAINER_OF(link, struct resource, link), key))
        link = map_find_next(link);
    return link ? CONTAINER_OF(link, struct resource, link) : NULL;
}

/* Counts one state more. Returns false at the cap. */
static bool resource_take_budget(struct lock_budget *budget)
{
    uint64_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);

    while (used < budget->max) {
        if (atomic_compare_exchange_weak_explicit(&budget->used, &used, used + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return false;
}

static void resource_return_budget(struct lock_budget *budget)
{
    atomic_fetch_sub_explicit(&budget->used, 1, memory_order_relaxed);
}

struct resource *resource_create(struct table *table, const struct lock_key *key, uint32_t limit,
                                 struct lock_answer *refusal)
{
    struct resource *resource;

    if (!resource_take_budget(table->budget)) {
        *refusal = answer_refusal(DFLOCKD_ERROR_MAX_LOCKS, LOCK_CAP_LOCKS);
        return NULL;
    }
    resource = pool_take(resource_pool(table, key->length));
    if (!resource) {
        resource_return_budget(table->budget);
        *refusal = answer_plain(DFLOCKD_ERROR);
        return NULL;
    }
    chain_init(&resource->lost);
    resource->limit = limit & LIMIT_MASK;
    resource->kind = key->kind & 1;
    resource->key_length = key->length & KEY_LENGTH_MASK;
    resource->taken = 0;
    resource->idle_notes = 0;
    resource->waiters = 0;
    resource->idle_link.next = NULL;
    memcpy(resource->key, key->bytes, key->length);
    map_insert(&table->resources, &resource->link, key->hash);
    return resource;
}

void resource_activate(struct resource *resource)
{
    if (list_linked(&resource->idle_link))
        list_remove(&resource->idle_link);
    list_init(&resource->queue);
    resource->owner = NULL;
}

/* ---- idle resources ---- */

static bool resource_remove_first_lost(struct table *table, struct resource *resource)
{
    if (chain_empty(&resource->lost))
        return false;
    resource_remove_lost(table, CONTAINER_OF(resource->lost.first, struct claim, queue_link));
    return true;
}

void resource_remove(struct table *table, struct resource *resource)
{
    while (resource_remove_first_lost(table, resource))
        ;
    map_remove(&table->resources, &resource->link);
    pool_give(resource_pool(table, resource->key_length), resource);
    resource_return_budget(table->budget);
}

struct resource *resource_first_idle(const struct table *table)
{
    struct list_link *link = list_first(&table->idle);

    return link ? CONTAINER_OF(link, struct resource, idle_link) : NULL;
}

/*
 * Returns when a resource is collected that may be removed from `from_ns` on. Not inlined, so that
 * resource_expiry_ns is: each request calls it, and few come here.
 */
__attribute__((noinline)) static uint64_t resource_collection_ns(const struct lock_policy *policy,
                                                                 uint64_t from_ns)
{
    uint64_t interval_ns = policy->gc_interval_ns;

    if (policy->gc_max_idle_ns == 0)
        return from_ns;
    return (from_ns + interval_ns - 1) / interval_ns * interval_ns;
}

uint64_t resource_expiry_ns(const struct table *table, uint64_t until_ns)
{
    const struct resource *resource = resource_first_idle(table);
    uint64_t from_ns =
        resource ? resource->idle_since_ns + table->policy.gc_max_idle_ns : UINT64_MAX;
    uint64_t collection_ns;

    if (from_ns >= until_ns)
        return until_ns;
    collection_ns = resource_collection_ns(&table->policy, from_ns);
    return collection_ns < until_ns ? collection_ns : until_ns;
}

void resource_expire_idle(struct table *table)
{
    struct resource *resource = resource_first_idle(table);

    if (resource_remove_first_lost(table, resource))
        return;
    list_remove(&resource->idle_link);
    resource_remove(table, resource);
}

/*
 * Starts the idle time of a resource if it has no holders and waiters. Any number of lost claims
 * may have to be removed first, so that is left to resource_expire_idle.
 */
static void resource_start_idle(struct table *table, uint64_t now_ns, struct resource *resource)
{
    if (!resource_idle(resource))
        return;
    if (table->policy.gc_max_idle_ns == 0 && chain_empty(&resource->lost)) {
        resource_remove(table, resource);
        return;
    }
    resource->idle_since_ns = now_ns;
    list_push_back(&table->idle, &resource->idle_link);
}

/* ---- slots ---- */

static void resource_send_grant(struct table *table, const struct claim *claim, uint64_t lease_s)
{
    struct lock_answer answer = claim_answer(table, DFLOCKD_OK, claim, lease_s);

    table->context.effect(table->context.user_data, client_connection_id(table, claim->client),
                          &answer);
}

static struct claim *resource_first_waiter(const struct resource *resource)
{
    return CONTAINER_OF(list_first(&resource->queue), struct claim, queue_link);
}

static bool resource_can_grant(const struct table *table, const struct resource *resource)
{
    return resource->waiters > 0 && !table->paused &&
           claim_slots(resource_first_waiter(resource)) <= resource_slots_left(resource);
}

void resource_grant_later(struct table *table, uint64_t now_ns, struct resource *resource)
{
    if (resource_can_grant(table, resource))
        claim_set_due(table, now_ns, resource_first_waiter(resource));
}

void resource_grant_waiters(struct table *table, uint64_t now_ns, struct resource *resource,
                            uint32_t most)
{
    while (resource_can_grant(table, resource)) {
        struct claim *claim = resource_first_waiter(resource);
        uint64_t lease_s = claim->lease_s;

        if (most-- == 0) {
            claim_set_due(table, now_ns, claim);
            return;
        }
        list_remove(&claim->queue_link);
        resource->waiters--;
        claim->client->waiting--;
        --*resource_waiter_counter(table, resource);
        lock_durations_add(&table->counters.waits_granted, claim_waited_ns(claim, now_ns));
        if (claim_is(claim, CLAIMS_BLOCKED)) {
            claim_end_enqueued(table, claim);
            claim_grant(table, now_ns, claim, CLAIM_HELD_BLOCKED);
            resource_send_grant(table, claim, lease_s);
        } else {
            claim_grant(table, now_ns, claim, CLAIM_HELD_UNSEEN);
        }
    }
    resource_start_idle(table, now_ns, resource);
}

void resource_grant_due(struct table *table, uint64_t now_ns, struct resource *resource)
{
    if (claim_is_due(resource_first_waiter(resource)))
        resource_grant_waiters(table, now_ns, resource, TABLE_GRANTS_MAX);
}

/* The token of a holder becomes invalid, its slots free. */
static void resource_free_slots(struct table *table, struct claim *claim)
{
    struct resource *resource = claim->resource;

    map_remove(&table->tokens, &claim->token_link);
    if (claim->exclusive) {
        resource->taken = 0;
        resource->owner = NULL;
    } else {
        struct chain holders = resource_holders(resource);

        chain_remove(&holders, claim_holder_link(claim));
        resource->owner = holders.first ? claim_of_holder(holders.first) : NULL;
        resource->taken = (resource->taken - 1) & LIMIT_MASK;
    }
    if (!resource_is_lock(resource))
        table->counters.semaphore_holders--;
    else if (resource->taken == 0)
        table->counters.locks_held--;
    claim_deactivate(table, claim);
}

struct claim *resource_find_fence(const struct table *table, uint64_t fence)
{
    struct map_link *link = map_find(&table->tokens, mix_hash(&table->mix, fence));

    return link ? CONTAINER_OF(link, struct claim, token_link) : NULL;
}

/* Returns `claim` if it holds `key`. Otherwise, also if its lease is over, returns NULL. */
static struct claim *resource_check_holder(struct table *table, uint64_t now_ns,
                                           const struct lock_key *key, struct claim *claim)
{
    if (!resource_matches(claim->resource, key))
        return NULL;
    if (claim_lease_is_over(table, now_ns, claim)) {
        resource_expire_lease(table, now_ns, claim);
        return NULL;
    }
    return claim;
}

struct claim *resource_find_holder(struct table *table, uint64_t now_ns, const struct lock_key *key,
                                   struct lock_token token)
{
    struct claim *claim = resource_find_fence(table, token.fence);

    /* One comparison of 64 bits: its time reveals nothing about the salt. */
    if (!claim || claim->salt != token.salt)
        return NULL;
    return resource_check_holder(table, now_ns, key, claim);
}

struct claim *resource_find_grant(struct table *table, uint64_t now_ns, const struct lock_key *key,
                                  uint64_t fence)
{
    struct claim *claim = resource_find_fence(table, fence);

    return claim ? resource_check_holder(table, now_ns, key, claim) : NULL;
}

/* ---- endings of claims ---- */

void resource_remove_waiter(struct table *table, uint64_t now_ns, struct claim *claim)
{
    struct resource *resource = claim->resource;
    bool first = claim == resource_first_waiter(resource);

    claim_end_enqueued(table, claim);
    list_remove(&claim->queue_link);
    resource->waiters--;
    claim_deactivate(table, claim);
    claim_remove(table, claim);
    if (first)
        resource_grant_waiters(table, now_ns, resource, TABLE_GRANTS_MAX);
}

void resource_remove_holder(struct table *table, uint64_t now_ns, struct claim *claim)
{
    struct resource *resource = claim->resource;

    claim_end_enqueued(table, claim);
    resource_free_slots(table, claim);
    claim_remove(table, claim);
    resource_grant_waiters(table, now_ns, resource, TABLE_GRANTS_MAX);
}

void resource_remove_lost(struct table *table, struct claim *claim)
{
    chain_remove(&claim->resource->lost, &claim->queue_link);
    claim_end_enqueued(table, claim);
    claim_remove(table, claim);
}

void resource_report_expiry(struct table *table, uint64_t now_ns, const struct claim *claim)
{
    const struct resource *resource = claim->resource;
    const struct lock_key key = {
        .bytes = resource->key,
        .length = resource->key_length,
        .kind = (enum lock_kind)resource->kind,
        .hash = resource->link.hash,
    };

    table->counters.leases_ended++;
    lock_durations_add(&table->counters.late,
                       now_ns - heap_key(&table->deadlines, &claim->deadline));
    if (table->context.lease_expired)
        table->context.lease_expired(table->context.user_data,
                                     client_connection_id(table, claim->client), &key);
}

void resource_lose_grant(struct table *table, uint64_t now_ns, struct claim *claim)
{
    struct resource *resource = claim->resource;

    if (!claim_is(claim, CLAIMS_ENQUEUED)) {
        resource_remove_holder(table, now_ns, claim);
        return;
    }
    resource_free_slots(table, claim);
    claim->state = CLAIM_LOST;
    chain_push_back(&resource->lost, &claim->queue_link);
    resource_grant_waiters(table, now_ns, resource, TABLE_GRANTS_MAX);
}

void resource_expire_lease(struct table *table, uint64_t now_ns, struct claim *claim)
{
    resource_report_expiry(table, now_ns, claim);
    resource_lose_grant(table, now_ns, claim);
}

void resource_expire_wait(struct table *table, uint64_t now_ns, struct claim *claim)
{
    struct lock_answer answer = answer_plain(DFLOCKD_TIMEOUT);
    uint64_t connection_id = client_connection_id(table, claim->client);
    struct resource *resource = claim->resource;

    if (claim_is_due(claim)) {
        /* If the table has stopped granting since, the claim waits for the drain. */
        claim->due = 0;
        heap_remove(&table->deadlines, &claim->deadline);
        resource_grant_waiters(table, now_ns, resource, 1);
        return;
    }
    table->counters.waits_timed_out++;
    resource_remove_waiter(table, now_ns, claim);
    table->context.effect(table->context.user_data, connection_id, &answer);
}
