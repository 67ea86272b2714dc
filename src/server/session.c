#include "server/session.h"

#include <assert.h>
#include <string.h>

#include "server/show.h"
#include "wire/reply.h"

/* Counts the outcome of the last request. */
static void session_count(const struct session *session, struct session_context *context,
                          enum dflockd_outcome outcome)
{
    metrics_count(&context->metrics->requests[session->command][outcome]);
}

static void session_reply(const struct session *session, struct session_context *context,
                          struct output *output, enum dflockd_outcome outcome)
{
    uint8_t *to = output_reserve(output, context->output_pool, DFLOCKD_ANSWER_MAX);

    session_count(session, context, outcome);
    if (to)
        output_commit(output, reply_outcome(to, outcome));
}

/* As session_reply, for an answer of the stripes. */
static void session_reply_answer(const struct session *session, struct session_context *context,
                                 struct output *output, const struct lock_answer *answer,
                                 bool grant)
{
    uint8_t *to = output_reserve(output, context->output_pool, DFLOCKD_ANSWER_MAX);
    enum dflockd_outcome outcome = (enum dflockd_outcome)answer->outcome;

    session_count(session, context, outcome);
    if (!to)
        return;
    if (grant)
        to = reply_grant(to, outcome, answer->token.fence, answer->token.salt, answer->lease_s);
    else if (answer->lease_s > 0)
        to = reply_renewed(to, answer->lease_s);
    else
        to = reply_outcome(to, outcome);
    output_commit(output, to);
}

void session_start(struct session *session, const struct session_context *context,
                   uint64_t connection_id)
{
    memset(session, 0, sizeof(*session));
    claims_init(&session->claims, connection_id);
    session->authenticated = !secrets_has(context->secrets, SECRETS_CLIENT);
    session->state = session->authenticated ? SESSION_READY : SESSION_AUTH;
}

static void session_refuse(struct session *session, struct session_context *context,
                           struct output *output)
{
    session->state = SESSION_OVER;
    session->auth_failed = true;
    session_reply(session, context, output, DFLOCKD_ERROR_AUTH);
}

void session_fail(struct session *session, struct session_context *context, struct output *output)
{
    session->command = METRICS_NO_COMMAND;
    if (!session->authenticated) {
        session_refuse(session, context, output);
        return;
    }
    session->state = SESSION_OVER;
    session_reply(session, context, output, DFLOCKD_ERROR);
}

/* ---- requests ---- */

/* Sets of commands. */
#define SESSION_COMMAND(name) (1u << DFLOCKD_##name)

enum {
    SESSION_NEEDS_TOKEN = SESSION_COMMAND(RELEASE) | SESSION_COMMAND(SEMAPHORE_RELEASE) |
                          SESSION_COMMAND(RENEW) | SESSION_COMMAND(SEMAPHORE_RENEW) |
                          SESSION_COMMAND(OWN)
};

static bool session_command_in(enum dflockd_command command, unsigned commands)
{
    return 1u << command & commands;
}

static bool session_is_grant(enum dflockd_command command, const struct lock_answer *answer)
{
    return !session_command_in(command, SESSION_NEEDS_TOKEN) &&
           (answer->outcome == DFLOCKD_OK || answer->outcome == DFLOCKD_ACQUIRED);
}

/* Returns whether a READY session serves the request as `auth`. */
static bool session_serves_auth(const struct session_context *context,
                                const struct request *request)
{
    return request->valid && request->command == DFLOCKD_AUTH &&
           secrets_has(context->secrets, SECRETS_ADMINISTRATOR);
}

static enum session_problem session_authenticate(struct session *session,
                                                 struct session_context *context,
                                                 const struct request *request,
                                                 struct output *output)
{
    bool has_secret = request->valid && request->command == DFLOCKD_AUTH;
    unsigned roles = 0;

    if (has_secret)
        roles = secrets_match(context->secrets, context->now_ns, request->secret.bytes,
                              request->secret.length);
    if (!roles) {
        session_refuse(session, context, output);
        return has_secret ? SESSION_PROBLEM_WRONG_SECRET : SESSION_PROBLEM_NO_SECRET;
    }
    session->state = SESSION_READY;
    session->authenticated = true;
    session->administrator |= roles >> SECRETS_ADMINISTRATOR & 1;
    session_reply(session, context, output, DFLOCKD_OK);
    return SESSION_PROBLEM_NONE;
}

static struct lock_key session_key(const struct session_context *context,
                                   const struct request *request)
{
    return stripes_key(context->stripes, request->semaphore ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK,
                       request->key);
}

