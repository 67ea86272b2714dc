/*
 * Pieces of text: numbers, digits and JSON strings. Each function writes at `to` and returns the
 * end. The caller makes sure that there is room.
 */
#ifndef WIRE_TEXT_H
#define WIRE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire/hex.h"

enum {
    TEXT_NUMBER_MAX = 20,      /* bytes of a number */
    TEXT_STRING_GROWTH_MAX = 6 /* bytes of a JSON string for each byte in it, and two quotes */
};

static inline uint8_t *text_put_bytes(uint8_t *to, const void *bytes, size_t length)
{
    memcpy(to, bytes, length);
    return to + length;
}

static inline uint8_t *text_put(uint8_t *to, const char *text)
{
    return text_put_bytes(to, text, strlen(text));
}

/* HEX_DIGITS digits. */
static inline uint8_t *text_put_hex(uint8_t *to, uint64_t value)
{
    hex_put(to, value);
    return to + HEX_DIGITS;
}

/* A decimal number: at most TEXT_NUMBER_MAX bytes. */
uint8_t *text_put_number(uint8_t *to, uint64_t number);

/* Seconds with three decimals: at most TEXT_NUMBER_MAX bytes. */
uint8_t *text_put_seconds(uint8_t *to, uint64_t ns);

/* A JSON string (RFC 8259) in quotes; each byte that is not UTF-8 becomes U+FFFD. */
uint8_t *text_put_string(uint8_t *to, const uint8_t *bytes, uint32_t length);

#endif
