#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/json_writer.h"
#include "dflockctl/loop.h"
#include "dflockctl/output.h"
#include "dflockctl/query.h"
#include "dflockctl/status.h"
#include "os/clock.h"

enum {
    PING_ORDER_MS = 500, /* until a line does not wait for those of servers before */
    PING_NOT_WRITTEN = -1
};

/* A server, and what its pings measured. */
struct ping_target {
    bool second;  /* the second ping is pending */
    bool printed; /* the result of this round */
    double begin_ms;
    double first_ms;
    double next_ms;
    uint64_t sent;
    uint64_t answered;
    double least_ms; /* of `next_ms` */
    double most_ms;
    double sum_ms;
};

struct ping {
    const struct settings *settings;
    struct loop loop;
    struct ping_target *targets;
    struct query *queries;
    size_t count;
    int64_t round_ms; /* when the round began */
    enum status status;
};

static double ping_now_ms(void)
{
    return (double)clock_monotonic_ns() / 1e6;
}

/* ---- output ---- */

static void ping_print_json(const struct ping_target *target, const struct query *query,
                            const char *name)
{
    struct json_writer writer = {0};
    bool ok = query->status == DFLOCKD_STATUS_DONE;

    json_begin(&writer, '{');
    json_name(&writer, "server");
    json_text(&writer, name);
    json_name(&writer, "ok");
    json_verbatim(&writer, ok ? "true" : "false");
    if (ok) {
        json_name(&writer, "first_ms");
        json_real(&writer, target->first_ms);
        json_name(&writer, "next_ms");
        json_real(&writer, target->next_ms);
    } else {
        json_name(&writer, "problem");
        json_text(&writer, dflockd_status_text(query->status));
    }
    json_end(&writer, '}');
}

static void ping_print(struct ping *ping, size_t server)
{
    struct ping_target *target = &ping->targets[server];
    const struct query *query = &ping->queries[server];
    const char *name = ping->settings->servers[server];

    target->printed = true;
    if (query->status != DFLOCKD_STATUS_DONE) {
        query_report_failure(query);
        ping->status = status_of(query->status);
    }
    if (ping->settings->json)
        ping_print_json(target, query, name);
    else if (query->status == DFLOCKD_STATUS_DONE)
        printf("%s: %.2f ms with the connection, %.2f ms over it\n", name, target->first_ms,
               target->next_ms);
}

static void ping_print_summary(const struct ping *ping)
{
    for (size_t i = 0; i < ping->count; i++) {
        const struct ping_target *target = &ping->targets[i];
        double answered = (double)target->answered;

        if (target->sent == 0)
            continue;
        printf("%s: %" PRIu64 " sent, %" PRIu64 " answered, %.0f%% lost",
               ping->settings->servers[i], target->sent, target->answered,
               100 - 100 * answered / (double)target->sent);
        if (target->answered > 0)
            printf("; least/mean/most %.2f/%.2f/%.2f ms", target->least_ms,
                   target->sum_ms / answered, target->most_ms);
        printf("\n");
    }
}

/* ---- rounds ---- */

static void ping_send(struct ping *ping, size_t server)
{
    const struct dflockd_request request = {.command = DFLOCKD_PING};

    ping->targets[server].begin_ms = ping_now_ms();
    query_begin(&ping->queries[server], ping->settings, server, &request, NULL, NULL);
}

static void ping_count_answer(struct ping_target *target)
{
    if (target->answered == 0 || target->next_ms < target->least_ms)
        target->least_ms = target->next_ms;
    if (target->next_ms > target->most_ms)
        target->most_ms = target->next_ms;
    target->sum_ms += target->next_ms;
    target->answered++;
}

/* Returns whether the round of this server has ended. Sends the second ping after the first. */
static bool ping_advance(struct ping *ping, size_t server)
{
    struct ping_target *target = &ping->targets[server];
    struct query *query = &ping->queries[server];
    double taken_ms = ping_now_ms() - target->begin_ms;

    if (query->pending)
        return false;
    if (!query->connection)
        return true;
    if (query->status == DFLOCKD_STATUS_DONE && !target->second) {
        target->first_ms = taken_ms;
        target->second = true;
        ping_send(ping, server);
        return false;
    }
    if (query->status == DFLOCKD_STATUS_DONE) {
        target->next_ms = taken_ms;
        ping_count_answer(target);
    }
    query_close(query);
    return true;
}

