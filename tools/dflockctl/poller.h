/*
 * Polls a server without waiting for it: its statistics, and how many grants it makes a second.
 *
 * The fences of a server count its grants. So each poll acquires a lock of its own, and compares
 * the fence with that of the poll before. The requests are acquire, release, stats in this order,
 * so that the statistics do not show the lock as held.
 */
#ifndef DFLOCKCTL_POLLER_H
#define DFLOCKCTL_POLLER_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "dflockctl/key_stats.h"
#include "dflockctl/settings.h"
#include "dflockctl/stats_parser.h"
#include "dflockd/client.h"

enum {
    POLLER_PROBLEM_MAX = 200
};

struct poller {
    uint64_t replies;                 /* to `stats` */
    bool has_stats;                   /* no: none yet, or the server failed since */
    struct stats_totals totals;       /* the newest */
    struct key_stats_list list;       /* likewise, keys with holders or waiters */
    double grants_per_s;              /* negative: unknown */
    enum dflockd_status why;          /* of `problem` */
    char problem[POLLER_PROBLEM_MAX]; /* why there are no statistics; "": no problem */

    /* Private. */
    const struct settings *settings;
    size_t server;
    bool keep_keys;
    struct stats_parser parser;            /* of the reply that arrives */
    struct key_stats_list arriving;        /* its keys */
    struct dflockd_connection *connection; /* NULL: none */
    enum dflockd_command pending[4];       /* requests without a reply, in order */
    size_t pending_count;
    bool probe_failed; /* the server replied `error` to the probe of this poll */
    int64_t begun_ms;  /* when the poll began */
    uint64_t fence;    /* of the poll before; 0: none */
    int64_t fence_ms;
};

/* Without `keep_keys` the list stays empty. */
void poller_init(struct poller *poller, const struct settings *settings, size_t server,
                 bool keep_keys);
void poller_free(struct poller *poller);

/* Begins a poll unless one is pending. Connects if there is no connection. */
void poller_begin(struct poller *poller);

/* Returns whether replies are pending. */
bool poller_is_pending(const struct poller *poller);

/* Returns the descriptor to watch, -1 if none. */
struct pollfd poller_watched(const struct poller *poller);

/* Returns when to receive even if nothing arrives, as loop_now_ms counts, or LOOP_NEVER. */
int64_t poller_due_ms(const struct poller *poller);

/* Processes the replies that have arrived. Returns whether anything to show has changed. */
bool poller_receive(struct poller *poller);

#endif
