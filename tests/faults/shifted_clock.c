/*
 * For LD_PRELOAD: shifts the wall clock by the nanoseconds in the file that SHIFTED_CLOCK names
 * (8 bytes, which can change at any time). The monotonic clock is not shifted.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000

static int64_t shift_ns(void)
{
    static const volatile int64_t *shared;

    if (!shared) {
        const char *path = getenv("SHIFTED_CLOCK");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *mapped = mmap(NULL, sizeof(*shared), PROT_READ, MAP_SHARED, file, 0);

        if (mapped == MAP_FAILED)
            abort();
        close(file);
        shared = mapped;
    }
    return *shared;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);

    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t now_ns = time->tv_sec * SECOND_NS + time->tv_nsec + shift_ns();

        time->tv_sec = now_ns / SECOND_NS;
        time->tv_nsec = now_ns % SECOND_NS;
    }
    return result;
}

time_t time(time_t *result)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    result->tv_sec = now.tv_sec;
    result->tv_usec = now.tv_nsec / 1000;
    return 0;
}
