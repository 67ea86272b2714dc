/*
 * Requests and deadlines of a lock table: what they mean for the claims of their clients. The
 * records and the order of the calls are in lock/records.h.
 */
#include "lock/resource.h"

enum {
    /* A table keeps less than two batches to spare: 3 % of --max-claims in all tables. */
    BUDGET_BATCHES = 64,
    CLAIMS_BATCH_MAX = 64
};

/* The fate of a request if its slots are not free. */
enum wait_mode {
    WAIT_MODE_TRY,
    WAIT_MODE_BLOCK,
    WAIT_MODE_ENQUEUE
};

static uint32_t table_limit(const struct lock_request *request)
{
    return request->key.kind == LOCK_KIND_LOCK ? TABLE_LOCK_SLOTS : request->limit;
}

static bool table_takes_all_slots(const struct lock_request *request)
{
    return request->key.kind == LOCK_KIND_LOCK && request->command != DFLOCKD_ACQUIRE_SHARED &&
           request->command != DFLOCKD_ENQUEUE_SHARED;
}

/* Returns whether a new claim would hold at once. */
static bool table_can_grant(const struct table *table, const struct resource *known, bool exclusive)
{
    if (table->paused)
        return false;
    if (!known)
        return true;
    return known->waiters == 0 && (exclusive ? known->taken == 0 : known->taken < known->limit);
}

/* Creates the claim of a request, and its resource if `known` is NULL. Returns NULL likewise. */
static struct claim *table_create_claim(struct table *table, const struct lock_request *request,
                                        struct resource *known, struct claim_form form,
                                        struct lock_answer *refusal)
{
    struct resource *resource =
        known ? known : resource_create(table, &request->key, table_limit(request), refusal);
    struct claim *claim;

    if (!resource)
        return NULL;
    claim = claim_create(table, request->connection_id, resource, request->lease_s, form);
    if (claim)
        return claim;
    if (!known)
        resource_remove(table, resource);
    *refusal = answer_plain(DFLOCKD_ERROR);
    return NULL;
}

/*
 * Creates the claim of a request: it holds if its slots are free; otherwise it waits, if `mode` and
 * the cap on waiters allow it. If the caller removes a lost claim then, the new one needs no other
 * room. Returns NULL with `*refusal` set, and nothing changed, if there is none.
 */
static struct claim *table_admit(struct table *table, uint64_t now_ns,
                                 const struct lock_request *request, enum wait_mode mode,
                                 bool replaces_lost, struct lock_answer *refusal)
{
    struct resource *known = resource_find(table, &request->key);
    struct resource *resource;
    struct claim_form form = {.two_phase = mode == WAIT_MODE_ENQUEUE,
                              .exclusive = table_takes_all_slots(request)};
    struct claim *claim;
    bool free;

    if (known && known->limit != table_limit(request)) {
        *refusal = answer_plain(DFLOCKD_ERROR_LIMIT_MISMATCH);
        return NULL;
    }
    if (known && known->waiters > 0)
        resource_grant_due(table, now_ns, known);
    free = table_can_grant(table, known, form.exclusive);
    if (!free && table->policy.waiters_max && known &&
        known->waiters >= table->policy.waiters_max) {
        *refusal = answer_refusal(DFLOCKD_ERROR_MAX_WAITERS, LOCK_CAP_WAITERS);
        return NULL;
    }
    if (!free && mode == WAIT_MODE_TRY) {
        *refusal = answer_plain(DFLOCKD_TIMEOUT);
        return NULL;
    }
    if (request->claims_full || (!replaces_lost && !claim_has_room(table))) {
        *refusal =
            answer_refusal(free ? DFLOCKD_ERROR_MAX_LOCKS : DFLOCKD_ERROR_MAX_WAITERS,
                           request->claims_full ? LOCK_CAP_CLAIMS_OF_CONNECTION : LOCK_CAP_CLAIMS);
        return NULL;
    }
    claim = table_create_claim(table, request, known, form, refusal);
    if (!claim) {
        claim_return_room(table);
        return NULL;
    }
    resource = claim->resource;
    if (resource_idle(resource))
        resource_activate(resource);
    if (free) {
        claim_grant(table, now_ns, claim,
                    mode == WAIT_MODE_ENQUEUE ? CLAIM_HELD_ENQUEUED : CLAIM_HELD);
    } else {
        claim_start_wait(claim, now_ns);
        list_push_back(&resource->queue, &claim->queue_link);
        resource->waiters++;
        claim->client->waiting++;
        table->counters.waits++;
        ++*resource_waiter_counter(table, resource);
    }
    if (free && mode != WAIT_MODE_ENQUEUE)
        chain_push_back(&claim->client->claims, &claim->client_link);
    else
        chain_push_front(&claim->client->claims, &claim->client_link);
    return claim;
}

