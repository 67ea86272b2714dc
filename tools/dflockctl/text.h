/*
 * Text of others, shown: a key may hold any bytes, also such as would drive a terminal.
 */
#ifndef DFLOCKCTL_TEXT_H
#define DFLOCKCTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A copy of `length` bytes, to be freed, in which a control character is written \xNN, a backslash
 * is doubled, and bytes that are not UTF-8 are \xNN as well. For a terminal also what its locale
 * cannot print and what turns the direction of writing is written out, as \u{N}. Never NULL.
 */
char *text_shown(const char *bytes, size_t length, bool terminal);

/*
 * A copy of it, to be freed, in which each byte that is not UTF-8 is U+FFFD: so the servers write
 * keys in JSON. Never NULL.
 */
char *text_valid(const char *bytes, size_t length);

/* Columns that a shown text takes. */
size_t text_width(const char *shown);

/* How many bytes of it fit into `columns`, whole characters only. */
size_t text_fit(const char *shown, size_t columns);

/* Whether stdout is a terminal that takes tables and, unless NO_COLOR is set, colours. */
bool text_on_terminal(void);
bool text_in_colour(void);

#endif
