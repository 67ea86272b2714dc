/*
 * Sessions over real stripes: bytes in, replies out. The test is the worker: it hands over what
 * was received, empties the mailbox, lets time pass and takes the output.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "memory_counted.h"
#include "os/mailbox.h"
#include "server/client_id.h"
#include "server/session.h"

#define SECOND UINT64_C(1000000000)

enum {
    PEERS_MAX = 8,
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
    struct session_host host;
    uint32_t peer_count;
    struct peer *peers;
};

static struct peer peers[PEERS_MAX];
static struct world world;

static void world_start(struct setting setting)
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
    world.host = (struct session_host){
        .stripes = world.stripes,
        .output_pool = &world.output_pool,
        .default_lease_s = DEFAULT_LEASE_S,
        .auth_token = setting.auth_token,
        .auth_token_length = setting.auth_token ? strlen(setting.auth_token) : 0,
        .connections = &world.connections,
        .now_ns = SECOND,
    };
    world.peers = peers;
}

static void check_stripes(void)
{
    const char *problem = NULL;

    if (!stripes_check(world.stripes, &problem))
        fail_msg("the stripes are not valid: %s", problem);
}

static void world_end(void)
{
    check_stripes();
    for (uint32_t i = 0; i < world.peer_count; i++)
        output_clear(&world.peers[i].output, &world.output_pool);
    stripes_destroy(world.stripes);
    pool_free(&world.output_pool);
    memory_counted_assert_returned(&world.memory);
    memory_counted_assert_returned(&world.output_memory);
}

/* A peer connects; they are numbered from 1, as their sessions are. */
static struct peer *connect_peer(void)
{
    struct peer *peer = &world.peers[world.peer_count];

    assert_true(world.peer_count < PEERS_MAX);
    memset(&peer->output, 0, sizeof(peer->output));
    peer->want = SESSION_WANT_INPUT;
    peer->start = peer->end = 0;
    peer->reply_length = 0;
    session_start(&peer->session, &world.host,
                  client_id(world.peer_count + 1, 0, world.peer_count));
    world.peer_count++;
    return peer;
}

/* Takes all output into the replies. */
static void flush(struct peer *peer)
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
static struct session_progress read_once(struct peer *peer)
{
    struct session_progress progress =
        session_read(&peer->session, &world.host, peer->input + peer->start,
                     peer->end - peer->start, &peer->output);

    assert_true(progress.consumed <= peer->end - peer->start);
    peer->start += progress.consumed;
    peer->want = progress.want;
    return progress;
}

static void read_on(struct peer *peer)
{
    do {
        read_once(peer);
        flush(peer);
    } while (peer->want == SESSION_WANT_TURN || peer->want == SESSION_WANT_ROOM);
}

static void receive(struct peer *peer, const void *bytes, size_t length)
{
    assert_true(peer->end + length <= INPUT_MAX);
    memcpy(peer->input + peer->end, bytes, length);
    peer->end += length;
    read_on(peer);
}

static void say_text(struct peer *peer, const char *text)
{
    receive(peer, text, strlen(text));
}

/* What is in the mailbox reaches its sessions, which go on. */
static void deliver(void)
{
    struct stripes_effect effect;

    while (mailbox_take(stripes_mailbox(world.stripes, 0), &effect, 1)) {
        struct peer *peer = &world.peers[client_slot(effect.client)];

        assert_true(client_slot(effect.client) < world.peer_count);
        assert_int_equal(peer->session.client, effect.client);
        session_effect(&peer->session, &world.host, &effect.answer, &peer->output);
        read_on(peer);
    }
}

/* Now it is `seconds`; all that is due happens, and effects stay in the mailbox. */
static void pass_until(uint64_t seconds)
{
    world.host.now_ns = seconds * SECOND;
    for (uint32_t worker = 0; worker < 4; worker++)
        stripes_expire(world.stripes, world.host.now_ns, worker, STEPS, &world.host.wake);
    check_stripes();
}

static void disconnect(struct peer *peer)
{
    while (!session_disconnect(&peer->session, &world.host, 1))
        check_stripes();
    check_stripes();
}

/* Replaces the 32 digits of tokens by a T, so that replies can be compared. */
static void hide_tokens(char *text)
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
static void expect_replies(struct peer *peer, const char *expected)
{
    flush(peer);
    check_stripes();
    hide_tokens(peer->replies);
    assert_string_equal(peer->replies, expected);
    peer->reply_length = 0;
    peer->replies[0] = '\0';
}

/* The token of the only reply since the last time. */
static const char *token_said(struct peer *peer)
{
    static char token[DFLOCKD_TOKEN_LENGTH + 1];
    const char *blank = strchr(peer->replies, ' ');

    assert_non_null(blank);
    memcpy(token, blank + 1, DFLOCKD_TOKEN_LENGTH);
    peer->reply_length = 0;
    peer->replies[0] = '\0';
    return token;
}

static void ask_with_token(struct peer *peer, const char *command, const char *key,
                           const char *token, const char *behind)
{
    char text[600];

    snprintf(text, sizeof(text), "%s\n%s\n%s%s\n", command, key, token, behind);
    say_text(peer, text);
}

/* ---- requests ---- */

