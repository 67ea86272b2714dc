/*
 * dflockd-bench: parses the command line, runs the threads of the load, and reports the result.
 * The main thread samples costs at both ends of the measured window and shows progress.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/advice.h"
#include "base/time_units.h"
#include "bench/background.h"
#include "bench/cost.h"
#include "bench/process.h"
#include "bench/progress.h"
#include "bench/report.h"
#include "bench/result.h"
#include "bench/runner.h"
#include "bench/settings.h"
#include "dflockd/protocol.h"
#include "dflockd/version.h"
#include "os/clock.h"
#include "os/sockets.h"
#include "os/standard_descriptors.h"
#include "os/standard_output.h"

enum {
    STATUS_LOST = 2,
    STATUS_WRONG = 3,
    STATUS_FAILED = 4,
    DESCRIPTORS_BESIDE = 64, /* rings, standard streams, files */
    LEAD_NS = 1000000        /* time for all threads to receive a phase before it starts */
};

struct bench {
    struct settings settings;
    struct keys keys;
    struct codec codec;
    struct checker checker;
    struct background background;
    struct runner_shared shared;
    struct runner runners[SETTINGS_THREADS_MAX];
    struct result result;
    FILE *hdr;         /* of --hdr, or NULL */
    uint32_t finished; /* runners that have done the phase */
};

/* Of the signal handler. */
static _Atomic uint64_t *bench_stop_ns;
static volatile sig_atomic_t bench_signal;

/* Prints one line to stderr, with control characters replaced. */
static void bench_print_problem(const char *problem)
{
    fputs("dflockd-bench: ", stderr);
    for (; *problem; problem++)
        putc(iscntrl((unsigned char)*problem) ? '?' : *problem, stderr);
    putc('\n', stderr);
}

static _Noreturn void bench_fail(const char *problem)
{
    bench_print_problem(problem);
    exit(EXIT_FAILURE);
}

static void bench_print_hdr_problem(const struct bench *bench)
{
    char problem[SETUP_PROBLEM_MAX];

    snprintf(problem, sizeof(problem), "--hdr: cannot write '%.200s': %s", bench->settings.hdr_file,
             strerror(errno));
    bench_print_problem(problem);
}

/* Reports output errors. Returns the exit status: `status`, or 1 instead of 0. */
static int bench_finish_output(int status)
{
    int error = standard_output_flush();
    char problem[160];

    if (error == 0)
        return status;
    snprintf(problem, sizeof(problem), "standard output: %s", strerror(-error));
    bench_print_problem(problem);
    return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}

/* ---- before the load ---- */

static void bench_check_descriptors(const struct settings *settings)
{
    uint64_t wanted = settings->workers * settings->connections +
                      background_connection_count(settings) + DESCRIPTORS_BESIDE;
    uint64_t limit = sockets_raise_limit();
    char problem[160];

    if (wanted <= limit)
        return;
    snprintf(problem, sizeof(problem),
             "%" PRIu64 " descriptors required, %" PRIu64
             " permitted; raise the limit with ulimit -n",
             wanted, limit);
    bench_fail(problem);
}

/* Tests all servers once, so that one message reports a failure. */
static void bench_check_servers(struct bench *bench)
{
    char problem[SETUP_PROBLEM_MAX];

    for (uint32_t i = 0; i < bench->settings.server_count; i++) {
        struct server *server = &bench->settings.servers[i];
        int choice =
            setup_try(server, &bench->codec, bench->shared.tls, bench->settings.shared, problem);

        if (choice < 0)
            bench_fail(problem);
        server->preferred = (uint32_t)choice;
    }
}

static void bench_load_tls(struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    char problem[TLS_PROBLEM_MAX];

    if (!settings->tls)
        return;
    bench->shared.tls = tls_context_for_clients(settings->tls_ca, settings->tls_insecure, problem);
    if (!bench->shared.tls || (settings->tls_certificate &&
                               !tls_context_show(bench->shared.tls, settings->tls_certificate,
                                                 settings->tls_key, problem)))
        bench_fail(problem);
}

