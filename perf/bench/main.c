/*
 * dflockd-bench: from the command line to threads under way, and from what they counted to a
 * report. The main thread only watches: it samples clocks at the ends of the window in which the
 * load counts, and shows progress.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/time_units.h"
#include "bench/cost.h"
#include "bench/extras.h"
#include "bench/progress.h"
#include "bench/report.h"
#include "bench/result.h"
#include "bench/runner.h"
#include "bench/settings.h"
#include "dflockd/version.h"
#include "os/clock.h"
#include "os/sockets.h"
#include "os/standard_descriptors.h"
#include "os/standard_output.h"

enum {
    STATUS_LOST = 2,
    STATUS_WRONG = 3,
    DESCRIPTORS_BESIDE = 64, /* rings, standard streams, files */
    LEAD_NS = 1000000        /* for all threads to hear of a phase before it begins */
};

struct bench {
    struct settings settings;
    struct keys keys;
    struct speech speech;
    struct watch watch;
    struct extras extras;
    struct runner_shared shared;
    struct runner runners[SETTINGS_THREADS_MAX];
    struct result result;
    uint32_t finished; /* runners that have done the phase */
};

/* One line on stderr, whatever was given. */
static void say(const char *problem)
{
    fputs("dflockd-bench: ", stderr);
    for (; *problem; problem++)
        putc(iscntrl((unsigned char)*problem) ? '?' : *problem, stderr);
    putc('\n', stderr);
}

static _Noreturn void fail(const char *problem)
{
    say(problem);
    exit(EXIT_FAILURE);
}

/* Reports output that is lost. Returns the exit status: `status`, or 1 instead of 0. */
static int finish_output(int status)
{
    int error = standard_output_flush();
    char problem[160];

    if (error == 0)
        return status;
    snprintf(problem, sizeof(problem), "standard output: %s", strerror(-error));
    say(problem);
    return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}

/* ---- before the load ---- */

static void check_descriptors(const struct settings *settings)
{
    uint64_t wanted = settings->workers * settings->connections + extras_connections(settings) +
                      DESCRIPTORS_BESIDE;
    uint64_t limit = sockets_raise_limit();
    char problem[160];

    if (wanted <= limit)
        return;
    snprintf(problem, sizeof(problem),
             "%" PRIu64 " descriptors are wanted and %" PRIu64
             " permitted; raise the limit (ulimit -n)",
             wanted, limit);
    fail(problem);
}

/* Whether all servers are there, before many threads ask the same. */
static void check_servers(const struct bench *bench)
{
    char problem[TALK_PROBLEM_MAX];

    for (uint32_t i = 0; i < bench->settings.address_count; i++) {
        int descriptor = talk_open(&bench->settings.addresses[i], &bench->speech, problem);

        if (descriptor < 0 ||
            (bench->shared.tls &&
             !talk_try_tls(descriptor, &bench->settings.addresses[i], bench->shared.tls, problem)))
            fail(problem);
        close(descriptor);
    }
}

static void prepare(struct bench *bench)
{
    struct settings *settings = &bench->settings;
    uint32_t own_count = (uint32_t)(settings->workers * settings->depth);
    char problem[TALK_PROBLEM_MAX];
    char tls_problem[TLS_PROBLEM_MAX];

    if (settings->seed == UINT64_MAX)
        settings->seed = clock_wall_ns();
    check_descriptors(settings);
    keys_init(&bench->keys, settings);
    if (!speech_init(&bench->speech, settings, &bench->keys) ||
        (settings->check && !watch_init(&bench->watch, settings, &bench->keys, own_count)) ||
        !result_init(&bench->result, settings))
        fail("out of memory");
    if (settings->tls) {
        bench->shared.tls =
            tls_context_for_clients(settings->tls_ca, settings->tls_insecure, tls_problem);
        if (!bench->shared.tls)
            fail(tls_problem);
    }
    check_servers(bench);
    if (settings->server_pid && !cost_known(settings->server_pid))
        fail("--server-pid: there is no such process");
    if (!extras_open(&bench->extras, settings, &bench->speech, problem))
        fail(problem);
}

