/*
 * A lease until it is held: requests for a grant, and the confirmation of late grants.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lease_fixture.h"

/* ---- the request for a grant ---- */

static void a_new_lease_is_none_and_does_nothing(void **state)
{
    struct lease lease = new_lease(LEASE_RENEWED);

    (void)state;
    assert_none(&lease, DFLOCKD_STATUS_DONE);
}

static void a_waiting_lease_is_not_held_and_sends_nothing(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    assert_int_equal(lease.state, LEASE_WAITING);
    assert_int_equal(lease_left_ns(&lease, lease_start_ns), 0);
    assert_int_equal(lease_next(&lease, lease_at(10)), LEASE_DO_NOTHING);
}

static void a_prompt_grant_is_held_and_counts_from_its_request(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_grant(&lease, 1);
    assert_held(&lease, 1, LEASE_S);
}

static void a_grant_within_a_tenth_of_the_lease_needs_no_confirmation(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_grant(&lease, PROMPT_S);
    assert_held(&lease, PROMPT_S, LEASE_S);
    lease = waiting_lease();
    lease_grant(&lease, PROMPT_S + 0.001);
    assert_confirming(&lease);
}

static void a_late_grant_is_renewed_before_it_is_held(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_grant(&lease, 4);
    assert_confirming(&lease);
    assert_int_equal(lease_due_ns(&lease), lease_at(4));
    lease_send(&lease, LEASE_SEND_RENEW, 4);
    assert_confirming(&lease);
    lease_reply_renewal(&lease, LEASE_S, 5);
    assert_held(&lease, 5, 4 + LEASE_S);
}

static void a_queued_lease_is_not_held_and_has_no_deadline(void **state)
{
    struct lease lease = queued_lease();

    (void)state;
    assert_int_equal(lease.state, LEASE_QUEUED);
    assert_int_equal(lease_left_ns(&lease, lease_start_ns), 0);
    assert_int_equal(lease_due_ns(&lease), UINT64_MAX);
    assert_int_equal(lease_next(&lease, lease_at(1e6)), LEASE_DO_NOTHING);
    assert_int_equal(lease.state, LEASE_QUEUED);
}

static void a_wait_ends_at_the_end_that_its_caller_set(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_end_wait(&lease, lease_at(0.5));
    assert_int_equal(lease_due_ns(&lease), lease_at(0.5));
    assert_int_equal(lease_next(&lease, lease_at(0.5) - 1), LEASE_DO_NOTHING);
    assert_int_equal(lease.state, LEASE_WAITING);
    assert_int_equal(lease_next(&lease, lease_at(0.5)), LEASE_DO_NOTHING);
    assert_none(&lease, DFLOCKD_STATUS_TIMED_OUT);
    assert_false(lease.replied);
}

/* The server releases it with the connection. */
static void a_grant_that_crosses_with_the_end_of_the_wait_is_never_held(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_end_wait(&lease, lease_at(0.5));
    lease_next(&lease, lease_at(0.5));
    lease_grant(&lease, 0.5);
    assert_none(&lease, DFLOCKD_STATUS_TIMED_OUT);
    assert_false(lease.replied);
    assert_string_equal(lease.token, "");
}

static void a_grant_before_the_end_of_the_wait_is_held(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_end_wait(&lease, lease_at(0.5));
    lease_grant(&lease, 0.25);
    assert_held(&lease, 0.5, LEASE_S);
    assert_true(lease.replied);
    lease_release(&lease);
    lease_ask(&lease, WAIT_S * NS_PER_S, lease_start_ns); /* the next request has no such end */
    assert_int_equal(lease_next(&lease, lease_at(1)), LEASE_DO_NOTHING);
    assert_int_equal(lease.state, LEASE_WAITING);
}

static void a_grant_after_wait_counts_from_the_wait(void **state)
{
    struct lease lease = queued_lease();

    (void)state;
    lease_ask(&lease, WAIT_S * NS_PER_S, lease_at(100));
    assert_int_equal(lease.state, LEASE_WAITING);
    lease_grant(&lease, 101);
    assert_held(&lease, 101, 100 + LEASE_S);
}

static void a_refused_request_keeps_the_reason(void **state)
{
    static const enum dflockd_status refusals[] = {
        DFLOCKD_STATUS_TIMED_OUT, DFLOCKD_STATUS_LOST,     DFLOCKD_STATUS_MAX_WAITERS,
        DFLOCKD_STATUS_FAILED,    DFLOCKD_STATUS_DRAINING,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct lease lease = waiting_lease();

        lease_refuse(&lease, refusals[i], 1);
        assert_none(&lease, refusals[i]);
    }
}

static void a_lost_connection_ends_the_request(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_disconnect(&lease, 1);
    assert_none(&lease, DFLOCKD_STATUS_DISCONNECTED);
    lease = queued_lease();
    lease_disconnected(&lease, DFLOCKD_STATUS_UNREACHABLE, lease_at(1));
    assert_none(&lease, DFLOCKD_STATUS_UNREACHABLE);
}

