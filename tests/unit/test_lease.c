/*
 * The state machine of a lease under a virtual clock: each transition of the table in lease.h, and
 * each rule of safety.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/lease.h"

static const uint64_t second = 1000000000;
static const uint64_t ms = 1000000;

/* The request for the grant is sent at this moment. */
static const uint64_t start = UINT64_C(1000) * 1000000000;

enum {
    LEASE_S = 30,
    PROMPT_S = 3, /* a tenth of it */
    WAIT_S = 60,
    CONNECT_TIMEOUT_S = 3,
    REPLY_TIMEOUT_S = 5,
    FENCE = 77
};

static const char token[] = "0123456789abcdef0123456789abcdef";
static const char no_token[DFLOCKD_TOKEN_LENGTH + 1] = "";

/* ---- events ---- */

static uint64_t at(double seconds)
{
    return start + (uint64_t)(seconds * (double)second);
}

static struct lease new_lease(enum lease_mode mode)
{
    const struct lease_terms terms = {
        .mode = mode,
        .renew_ratio = 0.5,
        .connect_timeout_ns = CONNECT_TIMEOUT_S * second,
        .reply_timeout_ns = REPLY_TIMEOUT_S * second,
    };
    struct lease lease;

    memset(&lease, 0xff, sizeof(lease));
    lease_init(&lease, &terms);
    return lease;
}

static void refuse(struct lease *lease, enum dflockd_status status, double seconds)
{
    const struct dflockd_reply reply = {.status = status};

    lease_reply(lease, &reply, at(seconds));
}

static void grant(struct lease *lease, double seconds)
{
    struct dflockd_reply reply = {
        .status = DFLOCKD_STATUS_DONE,
        .fence = FENCE,
        .lease_s = LEASE_S,
    };

    memcpy(reply.token, token, sizeof(token));
    lease_reply(lease, &reply, at(seconds));
}

static void answer_renewal(struct lease *lease, uint64_t lease_s, double seconds)
{
    const struct dflockd_reply reply = {.status = DFLOCKD_STATUS_DONE, .lease_s = lease_s};

    lease_reply(lease, &reply, at(seconds));
}

static void answer_own(struct lease *lease, double seconds)
{
    refuse(lease, DFLOCKD_STATUS_DONE, seconds);
}

static void disconnect(struct lease *lease, double seconds)
{
    lease_disconnected(lease, DFLOCKD_STATUS_DISCONNECTED, at(seconds));
}

/* This action is due, and is a request, which is sent. */
static void send(struct lease *lease, enum lease_action action, double seconds)
{
    assert_int_equal(lease_next(lease, at(seconds)), action);
    lease_sent(lease, at(seconds));
    assert_int_equal(lease_next(lease, at(seconds)), LEASE_DO_NOTHING);
}

static void connect_again(struct lease *lease, double seconds)
{
    assert_int_equal(lease_next(lease, at(seconds)), LEASE_CONNECT);
    lease_sent(lease, at(seconds));
    lease_connected(lease);
    send(lease, LEASE_SEND_OWN, seconds);
}

/* ---- states ---- */

static struct lease waiting_lease(void)
{
    struct lease lease = new_lease(LEASE_RENEWED);

    lease_ask(&lease, WAIT_S * second, start);
    return lease;
}

static struct lease queued_lease(void)
{
    struct lease lease = waiting_lease();

    refuse(&lease, DFLOCKD_STATUS_WAITING, 0);
    return lease;
}

/* Granted `seconds` after the request, and the confirming renewal is sent then. */
static struct lease confirming_lease(double seconds)
{
    struct lease lease = waiting_lease();

    grant(&lease, seconds);
    send(&lease, LEASE_SEND_RENEW, seconds);
    return lease;
}

/* Granted at once. */
static struct lease held_lease_of(enum lease_mode mode)
{
    struct lease lease = new_lease(mode);

    lease_ask(&lease, WAIT_S * second, start);
    grant(&lease, 0);
    return lease;
}

static struct lease held_lease(void)
{
    return held_lease_of(LEASE_RENEWED);
}

/* A renewal was sent at 15 s. */
static struct lease renewing_lease(void)
{
    struct lease lease = held_lease();

    send(&lease, LEASE_SEND_RENEW, 15);
    return lease;
}

/* Disconnected after a second. */
static struct lease unverified_lease(void)
{
    struct lease lease = held_lease();

    disconnect(&lease, 1);
    return lease;
}

/* As before, and `own` was sent after two. */
static struct lease owning_lease(void)
{
    struct lease lease = unverified_lease();

    connect_again(&lease, 2);
    return lease;
}

/* As before, it was answered, and the renewal was sent after three. */
static struct lease verifying_lease(void)
{
    struct lease lease = owning_lease();

    answer_own(&lease, 3);
    send(&lease, LEASE_SEND_RENEW, 3);
    return lease;
}

/* A renewal was refused. */
static struct lease lost_lease(void)
{
    struct lease lease = renewing_lease();

    refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 16);
    return lease;
}

/* ---- what must hold in a state ---- */

static void assert_quiet(const struct lease *lease)
{
    struct lease copy = *lease;

    assert_int_equal(lease_due_ns(lease), UINT64_MAX);
    assert_int_equal(lease_next(&copy, UINT64_MAX), LEASE_DO_NOTHING);
    assert_int_equal(lease_left_ns(lease, start), 0);
    assert_memory_equal(lease->token, no_token, sizeof(no_token));
    assert_int_equal(lease->fence, 0);
}

static void assert_none(const struct lease *lease, enum dflockd_status why)
{
    assert_int_equal(lease->state, LEASE_NONE);
    assert_int_equal(lease->why, why);
    assert_quiet(lease);
}

static void assert_lost(const struct lease *lease, enum dflockd_status why)
{
    assert_int_equal(lease->state, LEASE_LOST);
    assert_int_equal(lease->why, why);
    assert_quiet(lease);
}

/* It is held from now until this moment, and not a nanosecond longer. */
static void assert_held(const struct lease *lease, double now, double until)
{
    assert_int_equal(lease->state, LEASE_HELD);
    assert_string_equal(lease->token, token);
    assert_int_equal(lease->fence, FENCE);
    assert_int_equal(lease_left_ns(lease, at(now)), at(until) - at(now));
    assert_int_equal(lease_left_ns(lease, at(until) - 1), 1);
    assert_int_equal(lease_left_ns(lease, at(until)), 0);
    assert_int_equal(lease_left_ns(lease, at(until) + 1), 0);
    assert_true(lease_due_ns(lease) <= at(until));
}

static void assert_held_by_others(const struct lease *lease)
{
    assert_int_equal(lease->state, LEASE_HELD);
    assert_true(lease->end_ns == UINT64_MAX);
}

static void assert_unverified(const struct lease *lease)
{
    assert_int_equal(lease->state, LEASE_UNVERIFIED);
    assert_string_equal(lease->token, token);
    assert_int_equal(lease_left_ns(lease, start), 0);
    assert_true(lease_due_ns(lease) <= at(LEASE_S));
}

static void assert_confirming(const struct lease *lease)
{
    assert_int_equal(lease->state, LEASE_CONFIRMING);
    assert_string_equal(lease->token, token);
    assert_int_equal(lease_left_ns(lease, start), 0);
}

/* ---- the request for a grant ---- */

static void a_new_lease_is_none_and_has_nothing_to_do(void **state)
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
    assert_int_equal(lease_left_ns(&lease, start), 0);
    assert_int_equal(lease_next(&lease, at(10)), LEASE_DO_NOTHING);
}

static void a_grant_in_time_is_held_and_counts_from_its_request(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    grant(&lease, 1);
    assert_held(&lease, 1, LEASE_S);
}

static void a_reply_within_a_tenth_of_the_lease_is_in_time(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    grant(&lease, PROMPT_S);
    assert_held(&lease, PROMPT_S, LEASE_S);
    lease = waiting_lease();
    grant(&lease, PROMPT_S + 0.001);
    assert_confirming(&lease);
}

static void a_late_grant_is_renewed_at_once_before_it_is_held(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    grant(&lease, 4);
    assert_confirming(&lease);
    assert_int_equal(lease_due_ns(&lease), at(4));
    send(&lease, LEASE_SEND_RENEW, 4);
    assert_confirming(&lease);
    answer_renewal(&lease, LEASE_S, 5);
    assert_held(&lease, 5, 4 + LEASE_S);
}

static void a_place_in_the_queue_is_no_grant_and_has_no_deadline(void **state)
{
    struct lease lease = queued_lease();

    (void)state;
    assert_int_equal(lease.state, LEASE_QUEUED);
    assert_int_equal(lease_left_ns(&lease, start), 0);
    assert_int_equal(lease_due_ns(&lease), UINT64_MAX);
    assert_int_equal(lease_next(&lease, at(1e6)), LEASE_DO_NOTHING);
    assert_int_equal(lease.state, LEASE_QUEUED);
}

static void a_queued_lease_that_asks_again_counts_from_then(void **state)
{
    struct lease lease = queued_lease();

    (void)state;
    lease_ask(&lease, WAIT_S * second, at(100));
    assert_int_equal(lease.state, LEASE_WAITING);
    grant(&lease, 101);
    assert_held(&lease, 101, 100 + LEASE_S);
}

static void a_refusal_tells_its_reason(void **state)
{
    static const enum dflockd_status refusals[] = {
        DFLOCKD_STATUS_TIMED_OUT, DFLOCKD_STATUS_LOST,     DFLOCKD_STATUS_MAX_WAITERS,
        DFLOCKD_STATUS_FAILED,    DFLOCKD_STATUS_DRAINING,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct lease lease = waiting_lease();

        refuse(&lease, refusals[i], 1);
        assert_none(&lease, refusals[i]);
    }
}

