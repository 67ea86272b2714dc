/*
 * A server looked at again and again, without waiting for it: its statistics, and how many grants
 * it made meanwhile.
 *
 * Grants are counted by fences, of which each grant of a server takes the next one: a look takes a
 * lock of our own for a moment, and the difference of two such fences tells. The order of a look is
 * acquire, then release and statistics, so that these don't show our lock as held.
 */
#ifndef DFLOCKCTL_WATCH_H
#define DFLOCKCTL_WATCH_H

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "dflockctl/settings.h"
#include "dflockd/client.h"

enum {
    WATCH_KEY_MAX = 32,
    WATCH_PROBLEM_MAX = 200
};

struct watch {
    json_t *stats;                   /* the newest; NULL: none, or not any more */
    double grants_per_s;             /* below 0: not known */
    char problem[WATCH_PROBLEM_MAX]; /* why there are no statistics; "" while all is well */

    /* Private. */
    const struct settings *settings;
    size_t server;
    char key[WATCH_KEY_MAX];
    struct dflockd_connection *connection;
    enum dflockd_command due[4]; /* answers that are to come, in this order */
    size_t due_count;
    int64_t asked_ms;
    uint64_t fence; /* of the last look, 0: none */
    int64_t fence_ms;
};

void watch_init(struct watch *watch, const struct settings *settings, size_t server);
void watch_free(struct watch *watch);

/* Begins a look, unless one is still under way; connects where need be. */
void watch_look(struct watch *watch);

struct pollfd watch_watched(const struct watch *watch);

/* Takes what came, without waiting. True where there is something new to show. */
bool watch_take(struct watch *watch);

#endif
