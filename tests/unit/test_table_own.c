/*
 * `own` moves a grant from one client to another. It decides which disconnect releases the grant,
 * and which connection is not idle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table_transcript.h"

static const struct rules defaults;

static void an_owned_grant_outlives_the_client_that_acquired_it(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 o k a = ok", "1 gone", "see lock k = 1 1 0 2 30 0",
               "1 holds = nothing", "2 holds = 30", "2 gone", "see lock k = 1 0 0 0 0 0"));
    play(defaults, LINES("1 sl k 0 2 30 = ok a 30", "1 sl k 0 2 30 = ok b 30", "2 so k a = ok",
                         "1 gone", "see semaphore k = 2 1 0 2 30 0", "2 sr k a = ok", "2 gone",
                         "see semaphore k = 2 0 0 0 0 0"));
}

static void the_token_and_the_lease_stay_as_they_were(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "at 10", "2 o k a = ok", "deadline = 30",
                         "1 n k a 40 = ok 40", "deadline = 50", "3 r k a = ok", "2 holds = nothing",
                         "2 o k a = error"));
}

static void only_the_token_of_a_grant_that_holds_the_key_owns_it(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "1 l j 0 30 = ok b 30", "2 o k a! = error",
               "2 o k a+ = error", "2 o k b = error", "2 o j a = error", "2 so k a = error",
               "2 holds = nothing", "1 gone", "see lock k = 1 0 0 0 0 0", "2 o k a = error"));
    play(defaults, LINES("1 l k 0 30 = ok a 30", "late 30", "2 o k a = error", "2 holds = nothing",
                         "see lock k = 1 0 0 0 0 0"));
    play(defaults, LINES("1 l k 0 5 = ok a 5", "2 l k 60 30 = pending", "late 5", "3 o k a = error",
                         "-> 2 ok b 30", "3 o k a = error"));
}

static void owning_an_own_claim_changes_nothing(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 e k 30 = acquired a 30", "1 o k a = ok",
               "1 e k 30 = "
               "error_already_enqueued",
               "1 w k 0 = ok a 30", "1 o k a = ok", "1 gone", "see lock k = 1 0 0 0 0 0"));
}

static void the_enqueued_state_of_the_former_client_ends(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 30 = acquired a 30", "2 o k a = ok", "1 w k 0 = error_not_enqueued",
                         "2 w k 0 = error_not_enqueued", "1 e k 30 = queued", "2 r k a = ok",
                         "1 w k 0 = ok b 30"));
    play(defaults,
         LINES("1 e k 30 = acquired a 30", "2 o k a = ok", "at 30", "1 w k 0 = error_not_enqueued",
               "2 w k 0 = error_not_enqueued", "deadline = 90"));
}

static void the_enqueued_state_of_the_owner_stays(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "2 o k a = ok",
                         "2 w k 9 = pending", "2 r k a = ok", "-> 2 ok b 30"));
}

static void a_grant_that_came_as_an_effect_can_be_owned(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "1 r k a = ok",
                         "-> 2 ok b 30", "3 o k b = ok", "2 gone pending",
                         "see lock k = 1 1 0 3 30 0", "3 gone", "see lock k = 1 0 0 0 0 0"));
}

static void a_grant_of_a_disconnected_client_can_be_owned(void **state)
{
    (void)state;
    play((struct rules){.keep_on_disconnect = true},
         LINES("1 l k 0 30 = ok a 30", "1 gone", "2 o k a = ok", "2 holds = 30",
               "1 holds = nothing", "2 gone", "see lock k = 1 1 0 2 30 0", "at 30",
               "see lock k = 1 0 0 0 0 0"));
}

static void the_former_client_gets_an_idle_notice(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "1 watch = yes", "2 watch = no", "2 o k a = ok",
                         "-> 1 idle", "2 watch = yes", "2 r k a = ok", "-> 2 idle"));
    play(defaults, LINES("1 l k 0 30 = ok a 30", "1 l j 0 30 = ok b 30", "1 watch = yes",
                         "2 o k a = ok", "2 o j b = ok", "-> 1 idle"));
}

static void a_change_of_owner_leaves_the_queue_alone(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "3 l k 60 30 = pending",
               "4 o k a = ok", "1 gone", "4 gone", "-> 2 ok b 30", "2 r k b = ok", "-> 3 ok c 30"));
}

static void owning_without_memory_is_an_error_and_changes_nothing(void **state)
{
    static struct fixture fixture;
    struct lock_token token;
    struct lock_key key;
    uint64_t client = 0;

    (void)state;
    fixture_start(&fixture, &defaults);
    key = fixture_key(&fixture, LOCK_KIND_SEMAPHORE, "k");
    do
        token =
            apply_to_table(&fixture.table, 0, acquire_request(++client, &key, 10000, 0, 30)).token;
    while (!list_empty(&fixture.table.client_pool.partial));
    fixture.memory.fail_after = 0;
    assert_int_equal(
        apply_to_table(&fixture.table, 0, own_request(client + 1, &key, token)).outcome,
        DFLOCKD_ERROR);
    fixture_check(&fixture);
    assert_true(table_watch(&fixture.table, client));
    assert_int_equal(apply_to_table(&fixture.table, 0, own_request(1, &key, token)).outcome,
                     DFLOCKD_OK);
    fixture_check(&fixture);
    assert_false(table_watch(&fixture.table, client));
    fixture.memory.fail_after = UINT64_MAX;
    assert_int_equal(
        apply_to_table(&fixture.table, 0, own_request(client + 1, &key, token)).outcome,
        DFLOCKD_OK);
    fixture_end(&fixture);
}

static void a_lease_moves_to_its_new_client(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 leases = no", "1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "1 leases = yes",
               "2 leases = no", "3 o k a = ok", "1 leases = no", "3 leases = yes", "3 r k a = ok",
               "-> 2 ok b 30", "3 leases = no", "2 leases = yes"));
}

static void a_lost_lease_is_none(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 5 = acquired a 5", "1 leases = yes", "at 5", "1 leases = no",
                         "1 e k 30 = acquired b 30", "1 leases = yes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_owned_grant_outlives_the_client_that_acquired_it),
        cmocka_unit_test(the_token_and_the_lease_stay_as_they_were),
        cmocka_unit_test(only_the_token_of_a_grant_that_holds_the_key_owns_it),
        cmocka_unit_test(owning_an_own_claim_changes_nothing),
        cmocka_unit_test(the_enqueued_state_of_the_former_client_ends),
        cmocka_unit_test(the_enqueued_state_of_the_owner_stays),
        cmocka_unit_test(a_grant_that_came_as_an_effect_can_be_owned),
        cmocka_unit_test(a_grant_of_a_disconnected_client_can_be_owned),
        cmocka_unit_test(the_former_client_gets_an_idle_notice),
        cmocka_unit_test(a_change_of_owner_leaves_the_queue_alone),
        cmocka_unit_test(owning_without_memory_is_an_error_and_changes_nothing),
        cmocka_unit_test(a_lease_moves_to_its_new_client),
        cmocka_unit_test(a_lost_lease_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
