/*
 * Turns of 1, 2 and 4 workers under load: real connections, sessions and stripes over simulated
 * rings. Each turn stays below its bound of steps, a ping has its reply within two turns, and all
 * work is done in the end. See tests/turns/world.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/time_units.h"
#include "server/connection_id.h"
#include "steps.h"
#include "stripes_fixture.h"
#include "world.h"

enum {
    CLIENTS_MAX = 12000,
    FOREVER_S = 100000
};

static const uint32_t worker_counts[] = {1, 2, 4};

/* Clients of one world. The test decides what they are. */
struct clients {
    struct world world;
    uint32_t count;
    int descriptor[CLIENTS_MAX];
    uint64_t expected[CLIENTS_MAX]; /* replies, as lines */
};

static struct clients clients;

static void start(struct world_setting setting, uint32_t count)
{
    world_start(&clients.world, &setting);
    clients.count = count;
    for (uint32_t i = 0; i < count; i++) {
        clients.descriptor[i] = world_connect(&clients.world, i % setting.workers);
        clients.expected[i] = 0;
    }
    world_settle(&clients.world);
}

static uint32_t below(uint32_t bound)
{
    return seeded_below(&clients.world.random, bound);
}

static bool all_have_replies(void *context)
{
    (void)context;
    for (uint32_t i = 0; i < clients.count; i++) {
        if (simulated_replies(clients.descriptor[i])->lines < clients.expected[i])
            return false;
    }
    return true;
}

static bool all_are_closed(void *context)
{
    (void)context;
    for (uint32_t i = 0; i < clients.count; i++) {
        if (!simulated_ended(clients.descriptor[i]))
            return false;
    }
    return true;
}

/* The first connection holds lock `h` and locks `h0` to `h<count - 1>`. */
static void hold(uint32_t count)
{
    world_send(clients.descriptor[0], "l\nh\n0 %d\n", FOREVER_S);
    for (uint32_t i = 0; i < count; i++)
        world_send(clients.descriptor[0], "l\nh%u\n0 %d\n", i, FOREVER_S);
    clients.expected[0] = count + 1;
    world_settle(&clients.world);
    assert_int_equal(simulated_replies(clients.descriptor[0])->ok, count + 1);
}

/* Sends requests that get a reply at once, to a client that is blocked. */
static void send_backlog(uint32_t client, uint32_t bytes_max)
{
    uint32_t bytes = bytes_max / 2 + below(bytes_max / 2);

    for (uint32_t sent = 0; sent < bytes; sent += 60) {
        world_send(clients.descriptor[client], "l\nh\n0\nl\nh\n0\nl\nh\n0\nl\nh\n0\nl\nh\n0\n"
                                               "l\nh\n0\nl\nh\n0\nl\nh\n0\nl\nh\n0\nl\nh\n0\n");
        clients.expected[client] += 10;
    }
}

/* ---- backlogs ---- */

/* One in 16 is so long that reading pauses. */
static void send_backlogs(void)
{
    for (uint32_t i = 1; i < clients.count; i++)
        send_backlog(i, below(16) ? 8 * 1024 : 100 * 1024);
    world_settle(&clients.world);
}

static void backlogs_that_time_outs_release(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, 1001);
        hold(0);
        for (uint32_t client = 1; client < clients.count; client++) {
            world_send(clients.descriptor[client], "l\nh\n8\n");
            clients.expected[client] = 1;
        }
        send_backlogs();
        world_ping(&clients.world);
        world_run(&clients.world, all_have_replies, NULL);
        for (uint32_t client = 1; client < clients.count; client++)
            assert_int_equal(simulated_replies(clients.descriptor[client])->timeouts,
                             clients.expected[client]);
        world_end(&clients.world, __func__);
    }
}

static void backlogs_that_grants_release(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, 1001);
        hold(1000);
        for (uint32_t client = 1; client < clients.count; client++) {
            world_send(clients.descriptor[client], "l\nh%u\n%d\n", client - 1, FOREVER_S / 10);
            clients.expected[client] = 1;
        }
        world_settle(&clients.world);
        for (uint32_t client = 1; client < clients.count; client++) {
            for (uint32_t ping = 0; ping < 1000; ping += 5)
                world_send(clients.descriptor[client],
                           "ping\n\n\nping\n\n\nping\n\n\nping\n\n\nping\n\n\n");
            clients.expected[client] += 1000;
        }
        world_settle(&clients.world);
        world_ping(&clients.world);
        simulated_end(clients.descriptor[0]);
        world_run(&clients.world, all_have_replies, NULL);
        for (uint32_t client = 1; client < clients.count; client++)
            assert_int_equal(simulated_replies(clients.descriptor[client])->ok, 1001);
        world_end(&clients.world, __func__);
    }
}

