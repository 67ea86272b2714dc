#include "dflockctl/hold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time_units.h"
#include "dflockctl/loop.h"
#include "dflockctl/text.h"
#include "os/clock.h"

enum {
    HOLD_RATIO_PERCENT = 50, /* of the lease at which it is renewed */
    HOLD_OUTAGE_MS = 1000,   /* a request pending for longer ends a series of failures */
    HOLD_WHOLE_MS = 1,       /* a timeout that is this much shorter than whole seconds is whole */
    HOLD_CANCEL_MS = 2000,   /* for the server to end a connection that sends no more */
    HOLD_PAUSE_MS = 500      /* a step that is so late: this process was stopped */
};

static void hold_end(struct hold *hold, enum dflockd_status why)
{
    const char *problem = hold->claim.problem;

    if (hold->paused)
        problem = "the lease ended while dflockctl was stopped and could not renew it";
    else if (why == DFLOCKD_STATUS_NOT_HELD)
        problem = "the server does not know the grant: it was released, its lease ended, an "
                  "administrator revoked it, or the server was restarted";
    else if (*problem == '\0')
        problem = dflockd_status_text(why);
    hold->state = HOLD_OVER;
    hold->why = why;
    snprintf(hold->problem, sizeof(hold->problem), "%s", problem);
}

static enum dflockd_status hold_connect(void *owner, struct dflockd_connection **connection,
                                        char problem[DFLOCKD_PROBLEM_MAX])
{
    struct hold *hold = owner;
    enum dflockd_status status =
        dflockd_connection_open(connection, &hold->settings->options, hold->server);

    if (status != DFLOCKD_STATUS_DONE)
        memcpy(problem, hold->settings->problem, DFLOCKD_PROBLEM_MAX);
    return status;
}

/* ---- requests ---- */

/*
 * The server ends a wait of whole seconds. Another wait is rounded up for the server, and ends
 * here: see hold_limit_wait.
 */
static void hold_request(struct hold *hold)
{
    uint64_t timeout_s = DFLOCKD_SECONDS_MAX;

    hold->retry_ns = UINT64_MAX;
    hold->wait_ns = 0;
    hold->wait_end_ns = UINT64_MAX;
    hold->stage = HOLD_CONNECTS;
    hold->reply_end_ns = UINT64_MAX;
    hold->requested_ns = clock_boottime_ns();
    if (hold->deadline_ns != UINT64_MAX) {
        uint64_t left_ns =
            hold->deadline_ns > hold->requested_ns ? hold->deadline_ns - hold->requested_ns : 0;

        timeout_s = (left_ns + NS_PER_S - 1) / NS_PER_S;
        if (timeout_s * NS_PER_S - left_ns >= HOLD_WHOLE_MS * NS_PER_MS)
            hold->wait_ns = left_ns;
    }
    hold->timeout_s = timeout_s;
    claim_ask(&hold->claim, DFLOCKD_ACQUIRE, timeout_s * NS_PER_S);
}

uint64_t hold_deadline_ns(const struct settings *settings)
{
    if (settings->timeout_ms == SETTINGS_NO_TIMEOUT)
        return UINT64_MAX;
    return clock_boottime_ns() + settings->timeout_ms * NS_PER_MS;
}

void hold_begin(struct hold *hold, const struct settings *settings, const char *key,
                uint64_t deadline_ns)
{
    memset(hold, 0, sizeof(*hold));
    hold->settings = settings;
    hold->key = key;
    hold->server = settings_server_of(settings, key);
    hold->deadline_ns = deadline_ns;
    claim_init(&hold->claim, &(struct claim_terms){
                                 .key = key,
                                 .limit = (uint32_t)settings->limit,
                                 .shared = settings->shared,
                                 .lease_s = settings->lease_s,
                                 .mode = LEASE_RENEWED,
                                 .renew_ratio = HOLD_RATIO_PERCENT / 100.0,
                                 .connect_timeout_ms = settings->options.connect_timeout_ms,
                                 .reply_timeout_ms = settings->options.reply_timeout_ms,
                                 .probe = true,
                                 .connect = hold_connect,
                                 .owner = hold,
                             });
    hold->claim.server = settings->servers[hold->server];
    hold_request(hold);
}

/* ---- the end ---- */

/* Sends a release. One without a connection, or by a token alone, may connect. */
static void hold_send_release(struct hold *hold, const char *token)
{
    hold->end_stage = HOLD_RELEASES;
    claim_release_begin(&hold->claim, &hold->release, token);
}

