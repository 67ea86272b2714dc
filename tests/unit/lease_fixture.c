#include "lease_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

const uint64_t lease_start_ns = 1000 * NS_PER_S;

static const char lease_token[] = "0123456789abcdef0123456789abcdef";
static const char no_token[DFLOCKD_TOKEN_LENGTH + 1] = "";

/* ---- events ---- */

uint64_t lease_at(double seconds)
{
    return lease_start_ns + (uint64_t)(seconds * (double)NS_PER_S);
}

struct lease new_lease(enum lease_mode mode)
{
    const struct lease_terms terms = {
        .mode = mode,
        .renew_ratio = 0.5,
        .connect_timeout_ns = CONNECT_TIMEOUT_S * NS_PER_S,
        .reply_timeout_ns = REPLY_TIMEOUT_S * NS_PER_S,
    };
    struct lease lease;

    memset(&lease, 0xff, sizeof(lease));
    lease_init(&lease, &terms);
    return lease;
}

void lease_refuse(struct lease *lease, enum dflockd_status status, double seconds)
{
    const struct dflockd_reply reply = {.status = status};

    lease_reply(lease, &reply, lease_at(seconds));
}

void lease_grant(struct lease *lease, double seconds)
{
    struct dflockd_reply reply = {
        .status = DFLOCKD_STATUS_DONE,
        .fence = FENCE,
        .lease_s = LEASE_S,
    };

    memcpy(reply.token, lease_token, sizeof(lease_token));
    lease_reply(lease, &reply, lease_at(seconds));
}

void lease_reply_renewal(struct lease *lease, uint64_t lease_s, double seconds)
{
    const struct dflockd_reply reply = {.status = DFLOCKD_STATUS_DONE, .lease_s = lease_s};

    lease_reply(lease, &reply, lease_at(seconds));
}

void lease_reply_own(struct lease *lease, double seconds)
{
    lease_refuse(lease, DFLOCKD_STATUS_DONE, seconds);
}

void lease_disconnect(struct lease *lease, double seconds)
{
    lease_disconnected(lease, DFLOCKD_STATUS_DISCONNECTED, lease_at(seconds));
}

void lease_send(struct lease *lease, enum lease_action action, double seconds)
{
    assert_int_equal(lease_next(lease, lease_at(seconds)), action);
    lease_sent(lease, lease_at(seconds));
    assert_int_equal(lease_next(lease, lease_at(seconds)), LEASE_DO_NOTHING);
}

void lease_connect_again(struct lease *lease, double seconds)
{
    assert_int_equal(lease_next(lease, lease_at(seconds)), LEASE_CONNECT);
    lease_sent(lease, lease_at(seconds));
    lease_connected(lease);
    lease_send(lease, LEASE_SEND_OWN, seconds);
}

/* ---- states ---- */

struct lease waiting_lease(void)
{
    struct lease lease = new_lease(LEASE_RENEWED);

    lease_ask(&lease, WAIT_S * NS_PER_S, lease_start_ns);
    return lease;
}

struct lease queued_lease(void)
{
    struct lease lease = waiting_lease();

    lease_refuse(&lease, DFLOCKD_STATUS_WAITING, 0);
    return lease;
}

struct lease confirming_lease(double seconds)
{
    struct lease lease = waiting_lease();

    lease_grant(&lease, seconds);
    lease_send(&lease, LEASE_SEND_RENEW, seconds);
    return lease;
}

struct lease held_lease_of(enum lease_mode mode)
{
    struct lease lease = new_lease(mode);

    lease_ask(&lease, WAIT_S * NS_PER_S, lease_start_ns);
    lease_grant(&lease, 0);
    return lease;
}

struct lease held_lease(void)
{
    return held_lease_of(LEASE_RENEWED);
}

struct lease renewing_lease(void)
{
    struct lease lease = held_lease();

    lease_send(&lease, LEASE_SEND_RENEW, 15);
    return lease;
}

struct lease unverified_lease(void)
{
    struct lease lease = held_lease();

    lease_disconnect(&lease, 1);
    return lease;
}

struct lease owning_lease(void)
{
    struct lease lease = unverified_lease();

    lease_connect_again(&lease, 2);
    return lease;
}

struct lease verifying_lease(void)
{
    struct lease lease = owning_lease();

    lease_reply_own(&lease, 3);
    lease_send(&lease, LEASE_SEND_RENEW, 3);
    return lease;
}

struct lease lost_lease(void)
{
    struct lease lease = renewing_lease();

    lease_refuse(&lease, DFLOCKD_STATUS_NOT_HELD, 16);
    return lease;
}

/* ---- what must hold in a state ---- */

static void assert_quiet(const struct lease *lease)
{
    struct lease copy = *lease;

    assert_int_equal(lease_due_ns(lease), UINT64_MAX);
    assert_int_equal(lease_next(&copy, UINT64_MAX), LEASE_DO_NOTHING);
    assert_int_equal(lease_left_ns(lease, lease_start_ns), 0);
    assert_memory_equal(lease->token, no_token, sizeof(no_token));
    assert_int_equal(lease->fence, 0);
}

void assert_none(const struct lease *lease, enum dflockd_status why)
{
    assert_int_equal(lease->state, LEASE_NONE);
    assert_int_equal(lease->why, why);
    assert_quiet(lease);
}

void assert_lost(const struct lease *lease, enum dflockd_status why)
{
    assert_int_equal(lease->state, LEASE_LOST);
    assert_int_equal(lease->why, why);
    assert_quiet(lease);
}

void assert_held(const struct lease *lease, double now, double until)
{
    assert_int_equal(lease->state, LEASE_HELD);
    assert_string_equal(lease->token, lease_token);
    assert_int_equal(lease->fence, FENCE);
    assert_int_equal(lease_left_ns(lease, lease_at(now)), lease_at(until) - lease_at(now));
    assert_int_equal(lease_left_ns(lease, lease_at(until) - 1), 1);
    assert_int_equal(lease_left_ns(lease, lease_at(until)), 0);
    assert_int_equal(lease_left_ns(lease, lease_at(until) + 1), 0);
    assert_true(lease_due_ns(lease) <= lease_at(until));
}

void assert_held_by_others(const struct lease *lease)
{
    assert_int_equal(lease->state, LEASE_HELD);
    assert_true(lease->end_ns == UINT64_MAX);
}

void assert_unverified(const struct lease *lease)
{
    assert_int_equal(lease->state, LEASE_UNVERIFIED);
    assert_string_equal(lease->token, lease_token);
    assert_int_equal(lease_left_ns(lease, lease_start_ns), 0);
    assert_true(lease_due_ns(lease) <= lease_at(LEASE_S));
}

void assert_confirming(const struct lease *lease)
{
    assert_int_equal(lease->state, LEASE_CONFIRMING);
    assert_string_equal(lease->token, lease_token);
    assert_int_equal(lease_left_ns(lease, lease_start_ns), 0);
}
