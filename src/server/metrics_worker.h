/*
 * What one worker has done so far. Only its thread writes, and any thread may read: so a count is a
 * load and a store, without a locked instruction.
 */
#ifndef SERVER_METRICS_WORKER_H
#define SERVER_METRICS_WORKER_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/memory.h"
#include "dflockd/protocol.h"

enum {
    /* Behind the commands: a request that has none, because it is invalid. */
    METRICS_NO_COMMAND = DFLOCKD_COMMAND_COUNT,
    METRICS_COMMANDS
};

/* On cache lines of its own. */
struct metrics_worker {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t turns;
    _Atomic uint64_t connections;    /* accepted */
    _Atomic uint64_t tls_handshakes; /* complete ones */
    int cpu_clock;                   /* of its thread, see clock_of_thread; set before it runs */
    /* Answered requests by command and outcome; a blocked one counts when its effect comes. */
    _Atomic uint64_t requests[METRICS_COMMANDS][DFLOCKD_OUTCOME_COUNT];
};

/* Adds 1. For the thread that owns the counter. */
static inline void metrics_count(_Atomic uint64_t *counter)
{
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, before + 1, memory_order_relaxed);
}

#endif
