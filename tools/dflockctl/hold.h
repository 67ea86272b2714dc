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

/*
 * The end of a hold, see hold_release_begin.
 *
 *   stage     event                                      next
 *   CANCELS   the server has closed, with a grant        RELEASES, on a new connection
 *   CANCELS   the server has closed, or end of 2 s       ENDED
 *   RELEASES  a reply, or end of the timeout             ENDED
 */
enum hold_end_stage {
    HOLD_NOT_ENDING,
    HOLD_CANCELS,
    HOLD_RELEASES,
    HOLD_ENDED
};

/* How a hold was that has ended. */
enum hold_result {
    HOLD_GIVEN_BACK,
    HOLD_UNCONFIRMED, /* held until hold_release_begin; the server did not confirm the release */
    HOLD_EXPIRED,     /* held until hold_release_begin; the lease ended before the release */
    HOLD_LOST,        /* not held any more at hold_release_begin */
    HOLD_DOUBTFUL     /* perhaps not held any more */
};

struct grant {
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    uint64_t fence;
    uint64_t lease_s;
};

struct hold {
    enum hold_state state;
    enum dflockd_status why;           /* OVER: why */
    char problem[DFLOCKD_PROBLEM_MAX]; /* OVER: the same in words, with the server's address */
    enum hold_result result;           /* after the end, of a hold that was granted */
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
    enum hold_end_stage end_stage;
    struct claim_release release;
    char late_token[DFLOCKD_TOKEN_LENGTH + 1]; /* of a grant that crossed the end of the wait */
    bool was_held;                             /* at hold_release_begin */
    uint64_t lease_end_ns;                     /* at hold_release_begin */
    uint64_t cancel_end_ns;                    /* of HOLD_CANCELS */
    uint64_t release_end_ns;                   /* of the whole end */
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
 * Gives up a hold in any state. If the grant is on its way, receives it and releases it: a server
 * that runs with --no-auto-release-on-disconnect would keep it. That takes up to 2 s, and all up to
 * --reply-timeout, and --connect-timeout if a connection is needed.
 *
 * hold_release_begin does not wait. Then call hold_release_step at once, and when hold_watched is
 * ready or it is hold_release_ms. Returns true once the hold is OVER and its connection closed.
 */
void hold_release_begin(struct hold *hold);
bool hold_release_step(struct hold *hold);
int64_t hold_release_ms(const struct hold *hold);

/* The same, and waits. */
void hold_cancel(struct hold *hold);

/* Closes the connection: the server cancels the request, or releases the grant. */
void hold_close(struct hold *hold);

#endif