static void each_request_has_its_reply_in_order(void **state)
{
    static const struct {
        const char *said;
        const char *replies;
    } cases[] = {
        {"ping\n\n\n", "ok\n"},
        {"ping\n_\nwhat ever\n", "ok\n"},
        {"l\nk\n0 30\n", "ok T 30\n"},
        {"l\nk\n5\n", "ok T 33\n"},
        {"l\r\nk\r\r\n5 30\r\n", "ok T 30\n"},
        {"l\nk\n 0 \t 30 \n", "ok T 30\n"},
        {"l\nk\n+0 +30\n", "ok T 30\n"},
        {"l\nk\n0 9223372036\n", "ok T 9223372036\n"},
        {"l\nk\n0\nl\nk\n0\n", "ok T 33\ntimeout\n"},
        {"l\nk\n0\nl\nj\n0\nl\nk\n0\n", "ok T 33\nok T 33\ntimeout\n"},
        {"e\nk\n30\nw\nk\n0\n", "acquired T 30\nok T 30\n"},
        {"e\nk\n\nw\nk\n0\n", "acquired T 33\nok T 33\n"},
        {"e\nk\n\ne\nk\n\n", "acquired T 33\nerror_already_enqueued\n"},
        {"l\nk\n0\ne\nk\n\nw\nk\n0\n", "ok T 33\nqueued\ntimeout\n"},
        {"w\nk\n5\n", "error_not_enqueued\n"},
        {"sl\nk\n0 2 30\nsl\nk\n0 2\nsl\nk\n0 2\n", "ok T 30\nok T 33\ntimeout\n"},
        {"sl\nk\n0 2\nsl\nk\n0 3\n", "ok T 33\nerror_limit_mismatch\n"},
        {"se\nk\n2 30\nsw\nk\n0\nsw\nk\n0\n", "acquired T 30\nok T 30\nerror_not_enqueued\n"},
        {"l\nk\n0\nsl\nk\n0 1\n", "ok T 33\nok T 33\n"},
        {"r\nk\n00000000000000010000000000000001\n", "error\n"},
        {"n\nk\n00000000000000010000000000000001 5\n", "error\n"},
        {"auth\n_\nsecret\n", "error\n"},
        {"nonsense\nk\n0\nping\n\n\n", "error\nok\n"},
        {"L\nk\n0\n", "error\n"},
        {"l\n\n0\nl\na b\n0\nl\na\tb\n0\nping\n\n\n", "error\nerror\nerror\nok\n"},
        {"l\nk\n\nl\nk\n-1\nl\nk\nx\nl\nk\n1 2 3\n", "error\nerror\nerror\nerror\n"},
        {"l\nk\n9223372037\nl\nk\n0 0\nl\nk\n0 9223372037\n", "error\nerror\nerror\n"},
        {"sl\nk\n0\nsl\nk\n0 0\nsl\nk\n0 1048577\nsl\nk\n0 1 1 1\n",
         "error\nerror\nerror\nerror\n"},
        {"sl\nk\n0 1048576\n", "ok T 33\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct peer *peer;

        world_start((struct setting){0});
        peer = connect_peer();
        say_text(peer, cases[i].said);
        expect_replies(peer, cases[i].replies);
        assert_int_equal(peer->want, SESSION_WANT_INPUT);
        assert_int_equal(peer->start, peer->end);
        disconnect(peer);
        world_end();
    }
}

static void tokens_release_and_renew_from_any_session(void **state)
{
    static const char *const commands[][3] = {{"l\nk\n0 30\n", "n", "r"},
                                              {"sl\nk\n0 2 30\n", "sn", "sr"}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct peer *holder;
        struct peer *other;
        char token[DFLOCKD_TOKEN_LENGTH + 1];

        world_start((struct setting){0});
        holder = connect_peer();
        other = connect_peer();
        say_text(holder, commands[i][0]);
        strcpy(token, token_said(holder));
        ask_with_token(other, commands[i][1], "k", token, " 50");
        ask_with_token(other, commands[i][1], "k", token, "");
        ask_with_token(other, commands[i][1], "j", token, "");
        ask_with_token(other, commands[1 - i][1], "k", token, "");
        ask_with_token(other, commands[i][2], "j", token, "");
        ask_with_token(other, commands[i][2], "k", token, " ");
        ask_with_token(other, commands[i][2], "k", token, "");
        ask_with_token(other, commands[i][1], "k", token, "");
        expect_replies(other, "ok 50\nok 33\nerror\nerror\nerror\nok\nerror\nerror\n");
        world_end();
    }
}

static void fences_in_tokens_rise(void **state)
{
    struct peer *peer;
    char last[DFLOCKD_TOKEN_LENGTH + 1] = "";

    (void)state;
    world_start((struct setting){.workers = 4});
    peer = connect_peer();
    for (int i = 0; i < 50; i++) {
        char request[40];
        const char *token;

        snprintf(request, sizeof(request), "l\nk%d\n0\n", i);
        say_text(peer, request);
        token = token_said(peer);
        assert_true(memcmp(token, last, DFLOCKD_TOKEN_LENGTH / 2) > 0);
        strcpy(last, token);
    }
    disconnect(peer);
    world_end();
}

static void requests_behind_a_blocked_one_wait(void **state)
{
    struct peer *holder;
    struct peer *waiter;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    say_text(holder, "l\nk\n0 30\n");
    strcpy(token, token_said(holder));
    say_text(waiter, "ping\n\n\nl\nk\n10 20\nping\n\n\nl\nk\n0\n");
    expect_replies(waiter, "ok\n");
    assert_int_equal(waiter->want, SESSION_WANT_EFFECT);
    say_text(waiter, "ping\n\n\n");
    expect_replies(waiter, "");
    deliver();
    expect_replies(waiter, "");
    ask_with_token(holder, "r", "k", token, "");
    expect_replies(holder, "ok\n");
    expect_replies(waiter, "");
    deliver();
    expect_replies(waiter, "ok T 20\nok\ntimeout\nok\n");
    assert_int_equal(waiter->want, SESSION_WANT_INPUT);
    world_end();
}

static void a_wait_that_times_out_says_so_and_goes_on(void **state)
{
    struct peer *holder;
    struct peer *waiter;

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    say_text(holder, "l\nk\n0 30\n");
    say_text(waiter, "e\nk\n\nw\nk\n10\nw\nk\n10\nping\n\n\n");
    expect_replies(waiter, "queued\n");
    pass_until(10);
    deliver();
    expect_replies(waiter, "");
    pass_until(11);
    deliver();
    expect_replies(waiter, "timeout\nerror_not_enqueued\nok\n");
    world_end();
}

static const char conversation[] =
    "ping\n\n\nl\r\nk\r\n0 30\r\nl\nk\n0\nstats\n\n\nnonsense\n\n\ne\nj\n\nw\nj\n0\n"
    "sl\ns\n0 2\nse\ns\n2 9\nl\n\n0\nr\nk\nshort\nl\nk\n2\nsw\ns\n5\nping\n\n\n";

/* Says the conversation in pieces that end at `first`, `second` and the end. */
static void converse(size_t first, size_t second, char *replies)
{
    size_t length = strlen(conversation);
    struct peer *peer;

    world_start((struct setting){0});
    peer = connect_peer();
    receive(peer, conversation, first);
    receive(peer, conversation + first, second - first);
    receive(peer, conversation + second, length - second);
    assert_int_equal(peer->want, SESSION_WANT_EFFECT);
    pass_until(3);
    deliver();
    assert_int_equal(peer->want, SESSION_WANT_INPUT);
    assert_int_equal(peer->start, peer->end);
    hide_tokens(peer->replies);
    strcpy(replies, peer->replies);
    world_end();
}

static void wherever_the_bytes_are_split_the_replies_are_the_same(void **state)
{
    static char whole[4096];
    static char split[4096];

    (void)state;
    converse(0, 0, whole);
    assert_string_equal(whole,
                        "ok\nok T 30\ntimeout\nok {\"connections\":7,\"locks\":[{\"key\":\"k\","
                        "\"owner_conn_id\":1,\"lease_expires_in_s\":30.000,\"waiters\":0}],"
                        "\"semaphores\":[],\"idle_locks\":[],\"idle_semaphores\":[]}\n"
                        "error\nacquired T 33\nok T 33\nok T 33\nacquired T 9\nerror\nerror\n"
                        "timeout\nok T 9\nok\n");
    for (size_t at = 1; at < strlen(conversation); at++) {
        converse(at, at, split);
        assert_string_equal(split, whole);
        converse(at, at + 1, split);
        assert_string_equal(split, whole);
    }
}

static void single_bytes_give_the_same_replies_and_count_the_lines(void **state)
{
    static const char request[] = "sl\nkey\n0 2\n";
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    for (size_t i = 0; i < strlen(request); i++) {
        struct session_progress progress;

        peer->input[peer->end++] = (uint8_t)request[i];
        progress = read_once(peer);
        if (i + 1 < strlen(request)) {
            assert_int_equal(progress.consumed, 0);
            assert_int_equal(progress.lines, i < 2 ? 0 : i < 6 ? 1 : 2);
        } else {
            assert_int_equal(progress.consumed, strlen(request));
            assert_int_equal(progress.lines, 0);
        }
        assert_int_equal(progress.want, SESSION_WANT_INPUT);
    }
    expect_replies(peer, "ok T 33\n");
    disconnect(peer);
    world_end();
}

/* ---- lines that are too long ---- */

static void say_line_of(struct peer *peer, size_t length, const char *before, const char *after)
{
    static char line[DFLOCKD_AUTH_LINE_MAX + 16];

    memset(line, 'x', length);
    say_text(peer, before);
    receive(peer, line, length);
    say_text(peer, after);
}

static void a_line_may_be_as_long_as_the_limit_and_no_longer(void **state)
{
    static const struct {
        const char *before;
        size_t length;
        const char *after;
        const char *replies;
        enum session_want want;
    } cases[] = {
        {"ping\n", 256, "\n\nping\n\n\n", "ok\nok\n", SESSION_WANT_INPUT},
        {"ping\n", 257, "\n\nping\n\n\n", "error\n", SESSION_WANT_CLOSE},
        {"ping\n", 255, "\r\n\nping\n\n\n", "ok\nok\n", SESSION_WANT_INPUT},
        {"ping\n", 256, "\r\n\nping\n\n\n", "error\n", SESSION_WANT_CLOSE},
        {"ping\n\n", 256, "\n", "ok\n", SESSION_WANT_INPUT},
        {"ping\n\n", 257, "\n", "error\n", SESSION_WANT_CLOSE},
        {"", 256, "\n\n\nping\n\n\n", "error\nok\n", SESSION_WANT_INPUT},
        {"", 257, "\nping\n\n\n", "error\n", SESSION_WANT_CLOSE},
        {"l\n", 256, "\n0\nping\n\n\n", "ok T 33\nok\n", SESSION_WANT_INPUT},
        {"auth\n_\n", 64 * 1024, "\nping\n\n\n", "error\nok\n", SESSION_WANT_INPUT},
        {"auth\n_\n", 64 * 1024 + 1, "\nping\n\n\n", "error\n", SESSION_WANT_CLOSE},
        {"auth\n", 257, "\n\nping\n\n\n", "error\n", SESSION_WANT_CLOSE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct peer *peer;

        world_start((struct setting){0});
        peer = connect_peer();
        say_line_of(peer, cases[i].length, cases[i].before, cases[i].after);
        expect_replies(peer, cases[i].replies);
        assert_int_equal(peer->want, cases[i].want);
        disconnect(peer);
        world_end();
    }
}

static void an_endless_line_is_drained_in_bounded_memory(void **state)
{
    static const uint8_t endless[64 * 1024];
    struct peer *peer;
    uint64_t bytes;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    say_text(peer, "l\nk\n0\n");
    expect_replies(peer, "ok T 33\n");
    bytes = world.memory.bytes + world.output_memory.bytes;
    for (int i = 0; i < 10 * 1024 / 64; i++) {
        peer->start = peer->end = 0;
        receive(peer, endless, sizeof(endless));
        assert_int_equal(peer->want, SESSION_WANT_INPUT);
        assert_int_equal(peer->start, sizeof(endless));
    }
    assert_int_equal(world.memory.bytes + world.output_memory.bytes, bytes);
    expect_replies(peer, "");
    peer->start = peer->end = 0;
    say_text(peer, "\nping\n\n\n");
    expect_replies(peer, "error\n");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    disconnect(peer);
    world_end();
}

/* ---- auth ---- */

static void with_auth_the_first_request_must_be_the_right_token(void **state)
{
    static const struct {
        const char *said;
        const char *replies;
        enum session_want want;
    } cases[] = {
        {"auth\n_\nsecret\nping\n\n\n", "ok\nok\n", SESSION_WANT_INPUT},
        {"auth\n\n secret\t\r\nping\n\n\n", "ok\nok\n", SESSION_WANT_INPUT},
        {"auth\n_\nsecret\nauth\n_\nsecret\nping\n\n\n", "ok\nerror\nok\n", SESSION_WANT_INPUT},
        {"auth\n_\nsecret\nauth\n_\nwrong\nping\n\n\n", "ok\nerror\nok\n", SESSION_WANT_INPUT},
        {"auth\n_\nwrong\nping\n\n\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"auth\n_\nsecreT\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"auth\n_\nsecre\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"auth\n_\nsecrets\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"auth\n_\n\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"ping\n\n\nauth\n_\nsecret\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"l\nk\n0\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"stats\n_\n_\n", "error_auth\n", SESSION_WANT_CLOSE},
        {"nonsense\n_\n_\n", "error_auth\n", SESSION_WANT_CLOSE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool refused = cases[i].want == SESSION_WANT_CLOSE;
        struct peer *peer;

        world_start((struct setting){.auth_token = "secret"});
        peer = connect_peer();
        say_text(peer, cases[i].said);
        expect_replies(peer, cases[i].replies);
        assert_int_equal(peer->want, cases[i].want);
        assert_int_equal(peer->session.auth_failed, refused);
        assert_int_equal(peer->session.stripes_used, 0);
        disconnect(peer);
        world_end();
    }
}

static void an_auth_that_is_too_long_or_unfinished_fails(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){.auth_token = "secret"});
    peer = connect_peer();
    say_line_of(peer, 257, "", "\n");
    expect_replies(peer, "error_auth\n");
    assert_true(peer->session.auth_failed);

    peer = connect_peer();
    say_text(peer, "auth\n_\nsec");
    assert_int_equal(peer->want, SESSION_WANT_INPUT);
    session_input_ended(&peer->session, &world.host, &peer->output);
    expect_replies(peer, "error_auth\n");
    read_on(peer);
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_true(peer->session.auth_failed);

    peer = connect_peer();
    say_text(peer, "auth\n_\n");
    session_fail(&peer->session, &world.host, &peer->output);
    expect_replies(peer, "error_auth\n");
    assert_true(peer->session.auth_failed);
    world_end();
}

static void after_its_auth_a_session_ends_as_any_other(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){.auth_token = "secret"});
    peer = connect_peer();
    say_text(peer, "auth\n_\nsecret\n");
    say_line_of(peer, 257, "", "\n");
    expect_replies(peer, "ok\nerror\n");
    assert_false(peer->session.auth_failed);

    peer = connect_peer();
    say_text(peer, "auth\n_\nsecret\nping\n");
    session_input_ended(&peer->session, &world.host, &peer->output);
    read_on(peer);
    expect_replies(peer, "ok\n");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_false(peer->session.auth_failed);
    world_end();
}

