/*
 * The count of connections of each address: limits, many addresses, no memory, several threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "memory_counted.h"
#include "server/ip_limits.h"

enum {
    THREADS = 4,
    ROUNDS = 50000,
    SHARED = 3 /* connections of one address that four threads may have */
};

static void name(uint8_t address[SOCKETS_PEER_BYTES], uint32_t number)
{
    memset(address, 0, SOCKETS_PEER_BYTES);
    memcpy(address + 12, &number, sizeof(number));
}

static struct ip_limits *create(struct memory_counted *counted, uint64_t connections_max)
{
    struct ip_limits *peers;

    memory_counted_init(counted);
    peers = ip_limits_create(&counted->memory, connections_max);
    assert_non_null(peers);
    return peers;
}

static uint32_t enter(struct ip_limits *peers, uint32_t number)
{
    uint8_t address[SOCKETS_PEER_BYTES];

    name(address, number);
    return ip_limits_enter(peers, address);
}

static void each_address_has_its_own_limit(void **state)
{
    struct memory_counted counted;
    struct ip_limits *peers = create(&counted, 2);
    uint32_t one;

    (void)state;
    one = enter(peers, 1);
    assert_int_not_equal(one, IP_LIMITS_NONE);
    assert_int_equal(enter(peers, 1), one);
    assert_int_equal(enter(peers, 1), IP_LIMITS_NONE);
    assert_int_not_equal(enter(peers, 2), IP_LIMITS_NONE);
    ip_limits_leave(peers, one);
    assert_int_equal(enter(peers, 1), one);
    assert_int_equal(enter(peers, 1), IP_LIMITS_NONE);
    ip_limits_destroy(peers);
    memory_counted_assert_returned(&counted);
}

static void an_address_that_left_takes_no_memory(void **state)
{
    struct memory_counted counted;
    struct ip_limits *peers = create(&counted, 1);
    uint64_t before = 0;

    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t peer = enter(peers, i);

        assert_int_not_equal(peer, IP_LIMITS_NONE);
        ip_limits_leave(peers, peer);
        if (i == 0)
            before = counted.bytes;
    }
    assert_int_equal(counted.bytes, before);
    ip_limits_destroy(peers);
}

static void addresses_are_bounded(void **state)
{
    struct memory_counted counted;
    struct ip_limits *peers = create(&counted, 1);

    (void)state;
    for (uint32_t i = 0; i < IP_LIMITS_MAX; i++)
        assert_int_not_equal(enter(peers, i), IP_LIMITS_NONE);
    assert_int_equal(enter(peers, IP_LIMITS_MAX), IP_LIMITS_NONE);
    ip_limits_leave(peers, 7);
    assert_int_equal(enter(peers, IP_LIMITS_MAX), 7);
    ip_limits_destroy(peers);
    memory_counted_assert_returned(&counted);
}

static void short_of_memory_it_refuses_and_stays_right(void **state)
{
    (void)state;
    for (uint64_t failing = 0; failing < 12; failing++) {
        struct memory_counted counted;
        struct ip_limits *peers;

        memory_counted_init(&counted);
        counted.fail_after = failing;
        peers = ip_limits_create(&counted.memory, 1);
        for (uint32_t i = 0; peers && i < 1000; i++) {
            uint32_t peer = enter(peers, i);

            if (peer != IP_LIMITS_NONE) {
                assert_int_equal(enter(peers, i), IP_LIMITS_NONE);
                if (i % 2)
                    ip_limits_leave(peers, peer);
            }
        }
        ip_limits_destroy(peers);
        memory_counted_assert_returned(&counted);
    }
}

static void *come_and_go(void *context)
{
    struct ip_limits *peers = context;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t peer = enter(peers, i % 7);

        if (peer != IP_LIMITS_NONE)
            ip_limits_leave(peers, peer);
    }
    return NULL;
}

static void threads_that_come_and_go_leave_nothing(void **state)
{
    struct memory_counted counted;
    struct ip_limits *peers = create(&counted, SHARED);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, peers), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < 7; i++) {
        for (int j = 0; j < SHARED; j++)
            assert_int_not_equal(enter(peers, i), IP_LIMITS_NONE);
        assert_int_equal(enter(peers, i), IP_LIMITS_NONE);
    }
    ip_limits_destroy(peers);
    memory_counted_assert_returned(&counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_own_limit),
        cmocka_unit_test(an_address_that_left_takes_no_memory),
        cmocka_unit_test(addresses_are_bounded),
        cmocka_unit_test(short_of_memory_it_refuses_and_stays_right),
        cmocka_unit_test(threads_that_come_and_go_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
