/*
 * The lock table: who holds a key and who waits for it, over days, and revocations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lock/table.h"
#include "table_fixture.h"

enum {
    HOLD_UNIT = 1 << CLAIM_HOLD_SHIFT, /* ns */
    WAIT_UNIT = 1 << CLAIM_WAIT_SHIFT,
    LEASE_S = 1000000000 /* 31 years */
};

#define DAY (86400 * FIXTURE_SECOND)

/* A holder's age counts modulo this. */
#define HOLD_WRAP ((uint64_t)HOLD_UNIT << 27)

static const struct rules defaults;
static struct fixture fixture;
static struct lock_details details;

static struct lock_key key_of(enum lock_kind kind)
{
    return fixture_key(&fixture, kind, "key");
}

static struct lock_answer request(enum dflockd_command command, uint64_t client, uint32_t limit,
                                  uint64_t wait_s)
{
    bool semaphore = command == DFLOCKD_SEMAPHORE_ACQUIRE || command == DFLOCKD_SEMAPHORE_ENQUEUE;

    return apply_to_table(&fixture.table, fixture.now_ns,
                          (struct lock_request){
                              .command = command,
                              .connection_id = client,
                              .key = key_of(semaphore ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK),
                              .limit = limit,
                              .wait_s = wait_s,
                              .lease_s = LEASE_S,
                          });
}

static void acquire(enum dflockd_command command, uint64_t client)
{
    assert_int_equal(request(command, client, 1, 0).outcome, DFLOCKD_OK);
}

static void wait_in_queue(enum dflockd_command command, uint64_t client)
{
    assert_int_equal(request(command, client, 1, LEASE_S).outcome, LOCK_PENDING);
}

static const struct lock_details *show(enum lock_kind kind)
{
    struct lock_key key = key_of(kind);

    assert_true(table_show(&fixture.table, fixture.now_ns, &key, &details));
    return &details;
}

static bool revoke(uint64_t fence, uint64_t *client)
{
    struct lock_key key = key_of(LOCK_KIND_LOCK);
    bool revoked = table_revoke(&fixture.table, fixture.now_ns, &key, fence, client);

    fixture_check(&fixture);
    return revoked;
}

/* ---- time ---- */

/* The table's time starts at each of these. */
static const uint64_t starts[] = {0,
                                  1,
                                  FIXTURE_SECOND - 1,
                                  HOLD_WRAP - 1,
                                  HOLD_WRAP,
                                  HOLD_WRAP - 5 * FIXTURE_SECOND,
                                  12345 * DAY + 6789,
                                  UINT64_C(1) << 62};

static const uint64_t ages[] = {0,
                                1,
                                WAIT_UNIT - 1,
                                WAIT_UNIT,
                                HOLD_UNIT - 1,
                                HOLD_UNIT,
                                FIXTURE_SECOND,
                                3600 * FIXTURE_SECOND,
                                DAY,
                                100 * DAY + 1,
                                HOLD_WRAP - HOLD_UNIT - 1,
                                HOLD_WRAP + 7 * FIXTURE_SECOND,
                                3650 * DAY};

enum {
    STARTS = sizeof(starts) / sizeof(starts[0]),
    AGES = sizeof(ages) / sizeof(ages[0])
};

static void assert_age(uint64_t shown, uint64_t age, uint64_t unit)
{
    uint64_t difference = shown > age ? shown - age : age - shown;

    if (difference >= unit)
        fail_msg("an age of %llu ns is shown as %llu", (unsigned long long)age,
                 (unsigned long long)shown);
}

static void ages_are_exact_over_years(void **state)
{
    (void)state;
    for (int start = 0; start < STARTS; start++) {
        fixture_start(&fixture, &defaults);
        fixture.now_ns = starts[start];
        acquire(DFLOCKD_ACQUIRE, 1);
        wait_in_queue(DFLOCKD_ACQUIRE_SHARED, 2);
        for (int age = 0; age < AGES; age++) {
            fixture.now_ns = starts[start] + ages[age];
            assert_age(show(LOCK_KIND_LOCK)->holders[0].age_ns, ages[age] % HOLD_WRAP, HOLD_UNIT);
            assert_age(details.waiters[0].age_ns, ages[age], WAIT_UNIT);
            if (ages[age] < LEASE_S * FIXTURE_SECOND) {
                assert_int_equal(details.holders[0].left_ns, LEASE_S * FIXTURE_SECOND - ages[age]);
                assert_int_equal(details.waiters[0].left_ns, details.holders[0].left_ns);
            }
        }
        fixture_end(&fixture);
    }
}

