#include "server/acceptor.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/time_units.h"
#include "os/sockets.h"
#include "server/log.h"
#include "server/log_events.h"
#include "server/worker_tags.h"

enum {
    ACCEPTOR_PAUSE_MS = 100,
    ACCEPTOR_WARN_S = 1 /* between warnings */
};

void acceptor_init(struct acceptor *acceptor, const struct acceptor_options *options, uint64_t tag)
{
    memset(acceptor, 0, sizeof(*acceptor));
    acceptor->options = *options;
    acceptor->count = listeners_of_worker(options->listeners, options->worker, acceptor->listeners);
    acceptor->tag = tag;
    acceptor->retry_ns = UINT64_MAX;
}

/* ---- limits ---- */

static void acceptor_log_refusal(uint64_t now_ns, int descriptor, enum log_event event)
{
    const struct log_peer peer = {.descriptor = descriptor};

    log_event_of_peer(event, now_ns, &peer, NULL);
}

/* Returns whether the peer's address may have one more, and sets `*ip_limit` to its count. */
static bool acceptor_count_address(struct acceptor *acceptor, uint64_t now_ns, int descriptor,
                                   bool local, uint32_t *ip_limit)
{
    uint8_t address[SOCKETS_PEER_BYTES];

    *ip_limit = IP_LIMITS_NONE;
    if (!acceptor->options.ip_limits || local)
        return true;
    if (!sockets_peer(descriptor, address))
        return false;
    *ip_limit = ip_limits_enter(acceptor->options.ip_limits, address);
    if (*ip_limit == IP_LIMITS_NONE)
        acceptor_log_refusal(now_ns, descriptor, LOG_EVENT_MAX_CONNECTIONS_PER_IP);
    return *ip_limit != IP_LIMITS_NONE;
}

void acceptor_admit(struct acceptor *acceptor, uint64_t now_ns, int descriptor, bool local)
{
    const struct acceptor_options *options = &acceptor->options;
    uint64_t max = options->connections_max;
    uint32_t ip_limit;

    if (atomic_fetch_add_explicit(options->open, 1, memory_order_relaxed) >= max && max > 0) {
        acceptor_log_refusal(now_ns, descriptor, LOG_EVENT_MAX_CONNECTIONS);
    } else if (acceptor_count_address(acceptor, now_ns, descriptor, local, &ip_limit)) {
        if (connections_open(options->connections, descriptor, ip_limit)) {
            metrics_count(&options->connections->context.session.metrics->connections);
            return;
        }
        if (ip_limit != IP_LIMITS_NONE)
            ip_limits_leave(options->ip_limits, ip_limit);
        acceptor_log_refusal(now_ns, descriptor, LOG_EVENT_NO_ROOM);
    }
    atomic_fetch_sub_explicit(options->open, 1, memory_order_relaxed);
    ring_close_descriptor(options->ring, descriptor);
}

/* ---- accepting ---- */

void acceptor_request(struct acceptor *acceptor, uint64_t now_ns)
{
    if (acceptor->retry_ns != UINT64_MAX) {
        if (acceptor->retry_ns > now_ns)
            return;
        acceptor->retry_ns = UINT64_MAX;
    }
    for (uint32_t i = 0; i < acceptor->count; i++) {
        if (acceptor->states[i] != ACCEPTOR_IDLE)
            continue;
        ring_accept(acceptor->options.ring, acceptor->listeners[i].descriptor, acceptor->tag + i);
        acceptor->states[i] = ACCEPTOR_ACCEPTING;
    }
}

static void acceptor_dispatch(struct acceptor *acceptor, uint64_t now_ns,
                              const struct listener *listener, int descriptor)
{
    const struct acceptor_options *options = &acceptor->options;
    uint32_t worker = options->worker;

    if ((listener->local || listener->passed) && !acceptor->draining) {
        worker = acceptor->next_worker;
        acceptor->next_worker = (worker + 1) % options->workers;
    }
    if (worker == options->worker)
        acceptor_admit(acceptor, now_ns, descriptor, listener->local);
    else
        ring_hand(options->ring, options->rings[worker], descriptor,
                  listener->local ? TAG_HANDED_OVER_LOCAL : TAG_HANDED_OVER);
}

