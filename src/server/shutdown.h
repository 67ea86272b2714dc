/*
 * How the server stops. Draining begins in worker 0, for all workers.
 *
 *   phase      event                      next       action
 *   SERVING    draining begins            ADMITTING  refuse new connections; drain the open ones
 *   ADMITTING  SHUTDOWN_ADMIT_MS passed   CLOSING    close listeners; dismiss connections
 *   any        --shutdown-timeout passed  same       abort all connections
 *
 * ADMITTING gives connections that had begun before draining a reply instead of a reset.
 *
 * A worker without connections still lets the leases of its stripes expire, for the connections of
 * other workers. So each worker reports once that it has no connections and accepts none, and all
 * leave their loops when all have reported. The HTTP front end reports that no session holds a
 * lease: it goes on serving, so that probes see the drain.
 */
#ifndef SERVER_SHUTDOWN_H
#define SERVER_SHUTDOWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/acceptor.h"
#include "server/connections.h"
#include "server/listeners.h"

enum {
    SHUTDOWN_ADMIT_MS = 50
};

/* What the workers of a process share. */
struct shutdown_shared {
    uint32_t entrants;   /* workers and front ends */
    uint64_t timeout_ns; /* 0: no limit */
    atomic_bool draining;
    _Atomic uint32_t reports;
    _Atomic uint64_t holders_cut; /* connections that held a lease at the timeout */
};

enum shutdown_phase {
    SHUTDOWN_SERVING,
    SHUTDOWN_ADMITTING,
    SHUTDOWN_CLOSING
};

/* Of one worker. */
struct shutdown {
    struct shutdown_shared *shared;
    struct acceptor *acceptor;
    struct connections *connections;
    enum shutdown_phase phase;
    bool reported;
    uint64_t close_ns; /* ADMITTING ends; UINT64_MAX in other phases */
    uint64_t abort_ns; /* UINT64_MAX: never, or done */
};

void shutdown_init(struct shutdown *shutdown, struct shutdown_shared *shared,
                   struct acceptor *acceptor, struct connections *connections);

/* Begins draining in all workers. For worker 0; the caller wakes the others. */
void shutdown_begin(struct shutdown *shutdown, struct listeners *listeners, uint64_t now_ns);

/* Begins draining in this worker if shutdown_begin was called. For each turn. */
void shutdown_follow(struct shutdown *shutdown, uint64_t now_ns);

/* Acts on deadlines. For each turn, when its completions are handled. */
void shutdown_expire(struct shutdown *shutdown, uint64_t now_ns);

/* Returns the next deadline; UINT64_MAX: none. */
uint64_t shutdown_deadline(const struct shutdown *shutdown);

/*
 * Reports if this worker has nothing left. Returns true if all have reported now: the caller wakes
 * the other workers.
 */
bool shutdown_report(struct shutdown *shutdown);

/*
 * Withdraws the report for a connection that another worker handed over. Returns false if all have
 * reported: it is too late, and the caller closes the connection.
 */
bool shutdown_withdraw_report(struct shutdown *shutdown);

/* Returns whether all workers have reported. */
bool shutdown_is_complete(const struct shutdown *shutdown);

/* Adds a report. Returns true if all have reported now: the caller wakes the others. */
static inline bool shutdown_add_report(struct shutdown_shared *shared)
{
    return atomic_fetch_add(&shared->reports, 1) + 1 == shared->entrants;
}

static inline bool shutdown_all_reported(const struct shutdown_shared *shared)
{
    return atomic_load(&shared->reports) == shared->entrants;
}

#endif