static void holding_starts_with_the_grant_and_not_with_the_request_or_a_renewal(void **state)
{
    struct lock_token token = {.fence = 1, .salt = fixture_salt(1)};
    struct lock_key key;

    (void)state;
    fixture_start(&fixture, &defaults);
    key = key_of(LOCK_KIND_LOCK);
    acquire(DFLOCKD_ACQUIRE, 1);
    wait_in_queue(DFLOCKD_ACQUIRE, 2);
    fixture.now_ns = 9 * DAY;
    assert_int_equal(
        apply_to_table(&fixture.table, fixture.now_ns, renew_request(&key, token, 60)).outcome,
        DFLOCKD_OK);
    assert_age(show(LOCK_KIND_LOCK)->holders[0].age_ns, 9 * DAY, HOLD_UNIT);
    assert_int_equal(details.holders[0].left_ns, 60 * FIXTURE_SECOND);
    assert_age(details.waiters[0].age_ns, 9 * DAY, WAIT_UNIT);
    assert_int_equal(
        apply_to_table(&fixture.table, fixture.now_ns, release_request(&key, token)).outcome,
        DFLOCKD_OK);
    assert_int_equal(show(LOCK_KIND_LOCK)->holders[0].connection_id, 2);
    assert_age(details.holders[0].age_ns, 0, HOLD_UNIT);
    assert_int_equal(details.waiter_count, 0);
    fixture_end(&fixture);
}

static void a_lease_that_is_over_has_nothing_left(void **state)
{
    (void)state;
    fixture_start(&fixture, &defaults);
    acquire(DFLOCKD_ACQUIRE, 1);
    wait_in_queue(DFLOCKD_ACQUIRE, 2);
    fixture.now_ns = (LEASE_S + 1) * FIXTURE_SECOND;
    assert_int_equal(show(LOCK_KIND_LOCK)->holders[0].left_ns, 0);
    assert_int_equal(details.waiters[0].left_ns, 0);
    fixture_end(&fixture);
}

/* ---- lists ---- */

static void claims_have_their_order_mode_fence_and_client(void **state)
{
    (void)state;
    fixture_start(&fixture, &defaults);
    acquire(DFLOCKD_ACQUIRE_SHARED, 11);
    acquire(DFLOCKD_ACQUIRE_SHARED, 12);
    assert_int_equal(request(DFLOCKD_ENQUEUE_SHARED, 13, 1, 0).outcome, DFLOCKD_ACQUIRED);
    assert_int_equal(request(DFLOCKD_ENQUEUE, 14, 1, 0).outcome, DFLOCKD_QUEUED);
    wait_in_queue(DFLOCKD_ACQUIRE_SHARED, 15);
    wait_in_queue(DFLOCKD_ACQUIRE, 16);
    assert_int_equal(show(LOCK_KIND_LOCK)->holder_count, 3);
    assert_int_equal(details.waiter_count, 3);
    assert_int_equal(details.limit, 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(details.holders[i].connection_id, 11 + i);
        assert_int_equal(details.holders[i].fence, 1 + i);
        assert_false(details.holders[i].exclusive);
        assert_int_equal(details.waiters[i].connection_id, 14 + i);
        assert_int_equal(details.waiters[i].fence, 0);
        assert_int_equal(details.waiters[i].exclusive, i != 1);
        assert_int_equal(details.waiters[i].left_ns == TABLE_NO_DEADLINE, i == 0);
    }
    fixture_end(&fixture);
}

static void the_first_claims_are_shown_and_all_are_counted(void **state)
{
    enum {
        SLOTS = TABLE_SHOWN_MAX + 50
    };

    (void)state;
    fixture_start(&fixture, &defaults);
    for (uint32_t i = 1; i <= 2 * SLOTS; i++)
        assert_int_equal(request(DFLOCKD_SEMAPHORE_ACQUIRE, i, SLOTS, i <= SLOTS ? 0 : 60).outcome,
                         i <= SLOTS ? DFLOCKD_OK : LOCK_PENDING);
    assert_int_equal(show(LOCK_KIND_SEMAPHORE)->holder_count, SLOTS);
    assert_int_equal(details.waiter_count, SLOTS);
    assert_int_equal(details.limit, SLOTS);
    for (uint32_t i = 0; i < TABLE_SHOWN_MAX; i++) {
        assert_int_equal(details.holders[i].connection_id, 1 + i);
        assert_int_equal(details.holders[i].fence, 1 + i);
        assert_int_equal(details.waiters[i].connection_id, SLOTS + 1 + i);
        assert_int_equal(details.waiters[i].left_ns, 60 * FIXTURE_SECOND);
    }
    fixture_end(&fixture);
}

