/*
 * Kernel randomness from a seed: this program defines its own getrandom(2), so that salts and
 * the stripes of keys repeat with the run.
 */
#ifndef TESTS_SIM_RANDOMNESS_H
#define TESTS_SIM_RANDOMNESS_H

#include <stdint.h>

void randomness_seed(uint64_t seed);

#endif
