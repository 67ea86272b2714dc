#include <inttypes.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/json_writer.h"
#include "dflockctl/output.h"
#include "dflockctl/snapshot.h"
#include "dflockctl/stats_repeat.h"

/* ---- JSON ---- */

/* Copies the statistics of a server without their outer brackets. */
struct stats_copy {
    struct json_writer *writer;
    unsigned depth;
};

/* A json_event_function. */
static bool stats_copy_event(void *context, enum json_event event, const char *text, size_t length)
{
    struct stats_copy *copy = context;

    switch (event) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        if (copy->depth++ > 0)
            json_begin(copy->writer, event == JSON_OBJECT ? '{' : '[');
        break;
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
        if (--copy->depth > 0)
            json_end(copy->writer, event == JSON_OBJECT_END ? '}' : ']');
        break;
    case JSON_NAME:
        json_name(copy->writer, text);
        break;
    case JSON_STRING:
        json_bytes(copy->writer, text, length);
        break;
    case JSON_NUMBER:
    case JSON_WORD:
        json_verbatim(copy->writer, text);
        break;
    }
    return true;
}

static void stats_copy_spool(struct json_writer *writer, FILE *spool)
{
    struct stats_copy copy = {.writer = writer};
    struct json_parser parser;
    char part[4096];
    size_t length;

    json_parser_init(&parser, stats_copy_event, &copy);
    while ((length = fread(part, 1, sizeof(part), spool)) > 0)
        json_parser_read(&parser, part, length);
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
