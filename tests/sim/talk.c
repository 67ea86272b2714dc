/*
 * The session runs first, over all that came; then the model goes through the same requests, one
 * after the other, and takes a line for each.
 */
#include "talk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "replies.h"
#include "stats_reply.h"

void talk_start(struct talk *talk, bool auth)
{
    free(talk->stats.bytes);
    memset(talk, 0, sizeof(*talk));
    talk->state = auth ? TALK_AUTH : TALK_READY;
    talk->authenticated = !auth;
}

void talk_ask(struct peer *peer, const struct asked *asked)
{
    struct talk *talk = &peer->talk;

    talk->asked[(talk->first + talk->count++) % ASKED_MAX] = *asked;
}

/* ---- what is said ---- */

static void say_more(struct world *world, const uint8_t *bytes, size_t length)
{
    if (world->said_length + length > SAID_MAX)
        world_fail(world, "a session says too much at once");
    memcpy(world->said + world->said_length, bytes, length);
    world->said_length += (uint32_t)length;
}

void talk_hear(struct world *world, struct peer *peer)
{
    struct pool *pool = &worker_of(world, peer)->output_pool;
    uint32_t length;

    while (output_peek(&peer->output, &length))
        output_consume(&peer->output, pool, length);
    if (peer->output.failed)
        output_clear(&peer->output, pool);
    peer->heard = 0;
}

/* Takes what the session has written since. */
static void collect(struct world *world, struct peer *peer)
{
    size_t skipped = 0;

    world->said_before = peer->heard;
    world->said_length = 0;
    world->said_at = 0;
    for (const struct output_chunk *chunk = peer->output.first; chunk; chunk = chunk->next) {
        size_t length = chunk->end - chunk->start;
        size_t skip = peer->heard - skipped < length ? peer->heard - skipped : length;

        say_more(world, chunk->bytes + chunk->start + skip, length - skip);
        skipped += skip;
    }
    peer->heard = peer->output.length;
    if (!peer->slow || peer->output.failed)
        talk_hear(world, peer);
}

/* Whether the output was too long, after what was compared, for the session to go on. */
static bool is_full(const struct world *world)
{
    return world->said_before + world->said_at >= SESSION_OUTPUT_MAX;
}

/* A grant that could not be told is released at once. */
static void give_back(struct world *world, const struct peer *peer, int claim)
{
    world_enter(world, worker_of(world, peer),
                world->model.keys[world->model.claims[claim].key].stripe);
    model_leave(&world->model, claim);
}

/* The next line must be this, or memory was short for it, which ends the session. */
static void expect_reply(struct world *world, struct peer *peer, const struct expected *expected)
{
    if (reply_expect(world, peer, expected))
        return;
    peer->talk.state = TALK_OVER;
    if (expected->granted && expected->untold_ends)
        give_back(world, peer, expected->claim);
}

