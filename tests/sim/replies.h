/*
 * The lines that a session says, against those that it must say.
 */
#ifndef TESTS_SIM_REPLIES_H
#define TESTS_SIM_REPLIES_H

#include "world.h"

/* What must be said. */
struct expected {
    int outcome;
    int claim; /* of a grant, or MODEL_NOBODY */
    bool granted;
    bool untold_ends; /* a grant that ends when memory is short for the reply */
    bool renewed;
    uint64_t lease_s;
    uint64_t fence_low;
    uint64_t fence_high;
};

/* The length of the next line in what was said, with its end; 0 when there is none. */
uint32_t reply_next(const struct world *world);

/*
 * Takes the next line, which must be this. False when there is none because memory was short for
 * it.
 */
bool reply_expect(struct world *world, const struct peer *peer, const struct expected *expected);

#endif
