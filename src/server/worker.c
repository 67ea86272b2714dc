#include "server/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/time_units.h"
#include "os/clock.h"
#include "os/ring.h"
#include "server/acceptor.h"
#include "server/connections.h"
#include "server/log.h"
#include "server/log_events.h"
#include "server/wakeups.h"
#include "server/worker_tags.h"

enum {
    RING_SUBMISSIONS = 2048,
    RING_COMPLETIONS = 8192,
    RING_BUFFERS = 512,
    RING_BUFFER_BYTES = 2048,
    RING_WARN_S = 1 /* between log lines on refused system calls */
};

struct worker {
    struct worker_shared *shared;
    struct ring *ring;
    struct connections connections;
    struct acceptor acceptor;
    struct shutdown shutdown;
    struct wakeups wakeups;
    struct fence_store *fence_store; /* NULL: another worker's, or there is none */
    uint32_t number;
    uint32_t era;             /* how often the kernel dropped completions, modulo TAG_ERAS */
    uint64_t refused_count;   /* refused system calls since the last log line on them */
    uint64_t refused_warn_ns; /* no such line before */
};

static uint64_t worker_now(const struct worker *worker)
{
    return worker->connections.context.session.now_ns;
}

static uint64_t worker_tag(const struct worker *worker, enum worker_tag tag)
{
    return (uint64_t)worker->era << TAG_ERA_SHIFT | tag;
}

/* The ring reports that the kernel refused a system call. It tries again. */
static void worker_report_refusal(void *context, int error)
{
    struct worker *worker = context;
    uint64_t now_ns = clock_monotonic_ns();
    char number[24];
    char count[24];

    worker->refused_count++;
    if (now_ns < worker->refused_warn_ns)
        return;
    snprintf(number, sizeof(number), "%u", worker->number);
    snprintf(count, sizeof(count), "%llu", (unsigned long long)worker->refused_count);
    log_line(LOG_ERROR, "io_uring call failed, trying again", "error", strerror(-error), "count",
             count, "worker", number, NULL);
    worker->refused_count = 0;
    worker->refused_warn_ns = now_ns + RING_WARN_S * NS_PER_S;
}

static void worker_wake_all(struct worker *worker)
{
    worker->connections.context.session.wake |= UINT64_MAX >> (64 - worker->shared->entrants);
}

/* ---- signals ---- */

static void worker_watch_signals(struct worker *worker)
{
    ring_watch(worker->ring, worker->shared->signals, POLLIN, worker_tag(worker, TAG_SIGNAL));
}

static void worker_begin_shutdown(struct worker *worker, int signal)
{
    char count[24];

    if (worker->shutdown.phase != SHUTDOWN_SERVING) {
        log_line(LOG_INFO, "second signal: stopped at once", NULL);
        log_stop();
        _exit(0);
    }
    snprintf(count, sizeof(count), "%llu",
             (unsigned long long)atomic_load(&worker->shared->connections));
    log_line(LOG_INFO, "draining", "signal", strsignal(signal), "connections", count, NULL);
    shutdown_begin(&worker->shutdown, worker->shared->listeners, worker_now(worker));
    worker_wake_all(worker);
}

