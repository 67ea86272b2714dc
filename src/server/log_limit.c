#include "server/log_limit.h"

#include <assert.h>

#include "base/time_units.h"

/* A window is a second in the upper bits and, in the lower ones, how many lines it has had. */
enum {
    COUNT_BITS = 8,
    COUNT_MASK = (1 << COUNT_BITS) - 1
};

static_assert((int)LOG_LIMIT_PER_SECOND < (int)COUNT_MASK, "a window can count its lines");

bool log_limit_admit(struct log_limit *limit, uint64_t now_ns, uint64_t *suppressed)
{
    uint64_t second = now_ns / NS_PER_S + 1; /* that of the first window is not 0 */
    uint64_t window = atomic_load_explicit(&limit->window, memory_order_relaxed);
    uint64_t next;

    do {
        /* Times of workers differ by a turn: one that is behind counts for the window there is. */
        if (second > window >> COUNT_BITS) {
            next = second << COUNT_BITS | 1;
        } else if ((window & COUNT_MASK) < LOG_LIMIT_PER_SECOND) {
            next = window + 1;
        } else {
            atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&limit->window, &window, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    *suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
    return true;
}
