#include "dflockctl/held_check.h"

#include <string.h>

#include "dflockctl/loop.h"
#include "dflockctl/query.h"

enum {
    CHECK_MS = 1000,
    PROBE_MS = 10000, /* to answer a probe, beside the time to connect */
    PROBE_LEASE_S = 1,
    RETRY_FIRST_MS = 2000,
    RETRY_MAX_MS = 60000 /* each of them costs a connection */
};

void held_check_init(struct held_check *check)
{
    memset(check, 0, sizeof(*check));
    check->due_ms = LOOP_NEVER;
}

void held_check_begin(struct held_check *check, const struct settings *settings)
{
    check->settings = settings;
    check->state = HELD_CHECK_UNPROVEN;
    check->retry_ms = RETRY_FIRST_MS;
    /* Not at once: many scripts end within a second. */
    check->due_ms = loop_now_ms() + CHECK_MS;
}

struct pollfd held_check_watched(const struct held_check *check)
{
    return query_watched(check->probe);
}

int64_t held_check_next_ms(const struct held_check *check)
{
    int connecting_ms = check->probe ? dflockd_connection_timeout(check->probe) : -1;
    int64_t connected_ms = connecting_ms >= 0 ? loop_now_ms() + connecting_ms : LOOP_NEVER;

    return connected_ms < check->due_ms ? connected_ms : check->due_ms;
}

void held_check_end(struct held_check *check)
{
    dflockd_connection_close(check->probe);
    check->probe = NULL;
}

/* ---- the probe ---- */

static void held_check_retry(struct held_check *check)
{
    held_check_end(check);
    check->state = HELD_CHECK_UNPROVEN;
    check->due_ms = loop_now_ms() + check->retry_ms;
    check->retry_ms = check->retry_ms * 2 < RETRY_MAX_MS ? check->retry_ms * 2 : RETRY_MAX_MS;
}

static void held_check_send(struct held_check *check, const struct dflockd_request *request)
{
    if (dflockd_connection_send(check->probe, request) != DFLOCKD_STATUS_DONE)
        held_check_retry(check);
}

static void held_check_probe(struct held_check *check)
{
    const struct settings *settings = check->settings;
    struct dflockd_request request = {
        .command = DFLOCKD_SEMAPHORE_ACQUIRE,
        .key = QUERY_PROBE_KEY,
        .lease_s = PROBE_LEASE_S,
        .limit = DFLOCKD_LIMIT_MAX,
    };

    if (dflockd_connection_open(&check->probe, &settings->options,
                                settings_server_of(settings, settings->words[0])) !=
        DFLOCKD_STATUS_DONE) {
        held_check_retry(check);
        return;
    }
    check->state = HELD_CHECK_ACQUIRING;
    check->due_ms = loop_now_ms() + settings->options.connect_timeout_ms + PROBE_MS;
    held_check_send(check, &request);
}

static void held_check_conclude(struct held_check *check, enum held_check_state state)
{
    /* The server releases the slot on disconnect, or after the lease of a second. */
    held_check_end(check);
    check->state = state;
    check->due_ms = state == HELD_CHECK_PROVEN ? loop_now_ms() : LOOP_NEVER;
}

static void held_check_take(struct held_check *check, const struct dflockd_reply *reply)
{
    struct dflockd_request request = {
        .command = DFLOCKD_OWN,
        .key = QUERY_PROBE_KEY,
        .token = reply->token,
        .semaphore = true,
    };

    if (reply->outcome == DFLOCKD_ERROR) {
        held_check_conclude(check, HELD_CHECK_UNSUPPORTED);
    } else if (reply->status != DFLOCKD_STATUS_DONE) {
        held_check_retry(check);
    } else if (check->state == HELD_CHECK_ACQUIRING) {
        check->state = HELD_CHECK_OWNING;
        held_check_send(check, &request);
    } else {
        held_check_conclude(check, HELD_CHECK_PROVEN);
    }
}

void held_check_step(struct held_check *check, struct hold *hold)
{
    while (check->probe) {
        struct dflockd_reply reply;
        enum dflockd_status status = dflockd_connection_receive(check->probe, &reply);

        if (status == DFLOCKD_STATUS_AGAIN)
            break;
        if (status == DFLOCKD_STATUS_DONE)
            held_check_take(check, &reply);
        else
            held_check_retry(check);
    }
    if (loop_now_ms() < check->due_ms)
        return;
    if (check->state == HELD_CHECK_PROVEN) {
        hold_check(hold);
        check->due_ms = loop_now_ms() + CHECK_MS;
    } else if (check->probe) {
        held_check_retry(check);
    } else {
        held_check_probe(check);
    }
}
