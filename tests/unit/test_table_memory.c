/*
 * The lock table and memory: failed allocations, no allocations in a steady state, and the release
 * of every block.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "table_fixture.h"

static const struct rules defaults;

static void table_init_fails_without_memory(void **state)
{
    static struct fixture fixture;
    uint64_t allocations = 0;

    (void)state;
    while (!fixture_try_start(&fixture, &defaults, allocations)) {
        memory_counted_assert_returned(&fixture.memory);
        allocations++;
    }
    assert_true(allocations > 0);
    fixture.memory.fail_after = UINT64_MAX;
    fixture_check(&fixture);
    fixture_end(&fixture);
}

/* ---- every allocation fails in turn ---- */

enum {
    CROWD_KEYS = 40, /* of many lengths; each length has its own pool */
    CROWD_CLIENTS = 200
};

struct crowd {
    struct fixture fixture;
    char names[CROWD_KEYS][DFLOCKD_KEY_MAX + 1];
    struct lock_token tokens[CROWD_KEYS];
    uint64_t held;
    uint64_t waiting;
    uint64_t errors;
};

static struct lock_key crowd_key(const struct crowd *crowd, uint32_t index)
{
    return fixture_key(&crowd->fixture, index & 1 ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK,
                       crowd->names[index]);
}

/* Adds the claims of a key, to compare them with the replies. */
static void add_up(void *context, const struct lock_view *view)
{
    struct crowd *sum = context;

    sum->held += view->holders;
    sum->waiting += view->waiters;
}

static void crowd_compare(struct crowd *crowd)
{
    static struct crowd sum;
    uint64_t position = 0;

    sum.held = 0;
    sum.waiting = 0;
    do
        position = table_walk(&crowd->fixture.table, crowd->fixture.now_ns, (struct lock_walk){0},
                              position, add_up, &sum);
    while (position);
    assert_int_equal(sum.held, crowd->held);
    assert_int_equal(sum.waiting, crowd->waiting);
    fixture_check(&crowd->fixture);
}

static void crowd_note(struct crowd *crowd, uint32_t index, const struct lock_answer *answer)
{
    switch (answer->outcome) {
    case DFLOCKD_OK:
    case DFLOCKD_ACQUIRED:
        crowd->tokens[index] = answer->token;
        crowd->held++;
        break;
    case LOCK_PENDING:
    case DFLOCKD_QUEUED:
        crowd->waiting++;
        break;
    default:
        assert_int_equal(answer->outcome, DFLOCKD_ERROR);
        crowd->errors++;
    }
    crowd_compare(crowd);
}

/* Each client requests a key, every third one by `e`; then all holders release. */
static void crowd_play(struct crowd *crowd)
{
    struct table *table = &crowd->fixture.table;

    for (uint32_t i = 0; i < CROWD_CLIENTS; i++) {
        struct lock_key key = crowd_key(crowd, i % CROWD_KEYS);
        struct lock_answer answer =
            i % 3 == 0 ? apply_to_table(table, 0, enqueue_request(i, &key, 1, 30))
                       : apply_to_table(table, 0, acquire_request(i, &key, 1, 60, 30));

        crowd_note(crowd, i % CROWD_KEYS, &answer);
    }
    for (uint32_t i = 0; i < CROWD_KEYS; i++) {
        struct lock_key key = crowd_key(crowd, i);
        struct lock_token token = crowd->tokens[i];
        uint64_t fence = crowd->fixture.fence_last;

        if (!token.fence)
            continue;
        assert_int_equal(apply_to_table(table, 0, renew_request(&key, token, 40)).outcome,
                         DFLOCKD_OK);
        assert_int_equal(apply_to_table(table, 0, release_request(&key, token)).outcome,
                         DFLOCKD_OK);
        crowd->held -= crowd->fixture.fence_last == fence;
        crowd->waiting -= crowd->fixture.fence_last - fence;
        crowd_compare(crowd);
    }
}

