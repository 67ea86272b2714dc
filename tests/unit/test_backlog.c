/* The backlog keeps bytes in order and frees all its memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "memory_counted.h"
#include "seeded.h"
#include "server/backlog.h"

enum {
    BUDGET_BYTES = 64 * 1024 * 1024,
    STEPS = 20000,
    PIECE_MAX = 3000
};

struct fixture {
    struct memory_counted memory;
    struct budget budget;
    struct backlog_source source;
    struct backlog backlog;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    memory_counted_init(&f->memory);
    budget_init(&f->budget, &f->memory.memory, BUDGET_BYTES);
    backlog_source_init(&f->source, &f->budget);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    backlog_clear(&f->backlog, &f->source);
    backlog_source_free(&f->source);
    memory_counted_assert_returned(&f->memory);
    assert_int_equal(atomic_load(&f->budget.used), 0);
    free(f);
    return 0;
}

static bool append_bytes(struct fixture *f, const void *bytes, size_t length)
{
    return backlog_append(&f->backlog, &f->source, bytes, (uint32_t)length);
}

static void an_empty_backlog_has_no_memory(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(backlog_length(&f->backlog), 0);
    assert_non_null(backlog_bytes(&f->backlog));
    assert_true(append_bytes(f, "abc", 3));
    assert_non_null(f->backlog.bytes);
    backlog_consume(&f->backlog, &f->source, 3);
    assert_null(f->backlog.bytes);
    assert_int_equal(backlog_length(&f->backlog), 0);
}

/* Byte `at` of an endless text that repeats itself after a prime number of bytes. */
static uint8_t byte_of(uint64_t at)
{
    return (uint8_t)(at % 251);
}

/* Returns whether the kept bytes begin with byte `at` of the text. */
static bool keeps_text(const struct fixture *f, uint64_t at)
{
    const uint8_t *bytes = backlog_bytes(&f->backlog);
    uint32_t length = backlog_length(&f->backlog);
    uint32_t i = 0;

    while (i < length && bytes[i] == byte_of(at + i))
        i++;
    return i == length;
}

static void bytes_come_out_in_order(void **state)
{
    struct fixture *f = *state;
    struct seeded random;
    uint64_t in = 0;
    uint64_t out = 0;

    seeded_init(&random, "bytes_come_out_in_order");
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t kept = backlog_length(&f->backlog);
        uint8_t piece[PIECE_MAX];
        uint32_t length = 1 + seeded_below(&random, PIECE_MAX);

        assert_int_equal(kept, in - out);
        assert_true(keeps_text(f, out));
        if (kept < length || seeded_below(&random, 2)) {
            for (uint32_t i = 0; i < length; i++)
                piece[i] = byte_of(in + i);
            assert_true(append_bytes(f, piece, length));
            in += length;
        } else {
            backlog_consume(&f->backlog, &f->source, length);
            out += length;
        }
    }
}

static void a_small_backlog_uses_only_the_pool(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bytes[BACKLOG_MIN + 1];
    uint64_t calls;

    assert_true(append_bytes(f, bytes, 1));
    backlog_clear(&f->backlog, &f->source);
    calls = f->memory.calls;
    assert_true(append_bytes(f, bytes, BACKLOG_MIN));
    assert_int_equal(f->memory.calls, calls);
    assert_true(append_bytes(f, bytes, 1));
    assert_int_equal(f->memory.calls, calls + 1);
    assert_int_equal(backlog_length(&f->backlog), BACKLOG_MIN + 1);
}

static void a_failed_append_changes_nothing(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bytes[BACKLOG_MIN];

    assert_true(append_bytes(f, "abc", 3));
    f->memory.fail_after = 0;
    assert_false(append_bytes(f, bytes, BACKLOG_MIN));
    assert_int_equal(backlog_length(&f->backlog), 3);
    assert_memory_equal(backlog_bytes(&f->backlog), "abc", 3);
    f->memory.fail_after = UINT64_MAX;
}

static void a_backlog_grows_up_to_its_limit(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bytes[1024 * 1024];

    for (uint32_t length = 0; length < BACKLOG_MAX; length += sizeof(bytes))
        assert_true(append_bytes(f, bytes, sizeof(bytes)));
    assert_false(append_bytes(f, bytes, 1));
    assert_int_equal(backlog_length(&f->backlog), BACKLOG_MAX);
    backlog_consume(&f->backlog, &f->source, 1);
    assert_true(append_bytes(f, bytes, 1));
}

static void growth_is_the_size_of_the_next_block(void **state)
{
    struct fixture *f = *state;
    static const uint8_t bytes[BACKLOG_MIN + 1];

    assert_int_equal(backlog_growth(&f->backlog, 1), BACKLOG_MIN);
    assert_int_equal(backlog_growth(&f->backlog, BACKLOG_MIN + 1), 2 * BACKLOG_MIN);
    assert_true(append_bytes(f, bytes, 1));
    assert_int_equal(backlog_growth(&f->backlog, BACKLOG_MIN - 1), 0);
    assert_int_equal(backlog_growth(&f->backlog, BACKLOG_MIN), 2 * BACKLOG_MIN);
    assert_true(append_bytes(f, bytes, BACKLOG_MIN + 1));
    assert_int_equal(f->backlog.capacity, 2 * BACKLOG_MIN);
    backlog_consume(&f->backlog, &f->source, 2);
    assert_int_equal(backlog_growth(&f->backlog, BACKLOG_MIN - 1), 2 * BACKLOG_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_backlog_has_no_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_come_out_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_small_backlog_uses_only_the_pool, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failed_append_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backlog_grows_up_to_its_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(growth_is_the_size_of_the_next_block, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
