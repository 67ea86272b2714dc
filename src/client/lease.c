#include "client/lease.h"

#include <string.h>

#include "base/time_units.h"

enum {
    /* A grant is late if its reply took more than the lease divided by this. */
    LEASE_PROMPT_PART = 10,
    LEASE_BACKOFF_FIRST_MS = 50,
    LEASE_BACKOFF_MAX_MS = 1000
};

/* Jitter shortens the time until a renewal by up to this part. */
static const double lease_jitter_max = 0.1;

void lease_init(struct lease *lease, const struct lease_terms *terms)
{
    *lease = (struct lease){.terms = *terms};
}

/* ---- transitions ---- */

static void lease_schedule(struct lease *lease, enum lease_action action, uint64_t at_ns)
{
    lease->action = action;
    lease->action_ns = at_ns;
}

static void lease_finish(struct lease *lease, enum lease_state state, enum dflockd_status why)
{
    explicit_bzero(lease->token, sizeof(lease->token));
    lease->state = state;
    lease->why = why;
    lease->fence = 0;
    lease->pending = LEASE_DO_NOTHING;
    lease_schedule(lease, LEASE_DO_NOTHING, 0);
}

/* Ends the lease: LOST if it was held before. */
static void lease_fail(struct lease *lease, enum dflockd_status why)
{
    bool was_held = lease->state == LEASE_HELD || lease->state == LEASE_UNVERIFIED;

    lease_finish(lease, was_held ? LEASE_LOST : LEASE_NONE, why);
}

/* Returns a number from 0 to 1. The seed is the fence, so that leases which were granted together
 * are not renewed together. */
static double lease_random(uint64_t seed, uint64_t number)
{
    uint64_t bits = seed + number * UINT64_C(0x9e3779b97f4a7c15);

    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((bits ^ bits >> 31) >> 11) / (double)(UINT64_C(1) << 53);
}

static uint64_t lease_renewal_ns(const struct lease *lease)
{
    double jitter = lease_jitter_max * lease_random(lease->fence, lease->renewals_sent);
    double ratio = lease->terms.renew_ratio * (1 - jitter);

    return lease->end_ns - (uint64_t)((double)lease->lease_s * (double)NS_PER_S * (1 - ratio));
}

static void lease_hold(struct lease *lease)
{
    lease->state = LEASE_HELD;
    if (lease->demanded > lease->renewals_answered) {
        lease_schedule(lease, LEASE_SEND_RENEW, 0);
        return;
    }
    if (lease->terms.mode == LEASE_RENEWED)
        lease_schedule(lease, LEASE_SEND_RENEW, lease_renewal_ns(lease));
    else
        lease_schedule(lease, LEASE_DO_NOTHING, 0);
    if (lease->terms.mode == LEASE_WATCHED)
        lease->end_ns = UINT64_MAX;
}

static void lease_reconnect(struct lease *lease, enum dflockd_status why, uint64_t now_ns)
{
    lease->state = LEASE_UNVERIFIED;
    lease->why = why;
    lease->pending = LEASE_DO_NOTHING;
    if (lease->end_ns == UINT64_MAX)
        lease->end_ns = now_ns + lease->lease_s * NS_PER_S;
    lease_schedule(lease, LEASE_CONNECT, now_ns + lease_backoff_ns(lease->attempts, lease->fence));
    lease->attempts++;
}

/* ---- replies ---- */

static void lease_confirm(struct lease *lease, uint64_t now_ns)
{
    lease->state = LEASE_CONFIRMING;
    lease->deadline_ns = now_ns + lease->terms.reply_timeout_ns;
    lease_schedule(lease, LEASE_SEND_RENEW, now_ns);
}

static void lease_take_grant(struct lease *lease, const struct dflockd_reply *reply,
                             uint64_t now_ns)
{
    memcpy(lease->token, reply->token, sizeof(lease->token));
    lease->fence = reply->fence;
    lease->lease_s = reply->lease_s;
    lease->end_ns = lease->sent_ns + reply->lease_s * NS_PER_S;
    if (now_ns - lease->sent_ns <= reply->lease_s * NS_PER_S / LEASE_PROMPT_PART) {
        lease_hold(lease);
        return;
    }
    lease_confirm(lease, now_ns);
}

static void lease_take_renewal(struct lease *lease, const struct dflockd_reply *reply,
                               uint64_t now_ns)
{
    lease->renewals_answered = lease->renewals_sent;
    if (lease->state == LEASE_HELD)
        lease->attempts = 0;
    lease->lease_s = reply->lease_s;
    lease->end_ns = lease->sent_ns + reply->lease_s * NS_PER_S;
    if (lease->state == LEASE_CONFIRMING && now_ns >= lease->end_ns)
        lease_confirm(lease, now_ns);
    else
        lease_hold(lease);
}

