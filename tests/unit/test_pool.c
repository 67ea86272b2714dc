/*
 * The slab pool: objects are disjoint and aligned, they are reused, and their chunks are freed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/pool.h"
#include "memory_counted.h"
#include "seeded.h"

enum {
    CHUNKS = 4,
    OBJECTS_MAX = CHUNKS * POOL_CHUNK_BYTES / 8,
    MODEL_STEPS = 20000
};

/* From the smallest object to one that fills a chunk, with odd sizes. */
static const size_t sizes[] = {8, 9, 24, 100, 1000, 4080, 8000, 9001, 16000};

enum {
    SIZES = sizeof(sizes) / sizeof(sizes[0])
};

/* A pool of objects of one size, and the objects in use. */
struct fixture {
    struct memory_counted memory;
    struct pool pool;
    size_t object_bytes;
    uint32_t full; /* objects that fill CHUNKS chunks */
    uint32_t count;
    uint8_t *taken[OBJECTS_MAX];
    uint8_t marks[OBJECTS_MAX];
};

static void fixture_init(struct fixture *f, size_t object_bytes)
{
    memory_counted_init(&f->memory);
    pool_init(&f->pool, &f->memory.memory, object_bytes);
    f->object_bytes = object_bytes;
    f->full = f->pool.objects_per_chunk * CHUNKS;
    f->count = 0;
    assert_true(f->pool.objects_per_chunk > 0 && f->full <= OBJECTS_MAX);
}

/* Writes the whole object, to detect an overlap. */
static bool take_object(struct fixture *f, uint8_t mark)
{
    uint8_t *object = pool_take(&f->pool);

    if (!object)
        return false;
    assert_int_equal((uintptr_t)object % 8, 0);
    memset(object, mark, f->object_bytes);
    f->taken[f->count] = object;
    f->marks[f->count] = mark;
    f->count++;
    assert_int_equal(f->pool.count, f->count);
    return true;
}

static void give_object(struct fixture *f, uint32_t index)
{
    uint8_t *object = f->taken[index];

    for (size_t i = 0; i < f->object_bytes; i++)
        assert_int_equal(object[i], f->marks[index]);
    pool_give(&f->pool, object);
    f->count--;
    f->taken[index] = f->taken[f->count];
    f->marks[index] = f->marks[f->count];
    assert_int_equal(f->pool.count, f->count);
}

static void take_up_to(struct fixture *f, uint32_t count)
{
    while (f->count < count)
        assert_true(take_object(f, (uint8_t)(f->count * 31)));
}

static void fixture_end(struct fixture *f)
{
    while (f->count > 0)
        give_object(f, f->count - 1);
    pool_free(&f->pool);
    memory_counted_assert_returned(&f->memory);
}

/* Runs `test` with pools of objects of every size. */
static void run_with_each_size(void (*test)(struct fixture *f))
{
    static struct fixture f;

    for (size_t i = 0; i < SIZES; i++) {
        fixture_init(&f, sizes[i]);
        test(&f);
        fixture_end(&f);
    }
}

static void fill_chunks(struct fixture *f)
{
    take_up_to(f, f->full);
    assert_int_equal(f->memory.blocks, CHUNKS);
    take_up_to(f, f->full + 1 <= OBJECTS_MAX ? f->full + 1 : f->full);
}

static void objects_are_disjoint_and_aligned(void **state)
{
    (void)state;
    run_with_each_size(fill_chunks); /* fixture_end checks the contents of each */
}

static void leave_unused(struct fixture *f)
{
    assert_int_equal(f->memory.calls, 0);
}

static void an_unused_pool_allocates_nothing(void **state)
{
    (void)state;
    run_with_each_size(leave_unused);
}

static void toggle_at_each_count(struct fixture *f)
{
    uint32_t most = f->full < 200 ? f->full : 200;

    for (uint32_t count = 1; count <= most; count++) {
        uint64_t calls;

        take_up_to(f, count);
        calls = f->memory.calls;
        for (uint32_t i = 0; i < 5; i++) {
            give_object(f, f->count / 2);
            take_up_to(f, count);
        }
        assert_int_equal(f->memory.calls, calls);
    }
}

static void returned_objects_are_reused(void **state)
{
    (void)state;
    run_with_each_size(toggle_at_each_count);
}

static void refill_pool(struct fixture *f)
{
    take_up_to(f, f->full);
    /* holes in each chunk */
    for (uint32_t i = 0; i < f->full / 2; i++)
        give_object(f, i % f->count);
    take_up_to(f, f->full);
    assert_int_equal(f->memory.blocks, CHUNKS);
}