static void crowd_start(struct crowd *crowd)
{
    memset(crowd, 0, sizeof(*crowd));
    fixture_start(&crowd->fixture, &defaults);
    for (uint32_t i = 0; i < CROWD_KEYS; i++) {
        memset(crowd->names[i], 'a' + (int)(i % 26), 1 + i * 6);
        crowd->names[i][0] = (char)('A' + (int)(i % 26));
    }
}

static void one_failed_allocation_loses_no_claim(void **state)
{
    static struct crowd crowd;
    uint64_t needed;

    (void)state;
    crowd_start(&crowd);
    needed = crowd.fixture.memory.calls;
    crowd_play(&crowd);
    needed = crowd.fixture.memory.calls - needed;
    assert_int_equal(crowd.errors, 0);
    assert_true(needed > 20);
    fixture_end(&crowd.fixture);

    for (uint64_t allocations = 0; allocations < needed; allocations++) {
        crowd_start(&crowd);
        crowd.fixture.memory.fail_after = allocations;
        crowd_play(&crowd);
        crowd.fixture.memory.fail_after = UINT64_MAX;
        for (uint32_t i = 0; i < CROWD_CLIENTS; i++)
            fixture_disconnect(&crowd.fixture, i, i % 3 != 0, 1);
        crowd.held = 0;
        crowd.waiting = 0;
        crowd_compare(&crowd);
        fixture_end(&crowd.fixture);
    }
}

static void without_memory_a_request_is_an_error_and_changes_nothing(void **state)
{
    static struct crowd crowd;

    (void)state;
    crowd_start(&crowd);
    crowd.fixture.memory.fail_after = 0;
    crowd_play(&crowd);
    assert_int_equal(crowd.errors, CROWD_CLIENTS);
    assert_int_equal(atomic_load(&crowd.fixture.budget.used), 0);
    assert_int_equal(crowd.fixture.table.clients.count, 0);
    fixture_end(&crowd.fixture);
}

static void short_memory_keeps_an_enqueued_state_as_it_was(void **state)
{
    static struct fixture fixture;
    struct lock_key key;

    (void)state;
    fixture_start(&fixture, &defaults);
    key = fixture_key(&fixture, LOCK_KIND_LOCK, "k");
    assert_int_equal(apply_to_table(&fixture.table, 0, enqueue_request(1, &key, 1, 5)).outcome,
                     DFLOCKD_ACQUIRED);
    fixture.now_ns = 5 * FIXTURE_SECOND;
    fixture_expire(&fixture, 1);
    /* The chunk of the lost claim is a spare one; others must use it up first. */
    fixture.memory.fail_after = 0;
    for (uint64_t client = 2;; client++) {
        struct lock_answer answer =
            apply_to_table(&fixture.table, fixture.now_ns, enqueue_request(client, &key, 1, 30));

        fixture_check(&fixture);
        if (answer.outcome == DFLOCKD_ERROR)
            break;
    }
    assert_int_equal(
        apply_to_table(&fixture.table, fixture.now_ns, enqueue_request(1, &key, 1, 5)).outcome,
        DFLOCKD_ERROR);
    assert_int_equal(
        apply_to_table(&fixture.table, fixture.now_ns, wait_request(1, &key, 5)).outcome,
        DFLOCKD_ERROR_LEASE_EXPIRED);
    assert_int_equal(
        apply_to_table(&fixture.table, fixture.now_ns, wait_request(1, &key, 5)).outcome,
        DFLOCKD_ERROR_NOT_ENQUEUED);
    fixture_check(&fixture);
    fixture_end(&fixture);
}

