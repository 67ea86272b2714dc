/*
 * The locks of one command `lock`: one for each key, each with a lease and a connection of its own.
 *
 * They are requested one after the other in the order of their bytes, so that two commands with
 * common keys cannot wait for each other for ever. The locks granted first are renewed meanwhile.
 *
 *   state       event                                     next
 *   WAITING     the last one is granted, all are held     HELD
 *   WAITING     one is refused or lost                    OVER
 *   HELD        a connection is lost                      UNVERIFIED
 *   UNVERIFIED  all are held                              HELD
 *   (both)      one is lost                               OVER
 *
 * In OVER the others are still held and renewed until holds_release or holds_close.
 */
#ifndef DFLOCKCTL_HOLDS_H
#define DFLOCKCTL_HOLDS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockctl/hold.h"
#include "dflockctl/loop.h"
#include "dflockctl/settings.h"

struct holds {
    enum hold_state state;
    size_t count;
    struct hold *each;         /* in the order of the keys' bytes */
    char *shown;               /* the keys for people, to be put in quotes */
    const struct hold *failed; /* OVER: the one that is not held; NULL if the holds were closed */

    /* Private. */
    const struct settings *settings;
    const char *keys[SETTINGS_WORDS_MAX]; /* as `each` */
    size_t requested;                     /* the first ones are requested or held */
    uint64_t deadline_ns;                 /* of --timeout, for all together */
};

/* Requests the first key of the settings. The caller must call holds_free. */
void holds_begin(struct holds *holds, const struct settings *settings);

/* Sets up to SETTINGS_WORDS_MAX descriptors to watch. Returns their number. */
size_t holds_watch(const struct holds *holds, struct pollfd *watched);

/* Returns when to call holds_step at the latest. */
int64_t holds_next_ms(const struct holds *holds);

/* Processes events, and requests the next key if all before it are held. Returns the state. */
enum hold_state holds_step(struct holds *holds);

/* Returns the hold of a key of the settings. */
const struct hold *holds_find(const struct holds *holds, const char *key);

/* Reports why the keys were not granted, and a remedy. Returns the exit status. */
int holds_report_refused(const struct holds *holds);

/*
 * Leave the queue, and release what is held: all at the same time, as hold_release_begin. Watch
 * holds_watch until holds_release_ms. holds_release_step returns whether all have ended;
 * holds_close ends those that have not.
 */
void holds_release_begin(struct holds *holds);
bool holds_release_step(struct holds *holds);
int64_t holds_release_ms(const struct holds *holds);

/* The same, and waits. SIGINT or SIGTERM ends the wait. */
void holds_release(struct holds *holds, struct loop *loop);

/* Reports after holds_release which locks may have been lost before `event`. Returns false if there
 * are any. */
bool holds_report_released(const struct holds *holds, const char *event);

/* Closes the connections: the servers cancel the request and release the grants. */
void holds_close(struct holds *holds);

/* Closes the connections and frees the memory. */
void holds_free(struct holds *holds);

#endif
