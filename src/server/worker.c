#include "server/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/auth_token.h"
#include "base/time_units.h"
#include "os/clock.h"
#include "os/notify.h"
#include "os/ring.h"
#include "os/sockets.h"
#include "os/tls.h"
#include "server/connections.h"
#include "server/log.h"
#include "server/log_events.h"

enum {
    RING_SUBMISSIONS = 2048,
    RING_COMPLETIONS = 8192,
    RING_BUFFERS = 512,
    RING_BUFFER_BYTES = 2048,
    RING_WARN_S = 1, /* between lines on what the kernel refuses */

    COMPLETIONS_AHEAD = 4, /* when what a completion is about begins to come from memory */
    EXPIRE_STEPS = 256,    /* things due that happen in one stripe before others have their turn */
    ACCEPT_RETRY_MS = 100,
    ACCEPT_WARN_S = 1,
    /* From the begin of draining: for connections under way, and for requests on their way. */
    LAST_HANDSHAKES_MS = 50,
    POKE_RETRY_MS = 1
};

/*
 * Tags of the worker's own requests; 0 is of no interest. Of those that go on, or change a state,
 * the bits from TAG_ERA_SHIFT on say how often completions had been dropped before (worker_tag).
 */
enum worker_tag {
    TAG_SIGNAL = 1,
    TAG_WAKE,
    TAG_FENCES,
    TAG_GUEST,       /* a connection that the first worker accepted */
    TAG_GUEST_LOCAL, /* likewise, of a Unix socket */
    TAG_POKE_FAILED, /* of the first worker; those of the others follow */
    TAG_ACCEPT = TAG_POKE_FAILED + WORKERS_MAX, /* of the first listener; those of others follow */
    TAG_ERA_SHIFT = 8,
    TAG_MASK = (1 << TAG_ERA_SHIFT) - 1,
    ERAS = CONNECTIONS_TAG_MIN >> TAG_ERA_SHIFT
};

static_assert(TAG_ACCEPT + LISTENERS_MAX <= TAG_MASK, "there is a tag for each listener");
static_assert((int)CONNECTIONS_TAG_MIN <= (int)RING_HAND_TAGS,
              "the worker's tags can be handed over");

struct worker {
    struct worker_shared *shared;
    struct ring *ring;
    struct connections connections;
    uint32_t number;
    struct listener listeners[LISTENERS_MAX];
    uint32_t listener_count;
    uint32_t accepting;  /* a bit of each listener: the request is in the ring */
    uint32_t listening;  /* likewise: open */
    uint32_t next_guest; /* the worker that gets the next connection of a shared listener */
    bool draining;
    uint32_t era;             /* how often the kernel dropped completions, modulo ERAS */
    uint64_t pokes_failed;    /* a bit of each worker: it is to be woken at poke_retry_ns */
    uint64_t poke_retry_ns;   /* UINT64_MAX: none failed */
    uint64_t refused_count;   /* system calls of the ring that failed since the last line on it */
    uint64_t refused_warn_ns; /* no such line before */
    bool reported;            /* among worker_shared.finished */
    uint64_t accept_retry_ns; /* accepting waits until then; UINT64_MAX: it doesn't wait */
    uint64_t accept_warned_ns;
    uint64_t listen_until_ns; /* UINT64_MAX until draining begins */
    uint64_t stop_ns;         /* when draining ends at the latest */
    uint64_t secret_ends_ns;  /* of the previous secret; UINT64_MAX: there is none */
};

static uint64_t now(const struct worker *worker)
{
    return worker->connections.host.now_ns;
}

/* The tag of a request that worker_recover gives up. */
static uint64_t worker_tag(const struct worker *worker, uint32_t tag)
{
    return (uint64_t)worker->era << TAG_ERA_SHIFT | tag;
}

/* The ring's report: the kernel refuses a system call, and it will be tried again. */
static void worker_refused(void *context, int error)
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

static void start_accepting(struct worker *worker)
{
    worker->accept_retry_ns = UINT64_MAX;
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        if (worker->listening & ~worker->accepting & 1u << i)
            ring_accept(worker->ring, worker->listeners[i].descriptor,
                        worker_tag(worker, TAG_ACCEPT + i));
    }
    worker->accepting |= worker->listening;
}