/* Waits until a runner is done, or until `until_ns`; false at that time. */
static bool wait_done(struct bench *bench, uint64_t until_ns)
{
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / NS_PER_S),
        .tv_nsec = (long)(until_ns % NS_PER_S),
    };

    for (;;) {
        if (sem_clockwait(&bench->shared.done, CLOCK_MONOTONIC, &until) == 0) {
            bench->finished++;
            return true;
        }
        if (errno == ETIMEDOUT)
            return false;
    }
}

static bool all_done(const struct bench *bench)
{
    return bench->finished == bench->shared.count;
}

static void wait_all(struct bench *bench)
{
    while (!all_done(bench))
        wait_done(bench, INT64_MAX);
}

static void start_runners(struct bench *bench)
{
    struct runner_shared *shared = &bench->shared;

    shared->settings = &bench->settings;
    shared->speech = &bench->speech;
    shared->watch = bench->settings.check ? &bench->watch : NULL;
    shared->count = (uint32_t)bench->settings.threads;
    sem_init(&shared->done, 0, 0);
    for (uint32_t i = 0; i < shared->count; i++) {
        if (!runner_start(&bench->runners[i], shared, i))
            fail("cannot start a thread");
    }
    wait_all(bench);
    for (uint32_t i = 0; i < shared->count; i++) {
        if (bench->runners[i].problem[0])
            fail(bench->runners[i].problem);
    }
}

/* ---- the load ---- */

static void begin_phase(struct bench *bench, const struct phase *phase)
{
    bench->shared.phase = *phase;
    bench->finished = 0;
    for (uint32_t i = 0; i < bench->shared.count; i++)
        runner_go(&bench->runners[i]);
}

static void warm_up(struct bench *bench)
{
    struct phase phase = {
        .rounds = bench->settings.warmup,
        .begin_ns = clock_monotonic_ns() + LEAD_NS,
        .ramp_ns = bench->settings.ramp_s * NS_PER_S,
        .until_ns = UINT64_MAX,
        .window_start_ns = UINT64_MAX,
        .window_end_ns = UINT64_MAX,
    };

    begin_phase(bench, &phase);
    wait_all(bench);
}

static struct phase measured_phase(const struct settings *settings)
{
    struct phase phase = {
        .rounds = settings->rounds,
        .begin_ns = clock_monotonic_ns() + LEAD_NS,
        .ramp_ns = settings->warmup ? 0 : settings->ramp_s * NS_PER_S,
        .until_ns = UINT64_MAX,
        .window_end_ns = UINT64_MAX,
    };

    phase.window_start_ns = phase.begin_ns + settings->warmup_s * NS_PER_S;
    /* Rounds that are counted out are counted from the first one on. */
    if (!settings->rounds)
        phase.window_start_ns += phase.ramp_ns;
    if (settings->duration_s) {
        phase.window_end_ns = phase.window_start_ns + settings->duration_s * NS_PER_S;
        phase.until_ns = phase.window_end_ns;
    }
    return phase;
}

static void measure(struct bench *bench)
{
    struct phase phase = measured_phase(&bench->settings);
    uint64_t tick_ns = phase.window_start_ns + NS_PER_S;
    const struct progress *progress[SETTINGS_THREADS_MAX];
    struct progress_sums sums = {0};
    struct cost before;
    struct cost after;

    for (uint32_t i = 0; i < bench->shared.count; i++)
        progress[i] = &bench->runners[i].crew.tally.progress;
    begin_phase(bench, &phase);
    while (!all_done(bench) && wait_done(bench, phase.window_start_ns))
        continue;
    cost_take(&before, bench->settings.server_pid);
    for (uint64_t second = 1; !all_done(bench); second++, tick_ns += NS_PER_S) {
        uint64_t until_ns = tick_ns < phase.window_end_ns ? tick_ns : phase.window_end_ns;

        while (!all_done(bench) && wait_done(bench, until_ns))
            continue;
        extras_tend(&bench->extras, clock_monotonic_ns());
        if (!all_done(bench) && !bench->settings.quiet)
            progress_show(progress, bench->shared.count, second, &sums);
        if (until_ns == phase.window_end_ns)
            break;
    }
    cost_take(&after, bench->settings.server_pid);
    bench->result.own_cpu_share = cost_own_share(&before, &after, bench->shared.count);
    bench->result.server_cpu_ns = cost_server_cpu_ns(&before, &after);
    bench->result.server_memory_bytes = after.server_memory_bytes;
    bench->result.idle_closed = extras_idle_closed(&bench->extras);
    wait_all(bench);
}

