/*
 * Names and addresses of connections: additions, removals, no memory, several threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory_counted.h"
#include "os/system_memory.h"
#include "seeded.h"
#include "server/connection_id.h"
#include "server/peers.h"

enum {
    WORKERS = 3,
    SLOTS = 40, /* of each worker, in the test with threads */
    ROUNDS = 20000,
    LOOKERS = 2,
    MANY = 3000 /* connections: several segments */
};

static struct slice slice_of(const char *text)
{
    return (struct slice){.bytes = (const uint8_t *)text, .length = (uint32_t)strlen(text)};
}

static void assert_peer(struct peers *peers, uint64_t id, const char *address, const char *name)
{
    struct peer_description peer;

    memset(&peer, 0xEE, sizeof(peer));
    peers_describe(peers, id, &peer);
    assert_string_equal(peer.address, address);
    assert_string_equal(peer.name, name);
}

static struct peers *create(struct memory_counted *counted)
{
    struct peers *peers;

    memory_counted_init(counted);
    peers = peers_create(&counted->memory, WORKERS);
    assert_non_null(peers);
    return peers;
}

static void end(struct peers *peers, const struct memory_counted *counted)
{
    peers_destroy(peers);
    memory_counted_assert_returned(counted);
}

/* ---- one thread ---- */

static void a_name_ends_with_its_connection(void **state)
{
    struct memory_counted counted;
    struct peers *peers = create(&counted);
    uint64_t first = connection_id_make(1, 2, 7);
    uint64_t second = connection_id_make(2, 2, 7);
    uint64_t neighbour = connection_id_make(3, 1, 7);

    (void)state;
    assert_peer(peers, first, "", "");
    assert_true(peers_add(peers, first, -1));
    assert_true(peers_add(peers, neighbour, -1));
    assert_peer(peers, first, "unknown", "");
    assert_true(peers_set_name(peers, first, slice_of("one")));
    assert_true(peers_set_name(peers, neighbour, slice_of("neighbour")));
    assert_peer(peers, first, "unknown", "one");
    assert_true(peers_set_name(peers, first, slice_of("a longer one")));
    assert_peer(peers, first, "unknown", "a longer one");
    assert_true(peers_set_name(peers, first, slice_of("x")));
    assert_peer(peers, first, "unknown", "x");
    assert_peer(peers, second, "", "");
    peers_remove(peers, first);
    assert_peer(peers, first, "", "");
    assert_true(peers_add(peers, second, -1));
    assert_peer(peers, first, "", "");
    assert_peer(peers, second, "unknown", "");
    peers_remove(peers, first); /* not in its slot any more */
    assert_true(peers_set_name(peers, second, slice_of("two")));
    assert_peer(peers, second, "unknown", "two");
    assert_peer(peers, neighbour, "unknown", "neighbour");
    peers_remove(peers, second);
    peers_remove(peers, neighbour);
    end(peers, &counted);
}

static void the_longest_name_and_the_largest_numbers_fit(void **state)
{
    struct memory_counted counted;
    struct peers *peers = create(&counted);
    uint64_t id = connection_id_make((UINT64_C(1) << 38) - 1, WORKERS - 1, 1000);
    char name[DFLOCKD_NAME_MAX + 1];

    (void)state;
    memset(name, 'n', DFLOCKD_NAME_MAX);
    name[DFLOCKD_NAME_MAX] = '\0';
    assert_true(peers_add(peers, id, -1));
    assert_true(peers_set_name(peers, id, slice_of(name)));
    assert_peer(peers, id, "unknown", name);
    assert_peer(peers, connection_id_make(1, WORKERS - 1, CONNECTION_ID_SLOTS - 1), "", "");
    peers_remove(peers, id);
    end(peers, &counted);
}

