#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/output.h"
#include "dflockctl/snapshot.h"
#include "dflockctl/text.h"

enum {
    LS_COLUMNS = 7 /* the last one is the server */
};

static void ls_print_row(struct output_table *table, const struct settings *settings,
                         const struct key_stats *entry)
{
    char *key = text_shown(entry->key, entry->key_length, text_on_terminal());

    output_cell(table, "%s", key);
    output_cell(table, "%s", key_stats_kind_name(entry->kind));
    if (entry->kind == KEY_SEMAPHORE && entry->limit > 0)
        output_cell(table, "%" PRIu64 "/%" PRIu32, entry->holders, entry->limit);
    else
        output_cell(table, "%" PRIu64, entry->holders);
    output_cell(table, "%" PRIu64, entry->waiters);
    if (entry->lease_s >= 0)
        output_cell(table, "%.1f", entry->lease_s);
    else
        output_cell(table, "-");
    if (entry->owner > 0)
        output_cell(table, "%" PRIu64, entry->owner);
    else
        output_cell(table, "-");
    if (table->column_count == LS_COLUMNS)
        output_cell(table, "%s", settings->servers[entry->server]);
    free(key);
}

/* An output_rows_function. */
static void ls_print_rows(struct output_table *table, const void *context)
{
    const struct snapshot *snapshot = context;

    for (size_t i = 0; i < snapshot->list.count; i++)
        ls_print_row(table, snapshot->settings, &snapshot->list.keys[i]);
}

/* Omits the column of servers on a terminal if there is one server: columns are scarce there. */
static void ls_print_table(const struct snapshot *snapshot)
{
    static const struct output_column columns[LS_COLUMNS] = {
        {"KEY", false},  {"KIND", false},      {"HOLDERS", true}, {"WAITERS", true},
        {"LEASE", true}, {"CONNECTION", true}, {"SERVER", false},
    };
    struct output_table table = {
        .columns = columns,
        .column_count = LS_COLUMNS,
    };

    if (text_on_terminal() && snapshot->settings->options.server_count == 1)
        table.column_count--;
    if (snapshot->list.count == 0 && text_on_terminal())
        printf("No key has a holder or waiters.\n");
    else
        output_table(&table, ls_print_rows, snapshot);
}

/* A key occurs once, also if it is a lock and a semaphore, or on several servers. */
static void ls_print_keys(const struct snapshot *snapshot)
{
    const struct key_stats *before = NULL;

    for (size_t i = 0; i < snapshot->list.count; i++) {
        const struct key_stats *entry = &snapshot->list.keys[i];

        if (before && before->key_length == entry->key_length &&
            memcmp(before->key, entry->key, entry->key_length) == 0)
            continue;
        before = entry;
        if (text_on_terminal()) {
            char *key = text_shown(entry->key, entry->key_length, true);

            printf("%s\n", key);
            free(key);
        } else {
            fwrite(entry->key, 1, entry->key_length, stdout);
            putchar('\n');
        }
    }
}

int ls_run(const struct settings *settings)
{
    struct snapshot snapshot = {
        .settings = settings,
        .list_keys = true,
        .list_idle = settings->idle,
        .prefix = settings->words[0],
    };

    if (settings->keys && settings->json) {
        status_report("--keys: cannot be combined with --json; leave out one of them");
        return STATUS_USAGE;
    }
    snapshot_request(&snapshot, 0, settings->options.server_count);
    /* ls_print_keys needs equal keys beside each other. */
    key_stats_sort(&snapshot.list, settings->keys ? "key" : settings->sort, settings->reverse);
    if (settings->keys)
        ls_print_keys(&snapshot);
    else if (settings->json)
        snapshot_print_keys_json(&snapshot);
    else if (snapshot.list.count > 0 || snapshot.status == STATUS_DONE)
        ls_print_table(&snapshot);
    return snapshot_finish(&snapshot);
}
