#include "server/session.h"

#include <assert.h>
#include <string.h>

#include "server/connection_id.h"
#include "wire/reply.h"

static void over(struct session *session)
{
    session->state = SESSION_OVER;
}

static void say(struct session_context *context, struct output *output,
                enum dflockd_outcome outcome)
{
    uint8_t *to = output_reserve(output, context->output_pool, DFLOCKD_ANSWER_MAX);

    if (to)
        output_commit(output, reply_outcome(to, outcome));
}

/* Of answers to requests that ask for a slot. */
static bool is_grant(const struct lock_answer *answer)
{
    return answer->outcome == DFLOCKD_OK || answer->outcome == DFLOCKD_ACQUIRED;
}

static void say_answer(struct session_context *context, struct output *output,
                       const struct lock_answer *answer)
{
    uint8_t *to = output_reserve(output, context->output_pool, DFLOCKD_ANSWER_MAX);
    enum dflockd_outcome outcome = (enum dflockd_outcome)answer->outcome;

    if (!to)
        return;
    if (is_grant(answer))
        to = reply_grant(to, outcome, answer->token.fence, answer->token.salt, answer->lease_s);
    else
        to = reply_outcome(to, outcome);
    output_commit(output, to);
}

void session_start(struct session *session, const struct session_context *context,
                   uint64_t connection_id)
{
    memset(session, 0, sizeof(*session));
    session->connection_id = connection_id;
    session->authenticated = !context->secret;
    session->state = session->authenticated ? SESSION_READY : SESSION_AUTH;
}

void session_fail(struct session *session, struct session_context *context, struct output *output)
{
    over(session);
    session->auth_failed = !session->authenticated;
    say(context, output, session->authenticated ? DFLOCKD_ERROR : DFLOCKD_ERROR_AUTH);
}

/* ---- requests ---- */

static enum session_problem serve_auth(struct session *session, struct session_context *context,
                                       const struct request *request, struct output *output)
{
    bool has_secret = request->valid && request->command == DFLOCKD_AUTH;

    if (has_secret && secret_matches(context->secret, context->now_ns, request->secret.bytes,
                                     request->secret.length)) {
        session->state = SESSION_READY;
        session->authenticated = true;
        say(context, output, DFLOCKD_OK);
        return SESSION_PROBLEM_NONE;
    }
    session_fail(session, context, output);
    return has_secret ? SESSION_PROBLEM_WRONG_SECRET : SESSION_PROBLEM_NO_SECRET;
}

/* A pending answer blocks the session, any other is a reply; a grant that can't be told ends. */
static void settle(struct session *session, struct session_context *context,
                   const struct stripes_key *key, const struct lock_answer *answer,
                   struct output *output)
{
    if (answer->outcome == LOCK_PENDING) {
        session->state = SESSION_BLOCKED;
        session->blocked_stripe = (uint8_t)key->stripe;
        return;
    }
    say_answer(context, output, answer);
    if (output->failed && is_grant(answer))
        stripes_release(context->stripes, context->now_ns, key, answer->token, &context->wake);
}

static struct lock_token token_of(const struct request *request)
{
    return (struct lock_token){.fence = request->fence, .salt = request->salt};
}

