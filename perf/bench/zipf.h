/*
 * Zipf-distributed numbers: number k, from 0 on, with probability proportional to 1 / (k +
 * 1)^exponent. Draws in constant time without a table, by rejection from the integral of that
 * curve (Hörmann and Derflinger, 1996).
 */
#ifndef BENCH_ZIPF_H
#define BENCH_ZIPF_H

#include <stdint.h>

#include "bench/random.h"

struct zipf {
    uint32_t count;
    double exponent;
    double area_low; /* the range of the integral to draw from */
    double area_high;
    double sure; /* a draw this close to its number is accepted at once */
};

/* Draws numbers 0 to `count` - 1. `exponent` is above 0. */
void zipf_init(struct zipf *zipf, uint32_t count, double exponent);

uint32_t zipf_draw(const struct zipf *zipf, struct random *random);

#endif
