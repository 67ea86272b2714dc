#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dflockctl/command.h"
#include "dflockctl/key_stats.h"
#include "dflockctl/loop.h"
#include "dflockctl/poller.h"
#include "dflockctl/screen.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    TOP_NAME_MIN = 12,     /* columns, also on a narrower terminal */
    TOP_SERVERS_SHARE = 3, /* servers take at most one line in this many */
    TOP_NUMBER_MAX = 32,
    TOP_SEQUENCE_MS = 200 /* between its bytes; after a longer pause ESC was a key of its own */
};

/* How much of the sequence of a function key was read. */
enum top_sequence {
    TOP_NONE,
    TOP_ESCAPE,
    TOP_PARAMETERS,
    TOP_FINAL /* all except the final byte */
};

static const char *const top_orders[] = {"waiters", "holders", "lease", "key"};

struct top {
    const struct settings *settings;
    struct loop loop;
    struct screen screen;
    struct poller pollers[SETTINGS_SERVERS_MAX];
    struct key_stats_list list;
    size_t order; /* of `top_orders` */
    bool reverse;
    bool paused;
    bool over;
    enum top_sequence sequence;
    int64_t typed_ms; /* when the last byte was read */
};

/* ---- drawing ---- */

/* Returns the text cut with a tilde, or padded, to `columns`. The caller frees it. */
static char *top_fit(const char *shown, size_t columns)
{
    size_t length = text_width(shown) <= columns ? strlen(shown) : text_fit(shown, columns - 1);
    const char *cut = shown[length] ? "~" : "";
    char *text;

    if (asprintf(&text, "%.*s%s", (int)length, shown, cut) < 0)
        die_of_memory();
    length = text_width(text);
    if (length < columns) {
        char *filled;

        if (asprintf(&filled, "%s%*s", text, (int)(columns - length), "") < 0)
            die_of_memory();
        free(text);
        text = filled;
    }
    return text;
}

/* Returns the columns of a name beside numbers that take `numbers` columns. */
static size_t top_name_width(const struct top *top, size_t numbers)
{
    return top->screen.columns > numbers + TOP_NAME_MIN ? top->screen.columns - numbers
                                                        : TOP_NAME_MIN;
}

/* The line begins with the name already. */
static const char *top_without_name(const char *problem, const char *name)
{
    size_t length = strlen(name);

    if (strncmp(problem, name, length) == 0 && strncmp(problem + length, ": ", 2) == 0)
        return problem + length + 2;
    return problem;
}

static void top_draw_server(struct top *top, size_t server, size_t width)
{
    const struct poller *poller = &top->pollers[server];
    const struct stats_totals *totals = &poller->totals;
    char *name = top_fit(top->settings->servers[server], width);
    char grants[TOP_NUMBER_MAX] = "-";

    if (poller->grants_per_s >= 0)
        snprintf(grants, sizeof(grants), "%.0f", poller->grants_per_s);
    if (poller->problem[0])
        screen_line(&top->screen, SCREEN_BOLD, "%s %s", name,
                    top_without_name(poller->problem, top->settings->servers[server]));
    else if (!poller->has_stats)
        screen_line(&top->screen, SCREEN_PLAIN, "%s connecting", name);
    else
        screen_line(&top->screen, SCREEN_PLAIN,
                    "%s %11" PRIu64 " %10s %8" PRIu64 " %8" PRIu64 " %8" PRIu64, name,
                    totals->connections, grants, totals->holders, totals->waiters, totals->idle);
    free(name);
}

static void top_draw_servers(struct top *top)
{
    size_t count = top->settings->options.server_count;
    size_t most = top->screen.rows / TOP_SERVERS_SHARE;
    size_t shown = count <= most ? count : most > 1 ? most - 1 : 1;
    size_t width = top_name_width(top, 12 + 11 + 3 * 9);
    char *title = top_fit("SERVER", width);

    screen_line(&top->screen, SCREEN_REVERSE, "%s %11s %10s %8s %8s %8s", title, "CONNECTIONS",
                "GRANTS/S", "HOLDERS", "WAITERS", "IDLE");
    free(title);
    for (size_t server = 0; server < shown; server++)
        top_draw_server(top, server, width);
    if (shown < count)
        screen_line(&top->screen, SCREEN_PLAIN, "and %zu more", count - shown);
}