static void an_idle_key_has_neither_and_others_are_unknown(void **state)
{
    struct lock_key key;

    (void)state;
    fixture_start(&fixture, &defaults);
    acquire(DFLOCKD_ACQUIRE, 1);
    key = key_of(LOCK_KIND_SEMAPHORE);
    assert_false(table_show(&fixture.table, 0, &key, &details));
    key = fixture_key(&fixture, LOCK_KIND_LOCK, "kex");
    assert_false(table_show(&fixture.table, 0, &key, &details));
    key = key_of(LOCK_KIND_LOCK);
    apply_to_table(&fixture.table, 0,
                   release_request(&key, (struct lock_token){1, fixture_salt(1)}));
    assert_int_equal(show(LOCK_KIND_LOCK)->holder_count, 0);
    assert_int_equal(details.waiter_count, 0);
    fixture_end(&fixture);
}

static void a_lost_claim_is_not_shown(void **state)
{
    uint64_t client = 0;

    (void)state;
    fixture_start(&fixture, &defaults);
    assert_int_equal(request(DFLOCKD_ENQUEUE, 1, 1, 0).outcome, DFLOCKD_ACQUIRED);
    assert_true(revoke(1, &client));
    assert_int_equal(client, 1);
    assert_int_equal(show(LOCK_KIND_LOCK)->holder_count, 0);
    assert_int_equal(details.waiter_count, 0);
    acquire(DFLOCKD_ACQUIRE, 2);
    assert_int_equal(show(LOCK_KIND_LOCK)->holder_count, 1);
    assert_int_equal(details.holders[0].connection_id, 2);
    fixture_end(&fixture);
}

static void waiters_of_a_paused_table_are_shown(void **state)
{
    (void)state;
    fixture_start(&fixture, &(struct rules){.grant_from_s = 20});
    assert_int_equal(request(DFLOCKD_ENQUEUE, 1, 1, 0).outcome, DFLOCKD_QUEUED);
    wait_in_queue(DFLOCKD_ACQUIRE, 2);
    fixture.now_ns = 19 * FIXTURE_SECOND;
    assert_int_equal(show(LOCK_KIND_LOCK)->holder_count, 0);
    assert_int_equal(details.waiter_count, 2);
    assert_int_equal(details.waiters[0].left_ns, TABLE_NO_DEADLINE);
    assert_int_equal(details.waiters[1].left_ns, (LEASE_S - 19) * FIXTURE_SECOND);
    assert_age(details.waiters[1].age_ns, fixture.now_ns, WAIT_UNIT);
    fixture_end(&fixture);
}

/* TABLE_GRANTS_MAX waiters are granted at once; the next one is due. */
static void a_waiter_that_is_due_is_shown(void **state)
{
    struct lock_key key;

    (void)state;
    for (int queued = 0; queued < 2; queued++) {
        fixture_start(&fixture, &defaults);
        fixture.now_ns = DAY;
        key = key_of(LOCK_KIND_LOCK);
        acquire(DFLOCKD_ACQUIRE, 1);
        for (uint32_t i = 0; i < TABLE_GRANTS_MAX; i++)
            wait_in_queue(DFLOCKD_ACQUIRE_SHARED, 2 + i);
        assert_int_equal(
            request(queued ? DFLOCKD_ENQUEUE_SHARED : DFLOCKD_ACQUIRE_SHARED, 90, 1, 60).outcome,
            queued ? (int)DFLOCKD_QUEUED : LOCK_PENDING);
        fixture.now_ns += FIXTURE_SECOND;
        apply_to_table(&fixture.table, fixture.now_ns,
                       release_request(&key, (struct lock_token){1, fixture_salt(1)}));
        assert_int_equal(show(LOCK_KIND_LOCK)->holder_count, TABLE_GRANTS_MAX);
        assert_int_equal(details.waiter_count, 1);
        assert_int_equal(details.waiters[0].connection_id, 90);
        assert_age(details.waiters[0].age_ns, FIXTURE_SECOND, WAIT_UNIT);
        assert_int_equal(details.waiters[0].left_ns, queued ? TABLE_NO_DEADLINE : 0);
        fixture_end(&fixture);
    }
}