static enum session_problem session_serve_key(struct session *session,
                                              struct session_context *context,
                                              const struct request *request, struct output *output)
{
    static const enum session_problem problems[] = {
        [LOCK_CAP_NONE] = SESSION_PROBLEM_NONE,
        [LOCK_CAP_LOCKS] = SESSION_PROBLEM_MAX_LOCKS,
        [LOCK_CAP_WAITERS] = SESSION_PROBLEM_MAX_WAITERS,
        [LOCK_CAP_CLAIMS] = SESSION_PROBLEM_MAX_CLAIMS,
        [LOCK_CAP_CLAIMS_OF_CONNECTION] = SESSION_PROBLEM_MAX_CLAIMS_PER_CONNECTION,
    };
    struct lock_request lock = {
        .command = request->command,
        .key = session_key(context, request),
        .limit = request->limit,
        .wait_s = request->timeout_s,
        .lease_s = request->lease_s ? request->lease_s : context->default_lease_s,
        .token = {.fence = request->fence, .salt = request->salt},
    };
    struct lock_answer answer = claims_apply(&session->claims, context, &lock);
    bool grant;

    if (answer.outcome == LOCK_PENDING) {
        session->state = SESSION_BLOCKED;
        return SESSION_PROBLEM_NONE;
    }
    grant = session_is_grant(request->command, &answer);
    session_reply_answer(session, context, output, &answer, grant);
    if (output->failed && grant)
        claims_return_grant(context, &lock, &answer);
    return problems[answer.cap];
}

static void session_show(const struct session *session, struct session_context *context,
                         const struct request *request, struct output *output)
{
    struct lock_key key = session_key(context, request);
    uint32_t steps;

    if (show_write(context->stripes, context->peers, context->now_ns, &key, &steps, output,
                   context->output_pool))
        session_count(session, context, DFLOCKD_OK);
    else
        session_reply(session, context, output, DFLOCKD_ERROR);
    context->overdrawn += steps > context->steps ? steps - context->steps : 0;
    context->steps -= steps < context->steps ? steps : context->steps;
}

static enum session_problem session_revoke(struct session *session, struct session_context *context,
                                           const struct request *request, struct output *output)
{
    struct session_revocation revocation = {
        .key = session_key(context, request),
        .fence = request->fence,
        .administrator = session->claims.connection_id,
    };

    if (!session->administrator) {
        session_reply(session, context, output, DFLOCKD_ERROR);
        return SESSION_PROBLEM_NO_RIGHTS;
    }
    if (!stripes_revoke(context->stripes, context->now_ns, &revocation.key, request->fence,
                        &revocation.holder, &context->wake)) {
        session_reply(session, context, output, DFLOCKD_ERROR);
        return SESSION_PROBLEM_NONE;
    }
    context->revoked(context, &revocation);
    session_reply(session, context, output, DFLOCKD_OK);
    return SESSION_PROBLEM_NONE;
}

/*
 * Returns whether to serve a request while the server drains: holders renew, verify by `own` that
 * they still hold, and release.
 */
static bool session_serves_in_drain(const struct session *session, const struct request *request)
{
    return session->state == SESSION_READY && request->valid &&
           session_command_in(request->command, SESSION_NEEDS_TOKEN);
}

static enum session_problem session_serve(struct session *session, struct session_context *context,
                                          const struct request *request, struct output *output)
{
    enum session_problem problem = SESSION_PROBLEM_NONE;

    session->command = request->valid ? (uint8_t)request->command : METRICS_NO_COMMAND;
    if (context->draining && !session_serves_in_drain(session, request)) {
        session->state = SESSION_OVER;
        session_reply(session, context, output, DFLOCKD_ERROR_DRAINING);
    } else if (session->state == SESSION_AUTH || session_serves_auth(context, request)) {
        problem = session_authenticate(session, context, request, output);
    } else if (!request->valid || request->command == DFLOCKD_AUTH) {
        problem = SESSION_PROBLEM_INVALID_REQUEST;
        session_reply(session, context, output, DFLOCKD_ERROR);
    } else if (request->command == DFLOCKD_PING) {
        session_reply(session, context, output, DFLOCKD_OK);
    } else if (request->command == DFLOCKD_STATS) {
        session->state = SESSION_STATS;
    } else if (request->command == DFLOCKD_NAME) {
        bool named = peers_set_name(context->peers, session->claims.connection_id, request->name);

        session_reply(session, context, output, named ? DFLOCKD_OK : DFLOCKD_ERROR);
    } else if (request->command == DFLOCKD_SHOW) {
        session_show(session, context, request, output);
    } else if (request->command == DFLOCKD_REVOKE) {
        problem = session_revoke(session, context, request, output);
    } else {
        problem = session_serve_key(session, context, request, output);
    }
    return problem;
}

/* ---- statistics ---- */

/* Starts the reply. Returns false if the session must wait for its turn. */
static bool session_start_stats(struct session *session, struct session_context *context,
                                struct output *output)
{
    if (context->draining) {
        session->state = SESSION_OVER;
        session_reply(session, context, output, DFLOCKD_ERROR_DRAINING);
        return true;
    }
    if (!stats_start(&session->stats, context->stripes,
                     atomic_load_explicit(context->connections, memory_order_relaxed), output,
                     context->output_pool))
        return false;
    session_count(session, context, DFLOCKD_OK);
    return true;
}

/* ---- bytes ---- */

