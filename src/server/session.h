/*
 * What is said on one connection: bytes and effects in, replies and a verdict out. A session knows
 * no socket and no clock; it calls the stripes and writes replies into an output.
 *
 *          auth given              request must wait
 *   AUTH ------------> READY <----------------------> BLOCKED
 *     |                 | ^    its effect has come       |
 *     | wrong           | +--- STATS (being written)     | peer gone, draining
 *     v                 v                                v
 *   OVER <----- SKIPPING (a line too long) ------------- OVER
 */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/output.h"
#include "server/secret.h"
#include "server/stripes.h"

enum {
    /* Replies waiting to be sent, beyond which a session reads no further request. */
    SESSION_OUTPUT_MAX = 64 * 1024,
    SESSION_OUTPUT_FRUGAL = OUTPUT_RESERVE_MAX / 2 /* the same, where memory for buffers is short */
};

/* What sessions of one worker share. */
struct session_context {
    struct stripes *stripes;
    struct pool *output_pool;
    uint64_t default_lease_s;
    struct secret *secret;               /* NULL: no auth is asked for */
    const _Atomic uint64_t *connections; /* for stats */
    bool draining;
    bool frugal;     /* memory for buffers is short in the whole process */
    uint64_t now_ns; /* of this turn */
    uint64_t wake;   /* workers to wake, see server/stripes.h */
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
    uint64_t connection_id;
    uint64_t stripes_used; /* a bit for each stripe where the client may have something */
    uint64_t walk_position;
    struct lock_walk walk;  /* of the statistics, while `walking` */
    uint8_t state;          /* enum session_state */
    uint8_t blocked_stripe; /* where the pending request waits, while BLOCKED */
    uint8_t watched_stripe; /* where LOCK_IDLE is to come from, while `watching` */
    uint8_t walk_section;   /* enum reply_section, while STATS */
    uint8_t walk_stripe;
    bool walk_first; /* no entry of this section is written yet */
    bool walking;
    bool watching;
    bool authenticated;
    bool auth_failed; /* OVER, and the peer is to be kept waiting for the close */
};

/* What a session wants before it can go on. */
enum session_want {
    SESSION_WANT_INPUT, /* more bytes */
    SESSION_WANT_EFFECT,
    SESSION_WANT_ROOM, /* the output drained to below SESSION_OUTPUT_MAX */
    SESSION_WANT_TURN, /* others to have their turn, then a call with what is left */
    SESSION_WANT_WALK, /* a call after some time: too many are reading statistics now */
    SESSION_WANT_CLOSE /* nothing any more: once the output is sent, close */
};

/* What a peer did wrong, for the log. */
enum session_problem {
    SESSION_PROBLEM_NONE,
    SESSION_PROBLEM_INVALID_REQUEST, /* answered `error` */
    SESSION_PROBLEM_LINE_TOO_LONG,
    SESSION_PROBLEM_WRONG_SECRET,
    SESSION_PROBLEM_NO_SECRET /* something else came before the secret */
};

struct session_progress {
    enum session_want want;
    enum session_problem problem; /* the first one in what was consumed */
    size_t consumed;              /* bytes; the rest is to be given again, with more behind it */
    uint32_t lines;               /* complete lines of the request that is still incomplete */
    bool served; /* at least one request; to drop bytes of a line too long is no progress */
};

void session_start(struct session *session, const struct session_context *context,
                   uint64_t connection_id);

/* Serves the requests in `bytes`, one after the other. */
struct session_progress session_read(struct session *session, struct session_context *context,
                                     const uint8_t *bytes, size_t length, struct output *output);

/* The answer to the pending request; LOCK_IDLE is not one. */
void session_effect(struct session *session, struct session_context *context,
                    const struct lock_answer *answer, struct output *output);

/* The peer sends no more and all it sent was read: the session is over. */
void session_input_ended(struct session *session, struct session_context *context,
                         struct output *output);

/* A line is too long or did not come in time: says so, and the session is over. */
void session_fail(struct session *session, struct session_context *context, struct output *output);

/*
 * The server is draining: a pending request ends with `error_draining`, and all that waits for the
 * client leaves its queues, so that session_watch then says whether the client holds a lease.
 * Returns true if a pending request ended; false if there is none, or if its effect is on its way.
 */
bool session_drain(struct session *session, struct session_context *context, struct output *output);

/*
 * Takes away what the client has, as the policy says, up to `steps` things. To be called when the
 * session is over, until it returns true; `session` may not be used after that.
 */
bool session_disconnect(struct session *session, struct session_context *context, uint32_t steps);

/*
 * Whether the client holds something or waits for it. Where it does, an effect LOCK_IDLE comes when
 * that may have changed: then ask again.
 */
bool session_watch(struct session *session, struct session_context *context);

#endif
