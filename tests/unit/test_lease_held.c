/*
 * A held lease: renewals, checks, release and loss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lease_fixture.h"

/* ---- held ---- */

static void a_held_lease_is_renewed_at_its_ratio_or_up_to_a_tenth_earlier(void **state)
{
    struct lease lease = held_lease();
    uint64_t due_ns = lease_due_ns(&lease);

    (void)state;
    assert_true(due_ns > lease_at(13.5) && due_ns <= lease_at(15));
    assert_int_equal(lease_next(&lease, due_ns - 1), LEASE_DO_NOTHING);
    assert_int_equal(lease_next(&lease, due_ns), LEASE_SEND_RENEW);
}

static void leases_with_neighbouring_fences_are_renewed_at_different_times(void **state)
{
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;

    (void)state;
    for (uint64_t fence = 1; fence <= 100; fence++) {
        const struct dflockd_reply reply = {
            .status = DFLOCKD_STATUS_DONE, .fence = fence, .lease_s = LEASE_S};
        struct lease lease = waiting_lease();
        uint64_t due_ns;

        lease_reply(&lease, &reply, lease_start_ns);
        due_ns = lease_due_ns(&lease);
        assert_true(due_ns >= lease_at(13.5) && due_ns <= lease_at(15));
        first = due_ns < first ? due_ns : first;
        last = due_ns > last ? due_ns : last;
    }
    assert_true(last - first > NS_PER_S);
}

static void a_renewal_counts_from_when_it_was_sent(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    assert_held(&lease, 16, LEASE_S);
    lease_reply_renewal(&lease, 40, 20);
    assert_held(&lease, 20, 15 + 40);
    assert_int_equal(lease.lease_s, 40);
    assert_true(lease_due_ns(&lease) > lease_at(15 + 18) &&
                lease_due_ns(&lease) <= lease_at(15 + 20));
}

static void one_renewal_is_pending_at_a_time(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    assert_int_equal(lease_next(&lease, lease_at(29)), LEASE_DO_NOTHING);
    assert_int_equal(lease_due_ns(&lease), lease_at(LEASE_S));
}

static void a_renewal_counts_even_if_its_reply_is_read_late(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_reply_renewal(&lease, LEASE_S, 40);
    assert_held(&lease, 40, 45);
}

static void a_lease_is_lost_at_its_end(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_next(&lease, lease_at(LEASE_S) - 1);
    assert_held(&lease, 16, LEASE_S);
    assert_int_equal(lease_next(&lease, lease_at(LEASE_S)), LEASE_DO_NOTHING);
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void an_ended_lease_is_lost_and_not_renewed(void **state)
{
    struct lease lease = held_lease();

    (void)state;
    assert_int_equal(lease_next(&lease, lease_at(LEASE_S)), LEASE_DO_NOTHING);
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void a_refused_renewal_loses_the_lease(void **state)
{
    struct lease lease = lost_lease();

    (void)state;
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
    lease = renewing_lease();
    lease_refuse(&lease, DFLOCKD_STATUS_FAILED, 16);
    assert_lost(&lease, DFLOCKD_STATUS_FAILED);
}

static void a_draining_reply_does_not_lose_the_lease(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_refuse(&lease, DFLOCKD_STATUS_DRAINING, 16);
    assert_held(&lease, 16, LEASE_S);
    lease_disconnect(&lease, 17);
    assert_unverified(&lease);
}

static void a_lost_connection_loses_the_lease_only_if_a_new_one_cannot_help(void **state)
{
    static const enum dflockd_status passing[] = {
        DFLOCKD_STATUS_DISCONNECTED, DFLOCKD_STATUS_UNREACHABLE, DFLOCKD_STATUS_DRAINING,
        DFLOCKD_STATUS_NO_MEMORY};
    static const enum dflockd_status lasting[] = {DFLOCKD_STATUS_UNTRUSTED, DFLOCKD_STATUS_REFUSED,
                                                  DFLOCKD_STATUS_STRANGE_ANSWER};

    (void)state;
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        struct lease lease = held_lease();

        lease_disconnected(&lease, passing[i], lease_at(1));
        assert_unverified(&lease);
    }
    for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++) {
        struct lease held = held_lease();
        struct lease unverified = unverified_lease();

        lease_disconnected(&held, lasting[i], lease_at(1));
        assert_lost(&held, lasting[i]);
        lease_disconnected(&unverified, lasting[i], lease_at(2));
        assert_lost(&unverified, lasting[i]);
    }
}

