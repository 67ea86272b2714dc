/*
 * A lease whose connection was lost, until it is held again or lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lease_fixture.h"

/* ---- unverified ---- */

static void a_silent_connection_is_replaced_after_its_timeout(void **state)
{
    struct lease lease = unverified_lease();
    struct lease verifying = verifying_lease();
    double reply_s = REPLY_TIMEOUT_S;
    double connect_s = CONNECT_TIMEOUT_S;

    (void)state;
    assert_int_equal(lease_next(&lease, lease_at(1)), LEASE_CONNECT);
    lease_sent(&lease, lease_at(1));
    assert_true(lease_due_ns(&lease) == lease_at(1 + connect_s + reply_s));
    lease_next(&lease, lease_at(1 + connect_s + reply_s));
    assert_unverified(&lease);
    assert_true(lease_due_ns(&lease) <= lease_at(2 + connect_s + reply_s));
    assert_int_equal(lease_next(&lease, lease_at(2 + connect_s + reply_s)), LEASE_CONNECT);
    lease_next(&verifying, lease_at(3 + reply_s));
    assert_unverified(&verifying);
    assert_int_equal(lease_next(&verifying, lease_at(4 + reply_s)), LEASE_CONNECT);
}

/* The server may process it later, and release the grant with the end of that connection. */
static void no_connection_follows_own_without_a_reply(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    assert_int_equal(lease_due_ns(&lease), lease_at(LEASE_S));
    assert_int_equal(lease_next(&lease, lease_at(LEASE_S) - 1), LEASE_DO_NOTHING);
    assert_unverified(&lease);
    lease_disconnect(&lease, 20);
    assert_lost(&lease, DFLOCKD_STATUS_DISCONNECTED);
}

static void a_lease_without_a_connection_is_not_held_and_reconnects_at_once(void **state)
{
    struct lease lease = unverified_lease();

    (void)state;
    assert_unverified(&lease);
    assert_int_equal(lease_due_ns(&lease), lease_at(1));
    assert_int_equal(lease_next(&lease, lease_at(1)), LEASE_CONNECT);
}

static void own_alone_does_not_hold_the_lease_again(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    assert_unverified(&lease);
    lease_reply_own(&lease, 3);
    assert_unverified(&lease);
    assert_int_equal(lease_due_ns(&lease), lease_at(3));
    assert_int_equal(lease_next(&lease, lease_at(3)), LEASE_SEND_RENEW);
}

static void own_and_a_renewal_hold_the_lease_again(void **state)
{
    struct lease lease = verifying_lease();

    (void)state;
    assert_unverified(&lease);
    lease_reply_renewal(&lease, LEASE_S, 4);
    assert_held(&lease, 4, 3 + LEASE_S);
    assert_true(lease_due_ns(&lease) > lease_at(3 + 13) &&
                lease_due_ns(&lease) <= lease_at(3 + 15));
}

static void a_reply_of_the_old_connection_is_ignored(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_disconnect(&lease, 16);
    lease_reply_renewal(&lease, LEASE_S, 17);
    assert_unverified(&lease);
    assert_int_equal(lease_next(&lease, lease_at(17)), LEASE_CONNECT);
}

static void a_refused_own_loses_the_lease(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    lease_refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 3);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
    lease = owning_lease();
    lease_refuse(&lease, DFLOCKD_STATUS_FAILED, 3);
    assert_lost(&lease, DFLOCKD_STATUS_FAILED);
}

static void a_server_that_closes_on_own_loses_the_lease(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    lease_disconnect(&lease, 3);
    assert_lost(&lease, DFLOCKD_STATUS_DISCONNECTED);
}

static void a_failed_attempt_to_connect_is_repeated(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    lease_disconnected(&lease, DFLOCKD_STATUS_UNREACHABLE, lease_at(3));
    assert_unverified(&lease);
    lease_connect_again(&lease, 5);
    lease_reply_own(&lease, 5);
    lease_send(&lease, LEASE_SEND_RENEW, 5);
    lease_reply_renewal(&lease, LEASE_S, 5);
    assert_held(&lease, 5, 5 + LEASE_S);
}

static void own_is_sent_again_if_the_connection_is_lost_after_it(void **state)
{
    struct lease lease = verifying_lease();

    (void)state;
    lease_disconnect(&lease, 4);
    assert_unverified(&lease);
    assert_true(lease_due_ns(&lease) > lease_at(4));
    lease_connect_again(&lease, 5);
    lease_reply_own(&lease, 5);
    assert_unverified(&lease);
    lease_send(&lease, LEASE_SEND_RENEW, 5);
    lease_reply_renewal(&lease, LEASE_S, 5);
    assert_held(&lease, 5, 5 + LEASE_S);
}

