/*
 * The lock table: limits on states (--max-locks), on a key's waiters (--max-waiters) and on claims
 * (--max-claims and --max-claims-per-connection), and the precedence of errors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table_transcript.h"

static const struct rules defaults;

static void states_beyond_the_cap_are_refused(void **state)
{
    (void)state;
    play((struct rules){.states_max = 2},
         LINES("1 l a 0 30 = ok a 30", "1 l b 0 30 = ok b 30", "1 l c 0 30 = error_max_locks",
               "2 l c 60 30 = error_max_locks", "2 e c 30 = error_max_locks",
               "2 sl c 0 2 30 = error_max_locks", "2 se c 2 30 = error_max_locks",
               "see lock c = none", "see semaphore c = none", "used = 2", "2 holds = nothing",
               "2 w c 10 = error_not_enqueued"));
}

static void locks_and_semaphores_share_the_cap(void **state)
{
    (void)state;
    play((struct rules){.states_max = 2},
         LINES("1 l k 0 30 = ok a 30", "1 sl k 0 2 30 = ok b 30", "used = 2",
               "1 l j 0 30 = error_max_locks", "1 sl j 0 2 30 = error_max_locks"));
}

static void idle_states_count_until_they_are_collected(void **state)
{
    (void)state;
    play((struct rules){.states_max = 1},
         LINES("1 l k 0 30 = ok a 30", "1 r k a = ok", "used = 1", "at 59.999999999",
               "2 l j 0 30 = error_max_locks", "at 60", "used = 0", "2 l j 0 30 = ok b 30"));
}

static void a_key_that_exists_is_never_refused_by_the_cap(void **state)
{
    (void)state;
    play((struct rules){.states_max = 1},
         LINES("1 l k 0 30 = ok a 30", "2 l k 0 30 = timeout", "2 l k 60 30 = pending",
               "3 e k 30 = queued", "1 r k a = ok", "-> 2 ok b 30", "2 r k b = ok",
               "3 w k 0 = ok c 30", "3 r k c = ok", "4 l k 0 30 = ok d 30", "4 r k d = ok",
               "5 e k 30 = acquired e 30"));
}

static void a_cap_of_0_refuses_all_keys(void **state)
{
    static struct fixture fixture;
    struct lock_key key;

    (void)state;
    fixture_start(&fixture, &defaults);
    fixture.budget.max = 0;
    key = fixture_key(&fixture, LOCK_KIND_LOCK, "k");
    for (uint64_t client = 1; client < 1000; client++) {
        assert_int_equal(
            apply_to_table(&fixture.table, 0, acquire_request(client, &key, 1, 9, 9)).outcome,
            DFLOCKD_ERROR_MAX_LOCKS);
        assert_int_equal(
            apply_to_table(&fixture.table, 0, enqueue_request(client, &key, 1, 9)).outcome,
            DFLOCKD_ERROR_MAX_LOCKS);
        fixture_check(&fixture);
    }
    assert_int_equal(fixture.table.clients.count, 0);
    fixture_end(&fixture);
}

static void two_tables_share_one_budget(void **state)
{
    static struct fixture first;
    static struct fixture second;
    struct lock_key key;
    struct lock_token token;

    (void)state;
    fixture_start(&first, &(struct rules){.states_max = 1, .collect_at_once = true});
    fixture_start(&second, &(struct rules){.collect_at_once = true});
    second.table.budget = &first.budget;
    key = fixture_key(&first, LOCK_KIND_LOCK, "k");
    token = apply_to_table(&first.table, 0, acquire_request(1, &key, 1, 0, 30)).token;
    assert_int_equal(apply_to_table(&second.table, 0, acquire_request(1, &key, 1, 0, 30)).outcome,
                     DFLOCKD_ERROR_MAX_LOCKS);
    assert_int_equal(apply_to_table(&first.table, 0, release_request(&key, token)).outcome,
                     DFLOCKD_OK);
    assert_int_equal(apply_to_table(&second.table, 0, acquire_request(1, &key, 1, 0, 30)).outcome,
                     DFLOCKD_OK);
    assert_int_equal(apply_to_table(&first.table, 0, acquire_request(1, &key, 1, 0, 30)).outcome,
                     DFLOCKD_ERROR_MAX_LOCKS);
    fixture_check(&first);
    fixture_check(&second);
    fixture_end(&second);
    fixture_end(&first);
}

static void waiters_beyond_the_cap_are_refused(void **state)
{
    (void)state;
    play((struct rules){.waiters_max = 2},
         LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "3 e k 30 = queued",
               "4 l k 60 30 = error_max_waiters", "4 e k 30 = error_max_waiters",
               "4 w k 60 = error_not_enqueued", "4 holds = nothing", "see lock k = 1 1 2 1 30 0",
               "4 l j 0 30 = ok b 30", "3 w k 60 = pending", "2 cancel = yes",
               "4 l k 60 30 = pending", "5 l k 60 30 = error_max_waiters"));
}

static void the_cap_on_waiters_is_reported_before_a_timeout_of_0(void **state)
{
    (void)state;
    play((struct rules){.waiters_max = 1},
         LINES("1 l k 0 30 = ok a 30", "2 l k 0 30 = timeout", "2 l k 60 30 = pending",
               "3 l k 0 30 = error_max_waiters", "at 5", "2 cancel = yes", "3 l k 0 30 = timeout"));
}

static void the_cap_on_waiters_counts_per_key(void **state)
{
    (void)state;
    play((struct rules){.waiters_max = 1},
         LINES("1 l k 0 30 = ok a 30", "1 sl k 0 1 30 = ok b 30", "1 l j 0 30 = ok c 30",
               "2 l k 60 30 = pending", "3 sl k 60 1 30 = pending", "4 l j 60 30 = pending",
               "5 sl k 60 1 30 = error_max_waiters"));
}

static void a_free_slot_is_granted_at_any_cap_on_waiters(void **state)
{
    (void)state;
    play((struct rules){.waiters_max = 1},
         LINES("1 sl k 0 3 30 = ok a 30", "2 sl k 0 3 30 = ok b 30", "3 se k 3 30 = acquired c 30",
               "4 sl k 9 3 30 = pending", "5 sl k 9 3 30 = error_max_waiters"));
}

static void a_limit_mismatch_is_reported_before_the_cap_on_waiters(void **state)
{
    (void)state;
    play((struct rules){.waiters_max = 1, .states_max = 1},
         LINES("1 sl k 0 1 30 = ok a 30", "2 sl k 9 1 30 = pending",
               "3 sl k 9 2 30 = error_limit_mismatch", "3 se k 2 30 = error_limit_mismatch"));
}

/* ---- claims ---- */

