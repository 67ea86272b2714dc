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
        printf("%" PRIu64 " of %" PRIu32 " slots held", entry->holders, entry->limit);
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
    struct snapshot snapshot = {
        .settings = settings,
        .list_keys = true,
        .list_idle = true,
        .prefix = settings->words[0],
        .whole = true,
    };
    size_t server = settings_server_of(settings, settings->words[0]);

    snapshot_request(&snapshot, server, 1);
    key_stats_sort(&snapshot.list, "kind", false);
    if (snapshot.replied[server] && settings->json)
        snapshot_print_keys_json(&snapshot);
    else if (snapshot.replied[server])
        show_print_key(&snapshot, server);
    return snapshot_finish(&snapshot);
}
