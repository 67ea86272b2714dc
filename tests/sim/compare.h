/*
 * Everything that tables show, against the model.
 */
#ifndef TESTS_SIM_COMPARE_H
#define TESTS_SIM_COMPARE_H

#include "world.h"

/* The keys of each stripe that was called since the last time. */
void compare_touched(struct world *world);

/* The keys of all stripes, and every invariant. */
void compare_all(struct world *world);

/* Whoever sleeps too long, or has its first news, was woken. */
void compare_wakes(struct world *world, uint64_t empty_before);

#endif
