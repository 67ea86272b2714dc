#include "dflockctl/output.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/status.h"
#include "dflockctl/text.h"
#include "os/standard_output.h"

#define OUTPUT_BOLD  "\x1b[1m"
#define OUTPUT_PLAIN "\x1b[0m"

enum {
    OUTPUT_GAP = 2,     /* blanks between columns */
    OUTPUT_CUT_MIN = 12 /* columns of one that is cut */
};

int output_finish(int status)
{
    int error = standard_output_flush();

    if (error == 0)
        return status;
    status_report("standard output: %s", strerror(-error));
    return status == STATUS_DONE ? STATUS_OUTPUT : status;
}

/* ---- tables ---- */

static void output_print_cell(const struct output_table *table, size_t number, const char *text)
{
    const struct output_column *column = &table->columns[number];
    bool last = number + 1 == table->column_count;
    size_t width = table->widths[number];
    bool fits = text_width(text) <= width;
    size_t bytes = fits ? strlen(text) : text_fit(text, width - 1);
    int blanks = fits ? (int)(width - text_width(text)) : 0;

    if (column->right)
        printf("%*s%s", blanks, "", text);
    else
        printf("%.*s%s%*s", (int)bytes, text, fits ? "" : text_cut_mark(), last ? 0 : blanks, "");
    printf("%*s", last ? 0 : OUTPUT_GAP, "");
}

void output_cell(struct output_table *table, const char *format, ...)
{
    size_t number = table->next;
    bool last = number + 1 == table->column_count;
    va_list arguments;
    char *text;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        die_of_memory();
    table->next = last ? 0 : number + 1;
    if (table->measuring) {
        size_t width = text_width(text);

        if (width > table->widths[number])
            table->widths[number] = width;
    } else if (table->aligned || text_on_terminal()) {
        output_print_cell(table, number, text);
        printf("%s", last ? "\n" : "");
    } else {
        printf("%s%c", text, last ? '\n' : '\t');
    }
    free(text);
}

static void output_print_heading(const struct output_table *table)
{
    bool bold = text_in_colour();

    printf("%s", bold ? OUTPUT_BOLD : "");
    for (size_t i = 0; i < table->column_count; i++)
        output_print_cell(table, i, table->columns[i].title);
    printf("%s\n", bold ? OUTPUT_PLAIN : "");
}

/* Makes the first column narrower, so that the table fits to the terminal. */
static void output_cut(struct output_table *table)
{
    size_t columns = text_terminal_columns();
    size_t total = (table->column_count - 1) * OUTPUT_GAP;
    size_t *first = &table->widths[0];

    for (size_t i = 0; i < table->column_count; i++)
        total += table->widths[i];
    if (total > columns && *first > OUTPUT_CUT_MIN)
        *first =
            *first > total - columns + OUTPUT_CUT_MIN ? *first - (total - columns) : OUTPUT_CUT_MIN;
}

void output_table(struct output_table *table, output_rows_function *rows, const void *context)
{
    assert(table->column_count > 0 && table->column_count <= OUTPUT_COLUMNS_MAX);
    if (table->aligned || text_on_terminal()) {
        for (size_t i = 0; i < table->column_count; i++)
            table->widths[i] = strlen(table->columns[i].title);
        table->measuring = true;
        rows(table, context);
        table->measuring = false;
        if (table->cut && text_on_terminal())
            output_cut(table);
        output_print_heading(table);
    }
    rows(table, context);
}
