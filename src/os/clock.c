#include "os/clock.h"

#include <pthread.h>
#include <time.h>

#include "base/time_units.h"

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now = {0};

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_boottime_ns(void)
{
    return clock_read_ns(CLOCK_BOOTTIME);
}

uint64_t clock_wall_ns(void)
{
    return clock_read_ns(CLOCK_REALTIME);
}

int clock_of_thread(void)
{
    clockid_t clock = CLOCK_THREAD_CPUTIME_ID;

    pthread_getcpuclockid(pthread_self(), &clock);
    return clock;
}

uint64_t clock_thread_ns(int thread_clock)
{
    return clock_read_ns(thread_clock);
}
