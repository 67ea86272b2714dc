/*
 * The intrusive list keeps its order, seen from both ends, and its links know whether they are
 * in a list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"

enum {
    ITEMS = 4
};

/* The link is not the first member, to test CONTAINER_OF. */
struct item {
    uint32_t number;
    struct list_link link;
};

struct fixture {
    struct list list;
    struct item items[ITEMS];
};

static void fixture_init(struct fixture *fixture)
{
    list_init(&fixture->list);
    for (uint32_t i = 0; i < ITEMS; i++)
        fixture->items[i] = (struct item){.number = i};
}

static struct item *item_of(struct list_link *link)
{
    return CONTAINER_OF(link, struct item, link);
}

/* `order` has one digit for each item, e.g. "201". */
static void assert_order(const struct list *list, const char *order)
{
    const struct list_link *previous = &list->head;
    struct list_link *link = list->head.next;

    assert_int_equal(list_empty(list), *order == '\0');
    assert_ptr_equal(list_first(list), *order ? link : NULL);
    for (; *order; order++) {
        assert_ptr_not_equal(link, &list->head);
        assert_ptr_equal(link->previous, previous);
        assert_int_equal(item_of(link)->number, *order - '0');
        previous = link;
        link = link->next;
    }
    assert_ptr_equal(link, &list->head);
    assert_ptr_equal(list->head.previous, previous);
}

static void an_empty_list_has_no_first(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_order(&f.list, "");
}

static void push_back_adds_at_the_end(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    list_push_back(&f.list, &f.items[0].link);
    assert_order(&f.list, "0");
    list_push_back(&f.list, &f.items[1].link);
    list_push_back(&f.list, &f.items[2].link);
    assert_order(&f.list, "012");
}

static void push_front_adds_at_the_start(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    list_push_front(&f.list, &f.items[0].link);
    assert_order(&f.list, "0");
    list_push_front(&f.list, &f.items[1].link);
    list_push_back(&f.list, &f.items[2].link);
    assert_order(&f.list, "102");
}

static void insert_before_adds_before_a_link(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    list_push_back(&f.list, &f.items[0].link);
    list_insert_before(&f.items[0].link, &f.items[1].link);
    list_insert_before(&f.items[0].link, &f.items[2].link);
    assert_order(&f.list, "120");
}

static void any_link_can_be_removed_and_added_again(void **state)
{
    static const char *const left[] = {"123", "023", "013", "012"};
    static const char *const back[] = {"1230", "0231", "0132", "0123"};

    (void)state;
    for (uint32_t leaving = 0; leaving < ITEMS; leaving++) {
        struct fixture f;

        fixture_init(&f);
        for (uint32_t i = 0; i < ITEMS; i++)
            list_push_back(&f.list, &f.items[i].link);
        list_remove(&f.items[leaving].link);
        assert_order(&f.list, left[leaving]);
        list_push_back(&f.list, &f.items[leaving].link);
        assert_order(&f.list, back[leaving]);
    }
}

static void a_link_knows_whether_it_is_in_a_list(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_false(list_linked(&f.items[0].link));
    list_push_back(&f.list, &f.items[0].link);
    assert_true(list_linked(&f.items[0].link));
    list_remove(&f.items[0].link);
    assert_false(list_linked(&f.items[0].link));
    assert_null(f.items[0].link.previous);
    assert_order(&f.list, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_list_has_no_first),
        cmocka_unit_test(push_back_adds_at_the_end),
        cmocka_unit_test(push_front_adds_at_the_start),
        cmocka_unit_test(insert_before_adds_before_a_link),
        cmocka_unit_test(any_link_can_be_removed_and_added_again),
        cmocka_unit_test(a_link_knows_whether_it_is_in_a_list),
    };

    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
