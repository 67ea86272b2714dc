/*
 * The frequencies of Zipf-distributed numbers match the formula.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "bench/zipf.h"
#include "seeded.h"

enum {
    DRAWS = 50000,
    COUNT_MAX = 1000
};

/* Seven standard deviations: a chance of 1 in 400,000,000,000 numbers. */
#define DEVIATIONS 7

static void assert_frequencies(struct random *random, uint32_t count, double exponent)
{
    static uint32_t seen[COUNT_MAX];
    struct zipf zipf;
    double sum = 0;

    zipf_init(&zipf, count, exponent);
    for (uint32_t i = 0; i < count; i++) {
        seen[i] = 0;
        sum += pow(i + 1, -exponent);
    }
    for (uint32_t i = 0; i < DRAWS; i++) {
        uint32_t number = zipf_draw(&zipf, random);

        assert_true(number < count);
        seen[number]++;
    }
    for (uint32_t i = 0; i < count; i++) {
        double share = pow(i + 1, -exponent) / sum;
        double expected = share * DRAWS;
        double allowed = DEVIATIONS * sqrt(expected * (1 - share)) + DEVIATIONS;

        if (fabs(seen[i] - expected) > allowed)
            fail_msg("of %u numbers by %g, number %u came %u times and not %.0f", count, exponent,
                     i, seen[i], expected);
    }
}

static void frequencies_match_the_formula(void **state)
{
    static const uint32_t counts[] = {1, 2, 3, 10, COUNT_MAX};
    static const double exponents[] = {0.1, 0.5, 0.99, 1, 1.01, 2, 5};
    struct random random;
    struct seeded seeded;

    (void)state;
    seeded_init(&seeded, __func__);
    random.state = seeded_next(&seeded);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        for (size_t j = 0; j < sizeof(exponents) / sizeof(exponents[0]); j++)
            assert_frequencies(&random, counts[i], exponents[j]);
    }
}

static void a_seed_repeats_its_numbers(void **state)
{
    struct random one = {.state = 5};
    struct random other = {.state = 5};
    struct zipf zipf;

    (void)state;
    zipf_init(&zipf, 1000000000, 0.99);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(zipf_draw(&zipf, &one), zipf_draw(&zipf, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frequencies_match_the_formula),
        cmocka_unit_test(a_seed_repeats_its_numbers),
    };

    return cmocka_run_group_tests_name("bench_zipf", tests, NULL, NULL);
}
