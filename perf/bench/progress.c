#include "bench/progress.h"

#include <inttypes.h>
#include <stdio.h>

static uint64_t progress_read(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

uint64_t progress_lost(const struct progress *const *threads, uint32_t count)
{
    uint64_t lost = 0;

    for (uint32_t i = 0; i < count; i++)
        lost += progress_read(&threads[i]->lost);
    return lost;
}

void progress_show(const struct progress *const *threads, uint32_t count, uint64_t second,
                   struct progress *sums)
{
    struct progress all = {0};
    uint64_t requests;

    for (uint32_t i = 0; i < count; i++) {
        all.rounds += progress_read(&threads[i]->rounds);
        all.requests += progress_read(&threads[i]->requests);
        all.request_ns += progress_read(&threads[i]->request_ns);
        all.errors += progress_read(&threads[i]->errors);
        all.lost += progress_read(&threads[i]->lost);
    }
    requests = all.requests - sums->requests;
    fprintf(stderr,
            "%4" PRIu64 " s %10" PRIu64 " rounds/s %10" PRIu64 " requests/s %9.1f us mean %" PRIu64
            " errors",
            second, all.rounds - sums->rounds, requests,
            requests ? (double)(all.request_ns - sums->request_ns) / 1000 / (double)requests : 0,
            all.errors - sums->errors);
    if (all.lost > sums->lost)
        fprintf(stderr, " %" PRIu64 " connections lost", all.lost - sums->lost);
    putc('\n', stderr);
    *sums = all;
}
