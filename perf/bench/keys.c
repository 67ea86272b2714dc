#include "bench/keys.h"

#include <stdio.h>
#include <string.h>

enum {
    DIGITS_MAX = 10
};

void keys_init(struct keys *keys, const struct settings *settings)
{
    struct random random = {.state = settings->seed};
    uint32_t run = random_below(&random, UINT32_MAX);
    char *chosen = keys->prefixes[KEY_CHOSEN];

    memset(keys, 0, sizeof(*keys));
    keys->choice = settings->key_choice;
    keys->count = settings->key_count;
    if (keys->choice == KEYS_ZIPF)
        zipf_init(&keys->zipf, keys->count, settings->zipf_exponent);
    switch (keys->choice) {
    case KEYS_OWN:
        snprintf(chosen, KEYS_BYTES_MAX, "%s_%08x_", settings->key, run);
        break;
    case KEYS_SHARED:
        snprintf(chosen, KEYS_BYTES_MAX, "%s", settings->key);
        break;
    default:
        snprintf(chosen, KEYS_BYTES_MAX, "%s_", settings->key);
    }
    snprintf(keys->prefixes[KEY_KEPT], KEYS_BYTES_MAX, "%s_%08x_kept_", settings->key, run);
    snprintf(keys->prefixes[KEY_HELD], KEYS_BYTES_MAX, "%s_%08x_held_", settings->key, run);
    for (int i = 0; i < KEY_SPACES; i++)
        keys->prefix_lengths[i] = (uint32_t)strlen(keys->prefixes[i]);
}

uint32_t keys_draw(const struct keys *keys, struct random *random, uint32_t own)
{
    switch (keys->choice) {
    case KEYS_OWN:
        return own;
    case KEYS_UNIFORM:
        return random_below(random, keys->count);
    case KEYS_ZIPF:
        return zipf_draw(&keys->zipf, random);
    default:
        return 0;
    }
}

uint32_t keys_count(const struct keys *keys, uint32_t own_count)
{
    return keys->choice == KEYS_OWN ? own_count : keys->choice == KEYS_SHARED ? 1 : keys->count;
}

uint8_t *keys_write(const struct keys *keys, uint8_t *to, enum key_space space, uint32_t number)
{
    uint8_t digits[DIGITS_MAX];
    uint32_t count = 0;

    memcpy(to, keys->prefixes[space], keys->prefix_lengths[space]);
    to += keys->prefix_lengths[space];
    if (space == KEY_CHOSEN && keys->choice == KEYS_SHARED)
        return to;
    do {
        digits[count++] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}
