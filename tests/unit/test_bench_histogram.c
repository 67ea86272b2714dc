/*
 * The histogram of the load generator, compared with sorted random times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/histogram.h"
#include "seeded.h"

enum {
    TIMES = 20000,
    SINGLE_TIMES = 2000
};

/* Three significant digits. */
#define PRECISION (1.0 / HISTOGRAM_HALF)

struct fixture {
    struct histogram histogram;
    struct histogram other;
    uint64_t times[TIMES];
};

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

/* Times of each order of magnitude with the same probability: from nanoseconds to hours. */
static uint64_t random_time(struct seeded *seeded)
{
    return (seeded_next(seeded) & HISTOGRAM_NS_MAX) >> seeded_below(seeded, 44);
}

static int compare_values(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one;
    uint64_t b = *(const uint64_t *)other;

    return a < b ? -1 : a > b;
}

static void assert_near(uint64_t got, uint64_t exact)
{
    if (got < exact || (double)got > (double)exact * (1 + PRECISION))
        fail_msg("%llu is not %llu to three digits", (unsigned long long)got,
                 (unsigned long long)exact);
}

static void an_empty_histogram_reports_zero(void **state)
{
    const struct fixture *f = *state;

    assert_int_equal(histogram_percentile(&f->histogram, 0.5), 0);
    assert_int_equal(histogram_percentile(&f->histogram, 1), 0);
    assert_true(histogram_mean(&f->histogram) == 0);
    assert_true(histogram_deviation(&f->histogram) == 0);
}

static void times_keep_three_digits(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    for (uint32_t i = 0; i < SINGLE_TIMES; i++) {
        uint64_t time = random_time(&seeded);

        memset(&f->histogram, 0, sizeof(f->histogram));
        histogram_record(&f->histogram, time);
        histogram_record(&f->histogram, HISTOGRAM_NS_MAX);
        assert_near(histogram_percentile(&f->histogram, 0.5), time);
        assert_int_equal(histogram_percentile(&f->histogram, 1), HISTOGRAM_NS_MAX);
    }
}

static void small_times_are_exact(void **state)
{
    struct fixture *f = *state;

    for (uint64_t time = 0; time < HISTOGRAM_EXACT; time++)
        histogram_record(&f->histogram, time);
    for (uint64_t time = 0; time < HISTOGRAM_EXACT; time++)
        assert_int_equal(histogram_percentile(&f->histogram, (double)(time + 1) / HISTOGRAM_EXACT),
                         time);
}

static void a_longer_time_counts_as_the_longest(void **state)
{
    struct fixture *f = *state;

    histogram_record(&f->histogram, UINT64_MAX);
    assert_int_equal(f->histogram.count, 1);
    assert_int_equal(histogram_percentile(&f->histogram, 0.5), HISTOGRAM_NS_MAX);
}

static void percentiles_match_the_sorted_times(void **state)
{
    static const double shares[] = {0,   0.001, 0.01,  0.1,    0.25,    0.5,
                                    0.9, 0.99,  0.999, 0.9999, 0.99999, 1};
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    for (uint32_t i = 0; i < TIMES; i++) {
        f->times[i] = random_time(&seeded);
        histogram_record(&f->histogram, f->times[i]);
    }
    qsort(f->times, TIMES, sizeof(f->times[0]), compare_values);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        uint64_t rank = (uint64_t)ceil(shares[i] * TIMES - 1e-9);

        assert_near(histogram_percentile(&f->histogram, shares[i]),
                    f->times[rank > 0 ? rank - 1 : 0]);
    }
    assert_int_equal(histogram_percentile(&f->histogram, 1), f->times[TIMES - 1]);
}

static void mean_and_deviation_match_the_times(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;
    double mean = 0;
    double deviation = 0;

    seeded_init(&seeded, __func__);
    for (uint32_t i = 0; i < TIMES; i++) {
        f->times[i] = 1000 + seeded_below(&seeded, 1000000);
        histogram_record(&f->histogram, f->times[i]);
        mean += (double)f->times[i] / TIMES;
    }
    for (uint32_t i = 0; i < TIMES; i++)
        deviation += pow((double)f->times[i] - mean, 2) / TIMES;
    deviation = sqrt(deviation);
    assert_true(fabs(histogram_mean(&f->histogram) - mean) < mean * 1e-9);
    assert_true(fabs(histogram_deviation(&f->histogram) - deviation) < deviation * PRECISION);
}

static void adding_histograms_adds_their_times(void **state)
{
    struct fixture *f = *state;
    struct histogram *both = calloc(1, sizeof(*both));
    struct seeded seeded;

    assert_non_null(both);
    seeded_init(&seeded, __func__);
    for (uint32_t i = 0; i < TIMES; i++) {
        uint64_t time = random_time(&seeded);

        histogram_record(i % 3 ? &f->histogram : &f->other, time);
        histogram_record(both, time);
    }
    histogram_add(&f->histogram, &f->other);
    assert_memory_equal(&f->histogram, both, sizeof(*both));
    free(both);
}

/* Each line's count matches the sorted times. */
static void the_written_distribution_reaches_all(void **state)
{
    struct fixture *f = *state;
    FILE *file = tmpfile();
    struct seeded seeded;
    char line[128];
    double before = -1;
    double share = 0;
    unsigned long long count = 0;
    double value;

    assert_non_null(file);
    seeded_init(&seeded, __func__);
    for (uint32_t i = 0; i < TIMES; i++)
        histogram_record(&f->histogram, 1 + random_time(&seeded));
    histogram_write(&f->histogram, file);
    rewind(file);
    assert_non_null(fgets(line, sizeof(line), file));
    assert_non_null(strstr(line, "Value     Percentile TotalCount 1/(1-Percentile)"));
    assert_non_null(fgets(line, sizeof(line), file));
    while (fgets(line, sizeof(line), file) && line[0] != '#') {
        assert_int_equal(sscanf(line, "%lf %lf %llu", &value, &share, &count), 3);
        assert_true(value >= before && (double)count >= share * TIMES - 1e-6);
        before = value;
    }
    assert_true(share == 1);
    assert_int_equal(count, TIMES);
    assert_memory_equal(line, "#[Mean ", 7);
    fclose(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_histogram_reports_zero),
        TEST(times_keep_three_digits),
        TEST(small_times_are_exact),
        TEST(a_longer_time_counts_as_the_longest),
        TEST(percentiles_match_the_sorted_times),
        TEST(mean_and_deviation_match_the_times),
        TEST(adding_histograms_adds_their_times),
        TEST(the_written_distribution_reaches_all),
    };

    return cmocka_run_group_tests_name("bench_histogram", tests, NULL, NULL);
}