static void warn_of_accept(struct worker *worker, int error)
{
    if (worker->draining || now(worker) - worker->accept_warned_ns < ACCEPT_WARN_S * NS_PER_S)
        return;
    worker->accept_warned_ns = now(worker);
    log_line(LOG_WARN, "cannot accept connections for now", "error", strerror(error), NULL);
}

static void worker_refuse(const struct worker *worker, int descriptor, enum log_event event)
{
    const struct log_peer peer = {.descriptor = descriptor};

    log_event_of_peer(event, now(worker), &peer, NULL);
}

/* Whether its address may have one more. `*peer` says by what it is counted. */
static bool peer_may_enter(struct worker *worker, int descriptor, bool local, uint32_t *peer)
{
    uint8_t address[SOCKETS_PEER_BYTES];

    *peer = IP_LIMITS_NONE;
    if (!worker->shared->ip_limits || local)
        return true;
    if (!sockets_peer(descriptor, address))
        return false;
    *peer = ip_limits_enter(worker->shared->ip_limits, address);
    if (*peer == IP_LIMITS_NONE)
        worker_refuse(worker, descriptor, LOG_EVENT_MAX_CONNECTIONS_PER_IP);
    return *peer != IP_LIMITS_NONE;
}

static void admit(struct worker *worker, int descriptor, bool local)
{
    struct worker_shared *shared = worker->shared;
    uint64_t max = shared->options->max_connections;
    uint32_t peer;

    if (atomic_fetch_add_explicit(&shared->connections, 1, memory_order_relaxed) >= max &&
        max > 0) {
        worker_refuse(worker, descriptor, LOG_EVENT_MAX_CONNECTIONS);
    } else if (peer_may_enter(worker, descriptor, local, &peer)) {
        if (connections_open(&worker->connections, descriptor, peer))
            return;
        if (peer != IP_LIMITS_NONE)
            ip_limits_leave(shared->ip_limits, peer);
        worker_refuse(worker, descriptor, LOG_EVENT_NO_ROOM);
    }
    atomic_fetch_sub_explicit(&shared->connections, 1, memory_order_relaxed);
    ring_close_descriptor(worker->ring, descriptor);
}

/* While draining none is handed on: the other worker may have gone. */
static void receive_guest(struct worker *worker, const struct listener *listener, int descriptor)
{
    uint32_t host = worker->number;

    if ((listener->local || listener->passed) && !worker->draining) {
        host = worker->next_guest;
        worker->next_guest = (host + 1) % worker->shared->count;
    }
    if (host == worker->number)
        admit(worker, descriptor, listener->local);
    else
        ring_hand(worker->ring, ring_descriptor(worker->shared->workers[host]->ring), descriptor,
                  listener->local ? TAG_GUEST_LOCAL : TAG_GUEST);
}

/*
 * Whether an error of accept(2) is that of one connection, which was given up before it was ours,
 * or of the network; any other may last.
 */
static bool passes_by(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EAGAIN:
    case EPERM:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
        return true;
    default:
        return false;
    }
}

static void accepted(struct worker *worker, uint32_t number, const struct completion *completion)
{
    bool current = completion->tag == worker_tag(worker, TAG_ACCEPT + number);

    if (!completion->more && current)
        worker->accepting &= ~(1u << number);
    if (completion->result >= 0) {
        receive_guest(worker, &worker->listeners[number], completion->result);
    } else if (current && worker->listening && !passes_by(-completion->result)) {
        /* Those who come wait in the kernel's queue until there is a descriptor, or memory. */
        worker->accept_retry_ns = now(worker) + ACCEPT_RETRY_MS * NS_PER_MS;
        warn_of_accept(worker, -completion->result);
    }
}

/* ---- other workers ---- */

static void wake_all(struct worker *worker)
{
    worker->connections.host.wake |= UINT64_MAX >> (64 - worker->shared->count);
}

