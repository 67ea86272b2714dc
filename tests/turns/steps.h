/*
 * Counts the work of a turn without the server's own accounting: what changed in the tables, and
 * calls of functions that count_steps.h redirects. Also checks the order of effects and the reuse
 * of slots. For one thread.
 */
#ifndef TESTS_TURNS_STEPS_H
#define TESTS_TURNS_STEPS_H

#include <stdbool.h>
#include <stdint.h>

struct steps {
    uint64_t requests;
    uint64_t effects;
    uint64_t claims;  /* ended by disconnects and drains */
    uint64_t expired; /* deadlines of leases, waits and idle resources */
    uint64_t views;   /* entries that walks of statistics passed */
    uint64_t shown;   /* holders and waiters in replies to `show` */
    uint64_t slots;   /* looked at */
    uint64_t advances;
};

/* No effect is pending. */
void steps_start(void);

void steps_stop(void);

/* Since steps_start. */
const struct steps *steps_count(void);

/*
 * Calls `post` once, before a worker takes effects the next time: it acts as another thread that
 * posts at that moment.
 */
void steps_interrupt_take(void (*post)(void *context), void *context);

/* Returns whether all effects were taken. */
bool steps_effects_taken(void);

#endif