static void an_address_is_that_of_the_descriptor(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    struct memory_counted counted;
    struct peers *peers = create(&counted);
    uint64_t id = connection_id_make(1, 0, 0);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    char expected[64];
    int accepted;
    int pair[2];

    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, length), 0);
    accepted = accept(listener, (struct sockaddr *)&address, &length);
    assert_true(accepted >= 0);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", ntohs(address.sin_port));
    assert_true(peers_add(peers, id, accepted));
    assert_peer(peers, id, expected, "");
    peers_remove(peers, id);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_true(peers_add(peers, id, pair[0]));
    assert_peer(peers, id, "unix", "");
    peers_remove(peers, id);
    end(peers, &counted);
    close(listener);
    close(client);
    close(accepted);
    close(pair[0]);
    close(pair[1]);
}

static void connections_without_names_take_no_memory_for_them(void **state)
{
    struct memory_counted counted;
    struct peers *peers = create(&counted);
    uint64_t before = counted.bytes;
    char name[32];

    (void)state;
    for (uint32_t i = 0; i < MANY; i++)
        assert_true(peers_add(peers, connection_id_make(1 + i, 0, i), -1));
    assert_true(counted.bytes - before <= MANY * 8 + 2 * 4096);
    for (uint32_t i = 0; i < MANY; i += 2) {
        snprintf(name, sizeof(name), "client %u", i);
        assert_true(peers_set_name(peers, connection_id_make(1 + i, 0, i), slice_of(name)));
    }
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "client %u", i);
        assert_peer(peers, connection_id_make(1 + i, 0, i), "unknown", i % 2 ? "" : name);
    }
    for (uint32_t i = 0; i < MANY; i++)
        peers_remove(peers, connection_id_make(1 + i, 0, i));
    for (uint32_t i = 0; i < MANY; i++)
        assert_peer(peers, connection_id_make(1 + i, 0, i), "", "");
    end(peers, &counted);
}

/* After a failure everything is as before, and the next call succeeds. */
static void short_memory_leaves_everything_as_it_was(void **state)
{
    uint64_t id = connection_id_make(9, 0, MANY);
    bool complete = false;

    (void)state;
    for (uint64_t allocations = 0; !complete; allocations++) {
        struct memory_counted counted;
        struct peers *peers;

        memory_counted_init(&counted);
        counted.fail_after = allocations;
        peers = peers_create(&counted.memory, WORKERS);
        complete = peers && peers_add(peers, id, -1);
        if (complete) {
            complete = peers_set_name(peers, id, slice_of("name"));
            counted.fail_after = UINT64_MAX;
            assert_peer(peers, id, "unknown", complete ? "name" : "");
            assert_true(peers_set_name(peers, id, slice_of("next")));
            counted.fail_after = 0;
            assert_true(peers_set_name(peers, id, slice_of("last")));
            assert_peer(peers, id, "unknown", "last");
        } else if (peers) {
            assert_peer(peers, id, "", "");
        }
        if (peers)
            peers_remove(peers, id);
        peers_destroy(peers);
        memory_counted_assert_returned(&counted);
        assert_true(allocations < 1000);
    }
}

/* ---- several threads ---- */

struct crowd {
    struct peers *peers;
    _Atomic uint64_t number;
    _Atomic uint64_t ids[WORKERS][SLOTS]; /* the last connection of each slot */
    _Atomic bool ended;
    _Atomic(const char *) failure;
};

struct crowd_thread {
    struct crowd *crowd;
    uint32_t number;
    pthread_t thread;
};

/* A name tells its connection, in all of its bytes. */
static void write_name(char name[DFLOCKD_NAME_MAX + 1], uint64_t id)
{
    int length = snprintf(name, DFLOCKD_NAME_MAX + 1, "%llx.", (unsigned long long)id);

    memset(name + length, 'a' + (int)(id % 26), DFLOCKD_NAME_MAX - (size_t)length);
    name[DFLOCKD_NAME_MAX] = '\0';
}

static void expect_that(struct crowd *crowd, bool holds, const char *failure)
{
    if (!holds)
        atomic_store(&crowd->failure, failure);
}

