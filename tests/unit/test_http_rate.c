/*
 * Rates: bursts, refill, when to try again, many addresses, no memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/time_units.h"
#include "http/rate.h"
#include "memory_counted.h"

static struct memory_counted counted;
static uint64_t now_ns;
static uint64_t retry_after_s;

static struct rate *start(uint64_t per_second, uint64_t burst)
{
    struct rate *rate;

    memory_counted_init(&counted);
    now_ns = 1000 * NS_PER_S;
    rate = rate_create(&counted.memory, per_second, burst);
    assert_non_null(rate);
    return rate;
}

static void end(struct rate *rate)
{
    rate_destroy(rate);
    memory_counted_assert_returned(&counted);
}

static bool take(struct rate *rate, uint32_t number)
{
    uint8_t address[SOCKETS_PEER_BYTES] = {0};

    memcpy(address + 4, &number, sizeof(number));
    retry_after_s = 0;
    if (rate_take(rate, now_ns, address, &retry_after_s))
        return true;
    assert_true(retry_after_s >= 1);
    return false;
}

static uint32_t take_all(struct rate *rate, uint32_t number)
{
    uint32_t count = 0;

    while (take(rate, number))
        count++;
    return count;
}

static void a_burst_is_served_at_once_and_then_the_rate(void **state)
{
    struct rate *rate = start(10, 25);

    (void)state;
    assert_int_equal(take_all(rate, 1), 25);
    now_ns += NS_PER_S / 10 - 1;
    assert_int_equal(take_all(rate, 1), 0);
    now_ns += 1;
    assert_int_equal(take_all(rate, 1), 1);
    now_ns += NS_PER_S;
    assert_int_equal(take_all(rate, 1), 10);
    now_ns += 3 * NS_PER_S;
    assert_int_equal(take_all(rate, 1), 25);
    now_ns += 1000000 * NS_PER_S;
    assert_int_equal(take_all(rate, 1), 25);
    end(rate);
}

static void without_a_burst_it_is_the_rate(void **state)
{
    struct rate *rate = start(3, 0);

    (void)state;
    assert_int_equal(take_all(rate, 1), 3);
    now_ns += NS_PER_S;
    assert_int_equal(take_all(rate, 1), 2); /* the third is 2 ns away */
    now_ns += 2;
    assert_int_equal(take_all(rate, 1), 1);
    end(rate);
}

static void a_refused_request_takes_nothing(void **state)
{
    struct rate *rate = start(1, 1);

    (void)state;
    assert_true(take(rate, 1));
    for (int i = 0; i < 1000; i++)
        assert_false(take(rate, 1));
    now_ns += NS_PER_S;
    assert_true(take(rate, 1));
    end(rate);
}

static void a_client_that_waits_as_told_is_served(void **state)
{
    static const struct {
        uint64_t per_second;
        uint64_t burst;
        uint64_t wait_s;
    } cases[] = {{1, 1, 1}, {1, 10, 1}, {3, 3, 1}, {1000, 1, 1}, {UINT64_MAX, 1, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rate *rate = start(cases[i].per_second, cases[i].burst);

        take_all(rate, 1);
        assert_int_equal(retry_after_s, cases[i].wait_s);
        now_ns += retry_after_s * NS_PER_S;
        assert_true(take(rate, 1));
        end(rate);
    }
}

static void addresses_do_not_affect_each_other(void **state)
{
    struct rate *rate = start(1, 2);

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(take_all(rate, i), 2);
    for (uint32_t i = 0; i < 1000; i++)
        assert_false(take(rate, i));
    now_ns += 100 * NS_PER_S;
    for (uint32_t i = 1000; i-- > 0;)
        assert_int_equal(take_all(rate, i), 2);
    end(rate);
}

static void large_rates_and_bursts_do_not_overflow(void **state)
{
    static const uint64_t numbers[] = {1,         2,          999999999, NS_PER_S, NS_PER_S + 1,
                                       INT32_MAX, UINT32_MAX, UINT64_MAX};
    const size_t count = sizeof(numbers) / sizeof(numbers[0]);

    (void)state;
    for (size_t i = 0; i < count * count; i++) {
        uint64_t burst = numbers[i % count];
        struct rate *rate = start(numbers[i / count], burst);

        now_ns = INT64_MAX;
        for (uint64_t j = 0; j < burst && j < 100; j++)
            assert_true(take(rate, 1));
        end(rate);
    }
}

static void full_buckets_are_forgotten(void **state)
{
    struct rate *rate = start(1, 4);
    uint64_t settled = 0;

    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 10000; i++)
            assert_true(take(rate, i));
        assert_true(counted.bytes > 10000 * UINT64_C(48));
        for (uint32_t i = 0; i < 10000; i++) {
            now_ns += NS_PER_S;
            take(rate, 1000000);
        }
        if (round == 0)
            settled = counted.bytes;
        assert_int_equal(counted.bytes, settled);
        assert_true(settled < 65536);
    }
    end(rate);
}

static void further_addresses_are_served_if_there_is_no_room(void **state)
{
    struct rate *rate = start(1, 1);
    uint64_t full;

    (void)state;
    for (uint32_t i = 0; i < RATE_ADDRESSES_MAX; i++)
        assert_true(take(rate, i));
    full = counted.bytes;
    assert_true(full < RATE_ADDRESSES_MAX * UINT64_C(100));
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(take(rate, RATE_ADDRESSES_MAX + i % 10));
    assert_int_equal(counted.bytes, full);
    assert_false(take(rate, 7));
    now_ns += NS_PER_S;
    assert_true(take(rate, RATE_ADDRESSES_MAX));
    assert_false(take(rate, RATE_ADDRESSES_MAX));
    end(rate);
}

static void requests_are_served_if_memory_is_short(void **state)
{
    (void)state;
    for (uint64_t failing = 0; failing < 12; failing++) {
        struct rate *rate;

        memory_counted_init(&counted);
        counted.fail_after = failing;
        now_ns = NS_PER_S;
        rate = rate_create(&counted.memory, 1, 1);
        for (uint32_t i = 0; rate && i < 1000; i++)
            assert_true(take(rate, i));
        end(rate);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_served_at_once_and_then_the_rate),
        cmocka_unit_test(without_a_burst_it_is_the_rate),
        cmocka_unit_test(a_refused_request_takes_nothing),
        cmocka_unit_test(a_client_that_waits_as_told_is_served),
        cmocka_unit_test(addresses_do_not_affect_each_other),
        cmocka_unit_test(large_rates_and_bursts_do_not_overflow),
        cmocka_unit_test(full_buckets_are_forgotten),
        cmocka_unit_test(further_addresses_are_served_if_there_is_no_room),
        cmocka_unit_test(requests_are_served_if_memory_is_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