static void a_fixed_lease_is_renewed_on_demand_only(void **state)
{
    struct lease lease = held_lease_of(LEASE_FIXED);

    (void)state;
    assert_int_equal(lease_due_ns(&lease), lease_at(LEASE_S));
    assert_int_equal(lease_next(&lease, lease_at(29)), LEASE_DO_NOTHING);
    lease_demand(&lease);
    lease_send(&lease, LEASE_SEND_RENEW, 29);
    lease_reply_renewal(&lease, LEASE_S, 29);
    assert_held(&lease, 29, 29 + LEASE_S);
    assert_int_equal(lease_due_ns(&lease), lease_at(29 + LEASE_S));
}

static void own_does_not_extend_a_fixed_lease(void **state)
{
    struct lease lease = held_lease_of(LEASE_FIXED);

    (void)state;
    lease_disconnect(&lease, 1);
    lease_connect_again(&lease, 2);
    assert_unverified(&lease);
    lease_reply_own(&lease, 3);
    assert_held(&lease, 3, LEASE_S);
    assert_int_equal(lease_due_ns(&lease), lease_at(LEASE_S));
}

static void a_watched_lease_is_checked_and_not_renewed(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);

    (void)state;
    for (int now_s = 1; now_s < 100; now_s++) {
        assert_true(lease_due_ns(&lease) == UINT64_MAX);
        lease_check(&lease);
        lease_send(&lease, LEASE_SEND_OWN, now_s);
        lease_reply_own(&lease, now_s + 0.5);
        assert_held_by_others(&lease);
    }
    lease_check(&lease);
    lease_send(&lease, LEASE_SEND_OWN, 100);
    lease_refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 100);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
}

static void a_watched_lease_is_held_again_after_own(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);

    (void)state;
    lease_check(&lease);
    lease_send(&lease, LEASE_SEND_OWN, 1);
    lease_disconnect(&lease, 1);
    assert_unverified(&lease);
    lease_connect_again(&lease, 2);
    lease_reply_own(&lease, 2.5);
    assert_held_by_others(&lease);
    assert_true(lease_due_ns(&lease) == UINT64_MAX);
}

static void a_watched_lease_without_a_connection_is_lost_after_its_lease(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);

    (void)state;
    lease_disconnect(&lease, 100);
    lease_next(&lease, lease_at(100 + LEASE_S - 1));
    assert_int_equal(lease.state, LEASE_UNVERIFIED);
    lease_next(&lease, lease_at(100 + LEASE_S));
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void a_check_does_not_change_the_time_of_the_renewal(void **state)
{
    struct lease lease = held_lease_of(LEASE_RENEWED);
    uint64_t due_ns = lease_due_ns(&lease);

    (void)state;
    lease_check(&lease);
    lease_send(&lease, LEASE_SEND_OWN, 3);
    lease_reply_own(&lease, 4);
    assert_held(&lease, 4, LEASE_S);
    assert_true(lease_due_ns(&lease) == due_ns);
    lease_check(&lease);
    lease_send(&lease, LEASE_SEND_OWN, 5);
    lease_refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 5);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
}

static void a_check_during_a_renewal_does_nothing(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_check(&lease);
    lease_reply_renewal(&lease, LEASE_S, 20);
    assert_int_equal(lease_next(&lease, lease_at(20)), LEASE_DO_NOTHING);
}

static void the_mode_can_change_while_a_lease_is_held(void **state)
{
    struct lease lease = held_lease_of(LEASE_RENEWED);

    (void)state;
    lease_set_mode(&lease, LEASE_WATCHED);
    assert_true(lease_due_ns(&lease) == UINT64_MAX);
    lease = renewing_lease();
    lease_set_mode(&lease, LEASE_WATCHED);
    lease_reply_renewal(&lease, LEASE_S, 20);
    assert_held_by_others(&lease);
}