static struct lock_answer table_block(struct table *table, uint64_t now_ns, struct claim *claim,
                                      uint64_t wait_s)
{
    claim->due = 0;
    claim_set_deadline(table, now_ns, claim, wait_s);
    return answer_plain(LOCK_PENDING);
}

/* ---- requests ---- */

static struct lock_answer table_acquire(struct table *table, uint64_t now_ns,
                                        const struct lock_request *request)
{
    enum wait_mode mode = request->wait_s > 0 ? WAIT_MODE_BLOCK : WAIT_MODE_TRY;
    struct lock_answer refusal;
    struct claim *claim = table_admit(table, now_ns, request, mode, false, &refusal);

    if (!claim)
        return refusal;
    if (claim_is(claim, CLAIMS_HOLDING))
        return claim_answer(table, DFLOCKD_OK, claim, request->lease_s);
    return table_block(table, now_ns, claim, request->wait_s);
}

static struct claim *table_find_enqueued(const struct table *table,
                                         const struct lock_request *request)
{
    const struct client *client = client_find(table, request->connection_id);
    const struct resource *resource = client ? resource_find(table, &request->key) : NULL;

    return resource ? claim_find_enqueued(table, client, resource) : NULL;
}

static struct lock_answer table_enqueue(struct table *table, uint64_t now_ns,
                                        const struct lock_request *request)
{
    struct claim *known = table_find_enqueued(table, request);
    struct claim *claim;
    struct lock_answer refusal;

    if (known && known->state != CLAIM_LOST)
        return answer_plain(DFLOCKD_ERROR_ALREADY_ENQUEUED);
    claim = table_admit(table, now_ns, request, WAIT_MODE_ENQUEUE, known, &refusal);
    if (!claim)
        return refusal;
    if (known)
        resource_remove_lost(table, known);
    if (claim_is(claim, CLAIMS_HOLDING))
        return claim_answer(table, DFLOCKD_ACQUIRED, claim, request->lease_s);
    return answer_plain(DFLOCKD_QUEUED);
}

static struct lock_answer table_wait(struct table *table, uint64_t now_ns,
                                     const struct lock_request *request)
{
    struct claim *claim = table_find_enqueued(table, request);

    if (!claim)
        return answer_plain(DFLOCKD_ERROR_NOT_ENQUEUED);
    if (claim->state == CLAIM_LOST) {
        resource_remove_lost(table, claim);
        return answer_plain(DFLOCKD_ERROR_LEASE_EXPIRED);
    }
    if (claim_is_due(claim))
        resource_grant_waiters(table, now_ns, claim->resource, 1);
    if (claim_is(claim, CLAIMS_HOLDING) && claim_lease_is_over(table, now_ns, claim)) {
        resource_report_expiry(table, now_ns, claim);
        resource_remove_holder(table, now_ns, claim);
        return answer_plain(DFLOCKD_ERROR_LEASE_EXPIRED);
    }
    if (claim_is(claim, CLAIMS_HOLDING)) {
        uint64_t lease_s = two_phase_of(claim)->lease_s;

        claim_set_deadline(table, now_ns, claim, lease_s);
        claim_end_enqueued(table, claim);
        client_settle_claim(claim);
        return claim_answer(table, DFLOCKD_OK, claim, lease_s);
    }
    if (request->wait_s == 0) {
        table->counters.waits_timed_out++;
        resource_remove_waiter(table, now_ns, claim);
        return answer_plain(DFLOCKD_TIMEOUT);
    }
    client_reply_received(claim->client);
    chain_move_front(&claim->client->claims, &claim->client_link);
    claim->state = CLAIM_QUEUED_BLOCKED;
    return table_block(table, now_ns, claim, request->wait_s);
}

static struct lock_answer table_release(struct table *table, uint64_t now_ns,
                                        const struct lock_request *request)
{
    struct claim *claim = resource_find_holder(table, now_ns, &request->key, request->token);

    if (!claim)
        return answer_plain(DFLOCKD_ERROR);
    resource_remove_holder(table, now_ns, claim);
    return answer_plain(DFLOCKD_OK);
}

