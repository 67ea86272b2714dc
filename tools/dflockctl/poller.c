#include "dflockctl/poller.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/key_stats.h"
#include "dflockctl/loop.h"
#include "dflockctl/query.h"

enum {
    POLLER_LEASE_S = 10,      /* of the lock, in case this process is stopped while it holds it */
    POLLER_TIMEOUT_MS = 3000, /* until a pending reply is shown as a problem */
    /* Between two polls. A larger difference of fences means another server, not grants. */
    POLLER_GRANTS_MAX = 1000000000
};

void poller_init(struct poller *poller, const struct settings *settings, size_t server)
{
    memset(poller, 0, sizeof(*poller));
    poller->settings = settings;
    poller->server = server;
    poller->grants_per_s = -1;
    snprintf(poller->key, sizeof(poller->key), "dflockctl.top.%jd", (intmax_t)getpid());
}

static void poller_disconnect(struct poller *poller)
{
    dflockd_connection_close(poller->connection);
    poller->connection = NULL;
    poller->pending_count = 0;
}

void poller_free(struct poller *poller)
{
    poller_disconnect(poller);
    json_decref(poller->stats);
    poller->stats = NULL;
}

/* Drops all that is known about the server. */
static void poller_fail(struct poller *poller, const char *problem)
{
    snprintf(poller->problem, sizeof(poller->problem), "%.*s", POLLER_PROBLEM_MAX - 1, problem);
    poller_free(poller);
    poller->fence = 0;
    poller->grants_per_s = -1;
}

static void poller_fail_connection(struct poller *poller, enum dflockd_status status)
{
    const char *problem = poller->connection ? dflockd_connection_problem(poller->connection)
                                             : poller->settings->problem;

    poller_fail(poller, *problem ? problem : dflockd_status_text(status));
}

/* ---- requests ---- */

static void poller_send(struct poller *poller, enum dflockd_command command, const char *token)
{
    struct dflockd_request request = {
        .command = command,
        .key = poller->key,
        .lease_s = POLLER_LEASE_S,
        .token = token,
    };
    enum dflockd_status status = dflockd_connection_send(poller->connection, &request);

    if (status != DFLOCKD_STATUS_DONE) {
        poller_fail_connection(poller, status);
        return;
    }
    assert(poller->pending_count < sizeof(poller->pending) / sizeof(poller->pending[0]));
    poller->pending[poller->pending_count++] = command;
}

void poller_begin(struct poller *poller)
{
    int64_t now_ms = loop_now_ms();
    enum dflockd_status status;

    if (poller->pending_count > 0) {
        if (now_ms - poller->begun_ms > POLLER_TIMEOUT_MS)
            snprintf(poller->problem, sizeof(poller->problem), "no reply for %" PRId64 " s",
                     (now_ms - poller->begun_ms) / 1000);
        return;
    }
    if (!poller->connection) {
        status = dflockd_connection_open(&poller->connection, &poller->settings->options,
                                         poller->server);
        if (status != DFLOCKD_STATUS_DONE) {
            poller_fail_connection(poller, status);
            return;
        }
    }
    poller->begun_ms = now_ms;
    poller_send(poller, poller->settings->probe ? DFLOCKD_ACQUIRE : DFLOCKD_STATS, NULL);
}

struct pollfd poller_watched(const struct poller *poller)
{
    return query_watched(poller->connection);
}

/* ---- replies ---- */

static void poller_take_fence(struct poller *poller, uint64_t fence)
{
    int64_t now_ms = loop_now_ms();
    uint64_t grants = fence - poller->fence - 1;

    poller->grants_per_s = -1;
    if (poller->fence && fence > poller->fence && grants < POLLER_GRANTS_MAX &&
        now_ms > poller->fence_ms)
        poller->grants_per_s = (double)grants * 1e3 / (double)(now_ms - poller->fence_ms);
    poller->fence = fence;
    poller->fence_ms = now_ms;
}

static void poller_take_stats(struct poller *poller, const struct dflockd_reply *reply)
{
    json_t *stats = NULL;

    if (reply->status == DFLOCKD_STATUS_DONE)
        stats = key_stats_parse(reply->text, reply->text_length);
    json_decref(poller->stats);
    poller->stats = stats;
    if (stats)
        poller->problem[0] = '\0';
    else
        poller_fail(poller, dflockd_status_text(reply->status ? reply->status
                                                              : DFLOCKD_STATUS_STRANGE_ANSWER));
}

static void poller_take(struct poller *poller, const struct dflockd_reply *reply)
{
    enum dflockd_command command = poller->pending[0];

    poller->pending_count--;
    memmove(poller->pending, poller->pending + 1,
            poller->pending_count * sizeof(poller->pending[0]));
    if (command == DFLOCKD_STATS) {
        poller_take_stats(poller, reply);
    } else if (command == DFLOCKD_ACQUIRE) {
        if (reply->status == DFLOCKD_STATUS_DONE) {
            poller_take_fence(poller, reply->fence);
            poller_send(poller, DFLOCKD_RELEASE, reply->token);
        } else {
            poller->grants_per_s = -1;
        }
        if (poller->connection)
            poller_send(poller, DFLOCKD_STATS, NULL);
    }
}

bool poller_receive(struct poller *poller)
{
    bool changed = false;

    while (poller->connection) {
        struct dflockd_reply reply;
        enum dflockd_status status = dflockd_connection_receive(poller->connection, &reply);

        if (status == DFLOCKD_STATUS_AGAIN)
            return changed;
        /* Servers close idle connections. The next poll connects again. */
        if (status != DFLOCKD_STATUS_DONE && poller->pending_count == 0) {
            poller_disconnect(poller);
            return changed;
        }
        changed = true;
        if (status != DFLOCKD_STATUS_DONE)
            poller_fail_connection(poller, status);
        else
            poller_take(poller, &reply);
    }
    return changed;
}