static void holes_are_filled_before_a_new_chunk(void **state)
{
    (void)state;
    run_with_each_size(refill_pool);
}

static void drain_in_three_orders(struct fixture *f)
{
    for (uint32_t order = 0; order < 3; order++) {
        take_up_to(f, f->full);
        assert_int_equal(f->memory.blocks, CHUNKS);
        while (f->count > 0) {
            uint32_t places[] = {0, f->count - 1, f->count / 2};

            give_object(f, places[order]);
        }
        assert_int_equal(f->memory.blocks, 1);
    }
}

static void empty_chunks_are_freed_except_one(void **state)
{
    (void)state;
    run_with_each_size(drain_in_three_orders);
}

static void come_and_go(struct fixture *f)
{
    uint32_t chunks = 3;
    uint32_t objects = f->pool.objects_per_chunk * chunks;

    pool_keep(&f->pool, chunks - 1);
    for (int i = 0; i < 3; i++) {
        take_up_to(f, objects);
        assert_int_equal(f->memory.blocks, chunks);
        while (f->count > 0)
            give_object(f, f->count - 1);
        assert_int_equal(f->memory.blocks, chunks - 1);
    }
}

static void pool_keep_keeps_that_many_empty_chunks(void **state)
{
    (void)state;
    run_with_each_size(come_and_go);
}

static void trim_pool(struct fixture *f)
{
    uint32_t objects = f->pool.objects_per_chunk;

    pool_keep(&f->pool, 8);
    take_up_to(f, 4 * objects);
    while (f->count > objects + 1)
        give_object(f, 0);
    assert_int_equal(f->memory.blocks, 4);
    pool_trim(&f->pool, 1);
    assert_int_equal(f->memory.blocks, 3);
    pool_trim(&f->pool, 0);
    assert_int_equal(f->memory.blocks, 2);
    take_up_to(f, 2 * objects);
    assert_int_equal(f->memory.blocks, 2);
    while (f->count > 0)
        give_object(f, 0);
    pool_trim(&f->pool, 0);
    assert_int_equal(f->memory.blocks, 0);
}

static void pool_trim_frees_empty_chunks_only(void **state)
{
    (void)state;
    run_with_each_size(trim_pool);
}

static void run_short(struct fixture *f)
{
    f->memory.fail_after = 0;
    assert_null(pool_take(&f->pool));
    assert_int_equal(f->pool.count, 0);
    f->memory.fail_after = 1;
    while (take_object(f, (uint8_t)f->count))
        continue;
    assert_int_equal(f->count, f->pool.objects_per_chunk);
    assert_null(pool_take(&f->pool));
    assert_int_equal(f->pool.count, f->count);
    /* a returned object and new memory both end the shortage */
    give_object(f, 0);
    assert_true(take_object(f, 1));
    f->memory.fail_after = UINT64_MAX;
    assert_true(take_object(f, 2));
}

static void short_memory_returns_null_and_keeps_other_objects(void **state)
{
    (void)state;
    run_with_each_size(run_short);
}

static struct seeded seeded;

static void take_and_give_at_random(struct fixture *f)
{
    uint32_t most = f->full < 400 ? f->full : 400;

    for (uint32_t step = 0; step < MODEL_STEPS / SIZES; step++) {
        bool growing = step / 500 % 2 == 0;

        if (f->count < most && seeded_below(&seeded, 4) < (growing ? 3 : 1))
            assert_true(take_object(f, (uint8_t)seeded_next(&seeded)));
        else if (f->count > 0)
            give_object(f, seeded_below(&seeded, f->count));
        assert_true(f->memory.blocks <= CHUNKS);
    }
}

static void objects_keep_their_contents_through_random_operations(void **state)
{
    (void)state;
    seeded_init(&seeded, __func__);
    run_with_each_size(take_and_give_at_random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unused_pool_allocates_nothing),
        cmocka_unit_test(objects_are_disjoint_and_aligned),
        cmocka_unit_test(returned_objects_are_reused),
        cmocka_unit_test(holes_are_filled_before_a_new_chunk),
        cmocka_unit_test(empty_chunks_are_freed_except_one),
        cmocka_unit_test(pool_keep_keeps_that_many_empty_chunks),
        cmocka_unit_test(pool_trim_frees_empty_chunks_only),
        cmocka_unit_test(short_memory_returns_null_and_keeps_other_objects),
        cmocka_unit_test(objects_keep_their_contents_through_random_operations),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
