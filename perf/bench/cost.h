/*
 * CPU time and memory of the server and of this process, sampled before and after the load.
 */
#ifndef BENCH_COST_H
#define BENCH_COST_H

#include <stdbool.h>
#include <stdint.h>

struct cost {
    uint64_t at_ns;
    uint64_t own_cpu_ns;
    int64_t server_cpu_ns; /* -1: unknown; so for the next field */
    int64_t server_memory_bytes;
};

/* Samples the current values. `server` 0: no server process. */
void cost_take(struct cost *cost, uint64_t server);

/*
 * Returns the share of CPU time that this process used, of `threads` CPUs or of the usable CPUs
 * if these are fewer.
 */
double cost_own_share(const struct cost *before, const struct cost *after, uint32_t threads);

/* Returns -1 if unknown. */
int64_t cost_server_cpu_ns(const struct cost *before, const struct cost *after);

#endif