/* Only a new claim needs memory. */
static void releasing_and_granting_need_no_memory(void **state)
{
    static struct crowd crowd;
    struct table *table = &crowd.fixture.table;
    uint64_t calls;

    (void)state;
    crowd_start(&crowd);
    for (uint32_t i = 0; i < CROWD_CLIENTS; i++) {
        struct lock_key key = crowd_key(&crowd, i % CROWD_KEYS);
        struct lock_answer answer = apply_to_table(table, 0, enqueue_request(i, &key, 1, 30));

        crowd_note(&crowd, i % CROWD_KEYS, &answer);
    }
    crowd.fixture.memory.fail_after = 0;
    calls = crowd.fixture.memory.calls;
    for (uint32_t i = CROWD_KEYS; i < 2 * CROWD_KEYS; i++) {
        struct lock_key key = crowd_key(&crowd, i % CROWD_KEYS);

        assert_int_equal(apply_to_table(table, 0, wait_request(i, &key, 60)).outcome, LOCK_PENDING);
    }
    for (uint32_t i = 0; i < CROWD_CLIENTS; i += 2)
        fixture_disconnect(&crowd.fixture, i, true, 2);
    crowd.fixture.now_ns = 30 * FIXTURE_SECOND;
    fixture_expire(&crowd.fixture, 3);
    crowd.fixture.now_ns = 1000 * FIXTURE_SECOND;
    fixture_expire(&crowd.fixture, 3);
    assert_int_equal(crowd.fixture.memory.calls, calls);
    fixture_end(&crowd.fixture);
}

/* ---- steady state ---- */

enum {
    PAIRS = 1000000
};

struct routine {
    const char *name;
    void (*once)(struct fixture *fixture, const struct lock_key *key);
};

static void acquire_and_release(struct fixture *fixture, const struct lock_key *key)
{
    struct lock_answer answer =
        apply_to_table(&fixture->table, fixture->now_ns, acquire_request(1, key, 1, 0, 30));

    assert_true(answer.outcome == DFLOCKD_OK);
    answer = apply_to_table(&fixture->table, fixture->now_ns, release_request(key, answer.token));
    assert_true(answer.outcome == DFLOCKD_OK);
}

static void pair_with_renewal(struct fixture *fixture, const struct lock_key *key)
{
    struct lock_answer grant =
        apply_to_table(&fixture->table, fixture->now_ns, acquire_request(1, key, 1, 0, 30));
    struct lock_answer answer =
        apply_to_table(&fixture->table, fixture->now_ns, renew_request(key, grant.token, 40));

    assert_true(answer.outcome == DFLOCKD_OK);
    answer = apply_to_table(&fixture->table, fixture->now_ns, release_request(key, grant.token));
    assert_true(answer.outcome == DFLOCKD_OK);
}

static void hand_over_pair(struct fixture *fixture, const struct lock_key *key)
{
    struct lock_answer first =
        apply_to_table(&fixture->table, fixture->now_ns, acquire_request(1, key, 1, 0, 30));
    struct lock_answer answer =
        apply_to_table(&fixture->table, fixture->now_ns, acquire_request(2, key, 1, 9, 30));

    assert_true(answer.outcome == LOCK_PENDING);
    fixture->effect_count = 0;
    answer = apply_to_table(&fixture->table, fixture->now_ns, release_request(key, first.token));
    assert_true(answer.outcome == DFLOCKD_OK && fixture->effect_count == 1);
    answer = apply_to_table(&fixture->table, fixture->now_ns,
                            release_request(key, fixture->effects[0].answer.token));
    assert_true(answer.outcome == DFLOCKD_OK);
}

static void enqueue_wait_release(struct fixture *fixture, const struct lock_key *key)
{
    struct lock_answer grant =
        apply_to_table(&fixture->table, fixture->now_ns, enqueue_request(1, key, 1, 30));
    struct lock_answer answer =
        apply_to_table(&fixture->table, fixture->now_ns, wait_request(1, key, 9));

    assert_true(grant.outcome == DFLOCKD_ACQUIRED && answer.outcome == DFLOCKD_OK);
    assert_true(answer.token.fence == grant.token.fence);
    answer = apply_to_table(&fixture->table, fixture->now_ns, release_request(key, answer.token));
    assert_true(answer.outcome == DFLOCKD_OK);
}

static void connect_hold_and_vanish(struct fixture *fixture, const struct lock_key *key)
{
    uint64_t client = fixture->fence_last + 10;
    struct lock_answer answer =
        apply_to_table(&fixture->table, fixture->now_ns, acquire_request(client, key, 1, 0, 30));

    assert_true(answer.outcome == DFLOCKD_OK);
    assert_true(table_disconnect(&fixture->table, fixture->now_ns, client, false, &(uint32_t){10}));
}

