/*
 * Compares everything that tables show with the model.
 */
#ifndef TESTS_SIM_COMPARE_H
#define TESTS_SIM_COMPARE_H

#include "world.h"

/* The keys of each stripe called since the last time. */
void compare_touched(struct world *world);

/* The keys of all stripes, and every invariant. */
void compare_all(struct world *world);

/* A worker that sleeps too long or has its first effect must have been woken. */
void compare_wakes(struct world *world, uint64_t empty_before);

#endif
