/*
 * The lock table: acquire, release and renew. Order of grants, tokens, and requests that change
 * nothing. table_transcript.h describes the language of the transcripts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "table_transcript.h"

static const struct rules defaults;

static void a_free_lock_is_granted_at_once(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 10 30 = ok a 30", "see lock k = 1 1 0 1 30 0", "used = 1",
                         "1 r k a = ok", "see lock k = 1 0 0 0 0 0", "used = 1"));
}

static void a_try_lock_never_waits(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 0 30 = timeout",
                         "see lock k = 1 1 0 1 30 0", "1 l k 0 30 = timeout", "2 holds = nothing",
                         "1 r k a = ok", "2 l k 0 30 = ok b 30"));
}

static void waiters_are_granted_in_request_order(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 100 = ok a 100", "3 l k 90 100 = pending", "2 l k 80 100 = pending",
               "4 l k 95 100 = pending", "see lock k = 1 1 3 1 100 0", "1 r k a = ok",
               "-> 3 ok b 100", "3 r k b = ok", "-> 2 ok c 100", "2 r k c = ok", "-> 4 ok d 100",
               "4 r k d = ok", "order a b", "order b c", "order c d", "see lock k = 1 0 0 0 0 0"));
}

static void a_new_request_does_not_overtake_a_waiter(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 10 30 = pending", "3 l k 0 30 = timeout",
                         "1 r k a = ok", "-> 2 ok b 30", "3 l k 0 30 = timeout",
                         "1 l k 5 30 = pending", "3 e k 30 = queued", "2 r k b = ok",
                         "-> 1 ok c 30", "1 r k c = ok", "3 w k 0 = ok d 30"));
}

static void a_new_request_does_not_overtake_a_waiter_of_a_semaphore(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 sl k 0 2 30 = ok a 30", "2 sl k 0 2 30 = ok b 30", "3 sl k 10 2 30 = pending",
               "4 sl k 10 2 30 = pending", "5 sl k 0 2 30 = timeout", "2 sr k b = ok",
               "-> 3 ok c 30", "5 sl k 0 2 30 = timeout", "1 sr k a = ok", "-> 4 ok d 30",
               "see semaphore k = 2 2 0 4 30 0"));
}

static void a_wait_times_out_at_its_end_and_not_before(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 10 30 = pending", "deadline = 10",
                         "at 9.999999999", "see lock k = 1 1 1 1 20.000000001 0", "at 10",
                         "-> 2 timeout", "see lock k = 1 1 0 1 20 0", "2 holds = nothing",
                         "1 r k a = ok", "2 l k 10 30 = ok b 30"));
}

static void a_wait_that_times_out_keeps_the_order_of_the_others(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 100 = ok a 100", "2 l k 20 30 = pending", "3 l k 10 30 = pending",
                         "4 l k 20 30 = pending", "at 15", "-> 3 timeout", "1 r k a = ok",
                         "-> 2 ok b 30", "2 r k b = ok", "-> 4 ok c 30"));
}

static void the_lease_of_a_waiter_runs_from_its_grant(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 60 7 = pending", "late 20", "1 r k a = ok",
                         "-> 2 ok b 7", "deadline = 27", "at 26.999999999",
                         "see lock k = 1 1 0 2 0.000000001 0", "at 27", "see lock k = 1 0 0 0 0 0",
                         "2 r k b = error"));
}

static void an_expired_lease_passes_to_the_next_waiter(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 5 = ok a 5", "2 l k 60 7 = pending", "3 l k 60 9 = pending",
                         "at 4.999999999", "at 5", "-> 2 ok b 7", "deadline = 12", "at 12",
                         "-> 3 ok c 9", "at 21", "see lock k = 1 0 0 0 0 0"));
}

static void a_renewed_lease_runs_in_full_from_now(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "at 20", "1 n k a 30 = ok 30", "deadline = 50",
                         "at 49", "1 n k a 2 = ok 2", "deadline = 51", "1 n k a 100 = ok 100",
                         "deadline = 149", "1 r k a = ok"));
}

static void an_expired_lease_is_not_renewed_and_passes_on(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "late 30",
                         "1 n k a 30 = error", "-> 2 ok b 30", "1 n k a 30 = error",
                         "see lock k = 1 1 0 2 30 0", "2 n k b 5 = ok 5"));
}

static void an_expired_lease_is_not_released_and_passes_on(void **state)
{
    (void)state;
    play(defaults, LINES("1 sl k 0 1 30 = ok a 30", "2 sl k 60 1 30 = pending", "late 30",
                         "1 sr k a = error", "-> 2 ok b 30", "see semaphore k = 1 1 0 2 30 0"));
}

static void any_client_can_use_a_token(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "3 n k a 40 = ok 40",
                         "see lock k = 1 1 1 1 40 0", "9 r k a = ok", "-> 2 ok b 30",
                         "1 r k b = ok", "2 holds = nothing"));
}

static void an_invalid_token_changes_nothing(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 100 = ok a 100", "1 l other 0 50 = ok b 50", "2 l k 90 30 = pending",
               "at 1", "1 r k a! = error", "1 r k a+ = error", "1 r other a = error",
               "1 r none a = error", "1 sr k a = error", "1 n k a! 5 = error", "1 n k a+ 5 = error",
               "1 n other a 5 = error", "1 n none a 5 = error", "1 sn k a 5 = error",
               "see lock k = 1 1 1 1 99 0", "see lock other = 1 1 0 1 49 0", "see lock none = none",
               "see semaphore k = none", "used = 2", "1 r k a = ok", "-> 2 ok c 30",
               "1 r k a = error", "1 n k a 5 = error", "see lock k = 1 1 0 2 30 0",
               "1 r other b = ok"));
}

static void a_stale_token_does_not_touch_the_idle_clock(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "1 r k a = ok", "deadline = 60", "at 40", "1 r k a = error",
               "1 n k a 30 = error", "1 r k a! = error", "see lock k = 1 0 0 0 0 40",
               "deadline = 60", "at 60", "see lock k = none"));
}

static void a_lock_and_a_semaphore_with_one_name_are_independent(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 sl k 0 1 40 = ok b 40", "used = 2", "1 sr k a = error",
               "2 r k b = error", "3 l k 60 30 = pending", "4 sl k 60 1 30 = pending",
               "2 sr k b = ok", "-> 4 ok c 30", "1 r k a = ok", "-> 3 ok d 30",
               "see lock k = 1 1 0 3 30 0", "see semaphore k = 1 1 0 4 30 0"));
}

static void a_semaphore_has_as_many_slots_as_its_limit(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 sl k 0 3 30 = ok a 30", "1 sl k 0 3 40 = ok b 40", "2 sl k 0 3 50 = ok c 50",
               "3 sl k 0 3 30 = timeout", "3 sl k 60 3 30 = pending", "4 sl k 60 3 30 = pending",
               "see semaphore k = 3 3 2 2 50 0", "1 sr k a = ok", "-> 3 ok d 30", "at 40",
               "-> 4 ok e 30", "see semaphore k = 3 2 0 4 30 0", "order a b", "order b c",
               "order c d", "order d e", "2 sr k c = ok", "4 sr k e = ok",
               "see semaphore k = 3 0 0 0 0 0"));
}

/* Fills a semaphore and queues `limit` waiters; each release grants a slot to the next. */
static void fill_and_pass_on(uint32_t limit)
{
    struct fixture fixture;
    struct lock_key key;
    struct lock_token *tokens = calloc(limit, sizeof(*tokens));

    assert_non_null(tokens);
    fixture_start(&fixture, &defaults);
    key = fixture_key(&fixture, LOCK_KIND_SEMAPHORE, "slots");
    for (uint32_t i = 0; i < limit; i++) {
        struct lock_answer answer =
            apply_to_table(&fixture.table, 0, acquire_request(i, &key, limit, 0, 30));

        assert_int_equal(answer.outcome, DFLOCKD_OK);
        assert_int_equal(answer.token.fence, i + 1);
        tokens[i] = answer.token;
    }
    assert_int_equal(
        apply_to_table(&fixture.table, 0, acquire_request(limit, &key, limit, 0, 30)).outcome,
        DFLOCKD_TIMEOUT);
    for (uint32_t i = 0; i < limit; i++)
        assert_int_equal(
            apply_to_table(&fixture.table, 0, acquire_request(limit + i, &key, limit, 10, 30))
                .outcome,
            LOCK_PENDING);
    fixture_check(&fixture);
    for (uint32_t i = 0; i < limit; i++) {
        fixture.effect_count = 0;
        assert_int_equal(
            apply_to_table(&fixture.table, 0, release_request(&key, tokens[limit - 1 - i])).outcome,
            DFLOCKD_OK);
        assert_int_equal(fixture.effect_count, 1);
        assert_int_equal(fixture.effects[0].connection_id, limit + i);
        assert_int_equal(fixture.effects[0].answer.outcome, DFLOCKD_OK);
    }
    fixture_check(&fixture);
    free(tokens);
    fixture_end(&fixture);
}

