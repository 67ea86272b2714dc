#include "dflockctl/hold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/loop.h"
#include "dflockctl/servers.h"
#include "dflockctl/text.h"

enum {
    ANSWER_PATIENCE_MS = 10000, /* for an answer that is due */
    RELEASE_PATIENCE_MS = 3000  /* somebody waits for us to end */
};

static void end(struct hold *hold, enum dflockd_status why, const char *problem)
{
    hold->state = HOLD_OVER;
    hold->why = why;
    if (*problem == '\0' && hold->connection)
        problem = dflockd_connection_problem(hold->connection);
    if (*problem == '\0')
        problem = dflockd_status_text(why);
    snprintf(hold->problem, sizeof(hold->problem), "%s", problem);
}

void hold_begin(struct hold *hold, const struct settings *settings)
{
    const char *key = settings->words[0];
    size_t server = servers_of(settings, key);
    struct dflockd_request request = {
        .command = settings->limit ? DFLOCKD_SEMAPHORE_ACQUIRE : DFLOCKD_ACQUIRE,
        .key = key,
        .timeout_s = settings->timeout_s,
        .lease_s = settings->lease_s,
        .limit = (uint32_t)settings->limit,
    };
    enum dflockd_status status;

    memset(hold, 0, sizeof(*hold));
    hold->settings = settings;
    hold->server = settings->servers[server];
    hold->renew = true;
    hold->sent_ms = loop_now_ms();
    hold->until_ms = hold->sent_ms + settings->options.connect_timeout_ms +
                     (int64_t)settings->timeout_s * 1000 + ANSWER_PATIENCE_MS;
    status = dflockd_connection_open(&hold->connection, &settings->options, server);
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_connection_send(hold->connection, &request);
    if (status != DFLOCKD_STATUS_DONE)
        end(hold, status, hold->connection ? "" : settings->problem);
}

struct pollfd hold_watched(const struct hold *hold)
{
    if (!hold->connection)
        return (struct pollfd){.fd = -1};
    return (struct pollfd){
        .fd = dflockd_connection_descriptor(hold->connection),
        .events = dflockd_connection_events(hold->connection),
    };
}

int64_t hold_next_ms(const struct hold *hold)
{
    int connecting_ms;

    if (hold->state == HOLD_OVER)
        return LOOP_NEVER;
    connecting_ms = dflockd_connection_timeout(hold->connection);
    if (connecting_ms >= 0)
        return loop_now_ms() + connecting_ms;
    if (hold->state == HOLD_WAITING)
        return hold->until_ms;
    return hold->renew && !hold->renewing ? hold->renew_ms : hold->until_ms;
}

/* ---- answers ---- */

/*
 * The lease began at the grant, which came to us a moment ago, or long ago if we slept. So one that
 * was waited for is renewed at once, which counts from when it is sent.
 */
static void take_grant(struct hold *hold, const struct dflockd_reply *reply)
{
    int64_t now_ms = loop_now_ms();
    int64_t lease_ms = (int64_t)reply->lease_s * 1000;
    bool waited = now_ms - hold->sent_ms > lease_ms / 8;

    if (reply->status != DFLOCKD_STATUS_DONE) {
        end(hold, reply->status, dflockd_status_text(reply->status));
        return;
    }
    memcpy(hold->token, reply->token, sizeof(hold->token));
    hold->fence = reply->fence;
    hold->lease_s = reply->lease_s;
    hold->until_ms = now_ms + lease_ms;
    hold->renew_ms = waited ? now_ms : now_ms + lease_ms / 2;
    hold->state = HOLD_HELD;
}

static void take_renewal(struct hold *hold, const struct dflockd_reply *reply)
{
    int64_t lease_ms = (int64_t)reply->lease_s * 1000;

    hold->renewing = false;
    if (reply->status != DFLOCKD_STATUS_DONE) {
        end(hold, reply->status,
            reply->status == DFLOCKD_STATUS_NOT_HELD ? "its lease was over, or it was released"
                                                     : dflockd_status_text(reply->status));
        return;
    }
    hold->until_ms = hold->sent_ms + lease_ms;
    hold->renew_ms = hold->sent_ms + lease_ms / 2;
}

static void take_check(struct hold *hold, const struct dflockd_reply *reply)
{
    hold->checking = false;
    if (reply->status == DFLOCKD_STATUS_NOT_HELD)
        end(hold, reply->status, "its lease was over, or it was released");
    else if (reply->status != DFLOCKD_STATUS_DONE)
        end(hold, reply->status, dflockd_status_text(reply->status));
}

static void take_answers(struct hold *hold)
{
    while (hold->state != HOLD_OVER) {
        struct dflockd_reply reply;
        enum dflockd_status status = dflockd_connection_receive(hold->connection, &reply);

        if (status == DFLOCKD_STATUS_AGAIN)
            return;
        if (status != DFLOCKD_STATUS_DONE)
            end(hold, status, "");
        else if (hold->state == HOLD_WAITING)
            take_grant(hold, &reply);
        else if (hold->checking)
            take_check(hold, &reply);
        else
            take_renewal(hold, &reply);
    }
}

