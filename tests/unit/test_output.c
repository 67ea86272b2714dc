/* An output returns committed bytes once and in order, and frees all its chunks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "memory_counted.h"
#include "seeded.h"
#include "server/output.h"

enum {
    SMALL = 40, /* bytes of a usual reply */
    MODEL_STEPS = 30000
};

/* An output, and how many bytes went in and came out: byte number n is pattern_byte(n). */
struct fixture {
    struct memory_counted memory;
    struct pool pool;
    struct output output;
    uint64_t written;
    uint64_t sent;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    memory_counted_init(&f->memory);
    output_pool_init(&f->pool, &f->memory.memory);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    output_clear(&f->output, &f->pool);
    pool_free(&f->pool);
    memory_counted_assert_returned(&f->memory);
    free(f);
    return 0;
}

static uint8_t pattern_byte(uint64_t number)
{
    return (uint8_t)(number * 251 >> 3);
}

/* Reserves `reserved` bytes, and commits `length` of them. */
static bool write_some(struct fixture *f, size_t reserved, size_t length)
{
    uint8_t *to = output_reserve(&f->output, &f->pool, reserved);

    if (!to)
        return false;
    for (size_t i = 0; i < length; i++)
        *to++ = pattern_byte(f->written++);
    output_commit(&f->output, to);
    assert_int_equal(f->output.length, f->written - f->sent);
    return true;
}

/* Consumes up to `most` bytes of the next chunk. Returns how many. */
static uint32_t send_some(struct fixture *f, uint32_t most)
{
    uint32_t length = 0;
    const uint8_t *bytes = output_peek(&f->output, &length);

    if (!bytes) {
        assert_int_equal(f->written, f->sent);
        return 0;
    }
    assert_true(length > 0);
    if (length > most)
        length = most;
    for (uint32_t i = 0; i < length; i++)
        assert_int_equal(bytes[i], pattern_byte(f->sent++));
    output_consume(&f->output, &f->pool, length);
    assert_int_equal(f->output.length, f->written - f->sent);
    return length;
}

static void send_all(struct fixture *f)
{
    while (send_some(f, UINT32_MAX) > 0)
        continue;
    assert_int_equal(f->sent, f->written);
}

static void an_empty_output_has_nothing_to_send_and_no_memory(void **state)
{
    struct fixture *f = *state;
    uint32_t length;

    assert_null(output_peek(&f->output, &length));
    assert_int_equal(f->output.length, 0);
    assert_int_equal(f->memory.calls, 0);
}

static void small_replies_share_a_chunk(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < OUTPUT_RESERVE_MAX / SMALL; i++)
        assert_true(write_some(f, SMALL, SMALL));
    assert_int_equal(f->pool.count, 1);
    assert_int_equal(send_some(f, UINT32_MAX), OUTPUT_RESERVE_MAX / SMALL * SMALL);
    send_all(f);
}

static void the_largest_reservation_can_be_filled(void **state)
{
    struct fixture *f = *state;

    assert_true(write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX));
    assert_true(write_some(f, SMALL, SMALL));
    assert_true(write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX));
    assert_true(write_some(f, OUTPUT_RESERVE_MAX, 1));
    assert_true(f->pool.count > 1);
    send_all(f);
}

static void reserved_bytes_are_sent_only_after_commit(void **state)
{
    struct fixture *f = *state;

    assert_non_null(output_reserve(&f->output, &f->pool, SMALL));
    assert_int_equal(send_some(f, UINT32_MAX), 0);
    assert_true(write_some(f, OUTPUT_RESERVE_MAX, 3));
    assert_non_null(output_reserve(&f->output, &f->pool, SMALL));
    assert_true(write_some(f, SMALL, 0));
    assert_int_equal(send_some(f, UINT32_MAX), 3);
    assert_int_equal(send_some(f, UINT32_MAX), 0);
}

static void a_partial_send_continues_at_its_end(void **state)
{
    struct fixture *f = *state;

    assert_true(write_some(f, 100, 100));
    assert_int_equal(send_some(f, 1), 1);
    assert_int_equal(send_some(f, 60), 60);
    assert_true(write_some(f, 10, 10));
    assert_int_equal(send_some(f, UINT32_MAX), 49);
    assert_int_equal(send_some(f, UINT32_MAX), 0);
}

