/*
 * What the judge may claim after a lost connection, and of shared locks. tests/witness/selftest.c
 * tests its other rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/judge.h"

#define MS    1000000ull
#define LEASE (10000 * MS)

static struct judge_claim *request(struct judge *judge, bool shared, uint64_t ms)
{
    struct judge_claim *claim = judge_requested(judge, 0, ms * MS);

    if (shared)
        judge_set_shared(claim);
    judge_waiting(judge, claim, LEASE, ms * MS);
    return claim;
}

/* Returns a holder of key 0 whose connection was opened after `losses` losses. */
static struct judge_claim *hold_as(struct judge *judge, bool shared, uint64_t fence,
                                   uint32_t losses, uint64_t ms)
{
    struct judge_claim *claim = request(judge, shared, ms);

    judge_set_losses(claim, losses);
    judge_granted(judge, claim, fence, LEASE, ms * MS + 1);
    return claim;
}

static struct judge_claim *hold(struct judge *judge, uint64_t fence, uint32_t losses, uint64_t ms)
{
    return hold_as(judge, false, fence, losses, ms);
}

static struct judge_claim *share(struct judge *judge, uint64_t fence, uint32_t losses, uint64_t ms)
{
    return hold_as(judge, true, fence, losses, ms);
}

static void release(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t ms)
{
    judge_releasing(judge, claim, ms * MS);
    judge_released(judge, claim, accepted, ms * MS + 1);
}

/* Ends the load. Only `broken` may be violated, `count` times. */
static void assert_violations(struct judge *judge, enum judge_rule broken, uint64_t count)
{
    judge_end(judge);
    for (int rule = 0; rule < JUDGE_RULES; rule++)
        assert_int_equal(judge_counts(judge)->violations[rule], rule == (int)broken ? count : 0);
    judge_free(judge);
}

static void assert_overlaps(struct judge *judge, uint64_t count)
{
    assert_violations(judge, JUDGE_EXCLUSION, count);
}

static int start(void **state)
{
    *state = judge_new(1, 50 * MS);
    return *state ? 0 : -1;
}

static void two_holders_are_a_violation(void **state)
{
    hold(*state, 1, 0, 0);
    hold(*state, 2, 0, 10);
    assert_overlaps(*state, 1);
}

static void a_lost_holder_does_not_exclude_others(void **state)
{
    struct judge_claim *lost = hold(*state, 1, 0, 0);

    judge_disconnected(*state, lost);
    hold(*state, 2, 1, 10);
    assert_overlaps(*state, 0);
}

static void a_lost_holder_may_have_been_released_by_the_server(void **state)
{
    struct judge_claim *lost = hold(*state, 1, 0, 0);

    judge_disconnected(*state, lost);
    hold(*state, 2, 1, 10);
    release(*state, lost, false, 20);
    assert_overlaps(*state, 0);
}

static void a_lost_holder_that_releases_after_the_next_grant_is_a_violation(void **state)
{
    struct judge_claim *lost = hold(*state, 1, 0, 0);

    judge_disconnected(*state, lost);
    hold(*state, 2, 1, 10);
    release(*state, lost, true, 20);
    assert_overlaps(*state, 1);
}

static void a_grant_after_the_release_was_sent_is_allowed(void **state)
{
    struct judge_claim *lost = hold(*state, 1, 0, 0);

    judge_disconnected(*state, lost);
    judge_releasing(*state, lost, 10 * MS);
    hold(*state, 2, 1, 11);
    judge_released(*state, lost, true, 12 * MS);
    assert_overlaps(*state, 0);
}

static void a_lost_release_that_is_repeated_may_be_refused_or_accepted(void **state)
{
    for (int accepted = 0; accepted < 2; accepted++) {
        struct judge_claim *lost = hold(*state, 2u * (unsigned)accepted + 1, 0, 0);

        judge_releasing(*state, lost, 5 * MS);
        judge_disconnected(*state, lost);
        release(*state, lost, accepted, 20);
    }
    assert_overlaps(*state, 0);
}

/* The end of the first connection, which the restarted server does not know, is not yet read. */
static void a_holder_from_before_a_loss_does_not_convict_the_server(void **state)
{
    struct judge_claim *before = hold(*state, 1, 0, 0);

    hold(*state, 2, 1, 10);
    judge_disconnected(*state, before);
    assert_overlaps(*state, 0);
}

static void a_holder_from_before_a_loss_convicts_by_its_release(void **state)
{
    struct judge_claim *before = hold(*state, 1, 0, 0);

    hold(*state, 2, 1, 10);
    release(*state, before, true, 20);
    assert_overlaps(*state, 1);
}