void hold_release_begin(struct hold *hold)
{
    struct claim *claim = &hold->claim;
    uint64_t now_ns = clock_boottime_ns();

    hold->lease_end_ns = claim->lease.end_ns;
    /* This process may have been stopped since the last step. */
    hold->was_held = hold->state == HOLD_HELD && now_ns < hold->lease_end_ns;
    hold->cancel_end_ns = now_ns + HOLD_CANCEL_MS * NS_PER_MS;
    hold->release_end_ns = now_ns + claim->terms.reply_timeout_ms * NS_PER_MS;
    if (!claim->connection || dflockd_connection_timeout(claim->connection) >= 0)
        hold->release_end_ns += claim->terms.connect_timeout_ms * NS_PER_MS;
    *hold->late_token = '\0';
    if (hold->state == HOLD_OVER) {
        hold->result = HOLD_LOST;
        hold->end_stage = HOLD_ENDED;
    } else if (hold_is_kept(hold) || *claim->lease.token) {
        /* In WAITING the grant was received, and a renewal is to confirm it. */
        hold_send_release(hold, NULL);
    } else if (claim->connection &&
               shutdown(dflockd_connection_descriptor(claim->connection), SHUT_WR) == 0) {
        hold->end_stage = HOLD_CANCELS;
    } else {
        /* Without a connected socket the server has not received the request. */
        hold->end_stage = HOLD_ENDED;
    }
}

/*
 * A server that gets the end of input removes the waiter and closes. If it has sent the grant
 * before, that is received here. The server may have released it with the connection.
 */
static void hold_receive_last(struct hold *hold)
{
    struct dflockd_reply reply;
    enum dflockd_status status;

    while ((status = dflockd_connection_receive(hold->claim.connection, &reply)) ==
           DFLOCKD_STATUS_DONE) {
        if (*reply.token)
            memcpy(hold->late_token, reply.token, sizeof(hold->late_token));
    }
    if (status == DFLOCKD_STATUS_AGAIN && clock_boottime_ns() < hold->cancel_end_ns)
        return;
    claim_close(&hold->claim);
    hold->end_stage = HOLD_ENDED;
    if (*hold->late_token)
        hold_send_release(hold, hold->late_token);
    explicit_bzero(hold->late_token, sizeof(hold->late_token));
}

static enum hold_result hold_judge(const struct hold *hold, enum dflockd_status status)
{
    if (status == DFLOCKD_STATUS_DONE)
        return HOLD_GIVEN_BACK;
    if (status == DFLOCKD_STATUS_NO_REPLY && hold->was_held)
        return HOLD_UNCONFIRMED;
    if (status != DFLOCKD_STATUS_LOST)
        return HOLD_DOUBTFUL;
    return hold->was_held && clock_boottime_ns() >= hold->lease_end_ns ? HOLD_EXPIRED : HOLD_LOST;
}

static void hold_receive_released(struct hold *hold)
{
    enum dflockd_status status = claim_release_step(&hold->claim, &hold->release);

    if (status == DFLOCKD_STATUS_AGAIN)
        return;
    hold->result = hold_judge(hold, status);
    if (status != DFLOCKD_STATUS_DONE)
        hold_end(hold, status);
    hold->end_stage = HOLD_ENDED;
}

bool hold_release_step(struct hold *hold)
{
    if (hold->end_stage == HOLD_CANCELS)
        hold_receive_last(hold);
    if (hold->end_stage == HOLD_RELEASES)
        hold_receive_released(hold);
    if (hold->end_stage != HOLD_ENDED && clock_boottime_ns() < hold->release_end_ns)
        return false;
    hold_close(hold);
    return true;
}

int64_t hold_release_ms(const struct hold *hold)
{
    const struct dflockd_connection *connection = hold->claim.connection;
    int timeout_ms = connection ? dflockd_connection_timeout(connection) : -1;
    uint64_t due_ns = hold->release_end_ns;
    int64_t due_ms;

    if (hold->state == HOLD_OVER)
        return LOOP_NEVER;
    if (hold->end_stage == HOLD_CANCELS && hold->cancel_end_ns < due_ns)
        due_ns = hold->cancel_end_ns;
    due_ms = (int64_t)(due_ns / NS_PER_MS) + 1;
    return timeout_ms >= 0 && loop_now_ms() + timeout_ms < due_ms ? loop_now_ms() + timeout_ms
                                                                  : due_ms;
}

