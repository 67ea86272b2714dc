#include "dflockctl/top.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dflockctl/census.h"
#include "dflockctl/loop.h"
#include "dflockctl/screen.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"
#include "dflockctl/watch.h"

enum {
    NAME_LEAST = 12,   /* columns of a name, however narrow the terminal is */
    SERVERS_SHARE = 3, /* of the lines, the part that servers may take */
    FIGURE_BYTES = 32
};

static const char *const orders[] = {"waiters", "holders", "lease", "key"};

struct top {
    const struct settings *settings;
    struct loop loop;
    struct screen screen;
    struct watch watches[SETTINGS_SERVERS_MAX];
    struct census census;
    struct census_sums sums[SETTINGS_SERVERS_MAX];
    size_t order; /* of `orders` */
    bool reverse;
    bool paused;
    bool over;
};

/* ---- the picture ---- */

/* A shown text in just so many columns, cut with a tilde or filled with blanks; to be freed. */
static char *fitted(const char *shown, size_t columns)
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

/* How wide a name may be beside figures that take so many columns. */
static size_t name_width(const struct top *top, size_t figures)
{
    return top->screen.columns > figures + NAME_LEAST ? top->screen.columns - figures : NAME_LEAST;
}

/* A problem that begins with the server's name, which stands beside it. */
static const char *without_name(const char *problem, const char *name)
{
    size_t length = strlen(name);

    if (strncmp(problem, name, length) == 0 && strncmp(problem + length, ": ", 2) == 0)
        return problem + length + 2;
    return problem;
}

static void draw_server(struct top *top, size_t server, size_t width)
{
    const struct watch *watch = &top->watches[server];
    const struct census_sums *sums = &top->sums[server];
    char *name = fitted(top->settings->servers[server], width);
    char grants[FIGURE_BYTES] = "-";

    if (watch->grants_per_s >= 0)
        snprintf(grants, sizeof(grants), "%.0f", watch->grants_per_s);
    if (watch->problem[0])
        screen_line(&top->screen, SCREEN_BOLD, "%s %s", name,
                    without_name(watch->problem, top->settings->servers[server]));
    else if (!watch->stats)
        screen_line(&top->screen, SCREEN_PLAIN, "%s connecting", name);
    else
        screen_line(&top->screen, SCREEN_PLAIN,
                    "%s %11" PRIu64 " %10s %8" PRIu64 " %8" PRIu64 " %8" PRIu64, name,
                    sums->connections, grants, sums->holders, sums->waiters, sums->idle);
    free(name);
}

static void draw_servers(struct top *top)
{
    size_t count = top->settings->options.server_count;
    size_t most = top->screen.rows / SERVERS_SHARE;
    size_t shown = count <= most ? count : most > 1 ? most - 1 : 1;
    size_t width = name_width(top, 12 + 11 + 3 * 9);
    char *title = fitted("SERVER", width);

    screen_line(&top->screen, SCREEN_REVERSE, "%s %11s %10s %8s %8s %8s", title, "CONNECTIONS",
                "GRANTS/S", "HOLDERS", "WAITERS", "IDLE");
    free(title);
    for (size_t server = 0; server < shown; server++)
        draw_server(top, server, width);
    if (shown < count)
        screen_line(&top->screen, SCREEN_PLAIN, "and %zu more", count - shown);
}

static void draw_key(struct top *top, const struct census_entry *entry, size_t width)
{
    char *key = text_shown(entry->key, entry->key_length, true);
    char *name = fitted(key, width);
    char holders[2 * FIGURE_BYTES];
    char lease[FIGURE_BYTES] = "-";

    if (entry->kind == CENSUS_SEMAPHORE)
        snprintf(holders, sizeof(holders), "%" PRIu64 "/%" PRIu64, entry->holders, entry->limit);
    else
        snprintf(holders, sizeof(holders), "%" PRIu64, entry->holders);
    if (entry->lease_s >= 0)
        snprintf(lease, sizeof(lease), "%.0f s", entry->lease_s);
    screen_line(&top->screen, SCREEN_PLAIN, "%s %-9s %11s %8" PRIu64 " %10s", name,
                census_kind_name(entry->kind), holders, entry->waiters, lease);
    free(name);
    free(key);
}

/* Returns how many there are; those that fit are shown. */
static size_t draw_keys(struct top *top)
{
    size_t width = name_width(top, 10 + 12 + 9 + 11);
    char *title = fitted("KEY", width);
    size_t count = 0;

    screen_line(&top->screen, SCREEN_REVERSE, "%s %-9s %11s %8s %10s", title, "KIND", "HOLDERS",
                "WAITERS", "LEASE");
    free(title);
    for (size_t i = 0; i < top->census.count; i++) {
        if (top->census.entries[i].idle)
            continue;
        if (screen_left(&top->screen) > 1)
            draw_key(top, &top->census.entries[i], width);
        count++;
    }
    return count;
}

