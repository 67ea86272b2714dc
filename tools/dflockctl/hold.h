/*
 * A lock or a slot of a semaphore in an event loop: acquired, held and renewed by a claim of the
 * library (client/claim.h), and requested again after a failure if the settings say so.
 *
 *   state       event                                          next
 *   WAITING     granted                                        HELD
 *   WAITING     no server, retries                             WAITING, after a delay
 *   WAITING     not granted in time, refused, no server        OVER
 *   WAITING     hold_cancel                                    OVER
 *   HELD        connection lost                                UNVERIFIED
 *   HELD        renewal refused, end of the lease              OVER
 *   UNVERIFIED  verified on a new connection                   HELD
 *   UNVERIFIED  refused, end of the lease                      OVER
 */
#ifndef DFLOCKCTL_HOLD_H
#define DFLOCKCTL_HOLD_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/claim.h"
#include "dflockctl/settings.h"
#include "dflockctl/status.h"
#include "dflockd/client.h"

enum hold_state {
    HOLD_WAITING,
    HOLD_HELD,
    HOLD_UNVERIFIED, /* the server may have released it */
    HOLD_OVER
};

/* What the server is to do next for a request. */
enum hold_request_stage {
    HOLD_CONNECTS,
    HOLD_REPLIES, /* to the probe, see claim_terms */
    HOLD_GRANTS
};

struct grant {
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    uint64_t fence;
    uint64_t lease_s;
};

struct hold {
    enum hold_state state;
    enum dflockd_status why;           /* OVER: why */
    bool released;                     /* OVER: another client has released it by its token */
    char problem[DFLOCKD_PROBLEM_MAX]; /* OVER: the same in words, with the server's address */
    struct grant grant;                /* as the server granted it */

    /* Private. */
    const struct settings *settings;
    const char *key;
    size_t server;
    struct claim claim;
    bool paused;       /* the step that runs is late, see HOLD_PAUSE_MS */
    bool reached;      /* a lock server has answered before */
    uint32_t attempts; /* that failed in a row */
    uint64_t requested_ns;
    uint64_t deadline_ns; /* of --timeout; UINT64_MAX: none */
    uint64_t wait_ns;     /* of a request whose wait ends here, until the server replies; 0: none */
    uint64_t wait_end_ns; /* the same afterwards; UINT64_MAX: none */
    uint64_t timeout_s;   /* that the server knows */
    enum hold_request_stage stage;
    uint64_t reply_end_ns; /* of `stage`; UINT64_MAX: none */
    uint64_t retry_ns;     /* when to request again; UINT64_MAX: a request is pending */
};

/* Returns when --timeout ends if it begins now; UINT64_MAX: never. */
uint64_t hold_deadline_ns(const struct settings *settings);

/* Requests `key`, which must outlive the hold. May be OVER at once. */
void hold_begin(struct hold *hold, const struct settings *settings, const char *key,
                uint64_t deadline_ns);

/* Return the descriptor to watch, and when to call hold_step at the latest. */
struct pollfd hold_watched(const struct hold *hold);
int64_t hold_next_ms(const struct hold *hold);

/* Processes events. Returns the state. Waits only at the end of a timeout that is not whole
 * seconds, as hold_cancel does. */
enum hold_state hold_step(struct hold *hold);

/* Returns whether there is a grant to release: HELD or UNVERIFIED. */
bool hold_is_kept(const struct hold *hold);

/* Stops renewing: others renew it by its token. The grant ends with its connection. */
void hold_let_others_renew(struct hold *hold);

/*
 * Asks the server with `own` whether the token still holds the key, unless a request is pending. If
 * not, a later hold_step returns OVER. Only for servers that know `own`.
 */
void hold_check(struct hold *hold);

/*
 * Releases the grant, waits for the reply up to --reply-timeout, and closes the connection. Returns
 * DONE, LOST, or why the result is unknown.
 */
enum dflockd_status hold_release(struct hold *hold);

/* Reports why the request was not granted, and a remedy. Returns the exit status. */
int hold_report_refused(const struct hold *hold);

/*
 * Gives up a hold in any state, and closes the connection. If the grant is on its way, receives it
 * and releases it: a server that runs with --no-auto-release-on-disconnect would keep it. Waits for
 * that up to 2 s, and up to --reply-timeout for the release.
 */
void hold_cancel(struct hold *hold);

/* Closes the connection: the server cancels the request, or releases the grant. */
void hold_close(struct hold *hold);

#endif