/* ---- demanded renewals ---- */

static void a_demanded_renewal_is_sent_at_once(void **state)
{
    struct lease lease = held_lease();
    uint64_t number = lease_demand(&lease);

    (void)state;
    assert_true(lease_due_ns(&lease) <= lease_at(1));
    lease_send(&lease, LEASE_SEND_RENEW, 1);
    assert_true(lease.renewals_answered < number);
    lease_reply_renewal(&lease, LEASE_S, 2);
    assert_true(lease.renewals_answered >= number);
    assert_held(&lease, 2, 1 + LEASE_S);
    assert_true(lease_due_ns(&lease) > lease_at(14));
}

static void a_renewal_demanded_while_one_is_pending_is_sent_after_it(void **state)
{
    struct lease lease = renewing_lease();
    uint64_t number = lease_demand(&lease);

    (void)state;
    assert_int_equal(lease_next(&lease, lease_at(16)), LEASE_DO_NOTHING);
    lease_reply_renewal(&lease, LEASE_S, 16);
    assert_true(lease.renewals_answered < number);
    lease_send(&lease, LEASE_SEND_RENEW, 16);
    lease_reply_renewal(&lease, LEASE_S, 17);
    assert_true(lease.renewals_answered >= number);
    assert_held(&lease, 17, 16 + LEASE_S);
    assert_true(lease_due_ns(&lease) > lease_at(29));
}

static void demands_before_a_renewal_is_sent_share_it(void **state)
{
    struct lease lease = held_lease();

    (void)state;
    assert_int_equal(lease_demand(&lease), lease_demand(&lease));
    lease_send(&lease, LEASE_SEND_RENEW, 1);
    lease_reply_renewal(&lease, LEASE_S, 2);
    assert_int_equal(lease_next(&lease, lease_at(2)), LEASE_DO_NOTHING);
}

static void a_demanded_renewal_is_sent_on_a_new_connection(void **state)
{
    enum lease_mode modes[] = {LEASE_RENEWED, LEASE_FIXED, LEASE_WATCHED};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct lease lease = held_lease_of(modes[i]);
        uint64_t number;

        lease_demand(&lease);
        lease_send(&lease, LEASE_SEND_RENEW, 0.5);
        lease_disconnect(&lease, 1);
        number = lease_demand(&lease);
        lease_connect_again(&lease, 2);
        lease_reply_own(&lease, 2);
        lease_send(&lease, LEASE_SEND_RENEW, 2);
        assert_true(lease.renewals_answered < number);
        lease_reply_renewal(&lease, LEASE_S, 2);
        assert_true(lease.renewals_answered >= number);
        assert_int_equal(lease.state, LEASE_HELD);
    }
}

static void a_renewal_demanded_during_own_is_sent_after_it(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);
    uint64_t number;

    (void)state;
    lease_check(&lease);
    lease_send(&lease, LEASE_SEND_OWN, 1);
    number = lease_demand(&lease);
    lease_reply_own(&lease, 1);
    lease_send(&lease, LEASE_SEND_RENEW, 1);
    lease_reply_renewal(&lease, LEASE_S, 1);
    assert_true(lease.renewals_answered >= number);
    assert_true(lease_due_ns(&lease) == UINT64_MAX);
}

/* ---- lost ---- */

static void no_event_changes_a_lost_lease(void **state)
{
    struct lease over = renewing_lease();
    struct lease refused = lost_lease();
    struct lease *leases[] = {&over, &refused};

    (void)state;
    lease_next(&over, lease_at(LEASE_S));
    for (size_t i = 0; i < 2; i++) {
        enum dflockd_status why = leases[i]->why;

        lease_reply_renewal(leases[i], LEASE_S, 31);
        assert_lost(leases[i], why);
        lease_grant(leases[i], 31);
        assert_lost(leases[i], why);
        lease_refuse(leases[i], DFLOCKD_STATUS_DRAINING, 31);
        assert_lost(leases[i], why);
        lease_disconnect(leases[i], 32);
        assert_lost(leases[i], why);
        lease_connected(leases[i]);
        assert_lost(leases[i], why);
        lease_demand(leases[i]);
        assert_lost(leases[i], why);
        lease_release(leases[i]);
        assert_lost(leases[i], why);
    }
}

