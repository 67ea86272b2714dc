/*
 * The statistics of one or all servers at one moment: what `ls`, `show` and `stats` print.
 */
#ifndef DFLOCKCTL_SNAPSHOT_H
#define DFLOCKCTL_SNAPSHOT_H

#include <stdbool.h>

#include "dflockctl/key_stats.h"
#include "dflockctl/settings.h"
#include "dflockctl/status.h"

/* Before the first request, all fields except `settings` are zero. */
struct snapshot {
    const struct settings *settings;
    struct key_stats_list list;
    json_t *stats[SETTINGS_SERVERS_MAX]; /* NULL: no reply */
    struct key_stats_totals totals[SETTINGS_SERVERS_MAX];
    enum status status; /* of the last server that failed, or DONE */
};

/* Requests the statistics of server number `server`, or of all. Reports failures on stderr. */
void snapshot_request(struct snapshot *snapshot, size_t server);
void snapshot_request_all(struct snapshot *snapshot);

/* Prints the list of keys as JSON, idle keys only if `with_idle`. */
void snapshot_print_keys_json(const struct snapshot *snapshot, bool with_idle);

/* Frees it. Returns the exit status. */
int snapshot_finish(struct snapshot *snapshot);

#endif
