#include "dflockctl/poller.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/command.h"
#include "dflockctl/loop.h"
#include "dflockctl/query.h"

enum {
    POLLER_LEASE_S = 10,      /* of the slot, in case this process is stopped while it holds it */
    POLLER_TIMEOUT_MS = 3000, /* until a pending reply is shown as a problem */
    /* Between two polls. A larger difference of fences means another server, not grants. */
    POLLER_GRANTS_MAX = 1000000000
};

void poller_init(struct poller *poller, const struct settings *settings, size_t server,
                 bool keep_keys)
{
    memset(poller, 0, sizeof(*poller));
    poller->settings = settings;
    poller->server = server;
    poller->keep_keys = keep_keys;
    poller->grants_per_s = -1;
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
    key_stats_free(&poller->list);
    key_stats_free(&poller->arriving);
    memset(&poller->totals, 0, sizeof(poller->totals));
    poller->has_stats = false;
}

/* Drops all that is known about the server. */
static void poller_fail(struct poller *poller, enum dflockd_status why, const char *problem)
{
    poller->why = why;
    snprintf(poller->problem, sizeof(poller->problem), "%.*s", POLLER_PROBLEM_MAX - 1, problem);
    poller_free(poller);
    poller->fence = 0;
    poller->grants_per_s = -1;
}

static void poller_fail_connection(struct poller *poller, enum dflockd_status status)
{
    const char *problem = poller->connection ? dflockd_connection_problem(poller->connection)
                                             : poller->settings->problem;

    /* An old server closes the connection after `error`, and has no statistics either. */
    if (poller->probe_failed && status == DFLOCKD_STATUS_DISCONNECTED) {
        status = DFLOCKD_STATUS_UNSUPPORTED;
        problem = "";
    }
    poller_fail(poller, status, *problem ? problem : dflockd_status_text(status));
}

/* ---- requests ---- */

/* A stats_key_function. */
static void poller_take_key(void *context, const struct key_stats *entry)
{
    struct poller *poller = context;

    if (!entry->idle)
        key_stats_add(&poller->arriving, entry);
}

/* A dflockd_text_function. */
static void poller_take_text(void *context, const char *part, size_t length)
{
    struct poller *poller = context;

    stats_parser_read(&poller->parser, part, length);
}

static void poller_send(struct poller *poller, enum dflockd_command command, const char *token)
{
    struct dflockd_request request = {
        .command = command,
        .key = QUERY_PROBE_KEY,
        .lease_s = POLLER_LEASE_S,
        .limit = DFLOCKD_LIMIT_MAX,
        .token = token,
    };
    enum dflockd_status status;

    if (command == DFLOCKD_STATS)
        stats_parser_begin(&poller->parser, poller->server,
                           poller->keep_keys ? poller_take_key : NULL, poller);
    status = dflockd_connection_send(poller->connection, &request);
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
        if (now_ms - poller->begun_ms > POLLER_TIMEOUT_MS) {
            poller->why = DFLOCKD_STATUS_NO_REPLY;
            snprintf(poller->problem, sizeof(poller->problem), "no reply for %" PRId64 " s",
                     (now_ms - poller->begun_ms) / 1000);
        }
        return;
    }
    if (!poller->connection) {
        status = dflockd_connection_open(&poller->connection, &poller->settings->options,
                                         poller->server);
        if (status != DFLOCKD_STATUS_DONE) {
            poller_fail_connection(poller, status);
            return;
        }
        dflockd_connection_stream_text(poller->connection, poller_take_text, poller);
    }
    poller->begun_ms = now_ms;
    poller->probe_failed = false;
    poller_send(poller, poller->settings->probe ? DFLOCKD_SEMAPHORE_ACQUIRE : DFLOCKD_STATS, NULL);
}

bool poller_is_pending(const struct poller *poller)
{
    return poller->pending_count > 0;
}

struct pollfd poller_watched(const struct poller *poller)
{
    return query_watched(poller->connection);
}

int64_t poller_due_ms(const struct poller *poller)
{
    int timeout_ms = poller->connection ? dflockd_connection_timeout(poller->connection) : -1;

    return timeout_ms < 0 ? LOOP_NEVER : loop_now_ms() + timeout_ms;
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

static void poller_take_stats(struct poller *poller, enum dflockd_status status)
{
    if (status == DFLOCKD_STATUS_DONE && !stats_parser_is_complete(&poller->parser))
        status = DFLOCKD_STATUS_STRANGE_ANSWER;
    if (status != DFLOCKD_STATUS_DONE) {
        poller_fail(poller, status, dflockd_status_text(status));
        return;
    }
    key_stats_free(&poller->list);
    poller->list = poller->arriving;
    poller->arriving = (struct key_stats_list){0};
    poller->totals = poller->parser.totals;
    poller->has_stats = true;
    poller->replies++;
    poller->problem[0] = '\0';
}

static void poller_take(struct poller *poller, const struct dflockd_reply *reply)
{
    enum dflockd_command command = poller->pending[0];

    poller->pending_count--;
    memmove(poller->pending, poller->pending + 1,
            poller->pending_count * sizeof(poller->pending[0]));
    if (command == DFLOCKD_STATS) {
        poller_take_stats(poller, query_judge(command, reply));
    } else if (command == DFLOCKD_SEMAPHORE_ACQUIRE) {
        if (reply->status == DFLOCKD_STATUS_DONE) {
            poller_take_fence(poller, reply->fence);
            poller_send(poller, DFLOCKD_SEMAPHORE_RELEASE, reply->token);
        } else {
            poller->grants_per_s = -1;
            poller->probe_failed = reply->status == DFLOCKD_STATUS_FAILED;
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
