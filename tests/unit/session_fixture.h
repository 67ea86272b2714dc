/*
 * Sessions over real stripes: bytes in, replies out. The test is the worker: it hands over what
 * was received, empties the mailbox, lets time pass and takes the output. Include it behind
 * cmocka.h.
 */
#ifndef TESTS_UNIT_SESSION_FIXTURE_H
#define TESTS_UNIT_SESSION_FIXTURE_H

#include <stdio.h>

#include "lock_requests.h"
#include "memory_counted.h"
#include "os/mailbox.h"
#include "server/connection_id.h"
#include "server/session.h"

#define SECOND UINT64_C(1000000000)

enum {
    IP_LIMITS_MAX = 8,
    INPUT_MAX = 1024 * 1024,
    REPLIES_MAX = 4 * 1024 * 1024,
    MAILBOX_ROOM = 64,
    DEFAULT_LEASE_S = 33,
    STEPS = 1000
};

struct peer {
    struct session session;
    struct output output;
    enum session_want want;
    size_t start; /* of what the session did not consume yet */
    size_t end;
    uint8_t input[INPUT_MAX];
    size_t reply_length;
    char replies[REPLIES_MAX]; /* what was sent, in text */
};

struct setting {
    uint32_t workers; /* the stripes of one, or many stripes; all peers are of worker 0 */
    const char *auth_token;
    bool keep_on_disconnect;
};

struct world {
    struct memory_counted memory;
    struct memory_counted output_memory;
    struct stripes *stripes;
    struct pool output_pool;
    _Atomic uint64_t connections;
    struct session_context context;
    struct secret secret;
    uint32_t peer_count;
    struct peer *peers;
};

static struct peer peers[IP_LIMITS_MAX];
static struct world world;

static inline void world_start(struct setting setting)
{
    struct stripes_options options = {
        .workers = setting.workers ? setting.workers : 1,
        .policy = {.gc_max_idle_ns = 60 * SECOND,
                   .gc_interval_ns = 5 * SECOND,
                   .release_on_disconnect = !setting.keep_on_disconnect},
        .states_max = 100000,
        .fence_first = 1,
    };

    memset(&world, 0, sizeof(world));
    memory_counted_init(&world.memory);
    memory_counted_init(&world.output_memory);
    options.memory = world.memory.memory;
    world.stripes = stripes_create(&options);
    assert_non_null(world.stripes);
    assert_true(mailbox_reserve(stripes_mailbox(world.stripes, 0), MAILBOX_ROOM));
    output_pool_init(&world.output_pool, &world.output_memory.memory);
    atomic_init(&world.connections, 7);
    if (setting.auth_token)
        secret_init(&world.secret, strdup(setting.auth_token));
    world.context = (struct session_context){
        .stripes = world.stripes,
        .output_pool = &world.output_pool,
        .default_lease_s = DEFAULT_LEASE_S,
        .secret = setting.auth_token ? &world.secret : NULL,
        .connections = &world.connections,
        .now_ns = SECOND,
    };
    world.peers = peers;
}

static inline void check_stripes(void)
{
    const char *problem = NULL;

    if (!stripes_check(world.stripes, &problem))
        fail_msg("the stripes are not valid: %s", problem);
}

static inline void world_end(void)
{
    check_stripes();
    for (uint32_t i = 0; i < world.peer_count; i++)
        output_clear(&world.peers[i].output, &world.output_pool);
    stripes_destroy(world.stripes);
    if (world.context.secret)
        secret_free(&world.secret);
    pool_free(&world.output_pool);
    memory_counted_assert_returned(&world.memory);
    memory_counted_assert_returned(&world.output_memory);
}

/* A peer connects; they are numbered from 1, as their sessions are. */
static inline struct peer *connect_peer(void)
{
    struct peer *peer = &world.peers[world.peer_count];

    assert_true(world.peer_count < IP_LIMITS_MAX);
    memset(&peer->output, 0, sizeof(peer->output));
    peer->want = SESSION_WANT_INPUT;
    peer->start = peer->end = 0;
    peer->reply_length = 0;
    session_start(&peer->session, &world.context,
                  connection_id_make(world.peer_count + 1, 0, world.peer_count));
    world.peer_count++;
    return peer;
}

