#include <inttypes.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/json_copy.h"
#include "dflockctl/output.h"
#include "dflockctl/snapshot.h"
#include "dflockctl/stats_repeat.h"

/* ---- JSON ---- */

static void stats_copy_spool(struct json_writer *writer, FILE *spool)
{
    struct json_copy copy;
    char part[4096];
    size_t length;

    json_copy_init(&copy, writer);
    while ((length = fread(part, 1, sizeof(part), spool)) > 0)
        json_copy_read(&copy, part, length);
}

static void stats_print_json(const struct snapshot *snapshot)
{
    const struct settings *settings = snapshot->settings;
    struct json_writer writer = json_writer_new();

    json_begin(&writer, '[');
    for (size_t server = 0; server < settings->options.server_count; server++) {
        json_begin(&writer, '{');
        json_name(&writer, "server");
        json_text(&writer, settings->servers[server]);
        if (snapshot->replied[server])
            stats_copy_spool(&writer, snapshot->spools[server]);
        json_end(&writer, '}');
    }
    json_end(&writer, ']');
}

/* ---- table ---- */

/* An output_rows_function. */
static void stats_print_rows(struct output_table *table, const void *context)
{
    const struct snapshot *snapshot = context;

    for (size_t server = 0; server < snapshot->settings->options.server_count; server++) {
        const struct stats_totals *totals = &snapshot->totals[server];
        const uint64_t numbers[] = {totals->connections, totals->locks,   totals->semaphores,
                                    totals->holders,     totals->waiters, totals->idle};

        if (!snapshot->replied[server])
            continue;
        output_cell(table, "%s", snapshot->settings->servers[server]);
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
            output_cell(table, "%" PRIu64, numbers[i]);
    }
}

static bool stats_has_reply(const struct snapshot *snapshot)
{
    return memchr(snapshot->replied, true, sizeof(snapshot->replied)) != NULL;
}

int stats_run(const struct settings *settings)
{
    static const struct output_column columns[] = {
        {"SERVER", false}, {"CONNECTIONS", true}, {"LOCKS", true}, {"SEMAPHORES", true},
        {"HOLDERS", true}, {"WAITERS", true},     {"IDLE", true},
    };
    struct output_table table = {
        .columns = columns,
        .column_count = sizeof(columns) / sizeof(columns[0]),
    };
    struct snapshot snapshot = {.settings = settings, .spool = settings->json};

    if (settings->count > 0 && settings->interval_ms == 0) {
        status_report("--count: has no effect without --interval; give both");
        return STATUS_USAGE;
    }
    if (settings->interval_ms > 0)
        return stats_repeat(settings);
    snapshot_request(&snapshot, 0, settings->options.server_count);
    if (settings->json)
        stats_print_json(&snapshot);
    else if (stats_has_reply(&snapshot))
        output_table(&table, stats_print_rows, &snapshot);
    return snapshot_finish(&snapshot);
}
