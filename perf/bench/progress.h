/*
 * Counters of a thread. The thread writes them, and the main thread reads them to show progress.
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
    _Atomic uint64_t lost; /* connections */
};

/* Only one thread writes `counter`, so a plain load and store suffice. */
static inline void progress_add(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    atomic_store_explicit(counter, value + by, memory_order_relaxed);
}

/* Returns the number of connections that the threads have lost. */
uint64_t progress_lost(const struct progress *const *threads, uint32_t count);

/*
 * Prints a line about the second that ends now to stderr. `sums` are those of all threads at the
 * end of the previous second; updates them.
 */
void progress_show(const struct progress *const *threads, uint32_t count, uint64_t second,
                   struct progress *sums);

#endif
