#include "lock/claim.h"

#include "base/time_units.h"

static bool claim_take_promise(struct table *table)
{
    if (table->context.fence_promise && !table->context.fence_promise(table->context.user_data))
        return false;
    table->promises++;
    return true;
}

static void claim_return_promise(struct table *table)
{
    table->promises--;
    if (table->context.fence_return)
        table->context.fence_return(table->context.user_data);
}

/* ---- memory ---- */

static const struct claim_form claim_forms[TABLE_CLAIM_POOLS] = {
    {.two_phase = false, .exclusive = false},
    {.two_phase = false, .exclusive = true},
    {.two_phase = true, .exclusive = false},
    {.two_phase = true, .exclusive = true},
};

/* The bytes before the claim in its object. */
static size_t claim_offset(struct claim_form form)
{
    return form.exclusive ? 0 : sizeof(struct holder_part);
}

static struct pool *claim_pool(struct table *table, struct claim_form form)
{
    return &table->claim_pools[form.two_phase * 2 + form.exclusive];
}

void claim_init_pools(struct table *table, uint32_t chunk_bytes)
{
    for (uint32_t i = 0; i < TABLE_CLAIM_POOLS; i++) {
        struct claim_form form = claim_forms[i];
        size_t bytes = form.two_phase ? sizeof(struct two_phase) : sizeof(struct claim);

        pool_init_chunks(claim_pool(table, form), &table->context.memory,
                         claim_offset(form) + bytes, chunk_bytes);
    }
}

static struct claim *claim_take(struct table *table, struct claim_form form)
{
    char *object = pool_take(claim_pool(table, form));

    if (!object)
        return NULL;
    table->claim_count++;
    return (struct claim *)(object + claim_offset(form));
}

static void claim_give(struct table *table, struct claim *claim)
{
    struct claim_form form = {.two_phase = claim->two_phase, .exclusive = claim->exclusive};

    table->claim_count--;
    pool_give(claim_pool(table, form), (char *)claim - claim_offset(form));
}

bool claim_take_room(struct table *table)
{
    struct lock_budget *budget = table->budget;
    uint64_t used = atomic_load_explicit(&budget->claims_used, memory_order_relaxed);
    uint32_t batch;

    do {
        uint64_t left = budget->claims_max - used;

        batch = left < budget->claims_batch ? (uint32_t)left : budget->claims_batch;
        if (batch == 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->claims_used, &used, used + batch,
                                                    memory_order_relaxed, memory_order_relaxed));
    table->claims_room += batch;
    return true;
}

void claim_return_room(struct table *table)
{
    struct lock_budget *budget = table->budget;

    if (table->claims_room - table->claim_count <= table->claims_spare)
        return;
    table->claims_room -= budget->claims_batch;
    atomic_fetch_sub_explicit(&budget->claims_used, budget->claims_batch, memory_order_relaxed);
}

static void claim_start_enqueued(struct table *table, struct claim *claim, uint64_t lease_s)
{
    struct two_phase *two_phase = two_phase_of(claim);

    two_phase->lease_s = lease_s;
    map_insert(&table->enqueued, &two_phase->link, enqueued_hash(claim->client, claim->resource));
}

struct claim *claim_create(struct table *table, uint64_t connection_id, struct resource *resource,
                           uint64_t lease_s, struct claim_form form)
{
    struct client *client = client_find_or_create(table, connection_id);
    struct claim *claim;

    if (!client)
        return NULL;
    claim = claim_take(table, form);
    if (!claim) {
        client_remove_unused(table, client);
        return NULL;
    }
    claim->two_phase = form.two_phase;
    claim->exclusive = form.exclusive;
    if (!(heap_reserve(&table->deadlines, table->claim_count + 1) && claim_take_promise(table))) {
        claim_give(table, claim);
        client_remove_unused(table, client);
        return NULL;
    }
    client_reply_received(client);
    claim->client = client;
    claim->resource = resource;
    claim->lease_s = lease_s & CLAIM_LEASE_MASK;
    claim->due = 0;
    claim->start_low = 0;
    claim->state = form.two_phase ? CLAIM_QUEUED : CLAIM_BLOCKED;
    claim->start = 0;
    claim->deadline.place = 0;
    if (form.two_phase)
        claim_start_enqueued(table, claim, lease_s);
    return claim;
}