static void serve_key(struct session *session, struct session_context *context,
                      const struct request *request, struct output *output)
{
    enum lock_kind kind = request->semaphore ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK;
    struct stripes_key key = stripes_key(context->stripes, kind, request->key);
    uint64_t lease_s = request->lease_s ? request->lease_s : context->default_lease_s;
    struct lock_answer answer;
    uint8_t *to;

    switch (request->command) {
    case DFLOCKD_ACQUIRE:
    case DFLOCKD_SEMAPHORE_ACQUIRE:
        session->stripes_used |= 1ull << key.stripe;
        answer = stripes_acquire(context->stripes, context->now_ns, session->connection_id, &key,
                                 request->limit, request->timeout_s, lease_s, &context->wake);
        settle(session, context, &key, &answer, output);
        return;
    case DFLOCKD_ENQUEUE:
    case DFLOCKD_SEMAPHORE_ENQUEUE:
        session->stripes_used |= 1ull << key.stripe;
        answer = stripes_enqueue(context->stripes, context->now_ns, session->connection_id, &key,
                                 request->limit, lease_s, &context->wake);
        settle(session, context, &key, &answer, output);
        return;
    case DFLOCKD_WAIT:
    case DFLOCKD_SEMAPHORE_WAIT:
        answer = stripes_wait(context->stripes, context->now_ns, session->connection_id, &key,
                              request->timeout_s, &context->wake);
        settle(session, context, &key, &answer, output);
        return;
    case DFLOCKD_RELEASE:
    case DFLOCKD_SEMAPHORE_RELEASE:
        answer = stripes_release(context->stripes, context->now_ns, &key, token_of(request),
                                 &context->wake);
        say(context, output, (enum dflockd_outcome)answer.outcome);
        return;
    case DFLOCKD_OWN:
        session->stripes_used |= 1ull << key.stripe;
        answer = stripes_own(context->stripes, context->now_ns, session->connection_id, &key,
                             token_of(request), &context->wake);
        say(context, output, (enum dflockd_outcome)answer.outcome);
        return;
    default:
        assert(request->command == DFLOCKD_RENEW || request->command == DFLOCKD_SEMAPHORE_RENEW);
        answer = stripes_renew(context->stripes, context->now_ns, &key, token_of(request), lease_s,
                               &context->wake);
        if (answer.outcome != DFLOCKD_OK) {
            say(context, output, (enum dflockd_outcome)answer.outcome);
            return;
        }
        to = output_reserve(output, context->output_pool, DFLOCKD_ANSWER_MAX);
        if (to)
            output_commit(output, reply_renewed(to, answer.lease_s));
    }
}

/*
 * While the server drains, holders go on with their work: they renew, check by `own` whether they
 * still hold, and release in the end.
 */
static bool session_is_for_holders(const struct request *request)
{
    return request->valid &&
           (request->command == DFLOCKD_RELEASE || request->command == DFLOCKD_SEMAPHORE_RELEASE ||
            request->command == DFLOCKD_RENEW || request->command == DFLOCKD_SEMAPHORE_RENEW ||
            request->command == DFLOCKD_OWN);
}

static enum session_problem serve(struct session *session, struct session_context *context,
                                  const struct request *request, struct output *output)
{
    enum session_problem problem = SESSION_PROBLEM_NONE;

    if (context->draining &&
        !(session->state == SESSION_READY && session_is_for_holders(request))) {
        over(session);
        say(context, output, DFLOCKD_ERROR_DRAINING);
    } else if (session->state == SESSION_AUTH) {
        problem = serve_auth(session, context, request, output);
    } else if (!request->valid || request->command == DFLOCKD_AUTH) {
        problem = SESSION_PROBLEM_INVALID_REQUEST;
        say(context, output, DFLOCKD_ERROR);
    } else if (request->command == DFLOCKD_PING) {
        say(context, output, DFLOCKD_OK);
    } else if (request->command == DFLOCKD_STATS) {
        session->state = SESSION_STATS;
    } else {
        serve_key(session, context, request, output);
    }
    return problem;
}

/* ---- statistics: made as they are sent, a piece at a time ---- */

struct walk {
    struct session *session;
    struct session_context *context;
    struct output *output;
};

/* By what the first pass noted, so that a key that changes meanwhile is still listed once. */
static enum reply_section section_of(const struct lock_view *view)
{
    if (view->limit == 1)
        return view->noted_idle ? REPLY_IDLE_LOCKS : REPLY_LOCKS;
    return view->noted_idle ? REPLY_IDLE_SEMAPHORES : REPLY_SEMAPHORES;
}

