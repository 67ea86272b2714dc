#include "bench/cost.h"

#include <time.h>

#include "base/time_units.h"
#include "bench/process.h"
#include "os/clock.h"

void cost_take(struct cost *cost, uint64_t server)
{
    struct timespec own;
    uint64_t number;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    cost->at_ns = clock_monotonic_ns();
    cost->own_cpu_ns = (uint64_t)own.tv_sec * NS_PER_S + (uint64_t)own.tv_nsec;
    cost->server_cpu_ns = -1;
    cost->server_memory_bytes = -1;
    if (server && process_cpu_ns(server, &number))
        cost->server_cpu_ns = (int64_t)number;
    if (server && process_memory_bytes(server, &number))
        cost->server_memory_bytes = (int64_t)number;
}

double cost_own_share(const struct cost *before, const struct cost *after, uint32_t threads)
{
    uint32_t cpus = process_usable_cpus();
    double cpu_ns = (double)(after->own_cpu_ns - before->own_cpu_ns);

    if (after->at_ns == before->at_ns)
        return 0;
    return cpu_ns / (double)(after->at_ns - before->at_ns) / (cpus < threads ? cpus : threads);
}

int64_t cost_server_cpu_ns(const struct cost *before, const struct cost *after)
{
    if (before->server_cpu_ns < 0 || after->server_cpu_ns < 0)
        return -1;
    return after->server_cpu_ns - before->server_cpu_ns;
}