static void a_request_ends_with_its_connection(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    disconnect(&lease, 1);
    assert_none(&lease, DFLOCKD_STATUS_DISCONNECTED);
    lease = queued_lease();
    lease_disconnected(&lease, DFLOCKD_STATUS_UNREACHABLE, at(1));
    assert_none(&lease, DFLOCKD_STATUS_UNREACHABLE);
}

static void a_request_without_a_reply_ends_when_the_wait_and_the_reply_are_overdue(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    assert_int_equal(lease_due_ns(&lease), at(WAIT_S + REPLY_TIMEOUT_S));
    lease_next(&lease, at(WAIT_S + REPLY_TIMEOUT_S) - 1);
    assert_int_equal(lease.state, LEASE_WAITING);
    lease_next(&lease, at(WAIT_S + REPLY_TIMEOUT_S));
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
}

static void a_grant_after_the_request_was_given_up_is_not_held(void **state)
{
    struct lease lease = waiting_lease();

    (void)state;
    lease_next(&lease, at(WAIT_S + REPLY_TIMEOUT_S));
    grant(&lease, WAIT_S + REPLY_TIMEOUT_S + 1);
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
}

static void the_longest_times_do_not_overflow(void **state)
{
    struct dflockd_reply reply = {.status = DFLOCKD_STATUS_DONE, .lease_s = DFLOCKD_SECONDS_MAX};
    struct lease lease = new_lease(LEASE_RENEWED);

    (void)state;
    lease_ask(&lease, DFLOCKD_SECONDS_MAX * second, start);
    assert_int_equal(lease_due_ns(&lease),
                     start + (DFLOCKD_SECONDS_MAX + REPLY_TIMEOUT_S) * second);
    lease_reply(&lease, &reply, start);
    assert_int_equal(lease_left_ns(&lease, start), DFLOCKD_SECONDS_MAX * second);
    assert_true(lease_due_ns(&lease) > at(1e9));
}

/* ---- the confirmation of a late grant ---- */

static void a_confirmation_that_comes_after_its_lease_is_asked_for_again(void **state)
{
    struct lease lease = confirming_lease(10);

    (void)state;
    answer_renewal(&lease, 2, 12);
    assert_confirming(&lease);
    send(&lease, LEASE_SEND_RENEW, 13);
    assert_int_equal(lease_due_ns(&lease), at(12 + REPLY_TIMEOUT_S));
    answer_renewal(&lease, 2, 14);
    assert_held(&lease, 14, 15);
}

static void a_confirmation_that_is_refused_or_cut_off_is_no_grant(void **state)
{
    struct lease lease = confirming_lease(10);

    (void)state;
    refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 11);
    assert_none(&lease, DFLOCKD_STATUS_LOST);
    lease = confirming_lease(10);
    disconnect(&lease, 11);
    assert_none(&lease, DFLOCKD_STATUS_DISCONNECTED);
    lease = confirming_lease(10);
    refuse(&lease, DFLOCKD_STATUS_DRAINING, 11);
    assert_none(&lease, DFLOCKD_STATUS_DRAINING);
}

static void a_confirmation_is_waited_for_no_longer_than_a_reply(void **state)
{
    struct lease lease = confirming_lease(10);

    (void)state;
    assert_int_equal(lease_due_ns(&lease), at(10 + REPLY_TIMEOUT_S));
    lease_next(&lease, at(10 + REPLY_TIMEOUT_S) - 1);
    assert_confirming(&lease);
    lease_next(&lease, at(10 + REPLY_TIMEOUT_S));
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
    answer_renewal(&lease, LEASE_S, 16);
    assert_none(&lease, DFLOCKD_STATUS_NO_REPLY);
}

/* ---- held ---- */

static void a_held_lease_is_renewed_at_its_ratio_or_a_tenth_of_that_earlier(void **state)
{
    struct lease lease = held_lease();
    uint64_t due_ns = lease_due_ns(&lease);

    (void)state;
    assert_true(due_ns > at(13.5) && due_ns <= at(15));
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

        lease_reply(&lease, &reply, start);
        due_ns = lease_due_ns(&lease);
        assert_true(due_ns >= at(13.5) && due_ns <= at(15));
        first = due_ns < first ? due_ns : first;
        last = due_ns > last ? due_ns : last;
    }
    assert_true(last - first > second);
}

static void a_renewal_counts_from_when_it_was_sent(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    assert_held(&lease, 16, LEASE_S);
    answer_renewal(&lease, 40, 20);
    assert_held(&lease, 20, 15 + 40);
    assert_int_equal(lease.lease_s, 40);
    assert_true(lease_due_ns(&lease) > at(15 + 18) && lease_due_ns(&lease) <= at(15 + 20));
}

static void one_renewal_is_pending_at_a_time(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    assert_int_equal(lease_next(&lease, at(29)), LEASE_DO_NOTHING);
    assert_int_equal(lease_due_ns(&lease), at(LEASE_S));
}

