/*
 * Names and their JSON are written here by hand, not by the server's code.
 */
#include "keys.h"

#include <stdio.h>
#include <string.h>

static uint32_t place_of(const uint8_t *bytes, uint32_t length)
{
    uint32_t hash = length;

    for (uint32_t i = 0; i < length && i < 8; i++)
        hash = (hash ^ bytes[i]) * 16777619;
    return (hash ^ hash >> 16) % KEY_TABLE;
}

static void set_bytes(struct key_name *name, const void *bytes, uint32_t length)
{
    memcpy(name->bytes, bytes, length);
    name->length = length;
}

static void make_name(struct key_name *name, uint32_t number)
{
    static const char quoted[] = "a\"quoted\\name\"";
    static const char broken[] = "\xff\x80-\xc3";
    static const char letters[] = "\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87";
    char plain[32];
    int length = snprintf(plain, sizeof(plain), "key-%u", number);

    switch (number) {
    case 1:
        set_bytes(name, quoted, sizeof(quoted) - 1);
        return;
    case 2:
        set_bytes(name, broken, sizeof(broken) - 1);
        return;
    case 3:
        memset(name->bytes, 'k', KEY_LENGTH_MAX);
        name->length = KEY_LENGTH_MAX;
        return;
    case 5:
        set_bytes(name, letters, sizeof(letters) - 1);
        return;
    case 7:
        memset(name->bytes, 1, KEY_LENGTH_MAX - 1);
        name->length = KEY_LENGTH_MAX - 1;
        return;
    default:
        set_bytes(name, plain, (uint32_t)length);
        /* Records of other lengths come from other pools. */
        for (uint32_t i = 0; i < number * 37 % 200; i++)
            name->bytes[name->length++] = '.';
    }
}

/* Only the broken name has bytes that are not UTF-8, and none of these starts a sequence. */
static void make_json(struct key_name *name, bool broken)
{
    char *to = name->json;

    *to++ = '"';
    for (uint32_t i = 0; i < name->length; i++) {
        uint8_t byte = name->bytes[i];

        if (byte < 0x20) {
            to += snprintf(to, 7, "\\u%04x", byte);
        } else if (byte >= 0x80 && broken) {
            memcpy(to, "\xef\xbf\xbd", 3);
            to += 3;
        } else {
            if (byte == '"' || byte == '\\')
                *to++ = '\\';
            *to++ = (char)byte;
        }
    }
    *to++ = '"';
    name->json_length = (uint32_t)(to - name->json);
}

void key_names_init(struct key_names *names, uint32_t count)
{
    memset(names, 0, sizeof(*names));
    names->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct key_name *name = &names->names[i];
        uint32_t place;

        make_name(name, i);
        make_json(name, i == 2);
        place = place_of(name->bytes, name->length);
        while (names->table[place])
            place = (place + 1) % KEY_TABLE;
        names->table[place] = (uint8_t)(i + 1);
    }
}

int key_names_find(const struct key_names *names, const uint8_t *bytes, uint32_t length)
{
    uint32_t place = place_of(bytes, length);

    for (; names->table[place]; place = (place + 1) % KEY_TABLE) {
        int number = names->table[place] - 1;

        if (names->names[number].length == length &&
            memcmp(names->names[number].bytes, bytes, length) == 0)
            return number;
    }
    return -1;
}

int key_names_find_json(const struct key_names *names, const char *json, uint32_t length)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (names->names[i].json_length <= length &&
            memcmp(names->names[i].json, json, names->names[i].json_length) == 0)
            return (int)i;
    }
    return -1;
}