void hold_cancel(struct hold *hold)
{
    hold_release_begin(hold);
    while (!hold_release_step(hold)) {
        struct pollfd watched = hold_watched(hold);
        int64_t left_ms = hold_release_ms(hold) - loop_now_ms();

        poll(&watched, 1, left_ms > 0 ? (int)left_ms : 0);
    }
}

/* The time to connect does not count, and a free lock is granted however short the timeout is: it
 * begins when the server has replied to the probe, just before it processes the request. */
static void hold_limit_wait(struct hold *hold)
{
    uint64_t now_ns = clock_boottime_ns();

    if (hold->wait_ns > 0 && hold->claim.probed) {
        hold->wait_end_ns = now_ns + hold->wait_ns;
        hold->wait_ns = 0;
    }
    if (now_ns < hold->wait_end_ns)
        return;
    hold_cancel(hold);
    hold_end(hold, DFLOCKD_STATUS_TIMED_OUT);
}

/* ---- retries ---- */

/* Returns whether the server may grant the same request later. */
static bool hold_may_return(enum dflockd_status why)
{
    return why == DFLOCKD_STATUS_UNREACHABLE || why == DFLOCKD_STATUS_DISCONNECTED ||
           why == DFLOCKD_STATUS_DRAINING || why == DFLOCKD_STATUS_NO_REPLY ||
           why == DFLOCKD_STATUS_LOST;
}

/*
 * A waiter without a timeout survives the restart of its server. Only --retry tries a server again
 * that never answered: its address may be wrong.
 */
static bool hold_retries(const struct hold *hold, enum dflockd_status why)
{
    if (!hold_may_return(why) || hold->settings->retry == RETRY_NEVER)
        return false;
    if (hold->settings->retry == RETRY_WAITERS && !hold->reached)
        return false;
    return clock_boottime_ns() < hold->deadline_ns;
}

/* The request ended without a grant: `why`. */
static void hold_fail(struct hold *hold, enum dflockd_status why)
{
    uint64_t now_ns = clock_boottime_ns();
    bool waited = hold->claim.probed && now_ns - hold->requested_ns >= HOLD_OUTAGE_MS * NS_PER_MS;

    hold->reached |= hold->claim.probed;
    if (!hold_retries(hold, why)) {
        hold_end(hold, why);
        return;
    }
    if (waited)
        hold->attempts = 0;
    if (hold->attempts++ == 0)
        status_report("%s; trying again", hold->claim.problem);
    claim_close(&hold->claim);
    hold->retry_ns = now_ns + lease_backoff_ns(hold->attempts, (uint64_t)getpid());
}

/*
 * A claim allows the connect timeout for the reply, too. With --timeout a server that is connected
 * has only --reply-timeout, for the probe and again after the wait.
 */
static void hold_limit_reply(struct hold *hold)
{
    const struct claim *claim = &hold->claim;
    uint64_t now_ns = clock_boottime_ns();
    uint64_t reply_ns = claim->terms.reply_timeout_ms * NS_PER_MS;

    if (hold->state != HOLD_WAITING || hold->deadline_ns == UINT64_MAX || !claim->connection)
        return;
    if (hold->stage == HOLD_CONNECTS && dflockd_connection_timeout(claim->connection) < 0) {
        hold->stage = HOLD_REPLIES;
        hold->reply_end_ns = now_ns + reply_ns;
    }
    if (hold->stage == HOLD_REPLIES && claim->probed) {
        hold->stage = HOLD_GRANTS;
        hold->reply_end_ns = now_ns + hold->timeout_s * NS_PER_S + reply_ns;
    }
    if (now_ns < hold->reply_end_ns)
        return;
    snprintf(hold->claim.problem, sizeof(hold->claim.problem), "%.320s: %s", claim->server,
             dflockd_status_text(DFLOCKD_STATUS_NO_REPLY));
    claim_close(&hold->claim);
    hold_fail(hold, DFLOCKD_STATUS_NO_REPLY);
}

/* ---- steps ---- */

struct pollfd hold_watched(const struct hold *hold)
{
    return (struct pollfd){
        .fd = claim_descriptor(&hold->claim),
        .events = claim_events(&hold->claim),
    };
}