/* `own` does not renew the lease. */
static void lease_take_own(struct lease *lease, uint64_t now_ns)
{
    if (lease->state == LEASE_UNVERIFIED && lease->terms.mode == LEASE_RENEWED)
        lease_schedule(lease, LEASE_SEND_RENEW, now_ns);
    else
        lease_hold(lease);
}

static void lease_take_draining(struct lease *lease, uint64_t now_ns)
{
    if (lease->state == LEASE_UNVERIFIED)
        lease_reconnect(lease, DFLOCKD_STATUS_DRAINING, now_ns);
    else if (lease->state != LEASE_HELD)
        lease_fail(lease, DFLOCKD_STATUS_DRAINING);
}

void lease_reply(struct lease *lease, const struct dflockd_reply *reply, uint64_t now_ns)
{
    enum lease_action answered = lease->pending;

    /* The lease ended before the reply came. */
    if (answered == LEASE_DO_NOTHING && lease->state != LEASE_WAITING)
        return;
    lease->pending = LEASE_DO_NOTHING;
    lease->replied = true;
    if (reply->status == DFLOCKD_STATUS_DRAINING)
        lease_take_draining(lease, now_ns);
    else if (reply->status == DFLOCKD_STATUS_WAITING && lease->state == LEASE_WAITING)
        lease->state = LEASE_QUEUED;
    else if (reply->status != DFLOCKD_STATUS_DONE)
        lease_fail(lease, lease->state == LEASE_CONFIRMING ? DFLOCKD_STATUS_LOST : reply->status);
    else if (lease->state == LEASE_WAITING)
        lease_take_grant(lease, reply, now_ns);
    else if (answered == LEASE_SEND_OWN)
        lease_take_own(lease, now_ns);
    else
        lease_take_renewal(lease, reply, now_ns);
}

/* ---- connections ---- */

/* Returns whether a later attempt may succeed. */
static bool lease_may_return(enum dflockd_status why)
{
    return why == DFLOCKD_STATUS_DISCONNECTED || why == DFLOCKD_STATUS_UNREACHABLE ||
           why == DFLOCKD_STATUS_DRAINING || why == DFLOCKD_STATUS_NO_MEMORY;
}

void lease_disconnected(struct lease *lease, enum dflockd_status why, uint64_t now_ns)
{
    bool was_held = lease->state == LEASE_HELD || lease->state == LEASE_UNVERIFIED;
    /* A server that does not know `own` may close the connection instead of replying `error`. */
    bool refused = lease->state == LEASE_UNVERIFIED && lease->pending == LEASE_SEND_OWN &&
                   why == DFLOCKD_STATUS_DISCONNECTED;

    if (was_held && !refused && lease_may_return(why))
        lease_reconnect(lease, why, now_ns);
    else if (lease->state != LEASE_NONE && lease->state != LEASE_LOST)
        lease_fail(lease, why);
}

void lease_connected(struct lease *lease)
{
    if (lease->state != LEASE_UNVERIFIED || lease->pending != LEASE_CONNECT)
        return;
    lease->pending = LEASE_DO_NOTHING;
    lease_schedule(lease, LEASE_SEND_OWN, 0);
}

uint64_t lease_backoff_ns(uint32_t attempt, uint64_t seed)
{
    uint64_t most_ms = LEASE_BACKOFF_MAX_MS;

    if (attempt == 0)
        return 0;
    if (attempt < 6)
        most_ms = (uint64_t)LEASE_BACKOFF_FIRST_MS << (attempt - 1);
    return (uint64_t)((double)(most_ms * NS_PER_MS) * (0.5 + lease_random(seed, attempt) / 2));
}

/* ---- time ---- */

void lease_ask(struct lease *lease, uint64_t wait_ns, uint64_t now_ns)
{
    lease_finish(lease, LEASE_WAITING, DFLOCKD_STATUS_DONE);
    lease->renewals_sent = 0;
    lease->renewals_answered = 0;
    lease->demanded = 0;
    lease->attempts = 0;
    lease->replied = false;
    lease->sent_ns = now_ns;
    lease->wait_end_ns = UINT64_MAX;
    lease->deadline_ns = now_ns + wait_ns + lease->terms.reply_timeout_ns;
}

void lease_end_wait(struct lease *lease, uint64_t at_ns)
{
    lease->wait_end_ns = at_ns;
}

void lease_ask_again(struct lease *lease, uint64_t wait_ns, uint64_t now_ns)
{
    lease->sent_ns = now_ns;
    lease->deadline_ns += wait_ns;
}

void lease_sent(struct lease *lease, uint64_t now_ns)
{
    lease->renewals_sent += lease->action == LEASE_SEND_RENEW;
    lease->pending = lease->action;
    lease->sent_ns = now_ns;
    lease_schedule(lease, LEASE_DO_NOTHING, 0);
}

