/*
 * Numbers of which the first come most often: number k, from 0 on, in proportion to
 * 1 / (k + 1)^exponent. Drawn in constant time and without a table, by rejection from the integral
 * of that curve (Hörmann and Derflinger, 1996).
 */
#ifndef BENCH_ZIPF_H
#define BENCH_ZIPF_H

#include <stdint.h>

#include "bench/random.h"

struct zipf {
    uint32_t count;
    double exponent;
    double area_low; /* of the integral, the range of what is drawn */
    double area_high;
    double sure; /* what lies so near to its number is taken without a second look */
};

/* Numbers 0 to `count` - 1; the exponent is above 0. */
void zipf_init(struct zipf *zipf, uint32_t count, double exponent);

uint32_t zipf_draw(const struct zipf *zipf, struct random *random);

#endif
