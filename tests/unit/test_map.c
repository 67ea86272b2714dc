/*
 * The map with linear hashing: all elements are found for any hashes, memory and size, and a
 * walk visits every element that stays.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/map.h"
#include "memory_counted.h"
#include "seeded.h"

enum {
    ITEMS = 3000, /* buckets of several segments */
    BUCKETS_FIRST = 16,
    MODEL_STEPS = 40000,
    WALKS = 400
};

struct item {
    struct map_link link; /* the first member */
    uint64_t hash;
    bool inside;
    bool stays; /* during a walk */
    uint32_t visits;
};

struct fixture {
    struct memory_counted memory;
    struct map map;
    struct item items[ITEMS];
    uint64_t count;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    memory_counted_init(&f->memory);
    map_init(&f->map, &f->memory.memory);
    if (!map_reserve(&f->map))
        return -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    map_free(&f->map);
    memory_counted_assert_returned(&f->memory);
    free(f);
    return 0;
}

/* Hashes that differ in all bits. */
static void spread_hashes(struct fixture *f, struct seeded *seeded)
{
    for (uint32_t i = 0; i < ITEMS; i++)
        f->items[i].hash = seeded_next(seeded);
}

/* Hashes with many equal ones, and many that differ only in high bits. */
static void crowd_hashes(struct fixture *f, struct seeded *seeded)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        f->items[i].hash = seeded_next(seeded);
        if (i % 3 == 1)
            f->items[i].hash %= 64;
        else if (i % 3 == 2)
            f->items[i].hash &= UINT64_C(0xfff0000000000003);
    }
}

static void insert_element(struct fixture *f, uint32_t index)
{
    map_insert(&f->map, &f->items[index].link, f->items[index].hash);
    f->items[index].inside = true;
    f->count++;
}

static void remove_element(struct fixture *f, uint32_t index)
{
    map_remove(&f->map, &f->items[index].link);
    f->items[index].inside = false;
    f->count--;
}

static void toggle_element(struct fixture *f, uint32_t index)
{
    if (f->items[index].inside)
        remove_element(f, index);
    else
        insert_element(f, index);
}

static uint32_t times_found(const struct fixture *f, const struct item *item)
{
    uint32_t times = 0;

    for (const struct map_link *link = map_find(&f->map, item->hash); link;
         link = map_find_next(link)) {
        assert_int_equal(link->hash, item->hash);
        times += link == &item->link;
    }
    return times;
}

static void assert_found_if_inside(const struct fixture *f, uint32_t index)
{
    assert_int_equal(times_found(f, &f->items[index]), f->items[index].inside);
}

static void assert_all_found_if_inside(const struct fixture *f)
{
    assert_int_equal(f->map.count, f->count);
    for (uint32_t i = 0; i < ITEMS; i++)
        assert_found_if_inside(f, i);
}

static void note_visit(void *context, struct map_link *link)
{
    struct item *item = (struct item *)link;

    (void)context;
    assert_true(item->inside);
    item->visits++;
}

static uint64_t walk_on(struct fixture *f, uint64_t position)
{
    return map_walk(&f->map, position, note_visit, NULL);
}

static void forget_visits(struct fixture *f)
{
    for (uint32_t i = 0; i < ITEMS; i++)
        f->items[i].visits = 0;
}

/* A walk over an unchanged map. */
static void assert_walk_visits_all(struct fixture *f)
{
    uint64_t position = 0;
    uint64_t steps = 0;

    forget_visits(f);
    do {
        position = walk_on(f, position);
        assert_true(++steps <= f->map.bucket_count);
    } while (position != 0);
    for (uint32_t i = 0; i < ITEMS; i++)
        assert_int_equal(f->items[i].visits, f->items[i].inside);
}

static void nothing_is_found_in_an_empty_map(void **state)
{
    struct fixture *f = *state;

    assert_null(map_find(&f->map, 0));
    assert_null(map_find(&f->map, UINT64_MAX));
    assert_walk_visits_all(f);
}

