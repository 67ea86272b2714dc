/*
 * Detects that another client has released a lock that this process holds, or that its lease has
 * ended. The server reports neither: it only closes a connection without locks after its read
 * timeout.
 *
 * So the hold sends `own` once a second on its own connection, which changes nothing if the token
 * holds the lock. Other requests are not suitable: a renewal changes the lease, `stats` is long and
 * does not name the holders of a semaphore, and `own` on another connection moves the lock to that.
 *
 * A server that does not know `own` answers `error`, as for a lock that was released, or even
 * closes the connection and so releases the lock. So `own` is tried before on a connection of its
 * own, with a slot of the semaphore "dflockctl.probe":
 *
 *   state        event                 next         action
 *   UNPROVEN     due                   ACQUIRING    connect, ask for a slot
 *   ACQUIRING    granted               OWNING       send own
 *   ACQUIRING    error                 UNSUPPORTED
 *   OWNING       ok                    PROVEN       release the slot, close the connection
 *   OWNING       error                 UNSUPPORTED
 *   (both)       anything else, late   UNPROVEN     try again later
 *   PROVEN       due                   PROVEN       hold_check
 *   UNSUPPORTED  -                                  wait for the server's read timeout
 */
#ifndef DFLOCKCTL_HELD_CHECK_H
#define DFLOCKCTL_HELD_CHECK_H

#include <poll.h>
#include <stdint.h>

#include "dflockctl/hold.h"
#include "dflockctl/settings.h"
#include "dflockd/client.h"

enum held_check_state {
    HELD_CHECK_OFF, /* before held_check_begin */
    HELD_CHECK_UNPROVEN,
    HELD_CHECK_ACQUIRING,
    HELD_CHECK_OWNING,
    HELD_CHECK_PROVEN,
    HELD_CHECK_UNSUPPORTED
};

/* Private. */
struct held_check {
    enum held_check_state state;
    const struct settings *settings;
    struct dflockd_connection *probe; /* NULL: none */
    int64_t due_ms;
    int64_t retry_ms; /* from a probe that fails to the next one */
};

/* Does nothing until held_check_begin. */
void held_check_init(struct held_check *check);

/* Begins to check the lock that the settings name. They must outlive the check. */
void held_check_begin(struct held_check *check, const struct settings *settings);

/* Return the descriptor to watch, and when to call held_check_step at the latest. */
struct pollfd held_check_watched(const struct held_check *check);
int64_t held_check_next_ms(const struct held_check *check);

/* Processes events without waiting. The next hold_step reports a loss. */
void held_check_step(struct held_check *check, struct hold *hold);

/* Closes its connection. */
void held_check_end(struct held_check *check);

#endif