static struct lock_answer table_renew(struct table *table, uint64_t now_ns,
                                      const struct lock_request *request)
{
    struct claim *claim = resource_find_holder(table, now_ns, &request->key, request->token);

    if (!claim)
        return answer_plain(DFLOCKD_ERROR);
    claim_set_deadline(table, now_ns, claim, request->lease_s);
    return (struct lock_answer){.outcome = DFLOCKD_OK, .lease_s = request->lease_s};
}

static struct lock_answer table_own(struct table *table, uint64_t now_ns,
                                    const struct lock_request *request)
{
    struct claim *claim = resource_find_holder(table, now_ns, &request->key, request->token);
    struct client *before = claim ? claim->client : NULL;
    struct client *client = claim ? client_find_or_create(table, request->connection_id) : NULL;

    if (!client)
        return answer_plain(DFLOCKD_ERROR);
    if (client == before)
        return answer_plain(DFLOCKD_OK);
    claim_end_enqueued(table, claim);
    chain_remove(&before->claims, &claim->client_link);
    before->holding--;
    client_report_idle(table, before);
    client_remove_unused(table, before);
    claim->client = client;
    claim->state = CLAIM_HELD;
    client->holding++;
    chain_push_back(&client->claims, &claim->client_link);
    return answer_plain(DFLOCKD_OK);
}

struct lock_answer table_apply(struct table *table, uint64_t now_ns,
                               const struct lock_request *request)
{
    switch (request->command) {
    case DFLOCKD_ACQUIRE:
    case DFLOCKD_ACQUIRE_SHARED:
    case DFLOCKD_SEMAPHORE_ACQUIRE:
        return table_acquire(table, now_ns, request);
    case DFLOCKD_RELEASE:
    case DFLOCKD_SEMAPHORE_RELEASE:
        return table_release(table, now_ns, request);
    case DFLOCKD_RENEW:
    case DFLOCKD_SEMAPHORE_RENEW:
        return table_renew(table, now_ns, request);
    case DFLOCKD_ENQUEUE:
    case DFLOCKD_ENQUEUE_SHARED:
    case DFLOCKD_SEMAPHORE_ENQUEUE:
        return table_enqueue(table, now_ns, request);
    case DFLOCKD_WAIT:
    case DFLOCKD_SEMAPHORE_WAIT:
        return table_wait(table, now_ns, request);
    default:
        assert(request->command == DFLOCKD_OWN);
        return table_own(table, now_ns, request);
    }
}

bool table_revoke(struct table *table, uint64_t now_ns, const struct lock_key *key, uint64_t fence,
                  uint64_t *connection_id)
{
    struct claim *claim = resource_find_grant(table, now_ns, key, fence);

    if (!claim)
        return false;
    *connection_id = client_connection_id(table, claim->client);
    table->counters.revocations++;
    resource_lose_grant(table, now_ns, claim);
    return true;
}

bool table_knows_token(const struct table *table, struct lock_token token)
{
    const struct claim *claim = resource_find_fence(table, token.fence);

    return claim && claim->salt == token.salt;
}

/* ---- connections that drain or disconnect ---- */

bool table_cancel(struct table *table, uint64_t now_ns, uint64_t connection_id)
{
    const struct client *client = client_find(table, connection_id);
    struct claim *claim = client ? client_blocked_claim(client) : NULL;

    if (!claim || !claim_is(claim, CLAIMS_WAITING))
        return false;
    table->counters.waits_cancelled++;
    resource_remove_waiter(table, now_ns, claim);
    return true;
}

/*
 * The client of `claim` makes no further `w`, so the claim's wait or enqueued state ends. A grant
 * that the client knows stays. Returns false if there is nothing to end.
 */
static bool table_leave_queue(struct table *table, uint64_t now_ns, struct claim *claim)
{
    if (claim->state == CLAIM_HELD)
        return false;
    if (claim_is(claim, CLAIMS_WAITING)) {
        table->counters.waits_cancelled++;
        resource_remove_waiter(table, now_ns, claim);
    } else if (claim->state == CLAIM_LOST) {
        resource_remove_lost(table, claim);
    } else if (claim->state == CLAIM_HELD_UNSEEN) {
        resource_remove_holder(table, now_ns, claim);
    } else {
        claim_end_enqueued(table, claim);
        client_settle_claim(claim);
    }
    return true;
}

