/*
 * UTF-8 (RFC 3629).
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Returns the length of the valid sequence at `bytes`, at most `length`, which must not be 0; or 0.
 * Overlong forms, surrogates and code points above U+10FFFF are not valid.
 */
uint32_t utf8_length(const uint8_t *bytes, uint32_t length);

/*
 * Returns whether a valid sequence may be shown: no control, line end, noncharacter, or code point
 * that Unicode lists as ignorable, as marks of direction are.
 */
bool utf8_is_printable(const uint8_t *bytes, uint32_t length);

/*
 * Copies `bytes` as text that may be shown, with a 0 at its end: each byte that is not UTF-8 and
 * each sequence that is not printable becomes a '?'. `to` has `size` bytes, at least 1. Returns
 * whether everything had room.
 */
bool utf8_copy_printable(char *to, uint32_t size, const uint8_t *bytes, uint32_t length);

#endif
