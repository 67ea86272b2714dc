#include "dflockctl/stats_repeat.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dflockctl/json_writer.h"
#include "dflockctl/loop.h"
#include "dflockctl/output.h"
#include "dflockctl/poller.h"
#include "dflockctl/query.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    REPEAT_HEADING_LINES = 20, /* on a terminal, between two headings */
    REPEAT_ORDER_MS = 1000,    /* until lines do not wait for those of servers before */
    REPEAT_NOT_WRITTEN = -1,   /* instead of a signal */
    REPEAT_RATES = 3,
    REPEAT_CELL_MAX = 32
};

/* A server, and its numbers of the interval before. */
struct repeat_server {
    struct poller poller;
    bool has_before;
    struct stats_totals before;
    int64_t before_ms;
    double rates[REPEAT_RATES]; /* of connections, holders, waiters */
    uint64_t printed;           /* replies whose numbers were printed */
    bool reported;              /* the problem that it still has */
};

struct repeat {
    const struct settings *settings;
    struct loop loop;
    struct repeat_server *servers;
    size_t count;
    size_t server_width;
    uint64_t lines; /* since the last heading */
    enum status status;
};

/* ---- output ---- */

static void repeat_print_heading(struct repeat *repeat)
{
    bool bold = text_in_colour();

    if (!text_on_terminal() || repeat->settings->json)
        return;
    if (repeat->lines % REPEAT_HEADING_LINES == 0)
        printf("%s%-8s %-*s %11s %7s %10s %8s %8s %7s %9s %8s %10s %10s%s\n", bold ? "\x1b[1m" : "",
               "TIME", (int)repeat->server_width, "SERVER", "CONNECTIONS", "LOCKS", "SEMAPHORES",
               "HOLDERS", "WAITERS", "IDLE", "GRANTS/S", "CONN/S", "HOLDERS/S", "WAITERS/S",
               bold ? "\x1b[0m" : "");
    repeat->lines++;
}

/* A rate with `format`, or "-" if there is none. */
static const char *repeat_rate(char cell[REPEAT_CELL_MAX], bool known, double rate, bool sign)
{
    if (!known)
        return "-";
    snprintf(cell, REPEAT_CELL_MAX, sign ? "%+.1f" : "%.1f", rate);
    return cell;
}

static void repeat_print_row(struct repeat *repeat, const struct repeat_server *server,
                             const char *name, const char *clock)
{
    const struct stats_totals *totals = &server->poller.totals;
    bool aligned = text_on_terminal();
    char rates[REPEAT_RATES][REPEAT_CELL_MAX];
    const char *cells[REPEAT_RATES];
    char grants[REPEAT_CELL_MAX];

    for (size_t i = 0; i < REPEAT_RATES; i++)
        cells[i] = repeat_rate(rates[i], server->has_before, server->rates[i], true);
    repeat_print_heading(repeat);
    printf(
        aligned ? "%-8s %-*s %11" PRIu64 " %7" PRIu64 " %10" PRIu64 " %8" PRIu64 " %8" PRIu64
                  " %7" PRIu64 " %9s %8s %10s %10s\n"
                : "%s\t%.*s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64
                  "\t%" PRIu64 "\t%s\t%s\t%s\t%s\n",
        clock, (int)repeat->server_width, name, totals->connections, totals->locks,
        totals->semaphores, totals->holders, totals->waiters, totals->idle,
        repeat_rate(grants, server->poller.grants_per_s >= 0, server->poller.grants_per_s, false),
        cells[0], cells[1], cells[2]);
}

static void repeat_print_json(const struct repeat_server *server, const char *name, double wall_s)
{
    static const char *const rates[REPEAT_RATES] = {"connections_per_s", "holders_per_s",
                                                    "waiters_per_s"};
    const struct stats_totals *totals = &server->poller.totals;
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {
        {"connections", totals->connections}, {"locks", totals->locks},
        {"semaphores", totals->semaphores},   {"holders", totals->holders},
        {"waiters", totals->waiters},         {"idle", totals->idle},
    };
    struct json_writer writer = {0};
    char text[REPEAT_CELL_MAX];

    json_begin(&writer, '{');
    json_name(&writer, "time");
    snprintf(text, sizeof(text), "%.3f", wall_s);
    json_verbatim(&writer, text);
    json_name(&writer, "server");
    json_text(&writer, name);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        json_name(&writer, numbers[i].name);
        json_integer(&writer, numbers[i].number);
    }
    if (server->poller.grants_per_s >= 0) {
        json_name(&writer, "grants_per_s");
        json_real(&writer, server->poller.grants_per_s);
    }
    for (size_t i = 0; server->has_before && i < REPEAT_RATES; i++) {
        json_name(&writer, rates[i]);
        json_real(&writer, server->rates[i]);
    }
    json_end(&writer, '}');
}

/* ---- intervals ---- */

static void repeat_update_rates(struct repeat_server *server)
{
    const struct stats_totals *now = &server->poller.totals;
    const struct stats_totals *before = &server->before;
    double seconds = (double)(loop_now_ms() - server->before_ms) / 1e3;
    const double changes[REPEAT_RATES] = {
        (double)now->connections - (double)before->connections,
        (double)now->holders - (double)before->holders,
        (double)now->waiters - (double)before->waiters,
    };

    for (size_t i = 0; i < REPEAT_RATES; i++)
        server->rates[i] = seconds > 0 ? changes[i] / seconds : 0;
}

static void repeat_keep(struct repeat_server *server)
{
    server->has_before = server->poller.has_stats;
    server->before = server->poller.totals;
    server->before_ms = loop_now_ms();
}

