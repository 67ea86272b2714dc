/*
 * A pthread of the load: every n-th of the clients, their connections, and when each of them
 * begins.
 */
#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/client.h"

/* What is to be done by all threads; times are of the monotonic clock. */
struct phase {
    uint64_t rounds;   /* of each client; 0: any number */
    uint64_t begin_ns; /* of the first rounds */
    uint64_t ramp_ns;  /* over which the clients begin */
    uint64_t until_ns; /* no round begins from here on; UINT64_MAX: until all rounds are done */
    uint64_t window_start_ns;
    uint64_t window_end_ns;
    bool last; /* nothing is to be done any more */
};

struct runner_shared {
    const struct settings *settings;
    const struct codec *codec;
    struct tls_context *tls; /* or NULL */
    struct checker *checker; /* or NULL */
    uint32_t count;          /* of runners */
    struct phase phase;
    sem_t done; /* posted by each runner after it was set up and after each phase */
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
    uint32_t arrived;                /* clients that may begin in this phase */
    uint32_t retired;                /* those that have done all of it */
    uint64_t next_start;             /* of --rate: the number of the next batch of this pthread */
    uint64_t unanswered;             /* clients that waited in vain at the end of a phase */
    uint64_t end_ns;                 /* of the phase */
    char problem[SETUP_PROBLEM_MAX]; /* why it could not be set up; empty: it is */
};

/* Starts the pthread, which sets up its clients and posts `done`. False where there is no pthread.
 */
bool runner_start(struct runner *runner, struct runner_shared *shared, uint32_t number);

/* Has it do shared->phase. */
void runner_go(struct runner *runner);

/* After the last phase: waits for the pthread and frees what it had, but the tally. */
void runner_join(struct runner *runner);

#endif
