/*
 * What the load costs the server's process and our own: looked at before and after.
 */
#ifndef BENCH_COST_H
#define BENCH_COST_H

#include <stdbool.h>
#include <stdint.h>

struct cost {
    uint64_t at_ns;
    uint64_t own_cpu_ns;
    int64_t server_cpu_ns; /* -1: not known, as is what follows */
    int64_t server_memory_bytes;
};

/* Whether `server`, a process, can be looked at. */
bool cost_known(uint64_t server);

/* What is so far; `server` may be 0, for none. */
void cost_take(struct cost *cost, uint64_t server);

/* The part of the CPU time of `threads`, or of the CPUs we may use if they are fewer, we took. */
double cost_own_share(const struct cost *before, const struct cost *after, uint32_t threads);

/* -1: not known. */
int64_t cost_server_cpu_ns(const struct cost *before, const struct cost *after);

#endif
