/*
 * The program dflockd: reads the options, starts the workers, and cleans up when they end.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
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
#include "os/machine.h"
#include "os/notify.h"
#include "os/ring.h"
#include "os/sockets.h"
#include "os/standard_descriptors.h"
#include "os/standard_output.h"
#include "os/system_memory.h"
#include "os/tls.h"
#include "server/connection_id.h"
#include "server/log.h"
#include "server/log_events.h"
#include "server/options.h"
#include "server/worker.h"

enum {
    BUFFERED_SHARE = 4, /* buffers may use this fraction of the memory: a quarter */
    CLAIMS_SHARE = 4,
    CLAIMS_SHARE_OF_CONNECTION = 4, /* of the claims */
    CLAIM_BYTES = 160,              /* of memory that a claim of `e` takes in all */
    SERVER_LIMITS = 5               /* that the log reports */
};

/*
 * jemalloc returns freed memory to the kernel at once. By default it does so after a decay time,
 * but an idle server does not wake for it. Requests free no memory.
 *
 * All threads share one arena: an arena keeps the address space of freed memory, and under
 * RLIMIT_AS other arenas would lack it. Only growing pools and TLS allocate, mostly from a thread's
 * cache.
 */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:0,muzzy_decay_ms:0,narenas:1";

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
    struct credentials credentials;
    struct listeners listeners;
    struct thread threads[WORKERS_MAX]; /* the first one is the main thread */
    uint32_t thread_count;
    uint64_t memory_bytes;    /* that the process may use */
    pthread_barrier_t opened; /* of all threads */
    pthread_barrier_t ready;  /* of those that have a worker */
};

/* Prints one line on stderr, after the lines of the log. Returns the exit status. */
static int server_fail(const char *problem)
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

static int server_fail_at(const char *flag, const char *problem)
{
    char text[1024];

    snprintf(text, sizeof(text), "%s: %s", flag, problem);
    return server_fail(text);
}

/* Ends a run that only prints something. Returns the exit status. */
static int server_finish_output(void)
{
    int error = standard_output_flush();

    return error ? server_fail_at("standard output", strerror(-error)) : EXIT_SUCCESS;
}

static int server_fail_at_ring(int error)
{
    char text[512];

    snprintf(text, sizeof(text), "cannot start: %s", ring_explain(error));
    return server_fail(text);
}

/* Sets the limits that the options leave to the server, by the memory and the CPUs it may use. */
static void server_set_limits(struct server *server)
{
    struct options *options = &server->options;
    struct machine_limits limits = machine_limits();
    uint64_t claims = limits.memory_bytes / CLAIMS_SHARE / CLAIM_BYTES;
    uint64_t buffers = limits.memory_bytes / BUFFERED_SHARE;

    if (options->max_buffered_mib > 0)
        buffers = options->max_buffered_mib << 20;
    budget_init(&server->shared.buffers, &server->shared.memory, (size_t)buffers);
    if (options->max_claims == 0)
        options->max_claims = claims < OPTIONS_COUNT_MAX ? claims + 1 : OPTIONS_COUNT_MAX;
    if (options->max_claims_per_connection == 0)
        options->max_claims_per_connection =
            (options->max_claims + CLAIMS_SHARE_OF_CONNECTION - 1) / CLAIMS_SHARE_OF_CONNECTION;
    if (options->max_buffered_mib == 0)
        options->max_buffered_mib = buffers >> 20;
    server->memory_bytes = limits.memory_bytes;
    server->thread_count = limits.cpus < WORKERS_MAX ? limits.cpus : WORKERS_MAX;
    if (options->threads > 0)
        server->thread_count = (uint32_t)options->threads;
}

struct limit {
    const char *name;
    char value[24];
};

/* Lists the limits in effect. `threads` is the number of workers. */
static void server_list_limits(const struct server *server, uint32_t threads,
                               struct limit list[SERVER_LIMITS])
{
    const struct options *options = &server->options;
    const struct {
        const char *name;
        uint64_t value;
    } limits[SERVER_LIMITS] = {
        {"threads", threads},
        {"max_claims", options->max_claims},
        {"max_claims_per_connection", options->max_claims_per_connection},
        {"max_buffered_mib", options->max_buffered_mib},
        {"memory_mib", server->memory_bytes >> 20},
    };

