#include "dflockctl/servers.h"

#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "dflockctl/output.h"
#include "dflockctl/status.h"

size_t servers_of(const struct settings *settings, const char *key)
{
    return dflockd_shard(key, settings->options.server_count);
}

/* ---- questions ---- */

enum dflockd_status question_ask(struct question *question, const struct settings *settings,
                                 size_t server, const struct dflockd_request *request)
{
    int64_t timeout_ms = settings->options.reply_timeout_ms;
    enum dflockd_status status = DFLOCKD_STATUS_DONE;
    const char *problem = settings->problem;

    if (!question->connection) {
        timeout_ms += settings->options.connect_timeout_ms;
        status = dflockd_connection_open(&question->connection, &settings->options, server);
    }
    if (status == DFLOCKD_STATUS_DONE)
        status =
            dflockd_connection_ask(question->connection, request, &question->reply, timeout_ms);
    if (status == DFLOCKD_STATUS_DONE)
        return question->reply.status;
    question->reply = (struct dflockd_reply){0}; /* what broke the connection is no reply */
    if (question->connection)
        problem = dflockd_connection_problem(question->connection);
    if (status == DFLOCKD_STATUS_AGAIN)
        say("%s does not answer%s", settings->servers[server], status_advice(status));
    else if (*problem)
        say("%s%s", problem, status_advice(status));
    else
        say("%s: %s%s", settings->servers[server], dflockd_status_text(status),
            status_advice(status));
    return status;
}

void question_close(struct question *question)
{
    dflockd_connection_close(question->connection);
    question->connection = NULL;
}

/* ---- ping ---- */

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Twice, over a connection of its own: with the connecting, and without. */
static enum dflockd_status ping(const struct settings *settings, size_t server, json_t *list)
{
    const char *name = settings->servers[server];
    struct question question = {0};
    struct dflockd_request request = {.command = DFLOCKD_PING};
    double begin_ms = now_ms();
    double first_ms;
    double next_ms;
    enum dflockd_status status = question_ask(&question, settings, server, &request);

    first_ms = now_ms() - begin_ms;
    if (status == DFLOCKD_STATUS_DONE)
        status = question_ask(&question, settings, server, &request);
    next_ms = now_ms() - begin_ms - first_ms;
    question_close(&question);
    if (settings->json && status == DFLOCKD_STATUS_DONE)
        json_array_append_new(list,
                              output_made(json_pack("{s:s, s:b, s:f, s:f}", "server", name, "ok", 1,
                                                    "first_ms", first_ms, "next_ms", next_ms)));
    else if (settings->json)
        json_array_append_new(list,
                              output_made(json_pack("{s:s, s:b, s:s}", "server", name, "ok", 0,
                                                    "problem", dflockd_status_text(status))));
    else if (status == DFLOCKD_STATUS_DONE)
        printf("%s: %.2f ms with the connection, %.2f ms over it\n", name, first_ms, next_ms);
    return status;
}

int servers_ping(const struct settings *settings)
{
    json_t *list = output_made(json_array());
    enum status result = STATUS_DONE;
    bool writable = true;

    for (uint64_t i = 0; writable && i < settings->count; i++) {
        if (i > 0)
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        for (size_t server = 0; writable && server < settings->options.server_count; server++) {
            enum dflockd_status status = ping(settings, server, list);

            if (status != DFLOCKD_STATUS_DONE)
                result = status_of(status);
            /* Each line at once, and no more pings if nobody can read them. */
            writable = output_finish(STATUS_DONE) == STATUS_DONE;
        }
    }
    if (settings->json)
        output_json(list);
    json_decref(list);
    return result == STATUS_DONE && !writable ? STATUS_OUTPUT : (int)result;
}

/* ---- shard ---- */

int servers_shard(const struct settings *settings)
{
    const char *key = settings->words[0];
    struct dflockd_client *client;
    enum dflockd_status status = dflockd_client_open(&client, &settings->options);
    size_t server;

    if (status != DFLOCKD_STATUS_DONE) {
        say("%s%s", settings->problem, status_advice(status));
        return (int)status_of(status);
    }
    server = dflockd_client_server(client, key);
    dflockd_client_close(client);
    if (settings->json) {
        json_t *value = output_made(json_pack("{s:o, s:s, s:i}", "key", output_key(key), "server",
                                              settings->servers[server], "number", (int)server));

        output_json(value);
        json_decref(value);
    } else {
        printf("%s\n", settings->servers[server]);
    }
    return STATUS_DONE;
}
