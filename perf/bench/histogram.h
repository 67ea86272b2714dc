/*
 * A histogram of times as HdrHistogram keeps it. The width of the buckets doubles with the time,
 * and each doubling has 1024 buckets. So one array holds times from a nanosecond to hours with
 * three significant digits.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum {
    HISTOGRAM_HALF = 1024,                /* buckets per doubling */
    HISTOGRAM_EXACT = 2 * HISTOGRAM_HALF, /* the first buckets, one per nanosecond */
    HISTOGRAM_DOUBLINGS = 33,             /* after the exact buckets */
    HISTOGRAM_BUCKETS = (HISTOGRAM_DOUBLINGS + 2) * HISTOGRAM_HALF
};

/* The longest time that has a bucket: about 4.9 hours. */
#define HISTOGRAM_NS_MAX ((1ull << (11 + HISTOGRAM_DOUBLINGS)) - 1)

/* All zero: empty. */
struct histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t most_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Counts a longer time as HISTOGRAM_NS_MAX. */
void histogram_record(struct histogram *histogram, uint64_t ns);

/* Adds all counts of `from`. */
void histogram_add(struct histogram *histogram, const struct histogram *from);

/*
 * Returns the longest time among the shortest `share` (0 to 1) of all, to the precision of the
 * buckets; 0 if empty.
 */
uint64_t histogram_percentile(const struct histogram *histogram, double share);

double histogram_mean(const struct histogram *histogram);

double histogram_deviation(const struct histogram *histogram);

/* Writes the distribution in microseconds, in the text format of HdrHistogram's tools (.hgrm). */
void histogram_write(const struct histogram *histogram, FILE *file);

#endif
