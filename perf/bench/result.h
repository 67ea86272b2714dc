/*
 * What a load came to.
 */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/histogram.h"
#include "bench/settings.h"
#include "bench/tally.h"

struct result {
    const struct settings *settings;
    struct tally total;
    struct histogram *requests; /* of all kinds */
    double seconds;
    int64_t server_cpu_ns;       /* of all requests; -1: not known */
    int64_t server_memory_bytes; /* -1: not known */
    double own_cpu_share;        /* of the CPUs that the threads of the load can use */
    uint32_t idle_closed;        /* idle connections that the server closed */
    int connect_error;           /* why a connection could not be tried; 0: none */
    bool checked;
    uint64_t grants; /* of --check: seen, pairs of them compared, and what was wrong */
    uint64_t pairs;
    uint64_t violations;
};

/* False when memory is short. */
bool result_init(struct result *result, const struct settings *settings);
void result_free(struct result *result);

/* Sums up, when all tallies are in. */
void result_finish(struct result *result);

double result_per_second(const struct result *result, uint64_t count);

/* Microseconds for each request; below 0: not known. */
double result_server_cpu_us(const struct result *result);

uint64_t result_errors(const struct result *result);

#endif
