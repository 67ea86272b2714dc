/*
 * The input of a session: requests split anywhere, overlong lines, auth, end of input,
 * draining, caps on claims.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "session_fixture.h"

/* ---- requests ---- */

static void each_request_has_its_reply_in_order(void **state)
{
    static const struct {
        const char *input;
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
        send_text(peer, cases[i].input);
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
        send_text(holder, commands[i][0]);
        strcpy(token, reply_token(holder));
        send_with_token(other, commands[i][1], "k", token, " 50");
        send_with_token(other, commands[i][1], "k", token, "");
        send_with_token(other, commands[i][1], "j", token, "");
        send_with_token(other, commands[1 - i][1], "k", token, "");
        send_with_token(other, commands[i][2], "j", token, "");
        send_with_token(other, commands[i][2], "k", token, " ");
        send_with_token(other, commands[i][2], "k", token, "");
        send_with_token(other, commands[i][1], "k", token, "");
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
        send_text(peer, request);
        token = reply_token(peer);
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
    send_text(holder, "l\nk\n0 30\n");
    strcpy(token, reply_token(holder));
    send_text(waiter, "ping\n\n\nl\nk\n10 20\nping\n\n\nl\nk\n0\n");
    expect_replies(waiter, "ok\n");
    assert_int_equal(waiter->want, SESSION_WANT_EFFECT);
    send_text(waiter, "ping\n\n\n");
    expect_replies(waiter, "");
    deliver();
    expect_replies(waiter, "");
    send_with_token(holder, "r", "k", token, "");
    expect_replies(holder, "ok\n");
    expect_replies(waiter, "");
    deliver();
    expect_replies(waiter, "ok T 20\nok\ntimeout\nok\n");
    assert_int_equal(waiter->want, SESSION_WANT_INPUT);
    world_end();
}

static void a_session_continues_after_a_wait_that_times_out(void **state)
{
    struct peer *holder;
    struct peer *waiter;

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    send_text(holder, "l\nk\n0 30\n");
    send_text(waiter, "e\nk\n\nw\nk\n10\nw\nk\n10\nping\n\n\n");
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

/* Sends the conversation in pieces that end at `first`, `second` and the end. */
static void send_in_pieces(size_t first, size_t second, char *replies)
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

static void replies_do_not_depend_on_how_bytes_are_split(void **state)
{
    static char whole[4096];
    static char split[4096];

    (void)state;
    send_in_pieces(0, 0, whole);
    assert_string_equal(whole,
                        "ok\nok T 30\ntimeout\nok {\"connections\":7,\"locks\":[{\"key\":\"k\","
                        "\"owner_conn_id\":1,\"lease_expires_in_s\":30.000,\"waiters\":0}],"
                        "\"semaphores\":[],\"idle_locks\":[],\"idle_semaphores\":[]}\n"
                        "error\nacquired T 33\nok T 33\nok T 33\nacquired T 9\nerror\nerror\n"
                        "timeout\nok T 9\nok\n");
    for (size_t at = 1; at < strlen(conversation); at++) {
        send_in_pieces(at, at, split);
        assert_string_equal(split, whole);
        send_in_pieces(at, at + 1, split);
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

/* ---- overlong lines ---- */

static void say_line_of(struct peer *peer, size_t length, const char *before, const char *after)
{
    static char line[DFLOCKD_AUTH_LINE_MAX + 16];

    memset(line, 'x', length);
    send_text(peer, before);
    receive(peer, line, length);
    send_text(peer, after);
}

static void a_line_can_have_the_maximum_length(void **state)
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
    send_text(peer, "l\nk\n0\n");
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
    send_text(peer, "\nping\n\n\n");
    expect_replies(peer, "error\n");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    disconnect(peer);
    world_end();
}

/* ---- auth ---- */

static void with_auth_the_first_request_must_be_the_right_token(void **state)
{
    static const struct {
        const char *input;
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
        send_text(peer, cases[i].input);
        expect_replies(peer, cases[i].replies);
        assert_int_equal(peer->want, cases[i].want);
        assert_int_equal(peer->session.auth_failed, refused);
        assert_int_equal(peer->session.claims.stripes_used, 0);
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
    send_text(peer, "auth\n_\nsec");
    assert_int_equal(peer->want, SESSION_WANT_INPUT);
    session_input_ended(&peer->session, world.context, &peer->output);
    expect_replies(peer, "error_auth\n");
    read_on(peer);
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_true(peer->session.auth_failed);

    peer = connect_peer();
    send_text(peer, "auth\n_\n");
    session_fail(&peer->session, world.context, &peer->output);
    expect_replies(peer, "error_auth\n");
    assert_true(peer->session.auth_failed);
    world_end();
}

static void an_authenticated_session_ends_as_any_other(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){.auth_token = "secret"});
    peer = connect_peer();
    send_text(peer, "auth\n_\nsecret\n");
    say_line_of(peer, 257, "", "\n");
    expect_replies(peer, "ok\nerror\n");
    assert_false(peer->session.auth_failed);

    peer = connect_peer();
    send_text(peer, "auth\n_\nsecret\nping\n");
    session_input_ended(&peer->session, world.context, &peer->output);
    read_on(peer);
    expect_replies(peer, "ok\n");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_false(peer->session.auth_failed);
    world_end();
}

/* One input of a peer of a server with these secrets. */
struct auth_case {
    const char *client; /* the secret of clients; NULL: none */
    const char *administrator;
    const char *input;
    const char *replies;
    bool refused;
    bool becomes_administrator;
};

static void check_auth_case(const struct auth_case *auth)
{
    struct peer *peer;

    world_start((struct setting){.auth_token = auth->client, .admin_token = auth->administrator});
    peer = connect_peer();
    send_text(peer, auth->input);
    expect_replies(peer, auth->replies);
    assert_int_equal(peer->want, auth->refused ? SESSION_WANT_CLOSE : SESSION_WANT_INPUT);
    assert_int_equal(peer->session.auth_failed, auth->refused);
    assert_int_equal(peer->session.administrator, auth->becomes_administrator);
    disconnect(peer);
    world_end();
}

#define CLIENT        "auth\n_\nsecret\n"
#define ADMINISTRATOR "auth\n_\nadmin\n"
#define WRONG         "auth\n_\nwrong\n"
#define PING          "ping\n_\n_\n"

static void only_the_administrators_secret_makes_an_administrator(void **state)
{
    static const struct auth_case cases[] = {
        {"secret", "admin", CLIENT PING, "ok\nok\n", false, false},
        {"secret", "admin", ADMINISTRATOR PING, "ok\nok\n", false, true},
        {"secret", "admin", CLIENT ADMINISTRATOR PING, "ok\nok\nok\n", false, true},
        {"secret", "admin", CLIENT PING ADMINISTRATOR, "ok\nok\nok\n", false, true},
        {"secret", "admin", CLIENT CLIENT PING, "ok\nok\nok\n", false, false},
        {"secret", "admin", ADMINISTRATOR CLIENT PING, "ok\nok\nok\n", false, true},
        {"secret", "admin", ADMINISTRATOR ADMINISTRATOR, "ok\nok\n", false, true},
        {"secret", "admin", WRONG PING, "error_auth\n", true, false},
        {"secret", "admin", PING, "error_auth\n", true, false},
        {NULL, "admin", PING ADMINISTRATOR PING, "ok\nok\nok\n", false, true},
        {NULL, "admin", ADMINISTRATOR ADMINISTRATOR PING, "ok\nok\nok\n", false, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_auth_case(&cases[i]);
}

static void a_wrong_secret_ends_a_session_that_was_served(void **state)
{
    static const struct auth_case cases[] = {
        {"secret", "admin", CLIENT WRONG PING, "ok\nerror_auth\n", true, false},
        {"secret", "admin", ADMINISTRATOR WRONG PING, "ok\nerror_auth\n", true, true},
        {"secret", "admin", CLIENT "auth\n_\n\n" PING, "ok\nerror_auth\n", true, false},
        {NULL, "admin", PING WRONG PING, "ok\nerror_auth\n", true, false},
        {NULL, "admin", CLIENT PING, "error_auth\n", true, false},
        {NULL, "admin", "auth\n_\n\n", "error_auth\n", true, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_auth_case(&cases[i]);
}

static void without_administrators_a_second_auth_is_an_error(void **state)
{
    static const struct auth_case cases[] = {
        {"secret", NULL, CLIENT CLIENT PING, "ok\nerror\nok\n", false, false},
        {"secret", NULL, CLIENT WRONG PING, "ok\nerror\nok\n", false, false},
        {NULL, NULL, WRONG PING, "error\nok\n", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check_auth_case(&cases[i]);
}

static void a_wrong_secret_releases_what_the_session_held(void **state)
{
    struct peer *holder, *other;

    (void)state;
    world_start((struct setting){.admin_token = "admin"});
    holder = connect_peer();
    other = connect_peer();
    send_text(holder, "l\nk\n0\n" WRONG);
    expect_replies(holder, "ok T 33\nerror_auth\n");
    send_text(other, "l\nk\n9\n");
    disconnect(holder);
    deliver();
    expect_replies(other, "ok T 33\n");
    world_end();
}

static void a_draining_server_authenticates_no_administrator(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){.admin_token = "admin"});
    peer = connect_peer();
    world.context->draining = true;
    send_text(peer, ADMINISTRATOR);
    expect_replies(peer, "error_draining\n");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_false(peer->session.administrator);
    assert_false(peer->session.auth_failed);
    world_end();
}

#undef CLIENT
#undef ADMINISTRATOR
#undef WRONG
#undef PING

/* ---- problems for the log ---- */

/* Reads `text` once and returns its problem; ignores the reply. */
static enum session_problem problem_of(struct peer *peer, const char *text)
{
    enum session_problem problem;

    driver_add_input(peer, text, strlen(text));
    problem = read_once(peer).problem;
    flush(peer);
    return problem;
}

static void a_read_reports_its_first_problem(void **state)
{
    static char too_long[300 + 1];
    struct peer *peer;

    (void)state;
    memset(too_long, 'x', sizeof(too_long) - 1);
    world_start((struct setting){0});
    peer = connect_peer();
    assert_int_equal(problem_of(peer, "ping\n_\n_\n"), SESSION_PROBLEM_NONE);
    assert_int_equal(problem_of(peer, "r\nkey\n00000000000000000000000000000000\n"),
                     SESSION_PROBLEM_NONE);
    assert_int_equal(problem_of(peer, "nonsense\n_\n_\n"), SESSION_PROBLEM_INVALID_REQUEST);
    assert_int_equal(problem_of(peer, "auth\n_\nsecret\n"), SESSION_PROBLEM_INVALID_REQUEST);
    assert_int_equal(problem_of(peer, "l\nkey\nx\nping\n_\n_\n"), SESSION_PROBLEM_INVALID_REQUEST);
    assert_int_equal(problem_of(peer, "ping\n_\n"), SESSION_PROBLEM_NONE);
    assert_int_equal(problem_of(peer, "_\n"), SESSION_PROBLEM_NONE);
    /* The problem is reported at once, because the end of the line may never come. */
    assert_int_equal(problem_of(peer, too_long), SESSION_PROBLEM_LINE_TOO_LONG);
    assert_int_equal(problem_of(peer, too_long), SESSION_PROBLEM_NONE);
    world_end();
}

static void a_read_reports_why_authentication_failed(void **state)
{
    static char too_long[300 + 1];
    static const struct {
        const char *input;
        enum session_problem problem;
    } cases[] = {
        {"auth\n_\nsecret\nping\n_\n_\n", SESSION_PROBLEM_NONE},
        {"auth\n_\nsecret\nnonsense\n_\n_\n", SESSION_PROBLEM_INVALID_REQUEST},
        {"auth\n_\nwrong\n", SESSION_PROBLEM_WRONG_SECRET},
        {"auth\n_\n\n", SESSION_PROBLEM_WRONG_SECRET},
        {"ping\n_\n_\n", SESSION_PROBLEM_NO_SECRET},
        {"nonsense\n_\n_\n", SESSION_PROBLEM_NO_SECRET},
        {too_long, SESSION_PROBLEM_NO_SECRET},
        {"auth\n_\n", SESSION_PROBLEM_NONE},
    };

    (void)state;
    memset(too_long, 'x', sizeof(too_long) - 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        world_start((struct setting){.auth_token = "secret"});
        assert_int_equal(problem_of(connect_peer(), cases[i].input), cases[i].problem);
        world_end();
    }
    world_start((struct setting){.admin_token = "admin"});
    assert_int_equal(problem_of(connect_peer(), "auth\n_\nadmin\n"), SESSION_PROBLEM_NONE);
    assert_int_equal(problem_of(connect_peer(), "auth\n_\nwrong\n"), SESSION_PROBLEM_WRONG_SECRET);
    world_end();
}

/* ---- end of input and timeouts ---- */

static void an_unfinished_line_at_the_end_of_input_is_dropped(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    send_text(peer, "ping\n\n\nl\nk\n0");
    expect_replies(peer, "ok\n");
    session_input_ended(&peer->session, world.context, &peer->output);
    read_on(peer);
    expect_replies(peer, "");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_false(peer->session.auth_failed);
    disconnect(peer);
    world_end();
}

static void a_line_too_long_at_the_end_of_input_is_an_error(void **state)
{
    static const char *const before[] = {"", "l\n", "l\nkey\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        struct peer *peer;

        world_start((struct setting){0});
        peer = connect_peer();
        say_line_of(peer, 300, before[i], "");
        expect_replies(peer, "");
        session_input_ended(&peer->session, world.context, &peer->output);
        assert_int_equal(peer->session.state, SESSION_OVER);
        expect_replies(peer, "error\n");
        world_end();
    }
}

/* Returns whether the session reports progress, which restarts the read timeout. */
static bool makes_progress(struct peer *peer, const char *text)
{
    driver_add_input(peer, text, strlen(text));
    return read_once(peer).served;
}

static void bytes_of_a_line_too_long_are_no_progress(void **state)
{
    char line[301];
    struct peer *peer;

    (void)state;
    memset(line, 'x', 300);
    line[300] = '\0';
    world_start((struct setting){0});
    peer = connect_peer();
    assert_false(makes_progress(peer, "pi"));
    assert_false(makes_progress(peer, "ng\n\n"));
    assert_true(makes_progress(peer, "\nping\n"));
    assert_true(makes_progress(peer, "\n\nl\nkey"));
    assert_false(makes_progress(peer, line));
    assert_int_equal(peer->session.state, SESSION_SKIPPING);
    for (int i = 0; i < 10; i++)
        assert_false(makes_progress(peer, "x"));
    world_end();
}

static void a_read_timeout_is_an_error_and_ends_the_session(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    send_text(peer, "l\nk\n");
    session_fail(&peer->session, world.context, &peer->output);
    expect_replies(peer, "error\n");
    send_text(peer, "0\nping\n\n\n");
    expect_replies(peer, "");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_false(peer->session.auth_failed);
    world_end();
}

/* ---- draining ---- */

static void draining_ends_blocked_requests_and_serves_holders_only(void **state)
{
    static const char *const refused[] = {"ping\n\n\n",     "l\nk\n0\n",         "stats\n\n\n",
                                          "nonsense\n\n\n", "auth\n_\nsecret\n", "n\nk\nno token\n",
                                          "w\nk\n0\n",      "e\nk\n\n"};
    struct peer *holder;
    struct peer *waiter;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    char own_argument[sizeof(token) + 2];

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    send_text(holder, "l\nk\n0 30\n");
    strcpy(token, reply_token(holder));
    snprintf(own_argument, sizeof(own_argument), "l %s", token);
    send_text(waiter, "l\nk\n10\nping\n\n\n");
    world.context->draining = true;
    assert_false(driver_drain(&world.driver, holder));
    assert_true(driver_drain(&world.driver, waiter));
    read_on(waiter);
    /* The blocked request ends with one, and the request behind it with another. */
    expect_replies(waiter, "error_draining\nerror_draining\n");
    assert_int_equal(waiter->want, SESSION_WANT_CLOSE);
    disconnect(waiter);
    assert_true(claims_watch(&holder->session.claims, world.context));
    send_with_token(holder, "sr", "k", token, "");
    send_with_token(holder, "sn", "k", token, "");
    send_with_token(holder, "n", "k", token, " 50");
    send_with_token(holder, "own", "k", own_argument, "");
    send_with_token(holder, "r", "k", token, "");
    send_with_token(holder, "n", "k", token, "");
    send_with_token(holder, "own", "k", own_argument, "");
    send_with_token(holder, "r", "k", token, "");
    expect_replies(holder, "error\nerror\nok 50\nok\nok\nerror\nerror\nerror\n");
    assert_int_equal(holder->want, SESSION_WANT_INPUT);
    assert_true(claims_watch(&holder->session.claims, world.context)); /* a notice is on its way */
    deliver();
    assert_false(claims_watch(&holder->session.claims, world.context));
    send_text(holder, "l\nk\n0\nping\n\n\n");
    expect_replies(holder, "error_draining\n");
    assert_int_equal(holder->want, SESSION_WANT_CLOSE);
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct peer *peer;

        world.peer_count = 2;
        peer = connect_peer();
        send_text(peer, refused[i]);
        send_text(peer, "ping\n\n\n");
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
    send_text(holder, "sl\nk\n0 1\n");
    strcpy(token, reply_token(holder));
    send_text(waiter, "se\nk\n1\nsw\nk\n10\n");
    send_text(next, "sl\nk\n10 1\n");
    driver_drain(&world.driver, waiter);
    expect_replies(waiter, "queued\nerror_draining\n");
    send_with_token(holder, "sr", "k", token, "");
    deliver();
    expect_replies(next, "ok T 33\n");
    world_end();
}

static void draining_removes_clients_from_all_queues(void **state)
{
    static const char *const request[] = {"e\nj\n30\n", "se\nk\n2 30\n", "e\nl\n30\n"};
    struct peer *holder;
    struct peer *waiter;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){.workers = 2});
    holder = connect_peer();
    waiter = connect_peer();
    send_text(holder, "l\nj\n0 90\n");
    strcpy(token, reply_token(holder));
    send_text(holder, "sl\nk\n0 2 90\nsl\nk\n0 2 90\nl\nl\n0 90\n");
    expect_replies(holder, "ok T 90\nok T 90\nok T 90\n");
    for (size_t i = 0; i < sizeof(request) / sizeof(request[0]); i++) {
        send_text(waiter, request[i]);
        expect_replies(waiter, "queued\n");
    }
    assert_true(claims_watch(&waiter->session.claims, world.context));
    world.context->draining = true;
    assert_false(driver_drain(&world.driver, waiter));
    assert_false(driver_drain(&world.driver, holder));
    expect_replies(waiter, "");
    deliver();
    assert_false(claims_watch(&waiter->session.claims, world.context));
    assert_true(claims_watch(&holder->session.claims, world.context));
    send_with_token(holder, "r", "j", token, "");
    expect_replies(holder, "ok\n");
    send_text(waiter, "w\nj\n10\n");
    expect_replies(waiter, "error_draining\n");
    world_end();
}

static void a_grant_on_its_way_is_delivered_while_draining(void **state)
{
    struct peer *holder;
    struct peer *waiter;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    send_text(holder, "l\nk\n0 30\n");
    strcpy(token, reply_token(holder));
    send_text(waiter, "l\nk\n10 20\n");
    send_with_token(holder, "r", "k", token, "");
    world.context->draining = true;
    driver_drain(&world.driver, waiter);
    expect_replies(waiter, "");
    deliver();
    strcpy(token, reply_token(waiter));
    send_with_token(waiter, "r", "k", token, "");
    expect_replies(waiter, "ok\n");
    assert_int_equal(waiter->want, SESSION_WANT_INPUT);
    world_end();
}

/* ---- caps on claims ---- */

static void a_connection_reaches_its_cap_in_several_stripes(void **state)
{
    struct peer *first;
    struct peer *second;
    char text[64];

    (void)state;
    world_start((struct setting){.workers = 4, .claims_max_each = 20});
    first = connect_peer();
    second = connect_peer();
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "l\nkey-%d\n0 %d\n", i, i < 5 ? 5 : 60);
        send_text(first, text);
        snprintf(text, sizeof(text), "ok T %d\n", i < 5 ? 5 : 60);
        expect_replies(first, text);
    }
    send_text(first, "l\none-more\n0\ne\none-more\n\nl\nkey-7\n9\nl\nkey-7\n0\n");
    expect_replies(first, "error_max_locks\nerror_max_locks\nerror_max_waiters\ntimeout\n");
    send_text(second, "l\none-more\n0\n");
    expect_replies(second, "ok T 33\n");
    pass_until(6);
    send_text(first, "l\nkey-0\n0 60\nl\nkey-1\n0\nl\nkey-2\n0\nl\nkey-3\n0\nl\nkey-4\n0\n");
    expect_replies(first, "ok T 60\nok T 33\nok T 33\nok T 33\nok T 33\n");
    send_text(first, "l\nlast\n0\n");
    expect_replies(first, "error_max_locks\n");
    world_end();
}

static void released_claims_do_not_count(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){.workers = 2, .claims_max_each = 2});
    peer = connect_peer();
    for (int i = 0; i < 100; i++) {
        char token[DFLOCKD_TOKEN_LENGTH + 1];

        send_text(peer, "l\nk\n0\n");
        memcpy(token, reply_token(peer), sizeof(token));
        send_with_token(peer, "r", "k", token, "");
        expect_replies(peer, "ok\n");
    }
    send_text(peer, "l\nk\n0\nl\nj\n0\nl\ni\n0\n");
    expect_replies(peer, "ok T 33\nok T 33\nerror_max_locks\n");
    world_end();
}