static void a_renewal_that_was_answered_counts_although_it_is_read_late(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    answer_renewal(&lease, LEASE_S, 40);
    assert_held(&lease, 40, 45);
}

static void a_lease_is_lost_when_it_is_over(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_next(&lease, at(LEASE_S) - 1);
    assert_held(&lease, 16, LEASE_S);
    assert_int_equal(lease_next(&lease, at(LEASE_S)), LEASE_DO_NOTHING);
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void a_lease_that_is_over_is_lost_rather_than_renewed(void **state)
{
    struct lease lease = held_lease();

    (void)state;
    assert_int_equal(lease_next(&lease, at(LEASE_S)), LEASE_DO_NOTHING);
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void a_renewal_that_is_refused_is_a_loss(void **state)
{
    struct lease lease = lost_lease();

    (void)state;
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
    lease = renewing_lease();
    refuse(&lease, DFLOCKD_STATUS_FAILED, 16);
    assert_lost(&lease, DFLOCKD_STATUS_FAILED);
}

static void draining_is_no_loss(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    refuse(&lease, DFLOCKD_STATUS_DRAINING, 16);
    assert_held(&lease, 16, LEASE_S);
    disconnect(&lease, 17);
    assert_unverified(&lease);
}

static void a_broken_connection_is_no_loss_if_another_one_may_do(void **state)
{
    static const enum dflockd_status passing[] = {
        DFLOCKD_STATUS_DISCONNECTED, DFLOCKD_STATUS_UNREACHABLE, DFLOCKD_STATUS_DRAINING,
        DFLOCKD_STATUS_NO_MEMORY};
    static const enum dflockd_status lasting[] = {DFLOCKD_STATUS_UNTRUSTED, DFLOCKD_STATUS_REFUSED,
                                                  DFLOCKD_STATUS_STRANGE_ANSWER};

    (void)state;
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++) {
        struct lease lease = held_lease();

        lease_disconnected(&lease, passing[i], at(1));
        assert_unverified(&lease);
    }
    for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++) {
        struct lease held = held_lease();
        struct lease unverified = unverified_lease();

        lease_disconnected(&held, lasting[i], at(1));
        assert_lost(&held, lasting[i]);
        lease_disconnected(&unverified, lasting[i], at(2));
        assert_lost(&unverified, lasting[i]);
    }
}

static void a_fixed_lease_is_renewed_on_demand_only(void **state)
{
    struct lease lease = held_lease_of(LEASE_FIXED);

    (void)state;
    assert_int_equal(lease_due_ns(&lease), at(LEASE_S));
    assert_int_equal(lease_next(&lease, at(29)), LEASE_DO_NOTHING);
    lease_demand(&lease);
    send(&lease, LEASE_SEND_RENEW, 29);
    answer_renewal(&lease, LEASE_S, 29);
    assert_held(&lease, 29, 29 + LEASE_S);
    assert_int_equal(lease_due_ns(&lease), at(29 + LEASE_S));
}

static void own_makes_a_fixed_lease_no_longer(void **state)
{
    struct lease lease = held_lease_of(LEASE_FIXED);

    (void)state;
    disconnect(&lease, 1);
    connect_again(&lease, 2);
    assert_unverified(&lease);
    answer_own(&lease, 3);
    assert_held(&lease, 3, LEASE_S);
    assert_int_equal(lease_due_ns(&lease), at(LEASE_S));
}

static void a_watched_lease_is_asked_about_and_not_renewed(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);

    (void)state;
    for (int second_now = 1; second_now < 100; second_now++) {
        assert_true(lease_due_ns(&lease) == UINT64_MAX);
        lease_check(&lease);
        send(&lease, LEASE_SEND_OWN, second_now);
        answer_own(&lease, second_now + 0.5);
        assert_held_by_others(&lease);
    }
    lease_check(&lease);
    send(&lease, LEASE_SEND_OWN, 100);
    refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 100);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
}

static void a_watched_lease_is_held_by_others_after_a_new_connection(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);

    (void)state;
    lease_check(&lease);
    send(&lease, LEASE_SEND_OWN, 1);
    disconnect(&lease, 1);
    assert_unverified(&lease);
    connect_again(&lease, 2);
    answer_own(&lease, 2.5);
    assert_held_by_others(&lease);
    assert_true(lease_due_ns(&lease) == UINT64_MAX);
}

static void a_watched_lease_without_its_connection_is_given_up_after_a_lease(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);

    (void)state;
    disconnect(&lease, 100);
    lease_next(&lease, at(100 + LEASE_S - 1));
    assert_int_equal(lease.state, LEASE_UNVERIFIED);
    lease_next(&lease, at(100 + LEASE_S));
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void a_check_changes_nothing_of_a_renewed_lease(void **state)
{
    struct lease lease = held_lease_of(LEASE_RENEWED);
    uint64_t due_ns = lease_due_ns(&lease);

    (void)state;
    lease_check(&lease);
    send(&lease, LEASE_SEND_OWN, 3);
    answer_own(&lease, 4);
    assert_held(&lease, 4, LEASE_S);
    assert_true(lease_due_ns(&lease) == due_ns);
    lease_check(&lease);
    send(&lease, LEASE_SEND_OWN, 5);
    refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 5);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
}

