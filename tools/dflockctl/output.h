/*
 * Standard output: tables, and the check that all of it was written.
 */
#ifndef DFLOCKCTL_OUTPUT_H
#define DFLOCKCTL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Writes what is buffered for stdout. Reports a failure on stderr. Every command that prints ends
 * with it. Returns `status`, or STATUS_OUTPUT if the output is lost and `status` is STATUS_DONE.
 */
int output_finish(int status);

enum {
    OUTPUT_COLUMNS_MAX = 16
};

struct output_column {
    const char *title;
    bool right; /* right-aligned */
};

struct output_table {
    const struct output_column *columns;
    size_t column_count; /* up to OUTPUT_COLUMNS_MAX */
    bool aligned;        /* with a heading, also if stdout is no terminal */
    bool cut;            /* texts of the first column, to the width of the terminal */

    /* Private, zeroed. */
    size_t next;    /* number of the next cell's column */
    bool measuring; /* the cells only set the widths */
    size_t widths[OUTPUT_COLUMNS_MAX];
};

/* Prints all cells, row by row, with output_cell. */
typedef void output_rows_function(struct output_table *table, const void *context);

/* Prints the next cell, as text_shown returns it. */
__attribute__((format(printf, 2, 3))) void output_cell(struct output_table *table,
                                                       const char *format, ...);

/*
 * Prints a table: on a terminal aligned, with a heading, otherwise a line for each row, with tabs
 * between its cells. Stores no cells: calls `rows` once, on a terminal twice.
 */
void output_table(struct output_table *table, output_rows_function *rows, const void *context);

#endif