static void poke_others(struct worker *worker)
{
    uint64_t *wake = &worker->connections.host.wake;
    uint64_t others;

    if (worker->poke_retry_ns <= now(worker)) {
        *wake |= worker->pokes_failed;
        worker->pokes_failed = 0;
        worker->poke_retry_ns = UINT64_MAX;
    }
    others = *wake & ~(1ull << worker->number);
    for (; others; others &= others - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(others);

        ring_poke(worker->ring, ring_descriptor(worker->shared->workers[i]->ring), TAG_WAKE,
                  TAG_POKE_FAILED + i);
    }
    *wake &= 1ull << worker->number;
}

/* The other worker sleeps, perhaps for ever, though something waits for it. */
static void poke_failed(struct worker *worker, uint32_t other, int error)
{
    if (error == -EOWNERDEAD) /* its thread has ended, and with it all that it had to do */
        return;
    worker->pokes_failed |= 1ull << other;
    worker->poke_retry_ns = now(worker) + POKE_RETRY_MS * NS_PER_MS;
}

/* ---- stopping ---- */

static void stop_listening(struct worker *worker, uint32_t number)
{
    worker->listening &= ~(1u << number);
    if (worker->accepting & 1u << number)
        ring_cancel_tag(worker->ring, worker_tag(worker, TAG_ACCEPT + number));
    if (!listeners_stays(worker->shared->listeners, &worker->listeners[number]))
        ring_close_descriptor(worker->ring, worker->listeners[number].descriptor);
}

static void drain(struct worker *worker)
{
    uint64_t timeout_s = worker->shared->options->shutdown_timeout_s;

    if (worker->draining)
        return;
    worker->draining = true;
    worker->stop_ns = timeout_s ? now(worker) + timeout_s * NS_PER_S : UINT64_MAX;
    worker->listen_until_ns = now(worker) + LAST_HANDSHAKES_MS * NS_PER_MS;
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        const struct listener *listener = &worker->listeners[i];

        /* Connections that wait at a passed socket are the next server's. */
        if (listener->passed || listeners_stays(worker->shared->listeners, listener))
            stop_listening(worker, i);
        else
            sockets_close_door(listener);
    }
    connections_drain(&worker->connections);
}

/*
 * Draining begins with the first worker, for all. The announcement comes before anything that
 * another server could notice; see listeners.c.
 */
static void worker_begin_drain(struct worker *worker)
{
    struct worker_shared *shared = worker->shared;

    listeners_announce(shared->listeners);
    notify_service_manager("STOPPING=1");
    atomic_store(&shared->draining, true);
    wake_all(worker);
    drain(worker);
    if (!shared->listeners->path_stays)
        listeners_hide(shared->listeners);
}

/* ---- SIGHUP: reading some files of a few KB within a turn takes no time that clients notice ----
 */

static void worker_reload_tls(const struct worker_shared *shared)
{
    struct tls_files files = {
        .certificate = shared->options->tls_certificate,
        .key = shared->options->tls_key,
        .client_ca = shared->options->tls_client_ca,
    };
    struct tls_context *context;
    char problem[TLS_PROBLEM_MAX];

    context = tls_context_load(&files, problem);
    if (context) {
        tls_place_change(shared->tls, context);
        log_line(LOG_INFO, "TLS certificate reloaded", "file", files.certificate, NULL);
    } else {
        log_line(LOG_ERROR, "TLS certificate not reloaded, the old one stays", "error", problem,
                 NULL);
    }
}

static void watch_signals(struct worker *worker)
{
    ring_watch(worker->ring, worker->shared->signals, POLLIN, worker_tag(worker, TAG_SIGNAL));
}

/* Clients need time to learn the new secret; a connection that is open needs none. */
static void worker_reload_secret(struct worker *worker)
{
    const struct options *options = worker->shared->options;
    uint64_t ends_ns = now(worker) + options->read_timeout_s * NS_PER_S;
    char problem[AUTH_TOKEN_PROBLEM_MAX];
    char *token = auth_token_reread(options->auth_token_source, problem);

    if (!token) {
        log_line(LOG_ERROR, "secret not reloaded, the old one stays", "error", problem, NULL);
    } else if (secret_change(worker->shared->secret, token, ends_ns) == SECRET_UNCHANGED) {
        log_line(LOG_INFO, "secret unchanged", "file", options->auth_token_source, NULL);
    } else {
        worker->secret_ends_ns = ends_ns;
        log_line(LOG_INFO, "secret reloaded", "file", options->auth_token_source, NULL);
    }
}

