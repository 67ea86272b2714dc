#include "dflockctl/query.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/loop.h"
#include "dflockctl/status.h"

void query_report(const struct settings *settings, size_t server, enum dflockd_status status)
{
    const char *problem = dflockd_status_text(status);

    status_report("%s: %s%s", settings->servers[server], problem, status_advice(status, problem));
}

/* Leaving out the secret, which helps other commands, does not help `revoke`. */
static const char *query_advice(const struct query *query)
{
    if (strcmp(query->settings->command->name, "revoke") == 0 &&
        strstr(query->problem, "the server does not use a secret"))
        return "; revoke needs a server with --admin-token";
    return status_advice(query->status, query->problem);
}

void query_report_failure(const struct query *query)
{
    if (*query->problem)
        status_report("%s%s", query->problem, query_advice(query));
    else
        query_report(query->settings, query->server, query->status);
}

/* Ends without a reply. `problem` may be empty. */
static void query_fail(struct query *query, enum dflockd_status status, const char *problem)
{
    query->reply = (struct dflockd_reply){0};
    query->status = status;
    query->pending = false;
    snprintf(query->problem, sizeof(query->problem), "%s", problem);
}

static void query_fail_connection(struct query *query, enum dflockd_status status)
{
    query_fail(query, status, dflockd_connection_problem(query->connection));
}

void query_begin(struct query *query, const struct settings *settings, size_t server,
                 const struct dflockd_request *request, dflockd_text_function *take, void *context)
{
    enum dflockd_status status;

    query->settings = settings;
    query->server = server;
    query->command = request->command;
    query->problem[0] = '\0';
    query->pending = true;
    query->deadline_ms = loop_now_ms() + settings->options.reply_timeout_ms;
    if (!query->connection) {
        status = dflockd_connection_open(&query->connection, &settings->options, server);
        if (status != DFLOCKD_STATUS_DONE) {
            query_fail(query, status, settings->problem);
            return;
        }
    }
    dflockd_connection_stream_text(query->connection, take, context);
    status = dflockd_connection_send(query->connection, request);
    if (status != DFLOCKD_STATUS_DONE)
        query_fail_connection(query, status);
}

enum dflockd_status query_judge(enum dflockd_command command, const struct dflockd_reply *reply)
{
    if (reply->status == DFLOCKD_STATUS_FAILED &&
        (command == DFLOCKD_PING || command == DFLOCKD_STATS))
        return DFLOCKD_STATUS_UNSUPPORTED;
    return reply->status;
}

/* Returns when to receive again. */
static int64_t query_receive_one(struct query *query)
{
    enum dflockd_status status = dflockd_connection_receive(query->connection, &query->reply);
    int connect_ms = dflockd_connection_timeout(query->connection);
    int64_t now_ms = loop_now_ms();

    if (status == DFLOCKD_STATUS_AGAIN && connect_ms >= 0) {
        query->deadline_ms = now_ms + query->settings->options.reply_timeout_ms;
        return now_ms + connect_ms;
    }
    if (status == DFLOCKD_STATUS_AGAIN && now_ms < query->deadline_ms)
        return query->deadline_ms;
    if (status == DFLOCKD_STATUS_AGAIN) {
        query_fail(query, DFLOCKD_STATUS_NO_REPLY, "");
    } else if (status != DFLOCKD_STATUS_DONE) {
        query_fail_connection(query, status);
    } else {
        query->pending = false;
        query->reply.status = query_judge(query->command, &query->reply);
        query->status = query->reply.status;
    }
    return LOOP_NEVER;
}

int64_t query_receive(struct query *queries, size_t count, struct pollfd *watched)
{
    int64_t until_ms = LOOP_NEVER;

    for (size_t i = 0; i < count; i++) {
        watched[i] = query_watched(NULL);
        if (queries[i].pending) {
            int64_t one_ms = query_receive_one(&queries[i]);

            if (one_ms < until_ms)
                until_ms = one_ms;
        }
        if (queries[i].pending)
            watched[i] = query_watched(queries[i].connection);
    }
    return until_ms;
}

void query_wait(struct query *queries, size_t count)
{
    struct pollfd watched[SETTINGS_SERVERS_MAX];
    int64_t until_ms;

    while ((until_ms = query_receive(queries, count, watched)) != LOOP_NEVER) {
        int64_t left_ms = until_ms - loop_now_ms();

        poll(watched, count, left_ms < 0 ? 0 : left_ms < INT_MAX ? (int)left_ms : INT_MAX);
    }
}

enum dflockd_status query_run(struct query *query, const struct settings *settings, size_t server,
                              const struct dflockd_request *request)
{
    query_begin(query, settings, server, request, NULL, NULL);
    query_wait(query, 1);
    if (query->status != query->reply.status)
        query_report_failure(query);
    return query->status;
}

void query_close(struct query *query)
{
    dflockd_connection_close(query->connection);
    query->connection = NULL;
    query->pending = false;
}

struct pollfd query_watched(const struct dflockd_connection *connection)
{
    if (!connection)
        return (struct pollfd){.fd = -1};
    return (struct pollfd){
        .fd = dflockd_connection_descriptor(connection),
        .events = dflockd_connection_events(connection),
    };
}
