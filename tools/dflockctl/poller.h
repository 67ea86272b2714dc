/*
 * Polls a server without waiting for it: its statistics, and how many grants it makes a second.
 *
 * The fences of a server count its grants. So each poll acquires a lock of its own, and compares
 * the fence with that of the poll before. The requests are acquire, release, stats in this order,
 * so that the statistics do not show the lock as held.
 */
#ifndef DFLOCKCTL_POLLER_H
#define DFLOCKCTL_POLLER_H

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "dflockctl/settings.h"
#include "dflockd/client.h"

enum {
    POLLER_KEY_MAX = 32,
    POLLER_PROBLEM_MAX = 200
};

struct poller {
    json_t *stats;                    /* the newest; NULL: none, or the server failed since */
    double grants_per_s;              /* negative: unknown */
    char problem[POLLER_PROBLEM_MAX]; /* why there are no statistics; "": no problem */

    /* Private. */
    const struct settings *settings;
    size_t server;
    char key[POLLER_KEY_MAX];
    struct dflockd_connection *connection; /* NULL: none */
    enum dflockd_command pending[4];       /* requests without a reply, in order */
    size_t pending_count;
    int64_t begun_ms; /* when the poll began */
    uint64_t fence;   /* of the poll before; 0: none */
    int64_t fence_ms;
};

void poller_init(struct poller *poller, const struct settings *settings, size_t server);
void poller_free(struct poller *poller);

/* Begins a poll unless one is pending. Connects if there is no connection. */
void poller_begin(struct poller *poller);

/* Returns the descriptor to watch, -1 if none. */
struct pollfd poller_watched(const struct poller *poller);

/* Processes the replies that have arrived. Returns whether anything to show has changed. */
bool poller_receive(struct poller *poller);

#endif