static void worker_reload(struct worker *worker)
{
    const char *source = worker->shared->options->auth_token_source;

    if (worker->shared->tls)
        worker_reload_tls(worker->shared);
    if (source)
        worker_reload_secret(worker);
    if (!worker->shared->tls && !source)
        log_line(LOG_INFO, "nothing to reload", "reason",
                 "SIGHUP reloads TLS files and secret files", NULL);
}

static void worker_expire_secret(struct worker *worker)
{
    if (now(worker) < worker->secret_ends_ns)
        return;
    worker->secret_ends_ns = UINT64_MAX;
    secret_expire(worker->shared->secret, now(worker));
}

/* ---- signals ---- */

static void signalled(struct worker *worker)
{
    struct signalfd_siginfo info;
    char count[24];

    watch_signals(worker);
    if (read(worker->shared->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP) {
        worker_reload(worker);
        return;
    }
    if (worker->draining) {
        log_line(LOG_INFO, "second signal: stopped at once", NULL);
        log_stop();
        _exit(0);
    }
    snprintf(count, sizeof(count), "%llu",
             (unsigned long long)atomic_load(&worker->shared->connections));
    log_line(LOG_INFO, "draining", "signal", strsignal((int)info.ssi_signo), "connections", count,
             NULL);
    worker_begin_drain(worker);
}

/*
 * The end of draining. A worker that has no connection left still lets the leases of its stripes
 * expire, for the connections of others. So each reports once that it has none and accepts none,
 * and all leave their loops when all have reported. The last one wakes the others.
 */
static void worker_report(struct worker *worker)
{
    struct worker_shared *shared = worker->shared;

    if (worker->reported || !worker->draining || worker->listening || worker->accepting ||
        connections_count(&worker->connections) > 0)
        return;
    worker->reported = true;
    if (atomic_fetch_add(&shared->finished, 1) + 1 < shared->count)
        return;
    wake_all(worker);
}

static bool worker_all_reported(const struct worker *worker)
{
    return worker->reported && atomic_load(&worker->shared->finished) == worker->shared->count;
}

/*
 * A connection that was handed over may arrive after this worker has reported: then the report is
 * taken back. Returns false if all have reported, and it is too late.
 */
static bool worker_take_back_report(struct worker *worker)
{
    struct worker_shared *shared = worker->shared;
    uint32_t finished = atomic_load(&shared->finished);

    if (!worker->reported)
        return true;
    do {
        if (finished == shared->count)
            return false;
    } while (!atomic_compare_exchange_weak(&shared->finished, &finished, finished - 1));
    worker->reported = false;
    return true;
}

static void worker_admit_guest(struct worker *worker, int descriptor, bool local)
{
    if (worker_take_back_report(worker))
        admit(worker, descriptor, local);
    else
        ring_close_descriptor(worker->ring, descriptor);
}

/* ---- fences ---- */

/* NULL where this worker does not keep any. */
static struct fence_store *fence_store(const struct worker *worker)
{
    return worker->number == STRIPES_FENCE_WORKER ? worker->shared->fence_store : NULL;
}

static void keep_fences(struct worker *worker, enum fence_store_io wish)
{
    const struct fence_store *keeper = fence_store(worker);

    if (wish == FENCE_STORE_WRITE)
        ring_write(worker->ring, keeper->file, keeper->bytes, FENCE_FILE_BYTES, 0,
                   worker_tag(worker, TAG_FENCES));
    else if (wish == FENCE_STORE_SYNC)
        ring_sync(worker->ring, keeper->file, worker_tag(worker, TAG_FENCES));
}

/* ---- the loop ---- */

static void complete(struct worker *worker, const struct completion *completion)
{
    uint32_t tag = (uint32_t)completion->tag & TAG_MASK;

    if (completion->tag >= CONNECTIONS_TAG_MIN) {
        connections_completion(&worker->connections, completion);
        if (completion->bytes)
            ring_return_buffer(worker->ring, completion->buffer);
        return;
    }
    switch (tag) {
    case TAG_SIGNAL:
        if (completion->tag == worker_tag(worker, TAG_SIGNAL))
            signalled(worker);
        break;
    case TAG_FENCES:
        if (completion->tag == worker_tag(worker, TAG_FENCES))
            keep_fences(worker,
                        fence_store_done(fence_store(worker), now(worker), completion->result));
        break;
    case TAG_GUEST:
    case TAG_GUEST_LOCAL:
        worker_admit_guest(worker, completion->result, tag == TAG_GUEST_LOCAL);
        break;
    case TAG_WAKE: /* to be awake was all */
    case 0:
        break;
    default:
        if (tag < TAG_ACCEPT)
            poke_failed(worker, tag - TAG_POKE_FAILED, completion->result);
        else
            accepted(worker, tag - TAG_ACCEPT, completion);
    }
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

/*
 * The alarm counts, though its deadline may have been given up: whoever takes a lease that ends
 * after it need not wake this worker, which will look in time.
 */
static uint64_t deadline(struct worker *worker)
{
    uint64_t until_ns = connections_deadline(&worker->connections);

    until_ns = earlier(until_ns, ring_alarm(worker->ring));
    until_ns = earlier(until_ns, worker->accept_retry_ns);
    until_ns = earlier(until_ns, worker->listen_until_ns);
    until_ns = earlier(until_ns, worker->stop_ns);
    until_ns = earlier(until_ns, worker->poke_retry_ns);
    until_ns = earlier(until_ns, worker->secret_ends_ns);
    if (fence_store(worker))
        until_ns = earlier(until_ns, fence_store_deadline(fence_store(worker)));
    return stripes_sleep(worker->shared->stripes, worker->number, until_ns);
}

/*
 * The kernel dropped completions, for want of memory, and nobody knows which. So all state that
 * hangs on a completion begins again:
 *
 *   connections           end: see connections_lose
 *   accept, signal watch  are cancelled and requested again
 *   write of fences       counts as failed; it is done again after a pause
 *   failed pokes          all workers are woken
 *   alarm, buffers        see ring_turn
 *
 * A late completion of a request that was given up is known by its era. A connection that was
 * accepted or handed over, and whose completion was dropped, is lost: its descriptor stays open,
 * and its peer gets no reply. There is no trace of it but the descriptor.
 */
static void worker_recover(struct worker *worker)
{
    struct fence_store *keeper = fence_store(worker);
    bool storing = keeper && fence_store_busy(keeper);
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
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        if (worker->accepting & 1u << i)
            ring_cancel_tag(worker->ring, worker_tag(worker, TAG_ACCEPT + i));
    }
    worker->accepting = 0;
    if (worker->number == 0)
        ring_cancel_tag(worker->ring, worker_tag(worker, TAG_SIGNAL));
    worker->era = (worker->era + 1) % ERAS;
    if (worker->number == 0)
        watch_signals(worker);
    if (storing)
        keep_fences(worker, fence_store_done(keeper, now(worker), -EIO));
    wake_all(worker);
}

/* Sleeps until something happens or is due; not at all where there is work. */
static void turn(struct worker *worker, bool busy)
{
    uint64_t until_ns = busy ? 0 : deadline(worker);
    bool whole = ring_turn(worker->ring, until_ns > now(worker) ? until_ns : 0);

    stripes_awake(worker->shared->stripes, worker->number);
    worker->connections.host.now_ns = clock_monotonic_ns();
    if (!whole)
        worker_recover(worker);
    if (atomic_load_explicit(&worker->shared->draining, memory_order_relaxed))
        drain(worker);
}

/*
 * Connections that had begun when draining began have been let in, to get an answer and no reset.
 * From now on connections without a lease are closed.
 */
static void stop_listening_when_due(struct worker *worker)
{
    if (now(worker) < worker->listen_until_ns)
        return;
    worker->listen_until_ns = UINT64_MAX;
    worker->accept_retry_ns = UINT64_MAX;
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        if (worker->listening & 1u << i)
            stop_listening(worker, i);
    }
    connections_dismiss(&worker->connections);
}