static void a_table_in_steady_use_allocates_nothing(void **state)
{
    static const struct routine routines[] = {
        {"acquire, release", acquire_and_release},
        {"acquire, renew, release", pair_with_renewal},
        {"acquire, hand over, release", hand_over_pair},
        {"enqueue, wait, release", enqueue_wait_release},
        {"acquire, disconnect", connect_hold_and_vanish},
    };
    static struct fixture fixture;
    struct lock_key key;

    (void)state;
    for (size_t i = 0; i < sizeof(routines) / sizeof(routines[0]); i++) {
        uint64_t calls;

        fixture_start(&fixture, &defaults);
        key = fixture_key(&fixture, LOCK_KIND_LOCK, "k");
        for (int warm = 0; warm < 10; warm++)
            routines[i].once(&fixture, &key);
        calls = fixture.memory.calls;
        for (int n = 0; n < PAIRS; n++)
            routines[i].once(&fixture, &key);
        if (fixture.memory.calls != calls)
            fail_msg("%s: %llu calls for memory", routines[i].name,
                     (unsigned long long)(fixture.memory.calls - calls));
        fixture_check(&fixture);
        fixture_end(&fixture);
    }
}

/* ---- release of every block ---- */

enum {
    MANY = 20000
};

/* Acquires a key of the client's own; its disconnect releases it. */
static void take_own(struct fixture *fixture, uint32_t client)
{
    char name[16];
    struct lock_key key;

    snprintf(name, sizeof(name), "k%u", client);
    key = fixture_key(fixture, LOCK_KIND_LOCK, name);
    assert_int_equal(
        apply_to_table(&fixture->table, 0, acquire_request(client, &key, 1, 0, 30)).outcome,
        DFLOCKD_OK);
}

static void a_table_shrinks(void **state)
{
    static struct fixture fixture;
    uint64_t bytes_small;
    uint64_t bytes_large;

    (void)state;
    fixture_start(&fixture, &(struct rules){.states_max = MANY, .collect_at_once = true});
    take_own(&fixture, 0);
    bytes_small = fixture.memory.bytes;
    for (uint32_t client = 1; client < MANY; client++)
        take_own(&fixture, client);
    bytes_large = fixture.memory.bytes;
    assert_true(bytes_large > 20 * bytes_small);
    for (uint32_t client = 0; client < MANY; client++)
        assert_true(table_disconnect(&fixture.table, 0, client, false, &(uint32_t){10}));
    fixture_check(&fixture);
    assert_int_equal(atomic_load(&fixture.budget.used), 0);
    assert_true(fixture.memory.bytes < bytes_large / 10);
    /* The maps release a bucket with each removed element. */
    for (uint32_t client = 0; client < MANY; client++) {
        take_own(&fixture, client);
        assert_true(table_disconnect(&fixture.table, 0, client, false, &(uint32_t){10}));
    }
    assert_true(fixture.memory.bytes < 2 * bytes_small);
    fixture_end(&fixture);
}

static void a_table_can_be_freed_in_any_state(void **state)
{
    static struct crowd crowd;

    (void)state;
    crowd_start(&crowd);
    crowd_play(&crowd);
    crowd.fixture.now_ns = 10 * FIXTURE_SECOND;
    assert_true(crowd.held > 0 && crowd.waiting > 0);
    fixture_end(&crowd.fixture);

    crowd_start(&crowd);
    crowd_play(&crowd);
    crowd.fixture.now_ns = 45 * FIXTURE_SECOND;
    fixture_expire(&crowd.fixture, 5);
    fixture_end(&crowd.fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_init_fails_without_memory),
        cmocka_unit_test(one_failed_allocation_loses_no_claim),
        cmocka_unit_test(without_memory_a_request_is_an_error_and_changes_nothing),
        cmocka_unit_test(short_memory_keeps_an_enqueued_state_as_it_was),
        cmocka_unit_test(releasing_and_granting_need_no_memory),
        cmocka_unit_test(a_table_in_steady_use_allocates_nothing),
        cmocka_unit_test(a_table_shrinks),
        cmocka_unit_test(a_table_can_be_freed_in_any_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