/* Reports a problem once, not at each interval. */
static void repeat_report(struct repeat *repeat, struct repeat_server *server, const char *name)
{
    const char *problem = server->poller.problem;
    bool has_name = strncmp(problem, name, strlen(name)) == 0;

    if (*problem)
        repeat->status = status_of(server->poller.why);
    if (*problem && !server->reported)
        status_report("%s%s%s%s", has_name ? "" : name, has_name ? "" : ": ", problem,
                      status_advice(server->poller.why, problem));
    server->reported = *problem != '\0';
}

/* Prints the lines of the servers that have replied since the last call, in their order. */
static void repeat_print(struct repeat *repeat)
{
    struct timespec now;
    struct tm local;
    char clock[REPEAT_CELL_MAX] = "";

    clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &local))
        strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    for (size_t i = 0; i < repeat->count; i++) {
        struct repeat_server *server = &repeat->servers[i];
        const char *name = repeat->settings->servers[i];

        repeat_report(repeat, server, name);
        if (!server->poller.has_stats)
            server->has_before = false;
        if (!server->poller.has_stats || server->poller.replies == server->printed)
            continue;
        server->printed = server->poller.replies;
        repeat_update_rates(server);
        if (repeat->settings->json)
            repeat_print_json(server, name, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
        else
            repeat_print_row(repeat, server, name, clock);
        repeat_keep(server);
    }
}

/* Takes what has arrived. Returns when to do that again, at most `until_ms`. */
static int64_t repeat_receive(struct repeat *repeat, struct pollfd *watched, int64_t until_ms,
                              bool *pending)
{
    *pending = false;
    for (size_t i = 0; i < repeat->count; i++) {
        struct poller *poller = &repeat->servers[i].poller;
        int64_t due_ms;

        poller_receive(poller);
        *pending = *pending || poller_is_pending(poller);
        watched[i] = poller_watched(poller);
        due_ms = poller_due_ms(poller);
        if (due_ms < until_ms)
            until_ms = due_ms;
    }
    return until_ms;
}

/* Reports the servers whose last reply is still pending. */
static void repeat_report_pending(struct repeat *repeat)
{
    for (size_t i = 0; i < repeat->count; i++) {
        if (!poller_is_pending(&repeat->servers[i].poller) || repeat->servers[i].reported)
            continue;
        query_report(repeat->settings, i, DFLOCKD_STATUS_NO_REPLY);
        repeat->status = STATUS_NO_SERVER;
    }
}

/*
 * Prints the lines of one interval. The last one ends with the replies, at the latest with their
 * timeout. Returns the signal that ended it, or 0.
 */
static int repeat_interval(struct repeat *repeat, int64_t end_ms, bool last)
{
    struct pollfd watched[SETTINGS_SERVERS_MAX];
    struct signalfd_siginfo info;
    int64_t begin_ms = loop_now_ms();
    int64_t order_ms = begin_ms + REPEAT_ORDER_MS;
    bool pending = true;
    int signal = 0;

    if (last)
        end_ms = begin_ms + repeat->settings->options.reply_timeout_ms;
    repeat->status = STATUS_DONE;
    for (size_t i = 0; i < repeat->count; i++)
        poller_begin(&repeat->servers[i].poller);
    while (signal == 0 && (pending || !last) && loop_now_ms() < end_ms) {
        int64_t until_ms = repeat_receive(repeat, watched, end_ms, &pending);

        if (pending && loop_now_ms() < order_ms) {
            until_ms = until_ms < order_ms ? until_ms : order_ms;
        } else {
            repeat_print(repeat);
            if (output_finish(STATUS_DONE) != STATUS_DONE)
                return REPEAT_NOT_WRITTEN;
        }
        if (pending || !last)
            signal = loop_wait(&repeat->loop, watched, repeat->count, until_ms, &info);
    }
    if (signal == 0)
        repeat_print(repeat);
    if (signal == 0 && last)
        repeat_report_pending(repeat);
    return signal;
}

static int repeat_loop(struct repeat *repeat)
{
    const struct settings *settings = repeat->settings;
    int64_t end_ms = loop_now_ms();
    bool last = false;
    int signal = 0;

    for (uint64_t i = 1; signal == 0 && !last; i++) {
        int64_t now_ms = loop_now_ms();

        end_ms += (int64_t)settings->interval_ms;
        if (end_ms <= now_ms)
            end_ms = now_ms + 1;
        last = i == settings->count;
        signal = repeat_interval(repeat, end_ms, last);
    }
    if (signal == REPEAT_NOT_WRITTEN)
        return STATUS_OUTPUT;
    if (signal == SIGINT)
        return STATUS_DONE;
    return signal ? STATUS_SIGNAL + signal : (int)repeat->status;
}

int stats_repeat(const struct settings *settings)
{
    static const int none[] = {0};
    struct repeat repeat = {
        .settings = settings,
        .count = settings->options.server_count,
        .server_width = strlen("SERVER"),
    };
    int status = loop_open(&repeat.loop, none);

    if (status < 0) {
        status_report("cannot wait for signals: %s", strerror(-status));
        return STATUS_SYSTEM;
    }
    repeat.servers = new_memory(repeat.count, sizeof(*repeat.servers));
    for (size_t i = 0; i < repeat.count; i++) {
        poller_init(&repeat.servers[i].poller, settings, i, false);
        if (strlen(settings->servers[i]) > repeat.server_width)
            repeat.server_width = strlen(settings->servers[i]);
    }
    status = repeat_loop(&repeat);
    for (size_t i = 0; i < repeat.count; i++)
        poller_free(&repeat.servers[i].poller);
    loop_close(&repeat.loop);
    free(repeat.servers);
    return status;
}