static void a_lease_reconnects_to_a_draining_server_after_a_delay(void **state)
{
    struct lease owning = owning_lease();
    struct lease verifying = verifying_lease();

    (void)state;
    lease_refuse(&owning, DFLOCKD_STATUS_DRAINING, 4);
    assert_unverified(&owning);
    assert_true(lease_due_ns(&owning) > lease_at(4) && lease_due_ns(&owning) <= lease_at(5));
    assert_int_equal(lease_next(&owning, lease_at(5)), LEASE_CONNECT);
    lease_refuse(&verifying, DFLOCKD_STATUS_DRAINING, 4);
    assert_unverified(&verifying);
    assert_int_equal(lease_next(&verifying, lease_at(5)), LEASE_CONNECT);
}

static void a_refused_renewal_after_own_loses_the_lease(void **state)
{
    struct lease lease = verifying_lease();

    (void)state;
    lease_refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 4);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
}

static void an_unverified_lease_is_lost_at_its_end(void **state)
{
    struct lease leases[] = {unverified_lease(), owning_lease(), verifying_lease()};

    (void)state;
    for (size_t i = 0; i < sizeof(leases) / sizeof(leases[0]); i++) {
        lease_next(&leases[i], lease_at(LEASE_S) - 1);
        assert_unverified(&leases[i]);
        assert_int_equal(lease_next(&leases[i], lease_at(LEASE_S)), LEASE_DO_NOTHING);
        assert_lost(&leases[i], DFLOCKD_STATUS_LOST);
    }
}

static void delays_between_attempts_grow_until_a_renewal_while_held(void **state)
{
    struct lease lease = held_lease();
    uint64_t now_ns = lease_at(1);

    (void)state;
    for (uint32_t attempt = 0; attempt < 8; attempt++) {
        lease_disconnected(&lease, DFLOCKD_STATUS_UNREACHABLE, now_ns);
        assert_int_equal(lease_due_ns(&lease), now_ns + lease_backoff_ns(attempt, FENCE));
        now_ns = lease_due_ns(&lease);
        assert_int_equal(lease_next(&lease, now_ns - 1), LEASE_DO_NOTHING);
        assert_int_equal(lease_next(&lease, now_ns), LEASE_CONNECT);
    }
    lease_connect_again(&lease, 8);
    lease_reply_own(&lease, 8);
    lease_send(&lease, LEASE_SEND_RENEW, 8);
    lease_reply_renewal(&lease, LEASE_S, 8);
    lease_disconnect(&lease, 9);
    assert_true(lease_due_ns(&lease) >= lease_at(9.5));
    lease_connect_again(&lease, 10);
    lease_reply_own(&lease, 10);
    lease_send(&lease, LEASE_SEND_RENEW, 10);
    lease_reply_renewal(&lease, LEASE_S, 10);
    lease_send(&lease, LEASE_SEND_RENEW, 25);
    lease_reply_renewal(&lease, LEASE_S, 25);
    lease_disconnect(&lease, 26);
    assert_int_equal(lease_due_ns(&lease), lease_at(26));
}

static void the_delay_between_attempts_grows_to_a_second_with_jitter(void **state)
{
    static const uint64_t most_ms[] = {50, 100, 200, 400, 800, 1000, 1000, 1000};

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        assert_int_equal(lease_backoff_ns(0, seed), 0);
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t delay_ns = lease_backoff_ns(i + 1, seed);

            assert_true(delay_ns >= most_ms[i] * NS_PER_MS / 2 &&
                        delay_ns <= most_ms[i] * NS_PER_MS);
        }
        assert_true(lease_backoff_ns(UINT32_MAX, seed) <= NS_PER_S);
        assert_true(lease_backoff_ns(UINT32_MAX, seed) >= NS_PER_S / 2);
    }
}

static void clients_of_one_server_do_not_return_at_once(void **state)
{
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        uint64_t delay_ns = lease_backoff_ns(10, seed);

        first = delay_ns < first ? delay_ns : first;
        last = delay_ns > last ? delay_ns : last;
    }
    assert_true(last - first > 400 * NS_PER_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_connection_is_replaced_after_its_timeout),
        cmocka_unit_test(no_connection_follows_own_without_a_reply),
        cmocka_unit_test(a_lease_without_a_connection_is_not_held_and_reconnects_at_once),
        cmocka_unit_test(own_alone_does_not_hold_the_lease_again),
        cmocka_unit_test(own_and_a_renewal_hold_the_lease_again),
        cmocka_unit_test(a_reply_of_the_old_connection_is_ignored),
        cmocka_unit_test(a_refused_own_loses_the_lease),
        cmocka_unit_test(a_server_that_closes_on_own_loses_the_lease),
        cmocka_unit_test(a_failed_attempt_to_connect_is_repeated),
        cmocka_unit_test(own_is_sent_again_if_the_connection_is_lost_after_it),
        cmocka_unit_test(a_lease_reconnects_to_a_draining_server_after_a_delay),
        cmocka_unit_test(a_refused_renewal_after_own_loses_the_lease),
        cmocka_unit_test(an_unverified_lease_is_lost_at_its_end),
        cmocka_unit_test(delays_between_attempts_grow_until_a_renewal_while_held),
        cmocka_unit_test(the_delay_between_attempts_grows_to_a_second_with_jitter),
        cmocka_unit_test(clients_of_one_server_do_not_return_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
