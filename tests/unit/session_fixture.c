#include "session_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

struct world world;
static struct peer peers[PEERS_MAX];

void world_start(struct setting setting)
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

void check_stripes(void)
{
    const char *problem = NULL;

    if (!stripes_check(world.stripes, &problem))
        fail_msg("the stripes are not valid: %s", problem);
}

void world_end(void)
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

struct peer *connect_peer(void)
{
    struct peer *peer = &world.peers[world.peer_count];

    assert_true(world.peer_count < PEERS_MAX);
    memset(&peer->output, 0, sizeof(peer->output));
    peer->want = SESSION_WANT_INPUT;
    peer->start = peer->end = 0;
    peer->reply_length = 0;
    session_start(&peer->session, &world.context,
                  connection_id_make(world.peer_count + 1, 0, world.peer_count));
    world.peer_count++;
    return peer;
}

void flush(struct peer *peer)
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

struct session_progress read_once(struct peer *peer)
{
    struct session_progress progress =
        session_read(&peer->session, &world.context, peer->input + peer->start,
                     peer->end - peer->start, &peer->output);

    assert_true(progress.consumed <= peer->end - peer->start);
    peer->start += progress.consumed;
    peer->want = progress.want;
    return progress;
}

void read_on(struct peer *peer)
{
    do {
        read_once(peer);
        flush(peer);
    } while (peer->want == SESSION_WANT_TURN || peer->want == SESSION_WANT_ROOM);
}

void receive(struct peer *peer, const void *bytes, size_t length)
{
    assert_true(peer->end + length <= INPUT_MAX);
    memcpy(peer->input + peer->end, bytes, length);
    peer->end += length;
    read_on(peer);
}

void send_text(struct peer *peer, const char *text)
{
    receive(peer, text, strlen(text));
}

void deliver(void)
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

void pass_until(uint64_t seconds)
{
    world.context.now_ns = seconds * SECOND;
    for (uint32_t worker = 0; worker < 4; worker++)
        stripes_expire(world.stripes, world.context.now_ns, worker, STEPS, &world.context.wake);
    check_stripes();
}

void disconnect(struct peer *peer)
{
    while (!session_disconnect(&peer->session, &world.context, 1))
        check_stripes();
    check_stripes();
}

void hide_tokens(char *text)
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

void expect_replies(struct peer *peer, const char *expected)
{
    flush(peer);
    check_stripes();
    hide_tokens(peer->replies);
    assert_string_equal(peer->replies, expected);
    peer->reply_length = 0;
    peer->replies[0] = '\0';
}

const char *reply_token(struct peer *peer)
{
    static char token[DFLOCKD_TOKEN_LENGTH + 1];
    const char *blank = strchr(peer->replies, ' ');

    assert_non_null(blank);
    memcpy(token, blank + 1, DFLOCKD_TOKEN_LENGTH);
    peer->reply_length = 0;
    peer->replies[0] = '\0';
    return token;
}

void send_with_token(struct peer *peer, const char *command, const char *key, const char *token,
                     const char *behind)
{
    char text[600];

    snprintf(text, sizeof(text), "%s\n%s\n%s%s\n", command, key, token, behind);
    send_text(peer, text);
}
