/*
 * The growable array: elements never move, growth allocates one segment, and short memory or
 * trimming keeps the existing elements.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/segments.h"
#include "memory_counted.h"

enum {
    SEGMENTS = 40, /* more than the first directory has room for, and the second and third */
    TRACKED_MAX = 200
};

static const size_t sizes[] = {1, 8, 16, 64, 2048, SEGMENT_BYTES};

enum {
    SIZES = sizeof(sizes) / sizeof(sizes[0])
};

/* An array, and the original addresses of some evenly spread elements. */
struct fixture {
    struct memory_counted memory;
    struct segments segments;
    size_t element_bytes;
    size_t per_segment;
    size_t stride; /* between the tracked ones */
    uint32_t tracked;
    uint8_t *places[TRACKED_MAX];
};

static void fixture_init(struct fixture *f, size_t element_bytes)
{
    memory_counted_init(&f->memory);
    segments_init(&f->segments, &f->memory.memory, element_bytes);
    f->element_bytes = element_bytes;
    f->per_segment = SEGMENT_BYTES / element_bytes;
    f->stride = f->per_segment > 4 ? f->per_segment / 4 - 1 : 1;
    f->tracked = 0;
}

static void track_bytes(struct fixture *f)
{
    for (; f->tracked < TRACKED_MAX; f->tracked++) {
        size_t index = f->tracked * f->stride;

        if (index >= segments_capacity(&f->segments))
            return;
        f->places[f->tracked] = segments_at(&f->segments, index);
        memset(f->places[f->tracked], (int)f->tracked, f->element_bytes);
    }
}

/* Checks the address and contents of the elements below `count`. */
static void assert_unmoved(const struct fixture *f, size_t count)
{
    for (uint32_t i = 0; i < f->tracked && i * f->stride < count; i++) {
        const uint8_t *element = segments_at(&f->segments, i * f->stride);

        assert_ptr_equal(element, f->places[i]);
        assert_int_equal(element[0], (uint8_t)i);
        assert_int_equal(element[f->element_bytes - 1], (uint8_t)i);
    }
}

static void run_with_each_size(void (*test)(struct fixture *f))
{
    for (size_t i = 0; i < SIZES; i++) {
        struct fixture f;

        fixture_init(&f, sizes[i]);
        test(&f);
        segments_free(&f.segments);
        memory_counted_assert_returned(&f.memory);
    }
}

static void reserve_nothing(struct fixture *f)
{
    assert_true(segments_reserve(&f->segments, 0));
    assert_int_equal(segments_capacity(&f->segments), 0);
    assert_int_equal(f->memory.calls, 0);
}

static void an_empty_array_allocates_nothing(void **state)
{
    (void)state;
    run_with_each_size(reserve_nothing);
}

static void grow_one_by_one(struct fixture *f)
{
    size_t most = f->per_segment * SEGMENTS;

    for (size_t count = 1; count <= most; count++) {
        uint64_t calls = f->memory.calls;

        assert_true(segments_reserve(&f->segments, count));
        assert_in_range(segments_capacity(&f->segments), count, count + f->per_segment - 1);
        assert_in_range(f->memory.calls, calls, calls + 2); /* a segment, the directory */
        track_bytes(f);
    }
    assert_unmoved(f, most);
    assert_true(f->tracked >= SEGMENTS);
}

static void elements_never_move_and_growth_allocates_one_segment(void **state)
{
    (void)state;
    run_with_each_size(grow_one_by_one);
}

static void touch_all(struct fixture *f)
{
    size_t count = f->per_segment * 3;

    assert_true(segments_reserve(&f->segments, count));
    for (size_t i = 0; i < count; i++)
        memset(segments_at(&f->segments, i), (int)(i % 251), f->element_bytes);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *element = segments_at(&f->segments, i);

        for (size_t byte = 0; byte < f->element_bytes; byte++)
            assert_int_equal(element[byte], i % 251);
    }
}

static void elements_are_disjoint(void **state)
{
    (void)state;
    run_with_each_size(touch_all);
}