static void a_request_without_a_reply_ends_after_its_wait_and_the_reply_timeout(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    assert_int_equal(lease_due_ns(&lease), lease_at(WAIT_S + REPLY_TIMEOUT_S));
    lease_next(&lease, lease_at(WAIT_S + REPLY_TIMEOUT_S) - 1);
    assert_int_equal(lease.state, LEASE_WAITING);
    lease_next(&lease, lease_at(WAIT_S + REPLY_TIMEOUT_S));
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
}

static void a_grant_after_the_deadline_is_not_held(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_next(&lease, lease_at(WAIT_S + REPLY_TIMEOUT_S));
    lease_grant(&lease, WAIT_S + REPLY_TIMEOUT_S + 1);
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
}

static void the_longest_times_do_not_overflow(void **state)
{
    struct dflockd_reply reply = {.status = DFLOCKD_STATUS_DONE, .lease_s = DFLOCKD_SECONDS_MAX};
    struct lease lease = new_lease(LEASE_RENEWED);

    (void)state;
    lease_ask(&lease, DFLOCKD_SECONDS_MAX * NS_PER_S, lease_start_ns);
    assert_int_equal(lease_due_ns(&lease),
                     lease_start_ns + (DFLOCKD_SECONDS_MAX + REPLY_TIMEOUT_S) * NS_PER_S);
    lease_reply(&lease, &reply, lease_start_ns);
    assert_int_equal(lease_left_ns(&lease, lease_start_ns), DFLOCKD_SECONDS_MAX * NS_PER_S);
    assert_true(lease_due_ns(&lease) > lease_at(1e9));
}

/* ---- the confirmation of a late grant ---- */

static void a_confirmation_after_the_end_of_its_lease_is_repeated(void **state)
{
    struct lease lease = confirming_lease(10);

    (void)state;
    lease_reply_renewal(&lease, 2, 12);
    assert_confirming(&lease);
    lease_send(&lease, LEASE_SEND_RENEW, 13);
    assert_int_equal(lease_due_ns(&lease), lease_at(12 + REPLY_TIMEOUT_S));
    lease_reply_renewal(&lease, 2, 14);
    assert_held(&lease, 14, 15);
}

static void a_refused_or_lost_confirmation_ends_the_request(void **state)
{
    struct lease lease = confirming_lease(10);

    (void)state;
    lease_refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 11);
    assert_none(&lease, DFLOCKD_STATUS_LOST);
    lease = confirming_lease(10);
    lease_disconnect(&lease, 11);
    assert_none(&lease, DFLOCKD_STATUS_DISCONNECTED);
    lease = confirming_lease(10);
    lease_refuse(&lease, DFLOCKD_STATUS_DRAINING, 11);
    assert_none(&lease, DFLOCKD_STATUS_DRAINING);
}

static void a_confirmation_has_the_reply_timeout(void **state)
{
    struct lease lease = confirming_lease(10);

    (void)state;
    assert_int_equal(lease_due_ns(&lease), lease_at(10 + REPLY_TIMEOUT_S));
    lease_next(&lease, lease_at(10 + REPLY_TIMEOUT_S) - 1);
    assert_confirming(&lease);
    lease_next(&lease, lease_at(10 + REPLY_TIMEOUT_S));
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
    lease_reply_renewal(&lease, LEASE_S, 16);
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_lease_is_none_and_does_nothing),
        cmocka_unit_test(a_waiting_lease_is_not_held_and_sends_nothing),
        cmocka_unit_test(a_prompt_grant_is_held_and_counts_from_its_request),
        cmocka_unit_test(a_grant_within_a_tenth_of_the_lease_needs_no_confirmation),
        cmocka_unit_test(a_late_grant_is_renewed_before_it_is_held),
        cmocka_unit_test(a_queued_lease_is_not_held_and_has_no_deadline),
        cmocka_unit_test(a_wait_ends_at_the_end_that_its_caller_set),
        cmocka_unit_test(a_grant_that_crosses_with_the_end_of_the_wait_is_never_held),
        cmocka_unit_test(a_grant_before_the_end_of_the_wait_is_held),
        cmocka_unit_test(a_grant_after_wait_counts_from_the_wait),
        cmocka_unit_test(a_refused_request_keeps_the_reason),
        cmocka_unit_test(a_lost_connection_ends_the_request),
        cmocka_unit_test(a_request_without_a_reply_ends_after_its_wait_and_the_reply_timeout),
        cmocka_unit_test(a_grant_after_the_deadline_is_not_held),
        cmocka_unit_test(the_longest_times_do_not_overflow),
        cmocka_unit_test(a_confirmation_after_the_end_of_its_lease_is_repeated),
        cmocka_unit_test(a_refused_or_lost_confirmation_ends_the_request),
        cmocka_unit_test(a_confirmation_has_the_reply_timeout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
