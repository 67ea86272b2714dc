/*
 * The budget never exceeds its limit, grants all of it, and grants returned memory again, also
 * to many threads at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/budget.h"
#include "memory_counted.h"

enum {
    LIMIT = 8000,
    THREADS = 4,
    TURNS = 100000
};

static void allocations_stop_at_the_limit(void **state)
{
    struct memory_counted counted;
    struct budget budget;
    void *blocks[9];

    (void)state;
    memory_counted_init(&counted);
    budget_init(&budget, &counted.memory, LIMIT);
    for (int i = 0; i < 8; i++) {
        assert_false(budget_tight(&budget));
        blocks[i] = memory_allocate(&budget.memory, 1000, 1);
        assert_non_null(blocks[i]);
    }
    assert_true(budget_tight(&budget));
    assert_null(memory_allocate(&budget.memory, 1, 1));
    assert_false(budget_take(&budget, 1));
    assert_null(memory_allocate(&budget.memory, SIZE_MAX, 1));
    memory_release(&budget.memory, blocks[0], 1000);
    assert_true(budget_take(&budget, 1000));
    assert_null(memory_allocate(&budget.memory, 1, 1));
    budget_give(&budget, 1000);
    for (int i = 1; i < 8; i++)
        memory_release(&budget.memory, blocks[i], 1000);
    assert_int_equal(budget.used, 0);
    memory_counted_assert_returned(&counted);
}

static void failed_allocations_are_not_counted(void **state)
{
    struct memory_counted counted;
    struct budget budget;

    (void)state;
    memory_counted_init(&counted);
    budget_init(&budget, &counted.memory, LIMIT);
    counted.fail_after = 0;
    assert_null(memory_allocate(&budget.memory, 1000, 1));
    assert_int_equal(budget.used, 0);
}

static void *take_and_give(void *context)
{
    struct budget *budget = context;
    uintptr_t over = 0;

    for (int i = 0; i < TURNS; i++) {
        if (!budget_take(budget, LIMIT / 2))
            continue;
        over += budget->used > LIMIT;
        budget_give(budget, LIMIT / 2);
    }
    return (void *)over;
}

static void threads_together_stay_within_the_limit(void **state)
{
    struct memory_counted counted;
    struct budget budget;
    pthread_t threads[THREADS];

    (void)state;
    memory_counted_init(&counted);
    budget_init(&budget, &counted.memory, LIMIT);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &budget), 0);
    for (int i = 0; i < THREADS; i++) {
        void *over;

        pthread_join(threads[i], &over);
        assert_null(over);
    }
    assert_int_equal(budget.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_stop_at_the_limit),
        cmocka_unit_test(failed_allocations_are_not_counted),
        cmocka_unit_test(threads_together_stay_within_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