static void elements_with_equal_hashes_are_all_found(void **state)
{
    enum {
        TWINS = 10
    };
    struct fixture *f = *state;

    for (uint32_t i = 0; i < TWINS; i++) {
        f->items[i].hash = 5;
        f->items[TWINS + i].hash = 5 + UINT64_C(0x100000000) * (i + 1); /* in the same bucket */
        insert_element(f, i);
        insert_element(f, TWINS + i);
    }
    assert_all_found_if_inside(f);
    for (uint32_t i = 0; i < 2 * TWINS; i += 3) {
        remove_element(f, i);
        assert_all_found_if_inside(f);
    }
    assert_walk_visits_all(f);
}

static void an_insertion_adds_at_most_one_bucket_and_chains_stay_short(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    spread_hashes(f, &seeded);
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint64_t before = f->map.bucket_count;
        uint64_t calls = f->memory.calls;

        insert_element(f, i);
        assert_in_range(f->map.bucket_count, before, before + 1);
        assert_in_range(f->memory.calls, calls, calls + 2); /* a segment, the directory */
        assert_true(f->map.count <= f->map.bucket_count);
        assert_found_if_inside(f, i);
    }
    assert_all_found_if_inside(f);
}

static void a_removal_drops_at_most_two_buckets(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;
    uint64_t bytes;

    seeded_init(&seeded, __func__);
    spread_hashes(f, &seeded);
    for (uint32_t i = 0; i < ITEMS; i++)
        insert_element(f, i);
    bytes = f->memory.bytes;
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint64_t before = f->map.bucket_count;

        remove_element(f, i);
        assert_in_range(f->map.bucket_count, before - 2, before);
        assert_false(map_find(&f->map, f->items[i].hash));
    }
    assert_int_equal(f->map.bucket_count, BUCKETS_FIRST);
    assert_true(f->memory.bytes < bytes);
    assert_all_found_if_inside(f);
}

static void a_toggling_count_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    spread_hashes(f, &seeded);
    for (uint32_t step = 0; step < 2 * ITEMS; step++) {
        uint32_t index = step < ITEMS ? step : step - ITEMS;
        uint64_t calls;

        toggle_element(f, index); /* grow to all, then shrink to none */
        calls = f->memory.calls;
        for (uint32_t i = 0; i < 8; i++)
            toggle_element(f, index);
        assert_int_equal(f->memory.calls, calls);
    }
    assert_int_equal(f->count, 0);
}

static void without_memory_to_grow_all_elements_are_found(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;
    uint64_t buckets;

    seeded_init(&seeded, __func__);
    spread_hashes(f, &seeded);
    f->memory.fail_after = 0;
    for (uint32_t i = 0; i < ITEMS - 100; i++)
        insert_element(f, i);
    buckets = f->map.bucket_count;
    assert_true(buckets < ITEMS - 100);
    assert_all_found_if_inside(f);
    assert_walk_visits_all(f);

    f->memory.fail_after = UINT64_MAX;
    for (uint32_t i = ITEMS - 100; i < ITEMS; i++)
        insert_element(f, i);
    assert_true(f->map.bucket_count > buckets);
    assert_all_found_if_inside(f);
    for (uint32_t i = 0; i < ITEMS; i += 2)
        remove_element(f, i);
    assert_all_found_if_inside(f);
    assert_walk_visits_all(f);
}

static void reserving_without_memory_fails_and_can_be_repeated(void **state)
{
    struct fixture *f = *state;
    struct map map;
    uint64_t allowed = 0;

    map_init(&map, &f->memory.memory);
    for (;; allowed++) {
        f->memory.fail_after = allowed;
        if (map_reserve(&map))
            break;
    }
    assert_true(allowed > 0);
    f->memory.fail_after = UINT64_MAX;
    map_insert(&map, &f->items[0].link, 1);
    assert_ptr_equal(map_find(&map, 1), &f->items[0].link);
    map_free(&map);
}