bool table_leave_queues(struct table *table, uint64_t now_ns, uint64_t connection_id,
                        uint32_t *steps)
{
    const struct client *client;

    while ((client = client_find(table, connection_id))) {
        struct list_link *link = client->claims.first;

        /* The client may not have received this grant yet: table_disconnect must know that. */
        if (claim_of(link)->state == CLAIM_HELD_BLOCKED)
            link = chain_next(&client->claims, link);
        if (!link)
            return true;
        if (*steps == 0)
            return false;
        if (!table_leave_queue(table, now_ns, claim_of(link)))
            return true;
        --*steps;
    }
    return true;
}

/* Handles the first claim of a client that disconnects. Returns false if all that are left stay. */
static bool table_disconnect_step(struct table *table, uint64_t now_ns, struct client *client,
                                  bool pending)
{
    struct claim *claim = claim_of(client->claims.first);
    bool in_transit = claim->state == CLAIM_HELD_BLOCKED && pending;

    if (claim_is(claim, CLAIMS_HOLDING) && (in_transit || table->policy.release_on_disconnect)) {
        resource_remove_holder(table, now_ns, claim);
        return true;
    }
    return table_leave_queue(table, now_ns, claim);
}

bool table_disconnect(struct table *table, uint64_t now_ns, uint64_t connection_id, bool pending,
                      uint32_t *steps)
{
    struct client *client = client_find(table, connection_id);

    if (client)
        client->watched = false;
    for (; client && *steps > 0; --*steps) {
        if (!table_disconnect_step(table, now_ns, client, pending))
            return true;
        client = client_find(table, connection_id);
    }
    return !client;
}

bool table_watch(struct table *table, uint64_t connection_id)
{
    struct client *client = client_find(table, connection_id);

    if (!client || client_active(client) == 0)
        return false;
    client->watched = true;
    return true;
}

bool table_holds(const struct table *table, uint64_t connection_id)
{
    const struct client *client = client_find(table, connection_id);

    return client && client->holding > 0;
}

uint32_t table_claims(const struct table *table, uint64_t connection_id)
{
    const struct client *client = client_find(table, connection_id);

    return client ? client_active(client) : 0;
}

bool table_unwatch(struct table *table, uint64_t connection_id)
{
    struct client *client = client_find(table, connection_id);
    bool watched = client && client->watched;

    if (watched)
        client->watched = false;
    return watched;
}

/* ---- time ---- */

uint64_t table_deadline(const struct table *table)
{
    return resource_expiry_ns(table, heap_top_key(&table->deadlines));
}

void table_stop_granting(struct table *table)
{
    table->paused = true;
    heap_remove(&table->deadlines, &table->resumption);
}

struct table_resumption {
    struct table *table;
    uint64_t now_ns;
};

static void table_resume_resource(void *context, struct map_link *link)
{
    const struct table_resumption *resumption = context;

    resource_grant_later(resumption->table, resumption->now_ns,
                         CONTAINER_OF(link, struct resource, link));
}

/* Ends the pause, and makes the first waiters in one bucket due for a grant. */
static void table_resume(struct table *table, uint64_t now_ns)
{
    struct table_resumption resumption = {.table = table, .now_ns = now_ns};

    table->paused = false;
    table->resumed =
        map_walk(&table->resources, table->resumed, table_resume_resource, &resumption);
    if (table->resumed == 0)
        heap_remove(&table->deadlines, &table->resumption);
}

static void table_expire_first(struct table *table, uint64_t now_ns)
{
    struct heap_node *first = heap_top(&table->deadlines);
    struct claim *claim = CONTAINER_OF(first, struct claim, deadline);

    bool due = first != &table->resumption && claim_is_due(claim);

    table->grants_in_row = due ? table->grants_in_row + 1 : 0;
    if (first == &table->resumption)
        table_resume(table, now_ns);
    else if (claim_is(claim, CLAIMS_HOLDING))
        resource_expire_lease(table, now_ns, claim);
    else
        resource_expire_wait(table, now_ns, claim);
}

bool table_expire(struct table *table, uint64_t now_ns, uint32_t *steps)
{
    for (; *steps > 0; --*steps) {
        if (heap_top_key(&table->deadlines) <= now_ns) {
            table_expire_first(table, now_ns);
        } else if (resource_expiry_ns(table, UINT64_MAX) <= now_ns) {
            resource_expire_idle(table);
        } else {
            return false;
        }
    }
    return table_deadline(table) <= now_ns;
}

