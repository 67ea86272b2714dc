/*
 * A lock or a slot of a semaphore: asked for, held and renewed over a connection of its own, in
 * somebody's event loop.
 *
 *            granted               renewal refused, connection gone, lease over
 *   WAITING ---------> HELD -----------------------------------------------------> OVER
 *      |                                                                            ^
 *      +----------------------------------------------------------------------------+
 *         not granted in time, refused, no connection
 *
 * It believes in no lease longer than the server can: a renewal counts from when it was sent.
 */
#ifndef DFLOCKCTL_HOLD_H
#define DFLOCKCTL_HOLD_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "dflockctl/settings.h"
#include "dflockctl/status.h"
#include "dflockd/client.h"

enum hold_state {
    HOLD_WAITING,
    HOLD_HELD,
    HOLD_OVER
};

struct hold {
    enum hold_state state;
    enum dflockd_status why;           /* it is over */
    char problem[DFLOCKD_PROBLEM_MAX]; /* the same in words, with the server's address */
    bool renew;                        /* whoever holds it may change that */
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    uint64_t fence;
    uint64_t lease_s; /* as the server gave it */

    /* Private. */
    const struct settings *settings;
    struct dflockd_connection *connection; /* NULL: closed */
    const char *server;
    bool checking; /* a check is pending, before a renewal if both are */
    bool renewing;
    int64_t sent_ms;  /* the request under way */
    int64_t renew_ms; /* when to renew next */
    int64_t until_ms; /* for how long to believe in the grant, or wait for an answer */
};

/* Asks for the key that the settings name, as they say. May be over at once. */
void hold_begin(struct hold *hold, const struct settings *settings);

/* What to watch, and when to call hold_step at the latest. */
struct pollfd hold_watched(const struct hold *hold);
int64_t hold_next_ms(const struct hold *hold);

/* Does what can be done without waiting. */
enum hold_state hold_step(struct hold *hold);

/*
 * Asks the server whether the token still holds the key, without renewing it, unless a request is
 * pending. "Not held" ends the hold in a later hold_step. Only for servers that know `own`.
 */
void hold_check(struct hold *hold);

/*
 * Gives it back, waiting some seconds for the answer. DONE, LOST, or why it is not known. Closes
 * it.
 */
enum dflockd_status hold_release(struct hold *hold);

/* It was not granted: says why, and what to do next. Returns the status of that. */
enum status hold_tell_refused(const struct hold *hold);

/* Closes the connection: the server cancels the waiting, and gives back what it held. */
void hold_close(struct hold *hold);

#endif