/* The server may have ended the lost hold at once, so the next lease may have begun then. */
static void the_end_of_a_lost_hold_does_not_delay_the_next_lease(void **state)
{
    struct judge *judge = *state;
    struct judge_claim *lost = hold(judge, 1, 0, 0);
    struct judge_claim *next = judge_requested(judge, 0, MS);

    judge_waiting(judge, next, LEASE, MS);
    judge_releasing(judge, lost, 5000 * MS);
    judge_disconnected(judge, lost);
    judge_granted(judge, next, 2, LEASE, 5001 * MS);
    judge_renewing(judge, next, 12000 * MS);
    judge_renewed(judge, next, 0, 12001 * MS);
    judge_dropped(judge, next, 12002 * MS);
    assert_overlaps(judge, 0);
}

static void a_lost_request_needs_no_reply(void **state)
{
    struct judge_claim *claim = judge_requested(*state, 0, 0);

    judge_waiting(*state, claim, LEASE, 0);
    judge_dropped(*state, claim, 5 * MS);
    assert_overlaps(*state, 0);
}

/* ---- shared locks ---- */

static void many_readers_may_hold_a_key(void **state)
{
    struct judge_claim *readers[40];

    for (uint32_t i = 0; i < 40; i++)
        readers[i] = share(*state, i + 1, 0, i);
    for (uint32_t i = 0; i < 40; i++)
        release(*state, readers[i], true, 50 + i);
    release(*state, hold(*state, 41, 0, 100), true, 110);
    assert_overlaps(*state, 0);
}

/* The replies to readers may be read in another order than that of their grants. */
static void readers_are_read_in_any_order(void **state)
{
    struct judge_claim *claims[3];

    for (uint32_t i = 0; i < 3; i++)
        claims[i] = request(*state, true, 0);
    for (uint32_t i = 0; i < 3; i++)
        judge_granted(*state, claims[i], 3 - i, LEASE, MS + i);
    assert_overlaps(*state, 0);
}

static void a_writer_beside_a_reader_is_a_violation(void **state)
{
    share(*state, 1, 0, 0);
    hold(*state, 2, 0, 10);
    assert_overlaps(*state, 1);
}

static void a_reader_beside_a_writer_is_a_violation(void **state)
{
    hold(*state, 1, 0, 0);
    share(*state, 2, 0, 10);
    share(*state, 3, 0, 20);
    assert_overlaps(*state, 2);
}

static void a_writer_beside_the_last_of_many_readers_is_a_violation(void **state)
{
    struct judge_claim *readers[40];

    for (uint32_t i = 0; i < 40; i++)
        readers[i] = share(*state, i + 1, 0, i);
    for (uint32_t i = 0; i < 40; i++) {
        if (i != 20)
            release(*state, readers[i], true, 50 + i);
    }
    hold(*state, 41, 0, 100);
    assert_overlaps(*state, 1);
}

/* The writer's reply is read first, but the reader with the lower fence still holds. */
static void a_writer_that_is_read_before_its_reader_is_a_violation(void **state)
{
    struct judge_claim *reader = request(*state, true, 0);

    hold(*state, 2, 0, 10);
    judge_granted(*state, reader, 1, LEASE, 20 * MS);
    judge_end(*state);
    assert_int_equal(judge_counts(*state)->violations[JUDGE_EXCLUSION], 1);
    assert_int_equal(judge_counts(*state)->violations[JUDGE_FENCE], 1);
    judge_free(*state);
}

static void a_reader_that_passes_a_queued_writer_is_a_violation(void **state)
{
    struct judge *judge = *state;
    struct judge_claim *first = share(judge, 1, 0, 0);
    struct judge_claim *writer = judge_requested(judge, 0, MS);
    struct judge_claim *later;

    judge_queued(judge, writer);
    judge_waiting(judge, writer, LEASE, 2 * MS);
    later = share(judge, 2, 0, 3);
    release(judge, first, true, 4);
    release(judge, later, true, 5);
    judge_granted(judge, writer, 3, LEASE, 6 * MS);
    assert_violations(judge, JUDGE_ORDER, 1);
}

static void a_lost_reader_does_not_exclude_a_writer(void **state)
{
    struct judge_claim *lost = share(*state, 1, 0, 0);

    judge_disconnected(*state, lost);
    hold(*state, 2, 1, 10);
    release(*state, lost, false, 20);
    assert_overlaps(*state, 0);
}