static void expect_outcome(struct world *world, struct peer *peer, int outcome)
{
    struct expected expected = {.outcome = outcome, .claim = MODEL_NOBODY};

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

static void end_walk(struct world *world, struct talk *talk)
{
    world->walks -= talk->walking;
    talk->walking = false;
}

/* More of the reply has come; true when it is complete. */
static bool stats_go_on(struct world *world, struct peer *peer, uint32_t stripe)
{
    struct stats_text *text = &peer->talk.stats;
    uint32_t length = reply_next(world);
    uint32_t most = 8 * world->stripe_count + KEYS_MAX;
    /* Where requests behind it were served, memory was short for one of those. */
    bool failed = peer->output.failed && peer->consumed <= peer->talk.served_end;

    world_enter(world, worker_of(world, peer), stripe);
    if (length == 0 || failed)
        length = world->said_length - world->said_at;
    stats_append(text, world->said + world->said_at, length);
    world->said_at += length;
    /* Anything may be missing, and nobody will see it. */
    if (failed) {
        peer->talk.state = TALK_OVER;
        return false;
    }
    if (++text->turns > most)
        world_fail(world, "client %u: stats have no end", peer->number);
    if (text->length == 0 || text->bytes[text->length - 1] != '\n')
        return false;
    text->length--;
    end_walk(world, &peer->talk);
    stats_reply_check(world, text);
    peer->talk.state = TALK_READY;
    return true;
}

static bool stats_begin(struct world *world, struct peer *peer)
{
    struct stats_text *text = &peer->talk.stats;
    char start[64];
    uint32_t length = (uint32_t)snprintf(
        start, sizeof(start), "ok {\"connections\":%" PRIu64 ",\"locks\":[", world->connections);

    world->walks++;
    peer->talk.walking = true;
    if (world->said_at == world->said_length && peer->output.failed) {
        peer->talk.state = TALK_OVER;
        return false;
    }
    if (world->said_length - world->said_at < length ||
        memcmp(world->said + world->said_at, start, length) != 0)
        world_fail(world, "client %u: expected stats to begin with %s", peer->number, start);
    peer->talk.state = TALK_STATS;
    text->length = 0;
    text->turns = 0;
    text->step = world->model.step;
    text->connections = world->connections;
    memcpy(text->from_ns, world->model.stripe_ns, sizeof(text->from_ns));
    stats_append(text, start, length);
    world->said_at += length;
    peer->talk.full = is_full(world);
    return !peer->talk.full && stats_go_on(world, peer, 0);
}

/* ---- requests ---- */

/* Whether the request was told that memory was short, which must have been so. */
static bool short_of_memory(struct world *world)
{
    static const char error[] = "error\n";
    uint32_t length = reply_next(world);

    if (!scarce_memory_failed_at(&world->memory, world->said_before + world->said_at))
        return false;
    /* There are allocations that do no harm when they fail. */
    if (length != sizeof(error) - 1 || memcmp(world->said + world->said_at, error, length) != 0)
        return false;
    world_count(world, COVERAGE_MEMORY_ERROR);
    return true;
}

static struct model_answer ask_model(struct world *world, struct peer *peer,
                                     const struct asked *asked)
{
    struct model *model = &world->model;
    uint32_t slot = peer->number;
    uint64_t lease_s = asked->lease_s ? asked->lease_s : world->policy.default_lease_s;

    switch (asked->op) {
    case DFLOCKD_ACQUIRE:
    case DFLOCKD_SEMAPHORE_ACQUIRE:
        if (short_of_memory(world))
            break;
        return model_acquire(model, slot, asked->key, asked->limit, asked->wait_s, lease_s);
    case DFLOCKD_ENQUEUE:
    case DFLOCKD_SEMAPHORE_ENQUEUE:
        if (short_of_memory(world))
            break;
        return model_enqueue(model, slot, asked->key, asked->limit, lease_s);
    case DFLOCKD_WAIT:
    case DFLOCKD_SEMAPHORE_WAIT:
        return model_wait(model, slot, asked->key, asked->wait_s);
    case DFLOCKD_RELEASE:
    case DFLOCKD_SEMAPHORE_RELEASE:
        return model_release(model, asked->key, asked->fence, asked->salt);
    case DFLOCKD_OWN:
        if (short_of_memory(world))
            break;
        return model_own(model, slot, asked->key, asked->fence, asked->salt);
    default:
        return model_renew(model, asked->key, asked->fence, asked->salt, lease_s);
    }
    return (struct model_answer){.outcome = DFLOCKD_ERROR, .claim = MODEL_NOBODY};
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
           op == DFLOCKD_SEMAPHORE_ENQUEUE;
}

static bool is_renewal(const struct asked *asked)
{
    return asked->op == DFLOCKD_RENEW || asked->op == DFLOCKD_SEMAPHORE_RENEW;
}

static void serve_key(struct world *world, struct peer *peer, const struct asked *asked)
{
    struct talk *talk = &peer->talk;
    uint8_t stripe = world->model.keys[asked->key].stripe;
    struct expected expected = {.claim = MODEL_NOBODY};
    struct model_answer answer;

    if (is_claim(asked->op) || asked->op == DFLOCKD_OWN)
        talk->stripes |= 1ull << stripe;
    world_enter(world, worker_of(world, peer), stripe);
    answer = ask_model(world, peer, asked);
    if (answer.outcome == MODEL_PENDING) {
        talk->state = TALK_BLOCKED;
        talk->blocked_stripe = stripe;
        talk->blocked_in_wait = is_wait(asked->op);
        return;
    }
    expected.outcome = answer.outcome;
    if ((answer.outcome == DFLOCKD_OK && answer.claim != MODEL_NOBODY) ||
        answer.outcome == DFLOCKD_ACQUIRED) {
        set_grant(world, &expected, answer.claim);
        expected.untold_ends = true;
    } else if (answer.outcome == DFLOCKD_OK && is_renewal(asked)) {
        if (worker_of(world, peer)->host.draining)
            world_count(world, COVERAGE_DRAINING_RENEWAL);
        expected.renewed = true;
        expected.lease_s = answer.lease_s;
    }
    expect_reply(world, peer, &expected);
}

/* Whether it is among the requests that a draining server serves. */
static bool is_for_holders(const struct asked *asked)
{
    return asked->flaw == FLAW_NONE &&
           (is_renewal(asked) || asked->op == DFLOCKD_RELEASE ||
            asked->op == DFLOCKD_SEMAPHORE_RELEASE || asked->op == DFLOCKD_OWN);
}

static void serve_over(struct world *world, struct peer *peer, int outcome)
{
    peer->talk.state = TALK_OVER;
    expect_outcome(world, peer, outcome);
}

static void serve(struct world *world, struct peer *peer, const struct asked *asked)
{
    struct talk *talk = &peer->talk;
    const struct session_context *host = &worker_of(world, peer)->host;

    if (asked_too_long(asked)) {
        serve_over(world, peer, talk->authenticated ? DFLOCKD_ERROR : DFLOCKD_ERROR_AUTH);
    } else if (host->draining && !(talk->state == TALK_READY && is_for_holders(asked))) {
        serve_over(world, peer, DFLOCKD_ERROR_DRAINING);
    } else if (talk->state == TALK_AUTH) {
        if (asked->op != DFLOCKD_AUTH || asked->flaw != FLAW_NONE) {
            serve_over(world, peer, DFLOCKD_ERROR_AUTH);
            return;
        }
        talk->state = TALK_READY;
        talk->authenticated = true;
        expect_outcome(world, peer, DFLOCKD_OK);
    } else if (asked->flaw != FLAW_NONE || asked->op == DFLOCKD_AUTH) {
        expect_outcome(world, peer, DFLOCKD_ERROR);
    } else if (asked->op == DFLOCKD_PING) {
        expect_outcome(world, peer, DFLOCKD_OK);
    } else if (asked->op == DFLOCKD_STATS) {
        talk->state = TALK_STATS_WAITING;
    } else {
        serve_key(world, peer, asked);
    }
}

/* All that the session must have done with what came. */
static void follow(struct world *world, struct peer *peer, uint32_t walk_stripe)
{
    struct talk *talk = &peer->talk;

    talk->full = false;
    while (talk->state != TALK_BLOCKED && talk->state != TALK_OVER) {
        struct asked asked = talk->asked[talk->first];

        talk->full = is_full(world);
        if (talk->full)
            return;
        if (talk->state == TALK_STATS_WAITING && worker_of(world, peer)->host.draining) {
            serve_over(world, peer, DFLOCKD_ERROR_DRAINING);
            continue;
        }
        if (talk->state == TALK_STATS_WAITING) {
            if (world->walks == TABLE_WALKS_MAX || !stats_begin(world, peer))
                return;
            continue;
        }
        if (talk->state == TALK_STATS) {
            if (!stats_go_on(world, peer, walk_stripe))
                return;
            continue;
        }
        if (talk->count == 0 || asked.end > peer->delivered)
            return;
        talk->first = (talk->first + 1) % ASKED_MAX;
        talk->count--;
        talk->served_end = asked.end;
        serve(world, peer, &asked);
    }
}

static enum session_want expected_want(const struct talk *talk)
{
    if (talk->full)
        return SESSION_WANT_ROOM;
    switch (talk->state) {
    case TALK_BLOCKED:
        return SESSION_WANT_EFFECT;
    case TALK_STATS_WAITING:
        return SESSION_WANT_WALK;
    case TALK_STATS:
        return SESSION_WANT_TURN;
    case TALK_OVER:
        return SESSION_WANT_CLOSE;
    default:
        return SESSION_WANT_INPUT;
    }
}

/* Whether the session may be amid a line that is too long, of which it drops the bytes. */
static bool may_skip(const struct talk *talk)
{
    return talk->count > 0 && asked_too_long(&talk->asked[talk->first]);
}

static void compare_progress(struct world *world, struct peer *peer,
                             const struct session_progress *progress)
{
    const struct talk *talk = &peer->talk;
    uint32_t lines = 0;

    if (world->said_at < world->said_length)
        world_fail(world, "client %u: expected nothing more; came \"%.*s\"", peer->number,
                   (int)(world->said_length - world->said_at), world->said + world->said_at);
    /* Amid stats a session sees only in its next turn that output was short. */
    if (peer->output.failed && progress->want == SESSION_WANT_TURN)
        peer->want = SESSION_WANT_CLOSE;
    else if (progress->want != expected_want(talk))
        world_fail(world, "client %u: expected the session to want %d; it wants %d", peer->number,
                   (int)expected_want(talk), (int)progress->want);
    if (may_skip(talk))
        return;
    if (talk->served_end && peer->consumed != talk->served_end)
        world_fail(world, "client %u: expected %u bytes to be read; %u were", peer->number,
                   talk->served_end, peer->consumed);
    for (uint32_t i = peer->consumed; i < peer->delivered; i++)
        lines += peer->wire[i] == '\n';
    if (progress->want == SESSION_WANT_WALK)
        world_count(world, COVERAGE_WALK_WAITS);
    if (progress->want == SESSION_WANT_INPUT && lines != progress->lines)
        world_fail(world, "client %u: expected %u complete lines; came %u", peer->number, lines,
                   progress->lines);
}

/*
 * The session reads; what it says is for the caller to compare. It gets a block that ends where the
 * bytes end, so that a sanitizer sees when it reads on.
 */
static struct session_progress give(struct world *world, struct peer *peer)
{
    uint32_t length = peer->delivered - peer->consumed;
    uint8_t *bytes = malloc(length ? length : 1);
    struct session_progress progress;

    if (!bytes)
        abort();
    memcpy(bytes, peer->wire + peer->consumed, length);
    progress =
        session_read(&peer->session, &worker_of(world, peer)->host, bytes, length, &peer->output);
    free(bytes);
    peer->consumed += (uint32_t)progress.consumed;
    peer->want = (uint8_t)progress.want;
    collect(world, peer);
    return progress;
}

/* What must be forgotten when all that was said was served. */
static void forget_served(struct peer *peer)
{
    struct talk *talk = &peer->talk;

    if (peer->consumed < peer->length || talk->count > 0)
        return;
    peer->length = 0;
    peer->delivered = 0;
    peer->consumed = 0;
    talk->served_end = 0;
}

void talk_read(struct world *world, struct peer *peer)
{
    uint32_t walk_stripe = peer->session.stats.stripe;
    struct session_progress progress;

    scarce_memory_watch(&world->memory, &peer->output.length);
    progress = give(world, peer);
    follow(world, peer, walk_stripe);
    if (peer->talk.full)
        world_count(world, COVERAGE_FULL);
    compare_progress(world, peer, &progress);
    scarce_memory_watch(&world->memory, NULL);
    forget_served(peer);
}

/*
 * The session has said something outside of its reading, which must be this; then it reads on.
 * False when memory was short for it.
 */
static bool read_behind(struct world *world, struct peer *peer, const struct expected *expected)
{
    struct session_progress progress = give(world, peer);
    bool said;

    peer->talk.state = TALK_READY;
    peer->talk.full = false;
    expect_reply(world, peer, expected);
    said = peer->talk.state == TALK_READY;
    if (said)
        follow(world, peer, 0);
    compare_progress(world, peer, &progress);
    forget_served(peer);
    return said;
}

void talk_effect(struct world *world, struct peer *peer, const struct lock_answer *answer,
                 const struct model_news *news)
{
    struct session_context *host = &worker_of(world, peer)->host;
    struct expected expected = {.outcome = news->outcome, .claim = MODEL_NOBODY};

    if (peer->talk.state != TALK_BLOCKED)
        world_fail(world, "client %u: an answer, and it waits for none", peer->number);
    if (news->outcome == DFLOCKD_OK && news->deadline_ns <= host->now_ns) {
        expected.outcome = DFLOCKD_ERROR_LEASE_EXPIRED;
        world_count(world, COVERAGE_LATE_GRANT);
    } else if (news->outcome == DFLOCKD_OK) {
        expected.granted = true;
        expected.lease_s = news->lease_s;
        expected.fence_low = news->fence_low;
        expected.fence_high = news->fence_high;
        if (world->model.claims[news->claim].turn == news->turn)
            expected.claim = news->claim;
    }
    scarce_memory_watch(&world->memory, &peer->output.length);
    session_effect(&peer->session, host, answer, &peer->output);
    /* What can't be told is still pending. */
    if (!read_behind(world, peer, &expected))
        peer->talk.state = TALK_BLOCKED;
    scarce_memory_watch(&world->memory, NULL);
}

void talk_drain(struct world *world, struct peer *peer)
{
    struct expected expected = {.outcome = DFLOCKD_ERROR_DRAINING, .claim = MODEL_NOBODY};
    struct sim_worker *worker = worker_of(world, peer);
    bool cancelled = false;

    if (peer->talk.state == TALK_BLOCKED) {
        world_enter(world, worker, peer->talk.blocked_stripe);
        cancelled = model_cancel(&world->model, peer->number);
    }
    for (uint64_t left = peer->talk.stripes; left; left &= left - 1) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(left);

        world_enter(world, worker, stripe);
        if (model_leave_queues(&world->model, peer->number, stripe) > 0)
            world_count(world, COVERAGE_DRAINED_QUEUES);
    }
    if (session_drain(&peer->session, &worker->host, &peer->output) != cancelled)
        world_fail(world, "client %u: expected its request to be %s", peer->number,
                   cancelled ? "ended" : "left alone");
    if (!cancelled)
        return;
    world_count(world, COVERAGE_DRAINED);
    read_behind(world, peer, &expected);
}

