/*
 * Counts of connections for each address: limits, many addresses, no memory, several threads.
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
    SHARED = 3 /* connections that the threads may have from one address */
};

static void write_address(uint8_t address[SOCKETS_PEER_BYTES], uint32_t number)
{
    memset(address, 0, SOCKETS_PEER_BYTES);
    memcpy(address + 12, &number, sizeof(number));
}

static struct ip_limits *create_limits(struct memory_counted *counted, uint64_t connections_max)
{
    struct ip_limits *limits;

    memory_counted_init(counted);
    limits = ip_limits_create(&counted->memory, connections_max);
    assert_non_null(limits);
    return limits;
}

static uint32_t add_connection(struct ip_limits *limits, uint32_t number)
{
    uint8_t address[SOCKETS_PEER_BYTES];

    write_address(address, number);
    return ip_limits_enter(limits, address);
}

static void each_address_has_its_own_limit(void **state)
{
    struct memory_counted counted;
    struct ip_limits *limits = create_limits(&counted, 2);
    uint32_t one;

    (void)state;
    one = add_connection(limits, 1);
    assert_int_not_equal(one, IP_LIMITS_NONE);
    assert_int_equal(add_connection(limits, 1), one);
    assert_int_equal(add_connection(limits, 1), IP_LIMITS_NONE);
    assert_int_not_equal(add_connection(limits, 2), IP_LIMITS_NONE);
    ip_limits_leave(limits, one);
    assert_int_equal(add_connection(limits, 1), one);
    assert_int_equal(add_connection(limits, 1), IP_LIMITS_NONE);
    ip_limits_destroy(limits);
    memory_counted_assert_returned(&counted);
}

static void an_address_without_connections_takes_no_memory(void **state)
{
    struct memory_counted counted;
    struct ip_limits *limits = create_limits(&counted, 1);
    uint64_t before = 0;

    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t count = add_connection(limits, i);

        assert_int_not_equal(count, IP_LIMITS_NONE);
        ip_limits_leave(limits, count);
        if (i == 0)
            before = counted.bytes;
    }
    assert_int_equal(counted.bytes, before);
    ip_limits_destroy(limits);
}

static void the_number_of_addresses_is_limited(void **state)
{
    struct memory_counted counted;
    struct ip_limits *limits = create_limits(&counted, 1);

    (void)state;
    for (uint32_t i = 0; i < IP_LIMITS_MAX; i++)
        assert_int_not_equal(add_connection(limits, i), IP_LIMITS_NONE);
    assert_int_equal(add_connection(limits, IP_LIMITS_MAX), IP_LIMITS_NONE);
    ip_limits_leave(limits, 7);
    assert_int_equal(add_connection(limits, IP_LIMITS_MAX), 7);
    ip_limits_destroy(limits);
    memory_counted_assert_returned(&counted);
}

static void connections_are_refused_if_memory_is_short(void **state)
{
    (void)state;
    for (uint64_t failing = 0; failing < 12; failing++) {
        struct memory_counted counted;
        struct ip_limits *limits;

        memory_counted_init(&counted);
        counted.fail_after = failing;
        limits = ip_limits_create(&counted.memory, 1);
        for (uint32_t i = 0; limits && i < 1000; i++) {
            uint32_t count = add_connection(limits, i);

            if (count != IP_LIMITS_NONE) {
                assert_int_equal(add_connection(limits, i), IP_LIMITS_NONE);
                if (i % 2)
                    ip_limits_leave(limits, count);
            }
        }
        ip_limits_destroy(limits);
        memory_counted_assert_returned(&counted);
    }
}

static void *enter_and_leave(void *context)
{
    struct ip_limits *limits = context;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t count = add_connection(limits, i % 7);

        if (count != IP_LIMITS_NONE)
            ip_limits_leave(limits, count);
    }
    return NULL;
}

static void counts_are_right_after_use_by_several_threads(void **state)
{
    struct memory_counted counted;
    struct ip_limits *limits = create_limits(&counted, SHARED);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, enter_and_leave, limits), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < 7; i++) {
        for (int j = 0; j < SHARED; j++)
            assert_int_not_equal(add_connection(limits, i), IP_LIMITS_NONE);
        assert_int_equal(add_connection(limits, i), IP_LIMITS_NONE);
    }
    ip_limits_destroy(limits);
    memory_counted_assert_returned(&counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_has_its_own_limit),
        cmocka_unit_test(an_address_without_connections_takes_no_memory),
        cmocka_unit_test(the_number_of_addresses_is_limited),
        cmocka_unit_test(connections_are_refused_if_memory_is_short),
        cmocka_unit_test(counts_are_right_after_use_by_several_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
