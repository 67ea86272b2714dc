/*
 * dflockd: from the command line to running workers, and out again.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/time_units.h"
#include "dflockd/version.h"
#include "os/clock.h"
#include "os/notify.h"
#include "os/ring.h"
#include "os/sockets.h"
#include "os/standard_descriptors.h"
#include "os/standard_output.h"
#include "os/tls.h"
#include "server/connection_id.h"
#include "server/log.h"
#include "server/log_events.h"
#include "server/options.h"
#include "server/worker.h"

enum {
    BUFFERED_SHARE = 4 /* of the machine's memory, the part that buffers may take */
};

/*
 * For jemalloc: memory that is given back goes on to the kernel at once, and not after a decay that
 * an idle server never wakes for. Nothing is given back on the path of a request.
 */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:0,muzzy_decay_ms:0";

/* A thread, and the worker that it runs. */
struct thread {
    struct server *server;
    pthread_t id;
    struct worker *worker; /* NULL: its ring could not be opened */
    int error;             /* of worker_open */
    uint32_t number;       /* of the worker */
};

struct server {
    struct options options;
    struct worker_shared shared;
    struct fence_store fence_store;
    struct tls_place tls; /* where there is TLS */
    struct secret secret; /* where clients need one */
    struct listeners listeners;
    struct thread threads[WORKERS_MAX]; /* the first one is main's own */
    uint32_t thread_count;
    pthread_barrier_t opened; /* of all threads */
    pthread_barrier_t ready;  /* of those that have a worker */
};

/* One line on stderr, whatever was given, after those of the log. */
static int fail(const char *problem)
{
    char line[1024];

    snprintf(line, sizeof(line), "dflockd: %s", problem);
    for (char *at = line; *at; at++) {
        if (iscntrl((unsigned char)*at))
            *at = '?';
    }
    log_plain(line);
    log_stop();
    return EXIT_FAILURE;
}

static int fail_by_flag(const char *flag, const char *problem)
{
    char text[1024];

    snprintf(text, sizeof(text), "%s: %s", flag, problem);
    return fail(text);
}

/* The end of a run that only prints something. Returns the exit status. */
static int finish_output(void)
{
    int error = standard_output_flush();

    return error ? fail_by_flag("standard output", strerror(-error)) : EXIT_SUCCESS;
}

static int fail_by_ring(int error)
{
    char text[512];

    snprintf(text, sizeof(text), "cannot start: %s", ring_explain(error));
    return fail(text);
}

