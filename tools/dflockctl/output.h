/*
 * Standard output: JSON, tables, and the check that all of it was written.
 */
#ifndef DFLOCKCTL_OUTPUT_H
#define DFLOCKCTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Writes what is buffered for stdout; the end of every command that prints. If that fails, reports
 * it on stderr. Returns `status`, or STATUS_OUTPUT if the output is lost and `status` is
 * STATUS_DONE.
 */
int output_finish(int status);

/* `value`, which jansson made; ends the program where it had no memory for it. */
json_t *output_made(json_t *value);

/* A key as the servers tell it: bytes that are not UTF-8 become U+FFFD. */
json_t *output_key(const char *key);

/* Prints it: over several lines on a terminal, else in one. */
void output_json(const json_t *value);

/* A table: rows of cells that are added one after the other. */
struct output_column {
    const char *title;
    bool right; /* aligned so */
};

struct output_table {
    const struct output_column *columns;
    size_t column_count;
    char **cells; /* shown texts, owned */
    size_t cell_count;
    size_t room;
};

/* The next cell; the text is copied. */
__attribute__((format(printf, 2, 3))) void output_cell(struct output_table *table,
                                                       const char *format, ...);

/*
 * Prints the table and empties it. On a terminal with a heading and aligned; else a line for each
 * row, with tabs between.
 */
void output_table(struct output_table *table);

#endif