static void semaphores_of_many_sizes_fill_and_pass_on_in_order(void **state)
{
    static const uint32_t limits[] = {1, 2, 3, 7, 64, 1000, 20000};

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        fill_and_pass_on(limits[i]);
}

static void another_limit_is_refused_until_the_state_is_collected(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 sl k 0 2 10 = ok a 10", "2 sl k 0 3 30 = error_limit_mismatch",
               "2 sl k 60 1 30 = error_limit_mismatch", "2 se k 3 30 = error_limit_mismatch",
               "1 sr k a = ok", "2 sl k 0 3 30 = error_limit_mismatch",
               "see semaphore k = 2 0 0 0 0 0", "at 59.9", "2 se k 3 30 = error_limit_mismatch",
               "at 60", "see semaphore k = none", "2 sl k 0 3 30 = ok b 30",
               "see semaphore k = 3 1 0 2 30 0", "1 sl k 0 2 30 = error_limit_mismatch"));
}

static void a_client_can_hold_many_keys_and_wait_for_its_own(void **state)
{
    (void)state;
    play(defaults, LINES("1 l j 0 30 = ok a 30", "1 l k 0 30 = ok b 30", "1 sl k 0 2 30 = ok c 30",
                         "1 l k 10 30 = pending", "2 r k b = ok", "-> 1 ok d 30", "1 r j a = ok",
                         "1 sr k c = ok", "1 r k d = ok", "1 holds = nothing"));
}

