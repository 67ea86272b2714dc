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
static uint8_t inputs[PEERS_MAX][INPUT_MAX];
static char replies[PEERS_MAX][REPLIES_MAX];

void world_start(struct setting setting)
{
    struct driver_options options = {
        .stripes =
            {
                .workers = setting.workers ? setting.workers : 1,
                .policy = {.gc_max_idle_ns = 60 * SECOND,
                           .gc_interval_ns = 5 * SECOND,
                           .release_on_disconnect = !setting.keep_on_disconnect},
                .states_max = 100000,
                .claims_max = setting.claims_max,
                .fence_first = 1,
            },
        .workers = 1,
        .effects_max = MAILBOX_ROOM,
        .default_lease_s = DEFAULT_LEASE_S,
        .claims_max = setting.claims_max_each,
        .now_ns = SECOND,
        .auth_token = setting.auth_token,
        .admin_token = setting.admin_token,
        .output_memory = {&world.output_memory.memory},
    };

    memset(&world, 0, sizeof(world));
    memory_counted_init(&world.memory);
    memory_counted_init(&world.output_memory);
    options.stripes.memory = world.memory.memory;
    driver_start(&world.driver, &options);
    atomic_init(&world.connections, 7);
    world.stripes = world.driver.stripes;
    world.context = &world.driver.workers[0].context;
    world.context->connections = &world.connections;
    world.output_pool = &world.driver.workers[0].output_pool;
    world.peers = peers;
}

void world_end(void)
{
    check_stripes(world.stripes);
    for (uint32_t i = 0; i < world.peer_count; i++)
        output_clear(&world.peers[i].output, world.output_pool);
    driver_end(&world.driver);
    memory_counted_assert_returned(&world.memory);
    memory_counted_assert_returned(&world.output_memory);
}

struct peer *connect_peer(void)
{
    uint32_t index = world.peer_count++;
    struct peer *peer = &world.peers[index];

    assert_true(index < PEERS_MAX);
    peer->input = inputs[index];
    peer->input_max = INPUT_MAX;
    peer->replies = replies[index];
    peer->replies_max = REPLIES_MAX;
    driver_connect(&world.driver, peer, index);
    return peer;
}

void flush(struct peer *peer)
{
    driver_take_output(&world.driver, peer, SIZE_MAX);
}

struct session_progress read_once(struct peer *peer)
{
    return driver_read(&world.driver, peer);
}

void read_on(struct peer *peer)
{
    do {
        read_once(peer);
        flush(peer);
    } while (peer->want != SESSION_WANT_WALK && driver_can_continue(peer));
}

void receive(struct peer *peer, const void *bytes, size_t length)
{
    driver_add_input(peer, bytes, length);
    read_on(peer);
}

void send_text(struct peer *peer, const char *text)
{
    receive(peer, text, strlen(text));
}

void deliver(void)
{
    struct stripes_effect effect;

    while (driver_take_effect(&world.driver, 0, &effect)) {
        uint32_t index = driver_index_of(&world.driver, &effect);
        struct peer *peer = &world.peers[index];

        assert_true(index < world.peer_count);
        assert_true(driver_is_for(&effect, peer));
        if (effect.answer.outcome == LOCK_IDLE) {
            claims_notice(&peer->session.claims);
            continue;
        }
        session_effect(&peer->session, world.context, &effect.answer, &peer->output);
        read_on(peer);
    }
}

void pass_until(uint64_t seconds)
{
    world.context->now_ns = seconds * SECOND;
    for (uint32_t worker = 0; worker < 4; worker++)
        stripes_expire(world.stripes, world.context->now_ns, worker, &(uint32_t){STEPS},
                       &world.context->wake);
    check_stripes(world.stripes);
}

void disconnect(struct peer *peer)
{
    while (!driver_disconnect(&world.driver, peer, 1))
        check_stripes(world.stripes);
    check_stripes(world.stripes);
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
    check_stripes(world.stripes);
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
