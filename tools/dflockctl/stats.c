#include <inttypes.h>

#include "dflockctl/command.h"
#include "dflockctl/output.h"
#include "dflockctl/snapshot.h"

static void stats_print_json(const struct snapshot *snapshot)
{
    const struct settings *settings = snapshot->settings;
    json_t *list = output_made(json_array());

    for (size_t server = 0; server < settings->options.server_count; server++) {
        json_t *value = output_made(json_pack("{s:s}", "server", settings->servers[server]));

        if (snapshot->stats[server])
            json_object_update(value, snapshot->stats[server]);
        json_array_append_new(list, value);
    }
    output_json(list);
    json_decref(list);
}

static void stats_print_rows(const struct snapshot *snapshot)
{
    static const struct output_column columns[] = {
        {"SERVER", false}, {"CONNECTIONS", true}, {"LOCKS", true}, {"SEMAPHORES", true},
        {"HOLDERS", true}, {"WAITERS", true},     {"IDLE", true},
    };
    struct output_table table = {
        .columns = columns,
        .column_count = sizeof(columns) / sizeof(columns[0]),
    };

    for (size_t server = 0; server < snapshot->settings->options.server_count; server++) {
        const struct key_stats_totals *totals = &snapshot->totals[server];
        const uint64_t numbers[] = {totals->connections, totals->locks,   totals->semaphores,
                                    totals->holders,     totals->waiters, totals->idle};

        if (!snapshot->stats[server])
            continue;
        output_cell(&table, "%s", snapshot->settings->servers[server]);
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
            output_cell(&table, "%" PRIu64, numbers[i]);
    }
    if (table.cell_count > 0)
        output_table(&table);
}

int stats_run(const struct settings *settings)
{
    struct snapshot snapshot = {.settings = settings};

    snapshot_request_all(&snapshot);
    if (settings->json)
        stats_print_json(&snapshot);
    else
        stats_print_rows(&snapshot);
    return snapshot_finish(&snapshot);
}
