#include "dflockctl/hold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/time_units.h"
#include "dflockctl/loop.h"
#include "dflockctl/text.h"
#include "os/clock.h"

enum {
    HOLD_RATIO_PERCENT = 50, /* of the lease at which it is renewed */
    HOLD_OUTAGE_MS = 1000    /* a request pending for longer ends a series of failures */
};

static void hold_end(struct hold *hold, enum dflockd_status why)
{
    const char *problem = hold->claim.problem;

    if (why == DFLOCKD_STATUS_NOT_HELD)
        problem = "the server does not know the grant: it was released, its lease ended, or the "
                  "server was restarted";
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

static void hold_request(struct hold *hold)
{
    uint64_t timeout_ns = DFLOCKD_SECONDS_MAX * NS_PER_S;

    hold->retry_ns = UINT64_MAX;
    hold->requested_ns = clock_boottime_ns();
    if (hold->deadline_ns != UINT64_MAX)
        timeout_ns =
            hold->deadline_ns > hold->requested_ns ? hold->deadline_ns - hold->requested_ns : 0;
    claim_ask(&hold->claim, DFLOCKD_ACQUIRE, timeout_ns);
}

void hold_begin(struct hold *hold, const struct settings *settings)
{
    const char *key = settings->words[0];

    memset(hold, 0, sizeof(*hold));
    hold->settings = settings;
    hold->server = settings_server_of(settings, key);
    claim_init(&hold->claim, &(struct claim_terms){
                                 .key = key,
                                 .limit = (uint32_t)settings->limit,
                                 .lease_s = settings->lease_s,
                                 .mode = LEASE_RENEWED,
                                 .renew_ratio = HOLD_RATIO_PERCENT / 100.0,
                                 .connect_timeout_ms = settings->options.connect_timeout_ms,
                                 .reply_timeout_ms = settings->options.reply_timeout_ms,
                                 .probe = settings->retry != RETRY_NEVER,
                                 .connect = hold_connect,
                                 .owner = hold,
                             });
    hold->claim.server = settings->servers[hold->server];
    hold->deadline_ns = UINT64_MAX;
    if (settings->timeout_s != DFLOCKD_SECONDS_MAX)
        hold->deadline_ns = clock_boottime_ns() + settings->timeout_s * NS_PER_S;
    hold_request(hold);
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

enum hold_state hold_step(struct hold *hold)
{
    if (hold->state == HOLD_OVER)
        return hold->state;
    if (hold->retry_ns != UINT64_MAX) {
        if (clock_boottime_ns() < hold->retry_ns)
            return hold->state;
        hold_request(hold);
    }
    switch (claim_step(&hold->claim)) {
    case LEASE_WAITING:
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

/* ---- the end ---- */

enum status hold_report_refused(const struct hold *hold)
{
    const char *key = hold->settings->words[0];
    char *shown = text_shown(key, strlen(key), true);

    status_report("no %s '%s': %s%s", hold->settings->limit ? "slot of" : "lock on", shown,
                  hold->problem, status_advice(hold->why, hold->problem));
    free(shown);
    return status_of(hold->why);
}

enum dflockd_status hold_release(struct hold *hold)
{
    enum dflockd_status status = DFLOCKD_STATUS_LOST;

    if (hold_is_kept(hold)) {
        status = claim_release(&hold->claim);
        if (status != DFLOCKD_STATUS_DONE)
            hold_end(hold, status);
    }
    hold_close(hold);
    return status;
}

void hold_close(struct hold *hold)
{
    claim_close(&hold->claim);
    hold->retry_ns = UINT64_MAX;
    hold->state = HOLD_OVER;
}
