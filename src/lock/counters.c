#include "lock/counters.h"

#include "base/time_units.h"

const uint64_t lock_duration_bounds_ns[LOCK_DURATION_BOUNDS] = {
    NS_PER_MS,     10 * NS_PER_MS, 100 * NS_PER_MS, NS_PER_S,
    10 * NS_PER_S, 60 * NS_PER_S,  600 * NS_PER_S,  3600 * NS_PER_S,
};

uint64_t lock_durations_count(const struct lock_durations *durations)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i <= LOCK_DURATION_BOUNDS; i++)
        count += durations->buckets[i];
    return count;
}

static void lock_durations_merge(struct lock_durations *sum, const struct lock_durations *durations)
{
    for (uint32_t i = 0; i <= LOCK_DURATION_BOUNDS; i++)
        sum->buckets[i] += durations->buckets[i];
    sum->sum_ns += durations->sum_ns;
}

void lock_counters_add(struct lock_counters *sum, const struct lock_counters *counters)
{
    sum->grants += counters->grants;
    sum->leases_ended += counters->leases_ended;
    sum->revocations += counters->revocations;
    sum->waits += counters->waits;
    sum->waits_timed_out += counters->waits_timed_out;
    sum->waits_cancelled += counters->waits_cancelled;
    lock_durations_merge(&sum->late, &counters->late);
    lock_durations_merge(&sum->waits_granted, &counters->waits_granted);
    sum->locks_held += counters->locks_held;
    sum->lock_waiters += counters->lock_waiters;
    sum->semaphore_holders += counters->semaphore_holders;
    sum->semaphore_waiters += counters->semaphore_waiters;
}
