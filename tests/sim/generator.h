/*
 * Draws events that make sense in the world as it is, and some that do not.
 */
#ifndef TESTS_SIM_GENERATOR_H
#define TESTS_SIM_GENERATOR_H

#include "seeded.h"
#include "world.h"

struct generator {
    struct seeded seeded;
    uint32_t drain_left; /* drains when so many events are left; 0: never */
    uint32_t drained;    /* workers that were told */
    uint32_t time_rate;  /* in a thousand events */
    uint32_t turn_rate;
    uint32_t effect_rate;
    uint32_t death_rate;
    uint32_t pace;      /* how far time goes on at once, 0 to 2 */
    uint32_t enqueuing; /* how often `e` is chosen, in a hundred */
};

void generator_init(struct generator *generator, uint64_t seed, uint32_t events);

/* `left` events are to come, with this one. */
struct event generator_next(struct generator *generator, const struct world *world, uint32_t left);

#endif
