/* Clients without a lease leave the reserve of buffers to holders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/backlog.h"
#include "server/buffer_rules.h"
#include "session_fixture.h"

enum {
    BUFFER_BYTES = 1024 * 1024,
    RESERVE = BUFFER_BYTES / 8,
    LARGE = 64 * 1024
};

static struct budget buffers;

static void start(void)
{
    world_start((struct setting){.workers = 4});
    budget_init(&buffers, &world.memory.memory, BUFFER_BYTES);
    world.context->buffers = &buffers;
}

static void leave(size_t bytes)
{
    assert_true(bytes <= BUFFER_BYTES);
    atomic_store(&buffers.used, BUFFER_BYTES - bytes);
}

static bool may_reply(const struct peer *peer)
{
    return buffer_rules_allow_reply(world.context, &peer->session);
}

static bool may_keep(const struct peer *peer, size_t size)
{
    return buffer_rules_allow_input(world.context, &peer->session, size);
}

static bool may_leave_unsent(const struct peer *peer)
{
    return buffer_rules_allow_unsent(world.context, &peer->session);
}

static struct peer *connect_and_send(const char *text)
{
    struct peer *peer = connect_peer();

    send_text(peer, text);
    return peer;
}

static void a_client_without_a_lease_leaves_the_reserve(void **state)
{
    (void)state;
    start();
    connect_and_send("l\nk\n0 1000\n");
    connect_and_send("l\nj\n0 1000\n");
    for (int i = 0; i < 3; i++) {
        /* It was never a client, waits, or has released its lease. */
        static const char *const texts[] = {"", "e\nk\n\nl\nj\n1000\n", "l\nfree\n0\n"};
        struct peer *peer = connect_and_send(texts[i]);

        if (i == 2)
            send_with_token(peer, "r", "free", reply_token(peer), "");
        leave(RESERVE + LARGE);
        assert_true(may_reply(peer) && may_leave_unsent(peer));
        assert_true(may_keep(peer, BACKLOG_MIN) && may_keep(peer, LARGE));
        leave(RESERVE + LARGE - 1);
        assert_true(may_keep(peer, BACKLOG_MIN) && !may_keep(peer, LARGE));
        leave(RESERVE + BACKLOG_MIN - 1);
        assert_true(may_reply(peer) && may_leave_unsent(peer));
        assert_false(may_keep(peer, BACKLOG_MIN));
        leave(RESERVE - 1);
        assert_true(may_reply(peer) && !may_leave_unsent(peer));
        leave(RESERVE / 2);
        assert_true(may_reply(peer));
        leave(RESERVE / 2 - 1);
        assert_false(may_reply(peer));
    }
    leave(BUFFER_BYTES);
    world_end();
}

static void a_holder_may_use_the_reserve(void **state)
{
    struct peer *peer;

    (void)state;
    start();
    peer = connect_and_send("l\nk\n0 1000\nl\nj\n0 1000\n");
    leave(RESERVE / 2 + LARGE);
    assert_true(may_keep(peer, LARGE) && may_leave_unsent(peer));
    leave(RESERVE / 2 + LARGE - 1);
    assert_true(may_leave_unsent(peer) && !may_keep(peer, LARGE));
    leave(RESERVE / 2 - 1);
    assert_false(may_leave_unsent(peer));
    leave(0);
    assert_true(may_reply(peer) && may_keep(peer, BACKLOG_MIN));
    assert_false(may_keep(peer, BACKLOG_MIN + 1));
    leave(BUFFER_BYTES);
    world_end();
}

static void a_client_that_is_granted_a_lease_is_a_holder_at_once(void **state)
{
    struct peer *holder;
    struct peer *waiter;

    (void)state;
    start();
    holder = connect_and_send("l\nk\n0\n");
    waiter = connect_and_send("l\nk\n1000\n");
    leave(0);
    assert_false(may_reply(waiter));
    leave(RESERVE);
    send_with_token(holder, "r", "k", reply_token(holder), "");
    leave(0);
    assert_false(may_reply(holder));
    assert_true(may_reply(waiter));
    leave(BUFFER_BYTES);
    deliver();
    world_end();
}

static void few_replies_are_written_while_the_reserve_is_in_use(void **state)
{
    struct peer *peer;

    (void)state;
    start();
    peer = connect_peer();
    for (int i = 0; i < 1000; i++)
        driver_add_input(peer, "ping\n\n\n", 7);
    leave(RESERVE);
    assert_int_equal(read_once(peer).want, SESSION_WANT_INPUT);
    flush(peer);
    for (int i = 0; i < 1000; i++)
        driver_add_input(peer, "ping\n\n\n", 7);
    leave(RESERVE - 1);
    assert_int_equal(read_once(peer).want, SESSION_WANT_ROOM);
    assert_in_range(peer->output.length, SESSION_OUTPUT_FRUGAL, SESSION_OUTPUT_FRUGAL + 2);
    leave(BUFFER_BYTES);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_without_a_lease_leaves_the_reserve),
        cmocka_unit_test(a_holder_may_use_the_reserve),
        cmocka_unit_test(a_client_that_is_granted_a_lease_is_a_holder_at_once),
        cmocka_unit_test(few_replies_are_written_while_the_reserve_is_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
