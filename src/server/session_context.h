/*
 * What the sessions of one thread share: those of the TCP connections of a worker, or the sessions
 * of the HTTP front end.
 */
#ifndef SERVER_SESSION_CONTEXT_H
#define SERVER_SESSION_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "server/metrics_worker.h"
#include "server/secrets.h"
#include "server/stripes.h"

struct session_context;

/* An administrator has revoked a grant. */
struct session_revocation {
    struct lock_key key; /* borrowed */
    uint64_t fence;
    uint64_t holder; /* connection ids */
    uint64_t administrator;
};

struct session_context {
    struct stripes *stripes;
    struct pool *output_pool;
    uint64_t default_lease_s;
    uint32_t claims_max;                 /* of one connection; 0: no limit */
    struct secrets *secrets;             /* NULL: none */
    const _Atomic uint64_t *connections; /* for stats */
    struct peers *peers;                 /* for name and show */
    struct metrics_worker *metrics;
    /* Logs a revocation. */
    void (*revoked)(const struct session_context *context,
                    const struct session_revocation *revocation);
    bool draining;
    const struct budget *buffers; /* of the process; NULL: unlimited */
    uint64_t now_ns;              /* of this turn */
    uint64_t wake;                /* workers to wake, see server/stripes.h */
    /* For the next call, which subtracts a step for each request, claim, bucket of statistics or
     * stripe whose claims are counted. */
    uint32_t steps;
    uint32_t overdrawn; /* steps that calls took beyond these, see SESSION_SHOW_MIN */
};

#endif
