/*
 * The result of a load.
 */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/histogram.h"
#include "bench/judge.h"
#include "bench/settings.h"
#include "bench/tally.h"

struct result {
    const struct settings *settings;
    struct tally total;
    struct histogram *requests; /* of all kinds */
    double seconds;
    int64_t server_cpu_ns;            /* of all requests; -1: unknown */
    int64_t server_memory_bytes;      /* -1: unknown */
    double own_cpu_share;             /* of the CPUs that the threads can use */
    uint32_t idle_closed;             /* idle connections that the server closed */
    int connect_error;                /* errno of a connect that failed; 0: none */
    uint64_t unanswered;              /* workers without a reply at the end */
    double silent_s;                  /* how long these waited for replies, at most */
    uint32_t given_up;                /* workers that ended without a server */
    bool unauthenticated;             /* error_auth ended the load */
    int signal;                       /* that ended the load; 0: none */
    const struct judge_counts *check; /* of --check, or NULL */
    uint64_t violations;
};

/* Returns false if memory is short. */
bool result_init(struct result *result, const struct settings *settings);
void result_free(struct result *result);

/* Computes the sums after all tallies were added. */
void result_finish(struct result *result);

double result_per_second(const struct result *result, uint64_t count);

/* Returns microseconds per request; below 0: unknown. */
double result_server_cpu_us(const struct result *result);

uint64_t result_errors(const struct result *result);

/* Returns the number of rounds that failed. */
uint64_t result_failed(const struct result *result);

/* Returns whether more than half of the rounds failed. */
bool result_mostly_failed(const struct result *result);

/* Returns the name of the signal that ended the load, or NULL. */
const char *result_signal_name(const struct result *result);

#endif