static void top_draw_key(struct top *top, const struct key_stats *entry, size_t width)
{
    char *key = text_shown(entry->key, entry->key_length, true);
    char *name = top_fit(key, width);
    char holders[2 * TOP_NUMBER_MAX];
    char lease[TOP_NUMBER_MAX] = "-";

    if (entry->kind == KEY_SEMAPHORE)
        snprintf(holders, sizeof(holders), "%" PRIu64 "/%" PRIu32, entry->holders, entry->limit);
    else
        snprintf(holders, sizeof(holders), "%" PRIu64, entry->holders);
    if (entry->lease_s >= 0)
        snprintf(lease, sizeof(lease), "%.0f s", entry->lease_s);
    screen_line(&top->screen, SCREEN_PLAIN, "%s %-9s %11s %8" PRIu64 " %10s", name,
                key_stats_kind_name(entry->kind), holders, entry->waiters, lease);
    free(name);
    free(key);
}

/* Draws the keys that fit. */
static void top_draw_keys(struct top *top)
{
    size_t width = top_name_width(top, 10 + 12 + 9 + 11);
    char *title = top_fit("KEY", width);

    screen_line(&top->screen, SCREEN_REVERSE, "%s %-9s %11s %8s %10s", title, "KIND", "HOLDERS",
                "WAITERS", "LEASE");
    free(title);
    for (size_t i = 0; i < top->list.count && screen_left(&top->screen) > 1; i++)
        top_draw_key(top, &top->list.keys[i], width);
}

static void top_update_keys(struct top *top)
{
    top->list.count = 0;
    for (size_t server = 0; server < top->settings->options.server_count; server++)
        key_stats_add_all(&top->list, &top->pollers[server].list);
    key_stats_sort(&top->list, top_orders[top->order], top->reverse);
}

static void top_draw(struct top *top)
{
    struct screen *screen = &top->screen;
    time_t now = time(NULL);
    struct tm local;
    char clock[TOP_NUMBER_MAX] = "";

    if (localtime_r(&now, &local))
        strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    top_update_keys(top);
    screen_begin(screen);
    screen_line(screen, SCREEN_BOLD, "dflockctl top  %s  every %g s%s", clock,
                (double)top->settings->interval_ms / 1e3,
                top->paused ? "  paused: space continues" : "");
    screen_line(screen, SCREEN_PLAIN, "%s", "");
    top_draw_servers(top);
    screen_line(screen, SCREEN_PLAIN, "%s", "");
    top_draw_keys(top);
    screen_skip_to_end(screen);
    screen_line(screen, SCREEN_PLAIN, "q quit  s sort: %s%s  r reverse  space pause  %zu %s",
                top_orders[top->order], top->reverse ? " (reverse)" : "", top->list.count,
                top->list.count == 1 ? "key" : "keys");
    screen_show(screen);
}

/* ---- events ---- */

/* Unknown keys do nothing. */
static void top_act_on_key(struct top *top, char key)
{
    switch (key) {
    case 'q':
    case 'Q':
        top->over = true;
        break;
    case 's':
        top->order = (top->order + 1) % (sizeof(top_orders) / sizeof(top_orders[0]));
        break;
    case 'r':
        top->reverse = !top->reverse;
        break;
    case ' ':
        top->paused = !top->paused;
        break;
    default:
        break;
    }
}

/*
 * Returns whether the byte belongs to a sequence that a function key sends, as ECMA-48 has it: ESC,
 * or ESC [ parameters and a final byte, or ESC O and a final byte. Alt with a key is ESC and a
 * byte.
 */
static bool top_is_in_sequence(struct top *top, char byte)
{
    bool final = byte >= '@' && byte <= '~';
    enum top_sequence before = top->sequence;

    if (byte == '\x1b') {
        top->sequence = TOP_ESCAPE;
        return true;
    }
    if (before == TOP_ESCAPE && (byte == '[' || byte == 'O'))
        top->sequence = byte == '[' ? TOP_PARAMETERS : TOP_FINAL;
    else if (before != TOP_PARAMETERS || final)
        top->sequence = TOP_NONE;
    return before != TOP_NONE;
}