/* ---- the end of input, and time-outs ---- */

static void an_unfinished_line_at_the_end_of_input_is_dropped(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    say_text(peer, "ping\n\n\nl\nk\n0");
    expect_replies(peer, "ok\n");
    session_input_ended(&peer->session, &world.host, &peer->output);
    read_on(peer);
    expect_replies(peer, "");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_false(peer->session.auth_failed);
    disconnect(peer);
    world_end();
}

static void a_read_that_timed_out_is_an_error_and_the_end(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    say_text(peer, "l\nk\n");
    session_fail(&peer->session, &world.host, &peer->output);
    expect_replies(peer, "error\n");
    say_text(peer, "0\nping\n\n\n");
    expect_replies(peer, "");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_false(peer->session.auth_failed);
    world_end();
}

/* ---- draining ---- */

static void draining_ends_blocked_requests_and_refuses_all_but_releases(void **state)
{
    static const char *const refused[] = {
        "ping\n\n\n",     "l\nk\n0\n",         "stats\n\n\n",
        "nonsense\n\n\n", "auth\n_\nsecret\n", "n\nk\n00000000000000010000000000000001\n"};
    struct peer *holder;
    struct peer *waiter;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    say_text(holder, "l\nk\n0 30\n");
    strcpy(token, token_said(holder));
    say_text(waiter, "l\nk\n10\nping\n\n\n");
    world.host.draining = true;
    assert_false(session_drain(&holder->session, &world.host, &holder->output));
    assert_true(session_drain(&waiter->session, &world.host, &waiter->output));
    read_on(waiter);
    /* The blocked request ends with one, and the request behind it with another. */
    expect_replies(waiter, "error_draining\nerror_draining\n");
    assert_int_equal(waiter->want, SESSION_WANT_CLOSE);
    disconnect(waiter);
    ask_with_token(holder, "sr", "k", token, "");
    ask_with_token(holder, "r", "k", token, "");
    ask_with_token(holder, "r", "k", token, "");
    expect_replies(holder, "error\nok\nerror\n");
    assert_int_equal(holder->want, SESSION_WANT_INPUT);
    deliver();
    say_text(holder, "l\nk\n0\nping\n\n\n");
    expect_replies(holder, "error_draining\n");
    assert_int_equal(holder->want, SESSION_WANT_CLOSE);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct peer *peer;

        world.peer_count = 2;
        peer = connect_peer();
        say_text(peer, refused[i]);
        say_text(peer, "ping\n\n\n");
        expect_replies(peer, "error_draining\n");
        assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    }
    world_end();
}

