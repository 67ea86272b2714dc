/*
 * A memory limit shared by several threads. Allocations beyond it fail as if memory were short.
 * Near the limit the budget is tight: callers that can do with less should stop then and leave
 * the reserve to small users.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/memory.h"

enum {
    BUDGET_RESERVE_PARTS = 8 /* the budget is tight when only this part is left (1 of 8) */
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

/* Returns how many bytes to free until the budget is not tight; 0: it is not. */
static inline size_t budget_excess(const struct budget *budget)
{
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    size_t ease = budget->max - budget->max / BUDGET_RESERVE_PARTS;

    return used > ease ? used - ease : 0;
}

static inline bool budget_tight(const struct budget *budget)
{
    return budget_excess(budget) > 0;
}

#endif