/* ---- ends ---- */

static void end_client(uint32_t client)
{
    if (below(2))
        simulated_end(clients.descriptor[client]);
    else
        simulated_reset(clients.descriptor[client]);
}

static void clients_with_many_claims_disconnect(void **state)
{
    enum {
        LEAVING = 500,
        CLAIMS = 400 /* of each */
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, LEAVING);
        for (uint32_t claim = 0; claim < CLAIMS; claim++) {
            for (uint32_t client = 0; client < LEAVING; client++)
                world_send(clients.descriptor[client],
                           claim % 2 ? "e\nk%u.%u\n\n" : "l\nk%u.%u\n0\n", client, claim);
        }
        world_settle(&clients.world);
        world_ping(&clients.world);
        for (uint32_t client = 0; client < LEAVING; client++)
            end_client(client);
        world_run(&clients.world, all_are_closed, NULL);
        world_end(&clients.world, __func__);
    }
}

static void masses_of_closes(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, 5000);
        world_ping(&clients.world);
        for (uint32_t client = 0; client < clients.count; client++)
            end_client(client);
        world_run(&clients.world, all_are_closed, NULL);
        world_end(&clients.world, __func__);
    }
}

static void masses_of_read_timeouts(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i], .read_timeout_s = 30}, 5000);
        for (uint32_t client = 0; client < clients.count; client += 2)
            world_send(clients.descriptor[client], "l\nk\n");
        world_wait(&clients.world, 20 * NS_PER_S);
        world_ping(&clients.world);
        world_run(&clients.world, all_are_closed, NULL);
        world_end(&clients.world, __func__);
    }
}

static void waits_and_leases_that_end_together(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, 5000);
        for (uint32_t client = 0; client < clients.count; client++) {
            for (uint32_t lease = 0; lease < 4; lease++)
                world_send(clients.descriptor[client], "l\nk%u.%u\n0 20\n", client, lease);
            world_send(clients.descriptor[client], "l\nk%u.0\n%d\n", (client + 1) % clients.count,
                       FOREVER_S / 10);
            clients.expected[client] = 5;
        }
        world_settle(&clients.world);
        world_wait(&clients.world, 10 * NS_PER_S);
        world_ping(&clients.world);
        world_run(&clients.world, all_have_replies, NULL);
        world_end(&clients.world, __func__);
    }
}

/* ---- statistics, drain ---- */

static void statistics_of_many_keys(void **state)
{
    enum {
        READERS = 4,
        HOLDERS = 100,
        KEYS = 1000 /* of each holder */
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, READERS + HOLDERS);
        for (uint32_t client = READERS; client < clients.count; client++) {
            for (uint32_t key = 0; key < KEYS; key++)
                world_send(clients.descriptor[client], "l\nkey-%u.%u\n0\n", client, key);
        }
        world_settle(&clients.world);
        world_ping(&clients.world);
        for (uint32_t client = 0; client < READERS; client++) {
            world_send(clients.descriptor[client], "stats\n\n\nping\n\n\n");
            clients.expected[client] = 2;
        }
        world_run(&clients.world, all_have_replies, NULL);
        world_end(&clients.world, __func__);
    }
}

static void shows_of_long_queues(void **state)
{
    enum {
        READERS = 1000,
        SHOWS = 3, /* of each */
        HOLDERS = 100,
        WAITERS = 10000
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, READERS + HOLDERS + WAITERS);
        for (uint32_t client = READERS; client < READERS + HOLDERS; client++)
            world_send(clients.descriptor[client], "rl\nh\n0\n");
        world_settle(&clients.world);
        for (uint32_t client = READERS + HOLDERS; client < clients.count; client++)
            world_send(clients.descriptor[client], "l\nh\n%d\n", FOREVER_S / 10);
        world_settle(&clients.world);
        world_ping(&clients.world);
        for (uint32_t client = 0; client < READERS; client++) {
            for (uint32_t show = 0; show < SHOWS; show++)
                world_send(clients.descriptor[client], "show\nh\nl\nping\n\n\n");
            clients.expected[client] = 2 * SHOWS;
        }
        world_run(&clients.world, all_have_replies, NULL);
        world_end(&clients.world, __func__);
    }
}