/* Opens, names and closes the connections of one worker. */
static void *change_connections(void *context)
{
    struct crowd_thread *self = context;
    struct crowd *crowd = self->crowd;
    uint64_t open[SLOTS] = {0};
    struct seeded seeded;

    seeded_init(&seeded, "peers");
    /* The last rounds close what is open. */
    for (uint32_t round = 0; round < ROUNDS + SLOTS; round++) {
        uint32_t slot = round < ROUNDS ? seeded_below(&seeded, SLOTS) : round - ROUNDS;
        char name[DFLOCKD_NAME_MAX + 1];
        struct peer_description peer;

        if (open[slot]) {
            write_name(name, open[slot]);
            expect_that(crowd, peers_set_name(crowd->peers, open[slot], slice_of(name)), "memory");
            peers_describe(crowd->peers, open[slot], &peer);
            expect_that(crowd, strcmp(peer.name, name) == 0, "a name is not the last one");
            peers_remove(crowd->peers, open[slot]);
            peers_describe(crowd->peers, open[slot], &peer);
            expect_that(crowd, !*peer.name && !*peer.address, "a closed connection has a name");
            open[slot] = 0;
        } else if (round < ROUNDS) {
            open[slot] =
                connection_id_make(atomic_fetch_add(&crowd->number, 1) + 1, self->number, slot);
            expect_that(crowd, peers_add(crowd->peers, open[slot], -1), "memory");
            atomic_store(&crowd->ids[self->number][slot], open[slot]);
        }
    }
    return NULL;
}

/* A connection has its own name, or none. */
static void *look_up_connections(void *context)
{
    struct crowd_thread *self = context;
    struct crowd *crowd = self->crowd;
    struct seeded seeded;

    seeded_init(&seeded, "peers");
    while (!atomic_load(&crowd->ended)) {
        uint64_t id =
            atomic_load(&crowd->ids[seeded_below(&seeded, WORKERS)][seeded_below(&seeded, SLOTS)]);
        char name[DFLOCKD_NAME_MAX + 1];
        struct peer_description peer;

        if (id == 0)
            continue;
        write_name(name, id);
        peers_describe(crowd->peers, id, &peer);
        expect_that(crowd, !*peer.name || strcmp(peer.name, name) == 0,
                    "a connection has the name of another one");
        expect_that(crowd, !*peer.address || strcmp(peer.address, "unknown") == 0,
                    "a connection has a torn address");
    }
    return NULL;
}

static void threads_see_each_name_whole_and_with_its_connection(void **state)
{
    static struct crowd crowd;
    struct crowd_thread threads[WORKERS + LOOKERS];

    (void)state;
    crowd.peers = peers_create(&system_memory, WORKERS);
    assert_non_null(crowd.peers);
    for (uint32_t i = 0; i < WORKERS + LOOKERS; i++) {
        threads[i] = (struct crowd_thread){.crowd = &crowd, .number = i};
        assert_int_equal(pthread_create(&threads[i].thread, NULL,
                                        i < WORKERS ? change_connections : look_up_connections,
                                        &threads[i]),
                         0);
    }
    for (uint32_t i = 0; i < WORKERS + LOOKERS; i++) {
        if (i == WORKERS)
            atomic_store(&crowd.ended, true);
        assert_int_equal(pthread_join(threads[i].thread, NULL), 0);
    }
    peers_destroy(crowd.peers);
    if (atomic_load(&crowd.failure))
        fail_msg("%s", atomic_load(&crowd.failure));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_ends_with_its_connection),
        cmocka_unit_test(the_longest_name_and_the_largest_numbers_fit),
        cmocka_unit_test(an_address_is_that_of_the_descriptor),
        cmocka_unit_test(connections_without_names_take_no_memory_for_them),
        cmocka_unit_test(short_memory_leaves_everything_as_it_was),
        cmocka_unit_test(threads_see_each_name_whole_and_with_its_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
