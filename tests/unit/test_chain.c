/*
 * The chain keeps its order, seen from both ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/chain.h"

enum {
    ITEMS = 4
};

/* The link is not the first member, to test CONTAINER_OF. */
struct item {
    uint32_t number;
    struct list_link link;
};

struct fixture {
    struct chain chain;
    struct item items[ITEMS];
};

/* A chain of the first `count` items, in their order. */
static void fixture_init(struct fixture *fixture, uint32_t count)
{
    chain_init(&fixture->chain);
    for (uint32_t i = 0; i < ITEMS; i++)
        fixture->items[i] = (struct item){.number = i};
    for (uint32_t i = 0; i < count; i++)
        chain_push_back(&fixture->chain, &fixture->items[i].link);
}

/* `order` has one digit for each item, e.g. "201"; it is read forwards, then backwards. */
static void assert_order(const struct chain *chain, const char *order)
{
    const struct list_link *link = chain->first;
    const struct list_link *last = NULL;

    assert_int_equal(chain_empty(chain), *order == '\0');
    for (; *order; order++) {
        assert_non_null(link);
        assert_int_equal(CONTAINER_OF(link, struct item, link)->number, *order - '0');
        assert_ptr_equal(link->previous, last ? last : chain_last(chain));
        assert_ptr_equal(link->previous->next, link);
        last = link;
        link = chain_next(chain, link);
    }
    assert_null(link);
    assert_ptr_equal(chain_last(chain), last);
}

static void an_empty_chain_has_no_first_and_no_last(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, 0);
    assert_order(&f.chain, "");
}

static void links_are_pushed_at_either_end(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, 0);
    chain_push_front(&f.chain, &f.items[0].link);
    assert_order(&f.chain, "0");
    chain_push_front(&f.chain, &f.items[1].link);
    assert_order(&f.chain, "10");
    chain_push_back(&f.chain, &f.items[2].link);
    assert_order(&f.chain, "102");
    chain_push_front(&f.chain, &f.items[3].link);
    assert_order(&f.chain, "3102");
}

static void any_link_can_be_removed(void **state)
{
    static const char *const left[] = {"123", "023", "013", "012"};

    (void)state;
    for (uint32_t leaving = 0; leaving < ITEMS; leaving++) {
        struct fixture f;

        fixture_init(&f, ITEMS);
        chain_remove(&f.chain, &f.items[leaving].link);
        assert_order(&f.chain, left[leaving]);
        assert_false(list_linked(&f.items[leaving].link));
    }
}

static void removing_the_last_link_empties_the_chain(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, 1);
    chain_remove(&f.chain, &f.items[0].link);
    assert_order(&f.chain, "");
    assert_false(list_linked(&f.items[0].link));
    chain_push_back(&f.chain, &f.items[1].link);
    assert_order(&f.chain, "1");
}

static void any_link_can_move_to_either_end(void **state)
{
    static const char *const front[] = {"0123", "1023", "2013", "3012"};
    static const char *const back[] = {"1230", "0231", "0132", "0123"};

    (void)state;
    for (uint32_t moving = 0; moving < ITEMS; moving++) {
        struct fixture f;

        fixture_init(&f, ITEMS);
        chain_move_front(&f.chain, &f.items[moving].link);
        assert_order(&f.chain, front[moving]);
        fixture_init(&f, ITEMS);
        chain_move_back(&f.chain, &f.items[moving].link);
        assert_order(&f.chain, back[moving]);
    }
}

static void a_single_link_is_first_and_last(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f, 1);
    chain_move_front(&f.chain, &f.items[0].link);
    assert_order(&f.chain, "0");
    chain_move_back(&f.chain, &f.items[0].link);
    assert_order(&f.chain, "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_chain_has_no_first_and_no_last),
        cmocka_unit_test(links_are_pushed_at_either_end),
        cmocka_unit_test(any_link_can_be_removed),
        cmocka_unit_test(removing_the_last_link_empties_the_chain),
        cmocka_unit_test(any_link_can_move_to_either_end),
        cmocka_unit_test(a_single_link_is_first_and_last),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
