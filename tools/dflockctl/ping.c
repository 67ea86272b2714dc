#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "dflockctl/command.h"
#include "dflockctl/output.h"
#include "dflockctl/query.h"
#include "dflockctl/status.h"
#include "os/clock.h"

static double ping_now_ms(void)
{
    return (double)clock_monotonic_ns() / 1e6;
}

static void ping_print(const char *server, double first_ms, double next_ms)
{
    printf("%s: %.2f ms with the connection, %.2f ms over it\n", server, first_ms, next_ms);
}

/* Pings one server twice over a new connection: the first time includes connecting. */
static enum dflockd_status ping_server(const struct settings *settings, size_t server, json_t *list)
{
    const char *name = settings->servers[server];
    struct query query = {0};
    struct dflockd_request request = {.command = DFLOCKD_PING};
    double begin_ms = ping_now_ms();
    enum dflockd_status status = query_run(&query, settings, server, &request);
    double first_ms = ping_now_ms() - begin_ms;
    double next_ms;

    if (status == DFLOCKD_STATUS_DONE)
        status = query_run(&query, settings, server, &request);
    next_ms = ping_now_ms() - begin_ms - first_ms;
    if (query.reply.status != DFLOCKD_STATUS_DONE)
        query_report(settings, server, status);
    query_close(&query);
    if (settings->json && status == DFLOCKD_STATUS_DONE)
        json_array_append_new(list,
                              output_made(json_pack("{s:s, s:b, s:f, s:f}", "server", name, "ok", 1,
                                                    "first_ms", first_ms, "next_ms", next_ms)));
    else if (settings->json)
        json_array_append_new(list,
                              output_made(json_pack("{s:s, s:b, s:s}", "server", name, "ok", 0,
                                                    "problem", dflockd_status_text(status))));
    else if (status == DFLOCKD_STATUS_DONE)
        ping_print(name, first_ms, next_ms);
    return status;
}

int ping_run(const struct settings *settings)
{
    json_t *list = output_made(json_array());
    enum status result = STATUS_DONE;
    bool writable = true;

    for (uint64_t i = 0; writable && i < settings->count; i++) {
        if (i > 0)
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        for (size_t server = 0; writable && server < settings->options.server_count; server++) {
            enum dflockd_status status = ping_server(settings, server, list);

            if (status != DFLOCKD_STATUS_DONE)
                result = status_of(status);
            /* Prints each line at once, and ends if nobody can read them. */
            writable = output_finish(STATUS_DONE) == STATUS_DONE;
        }
    }
    if (settings->json)
        output_json(list);
    json_decref(list);
    return result == STATUS_DONE && !writable ? STATUS_OUTPUT : (int)result;
}