static void own_takes_claims_beyond_a_connections_cap(void **state)
{
    struct peer *first;
    struct peer *second;
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    world_start((struct setting){.workers = 2, .claims_max_each = 1});
    first = connect_peer();
    second = connect_peer();
    send_text(first, "l\nk\n0\n");
    memcpy(token, reply_token(first), sizeof(token));
    send_text(second, "l\nj\n0\n");
    expect_replies(second, "ok T 33\n");
    send_with_token(second, "own", "k", "l ", token);
    expect_replies(second, "ok\n");
    send_text(first, "l\ni\n0\nl\nh\n0\n");
    expect_replies(first, "ok T 33\nerror_max_locks\n");
    world_end();
}

static void all_connections_share_the_cap_on_claims(void **state)
{
    struct peer *first;
    struct peer *second;

    (void)state;
    world_start((struct setting){.workers = 4, .claims_max = 3});
    first = connect_peer();
    second = connect_peer();
    send_text(first, "l\na\n0\nl\nb\n0\n");
    expect_replies(first, "ok T 33\nok T 33\n");
    send_text(second, "e\na\n\nl\nb\n9\n");
    expect_replies(second, "queued\nerror_max_waiters\n");
    send_text(first, "l\nc\n0\n");
    expect_replies(first, "error_max_locks\n");
    disconnect(second);
    send_text(first, "l\nc\n0\n");
    expect_replies(first, "ok T 33\n");
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_has_its_reply_in_order),
        cmocka_unit_test(tokens_release_and_renew_from_any_session),
        cmocka_unit_test(fences_in_tokens_rise),
        cmocka_unit_test(requests_behind_a_blocked_one_wait),
        cmocka_unit_test(a_session_continues_after_a_wait_that_times_out),
        cmocka_unit_test(replies_do_not_depend_on_how_bytes_are_split),
        cmocka_unit_test(single_bytes_give_the_same_replies_and_count_the_lines),
        cmocka_unit_test(a_line_can_have_the_maximum_length),
        cmocka_unit_test(an_endless_line_is_drained_in_bounded_memory),
        cmocka_unit_test(with_auth_the_first_request_must_be_the_right_token),
        cmocka_unit_test(a_read_reports_its_first_problem),
        cmocka_unit_test(a_read_reports_why_authentication_failed),
        cmocka_unit_test(an_auth_that_is_too_long_or_unfinished_fails),
        cmocka_unit_test(an_authenticated_session_ends_as_any_other),
        cmocka_unit_test(only_the_administrators_secret_makes_an_administrator),
        cmocka_unit_test(a_wrong_secret_ends_a_session_that_was_served),
        cmocka_unit_test(without_administrators_a_second_auth_is_an_error),
        cmocka_unit_test(a_wrong_secret_releases_what_the_session_held),
        cmocka_unit_test(a_draining_server_authenticates_no_administrator),
        cmocka_unit_test(an_unfinished_line_at_the_end_of_input_is_dropped),
        cmocka_unit_test(a_line_too_long_at_the_end_of_input_is_an_error),
        cmocka_unit_test(bytes_of_a_line_too_long_are_no_progress),
        cmocka_unit_test(a_read_timeout_is_an_error_and_ends_the_session),
        cmocka_unit_test(draining_ends_blocked_requests_and_serves_holders_only),
        cmocka_unit_test(draining_ends_an_enqueued_wait_and_its_place_in_the_queue),
        cmocka_unit_test(draining_removes_clients_from_all_queues),
        cmocka_unit_test(a_grant_on_its_way_is_delivered_while_draining),
        cmocka_unit_test(a_connection_reaches_its_cap_in_several_stripes),
        cmocka_unit_test(released_claims_do_not_count),
        cmocka_unit_test(own_takes_claims_beyond_a_connections_cap),
        cmocka_unit_test(all_connections_share_the_cap_on_claims),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
