#include "dflockctl/snapshot.h"

#include "dflockctl/output.h"
#include "dflockctl/query.h"

void snapshot_request(struct snapshot *snapshot, size_t server)
{
    const struct settings *settings = snapshot->settings;
    struct dflockd_request request = {.command = DFLOCKD_STATS};
    struct query query = {0};
    enum dflockd_status status = query_run(&query, settings, server, &request);
    bool replied = status == query.reply.status;
    json_t *stats = NULL;

    if (status == DFLOCKD_STATUS_DONE) {
        stats = key_stats_parse(query.reply.text, query.reply.text_length);
        if (!stats || !key_stats_add(&snapshot->list, server, stats, &snapshot->totals[server])) {
            status = DFLOCKD_STATUS_STRANGE_ANSWER;
            json_decref(stats);
            stats = NULL;
        }
    }
    if (replied && !stats)
        query_report(settings, server, status);
    query_close(&query);
    snapshot->stats[server] = stats;
    if (status != DFLOCKD_STATUS_DONE)
        snapshot->status = status_of(status);
}

void snapshot_request_all(struct snapshot *snapshot)
{
    for (size_t server = 0; server < snapshot->settings->options.server_count; server++)
        snapshot_request(snapshot, server);
}

static json_t *snapshot_key_json(const struct settings *settings, const struct key_stats *entry)
{
    json_t *value = output_made(json_pack(
        "{s:o, s:s, s:I, s:I, s:s}", "key",
        output_made(json_stringn(entry->key, entry->key_length)), "kind",
        key_stats_kind_name(entry->kind), "holders", (json_int_t)entry->holders, "waiters",
        (json_int_t)entry->waiters, "server", settings->servers[entry->server]));

    if (entry->limit > 0)
        json_object_set_new(value, "limit", output_made(json_integer((json_int_t)entry->limit)));
    if (entry->owner > 0)
        json_object_set_new(value, "connection",
                            output_made(json_integer((json_int_t)entry->owner)));
    if (entry->lease_s >= 0)
        json_object_set_new(value, "lease_expires_in_s", output_made(json_real(entry->lease_s)));
    if (entry->idle)
        json_object_set_new(value, "idle_s", output_made(json_real(entry->idle_s)));
    return value;
}

void snapshot_print_keys_json(const struct snapshot *snapshot, bool with_idle)
{
    json_t *array = output_made(json_array());

    for (size_t i = 0; i < snapshot->list.count; i++) {
        const struct key_stats *entry = &snapshot->list.keys[i];

        if (with_idle || !entry->idle)
            json_array_append_new(array, snapshot_key_json(snapshot->settings, entry));
    }
    output_json(array);
    json_decref(array);
}

int snapshot_finish(struct snapshot *snapshot)
{
    key_stats_free(&snapshot->list);
    for (size_t server = 0; server < SETTINGS_SERVERS_MAX; server++)
        json_decref(snapshot->stats[server]);
    return (int)snapshot->status;
}
