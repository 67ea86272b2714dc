/*
 * The protocol on one connection: bytes and effects in, replies and a verdict out. A session uses
 * no socket and no clock; it calls the stripes and writes replies into an output.
 *
 *   state     event                              next      action
 *   AUTH      a right secret                     READY     reply: ok
 *   AUTH      any other request                  OVER      reply: error_auth
 *   READY     auth (*) with a right secret       READY     reply: ok
 *   READY     auth (*) with a wrong secret       OVER      reply: error_auth
 *   READY     a request with an answer           READY     reply: the answer
 *   READY     a request that must wait           BLOCKED
 *   READY     stats                              STATS     replies in pieces, see server/stats.h
 *   BLOCKED   session_effect                     READY     reply: the answer
 *   BLOCKED   session_drain cancels the request  READY     reply: error_draining
 *   STATS     the reply is complete              READY
 *   any       a line is too long                 SKIPPING
 *   SKIPPING  the end of the line                OVER      reply: error, or error_auth without auth
 *   any but   session_fail, session_input_ended, OVER      reply: an error, or none at the end of
 *   BLOCKED   a request while the server drains            the input
 *
 * (*) If administrators have a secret. Otherwise the answer is error.
 *
 * The life of a blocked client, and why a connection whose client holds or waits is not idle:
 *
 * 1. The connection passes bytes to session_read. The session parses a request and calls
 *    claims_apply. The hash of the key selects a stripe; with its mutex held, table_apply finds no
 *    free slot, queues a claim and answers LOCK_PENDING. The session is BLOCKED: it remembers the
 *    stripe, and reads no further request. The connection keeps what it receives.
 * 2. The table processes a release in a request of any worker, or an expired lease or wait in
 *    stripes_expire of the stripe's home worker. It grants the slot to the first waiter, or ends
 *    the waiter's claim. It calls `effect` with the connection id and the answer.
 * 3. With the mutex still held, the stripe posts the effect to the mailbox of the connection's
 *    worker, which is part of the id. The mailbox has room for each connection's answer and notice,
 *    so posting cannot fail. If the mailbox was empty, the caller wakes the worker.
 * 4. The worker takes the effect and finds the connection by its slot. If another connection has
 *    the slot now, it drops the effect. session_effect writes the reply, and the session is READY.
 *    If the lease of a grant is already over, or the grant is revoked, the reply is
 *    error_lease_expired.
 * 5. If the client ends its side in between, the connection closes and drops effects that follow.
 *    session_disconnect passes that a request is pending; the table releases a grant in transit.
 * 6. Between requests, the read timeout must not close a connection whose client holds a lease or
 *    is in a queue. When the timeout ends, the connection calls claims_watch. It asks each stripe
 *    in which the client may have claims. The first one that has some watches the client, and the
 *    timeout stays stopped. When the last claim there ends, LOCK_IDLE follows on the same way.
 *    The connection then calls claims_watch again. If no stripe has claims, the timeout starts.
 */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/claims.h"
#include "server/output.h"
#include "server/session_context.h"
#include "server/stats.h"

enum {
    /*
     * With so many bytes of unsent replies, a session reads no further request. The connection
     * resumes it when less than half of them are left.
     */
    SESSION_OUTPUT_MAX = 64 * 1024,
    SESSION_OUTPUT_FRUGAL = OUTPUT_RESERVE_MAX / 2, /* the same if memory for buffers is short */
    /*
     * With fewer steps, a session leaves `show` for another turn: the reply may take SHOW_STEPS,
     * and sessions that have little left in a turn must not make it long.
     */
    SESSION_SHOW_MIN = 64
};

enum session_state {
    SESSION_AUTH,
    SESSION_READY,
    SESSION_BLOCKED,
    SESSION_STATS,
    SESSION_SKIPPING,
    SESSION_OVER
};

struct session {
    struct claims claims; /* while BLOCKED, a request of it is pending */
    struct stats_walk stats;
    uint8_t state;          /* enum session_state */
    uint8_t command;        /* of the last request: enum dflockd_command, or METRICS_NO_COMMAND */
    bool authenticated : 1; /* or no auth is needed */
    bool administrator : 1; /* sent the administrators' secret */
    bool auth_failed : 1;   /* OVER; the connection delays the close */
};

/* What a session needs before it can continue. */
enum session_want {
    SESSION_WANT_INPUT, /* more bytes */
    SESSION_WANT_EFFECT,
    SESSION_WANT_ROOM, /* less output, see SESSION_OUTPUT_MAX */
    SESSION_WANT_TURN, /* more steps: a call with the same bytes, after other sessions */
    SESSION_WANT_WALK, /* a call later: too many connections read statistics */
    SESSION_WANT_CLOSE /* nothing: once the output is sent, close */
};

/* A fault of the peer or a refusal, for the log. */
enum session_problem {
    SESSION_PROBLEM_NONE,
    SESSION_PROBLEM_INVALID_REQUEST, /* the reply is `error` */
    SESSION_PROBLEM_LINE_TOO_LONG,
    SESSION_PROBLEM_WRONG_SECRET,
    SESSION_PROBLEM_NO_SECRET, /* another request before the secret */
    SESSION_PROBLEM_NO_RIGHTS, /* the request needs an administrator */
    /* A request was refused by a cap. */
    SESSION_PROBLEM_MAX_LOCKS,
    SESSION_PROBLEM_MAX_WAITERS,
    SESSION_PROBLEM_MAX_CLAIMS,
    SESSION_PROBLEM_MAX_CLAIMS_PER_CONNECTION
};

struct session_progress {
    enum session_want want;
    enum session_problem problem; /* the first one in what was consumed */
    size_t consumed;              /* bytes; pass the rest again, with more behind it */
    uint32_t lines;               /* complete lines of the request that is still incomplete */
    bool served; /* at least one request; bytes of a line that is too long do not count */
};

void session_start(struct session *session, const struct session_context *context,
                   uint64_t connection_id);

/* Serves the requests in `bytes`, in their order, while there are steps. */
struct session_progress session_read(struct session *session, struct session_context *context,
                                     const uint8_t *bytes, size_t length, struct output *output);

/* Replies with the answer to the pending request. The session must be BLOCKED. */
void session_effect(struct session *session, struct session_context *context,
                    const struct lock_answer *answer, struct output *output);

/* The peer sends no more, and all bytes were read. A session that is not BLOCKED is over. */
void session_input_ended(struct session *session, struct session_context *context,
                         struct output *output);

/* A line is too long or late: replies with an error, and the session is over. */
void session_fail(struct session *session, struct session_context *context, struct output *output);

/*
 * The server drains: the pending request gets error_draining. Returns true if it replied; false if
 * no request is pending, or if its effect is on its way.
 */
bool session_drain(struct session *session, struct session_context *context, struct output *output);

/*
 * Ends the claims of the client as the policy says. Returns true when all is done; the session must
 * not be used then. Else call again.
 */
bool session_disconnect(struct session *session, struct session_context *context);

#endif