    for (int i = 0; i < SERVER_LIMITS; i++) {
        list[i].name = limits[i].name;
        snprintf(list[i].value, sizeof(list[i].value), "%llu", (unsigned long long)limits[i].value);
    }
}

static void server_log_limits(const struct server *server)
{
    struct limit list[SERVER_LIMITS];

    server_list_limits(server, server->shared.count, list);
    log_line(LOG_INFO, "limits", list[0].name, list[0].value, list[1].name, list[1].value,
             list[2].name, list[2].value, list[3].name, list[3].value, list[4].name, list[4].value,
             NULL);
}

/* The variables of a container or a unit may be meant for others, so these only warn. */
static void server_warn_of_unknown_variables(void)
{
    for (char **entry = environ; *entry; entry++) {
        char suggestion[FLAGS_SOURCE_MAX];
        char name[256];

        if (!options_is_unknown_variable(*entry))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*entry, "="), *entry);
        log_line(LOG_WARN, "unknown variable ignored", "name", name,
                 options_suggest_variable(*entry, suggestion) ? "similar" : NULL, suggestion, NULL);
    }
}

/*
 * Only worker 0 reads SIGTERM, SIGINT and SIGHUP, through its ring. SIGPIPE and SIGXFSZ are
 * ignored, because the failed write reports the error. Returns a signalfd(2), or -1 and sets errno.
 */
static int server_catch_signals(void)
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

/* Sets `*first` to the first fence, and opens the fence state file if the options name one. */
static bool server_open_fences(struct server *server, uint64_t *first)
{
    const char *path = server->options.fence_state_file;
    char problem[FENCE_FILE_PROBLEM_MAX];

    *first = clock_wall_ns();
    if (!path)
        return true;
    if (!fence_store_open(&server->fence_store, path, *first, first, problem)) {
        server_fail_at(server->options.sources[OPTIONS_FENCE_STATE_FILE], problem);
        return false;
    }
    server->shared.fence_store = &server->fence_store;
    return true;
}

/* Returns when the server begins to grant, 0 if at once. Logs it. */
static uint64_t server_grant_from_ns(const struct options *options)
{
    char seconds[24];

    if (options->grant_after_s == 0)
        return 0;
    snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)options->grant_after_s);
    log_line(LOG_INFO, "grants begin after --grant-after", "seconds", seconds, NULL);
    return clock_monotonic_ns() + options->grant_after_s * NS_PER_S;
}

static bool server_create_stripes(struct server *server, uint64_t fence_first)
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
                .grant_from_ns = server_grant_from_ns(options),
            },
        .states_max = options->max_locks,
        .claims_max = options->max_claims,
        .fence_first = fence_first,
        .fence_ceiling = server->fence_store.ceiling,
        .lease_expired = log_event_lease_expired,
    };

    server->shared.stripes = stripes_create(&stripes);
    if (server->shared.stripes && server->shared.fence_store)
        fence_store_start(&server->fence_store, stripes_fences(server->shared.stripes));
    return server->shared.stripes != NULL;
}

/* What the server knows of its clients' connections, for all workers. */
static bool server_create_peers(struct server *server)
{
    struct worker_shared *shared = &server->shared;
    uint64_t max = server->options.max_connections_per_ip;

    shared->peers = peers_create(&shared->memory, server->thread_count);
    if (max > 0)
        shared->ip_limits = ip_limits_create(&shared->memory, max);
    return shared->peers && (max == 0 || shared->ip_limits);
}

static void server_run_thread(struct thread *thread)
{
    struct server *server = thread->server;

    worker_set_up(thread->worker, &server->shared, thread->number);
    /* Workers use each other's rings, so none runs before all are set up. */
    pthread_barrier_wait(&server->ready);
    if (thread->number == 0) {
        listeners_log(&server->listeners);
        server_log_limits(server);
        if (notify_service_manager("READY=1") < 0)
            log_line(LOG_WARN, "cannot notify the service manager of readiness", NULL);
    }
    worker_run(thread->worker);
}

