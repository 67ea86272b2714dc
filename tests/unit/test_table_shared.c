/*
 * The lock table: shared and exclusive holders of one lock, and a table that is paused.
 * table_transcript.h describes the language of the transcripts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table_transcript.h"

static const struct rules defaults;

static void shared_holders_exclude_exclusive_ones(void **state)
{
    (void)state;
    play(defaults, LINES("1 rl k 0 30 = ok a 30", "2 rl k 0 40 = ok b 40",
                         "see lock k = 1 2 0 2 40 0", "3 l k 0 30 = timeout", "3 e k 30 = queued",
                         "1 r k a = ok", "see lock k = 1 1 1 2 40 0", "2 r k b = ok",
                         "3 w k 9 = ok c 30", "4 rl k 0 30 = timeout", "3 r k c = ok",
                         "4 rl k 0 30 = ok d 30", "order a b", "order b c", "order c d"));
}

static void a_client_that_shares_a_lock_waits_for_itself(void **state)
{
    (void)state;
    play(defaults, LINES("1 rl k 0 30 = ok a 30", "1 rl k 0 30 = ok b 30", "1 l k 5 30 = pending",
                         "at 5", "-> 1 timeout", "see lock k = 1 2 0 1 25 0"));
}

static void no_reader_passes_a_waiting_writer(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 rl k 0 90 = ok a 90", "2 l k 50 90 = pending", "3 rl k 0 90 = timeout",
               "3 rl k 50 90 = pending", "4 rl k 50 90 = pending", "5 l k 50 90 = pending",
               "6 rl k 50 90 = pending", "1 r k a = ok", "-> 2 ok b 90", "2 r k b = ok",
               "-> 3 ok c 90", "-> 4 ok d 90", "see lock k = 1 2 2 4 90 0", "4 r k d = ok",
               "3 r k c = ok", "-> 5 ok e 90", "5 r k e = ok", "-> 6 ok f 90", "order c d"));
}

static void the_owner_is_the_last_granted_holder_that_is_left(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 rl k 0 30 = ok a 30", "2 rl k 0 40 = ok b 40", "3 rl k 0 50 = ok c 50",
               "see lock k = 1 3 0 3 50 0", "2 r k b = ok", "see lock k = 1 2 0 3 50 0",
               "3 r k c = ok", "see lock k = 1 1 0 1 30 0", "2 rl k 0 40 = ok d 40",
               "see lock k = 1 2 0 2 40 0", "1 gone", "2 gone", "see lock k = 1 0 0 0 0 0"));
}

static void a_writer_that_leaves_the_queue_hands_over(void **state)
{
    static const char *const ways[] = {"2 cancel = yes", "2 gone pending"};

    (void)state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        play(defaults, LINES("1 rl k 0 90 = ok a 90", "2 l k 50 90 = pending",
                             "3 rl k 50 90 = pending", "4 rl k 50 90 = pending", ways[i],
                             "-> 3 ok b 90", "-> 4 ok c 90", "see lock k = 1 3 0 4 90 0"));
    play(defaults, LINES("1 rl k 0 90 = ok a 90", "2 l k 9 90 = pending", "3 rl k 50 90 = pending",
                         "at 9", "-> 3 ok b 90", "-> 2 timeout", "see lock k = 1 2 0 3 90 0"));
    play(defaults, LINES("1 rl k 0 90 = ok a 90", "2 e k 90 = queued", "3 rl k 50 90 = pending",
                         "2 w k 0 = timeout", "-> 3 ok b 90"));
    play(defaults, LINES("1 rl k 0 90 = ok a 90", "2 e k 90 = queued", "3 re k 90 = queued",
                         "2 gone", "3 w k 9 = ok b 90"));
}

static void a_waiter_behind_the_first_leaves_alone(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 rl k 0 90 = ok a 90", "2 l k 50 90 = pending", "3 l k 9 90 = pending",
               "4 rl k 50 90 = pending", "at 9", "-> 3 timeout", "see lock k = 1 1 2 1 81 0"));
}

static void shared_leases_end_one_by_one(void **state)
{
    (void)state;
    play(defaults, LINES("1 rl k 0 10 = ok a 10", "2 rl k 0 20 = ok b 20", "3 l k 90 30 = pending",
                         "at 10", "see lock k = 1 1 1 2 10 0", "1 n k a 30 = error",
                         "2 n k b 20 = ok 20", "at 30", "-> 3 ok c 30", "2 r k b = error"));
}

/* TABLE_GRANTS_MAX is 4. */
static void many_readers_are_granted_in_parts(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 90 = ok a 90", "2 rl k 50 90 = pending", "3 rl k 50 90 = pending",
               "4 rl k 50 90 = pending", "5 rl k 50 90 = pending", "6 re k 90 = queued",
               "7 rl k 50 90 = pending", "8 l k 50 90 = pending", "1 r k a = ok", "-> 2 ok b 90",
               "-> 3 ok c 90", "-> 4 ok d 90", "-> 5 ok e 90", "see lock k = 1 4 3 5 90 0", "at 1",
               "-> 7 ok f 90", "see lock k = 1 6 1 7 90 0", "6 w k 9 = ok g 90", "order e g",
               "order g f"));
}

