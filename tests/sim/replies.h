/*
 * Compares the lines of a session with the required ones.
 */
#ifndef TESTS_SIM_REPLIES_H
#define TESTS_SIM_REPLIES_H

#include "world.h"

/* A required reply. */
struct expected {
    int outcome;
    int claim; /* of a grant, or MODEL_NO_CLAIM */
    bool granted;
    bool unreported_ends; /* a grant that ends if memory is short for the reply */
    bool renewed;
    uint64_t lease_s;
    uint64_t fence_low;
    uint64_t fence_high;
};

/* Returns the length of the next line with its newline, or 0. */
uint32_t reply_next(const struct world *world);

/*
 * Consumes the next line, which must match. Returns false if it is missing because memory was
 * short.
 */
bool reply_expect(struct world *world, const struct sim_peer *peer,
                  const struct expected *expected);

#endif