static void *server_thread_main(void *argument)
{
    struct thread *thread = argument;

    thread->error = worker_open(&thread->worker);
    pthread_barrier_wait(&thread->server->opened); /* main counts the workers */
    pthread_barrier_wait(&thread->server->opened); /* main has made what they share */
    if (thread->worker)
        server_run_thread(thread);
    return NULL;
}

/* The main thread opens its ring first: of all workers it is the last to lack memory. */
static bool server_start_threads(struct server *server, char problem[OPTIONS_PROBLEM_MAX])
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
        error = pthread_create(&thread->id, NULL, server_thread_main, thread);
        if (error) {
            snprintf(problem, OPTIONS_PROBLEM_MAX, "cannot start a thread: %s", strerror(error));
            return false;
        }
    }
    pthread_barrier_wait(&server->opened);
    return true;
}

static void server_warn_of_fewer_workers(const struct server *server, int error)
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
 * Numbers the workers that have a ring. With --threads 0 fewer workers than CPUs are enough: since
 * Linux 6.14, RLIMIT_MEMLOCK limits the memory of rings, and their size in it is unknown.
 */
static bool server_number_workers(struct server *server, char problem[OPTIONS_PROBLEM_MAX])
{
    struct worker_shared *shared = &server->shared;
    int error = 0;

    for (uint32_t i = 0; i < server->thread_count; i++) {
        struct thread *thread = &server->threads[i];

        if (thread->worker) {
            thread->number = shared->count;
            shared->rings[shared->count++] = worker_ring(thread->worker);
        } else {
            error = thread->error;
        }
    }
    if (error < 0 && server->options.threads) {
        snprintf(problem, OPTIONS_PROBLEM_MAX, "cannot start: %s", ring_explain(error));
        return false;
    }
    if (error < 0)
        server_warn_of_fewer_workers(server, error);
    shared->entrants = shared->count;
    shared->shutdown.entrants = shared->entrants;
    pthread_barrier_init(&server->ready, NULL, shared->count);
    return true;
}

static void server_log_end(const struct shutdown_shared *shutdown)
{
    uint64_t holders = atomic_load(&shutdown->holders_cut);
    char count[24];

    if (holders > 0) {
        snprintf(count, sizeof(count), "%llu", (unsigned long long)holders);
        log_line(LOG_WARN, "connections with leases closed at the end of --shutdown-timeout",
                 "connections", count, NULL);
    }
    log_line(LOG_INFO, "stopped", NULL);
}

static int server_run(struct server *server)
{
    struct worker_shared *shared = &server->shared;

    pthread_barrier_wait(&server->opened);
    server_run_thread(&server->threads[0]);
    for (uint32_t i = 1; i < server->thread_count; i++)
        pthread_join(server->threads[i].id, NULL);
    for (uint32_t i = 0; i < server->thread_count; i++) {
        if (server->threads[i].worker)
            worker_destroy(server->threads[i].worker);
    }
    stripes_destroy(shared->stripes);
    ip_limits_destroy(shared->ip_limits);
    peers_destroy(shared->peers);
    pthread_barrier_destroy(&server->opened);
    pthread_barrier_destroy(&server->ready);
    close(shared->signals);
    listeners_leave(&server->listeners);
    credentials_free(&server->credentials);
    options_free(&server->options);
    server_log_end(&shared->shutdown);
    log_stop();
    return EXIT_SUCCESS;
}

/*
 * Wipes the secrets from the arguments and the environment that /proc shows. If there is one or
 * a TLS key, the kernel neither dumps this process's memory nor lets processes of the same user
 * read it. Without one, core dumps stay possible.
 */
static void server_hide_secrets(struct options *options, int count, char *const *arguments)
{
    options_wipe_secrets(options, count, arguments);
    if (options->secrets[SECRETS_CLIENT].token || options->secrets[SECRETS_ADMINISTRATOR].token ||
        options->tls_key)
        prctl(PR_SET_DUMPABLE, 0);
}