/*
 * Returns when an UNVERIFIED lease stops waiting for a reply and reconnects: a silent peer may not
 * be the server. A HELD lease waits until its end. Its server may only be slow, and would release
 * the grant if the connection ended.
 */
static uint64_t lease_overdue_ns(const struct lease *lease)
{
    uint64_t allowed_ns = lease->terms.reply_timeout_ns;

    if (lease->state != LEASE_UNVERIFIED || lease->pending == LEASE_DO_NOTHING ||
        lease->pending == LEASE_SEND_OWN)
        return UINT64_MAX;
    if (lease->pending == LEASE_CONNECT)
        allowed_ns += lease->terms.connect_timeout_ns;
    return lease->sent_ns + allowed_ns;
}

enum lease_action lease_next(struct lease *lease, uint64_t now_ns)
{
    switch (lease->state) {
    case LEASE_NONE:
    case LEASE_QUEUED:
    case LEASE_LOST:
        return LEASE_DO_NOTHING;
    case LEASE_WAITING:
        if (now_ns >= lease->wait_end_ns) {
            lease_fail(lease, DFLOCKD_STATUS_TIMED_OUT);
            break;
        }
        __attribute__((fallthrough));
    case LEASE_CONFIRMING:
        if (now_ns >= lease->deadline_ns)
            lease_fail(lease, DFLOCKD_STATUS_NO_REPLY);
        break;
    case LEASE_HELD:
    case LEASE_UNVERIFIED:
        if (now_ns >= lease->end_ns)
            lease_fail(lease, DFLOCKD_STATUS_LOST);
        else if (now_ns >= lease_overdue_ns(lease))
            lease_reconnect(lease, DFLOCKD_STATUS_NO_REPLY, now_ns);
        break;
    }
    if (lease->pending != LEASE_DO_NOTHING || now_ns < lease->action_ns)
        return LEASE_DO_NOTHING;
    return lease->action;
}

uint64_t lease_due_ns(const struct lease *lease)
{
    uint64_t due_ns = UINT64_MAX;

    if (lease->state == LEASE_WAITING || lease->state == LEASE_CONFIRMING)
        due_ns = lease->deadline_ns;
    else if (lease->state == LEASE_HELD || lease->state == LEASE_UNVERIFIED)
        due_ns = lease->end_ns;
    if (lease->state == LEASE_WAITING && lease->wait_end_ns < due_ns)
        due_ns = lease->wait_end_ns;
    if (lease_overdue_ns(lease) < due_ns)
        due_ns = lease_overdue_ns(lease);
    if (lease->action != LEASE_DO_NOTHING && lease->pending == LEASE_DO_NOTHING &&
        lease->action_ns < due_ns)
        due_ns = lease->action_ns;
    return due_ns;
}

uint64_t lease_demand(struct lease *lease)
{
    lease->demanded = lease->renewals_sent + 1;
    if (lease->state == LEASE_HELD)
        lease_schedule(lease, LEASE_SEND_RENEW, 0);
    return lease->demanded;
}

void lease_set_mode(struct lease *lease, enum lease_mode mode)
{
    lease->terms.mode = mode;
    if (lease->state == LEASE_HELD && lease->pending == LEASE_DO_NOTHING)
        lease_hold(lease);
}

void lease_check(struct lease *lease)
{
    if (lease->state == LEASE_HELD && lease->pending == LEASE_DO_NOTHING)
        lease_schedule(lease, LEASE_SEND_OWN, 0);
}

bool lease_can_move(const struct lease *lease)
{
    return lease->state == LEASE_HELD && lease->pending == LEASE_DO_NOTHING;
}

void lease_begin_move(struct lease *lease, uint64_t now_ns)
{
    lease->pending = LEASE_SEND_OWN;
    lease->sent_ns = now_ns;
}

void lease_end_move(struct lease *lease)
{
    lease->pending = LEASE_DO_NOTHING;
    lease_hold(lease);
    if (lease->terms.mode == LEASE_RENEWED)
        lease_schedule(lease, LEASE_SEND_RENEW, 0);
}

void lease_doubt(struct lease *lease, enum dflockd_status why)
{
    lease->state = LEASE_UNVERIFIED;
    lease->why = why;
}

void lease_lose(struct lease *lease, enum dflockd_status why)
{
    lease_fail(lease, why);
}

void lease_release(struct lease *lease)
{
    if (lease->state != LEASE_LOST)
        lease_finish(lease, LEASE_NONE, DFLOCKD_STATUS_DONE);
}

uint64_t lease_left_ns(const struct lease *lease, uint64_t now_ns)
{
    if (lease->state != LEASE_HELD || now_ns >= lease->end_ns)
        return 0;
    return lease->end_ns - now_ns;
}