/* Draining has taken long enough. */
static void stop_when_due(struct worker *worker)
{
    if (now(worker) < worker->stop_ns)
        return;
    worker->stop_ns = UINT64_MAX;
    connections_abort(&worker->connections);
}

/* The other workers sleep until they are told that all have reported. */
static void send_last_pokes(struct worker *worker)
{
    struct completion completion;

    do {
        poke_others(worker);
        turn(worker, !worker->pokes_failed);
        while (ring_next(worker->ring, &completion)) {
            if (completion.tag >= TAG_POKE_FAILED && completion.tag < TAG_ACCEPT)
                complete(worker, &completion);
        }
    } while (worker->pokes_failed || !ring_settled(worker->ring));
}

void worker_run(struct worker *worker)
{
    struct connections *connections = &worker->connections;
    struct session_context *host = &connections->host;
    uint64_t own = 1ull << worker->number;
    bool busy = false;

    host->now_ns = clock_monotonic_ns();
    while (!worker_all_reported(worker)) {
        uint64_t open = connections_count(connections);
        struct completion completion;

        if (worker->listening & ~worker->accepting &&
            (worker->accept_retry_ns == UINT64_MAX || worker->accept_retry_ns <= now(worker)))
            start_accepting(worker);
        turn(worker, busy);
        stripes_expire(worker->shared->stripes, now(worker), worker->number, EXPIRE_STEPS,
                       &host->wake);
        while (ring_next(worker->ring, &completion)) {
            connections_expect(ring_ahead(worker->ring, COMPLETIONS_AHEAD));
            complete(worker, &completion);
        }
        connections_settle(connections);
        host->wake &= ~own;
        connections_effects(connections);
        connections_expire(connections);
        stop_listening_when_due(worker);
        stop_when_due(worker);
        worker_expire_secret(worker);
        if (fence_store(worker))
            keep_fences(worker, fence_store_step(fence_store(worker), now(worker)));
        busy = connections_work(connections) || (host->wake & own);
        poke_others(worker);
        /* A descriptor has become free: whoever waits for one need wait no longer. */
        if (connections_count(connections) < open && worker->accept_retry_ns != UINT64_MAX)
            worker->accept_retry_ns = now(worker);
        worker_report(worker);
    }
    send_last_pokes(worker);
}

