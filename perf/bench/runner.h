/*
 * A thread of the load: every n-th client, its connections, and the start times of its rounds.
 */
#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/client.h"

/* A phase of the load for all threads. Times are of the monotonic clock. */
struct phase {
    uint64_t rounds;   /* of each client; 0: no limit */
    uint64_t begin_ns; /* start of the first rounds */
    uint64_t ramp_ns;  /* time over which the clients start */
    uint64_t until_ns; /* no round starts after this; UINT64_MAX: until all rounds are done */
    uint64_t window_start_ns;
    uint64_t window_end_ns;
    bool last; /* the threads end */
};

struct runner_shared {
    const struct settings *settings;
    const struct codec *codec;
    struct tls_context *tls; /* or NULL */
    struct checker *checker; /* or NULL */
    uint32_t count;          /* of runners */
    struct phase phase;
    /* No round starts after this. UINT64_MAX: neither a signal nor error_auth came. */
    _Atomic uint64_t stop_ns;
    sem_t done; /* posted by each runner after setup and after each phase */
};

struct runner {
    struct runner_shared *shared;
    uint32_t number;
    pthread_t pthread;
    sem_t begin; /* posted for each phase */
    struct thread_state thread;
    struct client *clients;
    uint32_t count;
    struct round *rounds;
    uint8_t *requests;
    uint32_t arrived;                /* clients that may start in this phase */
    uint32_t retired;                /* clients that have done all their rounds */
    uint64_t until_ns;               /* of the phase, or the stop if that is earlier */
    uint64_t next_start;             /* with --rate: number of this thread's next batch */
    uint64_t unanswered;             /* clients without a reply at the end of a phase */
    uint64_t end_ns;                 /* of the phase */
    char problem[SETUP_PROBLEM_MAX]; /* why the setup failed; empty: it did not */
};

/*
 * Starts the thread, which connects its clients and posts `done`. Returns false if no thread can
 * start.
 */
bool runner_start(struct runner *runner, struct runner_shared *shared, uint32_t number);

/* Starts shared->phase. */
void runner_go(struct runner *runner);

/* Waits for the thread after the last phase and frees everything except the tally. */
void runner_join(struct runner *runner);

#endif