static void a_check_waits_for_no_pending_renewal(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_check(&lease);
    answer_renewal(&lease, LEASE_S, 20);
    assert_int_equal(lease_next(&lease, at(20)), LEASE_DO_NOTHING);
}

static void the_mode_can_change_while_a_lease_is_held(void **state)
{
    struct lease lease = held_lease_of(LEASE_RENEWED);

    (void)state;
    lease_set_mode(&lease, LEASE_WATCHED);
    assert_true(lease_due_ns(&lease) == UINT64_MAX);
    lease = renewing_lease();
    lease_set_mode(&lease, LEASE_WATCHED);
    answer_renewal(&lease, LEASE_S, 20);
    assert_held_by_others(&lease);
}

/* ---- unverified ---- */

static void a_silent_peer_is_replaced_after_the_timeouts(void **state)
{
    struct lease lease = unverified_lease();
    struct lease owning = owning_lease();
    double reply_s = REPLY_TIMEOUT_S;
    double connect_s = CONNECT_TIMEOUT_S;

    (void)state;
    assert_int_equal(lease_next(&lease, at(1)), LEASE_CONNECT);
    lease_sent(&lease, at(1));
    assert_true(lease_due_ns(&lease) == at(1 + connect_s + reply_s));
    lease_next(&lease, at(1 + connect_s + reply_s));
    assert_unverified(&lease);
    assert_true(lease_due_ns(&lease) <= at(2 + connect_s + reply_s));
    assert_int_equal(lease_next(&lease, at(2 + connect_s + reply_s)), LEASE_CONNECT);
    lease_next(&owning, at(2 + reply_s));
    assert_unverified(&owning);
    assert_int_equal(lease_next(&owning, at(3 + reply_s)), LEASE_CONNECT);
}

static void a_lease_without_its_connection_is_not_held_and_connects_at_once(void **state)
{
    struct lease lease = unverified_lease();

    (void)state;
    assert_unverified(&lease);
    assert_int_equal(lease_due_ns(&lease), at(1));
    assert_int_equal(lease_next(&lease, at(1)), LEASE_CONNECT);
}

static void own_alone_is_not_enough_to_hold_again(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    assert_unverified(&lease);
    answer_own(&lease, 3);
    assert_unverified(&lease);
    assert_int_equal(lease_due_ns(&lease), at(3));
    assert_int_equal(lease_next(&lease, at(3)), LEASE_SEND_RENEW);
}

static void own_and_a_renewal_are_enough_to_hold_again(void **state)
{
    struct lease lease = verifying_lease();

    (void)state;
    assert_unverified(&lease);
    answer_renewal(&lease, LEASE_S, 4);
    assert_held(&lease, 4, 3 + LEASE_S);
    assert_true(lease_due_ns(&lease) > at(3 + 13) && lease_due_ns(&lease) <= at(3 + 15));
}

static void a_reply_from_the_connection_before_verifies_nothing(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    disconnect(&lease, 16);
    answer_renewal(&lease, LEASE_S, 17);
    assert_unverified(&lease);
    assert_int_equal(lease_next(&lease, at(17)), LEASE_CONNECT);
}

static void an_own_that_is_refused_is_a_loss(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 3);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
    lease = owning_lease();
    refuse(&lease, DFLOCKD_STATUS_FAILED, 3);
    assert_lost(&lease, DFLOCKD_STATUS_FAILED);
}

static void a_server_that_closes_instead_of_answering_own_is_a_loss(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    disconnect(&lease, 3);
    assert_lost(&lease, DFLOCKD_STATUS_DISCONNECTED);
}

static void a_connection_that_was_never_made_is_tried_again(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    lease_disconnected(&lease, DFLOCKD_STATUS_UNREACHABLE, at(3));
    assert_unverified(&lease);
    connect_again(&lease, 5);
    answer_own(&lease, 5);
    send(&lease, LEASE_SEND_RENEW, 5);
    answer_renewal(&lease, LEASE_S, 5);
    assert_held(&lease, 5, 5 + LEASE_S);
}

static void a_connection_that_breaks_after_own_is_replaced_and_owned_again(void **state)
{
    struct lease lease = verifying_lease();

    (void)state;
    disconnect(&lease, 4);
    assert_unverified(&lease);
    assert_true(lease_due_ns(&lease) > at(4));
    connect_again(&lease, 5);
    answer_own(&lease, 5);
    assert_unverified(&lease);
    send(&lease, LEASE_SEND_RENEW, 5);
    answer_renewal(&lease, LEASE_S, 5);
    assert_held(&lease, 5, 5 + LEASE_S);
}