/* ---- the table as a whole ---- */

void lock_budget_init(struct lock_budget *budget, uint64_t resources_max, uint64_t claims_max,
                      uint32_t tables)
{
    uint64_t batch = claims_max / BUDGET_BATCHES / tables;

    *budget = (struct lock_budget){.max = resources_max, .claims_max = claims_max};
    budget->claims_batch = batch < CLAIMS_BATCH_MAX ? (uint32_t)batch : CLAIMS_BATCH_MAX;
    if (batch < 1)
        budget->claims_batch = 1;
}

bool table_init(struct table *table, const struct lock_context *context,
                const struct lock_policy *policy, struct lock_budget *budget)
{
    const struct memory *memory = &table->context.memory;
    uint32_t chunk_bytes = context->chunk_bytes ? context->chunk_bytes : POOL_CHUNK_BYTES;

    static_assert(offsetof(struct resource, key) + DFLOCKD_KEY_MAX <=
                      (size_t)RESOURCE_SIZES * RESOURCE_SIZE_STEP,
                  "a pool for the longest key");
    assert(policy->gc_interval_ns > 0);

    table->context = *context;
    mix_init(&table->mix, context->secret);
    table->policy = *policy;
    table->budget = budget;
    table->promises = 0;
    table->claim_count = 0;
    table->paused = policy->grant_from_ns > 0;
    table->resumed = 0;
    table->resumption.place = 0;
    table->grants_due = 0;
    table->grants_in_row = 0;
    table->counters = (struct lock_counters){0};
    table->claims_room = budget->claims_max ? 0 : UINT32_MAX;
    table->claims_spare = budget->claims_max ? 2 * (budget->claims_batch - 1) : UINT32_MAX;
    list_init(&table->idle);
    for (uint32_t i = 0; i < RESOURCE_SIZES; i++)
        pool_init_chunks(&table->resource_pools[i], memory, (size_t)(i + 1) * RESOURCE_SIZE_STEP,
                         chunk_bytes);
    claim_init_pools(table, chunk_bytes);
    pool_init_chunks(&table->client_pool, memory, sizeof(struct client), chunk_bytes);
    heap_init(&table->deadlines, memory);
    map_init(&table->resources, memory);
    map_init(&table->tokens, memory);
    map_init(&table->clients, memory);
    map_init(&table->enqueued, memory);
    if (map_reserve(&table->resources) && map_reserve(&table->tokens) &&
        map_reserve(&table->clients) && map_reserve(&table->enqueued) &&
        (!table->paused || heap_reserve(&table->deadlines, 1))) {
        if (table->paused)
            heap_insert(&table->deadlines, &table->resumption, policy->grant_from_ns);
        return true;
    }
    table_free(table);
    return false;
}

static void table_pick_client(void *context, struct map_link *link)
{
    *(struct client **)context = CONTAINER_OF(link, struct client, link);
}

static void table_discard_effect(void *context, uint64_t connection_id,
                                 const struct lock_answer *answer)
{
    (void)context;
    (void)connection_id;
    (void)answer;
}

void table_free(struct table *table)
{
    uint64_t position = 0;
    uint32_t steps = UINT32_MAX;

    table->context.effect = table_discard_effect;
    table->policy.release_on_disconnect = true;
    table_stop_granting(table);
    while (table->clients.count > 0) {
        struct client *client = NULL;
        uint64_t next = map_walk(&table->clients, position, table_pick_client, &client);

        if (client)
            table_disconnect(table, 0, client_connection_id(table, client), true, &steps);
        else
            position = next; /* no client is left in these buckets */
    }
    while (!list_empty(&table->idle)) {
        struct resource *resource = resource_first_idle(table);

        list_remove(&resource->idle_link);
        resource_remove(table, resource);
    }
    if (table->budget->claims_max)
        atomic_fetch_sub(&table->budget->claims_used, table->claims_room);
    for (uint32_t i = 0; i < RESOURCE_SIZES; i++)
        pool_free(&table->resource_pools[i]);
    for (uint32_t i = 0; i < TABLE_CLAIM_POOLS; i++)
        pool_free(&table->claim_pools[i]);
    pool_free(&table->client_pool);
    heap_free(&table->deadlines);
    map_free(&table->resources);
    map_free(&table->tokens);
    map_free(&table->clients);
    map_free(&table->enqueued);
}
