/*
 * The kernel's randomness, made from a seed: this program has its own getrandom(2), so that salts
 * and the stripes of keys are the same when a run is repeated.
 */
#ifndef TESTS_SIM_RANDOMNESS_H
#define TESTS_SIM_RANDOMNESS_H

#include <stdint.h>

void randomness_seed(uint64_t seed);

#endif
