#include "server/shutdown.h"

#include "base/time_units.h"
#include "os/notify.h"

void shutdown_init(struct shutdown *shutdown, struct shutdown_shared *shared,
                   struct acceptor *acceptor, struct connections *connections)
{
    *shutdown = (struct shutdown){
        .shared = shared,
        .acceptor = acceptor,
        .connections = connections,
        .close_ns = UINT64_MAX,
        .abort_ns = UINT64_MAX,
    };
}

static void shutdown_drain(struct shutdown *shutdown, uint64_t now_ns)
{
    uint64_t timeout_ns = shutdown->shared->timeout_ns;

    if (shutdown->phase != SHUTDOWN_SERVING)
        return;
    shutdown->phase = SHUTDOWN_ADMITTING;
    shutdown->close_ns = now_ns + SHUTDOWN_ADMIT_MS * NS_PER_MS;
    shutdown->abort_ns = timeout_ns ? now_ns + timeout_ns : UINT64_MAX;
    acceptor_begin_drain(shutdown->acceptor);
    connections_drain(shutdown->connections);
}

/* The announcement comes before anything that another server can notice: see listeners.c. */
void shutdown_begin(struct shutdown *shutdown, struct listeners *listeners, uint64_t now_ns)
{
    listeners_announce(listeners);
    notify_service_manager("STOPPING=1");
    atomic_store(&shutdown->shared->draining, true);
    shutdown_drain(shutdown, now_ns);
    if (!listeners->path_stays)
        listeners_hide(listeners);
}

void shutdown_follow(struct shutdown *shutdown, uint64_t now_ns)
{
    if (atomic_load_explicit(&shutdown->shared->draining, memory_order_relaxed))
        shutdown_drain(shutdown, now_ns);
}

void shutdown_expire(struct shutdown *shutdown, uint64_t now_ns)
{
    if (now_ns >= shutdown->close_ns) {
        shutdown->phase = SHUTDOWN_CLOSING;
        shutdown->close_ns = UINT64_MAX;
        acceptor_close(shutdown->acceptor);
        connections_dismiss(shutdown->connections);
    }
    if (now_ns >= shutdown->abort_ns) {
        shutdown->abort_ns = UINT64_MAX;
        atomic_fetch_add(&shutdown->shared->holders_cut,
                         connections_count_holders(shutdown->connections));
        connections_abort(shutdown->connections);
    }
}

uint64_t shutdown_deadline(const struct shutdown *shutdown)
{
    return shutdown->close_ns < shutdown->abort_ns ? shutdown->close_ns : shutdown->abort_ns;
}

bool shutdown_report(struct shutdown *shutdown)
{
    if (shutdown->reported || shutdown->phase == SHUTDOWN_SERVING ||
        !acceptor_is_closed(shutdown->acceptor) || connections_count(shutdown->connections) > 0)
        return false;
    shutdown->reported = true;
    return shutdown_add_report(shutdown->shared);
}

bool shutdown_withdraw_report(struct shutdown *shutdown)
{
    struct shutdown_shared *shared = shutdown->shared;
    uint32_t reports = atomic_load(&shared->reports);

    if (!shutdown->reported)
        return true;
    do {
        if (reports == shared->entrants)
            return false;
    } while (!atomic_compare_exchange_weak(&shared->reports, &reports, reports - 1));
    shutdown->reported = false;
    return true;
}

bool shutdown_is_complete(const struct shutdown *shutdown)
{
    return shutdown->reported && shutdown_all_reported(shutdown->shared);
}
