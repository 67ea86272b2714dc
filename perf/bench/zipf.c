#include "bench/zipf.h"

#include <math.h>

#define NEAR_ONE 1e-9 /* treat the exponent as 1, whose integral is the logarithm */

static double zipf_height(const struct zipf *zipf, double x)
{
    return exp(-zipf->exponent * log(x));
}

/* The area under the curve from 1 to x, and its inverse. */
static double zipf_area(const struct zipf *zipf, double x)
{
    double power = 1 - zipf->exponent;

    return fabs(power) < NEAR_ONE ? log(x) : expm1(power * log(x)) / power;
}

static double zipf_area_end(const struct zipf *zipf, double area)
{
    double power = 1 - zipf->exponent;

    return fabs(power) < NEAR_ONE ? exp(area) : exp(log1p(power * area) / power);
}

void zipf_init(struct zipf *zipf, uint32_t count, double exponent)
{
    zipf->count = count;
    zipf->exponent = exponent;
    zipf->area_low = zipf_area(zipf, 1.5) - 1;
    zipf->area_high = zipf_area(zipf, count + 0.5);
    zipf->sure = 2 - zipf_area_end(zipf, zipf_area(zipf, 2.5) - zipf_height(zipf, 2));
}

uint32_t zipf_draw(const struct zipf *zipf, struct random *random)
{
    for (;;) {
        double drawn = zipf->area_high - random_share(random) * (zipf->area_high - zipf->area_low);
        double x = zipf_area_end(zipf, drawn);
        double rank = round(x);

        if (rank < 1)
            rank = 1;
        if (rank > zipf->count)
            rank = zipf->count;
        if (rank - x <= zipf->sure ||
            drawn >= zipf_area(zipf, rank + 0.5) - zipf_height(zipf, rank))
            return (uint32_t)rank - 1;
    }
}