static_assert((int)OPTIONS_PROBLEM_MAX >= (int)FENCE_FILE_PROBLEM_MAX, "a problem has room");

/*
 * --check: checks what a start checks, but changes nothing, since a server may be using the same
 * files. The options, the secret files and the TLS files have been read before.
 */
static int server_check(const struct server *server)
{
    const struct options *options = &server->options;
    char problem[OPTIONS_PROBLEM_MAX];
    struct limit list[SERVER_LIMITS];
    int error;

    if (options->fence_state_file && !fence_store_check(options->fence_state_file, problem))
        return server_fail_at(options->sources[OPTIONS_FENCE_STATE_FILE], problem);
    if (!listeners_check(options, problem))
        return server_fail(problem);
    error = worker_probe();
    if (error)
        return server_fail_at_ring(error);
    server_list_limits(server, server->thread_count, list);
    printf("dflockd: the configuration is valid\ndflockd: limits");
    for (int i = 0; i < SERVER_LIMITS; i++)
        printf(" %s=%s", list[i].name, list[i].value);
    puts("");
    return server_finish_output();
}

/*
 * Starts the server and runs it. A step that fails prints the reason in one line, and the process
 * ends. Steps that need the number of workers come after the rings are open, which decide it.
 */
static int server_start(struct server *server)
{
    struct worker_shared *shared = &server->shared;
    char tls_problem[TLS_PROBLEM_MAX];
    char problem[OPTIONS_PROBLEM_MAX];
    uint64_t fence_first;
    int error;

    if (sodium_init() < 0)
        return server_fail("libsodium cannot be used on this machine");
    shared->options = &server->options;
    shared->listeners = &server->listeners;
    shared->credentials = &server->credentials;
    shared->shutdown.timeout_ns = server->options.shutdown_timeout_s * NS_PER_S;
    shared->memory = system_memory;
    server_set_limits(server);
    server_warn_of_unknown_variables();
    if (!credentials_load(&server->credentials, &server->options, tls_problem))
        return server_fail(tls_problem);
    if (server->options.check)
        return server_check(server);
    sockets_raise_limit();
    error = log_start();
    if (error)
        return server_fail_at("cannot start a thread", strerror(-error));
    shared->signals = server_catch_signals();
    if (shared->signals < 0)
        return server_fail_at("cannot catch signals", strerror(errno));
    if (!server_start_threads(server, problem) || !server_number_workers(server, problem))
        return server_fail(problem);
    switch (listeners_open(&server->listeners, &server->options, shared->count, shared->signals,
                           problem)) {
    case LISTENERS_FAILED:
        return server_fail(problem);
    case LISTENERS_STOPPED:
        log_line(LOG_INFO, "stopped", NULL);
        log_stop();
        return EXIT_SUCCESS;
    case LISTENERS_OPEN:
        break;
    }
    /* After the listeners: a draining server that these wait for keeps the file locked. */
    if (!server_open_fences(server, &fence_first)) {
        listeners_leave(&server->listeners);
        return EXIT_FAILURE;
    }
    if (!server_create_stripes(server, fence_first) || !server_create_peers(server)) {
        listeners_leave(&server->listeners);
        return server_fail("out of memory");
    }
    return server_run(server);
}

int main(int count, char **arguments)
{
    static struct server server;
    char problem[OPTIONS_PROBLEM_MAX];
    int error = standard_descriptors_open();

    if (error)
        return server_fail_at("/dev/null", strerror(-error));
    switch (options_read(&server.options, count, arguments, problem)) {
    case OPTIONS_HELP:
        options_print_help();
        return server_finish_output();
    case OPTIONS_VERSION:
        printf("dflockd %s\n", DFLOCKD_VERSION);
        return server_finish_output();
    case OPTIONS_WRONG:
        return server_fail(problem);
    case OPTIONS_RUN:
        break;
    }
    server_hide_secrets(&server.options, count, arguments);
    log_set_debug(server.options.debug);
    return server_start(&server);
}