static void sending_all_bytes_frees_all_chunks(void **state)
{
    struct fixture *f = *state;

    for (uint32_t round = 1; round <= 5; round++) {
        for (uint32_t i = 0; i < round; i++)
            assert_true(write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX - i));
        assert_int_equal(f->pool.count, round);
        send_all(f);
        assert_int_equal(f->pool.count, 0);
        assert_null(f->output.first);
    }
}

static void output_chunks_fill_the_pool_chunks(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 16; i++)
        assert_true(write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX));
    /* Eight chunks in each, and the kept ones. */
    assert_int_equal(f->memory.blocks, (16 + OUTPUT_KEPT) / 8);
    send_all(f);
}

/* A peer that does not read its replies fails before one that waits for its first. */
static void an_empty_output_gets_a_chunk_when_memory_is_short(void **state)
{
    struct fixture *f = *state;
    struct output others[OUTPUT_KEPT] = {{0}};

    assert_true(write_some(f, SMALL, SMALL));
    for (uint32_t i = 0; i < OUTPUT_KEPT; i++)
        assert_true(write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX));
    f->memory.fail_after = 0;
    while (write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX))
        continue;
    assert_true(f->output.failed);
    for (uint32_t i = 0; i < OUTPUT_KEPT; i++)
        assert_non_null(output_reserve(&others[i], &f->pool, SMALL));
    for (uint32_t i = 0; i < OUTPUT_KEPT; i++)
        output_clear(&others[i], &f->pool);
    send_all(f);
}

static void a_failed_reservation_sets_failed_and_keeps_bytes(void **state)
{
    struct fixture *f = *state;

    assert_true(write_some(f, SMALL, SMALL));
    assert_false(f->output.failed);
    f->memory.fail_after = 0;
    while (write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX))
        continue;
    assert_true(f->output.failed);
    assert_true(write_some(f, 0, 0)); /* needs no memory */
    send_all(f);
    assert_true(f->output.failed);
    assert_int_equal(f->pool.count, 0);
}

static void the_first_reservation_without_memory_fails(void **state)
{
    struct fixture *f = *state;

    f->memory.fail_after = 0;
    assert_null(output_reserve(&f->output, &f->pool, 1));
    assert_true(f->output.failed);
    assert_int_equal(send_some(f, UINT32_MAX), 0);
}

static void clearing_drops_all_bytes(void **state)
{
    struct fixture *f = *state;

    output_clear(&f->output, &f->pool);
    for (uint32_t i = 0; i < 5; i++)
        assert_true(write_some(f, OUTPUT_RESERVE_MAX, OUTPUT_RESERVE_MAX));
    send_some(f, 7);
    output_clear(&f->output, &f->pool);
    assert_int_equal(f->pool.count, 0);
    assert_int_equal(f->output.length, 0);
    f->sent = f->written;
    /* The output can be used again. */
    assert_true(write_some(f, SMALL, SMALL));
    assert_int_equal(send_some(f, UINT32_MAX), SMALL);
}

static void random_writes_and_sends_keep_all_bytes_in_order(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    for (uint32_t step = 0; step < MODEL_STEPS; step++) {
        bool growing = step / 1000 % 2 == 0;
        uint32_t most = seeded_below(&seeded, 3) ? SMALL : OUTPUT_RESERVE_MAX;

        if (seeded_below(&seeded, 4) < (growing ? 3U : 1U)) {
            uint32_t reserved = seeded_below(&seeded, most + 1);

            assert_true(write_some(f, reserved, seeded_below(&seeded, reserved + 1)));
        } else {
            send_some(f, 1 + seeded_below(&seeded, 2 * most));
        }
        assert_true(f->pool.count * OUTPUT_CHUNK_BYTES >= f->output.length);
    }
    send_all(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_output_has_nothing_to_send_and_no_memory),
        TEST(small_replies_share_a_chunk),
        TEST(the_largest_reservation_can_be_filled),
        TEST(reserved_bytes_are_sent_only_after_commit),
        TEST(a_partial_send_continues_at_its_end),
        TEST(sending_all_bytes_frees_all_chunks),
        TEST(output_chunks_fill_the_pool_chunks),
        TEST(an_empty_output_gets_a_chunk_when_memory_is_short),
        TEST(a_failed_reservation_sets_failed_and_keeps_bytes),
        TEST(the_first_reservation_without_memory_fails),
        TEST(clearing_drops_all_bytes),
        TEST(random_writes_and_sends_keep_all_bytes_in_order),
    };

    return cmocka_run_group_tests_name("output", tests, NULL, NULL);
}
