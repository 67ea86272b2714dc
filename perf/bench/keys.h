/*
 * The keys of the load: which key a round uses, and its bytes.
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
    KEY_CHOSEN, /* of rounds */
    KEY_KEPT,   /* held throughout by --load renew, one per round of a worker */
    KEY_HELD,   /* held throughout by --held */
    KEY_SPACES
};

struct keys {
    enum key_choice choice;
    uint32_t count;
    struct zipf zipf;
    char prefixes[KEY_SPACES][KEYS_BYTES_MAX];
    uint32_t prefix_lengths[KEY_SPACES];
};

/* Keys that other runs must not use contain a number from the seed. */
void keys_init(struct keys *keys, const struct settings *settings);

/* Returns the number of a round's key. `own` is the number of its own key. */
uint32_t keys_draw(const struct keys *keys, struct random *random, uint32_t own);

/* Returns how many numbers keys_draw can return with `own_count` own keys. */
uint32_t keys_count(const struct keys *keys, uint32_t own_count);

/* Writes a key of up to KEYS_BYTES_MAX bytes to `to`. Returns its end. */
uint8_t *keys_write(const struct keys *keys, uint8_t *to, enum key_space space, uint32_t number);

#endif
