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
#include "os/clock.h"
#include "os/ring.h"
#include "os/sockets.h"
#include "os/tls.h"
#include "server/connections.h"
#include "server/log.h"
#include "server/log_events.h"

#define SECOND_NS 1000000000ull

enum {
    RING_SUBMISSIONS = 2048,
    RING_COMPLETIONS = 8192,
    RING_BUFFERS = 512,
    RING_BUFFER_BYTES = 2048,

    COMPLETIONS_AHEAD = 4, /* when what a completion is about begins to come from memory */
    EXPIRE_STEPS = 256,    /* things due that happen in one stripe before others have their turn */
    ACCEPT_RETRY_MS = 100,
    ACCEPT_WARN_S = 1,
    LAST_HANDSHAKES_MS = 50 /* for connections under way when draining begins */
};

/* Tags of the worker's own requests; 0 is of no interest. */
enum worker_tag {
    TAG_SIGNAL = 1,
    TAG_WAKE,
    TAG_DRAIN,
    TAG_FENCES,
    TAG_GUEST,       /* a connection that the first worker accepted */
    TAG_GUEST_LOCAL, /* likewise, of a Unix socket */
    TAG_ACCEPT       /* of the first listener; those of the others follow */
};

struct worker {
    struct worker_shared *shared;
    struct ring *ring;
    struct connections connections;
    uint32_t number;
    struct listener listeners[ENTRANCES_MAX];
    uint32_t listener_count;
    uint32_t accepting;  /* a bit of each listener: the request is in the ring */
    uint32_t listening;  /* likewise: open */
    uint32_t next_guest; /* the worker that gets the next connection of a shared listener */
    bool draining;
    uint64_t accept_retry_ns; /* accepting waits until then; UINT64_MAX: it doesn't wait */
    uint64_t accept_warned_ns;
    uint64_t listen_until_ns; /* UINT64_MAX until draining begins */
    uint64_t stop_ns;         /* when draining ends at the latest */
    uint64_t secret_ends_ns;  /* of the previous secret; UINT64_MAX: there is none */
};

static const struct ring_options worker_ring = {
    .submissions = RING_SUBMISSIONS,
    .completions = RING_COMPLETIONS,
    .buffers = RING_BUFFERS,
    .buffer_bytes = RING_BUFFER_BYTES,
};

static uint64_t now(const struct worker *worker)
{
    return worker->connections.host.now_ns;
}

static void start_accepting(struct worker *worker)
{
    worker->accept_retry_ns = UINT64_MAX;
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        if (worker->listening & ~worker->accepting & 1u << i)
            ring_accept(worker->ring, worker->listeners[i].descriptor, TAG_ACCEPT + i);
    }
    worker->accepting |= worker->listening;
}

