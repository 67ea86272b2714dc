/*
 * What a lock table has done so far, and what its claims are now, for metrics. A table counts under
 * the mutex of its caller. Readers add the counters of several tables.
 *
 * A waiter is granted its slots, times out, is cancelled, or still waits. So waits is the sum
 * of waits_granted, waits_timed_out, waits_cancelled and both numbers of waiters; table_check
 * compares them.
 */
#ifndef LOCK_COUNTERS_H
#define LOCK_COUNTERS_H

#include <stdint.h>

enum {
    LOCK_DURATION_BOUNDS = 8
};

/* The upper bounds of the buckets of struct lock_durations, in nanoseconds; the last has none. */
extern const uint64_t lock_duration_bounds_ns[LOCK_DURATION_BOUNDS];

/* A histogram. */
struct lock_durations {
    uint64_t buckets[LOCK_DURATION_BOUNDS + 1]; /* not cumulative */
    uint64_t sum_ns;
};

struct lock_counters {
    uint64_t grants;
    uint64_t leases_ended; /* not renewed or released in time */
    uint64_t revocations;
    uint64_t waits; /* claims that joined a queue */
    uint64_t waits_timed_out;
    uint64_t waits_cancelled;            /* by a disconnect or the drain */
    struct lock_durations late;          /* from the end of a lease until the table processed it */
    struct lock_durations waits_granted; /* from the request to the grant */
    /* Now. A semaphore of limit 1 counts as a lock, as in `stats`. */
    uint64_t locks_held; /* keys with a holder; shared holders of a lock count once */
    uint64_t lock_waiters;
    uint64_t semaphore_holders;
    uint64_t semaphore_waiters;
};

static inline void lock_durations_add(struct lock_durations *durations, uint64_t ns)
{
    uint32_t bucket = 0;

    while (bucket < LOCK_DURATION_BOUNDS && ns > lock_duration_bounds_ns[bucket])
        bucket++;
    durations->buckets[bucket]++;
    durations->sum_ns += ns;
}

/* Returns how many durations were added. */
uint64_t lock_durations_count(const struct lock_durations *durations);

/* Adds `counters` to `sum`. */
void lock_counters_add(struct lock_counters *sum, const struct lock_counters *counters);

#endif