/* Takes all output into the replies. */
static inline void flush(struct peer *peer)
{
    uint32_t length;
    const uint8_t *bytes;

    while ((bytes = output_peek(&peer->output, &length))) {
        assert_true(peer->reply_length + length < REPLIES_MAX);
        memcpy(peer->replies + peer->reply_length, bytes, length);
        peer->reply_length += length;
        output_consume(&peer->output, &world.output_pool, length);
    }
    peer->replies[peer->reply_length] = '\0';
}

/* One call of the session with what is there. */
static inline struct session_progress read_once(struct peer *peer)
{
    struct session_progress progress =
        session_read(&peer->session, &world.context, peer->input + peer->start,
                     peer->end - peer->start, &peer->output);

    assert_true(progress.consumed <= peer->end - peer->start);
    peer->start += progress.consumed;
    peer->want = progress.want;
    return progress;
}

static inline void read_on(struct peer *peer)
{
    do {
        read_once(peer);
        flush(peer);
    } while (peer->want == SESSION_WANT_TURN || peer->want == SESSION_WANT_ROOM);
}

static inline void receive(struct peer *peer, const void *bytes, size_t length)
{
    assert_true(peer->end + length <= INPUT_MAX);
    memcpy(peer->input + peer->end, bytes, length);
    peer->end += length;
    read_on(peer);
}

static inline void say_text(struct peer *peer, const char *text)
{
    receive(peer, text, strlen(text));
}

/* What is in the mailbox reaches its sessions, which go on. */
static inline void deliver(void)
{
    struct stripes_effect effect;

    while (mailbox_take(stripes_mailbox(world.stripes, 0), &effect, 1)) {
        struct peer *peer = &world.peers[connection_id_slot(effect.connection_id)];

        assert_true(connection_id_slot(effect.connection_id) < world.peer_count);
        assert_int_equal(peer->session.connection_id, effect.connection_id);
        if (effect.answer.outcome == LOCK_IDLE)
            continue;
        session_effect(&peer->session, &world.context, &effect.answer, &peer->output);
        read_on(peer);
    }
}

/* Now it is `seconds`; all that is due happens, and effects stay in the mailbox. */
static inline void pass_until(uint64_t seconds)
{
    world.context.now_ns = seconds * SECOND;
    for (uint32_t worker = 0; worker < 4; worker++)
        stripes_expire(world.stripes, world.context.now_ns, worker, STEPS, &world.context.wake);
    check_stripes();
}

static inline void disconnect(struct peer *peer)
{
    while (!session_disconnect(&peer->session, &world.context, 1))
        check_stripes();
    check_stripes();
}

/* Replaces the 32 digits of tokens by a T, so that replies can be compared. */
static inline void hide_tokens(char *text)
{
    static const char digits[] = "0123456789abcdef";
    char *to = text;

    while (*text) {
        size_t run = strspn(text, digits);

        if (run == DFLOCKD_TOKEN_LENGTH) {
            *to++ = 'T';
            text += run;
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

/* Since the last time the peer was sent just `expected`, where tokens read T. */
static inline void expect_replies(struct peer *peer, const char *expected)
{
    flush(peer);
    check_stripes();
    hide_tokens(peer->replies);
    assert_string_equal(peer->replies, expected);
    peer->reply_length = 0;
    peer->replies[0] = '\0';
}

/* The token of the only reply since the last time. */
static inline const char *token_said(struct peer *peer)
{
    static char token[DFLOCKD_TOKEN_LENGTH + 1];
    const char *blank = strchr(peer->replies, ' ');

    assert_non_null(blank);
    memcpy(token, blank + 1, DFLOCKD_TOKEN_LENGTH);
    peer->reply_length = 0;
    peer->replies[0] = '\0';
    return token;
}

static inline void ask_with_token(struct peer *peer, const char *command, const char *key,
                                  const char *token, const char *behind)
{
    char text[600];

    snprintf(text, sizeof(text), "%s\n%s\n%s%s\n", command, key, token, behind);
    say_text(peer, text);
}

#endif
