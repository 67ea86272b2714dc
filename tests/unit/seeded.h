/*
 * Random numbers from a seed that is printed, and that SEED=<number> in the environment replays.
 */
#ifndef TESTS_UNIT_SEEDED_H
#define TESTS_UNIT_SEEDED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct seeded {
    uint64_t state;
};

static inline void seeded_init(struct seeded *seeded, const char *test)
{
    const char *given = getenv("SEED");
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    seeded->state = given ? strtoull(given, NULL, 0)
                          : (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    fprintf(stderr, "# %s: SEED=%llu\n", test, (unsigned long long)seeded->state);
}

/* 64 random bits (splitmix64). */
static inline uint64_t seeded_next(struct seeded *seeded)
{
    uint64_t value = seeded->state += 0x9e3779b97f4a7c15;

    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

/* 0 to `bound` - 1. */
static inline uint32_t seeded_below(struct seeded *seeded, uint32_t bound)
{
    return (uint32_t)((seeded_next(seeded) >> 32) * bound >> 32);
}

#endif