static void a_request_helps_to_grant_those_before_it(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 90 = ok a 90", "2 rl k 50 90 = pending", "3 rl k 50 90 = pending",
               "4 rl k 50 90 = pending", "5 rl k 50 90 = pending", "6 re k 90 = queued",
               "1 r k a = ok", "-> 2 ok b 90", "-> 3 ok c 90", "-> 4 ok d 90", "-> 5 ok e 90",
               "7 rl k 0 90 = ok g 90", "6 w k 9 = ok f 90", "order e f", "order f g"));
    play(defaults, LINES("1 l k 0 90 = ok a 90", "2 rl k 50 90 = pending", "3 rl k 50 90 = pending",
                         "4 rl k 50 90 = pending", "5 rl k 50 90 = pending", "6 re k 90 = queued",
                         "7 l k 50 90 = pending", "1 r k a = ok", "-> 2 ok b 90", "-> 3 ok c 90",
                         "-> 4 ok d 90", "-> 5 ok e 90", "8 rl k 0 90 = timeout",
                         "see lock k = 1 5 1 6 90 0", "6 w k 9 = ok f 90", "order e f"));
}

/*
 * READERS wait for the writer on "k" with `re`, so that their grants have no effects. A lease on
 * "j", for which another client waits, is over when the readers are due.
 */
static void many_readers_do_not_delay_the_end_of_a_lease(void **state)
{
    enum {
        READERS = 5 * TABLE_GRANTS_IN_ROW_MAX,
        WRITER = 1,
        HOLDER,
        WAITER,
        FIRST_READER
    };
    static struct fixture fixture;
    static struct lock_details details;
    struct lock_key key;
    struct lock_key other;
    struct lock_token token;
    uint32_t steps = TABLE_GRANTS_IN_ROW_MAX + 8;

    (void)state;
    fixture_start(&fixture, &(struct rules){0});
    key = fixture_key(&fixture, LOCK_KIND_LOCK, "k");
    other = fixture_key(&fixture, LOCK_KIND_LOCK, "j");
    token = apply_to_table(&fixture.table, 0, acquire_request(WRITER, &key, 1, 0, 90)).token;
    for (uint64_t i = 0; i < READERS; i++) {
        struct lock_request request = enqueue_request(FIRST_READER + i, &key, 1, 90);

        request.command = DFLOCKD_ENQUEUE_SHARED;
        assert_int_equal(apply_to_table(&fixture.table, 0, request).outcome, DFLOCKD_QUEUED);
    }
    apply_to_table(&fixture.table, 0, acquire_request(HOLDER, &other, 1, 0, 10));
    apply_to_table(&fixture.table, 0, acquire_request(WAITER, &other, 1, 90, 90));
    fixture.now_ns = 10 * FIXTURE_SECOND;
    apply_to_table(&fixture.table, fixture.now_ns, release_request(&key, token));
    assert_true(table_expire(&fixture.table, fixture.now_ns, &steps));
    assert_int_equal(fixture.effect_count, 1);
    assert_int_equal(fixture.effects[0].connection_id, WAITER);
    fixture_check(&fixture);
    fixture_expire(&fixture, 100);
    assert_true(table_show(&fixture.table, fixture.now_ns, &key, &details));
    assert_int_equal(details.holder_count, READERS);
    fixture.effect_count = 0;
    fixture_end(&fixture);
}