/* The clients behind the first always have pings that a turn does not reach. */
static void send_pings_of_busy_clients(void)
{
    for (uint32_t client = 1; client < clients.count; client++) {
        if (simulated_replies(clients.descriptor[client])->lines + 600 <= clients.expected[client])
            continue;
        for (int i = 0; i < 60; i++)
            world_send(clients.descriptor[client],
                       "ping\n\n\nping\n\n\nping\n\n\nping\n\n\nping\n\n\n");
        clients.expected[client] += 300;
    }
}

static bool rounds_are_over(void *context)
{
    uint32_t *rounds = context;

    send_pings_of_busy_clients();
    return (*rounds)-- == 0;
}

static bool show_has_its_reply(void *context)
{
    uint32_t *rounds = context;

    send_pings_of_busy_clients();
    if ((*rounds)-- == 0)
        fail_msg("`show` has no reply among %u busy clients", clients.count - 1);
    return simulated_replies(clients.descriptor[0])->lines == clients.expected[0];
}

static void a_show_among_busy_clients_has_its_reply(void **state)
{
    (void)state;
    for (uint32_t count = 2; count < 100; count++) {
        start((struct world_setting){.workers = 1}, count);
        hold(0);
        for (uint32_t show = 0; show < 10; show++) {
            uint32_t rounds = 1 + below(8);

            world_run(&clients.world, rounds_are_over, &rounds);
            world_send(clients.descriptor[0], "show\nh\nl\n");
            clients.expected[0]++;
            rounds = 30; /* 100 clients in turns of about 20 */
            world_run(&clients.world, show_has_its_reply, &rounds);
        }
        world_end(&clients.world, __func__);
    }
}

static void drain(void)
{
    for (uint32_t i = 0; i < clients.world.worker_count; i++) {
        connections_drain(&clients.world.workers[i].connections);
        connections_dismiss(&clients.world.workers[i].connections);
        clients.world.workers[i].busy = true;
    }
}

static void a_drain_with_many_queued_claims(void **state)
{
    enum {
        CLIENTS = 10000,
        QUEUED = 1000, /* clients with claims in queues */
        CLAIMS = 100
    };

    (void)state;
    for (int i = 0; i < 3; i++) {
        start((struct world_setting){.workers = worker_counts[i]}, CLIENTS);
        hold(CLAIMS);
        for (uint32_t client = 1; client <= QUEUED; client++) {
            for (uint32_t claim = 0; claim < CLAIMS; claim++)
                world_send(clients.descriptor[client], "e\nh%u\n\n", claim);
            world_send(clients.descriptor[client], "w\nh0\n1000\n");
        }
        world_settle(&clients.world);
        drain();
        world_settle(&clients.world);
        assert_false(simulated_ended(clients.descriptor[0]));
        for (uint32_t client = 1; client < CLIENTS; client++)
            assert_true(simulated_ended(clients.descriptor[client]));
        simulated_end(clients.descriptor[0]);
        world_run(&clients.world, all_are_closed, NULL);
        world_end(&clients.world, __func__);
    }
}

/* ---- all at random ---- */

static void send_at_random(uint32_t client)
{
    int descriptor = clients.descriptor[client];
    uint32_t key = below(20);

    switch (below(14)) {
    case 0:
    case 1:
        world_send(descriptor, "l\nk%u\n%u %u\n", key, below(3), 1 + below(3));
        break;
    case 2:
        world_send(descriptor, "sl\ns%u\n%u 3\n", key, below(3));
        break;
    case 3:
        world_send(descriptor, "e\nk%u\n2\n", key);
        break;
    case 4:
        world_send(descriptor, "w\nk%u\n1\n", key);
        break;
    case 5:
        world_send(descriptor, "stats\n\n\n");
        break;
    case 6:
        for (uint32_t i = below(2000); i > 0; i--)
            world_send(descriptor, "ping\n\n\n");
        break;
    case 7:
        world_send(descriptor, "l\nk%u\n", key);
        break;
    case 8:
        simulated_set_room(descriptor, below(3) ? below(200) : SIMULATED_ROOM_UNLIMITED);
        break;
    case 9:
        if (below(4) == 0)
            end_client(client);
        break;
    case 10:
        world_send(descriptor, "show\n%c%u\n%c\n", key % 2 ? 'k' : 's', key, key % 2 ? 'l' : 's');
        break;
    case 11:
        world_send(descriptor, "name\n_\nclient %u\n", client);
        break;
    default:
        world_send(descriptor, "ping\n\n\n");
    }
}

