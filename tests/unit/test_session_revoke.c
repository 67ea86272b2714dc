/*
 * Sessions of administrators and of those who look at a key: `revoke`, `show` and `name`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "server/turn.h"
#include "session_fixture.h"

#define ADMINISTRATOR "auth\n_\nadmin\n"

/* Fences count from 1 here. */
#define FENCE(n) "000000000000000" #n

static struct peer *connect_administrator(void)
{
    struct peer *peer;

    world_start((struct setting){.admin_token = "admin"});
    peer = connect_peer();
    send_text(peer, ADMINISTRATOR);
    expect_replies(peer, "ok\n");
    return peer;
}

static uint64_t revocations(void)
{
    return world.driver.workers[0].revocations;
}

static void a_revoked_grant_passes_to_the_next_waiter(void **state)
{
    struct peer *administrator = connect_administrator();
    struct peer *holder = connect_peer();
    struct peer *waiter = connect_peer();
    char token[DFLOCKD_TOKEN_LENGTH + 1];

    (void)state;
    send_text(holder, "l\nk\n0\n");
    snprintf(token, sizeof(token), "%s", reply_token(holder));
    send_text(waiter, "l\nk\n9\n");
    send_text(administrator, "revoke\nk\nl " FENCE(1) "\n");
    expect_replies(administrator, "ok\n");
    deliver();
    expect_replies(waiter, "ok T 33\n");
    send_with_token(holder, "n", "k", token, " 5");
    send_with_token(holder, "r", "k", token, "");
    expect_replies(holder, "error\nerror\n");
    assert_int_equal(revocations(), 1);
    world_end();
}

static void a_client_without_rights_revokes_nothing(void **state)
{
    static const char revoke[] = "revoke\nk\nl " FENCE(1) "\n";
    struct peer *administrator = connect_administrator();
    struct peer *client = connect_peer();
    struct session_progress progress;

    (void)state;
    send_text(client, "l\nk\n0\n");
    expect_replies(client, "ok T 33\n");
    driver_add_input(client, revoke, strlen(revoke));
    progress = read_once(client);
    assert_int_equal(progress.problem, SESSION_PROBLEM_NO_RIGHTS);
    expect_replies(client, "error\n");
    assert_int_equal(revocations(), 0);
    send_text(administrator, "l\nk\n0\n");
    expect_replies(administrator, "timeout\n");
    world_end();
}

static void a_revoke_names_key_kind_and_fence_of_a_grant(void **state)
{
    static const char *const others[] = {
        "revoke\nk\nl " FENCE(2) "\n", "revoke\nj\nl " FENCE(1) "\n", "revoke\nk\ns " FENCE(1) "\n",
        "revoke\nk\nl " FENCE(9) "\n", "revoke\nm\nl " FENCE(1) "\n",
    };
    struct peer *administrator = connect_administrator();

    (void)state;
    send_text(administrator, "l\nk\n0\nl\nj\n0\nsl\nk\n0 2\n");
    expect_replies(administrator, "ok T 33\nok T 33\nok T 33\n");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        send_text(administrator, others[i]);
        expect_replies(administrator, "error\n");
    }
    send_text(administrator, "revoke\nk\nl " FENCE(1) "\nrevoke\nk\nl " FENCE(1) "\n");
    send_text(administrator, "revoke\nk\ns " FENCE(3) "\n");
    expect_replies(administrator, "ok\nerror\nok\n");
    assert_int_equal(revocations(), 2);
    world_end();
}

static void a_grant_revoked_in_the_mailbox_is_not_reported(void **state)
{
    struct peer *administrator = connect_administrator();
    struct peer *first = connect_peer();
    struct peer *second = connect_peer();

    (void)state;
    send_text(administrator, "l\nk\n0\n");
    send_text(first, "l\nk\n9\nping\n_\n_\n");
    send_text(second, "l\nk\n9\n");
    send_with_token(administrator, "r", "k", reply_token(administrator), "");
    send_text(administrator, "revoke\nk\nl " FENCE(2) "\n");
    expect_replies(administrator, "ok\nok\n");
    deliver();
    expect_replies(first, "error_lease_expired\nok\n");
    expect_replies(second, "ok T 33\n");
    world_end();
}

static void a_grant_that_a_later_clock_ended_is_not_reported(void **state)
{
    struct peer *holder, *first, *second;

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    first = connect_peer();
    second = connect_peer();
    send_text(holder, "l\nk\n0\n");
    send_text(first, "l\nk\n9 1\n");
    send_text(second, "l\nk\n9\n");
    send_with_token(holder, "r", "k", reply_token(holder), "");
    /* The clock of another worker. */
    stripes_expire(world.stripes, world.context->now_ns + 2 * SECOND, 0, &(uint32_t){STEPS},
                   &world.context->wake);
    deliver();
    expect_replies(first, "error_lease_expired\n");
    expect_replies(second, "ok T 33\n");
    world_end();
}