static void show(void *context, const struct lock_view *view)
{
    struct walk *walk = context;
    struct session *session = walk->session;
    struct reply_entry entry = {
        .key = view->key,
        .key_length = view->key_length,
        .owner = connection_id_number(view->owner),
        .lease_ns = view->lease_ns,
        .idle_ns = view->idle_ns,
        .limit = view->limit,
        .holders = view->holders,
        .waiters = view->waiters,
    };
    uint8_t *to;

    if (section_of(view) != session->walk_section)
        return;
    to = output_reserve(walk->output, walk->context->output_pool, REPLY_ENTRY_MAX);
    if (!to)
        return;
    to = reply_stats_entry(to, (enum reply_section)session->walk_section, session->walk_first,
                           &entry);
    output_commit(walk->output, to);
    session->walk_first = false;
}

/* Begins the reply, unless as many walks are under way as may be. */
static bool session_begin_walk(struct session *session, struct session_context *context,
                               struct output *output)
{
    uint8_t *to;

    session->walking = stripes_walk_begin(context->stripes, &session->walk);
    if (!session->walking)
        return false;
    session->walk_section = REPLY_LOCKS;
    session->walk_stripe = 0;
    session->walk_position = 0;
    session->walk_first = true;
    to = output_reserve(output, context->output_pool, REPLY_ENTRY_MAX);
    if (!to)
        return true;
    to = reply_stats_begin(to, atomic_load_explicit(context->connections, memory_order_relaxed));
    output_commit(output, reply_stats_section(to, REPLY_LOCKS));
    return true;
}

static void session_end_walk(struct session *session, struct session_context *context)
{
    if (session->walking)
        stripes_walk_end(context->stripes, session->walk);
    session->walking = false;
}

/* A section is through: the next one begins, or the reply is complete. */
static void section_end(struct session *session, struct session_context *context,
                        struct output *output)
{
    uint8_t *to = output_reserve(output, context->output_pool, REPLY_ENTRY_MAX);

    if (!to)
        return;
    to = reply_stats_section_end(to);
    session->walk.first_pass = false;
    session->walk_section++;
    session->walk_stripe = 0;
    session->walk_first = true;
    if (session->walk_section < REPLY_SECTIONS) {
        to = reply_stats_section(to, (enum reply_section)session->walk_section);
    } else {
        to = reply_stats_end(to);
        session_end_walk(session, context);
        session->state = SESSION_READY;
    }
    output_commit(output, to);
}

/* A step of the walk: some buckets of one stripe. */
static void walk_on(struct session *session, struct session_context *context, struct output *output)
{
    struct walk walk = {.session = session, .context = context, .output = output};
    uint32_t stripe = session->walk_stripe;
    bool more = stripes_walk(context->stripes, context->now_ns, session->walk, &stripe,
                             &session->walk_position, show, &walk);

    session->walk_stripe = (uint8_t)stripe;
    if (!more)
        section_end(session, context, output);
}

/* ---- bytes ---- */

/* Skips to behind the end of a line that is too long; there the session ends. */
static size_t skip(struct session *session, struct session_context *context, const uint8_t *bytes,
                   size_t length, struct output *output)
{
    const uint8_t *end = length ? memchr(bytes, '\n', length) : NULL;

    if (!end)
        return length;
    session_fail(session, context, output);
    return (size_t)(end - bytes) + 1;
}

