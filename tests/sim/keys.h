/*
 * The names of keys: short and of maximum length, plain, quoted, binary. Each names a lock and a
 * semaphore: key 2 * name is the lock, the next one the semaphore.
 */
#ifndef TESTS_SIM_KEYS_H
#define TESTS_SIM_KEYS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    KEY_NAMES_MAX = 40,
    KEYS_MAX = KEY_NAMES_MAX * 2,
    KEY_LENGTH_MAX = 256,
    KEY_JSON_MAX = KEY_LENGTH_MAX * 6 + 3,
    KEY_TABLE = 256
};

struct key_name {
    uint8_t bytes[KEY_LENGTH_MAX];
    uint32_t length;
    char json[KEY_JSON_MAX]; /* the string as `stats` must write it, with quotes */
    uint32_t json_length;
};

struct key_names {
    struct key_name names[KEY_NAMES_MAX];
    uint8_t table[KEY_TABLE]; /* a name's number plus one, by hash */
    uint32_t count;
};

void key_names_init(struct key_names *names, uint32_t count);

/* Returns the number of a name, or -1. */
int key_names_find(const struct key_names *names, const uint8_t *bytes, uint32_t length);

/* Returns the number of the name written as a JSON string at `json`, or -1. */
int key_names_find_json(const struct key_names *names, const char *json, uint32_t length);

static inline bool key_is_semaphore(uint32_t key)
{
    return key % 2 != 0;
}

#endif
