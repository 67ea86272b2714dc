/*
 * What threads have counted so far: written by each, and read by the one that shows it.
 */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

struct progress {
    _Atomic uint64_t rounds;
    _Atomic uint64_t requests;
    _Atomic uint64_t request_ns;
    _Atomic uint64_t errors;
};

/* Nobody else writes `counter`: neither a locked instruction nor an order is needed. */
static inline void progress_add(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

/* Of several threads, at the end of the second before. */
struct progress_sums {
    uint64_t rounds;
    uint64_t requests;
    uint64_t request_ns;
    uint64_t errors;
};

/* A line on stderr about the second that ends now; `sums` are brought up to date. */
void progress_show(const struct progress *const *threads, uint32_t count, uint64_t second,
                   struct progress_sums *sums);

#endif