static void a_server_that_drains_is_connected_to_again_after_a_delay(void **state)
{
    struct lease owning = owning_lease();
    struct lease verifying = verifying_lease();

    (void)state;
    refuse(&owning, DFLOCKD_STATUS_DRAINING, 4);
    assert_unverified(&owning);
    assert_true(lease_due_ns(&owning) > at(4) && lease_due_ns(&owning) <= at(5));
    assert_int_equal(lease_next(&owning, at(5)), LEASE_CONNECT);
    refuse(&verifying, DFLOCKD_STATUS_DRAINING, 4);
    assert_unverified(&verifying);
    assert_int_equal(lease_next(&verifying, at(5)), LEASE_CONNECT);
}

static void a_renewal_that_is_refused_after_own_is_a_loss(void **state)
{
    struct lease lease = verifying_lease();

    (void)state;
    refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 4);
    assert_lost(&lease, DFLOCKD_STATUS_NOT_HELD);
}

static void an_unverified_lease_is_lost_when_it_is_over(void **state)
{
    struct lease leases[] = {unverified_lease(), owning_lease(), verifying_lease()};

    (void)state;
    for (size_t i = 0; i < sizeof(leases) / sizeof(leases[0]); i++) {
        lease_next(&leases[i], at(LEASE_S) - 1);
        assert_unverified(&leases[i]);
        assert_int_equal(lease_next(&leases[i], at(LEASE_S)), LEASE_DO_NOTHING);
        assert_lost(&leases[i], DFLOCKD_STATUS_LOST);
    }
}

static void attempts_to_connect_become_rarer_until_it_is_renewed_while_held(void **state)
{
    struct lease lease = held_lease();
    uint64_t now_ns = at(1);

    (void)state;
    for (uint32_t attempt = 0; attempt < 8; attempt++) {
        lease_disconnected(&lease, DFLOCKD_STATUS_UNREACHABLE, now_ns);
        assert_int_equal(lease_due_ns(&lease), now_ns + lease_backoff_ns(attempt, FENCE));
        now_ns = lease_due_ns(&lease);
        assert_int_equal(lease_next(&lease, now_ns - 1), LEASE_DO_NOTHING);
        assert_int_equal(lease_next(&lease, now_ns), LEASE_CONNECT);
    }
    connect_again(&lease, 8);
    answer_own(&lease, 8);
    send(&lease, LEASE_SEND_RENEW, 8);
    answer_renewal(&lease, LEASE_S, 8);
    disconnect(&lease, 9);
    assert_true(lease_due_ns(&lease) >= at(9.5));
    connect_again(&lease, 10);
    answer_own(&lease, 10);
    send(&lease, LEASE_SEND_RENEW, 10);
    answer_renewal(&lease, LEASE_S, 10);
    send(&lease, LEASE_SEND_RENEW, 25);
    answer_renewal(&lease, LEASE_S, 25);
    disconnect(&lease, 26);
    assert_int_equal(lease_due_ns(&lease), at(26));
}

static void the_delay_between_attempts_grows_to_a_second_with_jitter(void **state)
{
    static const uint64_t most_ms[] = {50, 100, 200, 400, 800, 1000, 1000, 1000};

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        assert_int_equal(lease_backoff_ns(0, seed), 0);
        for (uint32_t i = 0; i < 8; i++) {
            uint64_t delay_ns = lease_backoff_ns(i + 1, seed);

            assert_true(delay_ns >= most_ms[i] * ms / 2 && delay_ns <= most_ms[i] * ms);
        }
        assert_true(lease_backoff_ns(UINT32_MAX, seed) <= second);
        assert_true(lease_backoff_ns(UINT32_MAX, seed) >= second / 2);
    }
}

static void clients_that_lost_one_server_do_not_return_at_once(void **state)
{
    uint64_t first = UINT64_MAX;
    uint64_t last = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        uint64_t delay_ns = lease_backoff_ns(10, seed);

        first = delay_ns < first ? delay_ns : first;
        last = delay_ns > last ? delay_ns : last;
    }
    assert_true(last - first > 400 * ms);
}

/* ---- lost ---- */

static void a_lost_lease_stays_lost_whatever_comes(void **state)
{
    struct lease over = renewing_lease();
    struct lease refused = lost_lease();
    struct lease *leases[] = {&over, &refused};

    (void)state;
    lease_next(&over, at(LEASE_S));
    for (size_t i = 0; i < 2; i++) {
        enum dflockd_status why = leases[i]->why;

        answer_renewal(leases[i], LEASE_S, 31);
        assert_lost(leases[i], why);
        grant(leases[i], 31);
        assert_lost(leases[i], why);
        refuse(leases[i], DFLOCKD_STATUS_DRAINING, 31);
        assert_lost(leases[i], why);
        disconnect(leases[i], 32);
        assert_lost(leases[i], why);
        lease_connected(leases[i]);
        assert_lost(leases[i], why);
        lease_demand(leases[i]);
        assert_lost(leases[i], why);
        lease_release(leases[i]);
        assert_lost(leases[i], why);
    }
}

