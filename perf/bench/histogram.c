#include "bench/histogram.h"

#include <math.h>

enum {
    /* Lines for each halving of the remaining share, as in HdrHistogram's tools. */
    LINES_PER_HALVING = 5
};

static uint32_t histogram_bucket(uint64_t ns)
{
    uint32_t shift = 0;

    if (ns >= HISTOGRAM_EXACT)
        shift = (uint32_t)(63 - __builtin_clzll(ns)) - 10;
    return shift * HISTOGRAM_HALF + (uint32_t)(ns >> shift);
}

/* Returns the shortest time of a bucket, and its width. */
static uint64_t histogram_bucket_start(uint32_t bucket, uint64_t *width)
{
    uint32_t shift = bucket < HISTOGRAM_EXACT ? 0 : bucket / HISTOGRAM_HALF - 1;

    *width = 1ull << shift;
    return (uint64_t)(bucket - shift * HISTOGRAM_HALF) << shift;
}

/* Returns the longest time of a bucket, limited to the longest recorded time. */
static uint64_t histogram_bucket_end(const struct histogram *histogram, uint32_t bucket)
{
    uint64_t width;
    uint64_t end = histogram_bucket_start(bucket, &width) + width - 1;

    return end < histogram->most_ns ? end : histogram->most_ns;
}

void histogram_record(struct histogram *histogram, uint64_t ns)
{
    if (ns > HISTOGRAM_NS_MAX)
        ns = HISTOGRAM_NS_MAX;
    histogram->buckets[histogram_bucket(ns)]++;
    histogram->count++;
    histogram->sum_ns += ns;
    if (ns > histogram->most_ns)
        histogram->most_ns = ns;
}

void histogram_add(struct histogram *histogram, const struct histogram *from)
{
    if (from->count == 0)
        return;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->buckets[i] += from->buckets[i];
    histogram->count += from->count;
    histogram->sum_ns += from->sum_ns;
    if (from->most_ns > histogram->most_ns)
        histogram->most_ns = from->most_ns;
}

/* Returns how many of the shortest times make up `share`, at least 1. */
static uint64_t histogram_rank(const struct histogram *histogram, double share)
{
    double rank = ceil(share * (double)histogram->count - 1e-9);

    return rank < 1 ? 1 : rank > (double)histogram->count ? histogram->count : (uint64_t)rank;
}

uint64_t histogram_percentile(const struct histogram *histogram, double share)
{
    uint64_t wanted = histogram_rank(histogram, share);
    uint64_t seen = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && histogram->count > 0; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted)
            return histogram_bucket_end(histogram, i);
    }
    return 0;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count ? (double)histogram->sum_ns / (double)histogram->count : 0;
}

double histogram_deviation(const struct histogram *histogram)
{
    double mean = histogram_mean(histogram);
    double sum = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t width;
        double middle = (double)histogram_bucket_start(i, &width) + (double)(width - 1) / 2;

        sum += (double)histogram->buckets[i] * (middle - mean) * (middle - mean);
    }
    return histogram->count ? sqrt(sum / (double)histogram->count) : 0;
}

/* Returns the next share to write. The steps get smaller towards 1. */
static double histogram_next_share(double share)
{
    double halvings = floor(log2(1 / (1 - share))) + 1;

    return share + 1 / (LINES_PER_HALVING * exp2(halvings));
}

void histogram_write(const struct histogram *histogram, FILE *file)
{
    double share = 0;
    uint64_t seen = 0;

    fprintf(file, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && seen < histogram->count; i++) {
        seen += histogram->buckets[i];
        while (seen < histogram->count && histogram->buckets[i] > 0 &&
               seen >= histogram_rank(histogram, share)) {
            fprintf(file, "%12.3f %14.12f %10llu %14.2f\n",
                    (double)histogram_bucket_end(histogram, i) / 1000, share,
                    (unsigned long long)seen, 1 / (1 - share));
            share = histogram_next_share(share);
        }
    }
    if (histogram->count > 0)
        fprintf(file, "%12.3f %14.12f %10llu\n", (double)histogram->most_ns / 1000, 1.0,
                (unsigned long long)histogram->count);
    fprintf(file, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
            histogram_mean(histogram) / 1000, histogram_deviation(histogram) / 1000);
    fprintf(file, "#[Max     = %12.3f, Total count    = %12llu]\n",
            (double)histogram->most_ns / 1000, (unsigned long long)histogram->count);
    fprintf(file, "#[Buckets = %12d, SubBuckets     = %12d]\n", HISTOGRAM_DOUBLINGS + 1,
            HISTOGRAM_EXACT);
}