static void draining_ends_an_enqueued_wait_and_its_place_in_the_queue(void **state)
{
    struct peer *holder;
    struct peer *waiter;
    struct peer *next;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){.keep_on_disconnect = true});
    holder = connect_peer();
    waiter = connect_peer();
    next = connect_peer();
    say_text(holder, "sl\nk\n0 1\n");
    strcpy(token, token_said(holder));
    say_text(waiter, "se\nk\n1\nsw\nk\n10\n");
    say_text(next, "sl\nk\n10 1\n");
    session_drain(&waiter->session, &world.host, &waiter->output);
    expect_replies(waiter, "queued\nerror_draining\n");
    ask_with_token(holder, "sr", "k", token, "");
    deliver();
    expect_replies(next, "ok T 33\n");
    world_end();
}

static void a_grant_on_its_way_when_draining_starts_is_told(void **state)
{
    struct peer *holder;
    struct peer *waiter;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    say_text(holder, "l\nk\n0 30\n");
    strcpy(token, token_said(holder));
    say_text(waiter, "l\nk\n10 20\n");
    ask_with_token(holder, "r", "k", token, "");
    world.host.draining = true;
    session_drain(&waiter->session, &world.host, &waiter->output);
    expect_replies(waiter, "");
    deliver();
    strcpy(token, token_said(waiter));
    ask_with_token(waiter, "r", "k", token, "");
    expect_replies(waiter, "ok\n");
    assert_int_equal(waiter->want, SESSION_WANT_INPUT);
    world_end();
}

