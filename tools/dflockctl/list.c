#include "dflockctl/list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/census.h"
#include "dflockctl/output.h"
#include "dflockctl/servers.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    LS_COLUMNS = 7 /* the last one is the server */
};

/* What some servers tell. */
struct survey {
    const struct settings *settings;
    struct census census;
    json_t *stats[SETTINGS_SERVERS_MAX]; /* NULL: no answer */
    struct census_sums sums[SETTINGS_SERVERS_MAX];
    enum status status;
};

/* ---- asking ---- */

static void ask(struct survey *survey, size_t server)
{
    const struct settings *settings = survey->settings;
    struct dflockd_request request = {.command = DFLOCKD_STATS};
    struct question question = {0};
    enum dflockd_status status = question_ask(&question, settings, server, &request);
    json_t *stats = NULL;

    if (status == DFLOCKD_STATUS_DONE) {
        stats = census_parse(question.reply.text, question.reply.text_length);
        if (!stats || !census_add(&survey->census, server, stats, &survey->sums[server])) {
            status = DFLOCKD_STATUS_STRANGE_ANSWER;
            json_decref(stats);
            stats = NULL;
        }
        if (!stats)
            say("%s: %s%s", settings->servers[server], dflockd_status_text(status),
                status_advice(status));
    } else if (status == question.reply.status) {
        say("%s: %s%s", settings->servers[server], dflockd_status_text(status),
            status_advice(status));
    }
    question_close(&question);
    survey->stats[server] = stats;
    if (status != DFLOCKD_STATUS_DONE)
        survey->status = status_of(status);
}

static void ask_all(struct survey *survey)
{
    for (size_t server = 0; server < survey->settings->options.server_count; server++)
        ask(survey, server);
}

static int finish(struct survey *survey)
{
    census_free(&survey->census);
    for (size_t server = 0; server < SETTINGS_SERVERS_MAX; server++)
        json_decref(survey->stats[server]);
    return (int)survey->status;
}

/* ---- ls ---- */

