/*
 * The lock table: `e`, then `w`. The enqueued state, its end, and the lease of a grant before `w`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table_transcript.h"

static const struct rules defaults;

static void a_free_lock_is_acquired_by_enqueueing(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 e k 30 = acquired a 30", "see lock k = 1 1 0 1 30 0", "2 l k 0 30 = timeout",
               "1 se k 2 20 = acquired b 20", "1 r k a = ok", "1 sr k b = ok"));
}

static void a_wait_for_an_enqueued_grant_starts_its_lease_again(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 e k 30 = acquired a 30", "at 29", "1 w k 0 = ok a 30", "deadline = 59",
               "1 w k 0 = error_not_enqueued", "at 58.999999999",
               "see lock k = 1 1 0 1 0.000000001 0", "at 59", "see lock k = 1 0 0 0 0 0"));
}

static void enqueued_and_blocked_clients_share_one_queue(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "3 l k 60 30 = pending",
               "4 e k 30 = queued", "see lock k = 1 1 3 1 30 0", "2 w k 60 = pending",
               "1 r k a = ok", "-> 2 ok b 30", "2 r k b = ok", "-> 3 ok c 30", "4 w k 60 = pending",
               "3 r k c = ok", "-> 4 ok d 30", "order a b", "order b c", "order c d"));
}

static void a_wait_returns_an_earlier_grant(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 e k 10 = queued", "deadline = 30", "at 7",
                         "1 r k a = ok", "see lock k = 1 1 0 2 10 0", "deadline = 17", "at 16",
                         "2 w k 0 = ok b 10", "order a b", "deadline = 26", "2 r k b = ok"));
}

static void a_semaphore_is_enqueued_for_and_waited_for(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 se k 2 30 = acquired a 30", "2 se k 2 30 = acquired b 30", "3 se k 2 30 = queued",
               "4 se k 2 30 = queued", "4 sw k 60 = pending", "3 w k 60 = error_not_enqueued",
               "1 sr k a = ok", "2 sr k b = ok", "-> 4 ok c 30", "3 sw k 60 = ok d 30", "order d c",
               "see semaphore k = 2 2 0 4 30 0"));
}

static void a_second_enqueue_is_refused_while_the_first_lasts(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 e k 30 = acquired a 30", "1 e k 30 = error_already_enqueued", "2 e k 30 = queued",
               "2 e k 30 = error_already_enqueued", "1 r k a = ok",
               "2 e k 30 = error_already_enqueued", "2 se k 1 30 = acquired b 30",
               "2 e j 30 = acquired c 30", "see lock k = 1 1 0 2 30 0", "2 w k 0 = ok d 30",
               "2 e k 30 = queued", "2 r k d = ok", "2 w k 0 = ok e 30"));
}

static void waiting_without_having_enqueued_is_refused(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 w k 10 = error_not_enqueued", "see lock k = none", "1 l k 0 30 = ok a 30",
               "1 w k 10 = error_not_enqueued", "2 e k 30 = queued",
               "1 w k 10 = error_not_enqueued", "2 sw k 10 = error_not_enqueued",
               "2 w j 10 = error_not_enqueued", "see lock k = 1 1 1 1 30 0", "used = 1"));
}

static void a_wait_reports_a_lost_acquired_lease_once(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 5 = acquired a 5", "2 l k 60 30 = pending", "at 5", "-> 2 ok b 30",
                         "1 w k 10 = error_lease_expired", "1 w k 10 = error_not_enqueued",
                         "1 e k 30 = queued", "2 r k b = ok", "1 w k 0 = ok c 30"));
}

static void a_lease_that_ended_before_the_wait_is_lost_and_passes_on(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 5 = acquired a 5", "2 l k 60 30 = pending", "late 5",
                         "1 w k 10 = error_lease_expired", "-> 2 ok b 30", "1 e k 30 = queued",
                         "1 w k 20 = pending", "2 r k b = ok", "-> 1 ok c 30"));
}

static void a_wait_reports_a_lost_queued_grant(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 e k 5 = queued", "3 l k 60 30 = pending", "at 1",
               "1 r k a = ok", "at 6", "-> 3 ok c 30", "2 w k 60 = error_lease_expired",
               "2 e k 5 = queued", "3 r k c = ok", "2 w k 60 = ok d 5"));
}

static void a_client_can_enqueue_again_after_a_lost_lease(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 5 = acquired a 5", "at 5", "1 e k 7 = acquired b 7",
                         "1 e k 7 = error_already_enqueued", "1 w k 0 = ok b 7",
                         "1 w k 0 = error_not_enqueued", "1 r k b = ok"));
    play(defaults, LINES("1 e k 5 = acquired a 5", "2 l k 60 30 = pending", "at 5", "-> 2 ok b 30",
                         "1 e k 7 = queued", "1 e k 7 = error_already_enqueued", "2 r k b = ok",
                         "1 w k 9 = ok c 7"));
}

static void a_lost_lease_keeps_its_key_no_longer_than_the_idle_time(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 se k 3 5 = acquired a 5", "at 5", "deadline = 65", "at 60",
               "2 se k 4 5 = error_limit_mismatch", "used = 1", "1 sw k 0 = error_lease_expired",
               "deadline = 65", "at 65", "see semaphore k = none", "used = 0"));
    play(defaults, LINES("1 se k 3 5 = acquired a 5", "2 se k 3 5 = acquired b 5", "at 5", "at 65",
                         "used = 0", "1 sw k 0 = error_not_enqueued", "2 se k 4 5 = acquired c 5"));
}

static void a_key_in_use_remembers_lost_leases(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 5 = acquired a 5", "at 5", "2 l k 0 900 = ok b 900", "at 500",
                         "1 w k 0 = error_lease_expired", "1 w k 0 = error_not_enqueued",
                         "2 r k b = ok", "deadline = 560", "at 560", "used = 0"));
    play((struct rules){.collect_at_once = true},
         LINES("1 e k 5 = acquired a 5", "2 l k 60 30 = pending", "at 5", "-> 2 ok b 30",
               "1 w k 0 = error_lease_expired", "3 e k 30 = queued", "2 r k b = ok", "3 gone",
               "used = 0"));
}

static void a_wait_of_0_seconds_leaves_the_queue(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "3 e k 30 = queued",
               "2 w k 0 = timeout", "see lock k = 1 1 1 1 30 0", "2 w k 0 = error_not_enqueued",
               "1 r k a = ok", "see lock k = 1 1 0 3 30 0", "2 e k 30 = queued"));
}

static void a_wait_that_times_out_leaves_the_queue_and_its_state(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "3 l k 60 30 = pending",
                         "2 w k 4 = pending", "deadline = 4", "at 4", "-> 2 timeout",
                         "2 w k 4 = error_not_enqueued", "2 holds = nothing",
                         "see lock k = 1 1 1 1 26 0", "2 e k 30 = queued", "1 r k a = ok",
                         "-> 3 ok b 30", "3 r k b = ok", "2 w k 0 = ok c 30"));
}

static void an_enqueued_client_that_does_not_wait_stays_queued(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 3000 = ok a 3000", "2 e k 30 = queued", "deadline = 3000",
                         "at 2999", "see lock k = 1 1 1 1 1 0", "at 3000",
                         "see lock k = 1 1 0 2 30 0", "2 w k 0 = ok b 30"));
}

static void releasing_an_enqueued_token_clears_the_state(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 e k 30 = acquired a 30", "1 r k a = ok", "1 w k 10 = error_not_enqueued",
               "1 e k 30 = acquired b 30", "2 r k b = ok", "1 w k 10 = error_not_enqueued",
               "deadline = 60", "1 e k 30 = acquired c 30", "1 w k 0 = ok c 30",
               "1 e k 20 = queued", "1 r k c = ok", "1 w k 0 = ok d 20"));
}

static void renewing_an_enqueued_token_keeps_the_state(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 30 = acquired a 30", "1 n k a 50 = ok 50", "deadline = 50", "at 49",
                         "1 w k 0 = ok a 30", "deadline = 79"));
}

static void acquiring_is_independent_of_the_enqueued_state(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 100 = ok a 100", "1 e k 30 = queued", "1 l k 10 40 = pending",
                         "see lock k = 1 1 2 1 100 0", "1 r k a = ok", "see lock k = 1 1 1 1 30 0",
                         "at 10", "-> 1 timeout", "1 w k 5 = ok b 30", "1 l k 0 30 = timeout",
                         "1 r k b = ok", "1 l k 0 30 = ok c 30", "1 w k 0 = error_not_enqueued"));
    play(defaults, LINES("1 se k 2 30 = acquired a 30", "1 sl k 0 2 40 = ok b 40", "1 sr k b = ok",
                         "1 sw k 0 = ok a 30"));
}

static void a_cancelled_wait_clears_the_state(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "2 cancel = no",
                         "2 w k 60 = pending", "2 cancel = yes", "2 w k 60 = error_not_enqueued",
                         "1 r k a = ok", "see lock k = 1 0 0 0 0 0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_lock_is_acquired_by_enqueueing),
        cmocka_unit_test(a_wait_for_an_enqueued_grant_starts_its_lease_again),
        cmocka_unit_test(enqueued_and_blocked_clients_share_one_queue),
        cmocka_unit_test(a_wait_returns_an_earlier_grant),
        cmocka_unit_test(a_semaphore_is_enqueued_for_and_waited_for),
        cmocka_unit_test(a_second_enqueue_is_refused_while_the_first_lasts),
        cmocka_unit_test(waiting_without_having_enqueued_is_refused),
        cmocka_unit_test(a_wait_reports_a_lost_acquired_lease_once),
        cmocka_unit_test(a_lease_that_ended_before_the_wait_is_lost_and_passes_on),
        cmocka_unit_test(a_wait_reports_a_lost_queued_grant),
        cmocka_unit_test(a_client_can_enqueue_again_after_a_lost_lease),
        cmocka_unit_test(a_lost_lease_keeps_its_key_no_longer_than_the_idle_time),
        cmocka_unit_test(a_key_in_use_remembers_lost_leases),
        cmocka_unit_test(a_wait_of_0_seconds_leaves_the_queue),
        cmocka_unit_test(a_wait_that_times_out_leaves_the_queue_and_its_state),
        cmocka_unit_test(an_enqueued_client_that_does_not_wait_stays_queued),
        cmocka_unit_test(releasing_an_enqueued_token_clears_the_state),
        cmocka_unit_test(renewing_an_enqueued_token_keeps_the_state),
        cmocka_unit_test(acquiring_is_independent_of_the_enqueued_state),
        cmocka_unit_test(a_cancelled_wait_clears_the_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
