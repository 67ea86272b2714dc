/*
 * A memory limit shared by several threads. Allocations beyond it fail as if memory were short.
 * The last part is the reserve: callers decide by budget_has who may use it. A budget is tight
 * while less than the reserve is left.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/memory.h"

enum {
    BUDGET_RESERVE_PARTS = 8 /* the reserve is one of so many parts */
};

struct budget {
    struct memory memory; /* for use from any thread */
    struct memory from;
    _Atomic size_t used; /* bytes */
    size_t max;
};

/* `from` must be usable from any thread. The budget must not move. */
void budget_init(struct budget *budget, const struct memory *from, size_t max);

/* Counts bytes allocated elsewhere. Returns false and counts nothing beyond the limit. */
bool budget_take(struct budget *budget, size_t size);
void budget_give(struct budget *budget, size_t size);

static inline size_t budget_reserve(const struct budget *budget)
{
    return budget->max / BUDGET_RESERVE_PARTS;
}

/* Returns how many bytes to free until `kept` bytes are left; 0: they are. */
static inline size_t budget_lack(const struct budget *budget, size_t kept)
{
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);

    return used > budget->max - kept ? used - (budget->max - kept) : 0;
}

/* Returns whether `size` bytes can be taken so that `kept` bytes are left. */
static inline bool budget_has(const struct budget *budget, size_t size, size_t kept)
{
    return size <= budget->max - kept && budget_lack(budget, size + kept) == 0;
}

static inline bool budget_tight(const struct budget *budget)
{
    return budget_lack(budget, budget_reserve(budget)) > 0;
}

#endif
