/*
 * What the judge may claim after a lost connection. tests/witness/selftest.c tests its other rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/judge.h"

#define MS    1000000ull
#define LEASE (10000 * MS)

/* Returns a holder of key 0 whose connection was opened after `losses` losses. */
static struct judge_claim *hold(struct judge *judge, uint64_t fence, uint32_t losses, uint64_t ms)
{
    struct judge_claim *claim = judge_requested(judge, 0, ms * MS);

    judge_set_losses(claim, losses);
    judge_waiting(judge, claim, LEASE, ms * MS);
    judge_granted(judge, claim, fence, LEASE, ms * MS + 1);
    return claim;
}

static void release(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t ms)
{
    judge_releasing(judge, claim, ms * MS);
    judge_released(judge, claim, accepted, ms * MS + 1);
}

/* Ends the load. Only exclusion may be violated, `count` times. */
static void assert_overlaps(struct judge *judge, uint64_t count)
{
    judge_end(judge);
    for (int rule = 0; rule < JUDGE_RULES; rule++)
        assert_int_equal(judge_counts(judge)->violations[rule],
                         rule == JUDGE_EXCLUSION ? count : 0);
    judge_free(judge);
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
    };

    return cmocka_run_group_tests_name("judge", tests, NULL, NULL);
}