static void a_cancelled_request_gets_no_reply(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "3 l k 60 30 = pending",
                         "2 cancel = yes", "2 cancel = no", "2 holds = nothing", "1 r k a = ok",
                         "-> 3 ok b 30", "3 cancel = no", "see lock k = 1 1 0 3 30 0",
                         "3 r k b = ok", "9 cancel = no"));
}

static void a_request_whose_effect_was_sent_is_not_cancelled(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "2 l k 5 30 = pending", "at 5", "-> 2 timeout",
                         "2 cancel = no", "1 l j 0 30 = ok b 30", "1 cancel = no",
                         "see lock k = 1 1 0 1 25 0", "see lock j = 1 1 0 1 30 0"));
}

static void the_longest_waits_and_leases_do_not_overflow(void **state)
{
    (void)state;
    play(defaults, LINES("at 1000000", "1 l k 0 9223372036 = ok a 9223372036",
                         "2 l k 9223372036 30 = pending", "deadline = 9224372036",
                         "1 n k a 9223372036 = ok 9223372036", "1 r k a = ok", "-> 2 ok b 30"));
}

static void keys_of_every_length_and_byte_differ(void **state)
{
    static struct fixture fixture;
    static uint8_t bytes[DFLOCKD_KEY_MAX];

    (void)state;
    fixture_start(&fixture, &defaults);
    for (uint32_t length = 1; length <= DFLOCKD_KEY_MAX; length++) {
        struct lock_key key = {.bytes = bytes, .length = length, .hash = length & 3};

        bytes[length - 1] = (uint8_t)length;
        assert_int_equal(
            apply_to_table(&fixture.table, 0, acquire_request(1, &key, 1, 0, 30)).outcome,
            DFLOCKD_OK);
        assert_int_equal(
            apply_to_table(&fixture.table, 0, acquire_request(2, &key, 1, 0, 30)).outcome,
            DFLOCKD_TIMEOUT);
        fixture_check(&fixture);
    }
    assert_int_equal(atomic_load(&fixture.budget.used), DFLOCKD_KEY_MAX);
    fixture_disconnect(&fixture, 1, false, 7);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_lock_is_granted_at_once),
        cmocka_unit_test(a_try_lock_never_waits),
        cmocka_unit_test(waiters_are_granted_in_request_order),
        cmocka_unit_test(a_new_request_does_not_overtake_a_waiter),
        cmocka_unit_test(a_new_request_does_not_overtake_a_waiter_of_a_semaphore),
        cmocka_unit_test(a_wait_times_out_at_its_end_and_not_before),
        cmocka_unit_test(a_wait_that_times_out_keeps_the_order_of_the_others),
        cmocka_unit_test(the_lease_of_a_waiter_runs_from_its_grant),
        cmocka_unit_test(an_expired_lease_passes_to_the_next_waiter),
        cmocka_unit_test(a_renewed_lease_runs_in_full_from_now),
        cmocka_unit_test(an_expired_lease_is_not_renewed_and_passes_on),
        cmocka_unit_test(an_expired_lease_is_not_released_and_passes_on),
        cmocka_unit_test(any_client_can_use_a_token),
        cmocka_unit_test(an_invalid_token_changes_nothing),
        cmocka_unit_test(a_stale_token_does_not_touch_the_idle_clock),
        cmocka_unit_test(a_lock_and_a_semaphore_with_one_name_are_independent),
        cmocka_unit_test(a_semaphore_has_as_many_slots_as_its_limit),
        cmocka_unit_test(semaphores_of_many_sizes_fill_and_pass_on_in_order),
        cmocka_unit_test(another_limit_is_refused_until_the_state_is_collected),
        cmocka_unit_test(a_client_can_hold_many_keys_and_wait_for_its_own),
        cmocka_unit_test(a_cancelled_request_gets_no_reply),
        cmocka_unit_test(a_request_whose_effect_was_sent_is_not_cancelled),
        cmocka_unit_test(the_longest_waits_and_leases_do_not_overflow),
        cmocka_unit_test(keys_of_every_length_and_byte_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
