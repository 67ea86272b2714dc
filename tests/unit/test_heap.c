/*
 * The indexed heap, compared with a sorted array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/heap.h"
#include "memory_counted.h"
#include "seeded.h"

enum {
    FEW = 40,         /* for tests of every element */
    ITEMS_MAX = 3000, /* entries of several segments, more than the first directory holds */
    MODEL_ITEMS = 700,
    MODEL_STEPS = 20000
};

struct item {
    struct heap_node node;
    uint64_t key;
};

/* A heap, its possible elements, and the sorted keys of its elements. */
struct fixture {
    struct memory_counted memory;
    struct heap heap;
    struct item items[ITEMS_MAX];
    uint64_t sorted[ITEMS_MAX];
    uint32_t count;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    memory_counted_init(&f->memory);
    heap_init(&f->heap, &f->memory.memory);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    heap_free(&f->heap);
    memory_counted_assert_returned(&f->memory);
    free(f);
    return 0;
}

static void model_add(struct fixture *f, uint64_t key)
{
    uint32_t at = f->count++;

    for (; at > 0 && f->sorted[at - 1] > key; at--)
        f->sorted[at] = f->sorted[at - 1];
    f->sorted[at] = key;
}

static void model_drop(struct fixture *f, uint64_t key)
{
    uint32_t at = 0;

    while (f->sorted[at] != key)
        at++;
    f->count--;
    for (; at < f->count; at++)
        f->sorted[at] = f->sorted[at + 1];
}

static struct item *item_of(struct heap_node *node)
{
    return (struct item *)node; /* it is the first member */
}

static void insert_element(struct fixture *f, uint32_t index, uint64_t key)
{
    assert_true(heap_reserve(&f->heap, f->heap.count + 1));
    heap_insert(&f->heap, &f->items[index].node, key);
    f->items[index].key = key;
    model_add(f, key);
}

static void update_element(struct fixture *f, uint32_t index, uint64_t key)
{
    heap_update(&f->heap, &f->items[index].node, key);
    model_drop(f, f->items[index].key);
    f->items[index].key = key;
    model_add(f, key);
}

static void remove_element(struct fixture *f, struct item *item)
{
    heap_remove(&f->heap, &item->node);
    model_drop(f, item->key);
    assert_false(heap_contains(&item->node));
}

static void assert_as_model(const struct fixture *f)
{
    struct heap_node *top = heap_top(&f->heap);

    assert_true(heap_valid(&f->heap));
    assert_int_equal(f->heap.count, f->count);
    if (f->count == 0) {
        assert_null(top);
        assert_int_equal(heap_top_key(&f->heap), UINT64_MAX);
        return;
    }
    assert_int_equal(heap_top_key(&f->heap), f->sorted[0]);
    assert_non_null(top);
    assert_int_equal(item_of(top)->key, f->sorted[0]);
    assert_int_equal(heap_key(&f->heap, top), f->sorted[0]);
}

/* Checks that the heap's top is always the model's first. */
static void assert_drains_as_model(struct fixture *f)
{
    while (f->count > 0) {
        assert_int_equal(heap_top_key(&f->heap), f->sorted[0]);
        remove_element(f, item_of(heap_top(&f->heap)));
    }
    assert_as_model(f);
}

/* Inserts `count` elements with the keys 10, 20, 30, … in mixed order. */
static void fill_heap(struct fixture *f, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        insert_element(f, i, ((uint64_t)i * 7919 % count + 1) * 10);
}

static void an_empty_heap_has_no_top(void **state)
{
    assert_as_model(*state);
}

static void elements_come_out_in_the_order_of_their_keys(void **state)
{
    struct fixture *f = *state;

    fill_heap(f, ITEMS_MAX);
    assert_as_model(f);
    assert_drains_as_model(f);
}

static void elements_with_equal_keys_come_out_once_each(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < FEW; i++)
        insert_element(f, i, i % 3);
    for (uint32_t i = 0; i < FEW; i++)
        assert_true(heap_contains(&f->items[i].node));
    assert_drains_as_model(f);
    for (uint32_t i = 0; i < FEW; i++)
        assert_false(heap_contains(&f->items[i].node));
}

static void the_largest_key_works(void **state)
{
    struct fixture *f = *state;

    insert_element(f, 0, UINT64_MAX);
    assert_as_model(f);
    insert_element(f, 1, UINT64_MAX);
    insert_element(f, 2, 0);
    assert_as_model(f);
    assert_drains_as_model(f);
}