int worker_open(struct worker **opened)
{
    struct ring_options options = {
        .submissions = RING_SUBMISSIONS,
        .completions = RING_COMPLETIONS,
        .buffers = RING_BUFFERS,
        .buffer_bytes = RING_BUFFER_BYTES,
        .report = worker_refused,
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

void worker_set_up(struct worker *worker, struct worker_shared *shared, uint32_t number)
{
    const struct options *options = shared->options;
    struct connections_options connections = {
        .memory = shared->memory,
        .buffers = &shared->buffers,
        .ring = worker->ring,
        .buffer_count = RING_BUFFERS,
        .tls = shared->tls,
        .worker = number,
        .numbers = &shared->next_id,
        .open = &shared->connections,
        .ip_limits = shared->ip_limits,
        .read_timeout_ns = options->read_timeout_s * NS_PER_S,
        .write_timeout_ns = options->write_timeout_s * NS_PER_S,
        .host =
            {
                .stripes = shared->stripes,
                .default_lease_s = options->default_lease_s,
                .secret = shared->secret,
                .connections = &shared->connections,
            },
    };

    worker->shared = shared;
    worker->number = number;
    worker->listener_count = listeners_of_worker(shared->listeners, number, worker->listeners);
    worker->listening = (1u << worker->listener_count) - 1;
    worker->accept_retry_ns = UINT64_MAX;
    worker->listen_until_ns = UINT64_MAX;
    worker->stop_ns = UINT64_MAX;
    worker->poke_retry_ns = UINT64_MAX;
    worker->secret_ends_ns = UINT64_MAX;
    connections_init(&worker->connections, &connections);
    if (number == 0)
        watch_signals(worker);
}

void worker_destroy(struct worker *worker)
{
    connections_free(&worker->connections);
    ring_close(worker->ring);
    free(worker);
}