static void claims_beyond_the_cap_are_refused(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 2},
         LINES("1 sl k 0 3 30 = ok a 30", "1 sl k 0 3 30 = ok b 30",
               "1 sl k 0 3 30 = error_max_locks", "2 sl k 9 3 30 = error_max_locks",
               "2 se k 3 30 = error_max_locks", "2 l j 0 30 = error_max_locks", "used = 1",
               "2 holds = nothing", "1 sr k a = ok", "2 l j 0 30 = ok c 30",
               "1 sl k 0 3 30 = error_max_locks", "room = 2"));
}

static void a_new_enqueue_takes_the_room_of_the_lost_lease(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 1},
         LINES("1 e k 10 = acquired a 10", "at 11", "2 l j 0 30 = error_max_locks",
               "1 e k 10 = acquired b 10", "at 22", "1 l k 0 30 = error_max_locks",
               "1 w k 0 = error_lease_expired", "2 l j 0 30 = ok c 30",
               "1 e k 10 = error_max_locks", "room = 1"));
}

static void waiters_beyond_the_cap_on_claims_are_refused(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 2},
         LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "3 l k 60 30 = error_max_waiters",
               "3 e k 30 = error_max_waiters", "3 l k 0 30 = timeout", "1 r k a = ok",
               "3 l k 60 30 = pending", "1 l j 0 30 = error_max_locks", "2 w k 60 = ok b 30",
               "2 r k b = ok", "-> 3 ok c 30", "1 l j 0 30 = ok d 30"));
}

static void errors_of_the_key_are_reported_before_the_cap_on_claims(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 2, .waiters_max = 1},
         LINES("1 sl k 0 1 30 = ok a 30", "2 se k 1 30 = queued",
               "3 sl k 9 2 30 = error_limit_mismatch", "2 se k 1 30 = error_already_enqueued",
               "3 sl k 0 1 30 = error_max_waiters", "3 sw k 9 = error_not_enqueued"));
    play((struct rules){.claims_max_each = 1, .waiters_max = 1},
         LINES("1 sl k 0 1 30 = ok a 30", "1 sl k 0 1 30 = timeout",
               "1 sl k 9 2 30 = error_limit_mismatch", "2 se k 1 30 = queued",
               "2 se k 1 30 = error_already_enqueued", "1 sl k 0 1 30 = error_max_waiters"));
}

static void claims_of_one_connection_are_limited(void **state)
{
    (void)state;
    play((struct rules){.claims_max_each = 2},
         LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "2 e j 30 = acquired b 30",
               "2 l i 0 30 = error_max_locks", "1 l j 9 30 = pending", "1 cancel = yes",
               "1 e j 30 = queued", "1 e i 30 = error_max_locks", "1 l k 9 30 = error_max_waiters",
               "1 e k 30 = error_max_waiters", "3 l i 0 30 = ok c 30", "1 r k a = ok",
               "2 w k 0 = ok d 30", "1 l h 0 30 = ok e 30"));
}