static void bench_prepare(struct bench *bench)
{
    struct settings *settings = &bench->settings;
    uint32_t own_count = (uint32_t)(settings->workers * settings->depth);
    char problem[SETUP_PROBLEM_MAX];
    uint64_t ignored;

    if (settings->seed == UINT64_MAX)
        settings->seed = clock_wall_ns();
    bench_check_descriptors(settings);
    keys_init(&bench->keys, settings);
    if (!codec_init(&bench->codec, settings, &bench->keys) ||
        (settings->check && !checker_init(&bench->checker, settings, &bench->keys, own_count)) ||
        !result_init(&bench->result, settings))
        bench_fail("out of memory");
    bench_load_tls(bench);
    bench_check_servers(bench);
    if (settings->server_pid && !process_cpu_ns(settings->server_pid, &ignored))
        bench_fail("--server-pid: no such process");
    bench->hdr = settings->hdr_file ? fopen(settings->hdr_file, "we") : NULL;
    if (settings->hdr_file && !bench->hdr) {
        bench_print_hdr_problem(bench);
        exit(EXIT_FAILURE);
    }
    if (!background_open(&bench->background, settings, &bench->codec, problem))
        bench_fail(problem);
    if (!settings->quiet && settings_has_separate_readers(settings))
        bench_print_problem("note: --load: readers and writers share no key, so they never wait "
                            "for each other; try --keys shared or uniform:COUNT");
}

/* Waits until a runner is done or `until_ns`. Returns false at that time. */
static bool bench_wait_one(struct bench *bench, uint64_t until_ns)
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

static bool bench_all_done(const struct bench *bench)
{
    return bench->finished == bench->shared.count;
}

static void bench_wait_all(struct bench *bench)
{
    while (!bench_all_done(bench))
        bench_wait_one(bench, INT64_MAX);
}

static void bench_start_runners(struct bench *bench)
{
    struct runner_shared *shared = &bench->shared;

    shared->settings = &bench->settings;
    shared->codec = &bench->codec;
    shared->checker = bench->settings.check ? &bench->checker : NULL;
    shared->count = (uint32_t)bench->settings.threads;
    shared->stop_ns = UINT64_MAX;
    sem_init(&shared->done, 0, 0);
    for (uint32_t i = 0; i < shared->count; i++) {
        if (!runner_start(&bench->runners[i], shared, i))
            bench_fail("cannot start a thread");
    }
    bench_wait_all(bench);
    for (uint32_t i = 0; i < shared->count; i++) {
        if (bench->runners[i].problem[0])
            bench_fail(bench->runners[i].problem);
    }
}

/* ---- the load ---- */

static void bench_handle_signal(int number)
{
    bench_signal = number;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    atomic_store(bench_stop_ns, clock_monotonic_ns());
}

