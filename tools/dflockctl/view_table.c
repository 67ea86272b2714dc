#include "dflockctl/view_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/output.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

/* A hundred years: the rest of a wait or a lease that has no end. */
#define VIEW_ENDLESS_S (100 * 365.25 * 86400)

struct view_rows {
    const struct key_view_list *list;
    size_t count;
    bool has_mode; /* of waiters */
};

static void view_table_text_cell(struct output_table *table, const char *text)
{
    char *shown = text_shown(text ? text : "", text ? strlen(text) : 0, true);

    output_cell(table, "%s", *shown ? shown : "-");
    free(shown);
}

static void view_table_duration_cell(struct output_table *table, double seconds)
{
    char text[TEXT_NUMBER_MAX];

    output_cell(table, "%s", text_duration(text, seconds));
}

static void view_table_rest_cell(struct output_table *table, double seconds)
{
    if (seconds > VIEW_ENDLESS_S)
        output_cell(table, "none");
    else
        view_table_duration_cell(table, seconds);
}

/* A connection that has ended has the number 0. */
static void view_table_connection_cell(struct output_table *table, uint64_t connection)
{
    if (connection > 0)
        output_cell(table, "%" PRIu64, connection);
    else
        output_cell(table, "-");
}

/* The cells that holders and waiters share. */
static void view_table_client_cells(struct output_table *table,
                                    const struct key_view_client *client)
{
    view_table_text_cell(table, client->name);
    view_table_text_cell(table, client->address);
    view_table_connection_cell(table, client->connection);
    view_table_duration_cell(table, client->for_s);
    view_table_rest_cell(table, client->left_s);
}

/* An output_rows_function. */
static void view_table_holder_rows(struct output_table *table, const void *context)
{
    const struct view_rows *rows = context;

    for (size_t i = 0; i < rows->count; i++) {
        view_table_client_cells(table, &rows->list->each[i]);
        view_table_text_cell(table, rows->list->each[i].fence);
    }
}

/* An output_rows_function. */
static void view_table_waiter_rows(struct output_table *table, const void *context)
{
    const struct view_rows *rows = context;

    for (size_t i = 0; i < rows->count; i++) {
        view_table_client_cells(table, &rows->list->each[i]);
        output_cell(table, "%" PRIu64, rows->list->each[i].position);
        if (rows->has_mode)
            view_table_text_cell(table, rows->list->each[i].mode);
    }
}

static void view_table_print_rest(const struct key_view_list *list, size_t count, const char *what)
{
    uint64_t rest = list->total - count;
    char number[TEXT_NUMBER_MAX];

    if (rest == 0)
        return;
    printf("%s and %s more %s%s", text_ellipsis(), text_number(number, rest), what,
           rest == 1 ? "" : "s");
    if (list->count > count)
        printf("; --all lists %s",
               list->count < list->total ? text_number(number, list->count) : "them");
    printf("\n");
}

static void view_table_print(struct output_table *table, output_rows_function *print,
                             struct view_rows *rows, const char *what)
{
    table->aligned = true;
    table->cut = true;
    if (rows->list->count < rows->count)
        rows->count = rows->list->count;
    if (rows->count > 0)
        output_table(table, print, rows);
    view_table_print_rest(rows->list, rows->count, what);
}

void view_table_print_holders(const struct key_view *view, size_t rows)
{
    static const struct output_column columns[] = {
        {"HOLDER", false}, {"ADDRESS", false}, {"CONN", true},
        {"HELD", true},    {"LEASE", true},    {"FENCE", false},
    };
    struct output_table table = {
        .columns = columns,
        .column_count = sizeof(columns) / sizeof(columns[0]),
    };
    struct view_rows shown = {.list = &view->holders, .count = rows};

    view_table_print(&table, view_table_holder_rows, &shown, "holder");
}

void view_table_print_waiters(const struct key_view *view, enum key_kind kind, size_t rows)
{
    static const struct output_column columns[] = {
        {"WAITER", false}, {"ADDRESS", false}, {"CONN", true},  {"WAITING", true},
        {"TIMEOUT", true}, {"PLACE", true},    {"MODE", false},
    };
    struct output_table table = {
        .columns = columns,
        .column_count = sizeof(columns) / sizeof(columns[0]) - (kind == KEY_SEMAPHORE),
    };
    struct view_rows shown = {
        .list = &view->waiters,
        .count = rows,
        .has_mode = kind == KEY_LOCK,
    };

    view_table_print(&table, view_table_waiter_rows, &shown, "waiter");
}

void view_table_print_totals(const struct key_view *view, enum key_kind kind)
{
    const struct key_view_list *holders = &view->holders;
    char number[TEXT_NUMBER_MAX];
    bool exclusive = holders->count > 0 && holders->each[0].mode &&
                     strcmp(holders->each[0].mode, "exclusive") == 0;

    if (kind == KEY_SEMAPHORE)
        printf("semaphore, %" PRIu64 " of %" PRIu64 " slots held", holders->total, view->limit);
    else if (holders->total == 0)
        printf("lock, not held");
    else if (exclusive)
        printf("lock, held exclusively");
    else
        printf("lock, held shared by %s", text_number(number, holders->total));
    if (view->waiters.total > 0)
        printf(", %s waiting\n", text_number(number, view->waiters.total));
    else
        printf(", nobody waiting\n");
}

char *view_table_client(const struct key_view_client *client)
{
    const char *name = client->name ? client->name : "";
    const char *address = client->address ? client->address : "";
    char *text;
    char *shown;

    if (asprintf(&text, "%s%s%s", name, *name && *address ? " " : "", address) < 0)
        die_of_memory();
    shown = text_shown(text, strlen(text), true);
    free(text);
    return shown;
}
