/*
 * A worker: one thread with its ring, its listener and its connections. It shares nothing with
 * other workers but the stripes and the counters below.
 *
 * From the listeners that all share, the first worker accepts, and hands connections out in turn.
 * Were each to accept, one would get nearly all: the kernel wakes the one that asked first.
 *
 * A turn: one system call submits what the last turn queued and waits; then come the completions,
 * the effects that others left in the mailbox, what is due, and the connections' work.
 */
#ifndef SERVER_WORKER_H
#define SERVER_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "server/connection_id.h"
#include "server/fence_store.h"
#include "server/ip_limits.h"
#include "server/listeners.h"
#include "server/options.h"
#include "server/secret.h"
#include "server/stripes.h"

struct tls_place;
struct worker;

/* What the workers of a process share. */
struct worker_shared {
    const struct options *options;
    struct memory memory;  /* to be called from any thread */
    struct budget buffers; /* of it, for what connections have not read or sent yet */
    struct stripes *stripes;
    atomic_bool draining; /* the server stops; each worker looks at it when it wakes */
    struct listeners *listeners;
    struct fence_store *fence_store; /* of worker STRIPES_FENCE_WORKER; NULL: there is none */
    struct ip_limits *ip_limits;     /* NULL: addresses have no limit */
    _Atomic uint64_t next_id;        /* of connections so far */
    _Atomic uint64_t connections;    /* now */
    struct worker *workers[WORKERS_MAX];
    uint32_t count;
    _Atomic uint32_t finished; /* workers that have reported, see worker_report */
    struct tls_place *tls;     /* NULL: no TLS */
    struct secret *secret;     /* NULL: no auth is asked for */
    int signals;               /* a signalfd(2) of the first worker's: stop, stop at once, reload */
};

/* Returns 0 if the kernel gives this thread a ring as workers need it, or what worker_create does.
 */
int worker_probe(void);

/*
 * Creates a worker and opens its ring, in the thread that is going to run it. Returns 0, or -errno
 * if the kernel refuses the ring (see ring_explain) or memory is short; then `*opened` is NULL.
 */
int worker_open(struct worker **opened);

/*
 * Gives the worker, in its thread, its number and what it shares with the others. All of `shared`
 * must be complete.
 */
void worker_set_up(struct worker *worker, struct worker_shared *shared, uint32_t number);

/* Runs until the server is drained. All workers must have been set up. */
void worker_run(struct worker *worker);

void worker_destroy(struct worker *worker);

#endif