/* ---- effects and disconnects ---- */

static void a_grant_whose_lease_is_over_when_it_arrives_is_an_error(void **state)
{
    struct peer *holder;
    struct peer *waiter;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    say_text(holder, "l\nk\n0 30\n");
    strcpy(token, token_said(holder));
    say_text(waiter, "l\nk\n10 5\nping\n\n\n");
    ask_with_token(holder, "r", "k", token, "");
    pass_until(6);
    deliver();
    expect_replies(waiter, "error_lease_expired\nok\n");
    world_end();
}

static void a_grant_on_its_way_to_a_peer_that_is_gone_passes_on(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        struct peer *holder;
        struct peer *gone;
        struct peer *next;
        struct stripes_effect effect;
        char token[DFLOCKD_TOKEN_LENGTH + 1];

        world_start((struct setting){.keep_on_disconnect = keep});
        holder = connect_peer();
        gone = connect_peer();
        next = connect_peer();
        say_text(holder, "l\nk\n0 30\n");
        strcpy(token, token_said(holder));
        say_text(gone, "l\nk\n10\n");
        say_text(next, "l\nk\n10\n");
        ask_with_token(holder, "r", "k", token, "");
        /* It leaves with its effect under way: nobody takes that. */
        session_input_ended(&gone->session, &world.host, &gone->output);
        disconnect(gone);
        assert_int_equal(mailbox_take(stripes_mailbox(world.stripes, 0), &effect, 1), 1);
        assert_int_equal(effect.client, gone->session.client);
        deliver();
        expect_replies(next, "ok T 33\n");
        expect_replies(gone, "");
        world_end();
    }
}

static void a_blocked_peer_that_goes_leaves_the_queue(void **state)
{
    struct peer *holder;
    struct peer *gone;
    struct peer *next;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){.keep_on_disconnect = true});
    holder = connect_peer();
    gone = connect_peer();
    next = connect_peer();
    say_text(holder, "l\nk\n0 30\n");
    strcpy(token, token_said(holder));
    say_text(gone, "l\nk\n10\nping\n\n\n");
    say_text(next, "l\nk\n10\n");
    session_input_ended(&gone->session, &world.host, &gone->output);
    disconnect(gone);
    ask_with_token(holder, "r", "k", token, "");
    deliver();
    expect_replies(gone, "");
    expect_replies(next, "ok T 33\n");
    world_end();
}

static void a_peer_that_only_enqueued_leaves_nothing_behind(void **state)
{
    static const char *const asked[] = {"e\nk\n\n", "se\nk\n1\n"};
    static const char *const others[] = {"l\nk\n10\n", "sl\nk\n10 1\n"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct peer *first;
        struct peer *second;
        struct peer *next;

        world_start((struct setting){.workers = 4});
        first = connect_peer();
        second = connect_peer();
        next = connect_peer();
        say_text(first, asked[i]);
        expect_replies(first, "acquired T 33\n");
        say_text(second, asked[i]);
        expect_replies(second, "queued\n");
        say_text(next, others[i]);
        disconnect(second);
        disconnect(first);
        deliver();
        expect_replies(next, "ok T 33\n");
        world_end();
    }
}

