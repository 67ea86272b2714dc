/*
 * Each record is found by a map and freed the moment nothing needs it: a client with its last
 * claim, a lost claim with the `w` that asks for it or with its resource, a resource when it has
 * been idle for long enough. A waiter becomes a holder in place, so a hand-over asks for no memory
 * and can't fail; room for its deadline is reserved, and a fence promised, when it joins the queue.
 */
#include "lock/table_internal.h"

#include <assert.h>
#include <string.h>

#include "base/time_units.h"

/* For the bit fields of a resource. */
enum {
    LIMIT_MASK = (1 << 21) - 1,
    KEY_LENGTH_MASK = (1 << 9) - 1,
    IDLE_NOTES_MASK = (1 << TABLE_WALKS_MAX) - 1
};

static uint64_t after(uint64_t now_ns, uint64_t seconds)
{
    return now_ns + seconds * NS_PER_S;
}

static struct lock_answer answer_plain(int outcome)
{
    return (struct lock_answer){.outcome = outcome};
}

static struct lock_answer answer_grant(const struct table *table, int outcome,
                                       const struct claim *claim, uint64_t lease_s)
{
    return (struct lock_answer){
        .outcome = outcome,
        .token = {.fence = mix_number(&table->mix, claim->token_link.hash), .salt = claim->salt},
        .lease_s = lease_s,
        .deadline_ns = heap_key(&table->deadlines, &claim->deadline),
    };
}

/* ---- resources ---- */

static uint32_t resource_bytes(uint32_t key_length)
{
    return (uint32_t)offsetof(struct resource, key) + key_length;
}

static struct pool *resource_pool(struct table *table, uint32_t key_length)
{
    return &table->resource_pools[(resource_bytes(key_length) - 1) / RESOURCE_SIZE_STEP];
}

static bool resource_matches(const struct resource *resource, const struct lock_key *key)
{
    return resource->kind == key->kind && resource->key_length == key->length &&
           memcmp(resource->key, key->bytes, key->length) == 0;
}

static struct resource *resource_find(const struct table *table, const struct lock_key *key)
{
    struct map_link *link = map_find(&table->resources, key->hash);

    while (link && !resource_matches(CONTAINER_OF(link, struct resource, link), key))
        link = map_find_next(link);
    return link ? CONTAINER_OF(link, struct resource, link) : NULL;
}