static void a_reply_to_own_after_the_end_of_the_lease_is_ignored(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    lease_next(&lease, lease_at(LEASE_S));
    lease_reply_own(&lease, 31);
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void a_new_request_resets_a_lost_lease(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_reply_renewal(&lease, LEASE_S, 16);
    assert_int_equal(lease.renewals_answered, 1);
    lease_next(&lease, lease_at(15 + LEASE_S));
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
    lease_ask(&lease, 0, lease_at(50));
    assert_int_equal(lease.state, LEASE_WAITING);
    assert_int_equal(lease.why, DFLOCKD_STATUS_DONE);
    assert_int_equal(lease_due_ns(&lease), lease_at(50 + REPLY_TIMEOUT_S));
    lease_grant(&lease, 51);
    assert_held(&lease, 51, 50 + LEASE_S);
    assert_int_equal(lease.renewals_answered, 0);
}

/* ---- release ---- */

static void release_makes_any_lease_none(void **state)
{
    struct lease leases[] = {
        new_lease(LEASE_RENEWED), waiting_lease(), queued_lease(),
        confirming_lease(10),     held_lease(),    renewing_lease(),
        unverified_lease(),       owning_lease(),  verifying_lease(),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(leases) / sizeof(leases[0]); i++) {
        lease_release(&leases[i]);
        assert_none(&leases[i], DFLOCKD_STATUS_DONE);
    }
}

static void replies_to_requests_before_the_release_are_ignored(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_release(&lease);
    lease_reply_renewal(&lease, LEASE_S, 16);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
    lease = waiting_lease();
    lease_release(&lease);
    lease_grant(&lease, 1);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
    lease_disconnect(&lease, 2);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
    lease_connected(&lease);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_held_lease_is_renewed_at_its_ratio_or_up_to_a_tenth_earlier),
        cmocka_unit_test(leases_with_neighbouring_fences_are_renewed_at_different_times),
        cmocka_unit_test(a_renewal_counts_from_when_it_was_sent),
        cmocka_unit_test(one_renewal_is_pending_at_a_time),
        cmocka_unit_test(a_renewal_counts_even_if_its_reply_is_read_late),
        cmocka_unit_test(a_lease_is_lost_at_its_end),
        cmocka_unit_test(an_ended_lease_is_lost_and_not_renewed),
        cmocka_unit_test(a_refused_renewal_loses_the_lease),
        cmocka_unit_test(a_draining_reply_does_not_lose_the_lease),
        cmocka_unit_test(a_lost_connection_loses_the_lease_only_if_a_new_one_cannot_help),
        cmocka_unit_test(a_fixed_lease_is_renewed_on_demand_only),
        cmocka_unit_test(own_does_not_extend_a_fixed_lease),
        cmocka_unit_test(a_watched_lease_is_checked_and_not_renewed),
        cmocka_unit_test(a_watched_lease_is_held_again_after_own),
        cmocka_unit_test(a_watched_lease_without_a_connection_is_lost_after_its_lease),
        cmocka_unit_test(a_check_does_not_change_the_time_of_the_renewal),
        cmocka_unit_test(a_check_during_a_renewal_does_nothing),
        cmocka_unit_test(the_mode_can_change_while_a_lease_is_held),
        cmocka_unit_test(a_demanded_renewal_is_sent_at_once),
        cmocka_unit_test(a_renewal_demanded_while_one_is_pending_is_sent_after_it),
        cmocka_unit_test(demands_before_a_renewal_is_sent_share_it),
        cmocka_unit_test(a_demanded_renewal_is_sent_on_a_new_connection),
        cmocka_unit_test(a_renewal_demanded_during_own_is_sent_after_it),
        cmocka_unit_test(no_event_changes_a_lost_lease),
        cmocka_unit_test(a_reply_to_own_after_the_end_of_the_lease_is_ignored),
        cmocka_unit_test(a_new_request_resets_a_lost_lease),
        cmocka_unit_test(release_makes_any_lease_none),
        cmocka_unit_test(replies_to_requests_before_the_release_are_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