static void a_disconnect_takes_back_what_lies_in_many_stripes(void **state)
{
    enum {
        KEYS = 200
    };
    struct peer *holder;
    struct peer *next;
    char text[64];

    (void)state;
    world_start((struct setting){.workers = 4});
    holder = connect_peer();
    next = connect_peer();
    assert_false(session_watch(&holder->session, &world.host));
    for (int i = 0; i < KEYS; i++) {
        snprintf(text, sizeof(text), "l\nk%d\n0 %d\n", i, 10 + i);
        say_text(holder, text);
    }
    assert_true(session_watch(&holder->session, &world.host));
    disconnect(holder);
    for (int i = 0; i < KEYS; i++) {
        snprintf(text, sizeof(text), "l\nk%d\n0\n", i);
        say_text(next, text);
        expect_replies(next, "ok T 33\n");
    }
    disconnect(next);
    assert_false(session_watch(&next->session, &world.host));
    world_end();
}

/* ---- output ---- */

static void a_session_reads_no_more_while_its_output_is_full(void **state)
{
    enum {
        PINGS = 60000
    };
    static char pings[PINGS * 7 + 1];
    struct peer *peer;
    uint32_t full = 0;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    for (int i = 0; i < PINGS; i++)
        memcpy(pings + 7 * i, "ping\n\n\n", 7);
    memcpy(peer->input, pings, PINGS * 7);
    peer->end = PINGS * 7;
    do {
        size_t before = peer->start;

        read_once(peer);
        assert_true(peer->output.length < SESSION_OUTPUT_MAX + OUTPUT_RESERVE_MAX);
        if (peer->want == SESSION_WANT_ROOM) {
            full++;
            assert_true(peer->output.length >= SESSION_OUTPUT_MAX);
            before = peer->start;
            read_once(peer);
            assert_int_equal(peer->want, SESSION_WANT_ROOM);
            assert_int_equal(peer->start, before);
        }
        flush(peer);
    } while (peer->want == SESSION_WANT_ROOM);
    assert_int_equal(peer->want, SESSION_WANT_INPUT);
    assert_int_equal(full, PINGS * 3 / SESSION_OUTPUT_MAX);
    assert_int_equal(peer->reply_length, PINGS * 3);
    for (size_t i = 0; i < PINGS; i++)
        assert_memory_equal(peer->replies + 3 * i, "ok\n", 3);
    world_end();
}

static void a_session_that_cannot_answer_for_want_of_memory_ends(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    world.output_memory.fail_after = 0;
    say_text(peer, "ping\n\n\nl\nk\n0\n");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_int_equal(peer->start, strlen("ping\n\n\n"));
    expect_replies(peer, "");
    disconnect(peer);
    world_end();
}

static void a_grant_that_cannot_be_told_is_given_back_in_any_case(void **state)
{
    static const char *const asked[] = {"l\nk\n0\n", "e\nk\n\n", "l\nk\n10\n",
                                        "e\nk\n\nw\nk\n10\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        bool waits = i >= 2;
        struct stripes_key key;
        struct lock_answer held = {0};
        struct peer *peer;
        struct peer *next;

        world_start((struct setting){.keep_on_disconnect = true});
        peer = connect_peer();
        next = connect_peer();
        key = stripes_key(world.stripes, LOCK_KIND_LOCK,
                          (struct slice){.bytes = (const uint8_t *)"k", .length = 1});
        if (waits)
            held = stripes_acquire(world.stripes, SECOND, client_id(9, 0, 9), &key, 1, 0, 30,
                                   &world.host.wake);
        /* `queued` is told yet. */
        if (i < 3)
            world.output_memory.fail_after = 0;
        say_text(peer, asked[i]);
        if (waits) {
            void *taken[POOL_CHUNK_BYTES / OUTPUT_CHUNK_BYTES + 1];
            int count = 0;

            world.output_memory.fail_after = 0;
            while ((taken[count] = pool_take(&world.output_pool)))
                count++;
            stripes_release(world.stripes, SECOND, &key, held.token, &world.host.wake);
            deliver();
            while (count > 0)
                pool_give(&world.output_pool, taken[--count]);
        }
        assert_int_equal(peer->want, SESSION_WANT_CLOSE);
        world.output_memory.fail_after = UINT64_MAX;
        disconnect(peer);
        say_text(next, "l\nk\n0\n");
        expect_replies(next, "ok T 33\n");
        world_end();
    }
}

static void a_request_for_which_there_is_no_memory_is_an_error(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    world.memory.fail_after = 0;
    say_text(peer, "l\nk\n0\ne\nk\n\nsl\nk\n0 2\nping\n\n\n");
    expect_replies(peer, "error\nerror\nerror\nok\n");
    world.memory.fail_after = UINT64_MAX;
    say_text(peer, "l\nk\n0\n");
    expect_replies(peer, "ok T 33\n");
    world_end();
}

static void a_session_hears_of_it_when_it_holds_nothing_in_any_stripe(void **state)
{
    enum {
        KEYS = 16
    };
    char tokens[KEYS][DFLOCKD_TOKEN_LENGTH + 1];
    struct peer *peer;
    bool watched;

    (void)state;
    world_start((struct setting){.workers = 4});
    peer = connect_peer();
    assert_false(session_watch(&peer->session, &world.host));
    for (int i = 0; i < KEYS; i++) {
        char text[32];

        snprintf(text, sizeof(text), "l\nk%d\n0\n", i);
        say_text(peer, text);
        strcpy(tokens[i], token_said(peer));
    }
    watched = session_watch(&peer->session, &world.host);
    assert_true(watched);
    for (int i = 0; i < KEYS; i++) {
        struct stripes_effect effect;
        char key[16];

        snprintf(key, sizeof(key), "k%d", i);
        ask_with_token(peer, "r", key, tokens[i], "");
        while (mailbox_take(stripes_mailbox(world.stripes, 0), &effect, 1)) {
            assert_int_equal(effect.answer.outcome, LOCK_IDLE);
            watched = session_watch(&peer->session, &world.host);
        }
        assert_int_equal(watched, i + 1 < KEYS);
    }
    disconnect(peer);
    world_end();
}

