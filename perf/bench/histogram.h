/*
 * Counts of times by their length, as HdrHistogram keeps them: buckets whose width doubles with the
 * length, 1024 in each doubling, so that every length is known to three significant digits, from a
 * nanosecond to hours, in one array.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum {
    HISTOGRAM_HALF = 1024,                /* buckets of a doubling */
    HISTOGRAM_EXACT = 2 * HISTOGRAM_HALF, /* the first buckets, each for one length */
    HISTOGRAM_DOUBLINGS = 33,             /* after them */
    HISTOGRAM_BUCKETS = (HISTOGRAM_DOUBLINGS + 2) * HISTOGRAM_HALF
};

/* The longest time that is told apart: about 4.9 hours. */
#define HISTOGRAM_NS_MAX ((1ull << (11 + HISTOGRAM_DOUBLINGS)) - 1)

/* Empty when it is all zero. */
struct histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t most_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* What is longer than HISTOGRAM_NS_MAX counts as that. */
void histogram_record(struct histogram *histogram, uint64_t ns);

/* Adds all that `from` holds. */
void histogram_add(struct histogram *histogram, const struct histogram *from);

/*
 * The longest time, to the precision of the buckets, among the given share (0 to 1) of the shortest
 * ones; 0 of an empty histogram.
 */
uint64_t histogram_percentile(const struct histogram *histogram, double share);

double histogram_mean(const struct histogram *histogram);

double histogram_deviation(const struct histogram *histogram);

/*
 * Writes the distribution in the text format of HdrHistogram's tools (.hgrm), in microseconds.
 */
void histogram_write(const struct histogram *histogram, FILE *file);

#endif