/* ---- revocations ---- */

static void a_revocation_hands_over_to_the_next_waiter(void **state)
{
    uint64_t client = 0;

    (void)state;
    fixture_start(&fixture, &defaults);
    acquire(DFLOCKD_ACQUIRE, 1);
    wait_in_queue(DFLOCKD_ACQUIRE, 2);
    assert_false(revoke(2, &client));
    assert_int_equal(fixture.effect_count, 0);
    assert_true(revoke(1, &client));
    assert_int_equal(client, 1);
    assert_int_equal(fixture.effect_count, 1);
    assert_int_equal(fixture.effects[0].connection_id, 2);
    assert_int_equal(fixture.effects[0].answer.token.fence, 2);
    assert_false(revoke(1, &client));
    assert_true(table_knows_token(&fixture.table, fixture.effects[0].answer.token));
    assert_true(revoke(2, &client));
    assert_int_equal(client, 2);
    assert_false(table_knows_token(&fixture.table, fixture.effects[0].answer.token));
    fixture_end(&fixture);
}

static void a_revocation_of_one_of_many_holders_leaves_the_chain_intact(void **state)
{
    static const uint64_t orders[][3] = {{1, 2, 3}, {3, 2, 1}, {2, 1, 3}, {2, 3, 1}};

    (void)state;
    for (int order = 0; order < 4; order++) {
        fixture_start(&fixture, &defaults);
        for (uint64_t client = 1; client <= 3; client++)
            acquire(DFLOCKD_ACQUIRE_SHARED, client);
        wait_in_queue(DFLOCKD_ACQUIRE, 4);
        for (uint32_t left = 3; left > 0; left--) {
            uint64_t client = 0;

            assert_int_equal(show(LOCK_KIND_LOCK)->holder_count, left);
            assert_int_equal(fixture.effect_count, 0);
            assert_true(revoke(orders[order][3 - left], &client));
            assert_int_equal(client, orders[order][3 - left]);
        }
        assert_int_equal(fixture.effect_count, 1);
        assert_int_equal(show(LOCK_KIND_LOCK)->holders[0].connection_id, 4);
        fixture_end(&fixture);
    }
}

/* The effect with the revoked grant is on its way while the client disconnects. */
static void a_client_that_leaves_after_its_revocation_keeps_its_other_grants(void **state)
{
    struct lock_key other;
    uint64_t client = 0;
    uint32_t steps = UINT32_MAX;

    (void)state;
    fixture_start(&fixture, &(struct rules){.keep_on_disconnect = true});
    other = fixture_key(&fixture, LOCK_KIND_LOCK, "other");
    acquire(DFLOCKD_ACQUIRE, 1);
    assert_int_equal(
        apply_to_table(&fixture.table, 0, acquire_request(2, &other, 1, 0, 60)).outcome,
        DFLOCKD_OK);
    wait_in_queue(DFLOCKD_ACQUIRE, 2);
    assert_true(revoke(1, &client));
    assert_true(revoke(3, &client));
    assert_int_equal(client, 2);
    assert_true(table_disconnect(&fixture.table, 0, 2, true, &steps));
    fixture_check(&fixture);
    assert_true(table_show(&fixture.table, 0, &other, &details));
    assert_int_equal(details.holder_count, 1);
    assert_int_equal(details.holders[0].connection_id, 2);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ages_are_exact_over_years),
        cmocka_unit_test(holding_starts_with_the_grant_and_not_with_the_request_or_a_renewal),
        cmocka_unit_test(a_lease_that_is_over_has_nothing_left),
        cmocka_unit_test(claims_have_their_order_mode_fence_and_client),
        cmocka_unit_test(the_first_claims_are_shown_and_all_are_counted),
        cmocka_unit_test(an_idle_key_has_neither_and_others_are_unknown),
        cmocka_unit_test(a_lost_claim_is_not_shown),
        cmocka_unit_test(waiters_of_a_paused_table_are_shown),
        cmocka_unit_test(a_waiter_that_is_due_is_shown),
        cmocka_unit_test(a_revocation_hands_over_to_the_next_waiter),
        cmocka_unit_test(a_revocation_of_one_of_many_holders_leaves_the_chain_intact),
        cmocka_unit_test(a_client_that_leaves_after_its_revocation_keeps_its_other_grants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