/* ---- stats ---- */

static void stats_show_each_kind_of_state_as_promised(void **state)
{
    struct peer *holder;
    struct peer *waiter;

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    say_text(waiter, "stats\n_\n_\n");
    expect_replies(waiter, "ok {\"connections\":7,\"locks\":[],\"semaphores\":[],"
                           "\"idle_locks\":[],\"idle_semaphores\":[]}\n");
    say_text(holder, "l\ngone\n0 1\nsl\ngone\n0 3 1\n");
    pass_until(2);
    say_text(holder, "l\nk\n0 30\nsl\nk\n0 3 40\nsl\nk\n0 3 40\n");
    say_text(waiter, "e\nk\n9\n");
    expect_replies(waiter, "queued\n");
    pass_until(12);
    say_text(waiter, "stats\n_\n_\n");
    expect_replies(waiter,
                   "ok {\"connections\":7,"
                   "\"locks\":[{\"key\":\"k\",\"owner_conn_id\":1,\"lease_expires_in_s\":20.000,"
                   "\"waiters\":1}],"
                   "\"semaphores\":[{\"key\":\"k\",\"limit\":3,\"holders\":2,\"waiters\":0}],"
                   "\"idle_locks\":[{\"key\":\"gone\",\"idle_s\":10.000}],"
                   "\"idle_semaphores\":[{\"key\":\"gone\",\"idle_s\":10.000}]}\n");
    world_end();
}

static void stats_list_a_semaphore_of_one_slot_as_a_lock(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    say_text(peer, "sl\nk\n0 1 30\nstats\n\n\n");
    expect_replies(peer, "ok T 30\nok {\"connections\":7,\"locks\":[{\"key\":\"k\","
                         "\"owner_conn_id\":1,\"lease_expires_in_s\":30.000,\"waiters\":0}],"
                         "\"semaphores\":[],\"idle_locks\":[],\"idle_semaphores\":[]}\n");
    pass_until(31);
    say_text(peer, "stats\n\n\n");
    expect_replies(peer, "ok {\"connections\":7,\"locks\":[],\"semaphores\":[],"
                         "\"idle_locks\":[{\"key\":\"k\",\"idle_s\":0.000}],"
                         "\"idle_semaphores\":[]}\n");
    world_end();
}

static void stats_are_valid_whatever_bytes_a_key_holds(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    say_text(peer, "l\na\"b\\c\x01\xff\xc3\xa4\xed\xa0\x80\n0 30\n");
    expect_replies(peer, "ok T 30\n");
    say_text(peer, "stats\n\n\n");
    expect_replies(peer, "ok {\"connections\":7,\"locks\":[{\"key\":\"a\\\"b\\\\c\\u0001"
                         "\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\","
                         "\"owner_conn_id\":1,\"lease_expires_in_s\":30.000,\"waiters\":0}],"
                         "\"semaphores\":[],\"idle_locks\":[],\"idle_semaphores\":[]}\n");
    world_end();
}

/* Reads what stats say, in the one order that is allowed. */
struct reader {
    const char *at;
};

static bool accept(struct reader *reader, const char *text)
{
    size_t length = strlen(text);

    if (strncmp(reader->at, text, length) != 0)
        return false;
    reader->at += length;
    return true;
}

static void expect_text(struct reader *reader, const char *text)
{
    if (!accept(reader, text))
        fail_msg("expected %s at %.40s", text, reader->at);
}

static uint64_t expect_number(struct reader *reader)
{
    char *end = NULL;
    uint64_t number = strtoull(reader->at, &end, 10);

    assert_true(end > reader->at);
    reader->at = end;
    return number;
}

static void expect_seconds(struct reader *reader)
{
    expect_number(reader);
    expect_text(reader, ".");
    assert_int_equal(strspn(reader->at, "0123456789"), 3);
    reader->at += 3;
}

enum {
    CROWD = 4000
};

/* An entry of the kind that `number` got below; `seen` counts how often each was shown. */
static void expect_entry(struct reader *reader, uint32_t section, uint8_t *seen)
{
    uint64_t number;

    expect_text(reader, "{\"key\":\"key-");
    number = expect_number(reader);
    assert_true(number < CROWD && number % 4 == section);
    seen[number]++;
    expect_text(reader, "\"");
    if (section == 0) {
        expect_text(reader, ",\"owner_conn_id\":1,\"lease_expires_in_s\":");
        expect_seconds(reader);
        expect_text(reader, ",\"waiters\":0}");
    } else if (section == 1) {
        expect_text(reader, ",\"limit\":2,\"holders\":1,\"waiters\":0}");
    } else {
        expect_text(reader, ",\"idle_s\":");
        expect_seconds(reader);
        expect_text(reader, "}");
    }
}

static void expect_crowd(const char *text)
{
    static const char *const sections[] = {"\"locks\":[", "\"semaphores\":[", "\"idle_locks\":[",
                                           "\"idle_semaphores\":["};
    static uint8_t seen[CROWD];
    struct reader reader = {.at = text};

    memset(seen, 0, sizeof(seen));
    expect_text(&reader, "ok {\"connections\":7");
    for (uint32_t section = 0; section < 4; section++) {
        bool more = false;

        expect_text(&reader, ",");
        expect_text(&reader, sections[section]);
        while (!accept(&reader, "]")) {
            if (more)
                expect_text(&reader, ",");
            expect_entry(&reader, section, seen);
            more = true;
        }
    }
    expect_text(&reader, "}\n");
    assert_string_equal(reader.at, "");
    for (uint32_t i = 0; i < CROWD; i++)
        assert_int_equal(seen[i], 1);
}

