/* A slot has one connection, and no other before the mailbox has been emptied. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "memory_counted.h"
#include "server/slots.h"

enum {
    MANY = 5000,
    EFFECTS_LEAST = 2 /* for each slot */
};

struct fixture {
    struct memory_counted memory;
    struct mailbox mailbox;
    struct slots slots;
    uint64_t connections[MANY]; /* their addresses stand for connections */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    memory_counted_init(&f->memory);
    mailbox_init(&f->mailbox, &f->memory.memory, sizeof(uint64_t));
    slots_init(&f->slots, &f->memory.memory, &f->mailbox);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    slots_free(&f->slots);
    mailbox_free(&f->mailbox);
    memory_counted_assert_returned(&f->memory);
    free(f);
    return 0;
}

static struct connection *connection_of(struct fixture *f, uint32_t number)
{
    return (struct connection *)(void *)&f->connections[number];
}

static void each_slot_has_one_connection(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t slot = slots_take(&f->slots);

        assert_int_equal(slot, i);
        assert_null(slots_at(&f->slots, slot));
        slots_set(&f->slots, slot, connection_of(f, i));
    }
    for (uint32_t i = 0; i < MANY; i++)
        assert_ptr_equal(slots_at(&f->slots, i), connection_of(f, i));
    assert_int_equal(f->slots.count, MANY);
}

static void a_slot_is_reused_once_no_effect_can_be_left_for_it(void **state)
{
    struct fixture *f = *state;
    uint32_t first = slots_take(&f->slots);
    uint32_t second = slots_take(&f->slots);
    uint32_t third;

    slots_set(&f->slots, first, connection_of(f, 0));
    slots_set(&f->slots, second, connection_of(f, 1));
    slots_retire(&f->slots, first);
    assert_null(slots_at(&f->slots, first));
    assert_ptr_equal(slots_at(&f->slots, second), connection_of(f, 1));
    third = slots_take(&f->slots);
    assert_int_not_equal(third, first);
    slots_reuse(&f->slots, 2, 5);
    slots_retire(&f->slots, second); /* waits for the effects that came meanwhile, too */
    slots_reuse(&f->slots, 4, 7);
    assert_int_equal(slots_take(&f->slots), 3);
    slots_reuse(&f->slots, 1, 6);
    assert_int_equal(slots_take(&f->slots), first);
    assert_int_equal(slots_take(&f->slots), 4);
    slots_reuse(&f->slots, 5, 1);
    assert_int_equal(slots_take(&f->slots), 5);
    slots_reuse(&f->slots, 1, 0);
    assert_int_equal(slots_take(&f->slots), second);
    assert_int_equal(f->slots.count, 6);
}

static void a_slot_is_reused_at_once_if_the_mailbox_is_empty(void **state)
{
    struct fixture *f = *state;
    uint32_t slot = slots_take(&f->slots);

    slots_retire(&f->slots, slot);
    slots_reuse(&f->slots, 3, 0);
    assert_int_equal(slots_take(&f->slots), slot);
    assert_int_equal(f->slots.count, 1);
}

static void all_retired_slots_are_reused(void **state)
{
    struct fixture *f = *state;
    bool seen[MANY] = {false};

    for (uint32_t i = 0; i < MANY; i++)
        slots_take(&f->slots);
    for (uint32_t i = 0; i < MANY; i++)
        slots_retire(&f->slots, i);
    slots_reuse(&f->slots, 0, 0);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t slot = slots_take(&f->slots);

        assert_true(slot < MANY && !seen[slot]);
        seen[slot] = true;
    }
    assert_int_equal(f->slots.count, MANY);
}

static void each_slot_has_room_for_its_effects(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < MANY; i++)
        assert_true(slots_take(&f->slots) != SLOT_NONE);
    f->memory.fail_after = 0;
    for (uint64_t i = 0; i < MANY * EFFECTS_LEAST; i++)
        mailbox_post(&f->mailbox, &i);
    assert_int_equal(f->mailbox.count, MANY * EFFECTS_LEAST);
}

static void without_memory_there_is_no_slot(void **state)
{
    struct fixture *f = *state;
    uint32_t taken = 0;

    f->memory.fail_after = 0;
    assert_int_equal(slots_take(&f->slots), SLOT_NONE);
    f->memory.fail_after = 2;
    while (slots_take(&f->slots) != SLOT_NONE)
        taken++;
    assert_int_equal(f->slots.count, taken);
    f->memory.fail_after = UINT64_MAX;
    assert_int_equal(slots_take(&f->slots), taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_slot_has_one_connection, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slot_is_reused_once_no_effect_can_be_left_for_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_slot_is_reused_at_once_if_the_mailbox_is_empty, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(all_retired_slots_are_reused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_slot_has_room_for_its_effects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_there_is_no_slot, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
