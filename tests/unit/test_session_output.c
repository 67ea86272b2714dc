/*
 * The effects and the output of a session: pending grants, disconnects, full output, lack of
 * memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "session_fixture.h"

/* ---- effects and disconnects ---- */

static void a_grant_with_an_ended_lease_is_an_error(void **state)
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
    send_text(waiter, "l\nk\n10 5\nping\n\n\n");
    send_with_token(holder, "r", "k", token, "");
    pass_until(6);
    deliver();
    expect_replies(waiter, "error_lease_expired\nok\n");
    world_end();
}

static void a_grant_on_its_way_to_a_closed_peer_passes_on(void **state)
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
        send_text(holder, "l\nk\n0 30\n");
        strcpy(token, reply_token(holder));
        send_text(gone, "l\nk\n10\n");
        send_text(next, "l\nk\n10\n");
        send_with_token(holder, "r", "k", token, "");
        /* The client disconnects while its effect is pending. */
        session_input_ended(&gone->session, world.context, &gone->output);
        disconnect(gone);
        assert_int_equal(driver_take_effect(&world.driver, 0, &effect), 1);
        assert_int_equal(effect.connection_id, gone->session.claims.connection_id);
        deliver();
        expect_replies(next, "ok T 33\n");
        expect_replies(gone, "");
        world_end();
    }
}

static void a_blocked_peer_that_disconnects_leaves_the_queue(void **state)
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
    send_text(holder, "l\nk\n0 30\n");
    strcpy(token, reply_token(holder));
    send_text(gone, "l\nk\n10\nping\n\n\n");
    send_text(next, "l\nk\n10\n");
    session_input_ended(&gone->session, world.context, &gone->output);
    disconnect(gone);
    send_with_token(holder, "r", "k", token, "");
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
        send_text(first, asked[i]);
        expect_replies(first, "acquired T 33\n");
        send_text(second, asked[i]);
        expect_replies(second, "queued\n");
        send_text(next, others[i]);
        disconnect(second);
        disconnect(first);
        deliver();
        expect_replies(next, "ok T 33\n");
        world_end();
    }
}

static void a_disconnect_releases_claims_in_many_stripes(void **state)
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
    assert_false(claims_watch(&holder->session.claims, world.context));
    for (int i = 0; i < KEYS; i++) {
        snprintf(text, sizeof(text), "l\nk%d\n0 %d\n", i, 10 + i);
        send_text(holder, text);
    }
    assert_true(claims_watch(&holder->session.claims, world.context));
    disconnect(holder);
    for (int i = 0; i < KEYS; i++) {
        snprintf(text, sizeof(text), "l\nk%d\n0\n", i);
        send_text(next, text);
        expect_replies(next, "ok T 33\n");
    }
    disconnect(next);
    assert_false(claims_watch(&next->session.claims, world.context));
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
    driver_add_input(peer, pings, PINGS * 7);
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

static void a_session_without_memory_for_a_reply_ends(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    world.output_memory.fail_after = 0;
    send_text(peer, "ping\n\n\nl\nk\n0\n");
    assert_int_equal(peer->want, SESSION_WANT_CLOSE);
    assert_int_equal(peer->start, strlen("ping\n\n\n"));
    expect_replies(peer, "");
    disconnect(peer);
    world_end();
}

static void a_grant_without_memory_for_its_reply_is_always_released(void **state)
{
    static const char *const asked[] = {"l\nk\n0\n", "e\nk\n\n", "l\nk\n10\n",
                                        "e\nk\n\nw\nk\n10\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        bool waits = i >= 2;
        struct lock_key key;
        struct lock_answer held = {0};
        struct peer *peer;
        struct peer *next;

        world_start((struct setting){.keep_on_disconnect = true});
        peer = connect_peer();
        next = connect_peer();
        key = stripes_key(world.stripes, LOCK_KIND_LOCK,
                          (struct slice){.bytes = (const uint8_t *)"k", .length = 1});
        if (waits)
            held = apply_to_stripes(world.stripes, SECOND,
                                    acquire_request(connection_id_make(9, 0, 9), &key, 1, 0, 30),
                                    &world.context->wake);
        /* The reply `queued` still gets memory. */
        if (i < 3)
            world.output_memory.fail_after = 0;
        send_text(peer, asked[i]);
        if (waits) {
            void *taken[POOL_CHUNK_BYTES / OUTPUT_CHUNK_BYTES + 1];
            int count = 0;

            world.output_memory.fail_after = 0;
            while ((taken[count] = pool_take(world.output_pool)))
                count++;
            apply_to_stripes(world.stripes, SECOND, release_request(&key, held.token),
                             &world.context->wake);
            deliver();
            while (count > 0)
                pool_give(world.output_pool, taken[--count]);
        }
        assert_int_equal(peer->want, SESSION_WANT_CLOSE);
        world.output_memory.fail_after = UINT64_MAX;
        disconnect(peer);
        send_text(next, "l\nk\n0\n");
        expect_replies(next, "ok T 33\n");
        world_end();
    }
}

static void a_request_without_memory_is_an_error(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    world.memory.fail_after = 0;
    send_text(peer, "l\nk\n0\ne\nk\n\nsl\nk\n0 2\nping\n\n\n");
    expect_replies(peer, "error\nerror\nerror\nok\n");
    world.memory.fail_after = UINT64_MAX;
    send_text(peer, "l\nk\n0\n");
    expect_replies(peer, "ok T 33\n");
    world_end();
}

static void a_session_is_idle_when_it_holds_nothing_in_any_stripe(void **state)
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
    assert_false(claims_watch(&peer->session.claims, world.context));
    for (int i = 0; i < KEYS; i++) {
        char text[32];

        snprintf(text, sizeof(text), "l\nk%d\n0\n", i);
        send_text(peer, text);
        strcpy(tokens[i], reply_token(peer));
    }
    watched = claims_watch(&peer->session.claims, world.context);
    assert_true(watched);
    for (int i = 0; i < KEYS; i++) {
        struct stripes_effect effect;
        char key[16];

        snprintf(key, sizeof(key), "k%d", i);
        send_with_token(peer, "r", key, tokens[i], "");
        while (driver_take_effect(&world.driver, 0, &effect)) {
            assert_int_equal(effect.answer.outcome, LOCK_IDLE);
            /* The session does not watch again before it has the notice. */
            assert_true(claims_watch(&peer->session.claims, world.context));
            claims_notice(&peer->session.claims);
            watched = claims_watch(&peer->session.claims, world.context);
        }
        assert_int_equal(watched, i + 1 < KEYS);
    }
    disconnect(peer);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_grant_with_an_ended_lease_is_an_error),
        cmocka_unit_test(a_grant_on_its_way_to_a_closed_peer_passes_on),
        cmocka_unit_test(a_blocked_peer_that_disconnects_leaves_the_queue),
        cmocka_unit_test(a_peer_that_only_enqueued_leaves_nothing_behind),
        cmocka_unit_test(a_disconnect_releases_claims_in_many_stripes),
        cmocka_unit_test(a_session_reads_no_more_while_its_output_is_full),
        cmocka_unit_test(a_session_without_memory_for_a_reply_ends),
        cmocka_unit_test(a_grant_without_memory_for_its_reply_is_always_released),
        cmocka_unit_test(a_request_without_memory_is_an_error),
        cmocka_unit_test(a_session_is_idle_when_it_holds_nothing_in_any_stripe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