static json_t *entry_json(const struct settings *settings, const struct census_entry *entry)
{
    json_t *value = output_made(
        json_pack("{s:o, s:s, s:I, s:I, s:s}", "key",
                  output_made(json_stringn(entry->key, entry->key_length)), "kind",
                  census_kind_name(entry->kind), "holders", (json_int_t)entry->holders, "waiters",
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

static void print_json(const struct survey *survey, bool with_idle)
{
    const struct settings *settings = survey->settings;
    json_t *list = output_made(json_array());

    for (size_t i = 0; i < survey->census.count; i++) {
        const struct census_entry *entry = &survey->census.entries[i];

        if (with_idle || !entry->idle)
            json_array_append_new(list, entry_json(settings, entry));
    }
    output_json(list);
    json_decref(list);
}

static void add_row(struct output_table *table, const struct settings *settings,
                    const struct census_entry *entry)
{
    char *key = text_shown(entry->key, entry->key_length, text_on_terminal());

    output_cell(table, "%s", key);
    output_cell(table, "%s", census_kind_name(entry->kind));
    if (entry->kind == CENSUS_SEMAPHORE && entry->limit > 0)
        output_cell(table, "%" PRIu64 "/%" PRIu64, entry->holders, entry->limit);
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

/* On a terminal, where columns are scarce, one server need not be named. */
static void print_rows(const struct survey *survey)
{
    static const struct output_column columns[LS_COLUMNS] = {
        {"KEY", false},  {"KIND", false},      {"HOLDERS", true}, {"WAITERS", true},
        {"LEASE", true}, {"CONNECTION", true}, {"SERVER", false},
    };
    struct output_table table = {
        .columns = columns,
        .column_count = LS_COLUMNS,
    };

    if (text_on_terminal() && survey->settings->options.server_count == 1)
        table.column_count--;
    for (size_t i = 0; i < survey->census.count; i++) {
        const struct census_entry *entry = &survey->census.entries[i];

        if (survey->settings->idle || !entry->idle)
            add_row(&table, survey->settings, entry);
    }
    if (table.cell_count == 0 && text_on_terminal())
        printf("Nothing is held or waited for.\n");
    else
        output_table(&table);
}

int list_keys(const struct settings *settings)
{
    struct survey survey = {.settings = settings};

    ask_all(&survey);
    census_sort(&survey.census, settings->sort, settings->reverse);
    if (settings->json)
        print_json(&survey, settings->idle);
    else if (survey.census.count > 0 || survey.status == STATUS_DONE)
        print_rows(&survey);
    return finish(&survey);
}

/* ---- show ---- */

static void print_waiters(const struct census_entry *entry)
{
    if (entry->waiters > 0)
        printf(", %" PRIu64 " waiting\n", entry->waiters);
    else
        printf(", nobody waiting\n");
}

static void print_entry(const struct census_entry *entry)
{
    printf("  %-9s  ", census_kind_name(entry->kind));
    if (entry->idle) {
        printf("free for %.0f s\n", entry->idle_s);
    } else if (entry->kind == CENSUS_SEMAPHORE) {
        printf("%" PRIu64 " of %" PRIu64 " slots held", entry->holders, entry->limit);
        print_waiters(entry);
    } else if (entry->holders == 0) {
        printf("not held");
        print_waiters(entry);
    } else {
        printf("held");
        if (entry->owner > 0)
            printf(" by connection %" PRIu64, entry->owner);
        printf(", lease over in %.1f s", entry->lease_s);
        print_waiters(entry);
    }
}

/* Leaves in the census what is about the key, as the server tells that. */
static void keep_key(struct census *census, const char *key)
{
    char *valid = text_valid(key, strlen(key));
    size_t kept = 0;

    for (size_t i = 0; i < census->count; i++) {
        const struct census_entry *entry = &census->entries[i];

        if (entry->key_length == strlen(valid) && memcmp(entry->key, valid, entry->key_length) == 0)
            census->entries[kept++] = *entry;
    }
    census->count = kept;
    free(valid);
}

static void print_key(const struct survey *survey, size_t server)
{
    const struct settings *settings = survey->settings;
    const char *key = settings->words[0];
    char *shown = text_shown(key, strlen(key), text_on_terminal());

    printf("%s on %s\n", shown, settings->servers[server]);
    for (size_t i = 0; i < survey->census.count; i++)
        print_entry(&survey->census.entries[i]);
    if (survey->census.count == 0)
        printf("  free: nobody holds it or waits for it\n");
    free(shown);
}

int list_key(const struct settings *settings)
{
    struct survey survey = {.settings = settings};
    size_t server = servers_of(settings, settings->words[0]);

    ask(&survey, server);
    keep_key(&survey.census, settings->words[0]);
    if (survey.stats[server] && settings->json)
        print_json(&survey, true);
    else if (survey.stats[server])
        print_key(&survey, server);
    return finish(&survey);
}

/* ---- stats ---- */

static void print_all_json(const struct survey *survey)
{
    const struct settings *settings = survey->settings;
    json_t *list = output_made(json_array());

    for (size_t server = 0; server < settings->options.server_count; server++) {
        json_t *value = output_made(json_pack("{s:s}", "server", settings->servers[server]));

        if (survey->stats[server])
            json_object_update(value, survey->stats[server]);
        json_array_append_new(list, value);
    }
    output_json(list);
    json_decref(list);
}

static void print_sums(const struct survey *survey)
{
    static const struct output_column columns[] = {
        {"SERVER", false}, {"CONNECTIONS", true}, {"LOCKS", true}, {"SEMAPHORES", true},
        {"HOLDERS", true}, {"WAITERS", true},     {"IDLE", true},
    };
    struct output_table table = {
        .columns = columns,
        .column_count = sizeof(columns) / sizeof(columns[0]),
    };

    for (size_t server = 0; server < survey->settings->options.server_count; server++) {
        const struct census_sums *sums = &survey->sums[server];
        const uint64_t figures[] = {sums->connections, sums->locks,   sums->semaphores,
                                    sums->holders,     sums->waiters, sums->idle};

        if (!survey->stats[server])
            continue;
        output_cell(&table, "%s", survey->settings->servers[server]);
        for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
            output_cell(&table, "%" PRIu64, figures[i]);
    }
    if (table.cell_count > 0)
        output_table(&table);
}

int list_stats(const struct settings *settings)
{
    struct survey survey = {.settings = settings};

    ask_all(&survey);
    if (settings->json)
        print_all_json(&survey);
    else
        print_sums(&survey);
    return finish(&survey);
}
