/*
 * Memory with a limit that several threads share: what is asked for beyond it is refused, as if
 * there were no more. Near the limit the budget is tight: who could do with less should be stopped
 * then, so that what is left is for those who need little.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/memory.h"

enum {
    BUDGET_RESERVE_PARTS = 8 /* the last of so many parts is what is left when it is tight */
};

struct budget {
    struct memory memory; /* to be used as any other, from any thread */
    struct memory from;
    _Atomic size_t used; /* bytes */
    size_t max;
};

/* `from` must be one to be called from any thread. The budget must stay where it is. */
void budget_init(struct budget *budget, const struct memory *from, size_t max);

/* Counts bytes that come from elsewhere; false, and not counted, beyond the limit. */
bool budget_take(struct budget *budget, size_t size);
void budget_give(struct budget *budget, size_t size);

/* What has to come back until it is not tight any more; 0: it is not. */
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