static void worker_read_signal(struct worker *worker)
{
    struct signalfd_siginfo info;

    worker_watch_signals(worker);
    if (read(worker->shared->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP)
        credentials_reload(worker->shared->credentials, worker_now(worker));
    else
        worker_begin_shutdown(worker, (int)info.ssi_signo);
}

/* ---- completions ---- */

static void worker_store_fences(struct worker *worker, enum fence_store_io next)
{
    const struct fence_store *store = worker->fence_store;

    if (next == FENCE_STORE_WRITE)
        ring_write(worker->ring, store->file, store->bytes, FENCE_FILE_BYTES, 0,
                   worker_tag(worker, TAG_FENCES));
    else if (next == FENCE_STORE_SYNC)
        ring_sync(worker->ring, store->file, worker_tag(worker, TAG_FENCES));
}

static void worker_take_over(struct worker *worker, int descriptor, bool local)
{
    if (shutdown_withdraw_report(&worker->shutdown))
        acceptor_admit(&worker->acceptor, worker_now(worker), descriptor, local);
    else
        ring_close_descriptor(worker->ring, descriptor);
}

static void worker_complete(void *context, const struct completion *completion)
{
    struct worker *worker = context;
    uint64_t now_ns = worker_now(worker);
    uint32_t tag = (uint32_t)completion->tag & TAG_MASK;

    switch (tag) {
    case TAG_SIGNAL:
        if (completion->tag == worker_tag(worker, TAG_SIGNAL))
            worker_read_signal(worker);
        break;
    case TAG_FENCES:
        if (completion->tag == worker_tag(worker, TAG_FENCES))
            worker_store_fences(worker,
                                fence_store_done(worker->fence_store, now_ns, completion->result));
        break;
    case TAG_HANDED_OVER:
    case TAG_HANDED_OVER_LOCAL:
        worker_take_over(worker, completion->result, tag == TAG_HANDED_OVER_LOCAL);
        break;
    case TAG_WAKE: /* it only interrupts the sleep */
    case 0:
        break;
    default:
        if (tag < TAG_ACCEPT)
            wakeups_fail(&worker->wakeups, tag - TAG_POKE_FAILED, completion->result, now_ns);
        else
            acceptor_completion(&worker->acceptor, now_ns, tag - TAG_ACCEPT, completion);
    }
}

/*
 * The kernel had no memory for completions and dropped them; which ones is unknown. So all state
 * that depends on a completion begins again:
 *
 *   connections           end: see connections_lose
 *   accept, signal watch  are cancelled and requested again
 *   write of fences       counts as failed, and is repeated after a pause
 *   failed wake-ups       all workers are woken
 *   alarm, buffers        see ring_turn
 *
 * If the dropped completion named a connection that was accepted or handed over, the connection is
 * lost: its descriptor stays open, and its peer gets no reply. Nothing else names the descriptor.
 */
static void worker_recover(struct worker *worker)
{
    struct fence_store *store = worker->fence_store;
    bool storing = store && fence_store_busy(store);
    char number[24];
    char count[24];

    snprintf(number, sizeof(number), "%u", worker->number);
    snprintf(count, sizeof(count), "%llu",
             (unsigned long long)connections_count(&worker->connections));
    log_line(LOG_ERROR,
             "io_uring completions dropped by the kernel: all connections of this "
             "worker are closed",
             "connections", count, "worker", number, NULL);
    connections_lose(&worker->connections);
    if (worker->number == 0)
        ring_cancel_tag(worker->ring, worker_tag(worker, TAG_SIGNAL));
    worker->era = (worker->era + 1) % TAG_ERAS;
    acceptor_lose(&worker->acceptor, worker_tag(worker, TAG_ACCEPT));
    if (worker->number == 0)
        worker_watch_signals(worker);
    if (storing)
        worker_store_fences(worker, fence_store_done(store, worker_now(worker), -EIO));
    worker_wake_all(worker);
}

/* ---- the loop ---- */

static uint64_t worker_earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

/*
 * Returns when the next turn begins at the latest. The alarm counts although its deadline may be
 * obsolete: other workers need not wake this one for a lease that ends after it.
 */
static uint64_t worker_deadline(struct worker *worker)
{
    uint64_t until_ns = connections_deadline(&worker->connections);

    until_ns = worker_earlier(until_ns, ring_alarm(worker->ring));
    until_ns = worker_earlier(until_ns, acceptor_deadline(&worker->acceptor));
    until_ns = worker_earlier(until_ns, shutdown_deadline(&worker->shutdown));
    until_ns = worker_earlier(until_ns, worker->wakeups.retry_ns);
    if (worker->number == 0)
        until_ns = worker_earlier(until_ns, worker->shared->credentials->secret_ends_ns);
    if (worker->fence_store)
        until_ns = worker_earlier(until_ns, fence_store_deadline(worker->fence_store));
    return stripes_sleep(worker->shared->stripes, worker->number, until_ns);
}

/* Sleeps until a completion or a deadline; if `busy`, only collects completions. */
static void worker_turn(struct worker *worker, bool busy)
{
    uint64_t until_ns = busy ? 0 : worker_deadline(worker);
    bool whole;

    gate_leave(worker->shared->gate);
    whole = ring_turn(worker->ring, until_ns > worker_now(worker) ? until_ns : 0);
    gate_enter(worker->shared->gate);
    stripes_awake(worker->shared->stripes, worker->number);
    metrics_count(&worker->shared->metrics[worker->number].turns);
    worker->connections.context.session.now_ns = clock_monotonic_ns();
    if (!whole)
        worker_recover(worker);
    shutdown_follow(&worker->shutdown, worker_now(worker));
}

static void worker_expire(void *context)
{
    struct worker *worker = context;
    uint64_t now_ns = worker_now(worker);

    shutdown_expire(&worker->shutdown, now_ns);
    if (worker->number == 0)
        credentials_expire(worker->shared->credentials, now_ns);
    if (worker->fence_store)
        worker_store_fences(worker, fence_store_step(worker->fence_store, now_ns));
}

/* The other workers sleep until they are woken to see that all have reported. */
static void worker_send_last_wakeups(struct worker *worker)
{
    struct completion completion;

    do {
        wakeups_send(&worker->wakeups, &worker->connections.context.session.wake,
                     worker_now(worker));
        worker_turn(worker, !worker->wakeups.failed);
        while (ring_next(worker->ring, &completion)) {
            if (completion.tag >= TAG_POKE_FAILED && completion.tag < TAG_ACCEPT)
                worker_complete(worker, &completion);
        }
    } while (worker->wakeups.failed || !ring_settled(worker->ring));
}

static void worker_flush(void *context)
{
    struct worker *worker = context;

    wakeups_send(&worker->wakeups, &worker->connections.context.session.wake, worker_now(worker));
    ring_submit(worker->ring);
}

void worker_run(struct worker *worker)
{
    struct connections *connections = &worker->connections;
    struct session_context *context = &connections->context.session;
    const struct connections_hooks hooks = {
        .complete = worker_complete,
        .expire = worker_expire,
        .flush = worker_flush,
        .context = worker,
    };
    bool busy = false;

    gate_enter(worker->shared->gate);
    context->now_ns = clock_monotonic_ns();
    while (!shutdown_is_complete(&worker->shutdown)) {
        uint64_t open = connections_count(connections);

        acceptor_request(&worker->acceptor, worker_now(worker));
        worker_turn(worker, busy);
        busy = connections_turn(connections, &hooks);
        wakeups_send(&worker->wakeups, &context->wake, worker_now(worker));
        if (connections_count(connections) < open)
            acceptor_end_pause(&worker->acceptor, worker_now(worker));
        if (shutdown_report(&worker->shutdown))
            worker_wake_all(worker);
    }
    worker_send_last_wakeups(worker);
    gate_leave(worker->shared->gate);
}

/* ---- life ---- */

int worker_open(struct worker **opened)
{
    struct ring_options options = {
        .submissions = RING_SUBMISSIONS,
        .completions = RING_COMPLETIONS,
        .buffers = RING_BUFFERS,
        .buffer_bytes = RING_BUFFER_BYTES,
        .report = worker_report_refusal,
    };
    struct worker *worker = calloc(1, sizeof(*worker));
    int error;

    *opened = NULL;
    if (!worker)
        return -ENOMEM;
    options.context = worker;
    error = ring_open(&worker->ring, &options);
    if (error < 0) {
        free(worker);
        return error;
    }
    *opened = worker;
    return 0;
}

int worker_probe(void)
{
    struct worker *worker;
    int error = worker_open(&worker);

    if (error == 0) {
        ring_close(worker->ring);
        free(worker);
    }
    return error;
}

int worker_ring(const struct worker *worker)
{
    return ring_descriptor(worker->ring);
}

static void worker_init_connections(struct worker *worker)
{
    struct worker_shared *shared = worker->shared;
    const struct options *options = shared->options;
    const struct connections_options connections = {
        .memory = shared->memory,
        .buffers = &shared->buffers,
        .ring = worker->ring,
        .buffer_count = RING_BUFFERS,
        .tls = shared->credentials->tls,
        .worker = worker->number,
        .workers = shared->count,
        .next_id = &shared->next_id,
        .open = &shared->connections,
        .ip_limits = shared->ip_limits,
        .read_timeout_ns = options->read_timeout_s * NS_PER_S,
        .write_timeout_ns = options->write_timeout_s * NS_PER_S,
        .session =
            {
                .stripes = shared->stripes,
                .default_lease_s = options->default_lease_s,
                .claims_max = (uint32_t)options->max_claims_per_connection,
                .secrets = &shared->credentials->secrets,
                .connections = &shared->connections,
                .peers = shared->peers,
                .metrics = &shared->metrics[worker->number],
                .revoked = log_event_revoked,
            },
    };

    connections_init(&worker->connections, &connections);
}

void worker_set_up(struct worker *worker, struct worker_shared *shared, uint32_t number)
{
    const struct acceptor_options acceptor = {
        .ring = worker->ring,
        .connections = &worker->connections,
        .listeners = shared->listeners,
        .ip_limits = shared->ip_limits,
        .open = &shared->connections,
        .connections_max = shared->options->max_connections,
        .rings = shared->rings,
        .workers = shared->count,
        .worker = number,
    };

    worker->shared = shared;
    worker->number = number;
    shared->metrics[number].cpu_clock = clock_of_thread();
    if (number == STRIPES_FENCE_WORKER)
        worker->fence_store = shared->fence_store;
    worker_init_connections(worker);
    acceptor_init(&worker->acceptor, &acceptor, worker_tag(worker, TAG_ACCEPT));
    shutdown_init(&worker->shutdown, &shared->shutdown, &worker->acceptor, &worker->connections);
    wakeups_init(&worker->wakeups, worker->ring, shared->rings, number);
    if (number == 0)
        worker_watch_signals(worker);
}

void worker_destroy(struct worker *worker)
{
    connections_free(&worker->connections);
    ring_close(worker->ring);
    free(worker);
}