static void a_waiter_that_is_due_may_wait_leave_or_be_passed_on(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 90 = ok a 90", "2 rl k 50 90 = pending", "3 rl k 50 90 = pending",
               "4 rl k 50 90 = pending", "5 rl k 50 90 = pending", "6 re k 90 = queued",
               "7 rl k 50 90 = pending", "1 r k a = ok", "-> 2 ok b 90", "-> 3 ok c 90",
               "-> 4 ok d 90", "-> 5 ok e 90", "6 w k 9 = ok f 90", "at 1", "-> 7 ok g 90"));
    play(defaults, LINES("1 l k 0 90 = ok a 90", "2 rl k 50 90 = pending", "3 rl k 50 90 = pending",
                         "4 rl k 50 90 = pending", "5 rl k 50 90 = pending", "6 re k 90 = queued",
                         "7 rl k 50 90 = pending", "8 l k 50 90 = pending", "1 r k a = ok",
                         "-> 2 ok b 90", "-> 3 ok c 90", "-> 4 ok d 90", "-> 5 ok e 90", "6 gone",
                         "-> 7 ok f 90", "see lock k = 1 5 1 7 90 0"));
    play(defaults,
         LINES("1 l k 0 90 = ok a 90", "2 rl k 50 90 = pending", "3 rl k 50 90 = pending",
               "4 rl k 50 90 = pending", "5 rl k 50 90 = pending", "6 rl k 50 90 = pending",
               "1 r k a = ok", "-> 2 ok b 90", "-> 3 ok c 90", "-> 4 ok d 90", "-> 5 ok e 90",
               "2 r k b = ok", "-> 6 ok f 90", "see lock k = 1 4 0 6 90 0"));
}

static void shared_claims_change_their_client(void **state)
{
    (void)state;
    play(defaults, LINES("1 rl k 0 30 = ok a 30", "2 rl k 0 30 = ok b 30", "3 o k a = ok", "1 gone",
                         "see lock k = 1 2 0 2 30 0", "3 gone", "see lock k = 1 1 0 2 30 0",
                         "2 r k b = ok", "see lock k = 1 0 0 0 0 0"));
}

static void one_place_in_the_queue_for_each_client_and_key(void **state)
{
    (void)state;
    play(defaults, LINES("1 re k 30 = acquired a 30", "1 e k 30 = error_already_enqueued",
                         "1 re k 30 = error_already_enqueued", "2 e k 30 = queued",
                         "2 re k 30 = error_already_enqueued", "1 w k 0 = ok a 30"));
}

static void caps_count_shared_claims(void **state)
{
    (void)state;
    play((struct rules){.waiters_max = 1},
         LINES("1 l k 0 30 = ok a 30", "2 rl k 9 30 = pending", "3 rl k 9 30 = error_max_waiters"));
    play((struct rules){.claims_max = 2},
         LINES("1 rl k 0 30 = ok a 30", "2 rl k 0 30 = ok b 30", "3 rl k 0 30 = error_max_locks"));
    play((struct rules){.states_max = 1},
         LINES("1 rl k 0 30 = ok a 30", "2 rl k 0 30 = ok b 30", "3 rl j 0 30 = error_max_locks"));
}

/* ---- pause ---- */

static const struct rules paused = {.grant_from_s = 20};

