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
    OUTPUT_COLUMNS_MAX = 16,
    OUTPUT_GAP = 2 /* blanks between columns */
};

int output_finish(int status)
{
    int error = standard_output_flush();

    if (error == 0)
        return status;
    status_report("standard output: %s", strerror(-error));
    return status == STATUS_DONE ? STATUS_OUTPUT : status;
}

/* ---- JSON ---- */

json_t *output_made(json_t *value)
{
    if (!value)
        die_of_memory();
    return value;
}

json_t *output_key(const char *key)
{
    char *valid = text_valid(key, strlen(key));
    json_t *value = output_made(json_string(valid));

    free(valid);
    return value;
}

/* ASCII only: a key cannot control a terminal, and the output is the same in every locale. */
void output_json(const json_t *value)
{
    size_t flags = JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6);
    char *text = json_dumps(value, flags | (text_on_terminal() ? JSON_INDENT(2) : JSON_COMPACT));

    /* json_dumpf would not distinguish missing memory from a full disk. */
    if (!text)
        die_of_memory();
    printf("%s\n", text);
    free(text);
}

/* ---- tables ---- */

void output_cell(struct output_table *table, const char *format, ...)
{
    va_list arguments;

    if (table->cell_count == table->room) {
        table->room = table->room ? table->room * 2 : 64;
        table->cells = reallocarray(table->cells, table->room, sizeof(*table->cells));
        if (!table->cells)
            die_of_memory();
    }
    va_start(arguments, format);
    if (vasprintf(&table->cells[table->cell_count++], format, arguments) < 0)
        die_of_memory();
    va_end(arguments);
}

static void output_print_cell(const struct output_column *column, const char *text, size_t width,
                              bool last)
{
    int blanks = (int)(width - text_width(text));

    if (column->right)
        printf("%*s%s", blanks, "", text);
    else
        printf("%s%*s", text, last ? 0 : blanks, "");
    printf("%*s", last ? 0 : OUTPUT_GAP, "");
}

static void output_print_heading(const struct output_table *table, const size_t *widths)
{
    bool bold = text_in_colour();

    printf("%s", bold ? OUTPUT_BOLD : "");
    for (size_t i = 0; i < table->column_count; i++)
        output_print_cell(&table->columns[i], table->columns[i].title, widths[i],
                          i + 1 == table->column_count);
    printf("%s\n", bold ? OUTPUT_PLAIN : "");
}

static void output_print_table(const struct output_table *table)
{
    size_t widths[OUTPUT_COLUMNS_MAX];
    size_t count = table->column_count;

    for (size_t i = 0; i < count; i++)
        widths[i] = strlen(table->columns[i].title);
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = text_width(table->cells[i]);

        if (width > widths[i % count])
            widths[i % count] = width;
    }
    output_print_heading(table, widths);
    for (size_t i = 0; i < table->cell_count; i++) {
        bool last = i % count + 1 == count;

        output_print_cell(&table->columns[i % count], table->cells[i], widths[i % count], last);
        if (last)
            printf("\n");
    }
}

void output_table(struct output_table *table)
{
    assert(table->column_count > 0 && table->column_count <= OUTPUT_COLUMNS_MAX);
    if (text_on_terminal()) {
        output_print_table(table);
    } else {
        for (size_t i = 0; i < table->cell_count; i++)
            printf("%s%c", table->cells[i], (i + 1) % table->column_count ? '\t' : '\n');
    }
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->cell_count = table->room = 0;
}
