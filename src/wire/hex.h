/*
 * 64 bits as 16 lower-case hexadecimal digits, eight at a time in one word and without branches:
 * the digits of a token are random, so branches on them would be mispredicted half of the time.
 */
#ifndef WIRE_HEX_H
#define WIRE_HEX_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    HEX_DIGITS = 16
};

/* A word of eight equal bytes. */
static inline uint64_t hex_all(uint8_t byte)
{
    return 0x0101010101010101 * (uint64_t)byte;
}

/* The digits of eight numbers below 16, one in each byte. Larger numbers give no digit. */
static inline uint64_t hex_digits(uint64_t numbers)
{
    uint64_t letters = (numbers + hex_all(6)) >> 4 & hex_all(1);

    return numbers + hex_all('0') + letters * ('a' - '0' - 10);
}

static inline void hex_put_half(uint8_t to[HEX_DIGITS / 2], uint32_t value)
{
    uint64_t numbers = value;
    uint64_t digits;

    numbers = (numbers | numbers << 16) & 0x0000ffff0000ffff;
    numbers = (numbers | numbers << 8) & 0x00ff00ff00ff00ff;
    numbers = (numbers | numbers << 4) & 0x0f0f0f0f0f0f0f0f;
    digits = htobe64(hex_digits(numbers));
    memcpy(to, &digits, sizeof(digits));
}

static inline void hex_put(uint8_t to[HEX_DIGITS], uint64_t value)
{
    hex_put_half(to, (uint32_t)(value >> 32));
    hex_put_half(to + HEX_DIGITS / 2, (uint32_t)value);
}

/* Returns the value. Sets bits of `*wrong` if a byte is not a digit. */
static inline uint64_t hex_read_half(const uint8_t from[HEX_DIGITS / 2], uint64_t *wrong)
{
    uint64_t numbers;
    uint64_t digits;

    memcpy(&digits, from, sizeof(digits));
    digits = be64toh(digits);
    numbers = (digits & hex_all(15)) + (digits >> 6 & hex_all(1)) * 9;
    *wrong |= (numbers & hex_all(0xf0)) | (hex_digits(numbers) ^ digits);
    numbers = (numbers | numbers >> 4) & 0x00ff00ff00ff00ff;
    numbers = (numbers | numbers >> 8) & 0x0000ffff0000ffff;
    return (numbers | numbers >> 16) & 0x00000000ffffffff;
}

/* Returns false if a byte is not a digit; `*value` is undefined then. */
static inline bool hex_read(const uint8_t from[HEX_DIGITS], uint64_t *value)
{
    uint64_t wrong = 0;

    *value = hex_read_half(from, &wrong) << 32;
    *value |= hex_read_half(from + HEX_DIGITS / 2, &wrong);
    return wrong == 0;
}

#endif
