/*
 * A worker: one thread with its ring, its listeners and its connections. Workers share only the
 * members of struct worker_shared.
 *
 * A turn of its loop: one system call submits the requests of the last turn and waits. Then the
 * worker handles completions, effects in its mailbox, deadlines, and the work of its connections.
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include <stdint.h>

#include "base/budget.h"
#include "server/connection_id.h"
#include "server/credentials.h"
#include "server/fence_store.h"
#include "server/gate.h"
#include "server/ip_limits.h"
#include "server/listeners.h"
#include "server/metrics_worker.h"
#include "server/options.h"
#include "server/shutdown.h"
#include "server/stripes.h"

struct worker;

/* What the workers of a process share. */
struct worker_shared {
    const struct options *options;
    struct memory memory;  /* its functions are called from any thread */
    struct budget buffers; /* of it, for input and output of connections */
    struct stripes *stripes;
    struct shutdown_shared shutdown;
    struct listeners *listeners;
    struct credentials *credentials;
    struct fence_store *fence_store; /* of worker STRIPES_FENCE_WORKER; NULL: there is none */
    struct ip_limits *ip_limits;     /* NULL: addresses have no limit */
    struct peers *peers;
    _Atomic uint64_t next_id;     /* connections so far */
    _Atomic uint64_t connections; /* open now */
    struct metrics_worker metrics[WORKERS_MAX];
    int rings[ENTRANTS_MAX]; /* of each worker, then of the front end */
    uint32_t count;          /* workers */
    uint32_t entrants;       /* workers and front ends */
    struct gate *gate;       /* see server/gate.h; NULL: there is none */
    int signals;             /* a signalfd(2) of SIGTERM, SIGINT and SIGHUP, which worker 0 reads */
};

/* Returns 0 if the kernel permits the ring of a worker, else the error of worker_open. */
int worker_probe(void);

/*
 * Creates a worker and opens its ring, in the thread that will run it. Returns 0, or -errno if the
 * kernel refuses the ring (see ring_explain) or memory is short; then `*opened` is NULL.
 */
int worker_open(struct worker **opened);

/* Returns the descriptor by which other workers' rings reach this worker. */
int worker_ring(const struct worker *worker);

/*
 * Sets up the worker with this number, in its thread. `shared` must be complete, and must outlive
 * the worker.
 */
void worker_set_up(struct worker *worker, struct worker_shared *shared, uint32_t number);

/* Runs until the server has drained. All workers must have been set up. */
void worker_run(struct worker *worker);

void worker_destroy(struct worker *worker);

#endif