static void a_grant_is_not_reported_at_the_end_of_its_lease(void **state)
{
    struct peer *holder, *waiter;

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    send_text(holder, "l\nk\n0\n");
    send_text(waiter, "l\nk\n9 1\n");
    send_with_token(holder, "r", "k", reply_token(holder), "");
    world.context->now_ns += SECOND; /* the table has not processed it yet */
    deliver();
    expect_replies(waiter, "error_lease_expired\n");
    world_end();
}

static void a_grant_in_the_mailbox_survives_the_revocation_of_another(void **state)
{
    struct peer *administrator = connect_administrator();
    struct peer *waiter = connect_peer();

    (void)state;
    send_text(administrator, "l\nk\n0\n");
    send_text(waiter, "l\nk\n9\n");
    send_with_token(administrator, "r", "k", reply_token(administrator), "");
    send_text(administrator, "l\nj\n0\nrevoke\nj\nl " FENCE(3) "\n");
    expect_replies(administrator, "ok\nok T 33\nok\n");
    deliver();
    expect_replies(waiter, "ok T 33\n");
    world_end();
}

static void an_enqueued_client_learns_of_the_revocation_by_its_wait(void **state)
{
    struct peer *administrator = connect_administrator();
    struct peer *client = connect_peer();

    (void)state;
    send_text(client, "e\nk\n\n");
    send_text(administrator, "revoke\nk\nl " FENCE(1) "\n");
    expect_replies(administrator, "ok\n");
    send_text(client, "w\nk\n9\nw\nk\n9\n");
    expect_replies(client, "acquired T 33\nerror_lease_expired\nerror_not_enqueued\n");
    world_end();
}

/* ---- show and name ---- */

static void show_lists_holders_by_grant_and_waiters_by_place(void **state)
{
    struct peer *first, *second, *third;

    (void)state;
    world_start((struct setting){0});
    first = connect_peer();
    second = connect_peer();
    third = connect_peer();
    send_text(first, "name\n_\n Zo\xc3\xab \"1\" \nrl\nk\n0 40\n");
    send_text(second, "rl\nk\n0\n");
    expect_replies(first, "ok\nok T 40\n");
    send_text(second, "e\nk\n\n");
    expect_replies(second, "ok T 33\nqueued\n");
    send_text(third, "rl\nk\n9\n");
    world.context->now_ns += SECOND / 2 + 2048; /* a wait is exact to 1024 ns */
    send_text(first, "show\nk\nl\nshow\nk\ns\n");
    expect_replies(
        first,
        "ok {\"key\":\"k\",\"kind\":\"lock\",\"limit\":1,\"holder_count\":2,\"waiter_count\":2,"
        "\"holders\":["
        "{\"fence\":\"" FENCE(
            1) "\",\"mode\":\"shared\",\"connection\":1,\"address\":\"unknown\","
               "\"name\":\"Zo\xc3\xab \\\"1\\\"\",\"held_s\":0.536,\"lease_expires_in_s\":39.499},"
               "{\"fence\":\"" FENCE(
                   2) "\",\"mode\":\"shared\",\"connection\":2,\"address\":\"unknown\","
                      "\"name\":\"\",\"held_s\":0.536,\"lease_expires_in_s\":32.499}],"
                      "\"waiters\":["
                      "{\"position\":1,\"mode\":\"exclusive\",\"connection\":2,\"address\":"
                      "\"unknown\","
                      "\"name\":\"\",\"waiting_s\":0.500,\"timeout_in_s\":null},"
                      "{\"position\":2,\"mode\":\"shared\",\"connection\":3,\"address\":"
                      "\"unknown\","
                      "\"name\":\"\",\"waiting_s\":0.500,\"timeout_in_s\":8.499}]}\n"
                      "error\n");
    disconnect(first);
    world_end();
}

static void show_lists_the_first_holders(void **state)
{
    enum {
        HOLDERS = TABLE_SHOWN_MAX + 1
    };
    struct peer *peer;
    const char *at;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    for (uint32_t i = 0; i < HOLDERS; i++)
        send_text(peer, "rl\nk\n0\n");
    send_text(peer, "show\nk\nl\n");
    at = strstr(peer->replies, "\"holder_count\":101,");
    for (uint32_t fence = 1; fence <= TABLE_SHOWN_MAX; fence++) {
        char text[64];

        snprintf(text, sizeof(text), "{\"fence\":\"%016x\"", fence);
        assert_non_null(at);
        at = strstr(at + 1, text);
    }
    assert_non_null(at);
    assert_null(strstr(at + 1, "{\"fence\""));
    world_end();
}

