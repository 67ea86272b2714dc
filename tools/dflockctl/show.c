#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/snapshot.h"
#include "dflockctl/text.h"

static void show_print_entry(const struct key_stats *entry)
{
    printf("  %-9s  ", key_stats_kind_name(entry->kind));
    if (entry->idle) {
        printf("free for %.0f s\n", entry->idle_s);
        return;
    }
    if (entry->kind == KEY_SEMAPHORE) {
        printf("%" PRIu64 " of %" PRIu64 " slots held", entry->holders, entry->limit);
    } else if (entry->holders == 0) {
        printf("not held");
    } else {
        printf("held");
        if (entry->owner > 0)
            printf(" by connection %" PRIu64, entry->owner);
        printf(", lease ends in %.1f s", entry->lease_s);
    }
    if (entry->waiters > 0)
        printf(", %" PRIu64 " waiting\n", entry->waiters);
    else
        printf(", nobody waiting\n");
}

/* Removes all other keys from the list. */
static void show_keep_key(struct key_stats_list *list, const char *key)
{
    char *valid = text_valid(key, strlen(key));
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        const struct key_stats *entry = &list->keys[i];

        if (entry->key_length == strlen(valid) && memcmp(entry->key, valid, entry->key_length) == 0)
            list->keys[kept++] = *entry;
    }
    list->count = kept;
    free(valid);
}

static void show_print_key(const struct snapshot *snapshot, size_t server)
{
    const struct settings *settings = snapshot->settings;
    const char *key = settings->words[0];
    char *shown = text_shown(key, strlen(key), text_on_terminal());

    printf("%s on %s\n", shown, settings->servers[server]);
    for (size_t i = 0; i < snapshot->list.count; i++)
        show_print_entry(&snapshot->list.keys[i]);
    if (snapshot->list.count == 0)
        printf("  free: nobody holds it or waits for it\n");
    free(shown);
}

int show_run(const struct settings *settings)
{
    struct snapshot snapshot = {.settings = settings};
    size_t server = settings_server_of(settings, settings->words[0]);

    snapshot_request(&snapshot, server);
    show_keep_key(&snapshot.list, settings->words[0]);
    if (snapshot.stats[server] && settings->json)
        snapshot_print_keys_json(&snapshot, true);
    else if (snapshot.stats[server])
        show_print_key(&snapshot, server);
    return snapshot_finish(&snapshot);
}