int64_t hold_next_ms(const struct hold *hold)
{
    uint64_t due_ns = claim_due_ns(&hold->claim);

    if (hold->state == HOLD_OVER)
        return LOOP_NEVER;
    if (hold->retry_ns < due_ns)
        due_ns = hold->retry_ns;
    if (hold->state == HOLD_WAITING && hold->wait_end_ns < due_ns)
        due_ns = hold->wait_end_ns;
    if (hold->state == HOLD_WAITING && hold->reply_end_ns < due_ns)
        due_ns = hold->reply_end_ns;
    /* Rounded up, so that the time is not before `due_ns`. */
    return due_ns == UINT64_MAX ? LOOP_NEVER : (int64_t)(due_ns / NS_PER_MS) + 1;
}

static void hold_take_grant(struct hold *hold)
{
    const struct lease *lease = &hold->claim.lease;

    hold->state = HOLD_HELD;
    hold->grant = (struct grant){.fence = lease->fence, .lease_s = lease->lease_s};
    memcpy(hold->grant.token, lease->token, sizeof(hold->grant.token));
}

/* Returns whether this process did not run from a renewal on until the lease ended. */
static bool hold_was_paused(const struct hold *hold)
{
    uint64_t now_ns = clock_boottime_ns();

    return hold_is_kept(hold) && now_ns >= hold->claim.lease.end_ns &&
           now_ns >= claim_due_ns(&hold->claim) + HOLD_PAUSE_MS * NS_PER_MS;
}

enum hold_state hold_step(struct hold *hold)
{
    if (hold->state == HOLD_OVER)
        return hold->state;
    if (hold->retry_ns != UINT64_MAX) {
        if (clock_boottime_ns() < hold->retry_ns)
            return hold->state;
        hold_request(hold);
    }
    hold->paused = hold_was_paused(hold);
    switch (claim_step(&hold->claim)) {
    case LEASE_WAITING:
        hold_limit_wait(hold);
        hold_limit_reply(hold);
        break;
    case LEASE_QUEUED:
    case LEASE_CONFIRMING:
        break;
    case LEASE_HELD:
        hold_take_grant(hold);
        break;
    case LEASE_UNVERIFIED:
        if (hold->state == HOLD_WAITING)
            hold_fail(hold, hold->claim.lease.why);
        else
            hold->state = HOLD_UNVERIFIED;
        break;
    case LEASE_NONE:
    case LEASE_LOST:
        if (hold->state == HOLD_WAITING)
            hold_fail(hold, hold->claim.lease.why);
        else
            hold_end(hold, hold->claim.lease.why);
        break;
    }
    return hold->state;
}

/* ---- while it is kept ---- */

bool hold_is_kept(const struct hold *hold)
{
    return hold->state == HOLD_HELD || hold->state == HOLD_UNVERIFIED;
}

void hold_let_others_renew(struct hold *hold)
{
    lease_set_mode(&hold->claim.lease, LEASE_WATCHED);
}

void hold_check(struct hold *hold)
{
    lease_check(&hold->claim.lease);
}

/* ---- reports ---- */

int hold_report_refused(const struct hold *hold)
{
    char *shown = text_shown(hold->key, strlen(hold->key), true);
    const char *advice = status_advice(hold->why, hold->problem);

    /* It has answered before, so it uses TLS as this client does. */
    if (hold->why == DFLOCKD_STATUS_DISCONNECTED && hold->reached)
        advice = "; the server has ended, or closed the connection: read its log";
    status_report("no %s '%s': %s%s",
                  hold->settings->limit    ? "slot of"
                  : hold->settings->shared ? "shared lock on"
                                           : "lock on",
                  shown, hold->problem, advice);
    free(shown);
    return hold->why == DFLOCKD_STATUS_TIMED_OUT ? (int)hold->settings->conflict_status
                                                 : (int)status_of(hold->why);
}

enum dflockd_status hold_release(struct hold *hold)
{
    hold_cancel(hold);
    return hold->result == HOLD_GIVEN_BACK ? DFLOCKD_STATUS_DONE : hold->why;
}

void hold_close(struct hold *hold)
{
    /* A release is pending. */
    if (hold->state != HOLD_OVER && hold->end_stage == HOLD_RELEASES) {
        enum dflockd_status why =
            claim_release_end(&hold->claim, &hold->release, DFLOCKD_STATUS_NO_REPLY);

        hold->result = hold_judge(hold, why);
        hold_end(hold, why);
    }
    explicit_bzero(hold->late_token, sizeof(hold->late_token));
    claim_close(&hold->claim);
    hold->retry_ns = UINT64_MAX;
    hold->end_stage = HOLD_ENDED;
    hold->state = HOLD_OVER;
}
