/*
 * Keys: which one a round is about, and its bytes.
 */
#ifndef BENCH_KEYS_H
#define BENCH_KEYS_H

#include <stdint.h>

#include "bench/settings.h"
#include "bench/zipf.h"

enum {
    KEYS_BYTES_MAX = 256 /* of a key */
};

enum key_space {
    KEY_CHOSEN, /* what a round is about */
    KEY_KEPT,   /* held all the while by --load renew: one for each round of a worker */
    KEY_HELD,   /* held all the while by others */
    KEY_SPACES
};

struct keys {
    enum key_choice choice;
    uint32_t count;
    struct zipf zipf;
    char prefixes[KEY_SPACES][KEYS_BYTES_MAX];
    uint32_t prefix_lengths[KEY_SPACES];
};

/* Keys that are not to be met by other runs as well hold a number made of the seed. */
void keys_init(struct keys *keys, const struct settings *settings);

/* The number of a key for a round whose own one is `own`. */
uint32_t keys_draw(const struct keys *keys, struct random *random, uint32_t own);

/* How many numbers keys_draw may give where there are so many own ones. */
uint32_t keys_count(const struct keys *keys, uint32_t own_count);

/* Writes a key of up to KEYS_BYTES_MAX bytes at `to` and returns its end. */
uint8_t *keys_write(const struct keys *keys, uint8_t *to, enum key_space space, uint32_t number);

#endif