static void a_reply_to_own_after_the_lease_is_over_is_ignored(void **state)
{
    struct lease lease = owning_lease();

    (void)state;
    lease_next(&lease, at(LEASE_S));
    answer_own(&lease, 31);
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
}

static void a_lost_lease_is_forgotten_when_its_owner_asks_again(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    answer_renewal(&lease, LEASE_S, 16);
    assert_int_equal(lease.renewals_answered, 1);
    lease_next(&lease, at(15 + LEASE_S));
    assert_lost(&lease, DFLOCKD_STATUS_LOST);
    lease_ask(&lease, 0, at(50));
    assert_int_equal(lease.state, LEASE_WAITING);
    assert_int_equal(lease.why, DFLOCKD_STATUS_DONE);
    assert_int_equal(lease_due_ns(&lease), at(50 + REPLY_TIMEOUT_S));
    grant(&lease, 51);
    assert_held(&lease, 51, 50 + LEASE_S);
    assert_int_equal(lease.renewals_answered, 0);
}

/* ---- demanded renewals ---- */

static void a_demanded_renewal_is_sent_at_once(void **state)
{
    struct lease lease = held_lease();
    uint64_t number = lease_demand(&lease);

    (void)state;
    assert_true(lease_due_ns(&lease) <= at(1));
    send(&lease, LEASE_SEND_RENEW, 1);
    assert_true(lease.renewals_answered < number);
    answer_renewal(&lease, LEASE_S, 2);
    assert_true(lease.renewals_answered >= number);
    assert_held(&lease, 2, 1 + LEASE_S);
    assert_true(lease_due_ns(&lease) > at(14));
}

static void a_renewal_demanded_while_one_is_pending_is_sent_after_it(void **state)
{
    struct lease lease = renewing_lease();
    uint64_t number = lease_demand(&lease);

    (void)state;
    assert_int_equal(lease_next(&lease, at(16)), LEASE_DO_NOTHING);
    answer_renewal(&lease, LEASE_S, 16);
    assert_true(lease.renewals_answered < number);
    send(&lease, LEASE_SEND_RENEW, 16);
    answer_renewal(&lease, LEASE_S, 17);
    assert_true(lease.renewals_answered >= number);
    assert_held(&lease, 17, 16 + LEASE_S);
    assert_true(lease_due_ns(&lease) > at(29));
}

static void demands_before_a_renewal_is_sent_share_it(void **state)
{
    struct lease lease = held_lease();

    (void)state;
    assert_int_equal(lease_demand(&lease), lease_demand(&lease));
    send(&lease, LEASE_SEND_RENEW, 1);
    answer_renewal(&lease, LEASE_S, 2);
    assert_int_equal(lease_next(&lease, at(2)), LEASE_DO_NOTHING);
}

static void a_demanded_renewal_outlives_its_connection(void **state)
{
    enum lease_mode modes[] = {LEASE_RENEWED, LEASE_FIXED, LEASE_WATCHED};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct lease lease = held_lease_of(modes[i]);
        uint64_t number;

        lease_demand(&lease);
        send(&lease, LEASE_SEND_RENEW, 0.5);
        disconnect(&lease, 1);
        number = lease_demand(&lease);
        connect_again(&lease, 2);
        answer_own(&lease, 2);
        send(&lease, LEASE_SEND_RENEW, 2);
        assert_true(lease.renewals_answered < number);
        answer_renewal(&lease, LEASE_S, 2);
        assert_true(lease.renewals_answered >= number);
        assert_int_equal(lease.state, LEASE_HELD);
    }
}

static void a_renewal_demanded_while_it_is_watched_is_sent_after_own(void **state)
{
    struct lease lease = held_lease_of(LEASE_WATCHED);
    uint64_t number;

    (void)state;
    lease_check(&lease);
    send(&lease, LEASE_SEND_OWN, 1);
    number = lease_demand(&lease);
    answer_own(&lease, 1);
    send(&lease, LEASE_SEND_RENEW, 1);
    answer_renewal(&lease, LEASE_S, 1);
    assert_true(lease.renewals_answered >= number);
    assert_true(lease_due_ns(&lease) == UINT64_MAX);
}

/* ---- release ---- */

static void a_released_lease_is_none_whatever_it_was(void **state)
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

