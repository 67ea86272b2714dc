/*
 * Wakes other workers, which sleep in their rings until a completion or their alarm. A set of
 * workers has a bit for each.
 */
#ifndef SERVER_WAKEUPS_H
#define SERVER_WAKEUPS_H

#include <stdint.h>

#include "os/ring.h"

struct wakeups {
    struct ring *ring; /* of this worker */
    const int *rings;  /* the descriptor of each worker's ring */
    uint32_t worker;
    uint64_t failed;   /* workers to be woken again at retry_ns */
    uint64_t retry_ns; /* UINT64_MAX: none failed */
};

void wakeups_init(struct wakeups *wakeups, struct ring *ring, const int *rings, uint32_t worker);

/* Wakes the workers in `*wake`, and those that failed before. Clears all other bits. */
void wakeups_send(struct wakeups *wakeups, uint64_t *wake, uint64_t now_ns);

/* Worker `other` could not be woken: `error` is a negative errno. */
void wakeups_fail(struct wakeups *wakeups, uint32_t other, int error, uint64_t now_ns);

#endif