static void own_is_never_refused_by_a_cap_on_claims(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 2, .claims_max_each = 1},
         LINES("1 l k 0 30 = ok a 30", "2 l j 0 30 = ok b 30", "2 o k a = ok",
               "1 l i 0 30 = error_max_locks", "2 r j b = ok", "2 l i 0 30 = error_max_locks",
               "1 l i 0 30 = ok c 30"));
}

static void a_lost_lease_counts_as_a_claim_until_its_wait(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 1, .claims_max_each = 1},
         LINES("1 e k 5 = acquired a 5", "at 5", "2 l j 0 30 = error_max_locks",
               "1 w k 0 = error_lease_expired", "2 l j 0 30 = ok b 30"));
    play((struct rules){.claims_max = 2, .claims_max_each = 1},
         LINES("1 e k 5 = acquired a 5", "at 5", "1 e k 30 = acquired b 30",
               "2 l j 0 30 = ok c 30"));
}

static void room_for_claims_comes_and_goes_in_batches(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 8, .claims_batch = 3},
         LINES("room = 0", "1 l a 0 30 = ok a 30", "room = 3", "1 l b 0 30 = ok b 30",
               "1 l c 0 30 = ok c 30", "room = 3", "1 l d 0 30 = ok d 30", "room = 6",
               "1 r a a = ok", "1 r b b = ok", "room = 6", "1 r c c = ok", "room = 3",
               "1 r d d = ok", "room = 3", "1 sl k 0 9 30 = ok m 30", "1 sl k 0 9 30 = ok n 30",
               "1 sl k 0 9 30 = ok o 30", "1 sl k 0 9 30 = ok p 30", "1 sl k 0 9 30 = ok q 30",
               "1 sl k 0 9 30 = ok r 30", "room = 6", "1 sl k 0 9 30 = ok s 30", "room = 8",
               "1 sl k 0 9 30 = ok t 30", "1 sl k 0 9 30 = error_max_locks", "1 gone"));
}

static void a_refused_request_keeps_no_room(void **state)
{
    (void)state;
    play((struct rules){.claims_max = 4, .states_max = 1},
         LINES("1 l k 0 30 = ok a 30", "1 l j 0 30 = error_max_locks", "room = 1"));
}

static void the_batch_follows_from_the_cap_and_the_tables(void **state)
{
    static const struct {
        uint64_t claims_max;
        uint32_t tables;
        uint32_t batch;
    } cases[] = {
        {1, 1, 1},     {127, 1, 1},     {128, 1, 2},         {1024, 16, 1},
        {4096, 16, 4}, {65536, 16, 64}, {INT32_MAX, 64, 64}, {0, 16, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lock_budget budget;

        lock_budget_init(&budget, 7, cases[i].claims_max, cases[i].tables);
        assert_int_equal(budget.max, 7);
        assert_int_equal(budget.claims_batch, cases[i].batch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_beyond_the_cap_are_refused),
        cmocka_unit_test(locks_and_semaphores_share_the_cap),
        cmocka_unit_test(idle_states_count_until_they_are_collected),
        cmocka_unit_test(a_key_that_exists_is_never_refused_by_the_cap),
        cmocka_unit_test(a_cap_of_0_refuses_all_keys),
        cmocka_unit_test(two_tables_share_one_budget),
        cmocka_unit_test(waiters_beyond_the_cap_are_refused),
        cmocka_unit_test(the_cap_on_waiters_is_reported_before_a_timeout_of_0),
        cmocka_unit_test(the_cap_on_waiters_counts_per_key),
        cmocka_unit_test(a_free_slot_is_granted_at_any_cap_on_waiters),
        cmocka_unit_test(a_limit_mismatch_is_reported_before_the_cap_on_waiters),
        cmocka_unit_test(claims_beyond_the_cap_are_refused),
        cmocka_unit_test(a_new_enqueue_takes_the_room_of_the_lost_lease),
        cmocka_unit_test(waiters_beyond_the_cap_on_claims_are_refused),
        cmocka_unit_test(errors_of_the_key_are_reported_before_the_cap_on_claims),
        cmocka_unit_test(claims_of_one_connection_are_limited),
        cmocka_unit_test(own_is_never_refused_by_a_cap_on_claims),
        cmocka_unit_test(a_lost_lease_counts_as_a_claim_until_its_wait),
        cmocka_unit_test(room_for_claims_comes_and_goes_in_batches),
        cmocka_unit_test(a_refused_request_keeps_no_room),
        cmocka_unit_test(the_batch_follows_from_the_cap_and_the_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