static void random_operations_agree_with_flags(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    crowd_hashes(f, &seeded);
    for (uint32_t step = 0; step < MODEL_STEPS; step++) {
        bool growing = step / 8000 % 2 == 0;
        uint32_t index = seeded_below(&seeded, ITEMS);

        f->memory.fail_after = seeded_below(&seeded, 4) == 0 ? 0 : UINT64_MAX;
        if (f->items[index].inside != growing || seeded_below(&seeded, 8) == 0)
            toggle_element(f, index);
        assert_found_if_inside(f, index);
        assert_found_if_inside(f, seeded_below(&seeded, ITEMS));
        if (step % 1000 == 0)
            assert_all_found_if_inside(f);
    }
    f->memory.fail_after = UINT64_MAX;
    assert_all_found_if_inside(f);
    assert_walk_visits_all(f);
}

static void a_walk_of_any_size_visits_each_element_once(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    crowd_hashes(f, &seeded);
    for (uint32_t i = 0; i < 150; i++) {
        assert_walk_visits_all(f);
        insert_element(f, i);
    }
    for (uint32_t i = 0; i < 150; i++) {
        remove_element(f, i);
        assert_walk_visits_all(f);
    }
}

static void take_all_out(struct fixture *f)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        if (f->items[i].inside)
            remove_element(f, i);
    }
}

/* A walk while `items` elements are inserted and removed. */
struct troubled_walk {
    struct fixture *fixture;
    struct seeded *seeded;
    uint32_t items;
    uint32_t burst;  /* most changes between two steps */
    uint32_t period; /* steps of growth, then as many of shrinking */
    bool growing;
};

/*
 * Inserts all, so that many can be removed. Those that stay are few enough for the map to
 * shrink.
 */
static void choose_who_stays(struct troubled_walk *walk)
{
    uint32_t share = seeded_below(walk->seeded, 10); /* of 20 */

    for (uint32_t i = 0; i < walk->items; i++) {
        walk->fixture->items[i].stays = seeded_below(walk->seeded, 20) < share;
        insert_element(walk->fixture, i);
    }
}

static void change_between_steps(struct troubled_walk *walk)
{
    for (uint32_t count = seeded_below(walk->seeded, walk->burst + 1); count > 0; count--) {
        uint32_t index = seeded_below(walk->seeded, walk->items);
        const struct item *item = &walk->fixture->items[index];

        if (!item->stays && item->inside != walk->growing)
            toggle_element(walk->fixture, index);
    }
}

static void walk_amid_changes(struct troubled_walk *walk)
{
    struct fixture *f = walk->fixture;
    uint64_t position = 0;
    uint32_t steps = 0;

    choose_who_stays(walk);
    forget_visits(f);
    do {
        position = walk_on(f, position);
        if (++steps % walk->period == 0)
            walk->growing = !walk->growing;
        change_between_steps(walk);
        assert_true(steps <= 4 * ITEMS);
    } while (position != 0);
    for (uint32_t i = 0; i < walk->items; i++) {
        if (f->items[i].stays)
            assert_int_equal(f->items[i].visits, 1);
    }
    take_all_out(f);
}

static void a_walk_visits_each_lasting_element_once_during_changes(void **state)
{
    static const uint32_t sizes[] = {40, 100, 400, ITEMS};
    struct fixture *f = *state;
    struct seeded seeded;

    seeded_init(&seeded, __func__);
    for (uint32_t number = 0; number < WALKS; number++) {
        uint32_t items = sizes[number % 4];
        struct troubled_walk walk = {
            .fixture = f,
            .seeded = &seeded,
            .items = items,
            .burst = 1 + seeded_below(&seeded, items),
            .period = 1 + seeded_below(&seeded, items / 4),
            .growing = seeded_below(&seeded, 2) == 0,
        };

        if (number % 3 == 0)
            crowd_hashes(f, &seeded);
        else
            spread_hashes(f, &seeded);
        walk_amid_changes(&walk);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_found_in_an_empty_map),
        TEST(elements_with_equal_hashes_are_all_found),
        TEST(an_insertion_adds_at_most_one_bucket_and_chains_stay_short),
        TEST(a_removal_drops_at_most_two_buckets),
        TEST(a_toggling_count_allocates_nothing),
        TEST(without_memory_to_grow_all_elements_are_found),
        TEST(reserving_without_memory_fails_and_can_be_repeated),
        TEST(random_operations_agree_with_flags),
        TEST(a_walk_of_any_size_visits_each_element_once),
        TEST(a_walk_visits_each_lasting_element_once_during_changes),
    };

    return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