static void grow_with_failures(struct fixture *f)
{
    uint32_t failures = 0;

    for (size_t count = 1; count <= f->per_segment * SEGMENTS; count += f->per_segment) {
        uint64_t allowed = 0;

        for (;; failures++) {
            f->memory.fail_after = allowed++;
            if (segments_reserve(&f->segments, count))
                break;
            assert_true(segments_capacity(&f->segments) < count);
            assert_unmoved(f, count);
        }
        assert_true(segments_capacity(&f->segments) >= count);
        track_bytes(f);
    }
    assert_true(failures > SEGMENTS);
    assert_unmoved(f, f->per_segment * SEGMENTS);
}

static void short_memory_fails_and_keeps_the_elements(void **state)
{
    (void)state;
    run_with_each_size(grow_with_failures);
}

static void trim_in_steps(struct fixture *f)
{
    size_t most = f->per_segment * SEGMENTS;

    assert_true(segments_reserve(&f->segments, most));
    track_bytes(f);
    for (size_t count = most; count > 0; count -= f->per_segment / 2 + 1) {
        segments_trim(&f->segments, count);
        assert_true(segments_capacity(&f->segments) >= count);
        assert_unmoved(f, count);
        if (count <= f->per_segment / 2 + 1)
            break;
    }
}

static void trimming_keeps_the_needed_elements(void **state)
{
    (void)state;
    run_with_each_size(trim_in_steps);
}

static void assert_one_spare(struct fixture *f, size_t count)
{
    size_t needed = (count + f->per_segment - 1) / f->per_segment;

    assert_true(segments_reserve(&f->segments, f->per_segment * SEGMENTS));
    segments_trim(&f->segments, count);
    assert_int_equal(f->segments.segment_count, needed + 1);
}

static void trim_within_segments(struct fixture *f)
{
    if (f->per_segment == 1)
        return; /* every count is a whole number of segments */
    assert_one_spare(f, 1);
    assert_one_spare(f, f->per_segment - 1);
    assert_one_spare(f, f->per_segment + 1);
    assert_one_spare(f, f->per_segment * 5 - 1);
}

static void trimming_leaves_one_spare_segment(void **state)
{
    (void)state;
    run_with_each_size(trim_within_segments);
}

static void trim_at_boundaries(struct fixture *f)
{
    assert_one_spare(f, 0);
    assert_one_spare(f, f->per_segment);
    assert_one_spare(f, f->per_segment * 5);
}

static void trimming_to_full_segments_leaves_one_spare_too(void **state)
{
    (void)state;
    run_with_each_size(trim_at_boundaries);
}

static void cross_boundaries(struct fixture *f)
{
    for (size_t count = f->per_segment; count <= f->per_segment * SEGMENTS;
         count += f->per_segment) {
        uint64_t calls;

        assert_true(segments_reserve(&f->segments, count + 1));
        calls = f->memory.calls;
        for (uint32_t i = 0; i < 5; i++) {
            segments_trim(&f->segments, count);
            assert_true(segments_reserve(&f->segments, count + 1));
        }
        assert_int_equal(f->memory.calls, calls);
    }
}

static void a_toggling_count_allocates_nothing(void **state)
{
    (void)state;
    run_with_each_size(cross_boundaries);
}

static void free_and_use_again(struct fixture *f)
{
    assert_true(segments_reserve(&f->segments, f->per_segment * SEGMENTS));
    segments_free(&f->segments);
    memory_counted_assert_returned(&f->memory);
    assert_int_equal(segments_capacity(&f->segments), 0);
    assert_true(segments_reserve(&f->segments, 1));
    memset(segments_at(&f->segments, 0), 1, f->element_bytes);
}

static void all_memory_is_freed_and_the_array_is_reusable(void **state)
{
    (void)state;
    run_with_each_size(free_and_use_again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_array_allocates_nothing),
        cmocka_unit_test(elements_never_move_and_growth_allocates_one_segment),
        cmocka_unit_test(elements_are_disjoint),
        cmocka_unit_test(short_memory_fails_and_keeps_the_elements),
        cmocka_unit_test(trimming_keeps_the_needed_elements),
        cmocka_unit_test(trimming_leaves_one_spare_segment),
        cmocka_unit_test(trimming_to_full_segments_leaves_one_spare_too),
        cmocka_unit_test(a_toggling_count_allocates_nothing),
        cmocka_unit_test(all_memory_is_freed_and_the_array_is_reusable),
    };

    return cmocka_run_group_tests_name("segments", tests, NULL, NULL);
}
