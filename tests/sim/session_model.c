/*
 * The session runs first, over all received bytes. Then the model serves the same requests one
 * after the other and consumes a line for each.
 */
#include "session_model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replies.h"
#include "show_reply.h"
#include "stats_reply.h"

void session_model_start(struct session_model *session_model, bool auth)
{
    free(session_model->stats.bytes);
    memset(session_model, 0, sizeof(*session_model));
    session_model->state = auth ? SESSION_MODEL_AUTH : SESSION_MODEL_READY;
    session_model->authenticated = !auth;
}

void session_model_add_request(struct sim_peer *peer, const struct sim_request *request)
{
    struct session_model *session_model = &peer->session_model;

    session_model->request[(session_model->first + session_model->count++) % REQUESTS_MAX] =
        *request;
}

/* ---- replies ---- */

static void append_replies(struct world *world, const uint8_t *bytes, size_t length)
{
    if (world->replies_length + length > REPLIES_MAX)
        world_fail(world, "a session writes too much in one turn");
    memcpy(world->replies + world->replies_length, bytes, length);
    world->replies_length += (uint32_t)length;
}

void session_model_read_output(struct world *world, struct sim_peer *peer)
{
    driver_take_output(&world->driver, &peer->driven, SIZE_MAX);
    if (peer->driven.output.failed)
        output_clear(&peer->driven.output, &worker_of(world, peer)->output_pool);
    peer->compared = 0;
}

/* Copies the output written since the last call. */
static void read_replies(struct world *world, struct sim_peer *peer)
{
    size_t skipped = 0;

    world->replies_start = peer->compared;
    world->replies_length = 0;
    world->replies_at = 0;
    for (const struct output_chunk *chunk = peer->driven.output.first; chunk; chunk = chunk->next) {
        size_t length = chunk->end - chunk->start;
        size_t skip = peer->compared - skipped < length ? peer->compared - skipped : length;

        append_replies(world, chunk->bytes + chunk->start + skip, length - skip);
        skipped += skip;
    }
    peer->compared = peer->driven.output.length;
    if (!peer->slow || peer->driven.output.failed)
        session_model_read_output(world, peer);
}

/* Returns whether the compared output is too long for the session to continue. */
static bool is_output_full(const struct world *world)
{
    return world->replies_start + world->replies_at >= SESSION_OUTPUT_MAX;
}

/* Releases a grant whose reply could not be written. */
static void release_unread(struct world *world, const struct sim_peer *peer, int claim)
{
    world_enter(world, worker_of(world, peer),
                world->model.keys[world->model.claims[claim].key].stripe);
    model_leave(&world->model, claim);
}

/* The next line must match, unless memory was short for it. That ends the session. */
static void expect_reply(struct world *world, struct sim_peer *peer,
                         const struct expected *expected)
{
    if (reply_expect(world, peer, expected))
        return;
    peer->session_model.state = SESSION_MODEL_ENDED;
    if (expected->granted && expected->unreported_ends)
        release_unread(world, peer, expected->claim);
}

static void expect_outcome(struct world *world, struct sim_peer *peer, int outcome)
{
    struct expected expected = {.outcome = outcome, .claim = MODEL_NO_CLAIM};

    expect_reply(world, peer, &expected);
}

/* ---- stats ---- */

