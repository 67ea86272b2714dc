#include "base/budget.h"

bool budget_take(struct budget *budget, size_t size)
{
    size_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);

    do {
        if (size > budget->max - used)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&budget->used, &used, used + size,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

void budget_give(struct budget *budget, size_t size)
{
    atomic_fetch_sub_explicit(&budget->used, size, memory_order_relaxed);
}

static void *budget_allocate(void *context, size_t size, size_t alignment)
{
    struct budget *budget = context;
    void *block;

    if (!budget_take(budget, size))
        return NULL;
    block = memory_allocate(&budget->from, size, alignment);
    if (!block)
        budget_give(budget, size);
    return block;
}

static void budget_release(void *context, void *block, size_t size)
{
    struct budget *budget = context;

    memory_release(&budget->from, block, size);
    budget_give(budget, size);
}

void budget_init(struct budget *budget, const struct memory *from, size_t max)
{
    budget->memory =
        (struct memory){.allocate = budget_allocate, .release = budget_release, .context = budget};
    budget->from = *from;
    atomic_init(&budget->used, 0);
    budget->max = max;
}