/* ---- effects ---- */

static struct lock_token tokens[2];

/* As another worker's client that holds lock `number`. */
static void hold_elsewhere(uint32_t number, const char *name)
{
    struct lock_key key = key_named(clients.world.stripes, LOCK_KIND_LOCK, name);
    uint64_t wake = 0;

    tokens[number] =
        acquire_in_stripes(clients.world.stripes, clients.world.now_ns,
                           connection_id_make(1000 + number, 1, 1000), &key, 0, FOREVER_S, &wake)
            .token;
}

static void release_elsewhere(uint32_t number, const char *name, uint64_t *wake)
{
    struct lock_key key = key_named(clients.world.stripes, LOCK_KIND_LOCK, name);

    assert_int_equal(apply_to_stripes(clients.world.stripes, clients.world.now_ns,
                                      release_request(&key, tokens[number]), wake)
                         .outcome,
                     DFLOCKD_OK);
}

static void release_the_second(void *context)
{
    uint64_t *wake = context;

    release_elsewhere(1, "second", wake);
}

/* The mailbox is not empty at that moment, so nobody wakes the worker for the second effect. */
static void an_effect_posted_while_others_are_taken_is_served(void **state)
{
    uint64_t wake = 0;

    (void)state;
    start((struct world_setting){.workers = 2}, 4);
    hold_elsewhere(0, "first");
    hold_elsewhere(1, "second");
    world_send(clients.descriptor[0], "l\nfirst\n%d\n", FOREVER_S);
    world_send(clients.descriptor[2], "l\nsecond\n%d\n", FOREVER_S);
    world_settle(&clients.world);
    release_elsewhere(0, "first", &wake);
    assert_true(wake & 1);
    clients.world.workers[0].busy = true;
    wake = 0;
    steps_interrupt_take(release_the_second, &wake);
    world_settle(&clients.world);
    assert_false(wake & 1);
    assert_int_equal(simulated_replies(clients.descriptor[0])->ok, 1);
    assert_int_equal(simulated_replies(clients.descriptor[2])->ok, 1);
    world_end(&clients.world, __func__);
}

static void any_load_ends(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        uint32_t workers = worker_counts[i];

        start((struct world_setting){.workers = workers, .read_timeout_s = 9, .write_timeout_s = 5},
              200);
        simulated_disturb(true);
        for (uint32_t event = 0; event < 20000; event++) {
            uint32_t client = below(clients.count);

            if (simulated_ended(clients.descriptor[client]))
                clients.descriptor[client] = world_connect(&clients.world, below(workers));
            else
                send_at_random(client);
            if (below(8) == 0)
                world_wait(&clients.world, below(2) ? 0 : NS_PER_S / 4);
        }
        world_wait(&clients.world, 60 * NS_PER_S);
        simulated_disturb(false);
        world_end(&clients.world, __func__);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backlogs_that_time_outs_release),
        cmocka_unit_test(backlogs_that_grants_release),
        cmocka_unit_test(clients_with_many_claims_disconnect),
        cmocka_unit_test(masses_of_closes),
        cmocka_unit_test(masses_of_read_timeouts),
        cmocka_unit_test(waits_and_leases_that_end_together),
        cmocka_unit_test(statistics_of_many_keys),
        cmocka_unit_test(shows_of_long_queues),
        cmocka_unit_test(a_show_among_busy_clients_has_its_reply),
        cmocka_unit_test(a_drain_with_many_queued_claims),
        cmocka_unit_test(an_effect_posted_while_others_are_taken_is_served),
        cmocka_unit_test(any_load_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