static void stats_append(struct stats_text *text, const char *bytes, uint32_t length)
{
    if (text->length + length > text->capacity) {
        text->capacity = (text->length + length) * 2;
        text->bytes = realloc(text->bytes, text->capacity);
        if (!text->bytes)
            abort();
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static void end_walk(struct world *world, struct session_model *session_model)
{
    world->walks -= session_model->walking;
    session_model->walking = false;
}

/* Consumes more of the reply. Returns true when it is complete. */
static bool stats_continue(struct world *world, struct sim_peer *peer, uint32_t stripe)
{
    struct stats_text *text = &peer->session_model.stats;
    uint32_t length = reply_next(world);
    /* A table of few keys has up to 32 buckets, which may take a turn each. */
    uint32_t most = (8 * 32 + KEYS_MAX) * world->stripe_count;
    /* If later requests were served, memory was short for one of these. */
    bool failed =
        peer->driven.output.failed && peer->driven.start <= peer->session_model.served_end;

    peer->session_model.walked = true;
    world_enter(world, worker_of(world, peer), stripe);
    if (length == 0 || failed)
        length = world->replies_length - world->replies_at;
    stats_append(text, world->replies + world->replies_at, length);
    world->replies_at += length;
    /* The rest may be missing, and no client reads it. */
    if (failed) {
        peer->session_model.state = SESSION_MODEL_ENDED;
        return false;
    }
    if (++text->turns > most)
        world_fail(world, "client %u: stats do not end", peer->number);
    if (text->length == 0 || text->bytes[text->length - 1] != '\n')
        return false;
    text->length--;
    end_walk(world, &peer->session_model);
    stats_reply_check(world, text);
    peer->session_model.state = SESSION_MODEL_READY;
    return true;
}

static bool stats_begin(struct world *world, struct sim_peer *peer)
{
    struct stats_text *text = &peer->session_model.stats;
    char start[64];
    uint32_t length =
        (uint32_t)snprintf(start, sizeof(start), "ok {\"connections\":%" PRIu64 ",\"locks\":[",
                           world->driver.connections);

    world->walks++;
    peer->session_model.walking = true;
    if (world->replies_at == world->replies_length && peer->driven.output.failed) {
        peer->session_model.state = SESSION_MODEL_ENDED;
        return false;
    }
    if (world->replies_length - world->replies_at < length ||
        memcmp(world->replies + world->replies_at, start, length) != 0)
        world_fail(world, "client %u: expected stats to begin with %s", peer->number, start);
    peer->session_model.state = SESSION_MODEL_STATS;
    text->length = 0;
    text->turns = 0;
    text->step = world->model.step;
    text->connections = world->driver.connections;
    memcpy(text->from_ns, world->model.stripe_ns, sizeof(text->from_ns));
    stats_append(text, start, length);
    world->replies_at += length;
    peer->session_model.full = is_output_full(world);
    return !peer->session_model.full && stats_continue(world, peer, 0);
}

/* ---- requests ---- */

/* Returns whether the request got the error for short memory. */
static bool is_memory_error(struct world *world)
{
    static const char error[] = "error\n";
    uint32_t length = reply_next(world);

    if (!scarce_memory_failed_at(&world->memory, world->replies_start + world->replies_at))
        return false;
    /* Some allocations may fail without harm. */
    if (length != sizeof(error) - 1 ||
        memcmp(world->replies + world->replies_at, error, length) != 0)
        return false;
    world_count(world, COVERAGE_MEMORY_ERROR);
    return true;
}

/* As is_memory_error, for a request that takes a claim. */
static bool is_memory_error_of_claim(struct world *world, const struct sim_peer *peer,
                                     const struct sim_request *request)
{
    bool failed = is_memory_error(world);

    if (failed)
        model_short_of_memory(&world->model, peer->number, request->key);
    return failed;
}

static struct model_result apply_to_model(struct world *world, struct sim_peer *peer,
                                          const struct sim_request *request)
{
    struct model *model = &world->model;
    uint32_t slot = peer->number;
    uint64_t lease_s = request->lease_s ? request->lease_s : world->policy.default_lease_s;

    const struct model_request wanted = {
        .key = request->key,
        .limit = request->limit,
        .shared = sim_request_is_shared(request->op),
        .wait_s = request->wait_s,
        .lease_s = lease_s,
    };

    switch (request->op) {
    case DFLOCKD_ACQUIRE:
    case DFLOCKD_ACQUIRE_SHARED:
    case DFLOCKD_SEMAPHORE_ACQUIRE:
        if (is_memory_error_of_claim(world, peer, request))
            break;
        return model_acquire(model, slot, &wanted);
    case DFLOCKD_ENQUEUE:
    case DFLOCKD_ENQUEUE_SHARED:
    case DFLOCKD_SEMAPHORE_ENQUEUE:
        if (is_memory_error_of_claim(world, peer, request))
            break;
        return model_enqueue(model, slot, &wanted);
    case DFLOCKD_WAIT:
    case DFLOCKD_SEMAPHORE_WAIT:
        return model_wait(model, slot, request->key, request->wait_s);
    case DFLOCKD_RELEASE:
    case DFLOCKD_SEMAPHORE_RELEASE:
        return model_release(model, request->key, request->fence, request->salt);
    case DFLOCKD_OWN:
        if (is_memory_error(world))
            break;
        return model_own(model, slot, request->key, request->fence, request->salt);
    default:
        return model_renew(model, request->key, request->fence, request->salt, lease_s);
    }
    return (struct model_result){.outcome = DFLOCKD_ERROR, .claim = MODEL_NO_CLAIM};
}

static void set_grant(const struct world *world, struct expected *expected, int claim)
{
    const struct model_claim *granted = &world->model.claims[claim];

    expected->granted = true;
    expected->claim = claim;
    expected->lease_s = granted->lease_s;
    expected->fence_low = granted->fence_low;
    expected->fence_high = granted->fence_high;
}

static bool is_wait(uint8_t op)
{
    return op == DFLOCKD_WAIT || op == DFLOCKD_SEMAPHORE_WAIT;
}

static bool is_claim(uint8_t op)
{
    return op == DFLOCKD_ACQUIRE || op == DFLOCKD_SEMAPHORE_ACQUIRE || op == DFLOCKD_ENQUEUE ||
           op == DFLOCKD_SEMAPHORE_ENQUEUE || sim_request_is_shared(op);
}

static bool is_renewal(const struct sim_request *request)
{
    return request->op == DFLOCKD_RENEW || request->op == DFLOCKD_SEMAPHORE_RENEW;
}

/*
 * The session counts the claims of its client if those that it knows of reach the cap, and takes a
 * step for each stripe.
 */
static void count_claims(struct world *world, struct sim_peer *peer)
{
    struct session_model *session_model = &peer->session_model;
    uint32_t max = world->policy.claims_max_each;
    uint32_t left = world->driver.steps - session_model->steps;
    uint32_t stripes = (uint32_t)__builtin_popcountll(session_model->stripes);

    if (max > 0 && session_model->claims_bound >= max) {
        session_model->claims_bound = model_claims(&world->model, peer->number);
        session_model->steps += stripes < left ? stripes : left;
    }
    session_model->claims_bound++;
}

static void serve_key(struct world *world, struct sim_peer *peer, const struct sim_request *request)
{
    struct session_model *session_model = &peer->session_model;
    uint8_t stripe = world->model.keys[request->key].stripe;
    struct expected expected = {.claim = MODEL_NO_CLAIM};
    struct model_result answer;

    if (is_claim(request->op) || request->op == DFLOCKD_OWN) {
        count_claims(world, peer);
        session_model->stripes |= 1ull << stripe;
    }
    world_enter(world, worker_of(world, peer), stripe);
    answer = apply_to_model(world, peer, request);
    if (answer.outcome == MODEL_PENDING) {
        session_model->state = SESSION_MODEL_BLOCKED;
        session_model->blocked_stripe = stripe;
        session_model->blocked_in_wait = is_wait(request->op);
        return;
    }
    expected.outcome = answer.outcome;
    if ((answer.outcome == DFLOCKD_OK && answer.claim != MODEL_NO_CLAIM) ||
        answer.outcome == DFLOCKD_ACQUIRED) {
        set_grant(world, &expected, answer.claim);
        expected.unreported_ends = true;
    } else if (answer.outcome == DFLOCKD_OK && is_renewal(request)) {
        if (worker_of(world, peer)->context.draining)
            world_count(world, COVERAGE_DRAINING_RENEWAL);
        expected.renewed = true;
        expected.lease_s = answer.lease_s;
    }
    expect_reply(world, peer, &expected);
}

/* Returns whether a draining server serves the request. */
static bool is_for_holders(const struct sim_request *request)
{
    return request->flaw == FLAW_NONE &&
           (is_renewal(request) || request->op == DFLOCKD_RELEASE ||
            request->op == DFLOCKD_SEMAPHORE_RELEASE || request->op == DFLOCKD_OWN);
}

static void serve_and_end(struct world *world, struct sim_peer *peer, int outcome)
{
    peer->session_model.state = SESSION_MODEL_ENDED;
    expect_outcome(world, peer, outcome);
}

/* An unauthenticated client sends any request, or another one `auth`. */
static void serve_auth(struct world *world, struct sim_peer *peer,
                       const struct sim_request *request)
{
    struct session_model *session_model = &peer->session_model;

    if (request->op != DFLOCKD_AUTH || request->flaw != FLAW_NONE ||
        (!request->administrator && !world->policy.auth)) {
        serve_and_end(world, peer, DFLOCKD_ERROR_AUTH);
        return;
    }
    session_model->state = SESSION_MODEL_READY;
    session_model->authenticated = true;
    if (request->administrator && !session_model->administrator)
        world_count(world, COVERAGE_ADMINISTRATOR);
    session_model->administrator |= request->administrator;
    expect_outcome(world, peer, DFLOCKD_OK);
}

/* ---- name, show and revoke ---- */

static void serve_name(struct world *world, struct sim_peer *peer,
                       const struct sim_request *request)
{
    const struct sim_name *name = &sim_names[request->name];

    world_count(world, name->json ? COVERAGE_NAMED : COVERAGE_NAME_INVALID);
    if (name->json)
        peer->name = name;
    expect_outcome(world, peer, name->json ? DFLOCKD_OK : DFLOCKD_ERROR);
}

/* Takes steps, also beyond those that the session has. */
static void take_steps(const struct world *world, struct session_model *session_model,
                       uint32_t steps)
{
    uint32_t left = world->driver.steps - session_model->steps;

    session_model->steps += steps < left ? steps : left;
    session_model->overdrawn += steps < left ? 0 : steps - left;
}

static void serve_show(struct world *world, struct sim_peer *peer,
                       const struct sim_request *request)
{
    struct session_model *session_model = &peer->session_model;
    uint32_t length = reply_next(world);

    if (!session_model->walked &&
        world->driver.steps - (session_model->steps - 1) < SESSION_SHOW_MIN)
        world_fail(world, "client %u: served `show` with few steps", peer->number);
    world_enter(world, worker_of(world, peer), world->model.keys[request->key].stripe);
    if (!world->model.keys[request->key].exists) {
        expect_outcome(world, peer, DFLOCKD_ERROR);
        return;
    }
    take_steps(world, session_model, show_reply_steps(&world->model, request->key));
    /* If no later request was served, memory was short for this one: no client reads the rest. */
    if (peer->driven.output.failed && peer->driven.start <= session_model->served_end) {
        session_model->state = SESSION_MODEL_ENDED;
        world->replies_at = world->replies_length;
        return;
    }
    show_reply_check(world, peer, request->key, world->replies + world->replies_at, length);
    world->replies_at += length;
}

static void count_revoked(struct world *world, const struct model_claim *claim, bool enqueued)
{
    const struct sim_peer *holder = &world->peers[claim->slot];

    if (holder->driven.state != PEER_OPEN ||
        holder->driven.session.claims.connection_id != claim->client)
        world_count(world, COVERAGE_REVOKED_OF_GONE);
    else if (enqueued)
        world_count(world, COVERAGE_REVOKED_ENQUEUED);
    else if (claim->known)
        world_count(world, COVERAGE_REVOKED_SEEN);
    else
        world_count(world, COVERAGE_REVOKED_ON_WAY);
    if (!claim->exclusive)
        world_count(world, COVERAGE_REVOKED_SHARED);
}

static void serve_revoke(struct world *world, struct sim_peer *peer,
                         const struct sim_request *request)
{
    const struct model_key *key = &world->model.keys[request->key];
    struct model_result answer = {.outcome = DFLOCKD_ERROR};
    int claim;

    if (!peer->session_model.administrator) {
        world_count(world, COVERAGE_REVOKE_REFUSED);
        expect_outcome(world, peer, DFLOCKD_ERROR);
        return;
    }
    world_enter(world, worker_of(world, peer), key->stripe);
    answer = model_revoke(&world->model, request->key, request->fence, &claim);
    if (claim == MODEL_NO_CLAIM) {
        world_count(world, COVERAGE_REVOKED_NONE);
    } else {
        const struct model_claim *revoked = &world->model.claims[claim];
        const struct model_enqueued *enqueued =
            model_enqueued(&world->model, revoked->slot, request->key);

        world->revoked++;
        count_revoked(world, revoked, enqueued && enqueued->claim == MODEL_NO_CLAIM);
    }
    expect_outcome(world, peer, answer.outcome);
}

static void serve_request(struct world *world, struct sim_peer *peer,
                          const struct sim_request *request)
{
    struct session_model *session_model = &peer->session_model;
    const struct session_context *context = &worker_of(world, peer)->context;
    bool is_auth = request->op == DFLOCKD_AUTH && request->flaw != FLAW_COMMAND;

    if (sim_request_ends_session(request)) {
        serve_and_end(world, peer,
                      session_model->authenticated ? DFLOCKD_ERROR : DFLOCKD_ERROR_AUTH);
    } else if (context->draining &&
               !(session_model->state == SESSION_MODEL_READY && is_for_holders(request))) {
        serve_and_end(world, peer, DFLOCKD_ERROR_DRAINING);
    } else if (session_model->state == SESSION_MODEL_AUTH ||
               (is_auth && world->policy.administrators)) {
        serve_auth(world, peer, request);
    } else if (request->flaw != FLAW_NONE || request->op == DFLOCKD_AUTH) {
        expect_outcome(world, peer, DFLOCKD_ERROR);
    } else if (request->op == DFLOCKD_PING) {
        expect_outcome(world, peer, DFLOCKD_OK);
    } else if (request->op == DFLOCKD_STATS) {
        session_model->state = SESSION_MODEL_STATS_WAITING;
    } else if (request->op == DFLOCKD_NAME) {
        serve_name(world, peer, request);
    } else if (request->op == DFLOCKD_SHOW) {
        serve_show(world, peer, request);
    } else if (request->op == DFLOCKD_REVOKE) {
        serve_revoke(world, peer, request);
    } else {
        serve_key(world, peer, request);
    }
}

/* Does everything that the session must have done with the received bytes, until it wanted `want`.
 */
static void serve_pending(struct world *world, struct sim_peer *peer, uint32_t walk_stripe,
                          enum session_want want)
{
    struct session_model *session_model = &peer->session_model;

    session_model->full = false;
    while (session_model->state != SESSION_MODEL_BLOCKED &&
           session_model->state != SESSION_MODEL_ENDED) {
        struct sim_request request = session_model->request[session_model->first];

        session_model->full = is_output_full(world);
        if (session_model->full)
            return;
        if (session_model->state == SESSION_MODEL_STATS_WAITING &&
            worker_of(world, peer)->context.draining) {
            serve_and_end(world, peer, DFLOCKD_ERROR_DRAINING);
            continue;
        }
        if (session_model->state == SESSION_MODEL_STATS_WAITING) {
            if (world->walks == TABLE_WALKS_MAX || !stats_begin(world, peer))
                return;
            continue;
        }
        if (session_model->state == SESSION_MODEL_STATS) {
            if (!stats_continue(world, peer, walk_stripe))
                return;
            continue;
        }
        /* The session has used its steps; compare_steps checks how many. */
        if (want == SESSION_WANT_TURN && request.end > peer->driven.start) {
            session_model->out_of_steps = true;
            return;
        }
        if (session_model->count == 0 || request.end > peer->driven.end) {
            session_model->out_of_steps = want == SESSION_WANT_TURN;
            return;
        }
        session_model->steps += !sim_request_ends_session(&request);
        session_model->first = (session_model->first + 1) % REQUESTS_MAX;
        session_model->count--;
        session_model->served_end = request.end;
        serve_request(world, peer, &request);
    }
}

static enum session_want session_model_want(const struct session_model *session_model)
{
    if (session_model->full)
        return SESSION_WANT_ROOM;
    if (session_model->out_of_steps)
        return SESSION_WANT_TURN;
    switch (session_model->state) {
    case SESSION_MODEL_BLOCKED:
        return SESSION_WANT_EFFECT;
    case SESSION_MODEL_STATS_WAITING:
        return SESSION_WANT_WALK;
    case SESSION_MODEL_STATS:
        return SESSION_WANT_TURN;
    case SESSION_MODEL_ENDED:
        return SESSION_WANT_CLOSE;
    default:
        return SESSION_WANT_INPUT;
    }
}

/* Returns whether the session may be discarding a line that is too long. */
static bool may_be_skipping(const struct session_model *session_model)
{
    return session_model->count > 0 &&
           sim_request_ends_session(&session_model->request[session_model->first]);
}

/* Returns whether the next request is a `show`, valid or not. */
static bool show_is_next(const struct sim_peer *peer)
{
    const struct session_model *session_model = &peer->session_model;
    const struct sim_request *request = &session_model->request[session_model->first];

    return session_model->state == SESSION_MODEL_READY && session_model->count > 0 &&
           request->end <= peer->driven.end && request->op == DFLOCKD_SHOW &&
           request->flaw != FLAW_COMMAND && !sim_request_ends_session(request);
}

/* A session takes a step for each request; those that statistics take are not known here. */
static void compare_steps(struct world *world, struct sim_peer *peer,
                          const struct session_progress *progress)
{
    struct session_model *session_model = &peer->session_model;
    const struct session_context *context = &worker_of(world, peer)->context;
    uint32_t left = context->steps;
    uint32_t used = world->driver.steps - left;

    session_model->show_left = progress->want == SESSION_WANT_TURN && left > 0 &&
                               left < SESSION_SHOW_MIN && show_is_next(peer);
    if (session_model->show_left)
        world_count(world, COVERAGE_SHOW_LEFT);
    if (context->overdrawn > 0)
        world_count(world, COVERAGE_SHOW_LONG);
    if (!session_model->walked && context->overdrawn != session_model->overdrawn)
        world_fail(world, "client %u: expected the session to take %u steps too many; it took %u",
                   peer->number, session_model->overdrawn, context->overdrawn);
    if (progress->want == SESSION_WANT_TURN && left > 0 && !session_model->walked &&
        !session_model->show_left)
        world_fail(world, "client %u: the session had %u steps left", peer->number, left);
    if (!session_model->walked && used != session_model->steps)
        world_fail(world, "client %u: expected the session to take %u steps; it took %u",
                   peer->number, session_model->steps, used);
}

static void compare_progress(struct world *world, struct sim_peer *peer,
                             const struct session_progress *progress)
{
    const struct session_model *session_model = &peer->session_model;
    uint64_t revoked = 0;
    uint32_t lines = 0;

    if (world->replies_at < world->replies_length)
        world_fail(world, "client %u: expected nothing more; came \"%.*s\"", peer->number,
                   (int)(world->replies_length - world->replies_at),
                   world->replies + world->replies_at);
    for (uint32_t i = 0; i < world->policy.workers; i++)
        revoked += world->driver.workers[i].revocations;
    if (revoked != world->revoked)
        world_fail(world, "client %u: expected %" PRIu64 " grants to be revoked; %" PRIu64 " were",
                   peer->number, world->revoked, revoked);
    if (peer->driven.session.administrator != session_model->administrator)
        world_fail(world, "client %u: expected it to be %s", peer->number,
                   session_model->administrator ? "an administrator" : "no administrator");
    /* During stats, a session notices short output only in its next turn. */
    if (peer->driven.output.failed && progress->want == SESSION_WANT_TURN)
        peer->driven.want = SESSION_WANT_CLOSE;
    else if (progress->want != session_model_want(session_model))
        world_fail(world, "client %u: expected the session to want %d; it wants %d", peer->number,
                   (int)session_model_want(session_model), (int)progress->want);
    compare_steps(world, peer, progress);
    if (may_be_skipping(session_model))
        return;
    if (session_model->served_end && peer->driven.start != session_model->served_end)
        world_fail(world, "client %u: expected %u bytes to be read; %zu were", peer->number,
                   session_model->served_end, peer->driven.start);
    for (size_t i = peer->driven.start; i < peer->driven.end; i++)
        lines += peer->wire[i] == '\n';
    if (progress->want == SESSION_WANT_WALK)
        world_count(world, COVERAGE_WALK_WAITS);
    if (progress->want == SESSION_WANT_INPUT && lines != progress->lines)
        world_fail(world, "client %u: expected %u complete lines; came %u", peer->number, lines,
                   progress->lines);
}

/*
 * If waits on one key end together, their order decides whether waiters behind them are granted. So
 * a call that may start a wait for a lock gets a time of its own.
 */
static void separate_waits(struct world *world, struct sim_peer *peer)
{
    struct session_model *session_model = &peer->session_model;
    uint64_t latest_ns = world->clock_ns;
    bool waits = false;

    for (uint32_t i = 0; i < session_model->count; i++) {
        const struct sim_request *request =
            &session_model->request[(session_model->first + i) % REQUESTS_MAX];

        waits |= request->op == DFLOCKD_ACQUIRE || request->op == DFLOCKD_ACQUIRE_SHARED ||
                 request->op == DFLOCKD_WAIT;
    }
    if (!waits)
        return;
    for (uint32_t i = 0; i < world->stripe_count; i++) {
        if (world->model.stripe_ns[i] > latest_ns)
            latest_ns = world->model.stripe_ns[i];
    }
    world_set_clock(world, latest_ns, 1);
    worker_of(world, peer)->context.now_ns = world->clock_ns;
}

/* Runs the session; the caller compares the output. */
static struct session_progress feed_session(struct world *world, struct sim_peer *peer)
{
    struct session_progress progress;

    separate_waits(world, peer);
    worker_of(world, peer)->context.overdrawn = 0;
    progress = driver_read(&world->driver, &peer->driven);
    peer->session_model.out_of_steps = false;
    peer->session_model.walked = false;
    peer->session_model.steps = 0;
    peer->session_model.overdrawn = 0;
    read_replies(world, peer);
    return progress;
}

/* Resets the buffers when everything sent was served. */
static void drop_served(struct sim_peer *peer)
{
    struct session_model *session_model = &peer->session_model;

    if (peer->driven.start < peer->length || session_model->count > 0)
        return;
    peer->length = 0;
    peer->driven.end = 0;
    peer->driven.start = 0;
    session_model->served_end = 0;
}

void session_model_read(struct world *world, struct sim_peer *peer)
{
    uint32_t walk_stripe = peer->driven.session.stats.stripe;
    struct session_progress progress;

    scarce_memory_watch(&world->memory, &peer->driven.output.length);
    progress = feed_session(world, peer);
    serve_pending(world, peer, walk_stripe, progress.want);
    if (peer->session_model.full)
        world_count(world, COVERAGE_FULL);
    compare_progress(world, peer, &progress);
    scarce_memory_watch(&world->memory, NULL);
    drop_served(peer);
}

/*
 * Compares a reply that the session wrote outside of its reading, then continues reading.
 * Returns false if memory was short for it.
 */
static bool continue_reading(struct world *world, struct sim_peer *peer,
                             const struct expected *expected)
{
    struct session_progress progress = feed_session(world, peer);
    bool replies;

    peer->session_model.state = SESSION_MODEL_READY;
    peer->session_model.full = false;
    expect_reply(world, peer, expected);
    replies = peer->session_model.state == SESSION_MODEL_READY;
    if (replies)
        serve_pending(world, peer, 0, progress.want);
    compare_progress(world, peer, &progress);
    drop_served(peer);
    return replies;
}

void session_model_effect(struct world *world, struct sim_peer *peer,
                          const struct lock_answer *answer, const struct model_effect *effect)
{
    struct session_context *context = &worker_of(world, peer)->context;
    struct expected expected = {.outcome = effect->outcome, .claim = MODEL_NO_CLAIM};

    if (peer->session_model.state != SESSION_MODEL_BLOCKED)
        world_fail(world, "client %u: a reply without a pending request", peer->number);
    if (effect->outcome == DFLOCKD_OK && effect->deadline_ns <= context->now_ns) {
        expected.outcome = DFLOCKD_ERROR_LEASE_EXPIRED;
        world_count(world, COVERAGE_LATE_GRANT);
    } else if (effect->outcome == DFLOCKD_OK && !model_holds(&world->model, effect)) {
        /* The next holder may have been told. */
        expected.outcome = DFLOCKD_ERROR_LEASE_EXPIRED;
        if (effect->revocations != world->model.revocations)
            world_count(world, COVERAGE_REVOKED_LATE);
    } else if (effect->outcome == DFLOCKD_OK) {
        expected.granted = true;
        expected.lease_s = effect->lease_s;
        expected.fence_low = effect->fence_low;
        expected.fence_high = effect->fence_high;
        expected.claim = effect->claim;
    }
    scarce_memory_watch(&world->memory, &peer->driven.output.length);
    session_effect(&peer->driven.session, context, answer, &peer->driven.output);
    /* Without a reply, the request is still pending. */
    if (!continue_reading(world, peer, &expected))
        peer->session_model.state = SESSION_MODEL_BLOCKED;
    scarce_memory_watch(&world->memory, NULL);
}

void session_model_drain(struct world *world, struct sim_peer *peer)
{
    struct expected expected = {.outcome = DFLOCKD_ERROR_DRAINING, .claim = MODEL_NO_CLAIM};
    struct driver_worker *worker = worker_of(world, peer);
    bool cancelled = false;

    if (peer->session_model.state == SESSION_MODEL_BLOCKED) {
        world_enter(world, worker, peer->session_model.blocked_stripe);
        cancelled = model_cancel(&world->model, peer->number);
    }
    for (uint64_t left = peer->session_model.stripes; left; left &= left - 1) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(left);

        world_enter(world, worker, stripe);
        if (model_leave_queues(&world->model, peer->number, stripe) > 0)
            world_count(world, COVERAGE_DRAINED_QUEUES);
    }
    if (driver_drain(&world->driver, &peer->driven) != cancelled)
        world_fail(world, "client %u: expected its request to be %s", peer->number,
                   cancelled ? "ended" : "left alone");
    if (!cancelled)
        return;
    world_count(world, COVERAGE_DRAINED);
    continue_reading(world, peer, &expected);
}

void session_model_watch(struct world *world, struct sim_peer *peer)
{
    struct session_model *session_model = &peer->session_model;
    bool holds = claims_watch(&peer->driven.session.claims, &worker_of(world, peer)->context);

    /* A notice on its way comes first. */
    if (session_model->watching &&
        model_unwatch(&world->model, peer->number, session_model->watched_stripe))
        session_model->watching = false;
    for (uint64_t left = session_model->stripes; left && !session_model->watching;
         left &= left - 1) {
        session_model->watched_stripe = (uint8_t)__builtin_ctzll(left);
        session_model->watching =
            model_watch(&world->model, peer->number, session_model->watched_stripe);
    }
    if (holds)
        world_count(world, COVERAGE_WATCHED);
    if (holds != session_model->watching)
        world_fail(world, "client %u: expected it to have %s", peer->number,
                   session_model->watching ? "something" : "nothing");
}

void session_model_end_input(struct world *world, struct sim_peer *peer)
{
    session_input_ended(&peer->driven.session, &worker_of(world, peer)->context,
                        &peer->driven.output);
    read_replies(world, peer);
    if (!peer->session_model.authenticated)
        serve_and_end(world, peer, DFLOCKD_ERROR_AUTH);
    peer->session_model.state = SESSION_MODEL_ENDED;
}

void session_model_fail(struct world *world, struct sim_peer *peer)
{
    session_fail(&peer->driven.session, &worker_of(world, peer)->context, &peer->driven.output);
    read_replies(world, peer);
    serve_and_end(world, peer,
                  peer->session_model.authenticated ? DFLOCKD_ERROR : DFLOCKD_ERROR_AUTH);
}

bool session_model_disconnect(struct world *world, struct sim_peer *peer, uint32_t steps)
{
    struct driver_worker *worker = worker_of(world, peer);
    struct session_model *session_model = &peer->session_model;
    bool expected = true;
    bool done;

    for (uint64_t left = session_model->stripes; left; left &= left - 1) {
        if (model_order_unknown(&world->model, peer->number, (uint32_t)__builtin_ctzll(left)))
            steps = EVENT_ALL;
    }
    done = driver_disconnect(&world->driver, &peer->driven, steps);
    end_walk(world, session_model);
    while (session_model->stripes && expected) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(session_model->stripes);
        bool pending = session_model->state == SESSION_MODEL_BLOCKED &&
                       session_model->blocked_stripe == stripe;

        world_enter(world, worker, stripe);
        expected = model_disconnect(&world->model, peer->number, stripe, pending, &steps);
        if (expected)
            session_model->stripes &= session_model->stripes - 1;
    }
    if (done != expected)
        world_fail(world, "client %u: expected the disconnect to be %s", peer->number,
                   expected ? "complete" : "unfinished");
    return done;
}
