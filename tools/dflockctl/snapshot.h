/*
 * The statistics of one or all servers at one moment: what `ls` and `stats` print.
 */
#ifndef DFLOCKCTL_SNAPSHOT_H
#define DFLOCKCTL_SNAPSHOT_H

#include <stdbool.h>
#include <stdio.h>

#include "dflockctl/key_stats.h"
#include "dflockctl/settings.h"
#include "dflockctl/stats_parser.h"
#include "dflockctl/status.h"

/* Before the request, all fields except those of the first part are zero. */
struct snapshot {
    const struct settings *settings;
    bool list_keys;     /* store keys in `list`, */
    bool list_idle;     /* also idle ones, */
    const char *prefix; /* only those that begin with it; NULL: all */
    bool spool;         /* store the JSON in a file without a name, see `spools` */

    struct key_stats_list list;
    bool replied[SETTINGS_SERVERS_MAX];
    struct stats_totals totals[SETTINGS_SERVERS_MAX];
    FILE *spools[SETTINGS_SERVERS_MAX]; /* read from their beginning */
    enum status status;                 /* of the last server that failed, or DONE */
    char *valid_prefix;                 /* as servers write it */
};

/*
 * Requests the statistics of `count` servers at the same time, from server number `first` on. Waits
 * for all, and reports failures on stderr.
 */
void snapshot_request(struct snapshot *snapshot, size_t first, size_t count);

/* Prints the list of keys as JSON. */
void snapshot_print_keys_json(const struct snapshot *snapshot);

/* Frees it. Returns the exit status. */
int snapshot_finish(struct snapshot *snapshot);

#endif