/* Whether there may be one state more, which is counted then. */
static bool budget_take(struct lock_budget *budget)
{
    uint64_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);

    while (used < budget->max) {
        if (atomic_compare_exchange_weak_explicit(&budget->used, &used, used + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return false;
}

static void budget_give(struct lock_budget *budget)
{
    atomic_fetch_sub_explicit(&budget->used, 1, memory_order_relaxed);
}

/* A resource that has no claim yet; NULL with `outcome` set. */
static struct resource *resource_create(struct table *table, const struct lock_key *key,
                                        uint32_t limit, int *outcome)
{
    struct resource *resource;

    if (!budget_take(table->budget)) {
        *outcome = DFLOCKD_ERROR_MAX_LOCKS;
        return NULL;
    }
    resource = pool_take(resource_pool(table, key->length));
    if (!resource) {
        budget_give(table->budget);
        *outcome = DFLOCKD_ERROR;
        return NULL;
    }
    chain_init(&resource->lost);
    resource->limit = limit & LIMIT_MASK;
    resource->kind = key->kind & 1;
    resource->key_length = key->length & KEY_LENGTH_MASK;
    resource->holders = 0;
    resource->idle_notes = 0;
    resource->waiters = 0;
    resource->idle_link.next = NULL;
    memcpy(resource->key, key->bytes, key->length);
    map_insert(&table->resources, &resource->link, key->hash);
    return resource;
}

/* To be called before a resource that is new or idle gets a claim. */
static void resource_wake(struct resource *resource)
{
    if (list_linked(&resource->idle_link))
        list_remove(&resource->idle_link);
    list_init(&resource->queue);
    resource->owner = NULL;
}

static struct resource *idle_first(const struct table *table)
{
    struct list_link *link = list_first(&table->idle);

    return link ? CONTAINER_OF(link, struct resource, idle_link) : NULL;
}

/* When the next key is collected, where that comes before `until_ns`, or else that. */
static uint64_t collection_ns(const struct table *table, uint64_t until_ns)
{
    const struct resource *resource = idle_first(table);
    uint64_t interval_ns = table->policy.gc_interval_ns;
    uint64_t max_idle_ns = table->policy.gc_max_idle_ns;
    uint64_t from_ns = resource ? resource->idle_since_ns + max_idle_ns : UINT64_MAX;
    uint64_t tick_ns;

    if (from_ns >= until_ns)
        return until_ns; /* spares most calls the division */
    tick_ns = (from_ns + interval_ns - 1) / interval_ns * interval_ns;
    return tick_ns < until_ns ? tick_ns : until_ns;
}

/* ---- clients ---- */

static struct client *client_find(const struct table *table, uint64_t id)
{
    struct map_link *link = map_find(&table->clients, mix_hash(&table->mix, id));

    return link ? CONTAINER_OF(link, struct client, link) : NULL;
}

/* The client, created when it is new; NULL when memory is short. */
static struct client *client_get(struct table *table, uint64_t id)
{
    struct client *client = client_find(table, id);

    if (client)
        return client;
    client = pool_take(&table->client_pool);
    if (!client)
        return NULL;
    chain_init(&client->claims);
    client->active = 0;
    client->watched = false;
    map_insert(&table->clients, &client->link, mix_hash(&table->mix, id));
    return client;
}

static uint64_t client_id_of(const struct table *table, const struct client *client)
{
    return mix_number(&table->mix, client->link.hash);
}

static void client_settle(struct table *table, struct client *client)
{
    if (!chain_empty(&client->claims))
        return;
    map_remove(&table->clients, &client->link);
    pool_give(&table->client_pool, client);
}

static struct claim *claim_of(struct list_link *client_link)
{
    return CONTAINER_OF(client_link, struct claim, client_link);
}

/* The claim that the client's last request waits for, or did; NULL when there is none. */
static struct claim *client_blocked(const struct client *client)
{
    struct claim *first = client->claims.first ? claim_of(client->claims.first) : NULL;

    return first && claim_is(first, CLAIMS_BLOCKED) ? first : NULL;
}

/* From now on the client merely holds it. */
static void claim_settle(struct claim *claim)
{
    claim->state = CLAIM_HELD;
    chain_move_back(&claim->client->claims, &claim->client_link);
}

/*
 * The client's last request is over: what it was granted by it, it merely holds. Nothing else can
 * be blocked then, since a client makes no request while one of it is pending.
 */
static void client_told(struct client *client)
{
    struct claim *claim = client_blocked(client);

    if (claim) {
        assert(claim->state == CLAIM_HELD_BLOCKED);
        claim_settle(claim);
    }
}

/* One of its claims neither waits nor holds any more. */
static void client_claim_ended(struct table *table, struct client *client)
{
    struct lock_answer notice = answer_plain(LOCK_IDLE);

    client->active--;
    if (!client->watched || client->active > 0)
        return;
    client->watched = false;
    table->context.effect(table->context.user_data, client_id_of(table, client), &notice);
}

/* ---- claims ---- */

/* A fence for a claim that is about to be; false when there is none. */
static bool promise_take(struct table *table)
{
    if (table->context.fence_promise && !table->context.fence_promise(table->context.user_data))
        return false;
    table->promises++;
    return true;
}

static void promise_return(struct table *table)
{
    table->promises--;
    if (table->context.fence_return)
        table->context.fence_return(table->context.user_data);
}

static struct pool *claim_pool(struct table *table, bool two_phase)
{
    return two_phase ? &table->two_phase_pool : &table->claim_pool;
}

static uint32_t claim_count(const struct table *table)
{
    return (uint32_t)(table->claim_pool.count + table->two_phase_pool.count);
}

/* `w` may ask for it from now on. */
static void enqueued_start(struct table *table, struct claim *claim, uint64_t lease_s)
{
    struct two_phase *two_phase = two_phase_of(claim);

    two_phase->lease_s = lease_s;
    map_insert(&table->enqueued, &two_phase->link, enqueued_hash(claim->client, claim->resource));
}

/*
 * A claim that is not yet among its client's, with the promise of a fence; NULL when memory or
 * fences are short.
 */
static struct claim *claim_create(struct table *table, uint64_t client_id,
                                  struct resource *resource, uint64_t lease_s, bool two_phase)
{
    struct client *client = client_get(table, client_id);
    struct pool *pool = claim_pool(table, two_phase);
    struct claim *claim;

    if (!client)
        return NULL;
    claim = pool_take(pool);
    if (claim && !(heap_reserve(&table->deadlines, claim_count(table)) && promise_take(table))) {
        pool_give(pool, claim);
        claim = NULL;
    }
    if (!claim) {
        client_settle(table, client);
        return NULL;
    }
    client_told(client);
    client->active++;
    claim->client = client;
    claim->resource = resource;
    claim->lease_s = lease_s;
    claim->state = two_phase ? CLAIM_QUEUED : CLAIM_BLOCKED;
    claim->deadline.place = 0;
    claim->two_phase = two_phase;
    if (two_phase)
        enqueued_start(table, claim, lease_s);
    return claim;
}

/* It waits or holds no more. */
static void claim_end(struct table *table, struct claim *claim)
{
    if (claim_is(claim, CLAIMS_WAITING))
        promise_return(table);
    heap_remove(&table->deadlines, &claim->deadline);
    client_claim_ended(table, claim->client);
}

static void claim_free(struct table *table, struct claim *claim)
{
    struct client *client = claim->client;

    chain_remove(&client->claims, &claim->client_link);
    pool_give(claim_pool(table, claim->two_phase), claim);
    heap_trim(&table->deadlines, claim_count(table));
    client_settle(table, client);
}

static struct claim *enqueued_find(const struct table *table, const struct client *client,
                                   const struct resource *resource)
{
    struct map_link *link = map_find(&table->enqueued, enqueued_hash(client, resource));

    for (; link; link = map_find_next(link)) {
        struct claim *claim = &CONTAINER_OF(link, struct two_phase, link)->claim;

        if (claim->client == client && claim->resource == resource)
            return claim;
    }
    return NULL;
}

/* `w` can't ask for it any more, if it could; its state is for the caller to change. */
static void enqueued_end(struct table *table, struct claim *claim)
{
    if (claim_is(claim, CLAIMS_ENQUEUED))
        map_remove(&table->enqueued, &two_phase_of(claim)->link);
}

static void deadline_set(struct table *table, struct claim *claim, uint64_t deadline_ns)
{
    if (heap_contains(&claim->deadline))
        heap_update(&table->deadlines, &claim->deadline, deadline_ns);
    else
        heap_insert(&table->deadlines, &claim->deadline, deadline_ns);
}

static void claim_grant(struct table *table, uint64_t now_ns, struct claim *claim,
                        enum claim_state state)
{
    struct resource *resource = claim->resource;
    struct lock_token token;

    assert(resource->holders < resource->limit);
    table->context.token_next(table->context.user_data, &token);
    table->promises--;
    deadline_set(table, claim, after(now_ns, claim->lease_s));
    claim->state = (uint8_t)state;
    claim->salt = token.salt;
    map_insert(&table->tokens, &claim->token_link, mix_hash(&table->mix, token.fence));
    resource->holders++;
    resource->owner = claim;
}

/* Frees a lost claim, after `w` has reported it or when its key is collected. */
static void lost_leave(struct table *table, struct claim *claim)
{
    chain_remove(&claim->resource->lost, &claim->queue_link);
    enqueued_end(table, claim);
    claim_free(table, claim);
}

static bool resource_forget_lost(struct table *table, struct resource *resource)
{
    if (chain_empty(&resource->lost))
        return false;
    lost_leave(table, CONTAINER_OF(resource->lost.first, struct claim, queue_link));
    return true;
}

static void resource_collect(struct table *table, struct resource *resource)
{
    while (resource_forget_lost(table, resource))
        ;
    map_remove(&table->resources, &resource->link);
    pool_give(resource_pool(table, resource->key_length), resource);
    budget_give(table->budget);
}

/* To be called when a holder has left: starts the idle clock if nobody else has the resource. */
static void resource_settle(struct table *table, uint64_t now_ns, struct resource *resource)
{
    if (!resource_idle(resource))
        return;
    if (table->policy.gc_max_idle_ns == 0) {
        resource_collect(table, resource);
        return;
    }
    resource->idle_since_ns = now_ns;
    list_push_back(&table->idle, &resource->idle_link);
}

static void effect_grant(struct table *table, const struct claim *claim, uint64_t lease_s)
{
    struct lock_answer answer = answer_grant(table, DFLOCKD_OK, claim, lease_s);

    table->context.effect(table->context.user_data, client_id_of(table, claim->client), &answer);
}

/* Gives free slots to those who wait, in their order. */
static void hand_over(struct table *table, uint64_t now_ns, struct resource *resource)
{
    while (resource->waiters > 0 && resource->holders < resource->limit) {
        struct claim *claim = CONTAINER_OF(list_first(&resource->queue), struct claim, queue_link);
        uint64_t lease_s = claim->lease_s;

        list_remove(&claim->queue_link);
        resource->waiters--;
        if (claim_is(claim, CLAIMS_BLOCKED)) {
            enqueued_end(table, claim);
            claim_grant(table, now_ns, claim, CLAIM_HELD_BLOCKED);
            effect_grant(table, claim, lease_s);
        } else {
            claim_grant(table, now_ns, claim, CLAIM_HELD_UNTOLD);
        }
    }
    resource_settle(table, now_ns, resource);
}

static void waiter_leave(struct table *table, struct claim *claim)
{
    struct resource *resource = claim->resource;

    enqueued_end(table, claim);
    list_remove(&claim->queue_link);
    resource->waiters--;
    claim_end(table, claim);
    claim_free(table, claim);
}

/* What a holder that goes leaves behind: its token is dead, its slot free. */
static void slot_leave(struct table *table, struct claim *claim)
{
    struct resource *resource = claim->resource;

    map_remove(&table->tokens, &claim->token_link);
    resource->holders--;
    if (resource->owner == claim)
        resource->owner = NULL;
    claim_end(table, claim);
}

static void holder_leave(struct table *table, uint64_t now_ns, struct claim *claim)
{
    struct resource *resource = claim->resource;

    enqueued_end(table, claim);
    slot_leave(table, claim);
    claim_free(table, claim);
    hand_over(table, now_ns, resource);
}

static void lease_report(const struct table *table, const struct claim *claim)
{
    const struct resource *resource = claim->resource;
    const struct lock_key key = {
        .bytes = resource->key,
        .length = resource->key_length,
        .kind = (enum lock_kind)resource->kind,
        .hash = resource->link.hash,
    };

    if (table->context.lease_expired)
        table->context.lease_expired(table->context.user_data, client_id_of(table, claim->client),
                                     &key);
}

/* The lease is over: the slot goes on, and a `w` yet to come will be told. */
static void lease_end(struct table *table, uint64_t now_ns, struct claim *claim)
{
    struct resource *resource = claim->resource;

    lease_report(table, claim);
    if (!claim_is(claim, CLAIMS_ENQUEUED)) {
        holder_leave(table, now_ns, claim);
        return;
    }
    slot_leave(table, claim);
    claim->state = CLAIM_LOST;
    chain_push_back(&resource->lost, &claim->queue_link);
    hand_over(table, now_ns, resource);
}

static void wait_end(struct table *table, struct claim *claim)
{
    struct lock_answer answer = answer_plain(DFLOCKD_TIMEOUT);
    uint64_t client = client_id_of(table, claim->client);

    waiter_leave(table, claim);
    table->context.effect(table->context.user_data, client, &answer);
}

static bool lease_over(const struct table *table, uint64_t now_ns, const struct claim *claim)
{
    return heap_key(&table->deadlines, &claim->deadline) <= now_ns;
}

/* The claim that `token` holds on `key`, or NULL. A lease that is over ends here. */
static struct claim *holder_find(struct table *table, uint64_t now_ns, const struct lock_key *key,
                                 struct lock_token token)
{
    struct map_link *link = map_find(&table->tokens, mix_hash(&table->mix, token.fence));
    struct claim *claim = link ? CONTAINER_OF(link, struct claim, token_link) : NULL;

    /* One comparison of 64 bits: its time tells nothing of the salt. */
    if (!claim || claim->salt != token.salt || !resource_matches(claim->resource, key))
        return NULL;
    if (lease_over(table, now_ns, claim)) {
        lease_end(table, now_ns, claim);
        return NULL;
    }
    return claim;
}

/* What is to happen where no slot is free. */
enum manner {
    MANNER_TRY,
    MANNER_BLOCK,
    MANNER_ENQUEUE
};

/*
 * A claim of `client_id` on `key`: holding where a slot is free, else waiting, where `manner` and
 * the cap allow it. NULL with `outcome` set, and nothing changed.
 */
static struct claim *admit(struct table *table, uint64_t now_ns, uint64_t client_id,
                           const struct lock_key *key, uint32_t limit, uint64_t lease_s,
                           enum manner manner, int *outcome)
{
    struct resource *known = resource_find(table, key);
    struct resource *resource = known;
    bool free = !known || known->holders < known->limit;
    struct claim *claim;

    if (known && known->limit != limit) {
        *outcome = DFLOCKD_ERROR_LIMIT_MISMATCH;
        return NULL;
    }
    if (!free && table->policy.waiters_max && known->waiters >= table->policy.waiters_max) {
        *outcome = DFLOCKD_ERROR_MAX_WAITERS;
        return NULL;
    }
    if (!free && manner == MANNER_TRY) {
        *outcome = DFLOCKD_TIMEOUT;
        return NULL;
    }
    if (!known) {
        resource = resource_create(table, key, limit, outcome);
        if (!resource)
            return NULL;
    }
    claim = claim_create(table, client_id, resource, lease_s, manner == MANNER_ENQUEUE);
    if (!claim) {
        if (!known)
            resource_collect(table, resource);
        *outcome = DFLOCKD_ERROR;
        return NULL;
    }
    if (resource_idle(resource))
        resource_wake(resource);
    if (free) {
        claim_grant(table, now_ns, claim,
                    manner == MANNER_ENQUEUE ? CLAIM_HELD_ENQUEUED : CLAIM_HELD);
    } else {
        list_push_back(&resource->queue, &claim->queue_link);
        resource->waiters++;
    }
    if (free && manner != MANNER_ENQUEUE)
        chain_push_back(&claim->client->claims, &claim->client_link);
    else
        chain_push_front(&claim->client->claims, &claim->client_link);
    return claim;
}

static struct lock_answer block(struct table *table, uint64_t now_ns, struct claim *claim,
                                uint64_t wait_s)
{
    deadline_set(table, claim, after(now_ns, wait_s));
    return answer_plain(LOCK_PENDING);
}

/* ---- events ---- */

struct lock_answer table_acquire(struct table *table, uint64_t now_ns, uint64_t client,
                                 const struct lock_key *key, uint32_t limit, uint64_t wait_s,
                                 uint64_t lease_s)
{
    enum manner manner = wait_s > 0 ? MANNER_BLOCK : MANNER_TRY;
    int outcome;
    struct claim *claim = admit(table, now_ns, client, key, limit, lease_s, manner, &outcome);

    if (!claim)
        return answer_plain(outcome);
    if (claim_is(claim, CLAIMS_HOLDING))
        return answer_grant(table, DFLOCKD_OK, claim, lease_s);
    return block(table, now_ns, claim, wait_s);
}

/* What a client enqueued on a key, or NULL. */
static struct claim *enqueued_lookup(const struct table *table, uint64_t client_id,
                                     const struct lock_key *key)
{
    const struct client *client = client_find(table, client_id);
    const struct resource *resource = client ? resource_find(table, key) : NULL;

    return resource ? enqueued_find(table, client, resource) : NULL;
}

struct lock_answer table_enqueue(struct table *table, uint64_t now_ns, uint64_t client,
                                 const struct lock_key *key, uint32_t limit, uint64_t lease_s)
{
    struct claim *known = enqueued_lookup(table, client, key);
    struct claim *claim;
    int outcome;

    if (known && known->state != CLAIM_LOST)
        return answer_plain(DFLOCKD_ERROR_ALREADY_ENQUEUED);
    claim = admit(table, now_ns, client, key, limit, lease_s, MANNER_ENQUEUE, &outcome);
    if (!claim)
        return answer_plain(outcome);
    if (known)
        lost_leave(table, known);
    if (claim_is(claim, CLAIMS_HOLDING))
        return answer_grant(table, DFLOCKD_ACQUIRED, claim, lease_s);
    return answer_plain(DFLOCKD_QUEUED);
}

struct lock_answer table_wait(struct table *table, uint64_t now_ns, uint64_t client,
                              const struct lock_key *key, uint64_t wait_s)
{
    struct claim *claim = enqueued_lookup(table, client, key);

    if (!claim)
        return answer_plain(DFLOCKD_ERROR_NOT_ENQUEUED);
    if (claim->state == CLAIM_LOST) {
        lost_leave(table, claim);
        return answer_plain(DFLOCKD_ERROR_LEASE_EXPIRED);
    }
    if (claim_is(claim, CLAIMS_HOLDING) && lease_over(table, now_ns, claim)) {
        lease_report(table, claim);
        holder_leave(table, now_ns, claim);
        return answer_plain(DFLOCKD_ERROR_LEASE_EXPIRED);
    }
    if (claim_is(claim, CLAIMS_HOLDING)) {
        uint64_t lease_s = two_phase_of(claim)->lease_s;

        deadline_set(table, claim, after(now_ns, lease_s));
        enqueued_end(table, claim);
        claim_settle(claim);
        return answer_grant(table, DFLOCKD_OK, claim, lease_s);
    }
    if (wait_s == 0) {
        waiter_leave(table, claim);
        return answer_plain(DFLOCKD_TIMEOUT);
    }
    client_told(claim->client);
    chain_move_front(&claim->client->claims, &claim->client_link);
    claim->state = CLAIM_QUEUED_BLOCKED;
    return block(table, now_ns, claim, wait_s);
}

struct lock_answer table_release(struct table *table, uint64_t now_ns, const struct lock_key *key,
                                 struct lock_token token)
{
    struct claim *claim = holder_find(table, now_ns, key, token);

    if (!claim)
        return answer_plain(DFLOCKD_ERROR);
    holder_leave(table, now_ns, claim);
    return answer_plain(DFLOCKD_OK);
}

struct lock_answer table_renew(struct table *table, uint64_t now_ns, const struct lock_key *key,
                               struct lock_token token, uint64_t lease_s)
{
    struct claim *claim = holder_find(table, now_ns, key, token);

    if (!claim)
        return answer_plain(DFLOCKD_ERROR);
    deadline_set(table, claim, after(now_ns, lease_s));
    return (struct lock_answer){.outcome = DFLOCKD_OK, .lease_s = lease_s};
}

struct lock_answer table_own(struct table *table, uint64_t now_ns, uint64_t client,
                             const struct lock_key *key, struct lock_token token)
{
    struct claim *claim = holder_find(table, now_ns, key, token);
    struct client *before = claim ? claim->client : NULL;
    struct client *record = claim ? client_get(table, client) : NULL;

    if (!record)
        return answer_plain(DFLOCKD_ERROR);
    if (record == before)
        return answer_plain(DFLOCKD_OK);
    enqueued_end(table, claim);
    chain_remove(&before->claims, &claim->client_link);
    client_claim_ended(table, before);
    client_settle(table, before);
    claim->client = record;
    claim->state = CLAIM_HELD;
    record->active++;
    chain_push_back(&record->claims, &claim->client_link);
    return answer_plain(DFLOCKD_OK);
}

bool table_cancel(struct table *table, uint64_t client)
{
    const struct client *record = client_find(table, client);
    struct claim *claim = record ? client_blocked(record) : NULL;

    if (!claim || !claim_is(claim, CLAIMS_WAITING))
        return false;
    waiter_leave(table, claim);
    return true;
}

void table_leave_queues(struct table *table, uint64_t client)
{
    const struct client *record = client_find(table, client);
    struct list_link *link = record ? record->claims.first : NULL;

    while (link) {
        struct claim *claim = claim_of(link);

        /* The record ends with its last claim; while there is a next one, there is a record. */
        link = claim->state == CLAIM_HELD ? NULL : chain_next(&record->claims, link);
        if (claim_is(claim, CLAIMS_WAITING))
            waiter_leave(table, claim);
    }
}

/* One thing less of a client that is gone; false when what is left shall stay. */
static bool disconnect_step(struct table *table, uint64_t now_ns, struct client *client,
                            bool pending)
{
    struct claim *claim = claim_of(client->claims.first);
    bool unanswered =
        claim->state == CLAIM_HELD_UNTOLD || (claim->state == CLAIM_HELD_BLOCKED && pending);

    if (claim_is(claim, CLAIMS_WAITING)) {
        waiter_leave(table, claim);
    } else if (claim->state == CLAIM_LOST) {
        lost_leave(table, claim);
    } else if (unanswered || table->policy.release_on_disconnect) {
        holder_leave(table, now_ns, claim);
    } else if (claim->state != CLAIM_HELD) {
        enqueued_end(table, claim);
        claim_settle(claim);
    } else {
        return false;
    }
    return true;
}

bool table_disconnect(struct table *table, uint64_t now_ns, uint64_t client, bool pending,
                      uint32_t steps)
{
    struct client *record = client_find(table, client);

    if (record)
        record->watched = false;
    while (record && steps-- > 0) {
        if (!disconnect_step(table, now_ns, record, pending))
            return true;
        record = client_find(table, client);
    }
    return !record;
}

bool table_watch(struct table *table, uint64_t client)
{
    struct client *record = client_find(table, client);

    if (!record || record->active == 0)
        return false;
    record->watched = true;
    return true;
}

void table_unwatch(struct table *table, uint64_t client)
{
    struct client *record = client_find(table, client);

    if (record)
        record->watched = false;
}

/* ---- time ---- */

uint64_t table_deadline(const struct table *table)
{
    return collection_ns(table, heap_top_key(&table->deadlines));
}

/* A key has been idle for long enough: forgets a lost claim on it, or else the key itself. */
static void collect_step(struct table *table, struct resource *resource)
{
    if (resource_forget_lost(table, resource))
        return;
    list_remove(&resource->idle_link);
    resource_collect(table, resource);
}

bool table_expire(struct table *table, uint64_t now_ns, uint32_t steps)
{
    for (; steps > 0; steps--) {
        if (heap_top_key(&table->deadlines) <= now_ns) {
            struct claim *claim = CONTAINER_OF(heap_top(&table->deadlines), struct claim, deadline);

            if (claim_is(claim, CLAIMS_HOLDING))
                lease_end(table, now_ns, claim);
            else
                wait_end(table, claim);
        } else if (collection_ns(table, UINT64_MAX) <= now_ns) {
            collect_step(table, idle_first(table));
        } else {
            return false;
        }
    }
    return table_deadline(table) <= now_ns;
}

/* ---- the table as a whole ---- */

struct show {
    const struct table *table;
    uint64_t now_ns;
    uint32_t note; /* the bit of the walk */
    bool notes;    /* this is its first pass */
    void (*show)(void *context, const struct lock_view *view);
    void *context;
};

static void resource_note(struct resource *resource, uint32_t note)
{
    if (resource_idle(resource))
        resource->idle_notes |= note & IDLE_NOTES_MASK;
    else
        resource->idle_notes &= ~note & IDLE_NOTES_MASK;
}

static void resource_show(void *context, struct map_link *link)
{
    const struct show *show = context;
    struct resource *resource = CONTAINER_OF(link, struct resource, link);
    struct lock_view view = {
        .key = resource->key,
        .key_length = resource->key_length,
        .kind = (enum lock_kind)resource->kind,
        .limit = resource->limit,
        .holders = resource->holders,
        .waiters = resource->waiters,
    };

    if (show->notes)
        resource_note(resource, show->note);
    view.noted_idle = resource->idle_notes & show->note;
    if (resource_idle(resource)) {
        view.idle_ns = show->now_ns - resource->idle_since_ns;
    } else if (resource->owner) {
        uint64_t deadline_ns = heap_key(&show->table->deadlines, &resource->owner->deadline);

        view.owner = client_id_of(show->table, resource->owner->client);
        view.lease_ns = deadline_ns > show->now_ns ? deadline_ns - show->now_ns : 0;
    }
    show->show(show->context, &view);
}

uint64_t table_walk(struct table *table, uint64_t now_ns, struct lock_walk walk, uint64_t position,
                    void (*show)(void *context, const struct lock_view *view), void *context)
{
    struct show all = {
        .table = table,
        .now_ns = now_ns,
        .note = 1u << walk.number,
        .notes = walk.first_pass,
        .show = show,
        .context = context,
    };

    assert(walk.number < TABLE_WALKS_MAX);

    return map_walk(&table->resources, position, resource_show, &all);
}

bool table_init(struct table *table, const struct lock_context *context,
                const struct lock_policy *policy, struct lock_budget *budget)
{
    const struct memory *memory = &table->context.memory;

    static_assert(offsetof(struct resource, key) + DFLOCKD_KEY_MAX <=
                      (size_t)RESOURCE_SIZES * RESOURCE_SIZE_STEP,
                  "a pool for the longest key");
    assert(policy->gc_interval_ns > 0);

    table->context = *context;
    mix_init(&table->mix, context->secret);
    table->policy = *policy;
    table->budget = budget;
    table->promises = 0;
    list_init(&table->idle);
    for (uint32_t i = 0; i < RESOURCE_SIZES; i++)
        pool_init(&table->resource_pools[i], memory, (size_t)(i + 1) * RESOURCE_SIZE_STEP);
    pool_init(&table->claim_pool, memory, sizeof(struct claim));
    pool_init(&table->two_phase_pool, memory, sizeof(struct two_phase));
    pool_init(&table->client_pool, memory, sizeof(struct client));
    heap_init(&table->deadlines, memory);
    map_init(&table->resources, memory);
    map_init(&table->tokens, memory);
    map_init(&table->clients, memory);
    map_init(&table->enqueued, memory);
    if (map_reserve(&table->resources) && map_reserve(&table->tokens) &&
        map_reserve(&table->clients) && map_reserve(&table->enqueued))
        return true;
    table_free(table);
    return false;
}

static void pick_client(void *context, struct map_link *link)
{
    *(struct client **)context = CONTAINER_OF(link, struct client, link);
}

/* No effects: who is told of the end of everything. */
static void effect_none(void *context, uint64_t client, const struct lock_answer *answer)
{
    (void)context;
    (void)client;
    (void)answer;
}

void table_free(struct table *table)
{
    uint64_t position = 0;

    table->context.effect = effect_none;
    table->policy.release_on_disconnect = true;
    while (table->clients.count > 0) {
        struct client *client = NULL;
        uint64_t next = map_walk(&table->clients, position, pick_client, &client);

        if (client)
            table_disconnect(table, 0, client_id_of(table, client), true, UINT32_MAX);
        else
            position = next; /* nobody is left here */
    }
    while (!list_empty(&table->idle)) {
        struct resource *resource = idle_first(table);

        list_remove(&resource->idle_link);
        resource_collect(table, resource);
    }
    for (uint32_t i = 0; i < RESOURCE_SIZES; i++)
        pool_free(&table->resource_pools[i]);
    pool_free(&table->claim_pool);
    pool_free(&table->two_phase_pool);
    pool_free(&table->client_pool);
    heap_free(&table->deadlines);
    map_free(&table->resources);
    map_free(&table->tokens);
    map_free(&table->clients);
    map_free(&table->enqueued);
}
