#include "dflockctl/watch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/census.h"
#include "dflockctl/loop.h"

enum {
    LEASE_S = 10,       /* of our lock, should we be stopped while we have it */
    PATIENCE_MS = 3000, /* before a server is said not to answer */
    GRANTS_MOST =
        1000000000 /* between two looks; more is no count: other servers' fences are not */
};

void watch_init(struct watch *watch, const struct settings *settings, size_t server)
{
    memset(watch, 0, sizeof(*watch));
    watch->settings = settings;
    watch->server = server;
    watch->grants_per_s = -1;
    snprintf(watch->key, sizeof(watch->key), "dflockctl.top.%jd", (intmax_t)getpid());
}

/* The next look connects anew. */
static void disconnect(struct watch *watch)
{
    dflockd_connection_close(watch->connection);
    watch->connection = NULL;
    watch->due_count = 0;
}

void watch_free(struct watch *watch)
{
    disconnect(watch);
    json_decref(watch->stats);
    watch->stats = NULL;
}

/* Nothing is known of it any more. */
static void give_up(struct watch *watch, const char *problem)
{
    snprintf(watch->problem, sizeof(watch->problem), "%.*s", WATCH_PROBLEM_MAX - 1, problem);
    watch_free(watch);
    watch->fence = 0;
    watch->grants_per_s = -1;
}

static void give_up_broken(struct watch *watch, enum dflockd_status status)
{
    const char *problem = watch->connection ? dflockd_connection_problem(watch->connection)
                                            : watch->settings->problem;

    give_up(watch, *problem ? problem : dflockd_status_text(status));
}

/* ---- asking ---- */

static void ask(struct watch *watch, enum dflockd_command command, const char *token)
{
    struct dflockd_request request = {
        .command = command,
        .key = watch->key,
        .lease_s = LEASE_S,
        .token = token,
    };
    enum dflockd_status status = dflockd_connection_send(watch->connection, &request);

    if (status != DFLOCKD_STATUS_DONE) {
        give_up_broken(watch, status);
        return;
    }
    assert(watch->due_count < sizeof(watch->due) / sizeof(watch->due[0]));
    watch->due[watch->due_count++] = command;
}

void watch_look(struct watch *watch)
{
    int64_t now_ms = loop_now_ms();
    enum dflockd_status status;

    if (watch->due_count > 0) {
        if (now_ms - watch->asked_ms > PATIENCE_MS)
            snprintf(watch->problem, sizeof(watch->problem), "no answer for %" PRId64 " s",
                     (now_ms - watch->asked_ms) / 1000);
        return;
    }
    if (!watch->connection) {
        status =
            dflockd_connection_open(&watch->connection, &watch->settings->options, watch->server);
        if (status != DFLOCKD_STATUS_DONE) {
            give_up_broken(watch, status);
            return;
        }
    }
    watch->asked_ms = now_ms;
    ask(watch, watch->settings->probe ? DFLOCKD_ACQUIRE : DFLOCKD_STATS, NULL);
}

struct pollfd watch_watched(const struct watch *watch)
{
    if (!watch->connection)
        return (struct pollfd){.fd = -1};
    return (struct pollfd){
        .fd = dflockd_connection_descriptor(watch->connection),
        .events = dflockd_connection_events(watch->connection),
    };
}

/* ---- answers ---- */

static void take_fence(struct watch *watch, uint64_t fence)
{
    int64_t now_ms = loop_now_ms();
    uint64_t between = fence - watch->fence - 1;

    watch->grants_per_s = -1;
    if (watch->fence && fence > watch->fence && between < GRANTS_MOST && now_ms > watch->fence_ms)
        watch->grants_per_s = (double)between * 1e3 / (double)(now_ms - watch->fence_ms);
    watch->fence = fence;
    watch->fence_ms = now_ms;
}

static void take_stats(struct watch *watch, const struct dflockd_reply *reply)
{
    json_t *stats = NULL;

    if (reply->status == DFLOCKD_STATUS_DONE)
        stats = census_parse(reply->text, reply->text_length);
    json_decref(watch->stats);
    watch->stats = stats;
    if (stats)
        watch->problem[0] = '\0';
    else
        give_up(watch,
                dflockd_status_text(reply->status ? reply->status : DFLOCKD_STATUS_STRANGE_ANSWER));
}

static void take(struct watch *watch, const struct dflockd_reply *reply)
{
    enum dflockd_command command = watch->due[0];
    bool granted = reply->status == DFLOCKD_STATUS_DONE;

    watch->due_count--;
    memmove(watch->due, watch->due + 1, watch->due_count * sizeof(watch->due[0]));
    if (command == DFLOCKD_STATS) {
        take_stats(watch, reply);
    } else if (command == DFLOCKD_ACQUIRE) {
        if (granted) {
            take_fence(watch, reply->fence);
            ask(watch, DFLOCKD_RELEASE, reply->token);
        } else {
            watch->grants_per_s = -1;
        }
        if (watch->connection)
            ask(watch, DFLOCKD_STATS, NULL);
    }
}

bool watch_take(struct watch *watch)
{
    bool news = false;

    while (watch->connection) {
        struct dflockd_reply reply;
        enum dflockd_status status = dflockd_connection_receive(watch->connection, &reply);

        if (status == DFLOCKD_STATUS_AGAIN)
            return news;
        /* Between two looks: so a server does with who says nothing for long. */
        if (status != DFLOCKD_STATUS_DONE && watch->due_count == 0) {
            disconnect(watch);
            return news;
        }
        news = true;
        if (status != DFLOCKD_STATUS_DONE)
            give_up_broken(watch, status);
        else
            take(watch, &reply);
    }
    return news;
}