static void replies_to_what_was_sent_before_the_release_change_nothing(void **state)
{
    struct lease lease = renewing_lease();

    (void)state;
    lease_release(&lease);
    answer_renewal(&lease, LEASE_S, 16);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
    lease = waiting_lease();
    lease_release(&lease);
    grant(&lease, 1);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
    disconnect(&lease, 2);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
    lease_connected(&lease);
    assert_none(&lease, DFLOCKD_STATUS_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_lease_is_none_and_has_nothing_to_do),
        cmocka_unit_test(a_waiting_lease_is_not_held_and_sends_nothing),
        cmocka_unit_test(a_grant_in_time_is_held_and_counts_from_its_request),
        cmocka_unit_test(a_reply_within_a_tenth_of_the_lease_is_in_time),
        cmocka_unit_test(a_late_grant_is_renewed_at_once_before_it_is_held),
        cmocka_unit_test(a_place_in_the_queue_is_no_grant_and_has_no_deadline),
        cmocka_unit_test(a_queued_lease_that_asks_again_counts_from_then),
        cmocka_unit_test(a_refusal_tells_its_reason),
        cmocka_unit_test(a_request_ends_with_its_connection),
        cmocka_unit_test(a_request_without_a_reply_ends_when_the_wait_and_the_reply_are_overdue),
        cmocka_unit_test(a_grant_after_the_request_was_given_up_is_not_held),
        cmocka_unit_test(the_longest_times_do_not_overflow),
        cmocka_unit_test(a_confirmation_that_comes_after_its_lease_is_asked_for_again),
        cmocka_unit_test(a_confirmation_that_is_refused_or_cut_off_is_no_grant),
        cmocka_unit_test(a_confirmation_is_waited_for_no_longer_than_a_reply),
        cmocka_unit_test(a_held_lease_is_renewed_at_its_ratio_or_a_tenth_of_that_earlier),
        cmocka_unit_test(leases_with_neighbouring_fences_are_renewed_at_different_times),
        cmocka_unit_test(a_renewal_counts_from_when_it_was_sent),
        cmocka_unit_test(one_renewal_is_pending_at_a_time),
        cmocka_unit_test(a_renewal_that_was_answered_counts_although_it_is_read_late),
        cmocka_unit_test(a_lease_is_lost_when_it_is_over),
        cmocka_unit_test(a_lease_that_is_over_is_lost_rather_than_renewed),
        cmocka_unit_test(a_renewal_that_is_refused_is_a_loss),
        cmocka_unit_test(draining_is_no_loss),
        cmocka_unit_test(a_broken_connection_is_no_loss_if_another_one_may_do),
        cmocka_unit_test(a_fixed_lease_is_renewed_on_demand_only),
        cmocka_unit_test(own_makes_a_fixed_lease_no_longer),
        cmocka_unit_test(a_watched_lease_is_asked_about_and_not_renewed),
        cmocka_unit_test(a_watched_lease_is_held_by_others_after_a_new_connection),
        cmocka_unit_test(a_watched_lease_without_its_connection_is_given_up_after_a_lease),
        cmocka_unit_test(a_check_changes_nothing_of_a_renewed_lease),
        cmocka_unit_test(a_check_waits_for_no_pending_renewal),
        cmocka_unit_test(the_mode_can_change_while_a_lease_is_held),
        cmocka_unit_test(a_silent_peer_is_replaced_after_the_timeouts),
        cmocka_unit_test(a_lease_without_its_connection_is_not_held_and_connects_at_once),
        cmocka_unit_test(own_alone_is_not_enough_to_hold_again),
        cmocka_unit_test(own_and_a_renewal_are_enough_to_hold_again),
        cmocka_unit_test(a_reply_from_the_connection_before_verifies_nothing),
        cmocka_unit_test(an_own_that_is_refused_is_a_loss),
        cmocka_unit_test(a_server_that_closes_instead_of_answering_own_is_a_loss),
        cmocka_unit_test(a_connection_that_was_never_made_is_tried_again),
        cmocka_unit_test(a_connection_that_breaks_after_own_is_replaced_and_owned_again),
        cmocka_unit_test(a_server_that_drains_is_connected_to_again_after_a_delay),
        cmocka_unit_test(a_renewal_that_is_refused_after_own_is_a_loss),
        cmocka_unit_test(an_unverified_lease_is_lost_when_it_is_over),
        cmocka_unit_test(attempts_to_connect_become_rarer_until_it_is_renewed_while_held),
        cmocka_unit_test(the_delay_between_attempts_grows_to_a_second_with_jitter),
        cmocka_unit_test(clients_that_lost_one_server_do_not_return_at_once),
        cmocka_unit_test(a_lost_lease_stays_lost_whatever_comes),
        cmocka_unit_test(a_reply_to_own_after_the_lease_is_over_is_ignored),
        cmocka_unit_test(a_lost_lease_is_forgotten_when_its_owner_asks_again),
        cmocka_unit_test(a_demanded_renewal_is_sent_at_once),
        cmocka_unit_test(a_renewal_demanded_while_one_is_pending_is_sent_after_it),
        cmocka_unit_test(demands_before_a_renewal_is_sent_share_it),
        cmocka_unit_test(a_demanded_renewal_outlives_its_connection),
        cmocka_unit_test(a_renewal_demanded_while_it_is_watched_is_sent_after_own),
        cmocka_unit_test(a_released_lease_is_none_whatever_it_was),
        cmocka_unit_test(replies_to_what_was_sent_before_the_release_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