/* ---- the time ---- */

static void check_time(struct hold *hold)
{
    int64_t now_ms = loop_now_ms();
    char problem[DFLOCKD_PROBLEM_MAX];

    if (now_ms < hold->until_ms || hold->state == HOLD_OVER)
        return;
    if (hold->state == HOLD_WAITING) {
        snprintf(problem, sizeof(problem), "%.300s does not answer", hold->server);
        end(hold, DFLOCKD_STATUS_AGAIN, problem);
    } else if (hold->renew) {
        snprintf(problem, sizeof(problem), "%.300s did not renew it in time", hold->server);
        end(hold, DFLOCKD_STATUS_LOST, problem);
    } else {
        /* Others may have renewed it: the server closes the connection once it holds nothing. */
        hold->until_ms = LOOP_NEVER;
    }
}

static void renew(struct hold *hold)
{
    const struct settings *settings = hold->settings;
    struct dflockd_request request = {
        .command = settings->limit ? DFLOCKD_SEMAPHORE_RENEW : DFLOCKD_RENEW,
        .key = settings->words[0],
        .token = hold->token,
        .lease_s = settings->lease_s,
    };
    enum dflockd_status status;

    if (hold->state != HOLD_HELD || !hold->renew || hold->renewing ||
        loop_now_ms() < hold->renew_ms)
        return;
    hold->sent_ms = loop_now_ms();
    hold->renewing = true;
    status = dflockd_connection_send(hold->connection, &request);
    if (status != DFLOCKD_STATUS_DONE)
        end(hold, status, "");
}

void hold_check(struct hold *hold)
{
    struct dflockd_request request = {
        .command = DFLOCKD_OWN,
        .key = hold->settings->words[0],
        .token = hold->token,
        .semaphore = hold->settings->limit > 0,
    };
    enum dflockd_status status;

    if (hold->state != HOLD_HELD || hold->checking || hold->renewing)
        return;
    hold->checking = true;
    status = dflockd_connection_send(hold->connection, &request);
    if (status != DFLOCKD_STATUS_DONE)
        end(hold, status, "");
}

/* An answer that lay there while we slept counts, since what it says does not depend on when. */
enum hold_state hold_step(struct hold *hold)
{
    if (hold->state == HOLD_OVER)
        return HOLD_OVER;
    take_answers(hold);
    check_time(hold);
    renew(hold);
    if (hold->state != HOLD_OVER)
        take_answers(hold);
    return hold->state;
}

/* ---- the end ---- */

enum status hold_tell_refused(const struct hold *hold)
{
    const char *key = hold->settings->words[0];
    char *shown = text_shown(key, strlen(key), true);

    say("no %s '%s': %s%s", hold->settings->limit ? "slot of" : "lock on", shown, hold->problem,
        status_advice(hold->why));
    free(shown);
    return status_of(hold->why);
}

/* The answers that are due, in turn; the last one is told. */
static enum dflockd_status hear(struct hold *hold, uint32_t due, struct dflockd_reply *reply)
{
    int64_t until_ms = loop_now_ms() + RELEASE_PATIENCE_MS;

    while (due > 0) {
        enum dflockd_status status = dflockd_connection_receive(hold->connection, reply);
        struct pollfd watched = hold_watched(hold);
        int64_t left_ms = until_ms - loop_now_ms();

        if (status == DFLOCKD_STATUS_DONE) {
            due--;
        } else if (status != DFLOCKD_STATUS_AGAIN || left_ms <= 0) {
            return status;
        } else {
            poll(&watched, 1, (int)left_ms);
        }
    }
    return DFLOCKD_STATUS_DONE;
}

enum dflockd_status hold_release(struct hold *hold)
{
    const struct settings *settings = hold->settings;
    struct dflockd_request request = {
        .command = settings->limit ? DFLOCKD_SEMAPHORE_RELEASE : DFLOCKD_RELEASE,
        .key = settings->words[0],
        .token = hold->token,
    };
    struct dflockd_reply reply = {0};
    enum dflockd_status status = DFLOCKD_STATUS_LOST;

    if (hold->state == HOLD_HELD) {
        status = dflockd_connection_send(hold->connection, &request);
        if (status == DFLOCKD_STATUS_DONE)
            status = hear(hold, 1u + hold->checking + hold->renewing, &reply);
        if (status == DFLOCKD_STATUS_DONE)
            status = reply.status;
        if (status != DFLOCKD_STATUS_DONE)
            end(hold, status, reply.status == status ? dflockd_status_text(status) : "");
    }
    hold_close(hold);
    return status == DFLOCKD_STATUS_NOT_HELD ? DFLOCKD_STATUS_LOST : status;
}

void hold_close(struct hold *hold)
{
    dflockd_connection_close(hold->connection);
    hold->connection = NULL;
    hold->state = HOLD_OVER;
}