/* Returns false at the end of the input. */
static bool top_read_keyboard(struct top *top)
{
    char typed[64];
    ssize_t length = read(STDIN_FILENO, typed, sizeof(typed));
    int64_t now_ms = loop_now_ms();

    if (now_ms - top->typed_ms > TOP_SEQUENCE_MS)
        top->sequence = TOP_NONE;
    top->typed_ms = now_ms;
    for (ssize_t i = 0; i < length; i++) {
        if (!top_is_in_sequence(top, typed[i]))
            top_act_on_key(top, typed[i]);
    }
    return length > 0;
}

/* Returns false if the signal ends the program. */
static bool top_act_on_signal(struct top *top, int signal)
{
    if (signal == SIGTSTP) {
        screen_leave(&top->screen);
        kill(getpid(), SIGSTOP);
        return screen_enter(&top->screen);
    }
    return signal == 0 || signal == SIGWINCH;
}

static void top_poll(struct top *top)
{
    for (size_t server = 0; server < top->settings->options.server_count; server++)
        poller_begin(&top->pollers[server]);
}

/* Waits for an event and processes it. Returns the signal that ends the program, or 0. */
static int top_step(struct top *top, int64_t *poll_ms)
{
    size_t count = top->settings->options.server_count;
    struct pollfd watched[SETTINGS_SERVERS_MAX + 1];
    struct signalfd_siginfo info;
    int64_t until_ms = *poll_ms;
    bool changed = false;
    int signal;

    for (size_t server = 0; server < count; server++) {
        changed = poller_receive(&top->pollers[server]) || changed;
        watched[server] = poller_watched(&top->pollers[server]);
        if (poller_due_ms(&top->pollers[server]) < until_ms)
            until_ms = poller_due_ms(&top->pollers[server]);
    }
    watched[count] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    if (changed)
        top_draw(top);
    signal = loop_wait(&top->loop, watched, count + 1, until_ms, &info);
    if (!top_act_on_signal(top, signal))
        return signal;
    if (watched[count].revents && !top_read_keyboard(top))
        return SIGHUP;
    if (loop_now_ms() >= *poll_ms) {
        *poll_ms = loop_now_ms() + (int64_t)top->settings->interval_ms;
        if (!top->paused)
            top_poll(top);
    }
    if (signal || watched[count].revents)
        top_draw(top);
    return 0;
}

static int top_loop(struct top *top)
{
    int64_t poll_ms = 0;
    int signal = 0;

    if (!screen_enter(&top->screen)) {
        status_report("the terminal: cannot set its modes: %s", strerror(errno));
        return STATUS_SYSTEM;
    }
    top_draw(top);
    while (!top->over && signal == 0 && top->screen.error == 0)
        signal = top_step(top, &poll_ms);
    screen_leave(&top->screen);
    if (signal == 0 && top->screen.error) {
        status_report("standard output: %s", strerror(top->screen.error));
        return STATUS_OUTPUT;
    }
    return signal ? STATUS_SIGNAL + signal : STATUS_DONE;
}

int top_run(const struct settings *settings)
{
    static const int more[] = {SIGTSTP, SIGWINCH, 0};
    size_t count = settings->options.server_count;
    struct top *top;
    int status;

    if (!text_on_terminal() || !isatty(STDIN_FILENO)) {
        status_report("top: needs a terminal; use dflockctl stats, or ls --sort waiters");
        return STATUS_USAGE;
    }
    top = new_memory(1, sizeof(*top));
    top->settings = settings;
    for (size_t server = 0; server < count; server++)
        poller_init(&top->pollers[server], settings, server, true);
    status = loop_open(&top->loop, more);
    if (status < 0) {
        status_report("cannot wait for signals: %s", strerror(-status));
        status = STATUS_SYSTEM;
    } else {
        status = top_loop(top);
        loop_close(&top->loop);
    }
    for (size_t server = 0; server < count; server++)
        poller_free(&top->pollers[server]);
    key_stats_free(&top->list);
    free(top);
    return status;
}