static void a_paused_table_queues_and_times_out(void **state)
{
    (void)state;
    play(paused,
         LINES("1 l k 0 30 = timeout", "1 l k 9 30 = pending", "2 e k 30 = queued",
               "3 sl s 8 5 30 = pending", "see lock k = 1 0 2 0 0 0", "at 9", "-> 3 timeout",
               "-> 1 timeout", "see lock k = 1 0 1 0 0 0", "see semaphore s = 5 0 0 0 0 0",
               "2 w k 0 = timeout", "see lock k = 1 0 0 0 0 0", "deadline = 20", "at 20",
               "1 l k 0 30 = ok a 30"));
}

static void the_end_of_a_pause_grants_in_request_order(void **state)
{
    (void)state;
    play(paused, LINES("1 rl k 50 30 = pending", "2 re k 30 = queued", "3 rl k 50 30 = pending",
                       "4 l k 50 30 = pending", "at 19.999999999", "1 l j 0 30 = timeout", "at 20",
                       "-> 1 ok a 30", "-> 3 ok c 30", "2 w k 0 = ok b 30", "order a b",
                       "order b c", "see lock k = 1 3 1 3 30 0", "8 l j 0 30 = ok g 30"));
    play(paused,
         LINES("5 sl s 50 2 30 = pending", "6 sl s 50 2 30 = pending", "7 sl s 50 2 30 = pending",
               "8 sl s 50 2 30 = pending", "6 cancel = yes", "at 25", "-> 5 ok e 30",
               "-> 7 ok f 30", "order e f", "see semaphore s = 2 2 1 7 30 0"));
}

/* The pause has ended, but table_expire has not been called. */
static void a_late_end_of_a_pause_keeps_the_order(void **state)
{
    (void)state;
    play(paused,
         LINES("1 l k 50 30 = pending", "late 21", "2 l k 0 30 = timeout", "2 l k 50 30 = pending",
               "at 22", "-> 1 ok a 30", "1 r k a = ok", "-> 2 ok b 30"));
}

/* The claim of 6 is due for a grant when the drain begins. */
static void a_table_that_has_stopped_granting_grants_nothing(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 90 = ok a 90", "2 rl k 50 90 = pending", "3 rl k 50 90 = pending",
               "4 rl k 50 90 = pending", "5 rl k 50 90 = pending", "6 rl k 50 90 = pending",
               "7 l j 0 90 = ok g 90", "8 l j 50 90 = pending", "1 r k a = ok", "-> 2 ok b 90",
               "-> 3 ok c 90", "-> 4 ok d 90", "-> 5 ok e 90", "stop", "at 1", "deadline = 50",
               "2 r k b = ok", "7 r j g = ok", "9 l i 0 90 = timeout", "6 cancel = yes",
               "3 n k c 10 = ok 10", "see lock k = 1 3 0 5 89 0", "at 50", "-> 8 timeout"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_holders_exclude_exclusive_ones),
        cmocka_unit_test(a_client_that_shares_a_lock_waits_for_itself),
        cmocka_unit_test(no_reader_passes_a_waiting_writer),
        cmocka_unit_test(the_owner_is_the_last_granted_holder_that_is_left),
        cmocka_unit_test(a_writer_that_leaves_the_queue_hands_over),
        cmocka_unit_test(a_waiter_behind_the_first_leaves_alone),
        cmocka_unit_test(shared_leases_end_one_by_one),
        cmocka_unit_test(many_readers_are_granted_in_parts),
        cmocka_unit_test(a_request_helps_to_grant_those_before_it),
        cmocka_unit_test(many_readers_do_not_delay_the_end_of_a_lease),
        cmocka_unit_test(a_waiter_that_is_due_may_wait_leave_or_be_passed_on),
        cmocka_unit_test(shared_claims_change_their_client),
        cmocka_unit_test(one_place_in_the_queue_for_each_client_and_key),
        cmocka_unit_test(caps_count_shared_claims),
        cmocka_unit_test(a_paused_table_queues_and_times_out),
        cmocka_unit_test(the_end_of_a_pause_grants_in_request_order),
        cmocka_unit_test(a_late_end_of_a_pause_keeps_the_order),
        cmocka_unit_test(a_table_that_has_stopped_granting_grants_nothing),
    };

    return cmocka_run_group_tests_name("table_shared", tests, NULL, NULL);
}