struct session_progress session_read(struct session *session, struct session_context *context,
                                     const uint8_t *bytes, size_t length, struct output *output)
{
    struct session_progress progress = {.want = SESSION_WANT_INPUT};

    for (;;) {
        const uint8_t *rest = bytes + progress.consumed;
        size_t rest_length = length - progress.consumed;
        enum session_problem problem;
        struct request_frame frame;
        struct request request;

        /* A session that is BLOCKED stays so, for the disconnect to see. */
        if (output->failed && session->state != SESSION_BLOCKED)
            over(session);
        if (session->state == SESSION_OVER || output->failed) {
            progress.want = SESSION_WANT_CLOSE;
            return progress;
        }
        if (session->state == SESSION_BLOCKED) {
            progress.want = SESSION_WANT_EFFECT;
            return progress;
        }
        if (output->length >= (context->frugal ? SESSION_OUTPUT_FRUGAL : SESSION_OUTPUT_MAX)) {
            progress.want = SESSION_WANT_ROOM;
            return progress;
        }
        if (session->state == SESSION_STATS && !session->walking) {
            if (context->draining) {
                over(session);
                say(context, output, DFLOCKD_ERROR_DRAINING);
                continue;
            }
            if (session_begin_walk(session, context, output))
                continue;
            progress.want = SESSION_WANT_WALK;
            return progress;
        }
        if (session->state == SESSION_STATS) {
            walk_on(session, context, output);
            progress.want = SESSION_WANT_TURN;
            if (session->state == SESSION_STATS)
                return progress;
            progress.want = SESSION_WANT_INPUT;
            continue;
        }
        if (session->state == SESSION_SKIPPING) {
            progress.consumed += skip(session, context, rest, rest_length, output);
            if (session->state == SESSION_SKIPPING)
                return progress;
            continue;
        }
        frame = request_read(rest, rest_length, &request);
        if (frame.framing == REQUEST_PARTIAL) {
            progress.lines = frame.lines;
            return progress;
        }
        progress.consumed += frame.length;
        if (frame.framing == REQUEST_TOO_LONG) {
            session->state = SESSION_SKIPPING;
            problem =
                session->authenticated ? SESSION_PROBLEM_LINE_TOO_LONG : SESSION_PROBLEM_NO_SECRET;
        } else {
            progress.served = true;
            problem = serve(session, context, &request, output);
        }
        if (progress.problem == SESSION_PROBLEM_NONE)
            progress.problem = problem;
    }
}

void session_effect(struct session *session, struct session_context *context,
                    const struct lock_answer *answer, struct output *output)
{
    struct lock_answer told = *answer;

    assert(session->state == SESSION_BLOCKED);
    session->state = SESSION_READY;
    if (told.outcome == DFLOCKD_OK && told.deadline_ns <= context->now_ns)
        told.outcome = DFLOCKD_ERROR_LEASE_EXPIRED;
    say_answer(context, output, &told);
    /* A grant that can't be told is still pending: the disconnect gives it back. */
    if (output->failed)
        session->state = SESSION_BLOCKED;
}

void session_input_ended(struct session *session, struct session_context *context,
                         struct output *output)
{
    /* BLOCKED stays to be seen: the disconnect gives back a grant that is on its way. */
    if (session->state == SESSION_BLOCKED)
        return;
    if (session->authenticated && session->state != SESSION_SKIPPING)
        over(session);
    else
        session_fail(session, context, output);
}

bool session_drain(struct session *session, struct session_context *context, struct output *output)
{
    bool cancelled = session->state == SESSION_BLOCKED &&
                     stripes_cancel(context->stripes, context->now_ns, session->connection_id,
                                    session->blocked_stripe, &context->wake);

    /* Nobody is granted a lock any more by waiting for it. */
    for (uint64_t left = session->stripes_used; left; left &= left - 1)
        stripes_leave_queues(context->stripes, context->now_ns, session->connection_id,
                             (uint32_t)__builtin_ctzll(left), &context->wake);
    if (!cancelled)
        return false;
    session->state = SESSION_READY;
    say(context, output, DFLOCKD_ERROR_DRAINING);
    return true;
}

bool session_disconnect(struct session *session, struct session_context *context, uint32_t steps)
{
    session_end_walk(session, context);
    while (session->stripes_used) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(session->stripes_used);
        bool pending = session->state == SESSION_BLOCKED && session->blocked_stripe == stripe;

        if (!stripes_disconnect(context->stripes, context->now_ns, session->connection_id, stripe,
                                pending, steps, &context->wake))
            return false;
        session->stripes_used &= session->stripes_used - 1;
    }
    return true;
}

bool session_watch(struct session *session, struct session_context *context)
{
    if (session->watching)
        stripes_unwatch(context->stripes, session->connection_id, session->watched_stripe);
    session->watching = false;
    for (uint64_t left = session->stripes_used; left; left &= left - 1) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(left);

        if (stripes_watch(context->stripes, session->connection_id, stripe)) {
            session->watching = true;
            session->watched_stripe = (uint8_t)stripe;
            return true;
        }
    }
    return false;
}