static void crowd_up(struct peer *holder)
{
    static const char *const forms[] = {"l\nkey-%u\n0 90\n", "sl\nkey-%u\n0 2 90\n",
                                        "l\nkey-%u\n0 1\n", "sl\nkey-%u\n0 2 1\n"};

    for (uint32_t i = 0; i < CROWD; i++) {
        char text[64];
        const char *mark = strchr(forms[i % 4], '%');

        snprintf(text, sizeof(text), "%.*s%u%s", (int)(mark - forms[i % 4]), forms[i % 4], i,
                 mark + 2);
        holder->start = holder->end = 0;
        say_text(holder, text);
    }
    pass_until(3);
}

/* While one session makes its stats, in turns and with its output full, another is served. */
static void stats_of_many_keys_come_in_turns_and_stall_nobody(void **state)
{
    struct peer *holder;
    struct peer *watcher;
    uint32_t turns = 0;
    uint32_t full = 0;

    (void)state;
    world_start((struct setting){.workers = 4});
    holder = connect_peer();
    watcher = connect_peer();
    crowd_up(holder);
    holder->reply_length = 0;
    holder->start = holder->end = 0;
    strcpy((char *)watcher->input, "stats\n_\n_\nping\n\n\n");
    watcher->end = strlen((char *)watcher->input);
    do {
        size_t before = watcher->output.length;

        read_once(watcher);
        turns += watcher->want == SESSION_WANT_TURN;
        full += watcher->want == SESSION_WANT_ROOM;
        assert_true(watcher->output.length < before + SESSION_OUTPUT_MAX);
        assert_true(watcher->output.length < 2 * SESSION_OUTPUT_MAX);
        say_text(holder, "ping\n\n\n");
        expect_replies(holder, "ok\n");
        if (watcher->want == SESSION_WANT_ROOM)
            flush(watcher);
    } while (watcher->want != SESSION_WANT_INPUT);
    flush(watcher);
    assert_true(turns > 32);
    assert_true(full > 1);
    assert_true(watcher->reply_length > 3);
    assert_string_equal(watcher->replies + watcher->reply_length - 3, "ok\n");
    watcher->replies[watcher->reply_length - 3] = '\0';
    expect_crowd(watcher->replies);
    disconnect(holder);
    world_end();
}

static void a_session_may_end_in_the_middle_of_its_stats(void **state)
{
    struct peer *holder;
    struct peer *watcher;

    (void)state;
    world_start((struct setting){.workers = 4});
    holder = connect_peer();
    watcher = connect_peer();
    crowd_up(holder);
    strcpy((char *)watcher->input, "l\nmine\n0\nstats\n_\n_\n");
    watcher->end = strlen((char *)watcher->input);
    read_once(watcher);
    assert_int_equal(watcher->want, SESSION_WANT_TURN);
    disconnect(watcher);
    say_text(holder, "l\nmine\n0\n");
    holder->reply_length = 0;
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_has_its_reply_in_order),
        cmocka_unit_test(tokens_release_and_renew_from_any_session),
        cmocka_unit_test(fences_in_tokens_rise),
        cmocka_unit_test(requests_behind_a_blocked_one_wait),
        cmocka_unit_test(a_wait_that_times_out_says_so_and_goes_on),
        cmocka_unit_test(wherever_the_bytes_are_split_the_replies_are_the_same),
        cmocka_unit_test(single_bytes_give_the_same_replies_and_count_the_lines),
        cmocka_unit_test(a_line_may_be_as_long_as_the_limit_and_no_longer),
        cmocka_unit_test(an_endless_line_is_drained_in_bounded_memory),
        cmocka_unit_test(with_auth_the_first_request_must_be_the_right_token),
        cmocka_unit_test(an_auth_that_is_too_long_or_unfinished_fails),
        cmocka_unit_test(after_its_auth_a_session_ends_as_any_other),
        cmocka_unit_test(an_unfinished_line_at_the_end_of_input_is_dropped),
        cmocka_unit_test(a_read_that_timed_out_is_an_error_and_the_end),
        cmocka_unit_test(draining_ends_blocked_requests_and_refuses_all_but_releases),
        cmocka_unit_test(draining_ends_an_enqueued_wait_and_its_place_in_the_queue),
        cmocka_unit_test(a_grant_on_its_way_when_draining_starts_is_told),
        cmocka_unit_test(a_grant_whose_lease_is_over_when_it_arrives_is_an_error),
        cmocka_unit_test(a_grant_on_its_way_to_a_peer_that_is_gone_passes_on),
        cmocka_unit_test(a_blocked_peer_that_goes_leaves_the_queue),
        cmocka_unit_test(a_peer_that_only_enqueued_leaves_nothing_behind),
        cmocka_unit_test(a_disconnect_takes_back_what_lies_in_many_stripes),
        cmocka_unit_test(a_session_reads_no_more_while_its_output_is_full),
        cmocka_unit_test(a_session_that_cannot_answer_for_want_of_memory_ends),
        cmocka_unit_test(a_request_for_which_there_is_no_memory_is_an_error),
        cmocka_unit_test(a_grant_that_cannot_be_told_is_given_back_in_any_case),
        cmocka_unit_test(a_session_hears_of_it_when_it_holds_nothing_in_any_stripe),
        cmocka_unit_test(stats_show_each_kind_of_state_as_promised),
        cmocka_unit_test(stats_list_a_semaphore_of_one_slot_as_a_lock),
        cmocka_unit_test(stats_are_valid_whatever_bytes_a_key_holds),
        cmocka_unit_test(stats_of_many_keys_come_in_turns_and_stall_nobody),
        cmocka_unit_test(a_session_may_end_in_the_middle_of_its_stats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