/*
 * Advances all servers, and prints in their order the results that do not wait for others. Returns
 * when to receive again, LOOP_NEVER if all results are printed.
 */
static int64_t ping_receive(struct ping *ping, struct pollfd *watched)
{
    int64_t order_ms = ping->round_ms + PING_ORDER_MS;
    bool late = loop_now_ms() >= order_ms;
    int64_t until_ms = query_receive(ping->queries, ping->count, watched);
    bool sent = false;
    bool before = true; /* all servers before have ended */

    for (size_t i = 0; i < ping->count; i++) {
        bool was_second = ping->targets[i].second;
        bool ended = ping_advance(ping, i);

        sent = sent || was_second != ping->targets[i].second;
        before = before && ended;
        if (ended && !ping->targets[i].printed && (before || late))
            ping_print(ping, i);
    }
    if (sent)
        return ping_receive(ping, watched);
    for (size_t i = 0; !late && i < ping->count; i++) {
        if (!ping->targets[i].printed && order_ms < until_ms)
            until_ms = order_ms;
    }
    return until_ms;
}

/* Returns the signal that ended the round, PING_NOT_WRITTEN, or 0. */
static int ping_round(struct ping *ping)
{
    struct pollfd watched[SETTINGS_SERVERS_MAX];
    struct signalfd_siginfo info;
    int64_t until_ms;
    int signal = 0;

    ping->round_ms = loop_now_ms();
    for (size_t i = 0; i < ping->count; i++) {
        ping->targets[i].second = false;
        ping->targets[i].printed = false;
        ping->targets[i].sent++;
        ping_send(ping, i);
    }
    while (signal == 0 && (until_ms = ping_receive(ping, watched)) != LOOP_NEVER) {
        if (output_finish(STATUS_DONE) != STATUS_DONE)
            return PING_NOT_WRITTEN;
        signal = loop_wait(&ping->loop, watched, ping->count, until_ms, &info);
    }
    if (output_finish(STATUS_DONE) != STATUS_DONE)
        return PING_NOT_WRITTEN;
    return signal;
}

static int ping_loop(struct ping *ping)
{
    const struct settings *settings = ping->settings;
    struct signalfd_siginfo info;
    int signal = 0;

    for (uint64_t i = 1; signal == 0; i++) {
        signal = ping_round(ping);
        if (i == settings->count)
            break;
        while (signal == 0 && loop_now_ms() < ping->round_ms + (int64_t)settings->interval_ms)
            signal = loop_wait(&ping->loop, NULL, 0,
                               ping->round_ms + (int64_t)settings->interval_ms, &info);
    }
    if (signal == PING_NOT_WRITTEN)
        return ping->status == STATUS_DONE ? STATUS_OUTPUT : (int)ping->status;
    if (!settings->json && (settings->count != 1 || signal == SIGINT))
        ping_print_summary(ping);
    return signal == 0 || signal == SIGINT ? (int)ping->status : STATUS_SIGNAL + signal;
}

int ping_run(const struct settings *settings)
{
    static const int none[] = {0};
    struct ping ping = {.settings = settings, .count = settings->options.server_count};
    int status = loop_open(&ping.loop, none);

    if (status < 0) {
        status_report("cannot wait for signals: %s", strerror(-status));
        return STATUS_SYSTEM;
    }
    ping.targets = new_memory(ping.count, sizeof(*ping.targets));
    ping.queries = new_memory(ping.count, sizeof(*ping.queries));
    status = ping_loop(&ping);
    for (size_t i = 0; i < ping.count; i++)
        query_close(&ping.queries[i]);
    free(ping.queries);
    free(ping.targets);
    loop_close(&ping.loop);
    return status;
}