static void a_queued_waiter_that_is_due_for_a_grant_has_no_timeout(void **state)
{
    struct peer *holder;
    struct peer *queued[TABLE_GRANTS_MAX + 1];

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    send_text(holder, "l\nk\n0\n");
    for (uint32_t i = 0; i <= TABLE_GRANTS_MAX; i++) {
        queued[i] = connect_peer();
        send_text(queued[i], "re\nk\n\n");
    }
    send_with_token(holder, "r", "k", reply_token(holder), "");
    send_text(holder, "show\nk\nl\n");
    assert_non_null(strstr(holder->replies, "\"waiter_count\":1"));
    assert_non_null(strstr(holder->replies, "\"timeout_in_s\":null"));
    world_end();
}

static void a_session_with_few_steps_leaves_show_for_another_turn(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    world.driver.steps = SESSION_SHOW_MIN;
    driver_add_input(peer, "ping\n_\n_\nshow\nk\nl\n", 18);
    assert_int_equal(read_once(peer).want, SESSION_WANT_TURN);
    expect_replies(peer, "ok\n");
    assert_int_equal(read_once(peer).want, SESSION_WANT_INPUT);
    expect_replies(peer, "error\n");
    world_end();
}

/* Else `show` would wait for as long as the same connections before it use up each turn. */
static void the_last_connection_of_a_turn_has_steps_for_show(void **state)
{
    struct turn turn = {0};

    (void)state;
    for (enum turn_phase phase = TURN_EXPIRIES; phase <= TURN_LATER; phase++)
        turn_enter(&turn, phase);
    turn_divide(&turn, 8);
    turn_spend(&turn, (uint32_t)turn.left - 1);
    assert_false(turn_is_over(&turn));
    assert_true(turn_take_share(&turn) >= SESSION_SHOW_MIN);
    assert_true(turn_is_over(&turn));
}

static void a_name_is_printable_text(void **state)
{
    static const struct {
        const char *name;
        const char *reply;
    } cases[] = {
        {"a@b c", "ok\n"},
        {"\xe7\x8a\xac\xf0\x9f\x90\x95", "ok\n"},
        {"", "error\n"},
        {" ", "error\n"},
        {"a\x1b[m", "error\n"},
        {"a\x7f", "error\n"},
        {"a\xc2\x85", "error\n"},     /* a control of two bytes */
        {"a\xe2\x80\xa8", "error\n"}, /* a line separator */
        {"a\xe2\x80\xae", "error\n"}, /* right to left */
        {"\xff", "error\n"},
        {"\xe0\x80\xaf", "error\n"},
        {"\xc3", "error\n"},
    };
    char text[2 * DFLOCKD_NAME_MAX];
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "name\n_\n%s\n", cases[i].name);
        send_text(peer, text);
        expect_replies(peer, cases[i].reply);
    }
    snprintf(text, sizeof(text), "name\n_\n%0*d\n", DFLOCKD_NAME_MAX, 0);
    send_text(peer, text);
    snprintf(text, sizeof(text), "name\n_\n%0*d\n", DFLOCKD_NAME_MAX + 1, 0);
    send_text(peer, text);
    expect_replies(peer, "ok\nerror\n");
    disconnect(peer);
    world_end();
}

static void a_new_connection_in_a_slot_has_no_name(void **state)
{
    struct peer *peer, *other;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    other = connect_peer();
    send_text(peer, "name\n_\nfirst\n");
    expect_replies(peer, "ok\n");
    disconnect(peer);
    send_text(other, "name\n_\nsecond\n"); /* takes the memory of the first name */
    driver_connect(&world.driver, peer, 0);
    send_text(peer, "l\nk\n0\nshow\nk\nl\n");
    assert_non_null(strstr(peer->replies, "\"name\":\"\""));
    disconnect(other);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_revoked_grant_passes_to_the_next_waiter),
        cmocka_unit_test(a_client_without_rights_revokes_nothing),
        cmocka_unit_test(a_revoke_names_key_kind_and_fence_of_a_grant),
        cmocka_unit_test(a_grant_revoked_in_the_mailbox_is_not_reported),
        cmocka_unit_test(a_grant_that_a_later_clock_ended_is_not_reported),
        cmocka_unit_test(a_grant_is_not_reported_at_the_end_of_its_lease),
        cmocka_unit_test(a_grant_in_the_mailbox_survives_the_revocation_of_another),
        cmocka_unit_test(an_enqueued_client_learns_of_the_revocation_by_its_wait),
        cmocka_unit_test(show_lists_holders_by_grant_and_waiters_by_place),
        cmocka_unit_test(show_lists_the_first_holders),
        cmocka_unit_test(a_queued_waiter_that_is_due_for_a_grant_has_no_timeout),
        cmocka_unit_test(a_session_with_few_steps_leaves_show_for_another_turn),
        cmocka_unit_test(the_last_connection_of_a_turn_has_steps_for_show),
        cmocka_unit_test(a_name_is_printable_text),
        cmocka_unit_test(a_new_connection_in_a_slot_has_no_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
