/*
 * A keyed permutation of 64-bit numbers, for hash maps whose keys others choose, or whose keys
 * repeat in their low bits. The secret decides which numbers share a bucket. The number can be
 * computed from the hash, so a record need not store both.
 *
 * It hides the order of buckets from clients, which see only reply times. It is not a cipher: do
 * not show its results to anyone.
 */
#ifndef BASE_MIX_H
#define BASE_MIX_H

#include <stdint.h>

struct mix {
    uint64_t offset;
    uint64_t multiplier; /* odd, so that the multiplication is invertible */
    uint64_t inverse;    /* multiplier * inverse == 1, modulo 2^64 */
};

enum {
    MIX_FOLD = 32 /* half of the bits: folding twice restores the number */
};

static inline void mix_init(struct mix *mix, const uint64_t secret[2])
{
    mix->offset = secret[0];
    mix->multiplier = secret[1] | 1;
    /* Newton's method: starts with three right bits and doubles them in each round. */
    mix->inverse = mix->multiplier;
    for (int right = 3; right < 64; right *= 2)
        mix->inverse *= 2 - mix->multiplier * mix->inverse;
}

/*
 * Multiplication spreads differences upwards and folding spreads them downwards. After two of
 * each, the low bits, which choose the bucket, depend on every bit of `number`.
 */
static inline uint64_t mix_hash(const struct mix *mix, uint64_t number)
{
    uint64_t hash = (number ^ mix->offset) * mix->multiplier;

    hash = (hash ^ hash >> MIX_FOLD) * mix->multiplier;
    return hash ^ hash >> MIX_FOLD;
}

/* Returns the number with this hash. */
static inline uint64_t mix_number(const struct mix *mix, uint64_t hash)
{
    uint64_t number = (hash ^ hash >> MIX_FOLD) * mix->inverse;

    number = (number ^ number >> MIX_FOLD) * mix->inverse;
    return number ^ mix->offset;
}

#endif