static void any_element_can_be_removed(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < FEW; i++) {
        fill_heap(f, FEW);
        remove_element(f, &f->items[i]);
        assert_as_model(f);
        assert_drains_as_model(f);
    }
}

static void an_updated_element_moves_to_its_new_place(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < FEW; i++) {
        /* to every place: between two, equal to one, before all, behind all */
        for (uint64_t key = 0; key <= (FEW + 1) * 10; key += 5) {
            fill_heap(f, FEW);
            update_element(f, i, key);
            assert_int_equal(heap_key(&f->heap, &f->items[i].node), key);
            assert_as_model(f);
            assert_drains_as_model(f);
        }
    }
}

static void removing_an_element_outside_the_heap_does_nothing(void **state)
{
    struct fixture *f = *state;

    heap_remove(&f->heap, &f->items[0].node);
    assert_as_model(f);
    fill_heap(f, FEW);
    heap_remove(&f->heap, &f->items[FEW].node);
    assert_as_model(f);
    assert_drains_as_model(f);
}

static void short_memory_fails_only_the_reservation(void **state)
{
    struct fixture *f = *state;
    uint32_t failures = 0;

    for (uint32_t i = 0; i < ITEMS_MAX; i++) {
        uint64_t allowed = 0;

        for (;; failures++) {
            f->memory.fail_after = allowed++;
            if (heap_reserve(&f->heap, i + 1))
                break;
        }
        f->memory.fail_after = UINT64_MAX;
        insert_element(f, i, ITEMS_MAX - i);
    }
    assert_true(failures > 0);
    assert_as_model(f);
    assert_drains_as_model(f);
}

static void inserting_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t calls;

    assert_true(heap_reserve(&f->heap, ITEMS_MAX));
    calls = f->memory.calls;
    fill_heap(f, ITEMS_MAX);
    assert_drains_as_model(f);
    assert_int_equal(f->memory.calls, calls);
}

static void trimming_frees_room_and_keeps_the_elements(void **state)
{
    struct fixture *f = *state;
    uint64_t full;

    fill_heap(f, ITEMS_MAX);
    full = f->memory.bytes;
    heap_trim(&f->heap, ITEMS_MAX);
    while (f->count > FEW)
        remove_element(f, item_of(heap_top(&f->heap)));
    assert_int_equal(f->memory.bytes, full);
    heap_trim(&f->heap, FEW);
    assert_true(f->memory.bytes < full / 4);
    assert_as_model(f);
    assert_drains_as_model(f);
}

static uint64_t random_key(struct seeded *seeded)
{
    switch (seeded_below(seeded, 8)) {
    case 0:
        return seeded_next(seeded);
    case 1:
        return UINT64_MAX;
    default:
        return seeded_below(seeded, 100); /* many equal keys */
    }
}

static void random_step(struct fixture *f, struct seeded *seeded, bool growing)
{
    uint32_t index = seeded_below(seeded, MODEL_ITEMS);
    bool contained = heap_contains(&f->items[index].node);
    uint32_t kind = seeded_below(seeded, 10);

    if (!contained && (growing || kind < 3))
        insert_element(f, index, random_key(seeded));
    else if (contained && kind < 5)
        update_element(f, index, random_key(seeded));
    else if (contained && (!growing || kind == 5))
        remove_element(f, &f->items[index]);
    else if (kind == 6 && f->count > 0)
        remove_element(f, item_of(heap_top(&f->heap)));
    else if (kind == 7)
        heap_trim(&f->heap, f->count);
}

static void random_operations_agree_with_a_sorted_array(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    for (uint32_t step = 0; step < MODEL_STEPS; step++) {
        random_step(f, &seeded, step / 2000 % 2 == 0);
        assert_as_model(f);
    }
    assert_drains_as_model(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_heap_has_no_top),
        TEST(elements_come_out_in_the_order_of_their_keys),
        TEST(elements_with_equal_keys_come_out_once_each),
        TEST(the_largest_key_works),
        TEST(any_element_can_be_removed),
        TEST(an_updated_element_moves_to_its_new_place),
        TEST(removing_an_element_outside_the_heap_does_nothing),
        TEST(short_memory_fails_only_the_reservation),
        TEST(inserting_allocates_nothing),
        TEST(trimming_frees_room_and_keeps_the_elements),
        TEST(random_operations_agree_with_a_sorted_array),
    };

    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
