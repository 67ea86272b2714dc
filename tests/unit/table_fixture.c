#include "table_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

uint64_t fixture_random(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);

    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

uint64_t fixture_salt(uint64_t fence)
{
    uint64_t state = fence ^ UINT64_C(0x73616c74);

    return fixture_random(&state) | 1;
}

static void fixture_token(void *context, struct lock_token *token)
{
    struct fixture *fixture = context;

    assert_true(fixture->promised > 0);
    fixture->promised--;
    token->fence = ++fixture->fence_last;
    token->salt = fixture_salt(token->fence);
}

static bool fixture_promise(void *context)
{
    struct fixture *fixture = context;

    if (fixture->fence_last + fixture->promised >= fixture->fence_max)
        return false;
    fixture->promised++;
    return true;
}

static void fixture_return(void *context)
{
    struct fixture *fixture = context;

    assert_true(fixture->promised > 0);
    fixture->promised--;
}

static void fixture_record_effect(void *context, uint64_t connection_id,
                                  const struct lock_answer *answer)
{
    struct fixture *fixture = context;

    assert_true(fixture->effect_count < FIXTURE_EFFECTS_MAX);
    fixture->effects[fixture->effect_count++] =
        (struct fixture_effect){.connection_id = connection_id, .answer = *answer};
}

bool fixture_try_start(struct fixture *fixture, const struct rules *rules, uint64_t allocations)
{
    uint64_t idle_s = rules->gc_max_idle_s ? rules->gc_max_idle_s : FIXTURE_GC_MAX_IDLE_S;
    uint64_t interval_s = rules->gc_interval_s ? rules->gc_interval_s : FIXTURE_GC_INTERVAL_S;
    struct lock_policy policy = {
        .waiters_max = rules->waiters_max,
        .gc_max_idle_ns = rules->collect_at_once ? 0 : idle_s * FIXTURE_SECOND,
        .gc_interval_ns = interval_s * FIXTURE_SECOND,
        .release_on_disconnect = !rules->keep_on_disconnect,
        .grant_from_ns = rules->grant_from_s * FIXTURE_SECOND,
    };
    struct lock_context context = {
        .secret = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)},
        .token_next = fixture_token,
        .fence_promise = fixture_promise,
        .fence_return = fixture_return,
        .effect = fixture_record_effect,
        .user_data = fixture,
    };

    memory_counted_init(&fixture->memory);
    fixture->memory.fail_after = allocations;
    context.memory = fixture->memory.memory;
    fixture->now_ns = 0;
    fixture->fence_last = 0;
    fixture->fence_max = UINT64_MAX;
    fixture->promised = 0;
    fixture->hash_mask = UINT64_MAX;
    fixture->effect_count = 0;
    lock_budget_init(&fixture->budget, rules->states_max ? rules->states_max : FIXTURE_STATES_MAX,
                     rules->claims_max, 1);
    if (rules->claims_batch)
        fixture->budget.claims_batch = rules->claims_batch;
    return table_init(&fixture->table, &context, &policy, &fixture->budget);
}

void fixture_start(struct fixture *fixture, const struct rules *rules)
{
    assert_true(fixture_try_start(fixture, rules, UINT64_MAX));
}

void fixture_end(struct fixture *fixture)
{
    fixture->effect_count = 0;
    table_free(&fixture->table);
    assert_int_equal(fixture->effect_count, 0);
    assert_int_equal(atomic_load(&fixture->budget.used), 0);
    assert_int_equal(atomic_load(&fixture->budget.claims_used), 0);
    assert_int_equal(fixture->promised, 0);
    memory_counted_assert_returned(&fixture->memory);
}

void fixture_check(const struct fixture *fixture)
{
    const char *problem = NULL;

    if (!table_check(&fixture->table, &problem))
        fail_msg("the table is not valid: %s", problem);
    assert_int_equal(fixture->table.promises, fixture->promised);
}

struct lock_key fixture_key(const struct fixture *fixture, enum lock_kind kind, const char *bytes)
{
    struct lock_key key = {.bytes = (const uint8_t *)bytes, .kind = kind};
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    key.length = (uint32_t)strlen(bytes);
    for (uint32_t i = 0; i < key.length; i++)
        hash = (hash ^ key.bytes[i]) * UINT64_C(0x100000001b3);
    hash ^= hash >> 29;
    if (kind == LOCK_KIND_SEMAPHORE)
        hash = ~hash;
    key.hash = hash & fixture->hash_mask;
    return key;
}

uint64_t fixture_holds_until(const struct table *table, uint64_t now_ns, uint64_t id)
{
    struct map_link *found = map_find(&table->clients, mix_hash(&table->mix, id));
    const struct client *client = found ? CONTAINER_OF(found, struct client, link) : NULL;
    uint64_t until_ns = 0;

    if (!client)
        return 0;
    for (const struct list_link *at = client->claims.first; at;
         at = chain_next(&client->claims, at)) {
        const struct claim *claim = CONTAINER_OF(at, struct claim, client_link);

        if (claim_is(claim, CLAIMS_WAITING))
            return UINT64_MAX;
        if (claim->state == CLAIM_LOST)
            continue;
        if (heap_key(&table->deadlines, &claim->deadline) > now_ns)
            until_ns = heap_key(&table->deadlines, &claim->deadline);
    }
    return until_ns;
}

void fixture_expire(struct fixture *fixture, uint32_t steps)
{
    uint32_t left = steps;

    for (; table_expire(&fixture->table, fixture->now_ns, &left); left = steps)
        fixture_check(fixture);
    assert_true(table_deadline(&fixture->table) > fixture->now_ns);
    fixture_check(fixture);
}

void fixture_disconnect(struct fixture *fixture, uint64_t client, bool pending, uint32_t steps)
{
    uint32_t left = steps;

    for (; !table_disconnect(&fixture->table, fixture->now_ns, client, pending, &left);
         left = steps)
        fixture_check(fixture);
    fixture_check(fixture);
}