/* Skips the rest of a line that is too long; at its end the session is over. */
static size_t session_skip_line(struct session *session, struct session_context *context,
                                const uint8_t *bytes, size_t length, struct output *output)
{
    const uint8_t *end = length ? memchr(bytes, '\n', length) : NULL;

    if (!end)
        return length;
    session_fail(session, context, output);
    return (size_t)(end - bytes) + 1;
}

static bool session_output_is_full(const struct session_context *context,
                                   const struct output *output)
{
    if (output->length < SESSION_OUTPUT_FRUGAL)
        return false;
    return output->length >= SESSION_OUTPUT_MAX ||
           (context->buffers && budget_tight(context->buffers));
}

/* Does what is due before the session reads a line. Returns WANT_INPUT if it may read one now. */
static enum session_want session_prepare(struct session *session, struct session_context *context,
                                         struct output *output)
{
    for (;;) {
        /* BLOCKED stays, so that session_disconnect knows of the pending request. */
        if (output->failed && session->state != SESSION_BLOCKED)
            session->state = SESSION_OVER;
        if (session->state == SESSION_OVER || output->failed)
            return SESSION_WANT_CLOSE;
        if (session->state == SESSION_BLOCKED)
            return SESSION_WANT_EFFECT;
        if (session_output_is_full(context, output))
            return SESSION_WANT_ROOM;
        if (session->state != SESSION_STATS)
            return context->steps > 0 ? SESSION_WANT_INPUT : SESSION_WANT_TURN;
        if (!session->stats.running) {
            if (!session_start_stats(session, context, output))
                return SESSION_WANT_WALK;
        } else {
            if (!stats_write(&session->stats, context->stripes, context->now_ns, &context->steps,
                             output, context->output_pool))
                return SESSION_WANT_TURN;
            session->state = SESSION_READY;
        }
    }
}

struct session_progress session_read(struct session *session, struct session_context *context,
                                     const uint8_t *bytes, size_t length, struct output *output)
{
    struct session_progress progress = {.want = SESSION_WANT_INPUT};

    for (;;) {
        const uint8_t *rest = bytes + progress.consumed;
        size_t rest_length = length - progress.consumed;
        bool simple = session->state == SESSION_READY && !output->failed &&
                      output->length < SESSION_OUTPUT_FRUGAL && context->steps > 0;
        enum session_problem problem;
        struct request_frame frame;
        struct request request;

        /* Most requests need no more than `simple` tells. */
        if (!simple) {
            progress.want = session_prepare(session, context, output);
            if (progress.want != SESSION_WANT_INPUT)
                return progress;
        }
        if (session->state == SESSION_SKIPPING) {
            progress.consumed += session_skip_line(session, context, rest, rest_length, output);
            if (session->state == SESSION_SKIPPING)
                return progress;
            continue;
        }
        frame = request_read(rest, rest_length, &request);
        if (frame.framing == REQUEST_PARTIAL) {
            progress.lines = frame.lines;
            return progress;
        }
        if (frame.framing == REQUEST_COMPLETE && request.command == DFLOCKD_SHOW &&
            context->steps < SESSION_SHOW_MIN && session->state == SESSION_READY) {
            progress.want = SESSION_WANT_TURN;
            return progress;
        }
        progress.consumed += frame.length;
        if (frame.framing == REQUEST_TOO_LONG) {
            session->state = SESSION_SKIPPING;
            problem =
                session->authenticated ? SESSION_PROBLEM_LINE_TOO_LONG : SESSION_PROBLEM_NO_SECRET;
        } else {
            context->steps--;
            progress.served = true;
            problem = session_serve(session, context, &request, output);
        }
        if (progress.problem == SESSION_PROBLEM_NONE)
            progress.problem = problem;
    }
}

void session_effect(struct session *session, struct session_context *context,
                    const struct lock_answer *answer, struct output *output)
{
    bool grant = answer->outcome == DFLOCKD_OK;

    assert(session->state == SESSION_BLOCKED);
    session->state = SESSION_READY;
    if (grant && claims_grant_is_lost(&session->claims, context, answer))
        session_reply(session, context, output, DFLOCKD_ERROR_LEASE_EXPIRED);
    else
        session_reply_answer(session, context, output, answer, grant);
    /* The client will not receive the grant: BLOCKED makes session_disconnect release it. */
    if (output->failed)
        session->state = SESSION_BLOCKED;
}

void session_input_ended(struct session *session, struct session_context *context,
                         struct output *output)
{
    /* BLOCKED stays: session_disconnect releases a grant that is on its way. */
    if (session->state == SESSION_BLOCKED)
        return;
    if (session->authenticated && session->state != SESSION_SKIPPING)
        session->state = SESSION_OVER;
    else
        session_fail(session, context, output);
}

bool session_drain(struct session *session, struct session_context *context, struct output *output)
{
    if (session->state != SESSION_BLOCKED || !claims_cancel(&session->claims, context))
        return false;
    session->state = SESSION_READY;
    session_reply(session, context, output, DFLOCKD_ERROR_DRAINING);
    return true;
}

bool session_disconnect(struct session *session, struct session_context *context)
{
    stats_stop(&session->stats, context->stripes);
    return claims_disconnect(&session->claims, context, session->state == SESSION_BLOCKED);
}
