#include "dflockctl/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dflockctl/json_writer.h"
#include "dflockctl/query.h"
#include "dflockctl/text.h"

/* The statistics of a server while they arrive. */
struct snapshot_source {
    struct snapshot *snapshot;
    FILE *spool;
    struct stats_parser parser;
};

/* ---- what arrives ---- */

/* A stats_key_function. */
static void snapshot_take_key(void *context, const struct key_stats *entry)
{
    struct snapshot *snapshot = context;
    const char *prefix = snapshot->valid_prefix;
    size_t length = prefix ? strlen(prefix) : 0;

    if (entry->idle && !snapshot->list_idle)
        return;
    if (entry->key_length < length)
        return;
    if (length == 0 || memcmp(entry->key, prefix, length) == 0)
        key_stats_add(&snapshot->list, entry);
}

/* A dflockd_text_function. */
static void snapshot_take_text(void *context, const char *part, size_t length)
{
    struct snapshot_source *source = context;

    stats_parser_read(&source->parser, part, length);
    if (source->spool)
        fwrite(part, 1, length, source->spool);
}

/* ---- spools ---- */

/* A reply may have 100 MB, so it waits for its turn in a file. */
static FILE *snapshot_open_spool(void)
{
    const char *directory = getenv("TMPDIR");
    int descriptor =
        open(directory && *directory ? directory : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    FILE *spool;

    if (descriptor < 0)
        descriptor = memfd_create("stats", MFD_CLOEXEC);
    spool = descriptor < 0 ? NULL : fdopen(descriptor, "w+");
    if (!spool)
        die_of_memory();
    return spool;
}

static enum status snapshot_finish_spool(FILE *spool)
{
    if (!spool || (fflush(spool) == 0 && !ferror(spool))) {
        if (spool)
            rewind(spool);
        return STATUS_DONE;
    }
    status_report("temporary file: %s; give a directory with more room in TMPDIR", strerror(errno));
    return STATUS_SYSTEM;
}

/* ---- requests ---- */

static void snapshot_finish_source(struct snapshot_source *source, struct query *query,
                                   size_t server)
{
    struct snapshot *snapshot = source->snapshot;
    enum status status;

    if (query->status == DFLOCKD_STATUS_DONE && !stats_parser_is_complete(&source->parser))
        query->status = DFLOCKD_STATUS_STRANGE_ANSWER;
    if (query->status != DFLOCKD_STATUS_DONE)
        query_report_failure(query);
    status = status_of(query->status);
    if (status == STATUS_DONE)
        status = snapshot_finish_spool(source->spool);
    snapshot->replied[server] = status == STATUS_DONE;
    snapshot->totals[server] = source->parser.totals;
    snapshot->spools[server] = source->spool;
    if (status != STATUS_DONE)
        snapshot->status = status;
}

/* Removes the keys of servers whose reply was not complete. */
static void snapshot_drop_partial(struct snapshot *snapshot)
{
    struct key_stats_list *list = &snapshot->list;
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        if (snapshot->replied[list->keys[i].server])
            list->keys[kept++] = list->keys[i];
    }
    list->count = kept;
}

void snapshot_request(struct snapshot *snapshot, size_t first, size_t count)
{
    const struct dflockd_request request = {.command = DFLOCKD_STATS};
    struct snapshot_source *sources = new_memory(count, sizeof(*sources));
    struct query *queries = new_memory(count, sizeof(*queries));

    if (snapshot->prefix)
        snapshot->valid_prefix = text_valid(snapshot->prefix, strlen(snapshot->prefix));
    for (size_t i = 0; i < count; i++) {
        sources[i].snapshot = snapshot;
        sources[i].spool = snapshot->spool ? snapshot_open_spool() : NULL;
        stats_parser_begin(&sources[i].parser, first + i,
                           snapshot->list_keys ? snapshot_take_key : NULL, snapshot);
        query_begin(&queries[i], snapshot->settings, first + i, &request, snapshot_take_text,
                    &sources[i]);
    }
    query_wait(queries, count);
    for (size_t i = 0; i < count; i++) {
        snapshot_finish_source(&sources[i], &queries[i], first + i);
        query_close(&queries[i]);
    }
    if (snapshot->status != STATUS_DONE)
        snapshot_drop_partial(snapshot);
    free(queries);
    free(sources);
}

/* ---- output ---- */

static void snapshot_print_key_json(struct json_writer *writer, const struct settings *settings,
                                    const struct key_stats *entry)
{
    json_begin(writer, '{');
    json_name(writer, "key");
    json_bytes(writer, entry->key, entry->key_length);
    json_name(writer, "kind");
    json_text(writer, key_stats_kind_name(entry->kind));
    json_name(writer, "holders");
    json_integer(writer, entry->holders);
    json_name(writer, "waiters");
    json_integer(writer, entry->waiters);
    json_name(writer, "server");
    json_text(writer, settings->servers[entry->server]);
    if (entry->limit > 0) {
        json_name(writer, "limit");
        json_integer(writer, entry->limit);
    }
    if (entry->owner > 0) {
        json_name(writer, "connection");
        json_integer(writer, entry->owner);
    }
    if (entry->lease_s >= 0) {
        json_name(writer, "lease_expires_in_s");
        json_real(writer, entry->lease_s);
    }
    if (entry->idle) {
        json_name(writer, "idle_s");
        json_real(writer, entry->idle_s);
    }
    json_end(writer, '}');
}

void snapshot_print_keys_json(const struct snapshot *snapshot)
{
    struct json_writer writer = json_writer_new();

    json_begin(&writer, '[');
    for (size_t i = 0; i < snapshot->list.count; i++)
        snapshot_print_key_json(&writer, snapshot->settings, &snapshot->list.keys[i]);
    json_end(&writer, ']');
}

int snapshot_finish(struct snapshot *snapshot)
{
    key_stats_free(&snapshot->list);
    free(snapshot->valid_prefix);
    for (size_t server = 0; server < SETTINGS_SERVERS_MAX; server++) {
        if (snapshot->spools[server])
            fclose(snapshot->spools[server]);
    }
    return (int)snapshot->status;
}
