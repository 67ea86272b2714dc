#include "server/wakeups.h"

#include <errno.h>

#include "server/worker_tags.h"

enum {
    WAKEUPS_RETRY_NS = 1000000
};

void wakeups_init(struct wakeups *wakeups, struct ring *ring, const int *rings, uint32_t worker)
{
    *wakeups = (struct wakeups){
        .ring = ring,
        .rings = rings,
        .worker = worker,
        .retry_ns = UINT64_MAX,
    };
}

void wakeups_send(struct wakeups *wakeups, uint64_t *wake, uint64_t now_ns)
{
    uint64_t own = 1ull << wakeups->worker;
    uint64_t others;

    if (wakeups->retry_ns <= now_ns) {
        *wake |= wakeups->failed;
        wakeups->failed = 0;
        wakeups->retry_ns = UINT64_MAX;
    }
    for (others = *wake & ~own; others; others &= others - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(others);

        ring_poke(wakeups->ring, wakeups->rings[i], TAG_WAKE, TAG_POKE_FAILED + i);
    }
    *wake &= own;
}

/* Without a retry the other worker might sleep forever, though something waits for it. */
void wakeups_fail(struct wakeups *wakeups, uint32_t other, int error, uint64_t now_ns)
{
    if (error == -EOWNERDEAD) /* its thread has ended and has nothing left to do */
        return;
    wakeups->failed |= 1ull << other;
    wakeups->retry_ns = now_ns + WAKEUPS_RETRY_NS;
}