/* What the newest statistics tell; what isn't understood counts as none. */
static void count_all(struct top *top)
{
    top->census.count = 0;
    for (size_t server = 0; server < top->settings->options.server_count; server++) {
        const json_t *stats = top->watches[server].stats;

        if (!stats || !census_add(&top->census, server, stats, &top->sums[server]))
            memset(&top->sums[server], 0, sizeof(top->sums[server]));
    }
    census_sort(&top->census, orders[top->order], top->reverse);
}

static void draw(struct top *top)
{
    struct screen *screen = &top->screen;
    time_t now = time(NULL);
    struct tm local;
    char clock[FIGURE_BYTES] = "";
    size_t count;

    if (localtime_r(&now, &local))
        strftime(clock, sizeof(clock), "%H:%M:%S", &local);
    count_all(top);
    screen_begin(screen);
    screen_line(screen, SCREEN_BOLD, "dflockctl top  %s  every %" PRIu64 " s%s", clock,
                top->settings->interval_s, top->paused ? "  stopped: space goes on" : "");
    screen_line(screen, SCREEN_PLAIN, "%s", "");
    draw_servers(top);
    screen_line(screen, SCREEN_PLAIN, "%s", "");
    count = draw_keys(top);
    screen_skip_to_end(screen);
    screen_line(screen, SCREEN_PLAIN,
                "q ends  s order: %s%s  r turns it round  space stops  %zu %s", orders[top->order],
                top->reverse ? " (reverse)" : "", count, count == 1 ? "key" : "keys");
    screen_show(screen);
}

/* ---- what happens ---- */

/* What was typed; false where nobody can type any more. */
static bool take_typed(struct top *top)
{
    char typed[64];
    ssize_t length = read(STDIN_FILENO, typed, sizeof(typed));

    for (ssize_t i = 0; i < length; i++) {
        switch (typed[i]) {
        case 'q':
        case 'Q':
            top->over = true;
            break;
        case 's':
            top->order = (top->order + 1) % (sizeof(orders) / sizeof(orders[0]));
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
    return length > 0;
}

/* False where the signal ends us. */
static bool heed(struct top *top, int signal)
{
    if (signal == SIGTSTP) {
        screen_leave(&top->screen);
        kill(getpid(), SIGSTOP);
        return screen_enter(&top->screen);
    }
    return signal == 0 || signal == SIGWINCH;
}

static void look(struct top *top)
{
    for (size_t server = 0; server < top->settings->options.server_count; server++)
        watch_look(&top->watches[server]);
}

/* One turn. Returns the signal that ends us, or 0. */
static int turn(struct top *top, int64_t *look_ms)
{
    size_t count = top->settings->options.server_count;
    struct pollfd watched[SETTINGS_SERVERS_MAX + 1];
    struct signalfd_siginfo info;
    bool news = false;
    int signal;

    for (size_t server = 0; server < count; server++) {
        news = watch_take(&top->watches[server]) || news;
        watched[server] = watch_watched(&top->watches[server]);
    }
    watched[count] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    if (news)
        draw(top);
    signal = loop_wait(&top->loop, watched, count + 1, *look_ms, &info);
    if (!heed(top, signal))
        return signal;
    if (watched[count].revents && !take_typed(top))
        return SIGHUP;
    if (loop_now_ms() >= *look_ms) {
        *look_ms = loop_now_ms() + (int64_t)top->settings->interval_s * 1000;
        if (!top->paused)
            look(top);
    }
    if (signal || watched[count].revents)
        draw(top);
    return 0;
}

static int run(struct top *top)
{
    int64_t look_ms = 0;
    int signal = 0;

    if (!screen_enter(&top->screen)) {
        say("the terminal can't be used");
        return STATUS_SYSTEM;
    }
    draw(top);
    while (!top->over && signal == 0 && top->screen.error == 0)
        signal = turn(top, &look_ms);
    screen_leave(&top->screen);
    if (signal == 0 && top->screen.error) {
        say("standard output: %s", strerror(top->screen.error));
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
        say("top needs a terminal; dflockctl stats and ls --sort waiters tell the same once");
        return STATUS_USAGE;
    }
    top = new_memory(1, sizeof(*top));
    top->settings = settings;
    for (size_t server = 0; server < count; server++)
        watch_init(&top->watches[server], settings, server);
    status = loop_open(&top->loop, more);
    if (status < 0) {
        say("cannot wait for signals: %s", strerror(-status));
        status = STATUS_SYSTEM;
    } else {
        status = run(top);
        loop_close(&top->loop);
    }
    for (size_t server = 0; server < count; server++)
        watch_free(&top->watches[server]);
    census_free(&top->census);
    free(top);
    return status;
}