static void *allocate(void *context, size_t size, size_t alignment)
{
    (void)context;
    if (alignment <= _Alignof(max_align_t))
        return malloc(size);
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void release(void *context, void *block, size_t size)
{
    (void)context;
    (void)size;
    free(block);
}

/* How much may be buffered: generous, and yet no way to use up the machine. */
static size_t buffered_max(const struct options *options)
{
    if (options->max_buffered_mib)
        return (size_t)options->max_buffered_mib << 20;
    return (size_t)sysconf(_SC_PHYS_PAGES) / BUFFERED_SHARE * (size_t)sysconf(_SC_PAGESIZE);
}

static uint32_t usable_cpus(void)
{
    cpu_set_t cpus;
    uint32_t count = 1;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        count = (uint32_t)CPU_COUNT(&cpus);
    return count < WORKERS_MAX ? count : WORKERS_MAX;
}

/*
 * Signals are read by the first worker's ring, and come to nobody otherwise. A write that fails is
 * told by its result.
 */
static int catch_signals(void)
{
    sigset_t caught;

    sigemptyset(&caught);
    sigaddset(&caught, SIGTERM);
    sigaddset(&caught, SIGINT);
    sigaddset(&caught, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &caught, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* False where `problem` says what is wrong with the files. */
static bool start_tls(struct server *server, char problem[TLS_PROBLEM_MAX])
{
    struct tls_files files = {
        .certificate = server->options.tls_certificate,
        .key = server->options.tls_key,
        .client_ca = server->options.tls_client_ca,
    };
    struct tls_context *context;

    if (!files.certificate)
        return true;
    context = tls_context_load(&files, problem);
    if (!context)
        return false;
    tls_place_init(&server->tls, context);
    server->shared.tls = &server->tls;
    return true;
}

static void start_secret(struct server *server)
{
    if (!server->options.auth_token)
        return;
    secret_init(&server->secret, server->options.auth_token);
    server->options.auth_token = NULL;
    server->shared.secret = &server->secret;
}

/* The first fence, and what keeps those that follow, where the options ask for it. */
static bool open_fences(struct server *server, uint64_t *first)
{
    const char *path = server->options.fence_state_file;
    char problem[FENCE_FILE_PROBLEM_MAX];

    *first = clock_wall_ns();
    if (!path)
        return true;
    if (!fence_store_open(&server->fence_store, path, *first, first, problem)) {
        fail_by_flag("--fence-state-file", problem);
        return false;
    }
    server->shared.fence_store = &server->fence_store;
    return true;
}

static bool create_stripes(struct server *server, uint64_t fence_first)
{
    const struct options *options = &server->options;
    struct stripes_options stripes = {
        .workers = server->shared.count,
        .memory = server->shared.memory,
        .policy =
            {
                .waiters_max = options->max_waiters,
                .gc_max_idle_ns = options->gc_max_idle_s * NS_PER_S,
                .gc_interval_ns = options->gc_interval_s * NS_PER_S,
                .release_on_disconnect = options->auto_release_on_disconnect,
            },
        .states_max = options->max_locks,
        .fence_first = fence_first,
        .fence_ceiling = server->fence_store.ceiling,
        .lease_expired = log_event_lease_expired,
    };

    server->shared.stripes = stripes_create(&stripes);
    if (server->shared.stripes && server->shared.fence_store)
        fence_store_start(&server->fence_store, stripes_fences(server->shared.stripes));
    return server->shared.stripes != NULL;
}

static bool create_ip_limits(struct server *server)
{
    uint64_t max = server->options.max_connections_per_ip;

    if (max > 0)
        server->shared.ip_limits = ip_limits_create(&server->shared.memory, max);
    return max == 0 || server->shared.ip_limits;
}

/* From here on a thread's worker is set up: it runs until the server is drained. */
static void thread_run(struct thread *thread)
{
    struct server *server = thread->server;

    worker_set_up(thread->worker, &server->shared, thread->number);
    /* No worker runs before all are set up, since they reach into each other's rings. */
    pthread_barrier_wait(&server->ready);
    if (thread->number == 0) {
        listeners_log(&server->listeners);
        if (notify_service_manager("READY=1") < 0)
            log_line(LOG_WARN, "cannot tell the service manager that we are ready", NULL);
    }
    worker_run(thread->worker);
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;

    thread->error = worker_open(&thread->worker);
    pthread_barrier_wait(&thread->server->opened); /* main counts the workers */
    pthread_barrier_wait(&thread->server->opened); /* main has made what they share */
    if (thread->worker)
        thread_run(thread);
    return NULL;
}

/* Main's own ring is the first, so that it is the last to lack memory. */
static bool start_threads(struct server *server, char problem[OPTIONS_PROBLEM_MAX])
{
    server->threads[0].server = server;
    server->threads[0].error = worker_open(&server->threads[0].worker);
    if (server->threads[0].error < 0) {
        snprintf(problem, OPTIONS_PROBLEM_MAX, "cannot start: %s",
                 ring_explain(server->threads[0].error));
        return false;
    }
    pthread_barrier_init(&server->opened, NULL, server->thread_count);
    for (uint32_t i = 1; i < server->thread_count; i++) {
        struct thread *thread = &server->threads[i];
        int error;

        thread->server = server;
        error = pthread_create(&thread->id, NULL, thread_main, thread);
        if (error) {
            snprintf(problem, OPTIONS_PROBLEM_MAX, "cannot start a thread: %s", strerror(error));
            return false;
        }
    }
    pthread_barrier_wait(&server->opened);
    return true;
}

static void warn_of_fewer_workers(const struct server *server, int error)
{
    struct rlimit limit = {0};
    char workers[16];
    char cpus[16];
    char bytes[24];

    getrlimit(RLIMIT_MEMLOCK, &limit);
    snprintf(workers, sizeof(workers), "%u", server->shared.count);
    snprintf(cpus, sizeof(cpus), "%u", server->thread_count);
    snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)limit.rlim_cur);
    log_line(LOG_WARN, "fewer workers than CPUs", "workers", workers, "cpus", cpus, "error",
             ring_explain(error), error == -ENOMEM ? "limit" : NULL, bytes, NULL);
}

/*
 * Numbers the workers that have a ring. With --threads 0 the server does with fewer than CPUs:
 * since Linux 6.14 rings count to RLIMIT_MEMLOCK, and it is not known in advance how many fit.
 */
static bool count_workers(struct server *server, char problem[OPTIONS_PROBLEM_MAX])
{
    struct worker_shared *shared = &server->shared;
    int error = 0;

    for (uint32_t i = 0; i < server->thread_count; i++) {
        struct thread *thread = &server->threads[i];

        if (thread->worker) {
            thread->number = shared->count;
            shared->workers[shared->count++] = thread->worker;
        } else {
            error = thread->error;
        }
    }
    if (error < 0 && server->options.threads) {
        snprintf(problem, OPTIONS_PROBLEM_MAX, "cannot start: %s", ring_explain(error));
        return false;
    }
    if (error < 0)
        warn_of_fewer_workers(server, error);
    pthread_barrier_init(&server->ready, NULL, shared->count);
    return true;
}

static int run(struct server *server)
{
    struct worker_shared *shared = &server->shared;

    pthread_barrier_wait(&server->opened);
    thread_run(&server->threads[0]);
    for (uint32_t i = 1; i < server->thread_count; i++)
        pthread_join(server->threads[i].id, NULL);
    for (uint32_t i = 0; i < shared->count; i++)
        worker_destroy(shared->workers[i]);
    stripes_destroy(shared->stripes);
    ip_limits_destroy(shared->ip_limits);
    pthread_barrier_destroy(&server->opened);
    pthread_barrier_destroy(&server->ready);
    close(shared->signals);
    listeners_leave(&server->listeners);
    if (shared->tls)
        tls_place_free(shared->tls);
    if (shared->secret)
        secret_free(shared->secret);
    options_free(&server->options);
    log_line(LOG_INFO, "stopped", NULL);
    log_stop();
    return EXIT_SUCCESS;
}

/*
 * Who may look at processes, or find a core dump, does not find the secret, nor the key of TLS: it
 * is wiped from what /proc shows, and where there is one, memory is neither dumped nor shown to
 * processes of the same user. Without a secret a crash may be looked into.
 */
static void hide_secrets(struct options *options, int count, char *const *arguments)
{
    options_wipe_secrets(options, count, arguments);
    if (options->auth_token || options->tls_key)
        prctl(PR_SET_DUMPABLE, 0);
}

static_assert((int)OPTIONS_PROBLEM_MAX >= (int)FENCE_FILE_PROBLEM_MAX, "either problem has room");

/*
 * --check: what a start checks, without its effects, since a server may be running with the same
 * files. The options, and with them the secret, and the files of TLS are read before.
 */
static int server_check(const struct server *server)
{
    const struct options *options = &server->options;
    char problem[OPTIONS_PROBLEM_MAX];
    int error;

    if (options->fence_state_file && !fence_store_check(options->fence_state_file, problem))
        return fail_by_flag("--fence-state-file", problem);
    if (!listeners_check(options, problem))
        return fail(problem);
    error = worker_probe();
    if (error)
        return fail_by_ring(error);
    puts("dflockd: the configuration is valid");
    return finish_output();
}

/*
 * The start, step by step. A step that fails says why in one line, and the process ends. What needs
 * the number of workers comes after their rings, which decide on it.
 */
static int start(struct server *server)
{
    struct worker_shared *shared = &server->shared;
    char tls_problem[TLS_PROBLEM_MAX];
    char problem[OPTIONS_PROBLEM_MAX];
    uint64_t fence_first;
    int error;

    if (sodium_init() < 0)
        return fail("libsodium can't be used on this machine");
    shared->options = &server->options;
    shared->listeners = &server->listeners;
    shared->memory = (struct memory){.allocate = allocate, .release = release};
    budget_init(&shared->buffers, &shared->memory, buffered_max(&server->options));
    server->thread_count =
        server->options.threads ? (uint32_t)server->options.threads : usable_cpus();
    if (!start_tls(server, tls_problem))
        return fail(tls_problem);
    if (server->options.check)
        return server_check(server);
    start_secret(server);
    sockets_raise_limit();
    error = log_start();
    if (error)
        return fail_by_flag("cannot start a thread", strerror(-error));
    shared->signals = catch_signals();
    if (shared->signals < 0)
        return fail(strerror(errno));
    if (!start_threads(server, problem) || !count_workers(server, problem))
        return fail(problem);
    switch (listeners_open(&server->listeners, &server->options, shared->count, shared->signals,
                           problem)) {
    case LISTENERS_FAILED:
        return fail(problem);
    case LISTENERS_STOPPED:
        log_line(LOG_INFO, "stopped", NULL);
        log_stop();
        return EXIT_SUCCESS;
    case LISTENERS_OPEN:
        break;
    }
    /* Behind the listeners: a server that we wait for there keeps the file locked. */
    if (!open_fences(server, &fence_first)) {
        listeners_leave(&server->listeners);
        return EXIT_FAILURE;
    }
    if (!create_stripes(server, fence_first) || !create_ip_limits(server)) {
        listeners_leave(&server->listeners);
        return fail("out of memory");
    }
    return run(server);
}

int main(int count, char **arguments)
{
    static struct server server;
    char problem[OPTIONS_PROBLEM_MAX];
    int error = standard_descriptors_open();

    if (error)
        return fail_by_flag("/dev/null", strerror(-error));
    switch (options_read(&server.options, count, arguments, problem)) {
    case OPTIONS_HELP:
        options_print_help();
        return finish_output();
    case OPTIONS_VERSION:
        printf("dflockd %s\n", DFLOCKD_VERSION);
        return finish_output();
    case OPTIONS_WRONG:
        return fail(problem);
    case OPTIONS_RUN:
        break;
    }
    hide_secrets(&server.options, count, arguments);
    log_set_debug(server.options.debug);
    return start(&server);
}