static void warn_of_accept(struct worker *worker, int error)
{
    if (worker->draining || now(worker) - worker->accept_warned_ns < ACCEPT_WARN_S * SECOND_NS)
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

    *peer = PEERS_NONE;
    if (!worker->shared->peers || local)
        return true;
    if (!sockets_peer(descriptor, address))
        return false;
    *peer = peers_enter(worker->shared->peers, address);
    if (*peer == PEERS_NONE)
        worker_refuse(worker, descriptor, LOG_EVENT_MAX_CONNECTIONS_PER_IP);
    return *peer != PEERS_NONE;
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
        if (peer != PEERS_NONE)
            peers_leave(shared->peers, peer);
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

static void accepted(struct worker *worker, const struct completion *completion)
{
    uint32_t number = (uint32_t)completion->tag - TAG_ACCEPT;

    if (!completion->more)
        worker->accepting &= ~(1u << number);
    if (completion->result >= 0) {
        receive_guest(worker, &worker->listeners[number], completion->result);
    } else if (worker->listening && !passes_by(-completion->result)) {
        /* Those who come wait in the kernel's queue until there is a descriptor, or memory. */
        worker->accept_retry_ns = now(worker) + ACCEPT_RETRY_MS * (SECOND_NS / 1000);
        warn_of_accept(worker, -completion->result);
    }
}

/* ---- stopping ---- */

static void stop_listening(struct worker *worker, uint32_t number)
{
    worker->listening &= ~(1u << number);
    if (worker->accepting & 1u << number)
        ring_cancel_tag(worker->ring, TAG_ACCEPT + number);
    ring_close_descriptor(worker->ring, worker->listeners[number].descriptor);
}

static void drain(struct worker *worker)
{
    uint64_t timeout_s = worker->shared->options->shutdown_timeout_s;

    if (worker->draining)
        return;
    worker->draining = true;
    worker->stop_ns = timeout_s ? now(worker) + timeout_s * SECOND_NS : UINT64_MAX;
    worker->listen_until_ns = now(worker) + LAST_HANDSHAKES_MS * (SECOND_NS / 1000);
    if (worker->number == 0)
        entrances_hide(worker->shared->entrances);
    for (uint32_t i = 0; i < worker->listener_count; i++) {
        if (worker->listeners[i].passed)
            stop_listening(worker, i); /* who waits there is the next server's */
        else
            sockets_close_door(&worker->listeners[i]);
    }
    connections_drain(&worker->connections);
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

/* Clients need time to learn the new secret; a connection that is open needs none. */
static void worker_reload_secret(struct worker *worker)
{
    const struct options *options = worker->shared->options;
    uint64_t ends_ns = now(worker) + options->read_timeout_s * SECOND_NS;
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

    ring_watch(worker->ring, worker->shared->signals, POLLIN, TAG_SIGNAL);
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
    for (uint32_t i = 0; i < worker->shared->count; i++) {
        if (i != worker->number)
            ring_poke(worker->ring, ring_descriptor(worker->shared->workers[i]->ring), TAG_DRAIN);
    }
    drain(worker);
}

/* ---- fences ---- */

/* NULL where this worker does not keep any. */
static struct fence_keeper *fence_keeper(const struct worker *worker)
{
    return worker->number == STRIPES_KEEPER ? worker->shared->fence_keeper : NULL;
}

static void keep_fences(struct worker *worker, enum fence_keeper_wish wish)
{
    const struct fence_keeper *keeper = fence_keeper(worker);

    if (wish == FENCE_KEEPER_WRITE)
        ring_write(worker->ring, keeper->file, keeper->bytes, FENCE_FILE_BYTES, 0, TAG_FENCES);
    else if (wish == FENCE_KEEPER_SYNC)
        ring_sync(worker->ring, keeper->file, TAG_FENCES);
}

/* ---- the loop ---- */

static void complete(struct worker *worker, const struct completion *completion)
{
    if (completion->tag >= CONNECTIONS_TAG_MIN) {
        connections_completion(&worker->connections, completion);
        if (completion->bytes)
            ring_return_buffer(worker->ring, completion->buffer);
        return;
    }
    switch (completion->tag) {
    case TAG_SIGNAL:
        signalled(worker);
        break;
    case TAG_DRAIN:
        drain(worker);
        break;
    case TAG_FENCES:
        keep_fences(worker,
                    fence_keeper_done(fence_keeper(worker), now(worker), completion->result));
        break;
    case TAG_GUEST:
    case TAG_GUEST_LOCAL:
        admit(worker, completion->result, completion->tag == TAG_GUEST_LOCAL);
        break;
    case TAG_WAKE: /* to be awake was all */
    case 0:
        break;
    default:
        accepted(worker, completion);
    }
}

static void poke_others(struct worker *worker)
{
    uint64_t others = worker->connections.host.wake & ~(1ull << worker->number);

    for (; others; others &= others - 1) {
        const struct worker *other = worker->shared->workers[__builtin_ctzll(others)];

        ring_poke(worker->ring, ring_descriptor(other->ring), TAG_WAKE);
    }
    worker->connections.host.wake &= 1ull << worker->number;
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
    until_ns = earlier(until_ns, worker->secret_ends_ns);
    if (fence_keeper(worker))
        until_ns = earlier(until_ns, fence_keeper_deadline(fence_keeper(worker)));
    return stripes_sleep(worker->shared->stripes, worker->number, until_ns);
}

/* Sleeps until something happens or is due; not at all where there is work. */
static void turn(struct worker *worker, bool busy)
{
    uint64_t until_ns = busy ? 0 : deadline(worker);

    ring_turn(worker->ring, until_ns > now(worker) ? until_ns : 0);
    stripes_awake(worker->shared->stripes, worker->number);
    worker->connections.host.now_ns = clock_monotonic_ns();
}

/* Who had begun to connect when draining began has been let in, to hear of it and not be reset. */
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
}

/* Draining has taken long enough. */
static void stop_when_due(struct worker *worker)
{
    if (now(worker) < worker->stop_ns)
        return;
    worker->stop_ns = UINT64_MAX;
    connections_abort(&worker->connections);
}

/* The first worker stays until all others have finished, to hear a second signal. */
static bool stopped(const struct worker *worker)
{
    return worker->draining && !worker->listening && !worker->accepting &&
           connections_count(&worker->connections) == 0 &&
           (worker->number != 0 ||
            atomic_load(&worker->shared->finished) == worker->shared->count - 1);
}

void worker_run(struct worker *worker)
{
    struct connections *connections = &worker->connections;
    struct session_host *host = &connections->host;
    uint64_t own = 1ull << worker->number;
    bool busy = false;

    host->now_ns = clock_monotonic_ns();
    while (!stopped(worker)) {
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
        if (fence_keeper(worker))
            keep_fences(worker, fence_keeper_step(fence_keeper(worker), now(worker)));
        busy = connections_work(connections) || (host->wake & own);
        poke_others(worker);
        /* A descriptor has become free: whoever waits for one need wait no longer. */
        if (connections_count(connections) < open && worker->accept_retry_ns != UINT64_MAX)
            worker->accept_retry_ns = now(worker);
    }
    if (worker->number != 0) {
        atomic_fetch_add(&worker->shared->finished, 1);
        ring_poke(worker->ring, ring_descriptor(worker->shared->workers[0]->ring), TAG_WAKE);
    }
    ring_turn(worker->ring, 0);
}

int worker_probe(void)
{
    struct ring *ring;
    int error = ring_open(&ring, &worker_ring);

    if (error == 0)
        ring_close(ring);
    return error;
}

int worker_create(struct worker **created, struct worker_shared *shared, uint32_t number)
{
    const struct options *options = shared->options;
    struct connections_options connections = {
        .memory = shared->memory,
        .buffers = &shared->buffers,
        .tls = shared->tls,
        .worker = number,
        .numbers = &shared->numbers,
        .open = &shared->connections,
        .peers = shared->peers,
        .read_timeout_ns = options->read_timeout_s * SECOND_NS,
        .write_timeout_ns = options->write_timeout_s * SECOND_NS,
        .host =
            {
                .stripes = shared->stripes,
                .default_lease_s = options->default_lease_s,
                .secret = shared->secret,
                .connections = &shared->connections,
            },
    };
    struct worker *worker = calloc(1, sizeof(*worker));
    int error;

    if (!worker)
        return -ENOMEM;
    error = ring_open(&worker->ring, &worker_ring);
    if (error < 0) {
        free(worker);
        return error;
    }
    worker->shared = shared;
    worker->number = number;
    worker->listener_count = entrances_of(shared->entrances, number, worker->listeners);
    worker->listening = (1u << worker->listener_count) - 1;
    worker->accept_retry_ns = UINT64_MAX;
    worker->listen_until_ns = UINT64_MAX;
    worker->stop_ns = UINT64_MAX;
    worker->secret_ends_ns = UINT64_MAX;
    connections.ring = worker->ring;
    connections_init(&worker->connections, &connections);
    if (number == 0)
        ring_watch(worker->ring, shared->signals, POLLIN, TAG_SIGNAL);
    *created = worker;
    return 0;
}

void worker_destroy(struct worker *worker)
{
    connections_free(&worker->connections);
    ring_close(worker->ring);
    free(worker);
}