/*
 * Returns whether an error of accept(2) concerns one connection, which ended before it was
 * accepted, or the network. Any other error may last.
 */
static bool acceptor_error_passes(int error)
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

/* New connections stay in the kernel's queue until there is a descriptor or memory again. */
static void acceptor_pause(struct acceptor *acceptor, uint64_t now_ns, int error)
{
    acceptor->retry_ns = now_ns + ACCEPTOR_PAUSE_MS * NS_PER_MS;
    if (acceptor->draining || now_ns - acceptor->warned_ns < ACCEPTOR_WARN_S * NS_PER_S)
        return;
    acceptor->warned_ns = now_ns;
    log_line(LOG_WARN, "cannot accept connections for now", "error", strerror(error), NULL);
}

void acceptor_completion(struct acceptor *acceptor, uint64_t now_ns, uint32_t index,
                         const struct completion *completion)
{
    enum acceptor_state *state = &acceptor->states[index];
    bool current = completion->tag == acceptor->tag + index;

    if (!completion->more && current)
        *state = *state == ACCEPTOR_CLOSING ? ACCEPTOR_CLOSED : ACCEPTOR_IDLE;
    if (completion->result >= 0)
        acceptor_dispatch(acceptor, now_ns, &acceptor->listeners[index], completion->result);
    else if (current && *state == ACCEPTOR_IDLE && !acceptor_error_passes(-completion->result))
        acceptor_pause(acceptor, now_ns, -completion->result);
}

void acceptor_end_pause(struct acceptor *acceptor, uint64_t now_ns)
{
    if (acceptor->retry_ns != UINT64_MAX)
        acceptor->retry_ns = now_ns;
}

uint64_t acceptor_deadline(const struct acceptor *acceptor)
{
    return acceptor->retry_ns;
}

/* ---- closing ---- */

static void acceptor_cancel(struct acceptor *acceptor, uint32_t index)
{
    ring_cancel_tag(acceptor->options.ring, acceptor->tag + index);
}

static void acceptor_close_listener(struct acceptor *acceptor, uint32_t index)
{
    const struct listener *listener = &acceptor->listeners[index];
    enum acceptor_state *state = &acceptor->states[index];

    if (*state == ACCEPTOR_CLOSING || *state == ACCEPTOR_CLOSED)
        return;
    if (*state == ACCEPTOR_ACCEPTING)
        acceptor_cancel(acceptor, index);
    *state = *state == ACCEPTOR_ACCEPTING ? ACCEPTOR_CLOSING : ACCEPTOR_CLOSED;
    if (!listeners_must_stay(acceptor->options.listeners, listener))
        ring_close_descriptor(acceptor->options.ring, listener->descriptor);
}

void acceptor_begin_drain(struct acceptor *acceptor)
{
    acceptor->draining = true;
    for (uint32_t i = 0; i < acceptor->count; i++) {
        const struct listener *listener = &acceptor->listeners[i];

        if (listener->passed || listeners_must_stay(acceptor->options.listeners, listener))
            acceptor_close_listener(acceptor, i);
        else
            sockets_reject_new(listener);
    }
}

void acceptor_close(struct acceptor *acceptor)
{
    acceptor->retry_ns = UINT64_MAX;
    for (uint32_t i = 0; i < acceptor->count; i++)
        acceptor_close_listener(acceptor, i);
}

bool acceptor_is_closed(const struct acceptor *acceptor)
{
    for (uint32_t i = 0; i < acceptor->count; i++) {
        if (acceptor->states[i] != ACCEPTOR_CLOSED)
            return false;
    }
    return true;
}

void acceptor_lose(struct acceptor *acceptor, uint64_t tag)
{
    for (uint32_t i = 0; i < acceptor->count; i++) {
        enum acceptor_state *state = &acceptor->states[i];

        if (*state == ACCEPTOR_ACCEPTING || *state == ACCEPTOR_CLOSING)
            acceptor_cancel(acceptor, i);
        if (*state == ACCEPTOR_ACCEPTING)
            *state = ACCEPTOR_IDLE;
        else if (*state == ACCEPTOR_CLOSING)
            *state = ACCEPTOR_CLOSED;
    }
    acceptor->tag = tag;
}
