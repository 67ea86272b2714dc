/*
 * Standard output: JSON, tables, and the check that all of it was written.
 */
#ifndef DFLOCKCTL_OUTPUT_H
#define DFLOCKCTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Writes what is buffered for stdout. Reports a failure on stderr. Every command that prints ends
 * with it. Returns `status`, or STATUS_OUTPUT if the output is lost and `status` is STATUS_DONE.
 */
int output_finish(int status);

/* Returns `value`, which jansson allocated. Exits if it is NULL: out of memory. */
json_t *output_made(json_t *value);

/* Returns the key as a server writes it: bytes that are not UTF-8 become U+FFFD. */
json_t *output_key(const char *key);

/* Prints a line of JSON; on a terminal, indented lines. */
void output_json(const json_t *value);

struct output_column {
    const char *title;
    bool right; /* right-aligned */
};

/* Cells are added row by row. */
struct output_table {
    const struct output_column *columns;
    size_t column_count;
    char **cells; /* owned; as text_shown returns them */
    size_t cell_count;
    size_t room;
};

/* Adds the next cell. Copies the text. */
__attribute__((format(printf, 2, 3))) void output_cell(struct output_table *table,
                                                       const char *format, ...);

/*
 * Prints the table and empties it: on a terminal aligned, with a heading, otherwise a line for each
 * row, with tabs between its cells.
 */
void output_table(struct output_table *table);

#endif
