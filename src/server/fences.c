#include "server/fences.h"

#include <assert.h>

static uint64_t fences_half_of(uint64_t from, uint64_t ceiling)
{
    return from + (ceiling - from) / 2;
}

void fences_init(struct fences *fences, uint64_t first, uint64_t ceiling)
{
    assert(first <= ceiling);
    atomic_init(&fences->next, first);
    atomic_init(&fences->promised, first);
    atomic_init(&fences->ceiling, ceiling);
    atomic_init(&fences->low, fences_half_of(first, ceiling));
    atomic_init(&fences->requested, false);
}

bool fences_promise(struct fences *fences)
{
    uint64_t promised = atomic_load_explicit(&fences->promised, memory_order_relaxed);

    while (promised < atomic_load_explicit(&fences->ceiling, memory_order_relaxed)) {
        if (atomic_compare_exchange_weak(&fences->promised, &promised, promised + 1))
            return true;
    }
    return false;
}

void fences_return(struct fences *fences)
{
    atomic_fetch_sub_explicit(&fences->promised, 1, memory_order_relaxed);
}

/*
 * Acquire and release: a caller that takes the first fence of a new range has seen the ceiling of
 * that range. The assertion is the last defence against fences that another process may hand out.
 */
uint64_t fences_take(struct fences *fences)
{
    uint64_t fence = atomic_fetch_add_explicit(&fences->next, 1, memory_order_acq_rel);

    assert(fence < atomic_load_explicit(&fences->ceiling, memory_order_relaxed));
    return fence;
}

bool fences_are_low(const struct fences *fences)
{
    return atomic_load(&fences->promised) >= atomic_load(&fences->low);
}

/*
 * The caller has changed `promised` and then reads `requested`. fences_raise clears `requested`,
 * and its caller then reads `promised`. So one of the two sees the other's change.
 */
bool fences_request(struct fences *fences)
{
    return fences_are_low(fences) && !atomic_load(&fences->requested) &&
           !atomic_exchange(&fences->requested, true);
}

/* The request counts even if promises have been returned since: nobody repeats it. */
bool fences_requested(const struct fences *fences)
{
    return atomic_load(&fences->requested) || fences_are_low(fences);
}

bool fences_are_exhausted(const struct fences *fences)
{
    return atomic_load(&fences->promised) >= atomic_load(&fences->ceiling);
}

uint64_t fences_ceiling(const struct fences *fences)
{
    return atomic_load(&fences->ceiling);
}

uint64_t fences_left(const struct fences *fences)
{
    /* In this order: the ceiling is above all that was promised before. */
    uint64_t promised = atomic_load(&fences->promised);
    uint64_t ceiling = atomic_load(&fences->ceiling);

    return ceiling == FENCES_UNLIMITED ? FENCES_UNLIMITED : ceiling - promised;
}

void fences_raise(struct fences *fences, uint64_t ceiling)
{
    uint64_t before = atomic_load(&fences->ceiling);

    assert(ceiling >= before);
    atomic_store(&fences->ceiling, ceiling);
    atomic_store(&fences->low, fences_half_of(before, ceiling));
    atomic_store(&fences->requested, false);
}

uint64_t fences_outstanding(const struct fences *fences)
{
    return atomic_load(&fences->promised) - atomic_load(&fences->next);
}