void talk_watch(struct world *world, struct peer *peer)
{
    struct talk *talk = &peer->talk;
    bool holds = session_watch(&peer->session, &worker_of(world, peer)->host);

    if (talk->watching)
        model_unwatch(&world->model, peer->number, talk->watched_stripe);
    talk->watching = false;
    for (uint64_t left = talk->stripes; left && !talk->watching; left &= left - 1) {
        talk->watched_stripe = (uint8_t)__builtin_ctzll(left);
        talk->watching = model_watch(&world->model, peer->number, talk->watched_stripe);
    }
    if (holds)
        world_count(world, COVERAGE_WATCHED);
    if (holds != talk->watching)
        world_fail(world, "client %u: expected it to have %s", peer->number,
                   talk->watching ? "something" : "nothing");
}

void talk_end(struct world *world, struct peer *peer)
{
    session_input_ended(&peer->session, &worker_of(world, peer)->host, &peer->output);
    collect(world, peer);
    if (!peer->talk.authenticated)
        serve_over(world, peer, DFLOCKD_ERROR_AUTH);
    peer->talk.state = TALK_OVER;
}

void talk_fail(struct world *world, struct peer *peer)
{
    session_fail(&peer->session, &worker_of(world, peer)->host, &peer->output);
    collect(world, peer);
    serve_over(world, peer, peer->talk.authenticated ? DFLOCKD_ERROR : DFLOCKD_ERROR_AUTH);
}

bool talk_disconnect(struct world *world, struct peer *peer, uint32_t steps)
{
    struct sim_worker *worker = worker_of(world, peer);
    struct talk *talk = &peer->talk;
    bool expected = true;
    bool done;

    for (uint64_t left = talk->stripes; left; left &= left - 1) {
        if (model_order_unknown(&world->model, peer->number, (uint32_t)__builtin_ctzll(left)))
            steps = EVENT_ALL;
    }
    done = session_disconnect(&peer->session, &worker->host, steps);
    end_walk(world, talk);
    while (talk->stripes && expected) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(talk->stripes);
        bool pending = talk->state == TALK_BLOCKED && talk->blocked_stripe == stripe;

        world_enter(world, worker, stripe);
        expected = model_disconnect(&world->model, peer->number, stripe, pending, steps);
        if (expected)
            talk->stripes &= talk->stripes - 1;
    }
    if (done != expected)
        world_fail(world, "client %u: expected the disconnect to be %s", peer->number,
                   expected ? "complete" : "unfinished");
    return done;
}