static void a_lost_reader_that_releases_after_a_writers_grant_is_a_violation(void **state)
{
    struct judge_claim *lost = share(*state, 1, 0, 0);

    judge_disconnected(*state, lost);
    hold(*state, 2, 1, 10);
    release(*state, lost, true, 20);
    assert_overlaps(*state, 1);
}

static void a_lost_reader_that_releases_after_another_readers_grant_is_right(void **state)
{
    struct judge_claim *lost = share(*state, 1, 0, 0);

    judge_disconnected(*state, lost);
    share(*state, 2, 1, 10);
    release(*state, lost, true, 20);
    assert_overlaps(*state, 0);
}

/* Refuses the renewal of a waiter's grant, 12 s after its request. The lease takes 10 s. */
static void refuse_late_renewal(struct judge *judge, struct judge_claim *holder, uint64_t fence)
{
    judge_granted(judge, holder, fence, LEASE, 5003 * MS);
    judge_renewing(judge, holder, 12000 * MS);
    judge_renewed(judge, holder, 0, 12001 * MS);
    judge_dropped(judge, holder, 12002 * MS);
}

/* A reader's lease begins after the writer's hold, however many readers have released since. */
static void the_end_of_a_writer_delays_the_lease_of_a_reader(void **state)
{
    struct judge *judge = *state;
    struct judge_claim *writer = hold(judge, 1, 0, 0);
    struct judge_claim *waiter = request(judge, true, 1);
    struct judge_claim *readers[40];

    release(judge, writer, true, 5000);
    for (uint32_t i = 0; i < 40; i++)
        readers[i] = share(judge, 2 + i, 0, 5001);
    for (uint32_t i = 0; i < 40; i++)
        release(judge, readers[i], true, 5002);
    refuse_late_renewal(judge, waiter, 50);
    assert_violations(judge, JUDGE_LEASE, 1);
}

static void the_end_of_a_reader_delays_the_lease_of_a_writer_only(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        struct judge *judge = judge_new(1, 50 * MS);
        struct judge_claim *reader = share(judge, 1, 0, 0);
        struct judge_claim *waiter = request(judge, shared, 1);

        release(judge, reader, true, 5000);
        refuse_late_renewal(judge, waiter, 2);
        assert_violations(judge, JUDGE_LEASE, shared ? 0 : 1);
    }
    judge_free(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(two_holders_are_a_violation, start),
        cmocka_unit_test_setup(a_lost_holder_does_not_exclude_others, start),
        cmocka_unit_test_setup(a_lost_holder_may_have_been_released_by_the_server, start),
        cmocka_unit_test_setup(a_lost_holder_that_releases_after_the_next_grant_is_a_violation,
                               start),
        cmocka_unit_test_setup(a_grant_after_the_release_was_sent_is_allowed, start),
        cmocka_unit_test_setup(a_lost_release_that_is_repeated_may_be_refused_or_accepted, start),
        cmocka_unit_test_setup(a_holder_from_before_a_loss_does_not_convict_the_server, start),
        cmocka_unit_test_setup(a_holder_from_before_a_loss_convicts_by_its_release, start),
        cmocka_unit_test_setup(the_end_of_a_lost_hold_does_not_delay_the_next_lease, start),
        cmocka_unit_test_setup(a_lost_request_needs_no_reply, start),
        cmocka_unit_test_setup(many_readers_may_hold_a_key, start),
        cmocka_unit_test_setup(readers_are_read_in_any_order, start),
        cmocka_unit_test_setup(a_writer_beside_a_reader_is_a_violation, start),
        cmocka_unit_test_setup(a_reader_beside_a_writer_is_a_violation, start),
        cmocka_unit_test_setup(a_writer_beside_the_last_of_many_readers_is_a_violation, start),
        cmocka_unit_test_setup(a_writer_that_is_read_before_its_reader_is_a_violation, start),
        cmocka_unit_test_setup(a_reader_that_passes_a_queued_writer_is_a_violation, start),
        cmocka_unit_test_setup(a_lost_reader_does_not_exclude_a_writer, start),
        cmocka_unit_test_setup(a_lost_reader_that_releases_after_a_writers_grant_is_a_violation,
                               start),
        cmocka_unit_test_setup(a_lost_reader_that_releases_after_another_readers_grant_is_right,
                               start),
        cmocka_unit_test_setup(the_end_of_a_writer_delays_the_lease_of_a_reader, start),
        cmocka_unit_test_setup(the_end_of_a_reader_delays_the_lease_of_a_writer_only, start),
    };

    return cmocka_run_group_tests_name("judge", tests, NULL, NULL);
}
