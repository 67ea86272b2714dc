/*
 * The counters of a lock table. table_check compares those of the present with the claims after
 * each line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table_transcript.h"

static const struct rules defaults;
static const struct rules keeps = {.keep_on_disconnect = true};

static void a_new_table_has_counted_nothing(void **state)
{
    (void)state;
    play(defaults, LINES("count = none"));
}

static void grants_count_and_releases_end_them(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "1 l j 0 30 = ok b 30", "count = grants 2, locks 2",
               "2 l k 0 30 = timeout", "1 n k a 30 = ok 30", "count = grants 2, locks 2",
               "1 r k a = ok", "count = grants 2, locks 1", "1 gone", "count = grants 2"));
}

static void shared_holders_are_one_held_lock(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 rl k 0 30 = ok a 30", "2 rl k 0 30 = ok b 30", "count = grants 2, locks 1",
               "1 r k a = ok", "count = grants 2, locks 1", "2 r k b = ok", "count = grants 2"));
}

static void a_semaphore_of_limit_1_counts_as_a_lock(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 sl k 0 1 30 = ok a 30", "2 sl k 9 1 30 = pending", "3 sl j 0 2 30 = ok b 30",
               "4 sl j 0 2 30 = ok c 30", "5 sl j 9 2 30 = pending",
               "count = grants 3, waits 2, locks 1, lock-waiters 1, holders 2, waiters 1"));
}

static void a_granted_waiter_counts_in_the_bucket_of_its_wait(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 20 30 = pending", "at 0.05", "1 r k a = ok",
                         "-> 2 ok b 30", "count = grants 2, waits 1, locks 1, waited 2:1",
                         "3 e k 30 = queued", "at 5", "2 r k b = ok",
                         "count = grants 3, waits 2, locks 1, waited 2:1, waited 4:1"));
}

static void an_ended_lease_counts_in_the_bucket_of_its_delay(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 5 = ok a 5", "2 l j 0 7 = ok b 7", "at 5.5",
                         "count = grants 2, ended 1, locks 1, late 3:1", "late 7",
                         "2 r j b = error", "count = grants 2, ended 2, late 0:1, late 3:1"));
}

static void a_bound_belongs_to_its_bucket(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 5 = ok a 5", "1 l j 0 5 = ok b 5", "at 15",
                         "count = grants 2, ended 2, late 4:2"));
}

static void an_enqueued_grant_that_ends_counts_once(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 5 = acquired a 5", "late 6", "1 w k 0 = error_lease_expired",
                         "count = grants 1, ended 1, late 3:1"));
}

static void waits_that_end_without_a_grant_count_by_their_reason(void **state)
{
    (void)state;
    play(keeps, LINES("1 l k 0 100 = ok a 100", "2 l k 5 30 = pending", "3 e k 30 = queued",
                      "4 l k 50 30 = pending", "5 l k 50 30 = pending",
                      "count = grants 1, waits 4, locks 1, lock-waiters 4", "at 5", "-> 2 timeout",
                      "3 w k 0 = timeout", "4 gone pending", "5 cancel = yes",
                      "count = grants 1, waits 4, timeouts 2, cancelled 2, locks 1"));
}

static void the_claim_of_another_client_stays_counted(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 o k a = ok", "count = grants 1, locks 1",
                         "2 gone", "count = grants 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_table_has_counted_nothing),
        cmocka_unit_test(grants_count_and_releases_end_them),
        cmocka_unit_test(shared_holders_are_one_held_lock),
        cmocka_unit_test(a_semaphore_of_limit_1_counts_as_a_lock),
        cmocka_unit_test(a_granted_waiter_counts_in_the_bucket_of_its_wait),
        cmocka_unit_test(an_ended_lease_counts_in_the_bucket_of_its_delay),
        cmocka_unit_test(a_bound_belongs_to_its_bucket),
        cmocka_unit_test(an_enqueued_grant_that_ends_counts_once),
        cmocka_unit_test(waits_that_end_without_a_grant_count_by_their_reason),
        cmocka_unit_test(the_claim_of_another_client_stays_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
