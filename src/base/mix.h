/*
 * A keyed permutation of 64-bit numbers, for hash maps whose keys are numbers that other people
 * choose or that repeat in their low bits. The secret decides which numbers share a bucket; the
 * number can be computed from the hash again, so that a record need not store both.
 *
 * It hides the order of buckets from clients, who see only how long replies take. It is not a
 * cipher: do not show its results to anyone.
 */
#ifndef BASE_MIX_H
#define BASE_MIX_H

#include <stdint.h>

struct mix {
    uint64_t offset;
    uint64_t multiplier; /* odd, so that the multiplication can be undone */
    uint64_t inverse;    /* multiplier * inverse == 1, modulo 2^64 */
};

enum {
    MIX_FOLD = 32 /* half of the bits: folding twice gives the number back */
};

static inline void mix_init(struct mix *mix, const uint64_t secret[2])
{
    mix->offset = secret[0];
    mix->multiplier = secret[1] | 1;
    /* Newton's method: three bits are right at first, and each round doubles them. */
    mix->inverse = mix->multiplier;
    for (int right = 3; right < 64; right *= 2)
        mix->inverse *= 2 - mix->multiplier * mix->inverse;
}

/*
 * A multiplication carries differences up only, and a fold brings them down: after two of each,
 * the low bits, which choose a bucket, depend on every bit of `number`.
 */
static inline uint64_t mix_hash(const struct mix *mix, uint64_t number)
{
    uint64_t hash = (number ^ mix->offset) * mix->multiplier;

    hash = (hash ^ hash >> MIX_FOLD) * mix->multiplier;
    return hash ^ hash >> MIX_FOLD;
}

/* The number with this hash. */
static inline uint64_t mix_number(const struct mix *mix, uint64_t hash)
{
    uint64_t number = (hash ^ hash >> MIX_FOLD) * mix->inverse;

    number = (number ^ number >> MIX_FOLD) * mix->inverse;
    return number ^ mix->offset;
}

#endif
