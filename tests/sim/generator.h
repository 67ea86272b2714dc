/*
 * Draws events that apply to the current world, and some that do not.
 */
#ifndef TESTS_SIM_GENERATOR_H
#define TESTS_SIM_GENERATOR_H

#include "seeded.h"
#include "world.h"

struct generator {
    struct seeded seeded;
    uint32_t drain_left; /* drains with this many events left; 0: never */
    uint32_t drained;    /* workers that drain */
    uint32_t time_rate;  /* per thousand events */
    uint32_t turn_rate;
    uint32_t effect_rate;
    uint32_t death_rate;
    uint32_t pace;      /* size of time steps, 0 to 2 */
    uint32_t enqueuing; /* percentage of `e` */
};

void generator_init(struct generator *generator, uint64_t seed, uint32_t events);

/* `left` events remain, including this one. */
struct event generator_next(struct generator *generator, const struct world *world, uint32_t left);

#endif