/* ---- after the load ---- */

static void collect(struct bench *bench)
{
    const struct phase *phase = &bench->shared.phase;
    struct result *result = &bench->result;
    uint64_t end_ns = 0;

    for (uint32_t i = 0; i < bench->shared.count; i++) {
        struct runner *runner = &bench->runners[i];

        if (runner->end_ns > end_ns)
            end_ns = runner->end_ns;
        tally_add(&result->total, &runner->crew.tally);
        result->total.lost += runner->unanswered;
        if (runner->crew.connect_error)
            result->connect_error = runner->crew.connect_error;
    }
    if (end_ns > phase->window_end_ns)
        end_ns = phase->window_end_ns;
    if (end_ns > phase->window_start_ns)
        result->seconds = (double)(end_ns - phase->window_start_ns) / 1e9;
    result_finish(result);
    if (bench->settings.check) {
        const struct judge_counts *counts = judge_counts(bench->watch.judge);

        judge_end(bench->watch.judge);
        result->checked = true;
        result->grants = counts->grants;
        result->pairs = counts->pairs;
        result->violations = watch_violations(&bench->watch);
    }
}

static void stop_runners(struct bench *bench)
{
    struct phase last = {.last = true};

    begin_phase(bench, &last);
    for (uint32_t i = 0; i < bench->shared.count; i++) {
        runner_join(&bench->runners[i]);
        tally_free(&bench->runners[i].crew.tally);
    }
    sem_destroy(&bench->shared.done);
}

static void show_violations(const struct bench *bench)
{
    char text[400];

    for (int rule = 0; rule < JUDGE_RULES; rule++) {
        const char *first = judge_first(bench->watch.judge, (enum judge_rule)rule);

        if (!first)
            continue;
        snprintf(text, sizeof(text), "%" PRIu64 " times against '%s', first: %s",
                 judge_counts(bench->watch.judge)->wrong[rule],
                 judge_rule_name((enum judge_rule)rule), first);
        say(text);
    }
}

static int report(const struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    const struct result *result = &bench->result;
    char problem[TALK_PROBLEM_MAX];
    int status = result->violations > 0   ? STATUS_WRONG
                 : result->total.lost > 0 ? STATUS_LOST
                                          : EXIT_SUCCESS;

    if (settings->json)
        report_json(result, stdout);
    else if (settings->csv)
        report_csv(result, stdout);
    else
        report_text(result, stdout);
    status = finish_output(status);
    if (settings->check)
        show_violations(bench);
    if (settings->hdr_file && !report_hdr(result, settings->hdr_file)) {
        snprintf(problem, sizeof(problem), "cannot write '%.200s': %s", settings->hdr_file,
                 strerror(errno));
        fail(problem);
    }
    return status;
}

static int run(struct bench *bench)
{
    int status;

    prepare(bench);
    start_runners(bench);
    if (bench->settings.warmup)
        warm_up(bench);
    measure(bench);
    collect(bench);
    stop_runners(bench);
    status = report(bench);
    extras_close(&bench->extras);
    if (bench->settings.check)
        watch_free(&bench->watch);
    result_free(&bench->result);
    speech_free(&bench->speech);
    tls_context_drop(bench->shared.tls);
    settings_free(&bench->settings);
    return status;
}

int main(int count, char **arguments)
{
    static struct bench bench;
    char problem[FLAGS_PROBLEM_MAX];

    if (standard_descriptors_open() < 0)
        fail("/dev/null: cannot be opened");
    switch (settings_read(&bench.settings, count, arguments, problem)) {
    case FLAGS_HELP:
        settings_print_help();
        return finish_output(EXIT_SUCCESS);
    case FLAGS_VERSION:
        printf("dflockd-bench %s\n", DFLOCKD_VERSION);
        return finish_output(EXIT_SUCCESS);
    case FLAGS_WRONG:
        fail(problem);
    case FLAGS_RUN:
        break;
    }
    return run(&bench);
}
