/* The keyed permutation that hashes fences and client ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mix.h"
#include "seeded.h"

enum {
    ROUNDS = 10000,
    BUCKETS = 1024,
    NUMBERS = 16 * BUCKETS
};

static void mix_with_seed(struct mix *mix, struct seeded *seeded)
{
    uint64_t secret[2] = {seeded_next(seeded), seeded_next(seeded)};

    mix_init(mix, secret);
}

static void the_number_can_be_computed_from_its_hash(void **state)
{
    struct seeded seeded = {.state = 1};
    struct mix mix;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t number = seeded_next(&seeded) >> (i % 64);

        mix_with_seed(&mix, &seeded);
        assert_true(mix_number(&mix, mix_hash(&mix, number)) == number);
        assert_true(mix_hash(&mix, mix_number(&mix, number)) == number);
    }
}

static void a_secret_of_zeros_is_a_permutation_too(void **state)
{
    const uint64_t secret[2] = {0};
    struct mix mix;

    (void)state;
    mix_init(&mix, secret);
    for (uint64_t number = 0; number < ROUNDS; number++)
        assert_true(mix_number(&mix, mix_hash(&mix, number << 26)) == number << 26);
}

/* Returns the size of the fullest bucket after NUMBERS numbers with distance `step`. */
static uint32_t fullest_bucket(const struct mix *mix, uint64_t first, uint64_t step)
{
    uint32_t counts[BUCKETS] = {0};
    uint32_t fullest = 0;

    for (uint64_t i = 0; i < NUMBERS; i++) {
        uint32_t count = ++counts[mix_hash(mix, first + i * step) % BUCKETS];

        fullest = count > fullest ? count : fullest;
    }
    return fullest;
}

/*
 * Sixteen numbers per bucket on average. Without a hash, numbers at a distance of a power of two
 * share a bucket, as the ids of the successive clients of one slot do.
 */
static void numbers_with_the_same_low_bits_spread_over_buckets(void **state)
{
    struct seeded seeded = {.state = 2};
    struct mix mix;

    (void)state;
    for (int i = 0; i < 100; i++) {
        mix_with_seed(&mix, &seeded);
        for (uint32_t bits = 0; bits < 48; bits++)
            assert_in_range(fullest_bucket(&mix, seeded_next(&seeded), 1ull << bits), 16, 100);
    }
}

/* Fences that an attacker chose to share a bucket under one secret spread under another. */
static void collisions_do_not_survive_a_new_secret(void **state)
{
    struct seeded seeded = {.state = 3};
    uint32_t counts[BUCKETS] = {0};
    uint32_t fullest = 0;
    uint32_t chosen = 0;
    struct mix known;
    struct mix other;

    (void)state;
    mix_with_seed(&known, &seeded);
    mix_with_seed(&other, &seeded);
    for (uint64_t fence = seeded_next(&seeded); chosen < BUCKETS; fence++) {
        if (mix_hash(&known, fence) % BUCKETS != 0)
            continue;
        chosen++;
        counts[mix_hash(&other, fence) % BUCKETS]++;
    }
    for (uint32_t i = 0; i < BUCKETS; i++)
        fullest = counts[i] > fullest ? counts[i] : fullest;
    assert_in_range(fullest, 1, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_can_be_computed_from_its_hash),
        cmocka_unit_test(a_secret_of_zeros_is_a_permutation_too),
        cmocka_unit_test(numbers_with_the_same_low_bits_spread_over_buckets),
        cmocka_unit_test(collisions_do_not_survive_a_new_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
