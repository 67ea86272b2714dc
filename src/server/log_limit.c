#include "server/log_limit.h"

#include <assert.h>

#include "base/time_units.h"

/* A window holds a second in its upper bits and the number of lines in its lower bits. */
enum {
    LOG_LIMIT_COUNT_BITS = 8,
    LOG_LIMIT_COUNT_MASK = (1 << LOG_LIMIT_COUNT_BITS) - 1
};

static_assert((int)LOG_LIMIT_PER_SECOND < (int)LOG_LIMIT_COUNT_MASK,
              "a window can count its lines");

bool log_limit_admit(struct log_limit *limit, uint64_t now_ns, uint64_t *suppressed)
{
    uint64_t second = now_ns / NS_PER_S + 1; /* so that 0 is before the first window */
    uint64_t window = atomic_load_explicit(&limit->window, memory_order_relaxed);
    uint64_t next;

    do {
        /* Clocks of workers differ by a turn. An event before the current window counts in it. */
        if (second > window >> LOG_LIMIT_COUNT_BITS) {
            next = second << LOG_LIMIT_COUNT_BITS | 1;
        } else if ((window & LOG_LIMIT_COUNT_MASK) < LOG_LIMIT_PER_SECOND) {
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