/* Without SA_RESTART, a signal does not prolong a wait. */
static void bench_catch_signals(struct bench *bench)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = bench_handle_signal};
    struct sigaction before;

    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    bench_stop_ns = &bench->shared.stop_ns;
    for (int i = 0; i < 2; i++) {
        /* A shell starts background jobs with SIGINT ignored. */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

static void bench_begin_phase(struct bench *bench, const struct phase *phase)
{
    bench->shared.phase = *phase;
    bench->finished = 0;
    for (uint32_t i = 0; i < bench->shared.count; i++)
        runner_go(&bench->runners[i]);
}

static void bench_warm_up(struct bench *bench)
{
    struct phase phase = {
        .rounds = bench->settings.warmup,
        .begin_ns = clock_monotonic_ns() + LEAD_NS,
        .ramp_ns = bench->settings.ramp_ms * NS_PER_MS,
        .until_ns = UINT64_MAX,
        .window_start_ns = UINT64_MAX,
        .window_end_ns = UINT64_MAX,
    };

    bench_begin_phase(bench, &phase);
    bench_wait_all(bench);
}

static struct phase bench_measured_phase(const struct settings *settings)
{
    struct phase phase = {
        .rounds = settings->rounds,
        .begin_ns = clock_monotonic_ns() + LEAD_NS,
        .ramp_ns = settings->warmup ? 0 : settings->ramp_ms * NS_PER_MS,
        .until_ns = UINT64_MAX,
        .window_end_ns = UINT64_MAX,
    };

    phase.window_start_ns = phase.begin_ns + settings->warmup_ms * NS_PER_MS;
    /* With --rounds, all rounds count from the first on. */
    if (!settings->rounds)
        phase.window_start_ns += phase.ramp_ns;
    if (settings->duration_ms) {
        phase.window_end_ns = phase.window_start_ns + settings->duration_ms * NS_PER_MS;
        phase.until_ns = phase.window_end_ns;
    }
    return phase;
}

/* A look at all idle connections would cost too much if no worker has lost one. */
static void bench_keep_background(struct bench *bench, const struct progress *const *progress,
                                  uint64_t *lost)
{
    uint64_t now_lost = progress_lost(progress, bench->shared.count);

    background_renew(&bench->background, clock_monotonic_ns());
    if (bench->background.incomplete || now_lost > *lost)
        background_repair(&bench->background);
    *lost = now_lost;
}

static void bench_measure(struct bench *bench)
{
    struct phase phase = bench_measured_phase(&bench->settings);
    uint64_t tick_ns = phase.window_start_ns + NS_PER_S;
    const struct progress *progress[SETTINGS_THREADS_MAX];
    struct progress sums = {0};
    uint64_t lost = 0;
    struct cost before;
    struct cost after;

    for (uint32_t i = 0; i < bench->shared.count; i++)
        progress[i] = &bench->runners[i].thread.tally.progress;
    bench_begin_phase(bench, &phase);
    while (!bench_all_done(bench) && bench_wait_one(bench, phase.window_start_ns))
        continue;
    cost_take(&before, bench->settings.server_pid);
    for (uint64_t second = 1; !bench_all_done(bench); second++, tick_ns += NS_PER_S) {
        uint64_t until_ns = tick_ns < phase.window_end_ns ? tick_ns : phase.window_end_ns;

        while (!bench_all_done(bench) && bench_wait_one(bench, until_ns))
            continue;
        bench_keep_background(bench, progress, &lost);
        if (!bench_all_done(bench) && !bench->settings.quiet)
            progress_show(progress, bench->shared.count, second, &sums);
        if (until_ns == phase.window_end_ns)
            break;
    }
    cost_take(&after, bench->settings.server_pid);
    bench->result.own_cpu_share = cost_own_share(&before, &after, bench->shared.count);
    bench->result.server_cpu_ns = cost_server_cpu_ns(&before, &after);
    bench->result.server_memory_bytes = after.server_memory_bytes;
    bench->result.idle_closed = background_count_closed(&bench->background);
    bench_wait_all(bench);
}

/* ---- after the load ---- */

static void bench_collect(struct bench *bench)
{
    const struct phase *phase = &bench->shared.phase;
    struct result *result = &bench->result;
    uint64_t end_ns = 0;

    for (uint32_t i = 0; i < bench->shared.count; i++) {
        struct runner *runner = &bench->runners[i];

        if (runner->end_ns > end_ns)
            end_ns = runner->end_ns;
        tally_add(&result->total, &runner->thread.tally);
        result->unanswered += runner->unanswered;
        result->given_up += runner->thread.given_up;
        result->unauthenticated = result->unauthenticated || runner->thread.unauthenticated;
        if (runner->thread.connect_error)
            result->connect_error = runner->thread.connect_error;
    }
    result->silent_s = (double)(end_ns - phase->begin_ns) / 1e9;
    result->signal = bench_signal;
    if (end_ns > phase->window_end_ns)
        end_ns = phase->window_end_ns;
    if (end_ns > bench->shared.stop_ns)
        end_ns = bench->shared.stop_ns;
    if (end_ns > phase->window_start_ns)
        result->seconds = (double)(end_ns - phase->window_start_ns) / 1e9;
    result_finish(result);
    if (bench->settings.check) {
        if (!result->signal && !result->unauthenticated)
            judge_end(bench->checker.judge);
        result->check = judge_counts(bench->checker.judge);
        result->violations = checker_violations(&bench->checker);
    }
}

static void bench_stop_runners(struct bench *bench)
{
    struct phase last = {.last = true};

    bench_begin_phase(bench, &last);
    for (uint32_t i = 0; i < bench->shared.count; i++) {
        runner_join(&bench->runners[i]);
        tally_free(&bench->runners[i].thread.tally);
    }
    sem_destroy(&bench->shared.done);
}

static void bench_print_violations(const struct bench *bench)
{
    char text[400];

    for (int rule = 0; rule < JUDGE_RULES; rule++) {
        const char *first = judge_first_violation(bench->checker.judge, (enum judge_rule)rule);

        if (!first)
            continue;
        snprintf(text, sizeof(text), "%" PRIu64 " violations of '%s'; first: %s",
                 judge_counts(bench->checker.judge)->violations[rule],
                 judge_rule_name((enum judge_rule)rule), first);
        bench_print_problem(text);
    }
}

/* Returns whether the servers replied to no request, or only with error_auth. */
static bool bench_is_refused(const struct result *result)
{
    if (result->unauthenticated)
        return result->requests->count == result->total.errors[DFLOCKD_ERROR_AUTH];
    return result->requests->count == 0 && result->total.lost + result->unanswered > 0 &&
           result_errors(result) == 0 && result->connect_error == 0 && !result->signal;
}

/* Reports only what is known: the cause may be the protocol, TLS, a limit or a fault. */
static void bench_explain_refusal(const struct result *result)
{
    const struct settings *settings = result->settings;
    char problem[SETUP_PROBLEM_MAX];

    if (result->unauthenticated)
        return;
    if (result->total.lost > 0)
        snprintf(problem, sizeof(problem),
                 "%.200s: closed %" PRIu64 " connections without a reply%s", settings->server_list,
                 result->total.lost,
                 settings->tls || settings->redis ? "" : "; the server may need --tls");
    else
        snprintf(problem, sizeof(problem), "%.200s: did not reply within %.1f s",
                 settings->server_list, result->silent_s);
    bench_print_problem(problem);
}

static int bench_status(const struct result *result)
{
    if (result->violations > 0)
        return STATUS_WRONG;
    if (result->total.lost + result->total.connects_failed + result->unanswered > 0 ||
        result->unauthenticated)
        return STATUS_LOST;
    return result_mostly_failed(result) ? STATUS_FAILED : EXIT_SUCCESS;
}

static void bench_explain_ended_workers(const struct result *result)
{
    const struct settings *settings = result->settings;
    const char *why =
        settings->auth_token ? "the server refused the secret" : "the server requires a secret";
    char text[320];

    if (result->unauthenticated) {
        snprintf(text, sizeof(text), "%.100s: %s%s", settings->server_list, why, advice_for(why));
        bench_print_problem(text);
    }
    if (result->given_up == 0)
        return;
    if (settings->reconnect_ms > 0)
        snprintf(text, sizeof(text), "%" PRIu32 " workers ended: no server for %g s (--reconnect)",
                 result->given_up, (double)settings->reconnect_ms / 1000);
    else
        snprintf(text, sizeof(text),
                 "%" PRIu32 " workers ended with their connections (--reconnect 0)",
                 result->given_up);
    bench_print_problem(text);
}

/* Explains refusals whose remedy is certain, and the signal. */
static void bench_print_hints(const struct result *result)
{
    const uint64_t *errors = result->total.errors;
    char text[160];

    bench_explain_ended_workers(result);
    if (errors[DFLOCKD_ERROR_DRAINING])
        bench_print_problem("a server was stopped during the load: it refused requests with "
                            "error_draining, and closed their connections");
    if (errors[DFLOCKD_ERROR_MAX_LOCKS])
        bench_print_problem("the server refused new keys; raise its --max-locks or use fewer keys");
    if (!result->signal)
        return;
    snprintf(text, sizeof(text), "interrupted by %s; the result covers %.3f s",
             result_signal_name(result), result->seconds);
    bench_print_problem(text);
}

static int bench_report(const struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    const struct result *result = &bench->result;
    int status = bench_status(result);

    if (settings->json)
        report_json(result, stdout);
    else if (settings->csv)
        report_csv(result, stdout);
    else if (!bench_is_refused(result))
        report_text(result, stdout);
    status = bench_finish_output(status);
    if (bench_is_refused(result))
        bench_explain_refusal(result);
    if (settings->check)
        bench_print_violations(bench);
    bench_print_hints(result);
    if (bench->hdr && !report_hdr(result, bench->hdr)) {
        bench_print_hdr_problem(bench);
        status = status == EXIT_SUCCESS ? EXIT_FAILURE : status;
    }
    return status;
}

/* Ends by the signal that ended the load, so that ^C also ends a shell's loop. */
static void bench_end_by_signal(const struct result *result, int status)
{
    if (!result->signal || status == STATUS_WRONG)
        return;
    signal(result->signal, SIG_DFL);
    raise(result->signal);
}

static int bench_run(struct bench *bench)
{
    int status;

    bench_prepare(bench);
    bench_start_runners(bench);
    bench_catch_signals(bench);
    if (bench->settings.warmup)
        bench_warm_up(bench);
    bench_measure(bench);
    bench_collect(bench);
    bench_stop_runners(bench);
    status = bench_report(bench);
    bench_end_by_signal(&bench->result, status);
    background_close(&bench->background);
    if (bench->settings.check)
        checker_free(&bench->checker);
    result_free(&bench->result);
    codec_free(&bench->codec);
    tls_context_drop(bench->shared.tls);
    settings_free(&bench->settings);
    return status;
}

int main(int count, char **arguments)
{
    static struct bench bench;
    char problem[FLAGS_PROBLEM_MAX];

    if (standard_descriptors_open() < 0)
        bench_fail("cannot open /dev/null");
    switch (settings_read(&bench.settings, count, arguments, problem)) {
    case FLAGS_HELP:
        settings_print_help();
        return bench_finish_output(EXIT_SUCCESS);
    case FLAGS_VERSION:
        printf("dflockd-bench %s\n", DFLOCKD_VERSION);
        return bench_finish_output(EXIT_SUCCESS);
    case FLAGS_WRONG:
        bench_fail(problem);
    case FLAGS_RUN:
        break;
    }
    return bench_run(&bench);
}
