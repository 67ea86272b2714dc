/*
 * Texts of others as they are printed: a key may contain any bytes, also ones that control a
 * terminal.
 */
#ifndef DFLOCKCTL_TEXT_H
#define DFLOCKCTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TEXT_UTF8_MAX = 4, /* bytes of a character */
    TEXT_REPLACEMENT_POINT = 0xfffd
};

/* Returns the length of the UTF-8 sequence at `bytes` and sets `*point`, or returns 0. */
size_t text_decode(const char *bytes, size_t length, uint32_t *point);

/* Writes the character in UTF-8. Returns its length. */
size_t text_encode(uint32_t point, char bytes[TEXT_UTF8_MAX]);

/*
 * Returns a copy of `length` bytes, which the caller frees: control characters and bytes that are
 * not UTF-8 as \xNN, a backslash as two. For a terminal, also characters that its locale cannot
 * print or that change the direction of writing, as \u{N}. Never NULL.
 */
char *text_shown(const char *bytes, size_t length, bool terminal);

/*
 * Returns a copy, which the caller frees, with U+FFFD for each byte that is not UTF-8: as servers
 * write keys in JSON. Never NULL.
 */
char *text_valid(const char *bytes, size_t length);

/* Returns the columns of a shown text. */
size_t text_width(const char *shown);

/* Returns how many bytes of it, in whole characters, fit into `columns`. */
size_t text_fit(const char *shown, size_t columns);

/* Return what stands for text that is left out; the mark of a cut has one column. */
const char *text_ellipsis(void);
const char *text_cut_mark(void);

enum {
    TEXT_NUMBER_MAX = 32
};

/* Writes a number with commas, or seconds with their units such as "2h05m"; "-" if negative. Both
 * return `text`. */
const char *text_number(char text[TEXT_NUMBER_MAX], uint64_t number);
const char *text_duration(char text[TEXT_NUMBER_MAX], double seconds);

/* Return the size of the terminal that stdout is. */
size_t text_terminal_columns(void);
size_t text_terminal_rows(void);

/* Returns whether stdout is a terminal, and whether to use colours there (NO_COLOR). */
bool text_on_terminal(void);
bool text_in_colour(void);

#endif