static void claim_set_key(struct table *table, struct claim *claim, uint64_t key)
{
    if (heap_contains(&claim->deadline))
        heap_update(&table->deadlines, &claim->deadline, key);
    else
        heap_insert(&table->deadlines, &claim->deadline, key);
}

void claim_set_deadline(struct table *table, uint64_t now_ns, struct claim *claim, uint64_t seconds)
{
    claim_set_key(table, claim, now_ns + seconds * NS_PER_S);
}

void claim_set_due(struct table *table, uint64_t now_ns, struct claim *claim)
{
    uint64_t key = ++table->grants_due;

    if (table->grants_in_row >= TABLE_GRANTS_IN_ROW_MAX) {
        table->grants_in_row = 0;
        key = now_ns;
    }
    claim_set_key(table, claim, key);
    claim->due = 1;
}

bool claim_is_due(const struct claim *claim)
{
    return claim_is(claim, CLAIMS_WAITING) && claim->due;
}

bool claim_lease_is_over(const struct table *table, uint64_t now_ns, const struct claim *claim)
{
    return heap_key(&table->deadlines, &claim->deadline) <= now_ns;
}

void claim_grant(struct table *table, uint64_t now_ns, struct claim *claim, enum claim_state state)
{
    struct resource *resource = claim->resource;
    struct lock_token token;

    assert(claim_slots(claim) <= resource_slots_left(resource));
    table->context.token_next(table->context.user_data, &token);
    table->promises--;
    claim_set_deadline(table, now_ns, claim, claim->lease_s);
    claim->state = (uint32_t)state & CLAIM_STATE_MASK;
    claim_start_hold(claim, now_ns);
    claim->salt = token.salt;
    map_insert(&table->tokens, &claim->token_link, mix_hash(&table->mix, token.fence));
    claim->client->holding++;
    table->counters.grants++;
    if (!resource_is_lock(resource))
        table->counters.semaphore_holders++;
    else if (resource->taken == 0)
        table->counters.locks_held++;
    if (claim->exclusive) {
        resource->taken = resource->limit;
    } else {
        struct chain holders = resource_holders(resource);

        chain_push_front(&holders, claim_holder_link(claim));
        resource->taken = (resource->taken + 1) & LIMIT_MASK;
    }
    resource->owner = claim;
}

struct lock_answer claim_answer(const struct table *table, int outcome, const struct claim *claim,
                                uint64_t lease_s)
{
    return (struct lock_answer){
        .outcome = outcome,
        .token = {.fence = mix_number(&table->mix, claim->token_link.hash), .salt = claim->salt},
        .lease_s = lease_s,
        .deadline_ns = heap_key(&table->deadlines, &claim->deadline),
    };
}

struct claim *claim_find_enqueued(const struct table *table, const struct client *client,
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

void claim_end_enqueued(struct table *table, struct claim *claim)
{
    if (claim_is(claim, CLAIMS_ENQUEUED))
        map_remove(&table->enqueued, &two_phase_of(claim)->link);
}

void claim_deactivate(struct table *table, struct claim *claim)
{
    struct client *client = claim->client;

    if (claim_is(claim, CLAIMS_WAITING)) {
        claim_return_promise(table);
        client->waiting--;
        --*resource_waiter_counter(table, claim->resource);
    } else {
        client->holding--;
    }
    heap_remove(&table->deadlines, &claim->deadline);
    client_report_idle(table, client);
}

void claim_remove(struct table *table, struct claim *claim)
{
    struct client *client = claim->client;

    chain_remove(&client->claims, &claim->client_link);
    claim_give(table, claim);
    heap_trim(&table->deadlines, table->claim_count + 1);
    claim_return_room(table);
    client_remove_unused(table, client);
}
