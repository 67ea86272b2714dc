/*
 * The supply of fences: each fence below the ceiling is handed out once, and the next range is
 * requested once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>

#include "server/fences.h"

static struct fences fences;

static void fences_rise_by_one_from_the_first(void **state)
{
    (void)state;
    fences_init(&fences, 7, 9);
    assert_true(fences_promise(&fences));
    assert_int_equal(fences_take(&fences), 7);
    assert_true(fences_promise(&fences));
    assert_int_equal(fences_take(&fences), 8);
    assert_false(fences_promise(&fences));
}

static void a_fence_at_the_ceiling_is_not_promised(void **state)
{
    (void)state;
    fences_init(&fences, 10, 13);
    for (int i = 0; i < 3; i++) {
        assert_false(fences_are_exhausted(&fences));
        assert_true(fences_promise(&fences));
    }
    assert_true(fences_are_exhausted(&fences));
    assert_false(fences_promise(&fences));
    assert_int_equal(fences_outstanding(&fences), 3);
    assert_int_equal(fences_take(&fences), 10);
    assert_false(fences_promise(&fences));
    assert_int_equal(fences_outstanding(&fences), 2);
}

static void a_returned_promise_can_be_made_again(void **state)
{
    (void)state;
    fences_init(&fences, 0, 1);
    assert_true(fences_promise(&fences));
    fences_return(&fences);
    assert_int_equal(fences_outstanding(&fences), 0);
    assert_true(fences_promise(&fences));
    assert_false(fences_promise(&fences));
}

static void a_higher_ceiling_allows_more_promises(void **state)
{
    (void)state;
    fences_init(&fences, 0, 1);
    assert_true(fences_promise(&fences));
    assert_false(fences_promise(&fences));
    fences_raise(&fences, 3);
    assert_int_equal(fences_ceiling(&fences), 3);
    assert_true(fences_promise(&fences));
    assert_true(fences_promise(&fences));
    assert_false(fences_promise(&fences));
}

static void the_next_range_is_requested_once_when_half_of_the_last_is_in_use(void **state)
{
    (void)state;
    fences_init(&fences, 100, 110);
    for (int i = 0; i < 4; i++)
        assert_true(fences_promise(&fences));
    assert_false(fences_are_low(&fences));
    assert_false(fences_request(&fences));
    assert_false(fences_requested(&fences));
    assert_true(fences_promise(&fences));
    assert_true(fences_are_low(&fences));
    assert_true(fences_requested(&fences));
    assert_true(fences_request(&fences));
    assert_false(fences_request(&fences));
    fences_raise(&fences, 120);
    assert_false(fences_requested(&fences));
    for (int i = 5; i < 14; i++)
        assert_true(fences_promise(&fences));
    assert_false(fences_request(&fences));
    assert_true(fences_promise(&fences));
    assert_true(fences_request(&fences));
}

static void a_request_counts_after_its_promise_is_returned(void **state)
{
    (void)state;
    fences_init(&fences, 0, 2);
    assert_true(fences_promise(&fences));
    assert_true(fences_request(&fences));
    fences_return(&fences);
    assert_false(fences_are_low(&fences));
    assert_true(fences_requested(&fences));
}

static void without_a_ceiling_fences_need_no_promise(void **state)
{
    (void)state;
    fences_init(&fences, UINT64_C(1) << 60, FENCES_UNLIMITED);
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(fences_take(&fences) == (UINT64_C(1) << 60) + i);
}

/* ---- threads ---- */

enum {
    THREADS = 4,
    RANGE = 64,
    TAKEN = 50000 /* by each thread */
};

static uint8_t seen[THREADS * TAKEN];
static _Atomic uint64_t requests;

/* Makes promises and returns some. The thread that requests a range raises the ceiling. */
static void *take_many(void *argument)
{
    uint32_t taken = 0;

    (void)argument;
    for (uint32_t i = 0; taken < TAKEN; i++) {
        bool promised = fences_promise(&fences);

        if (fences_request(&fences)) {
            atomic_fetch_add(&requests, 1);
            do
                fences_raise(&fences, fences_ceiling(&fences) + RANGE);
            while (fences_are_low(&fences));
        }
        if (promised && i % 3 == 0) {
            fences_return(&fences);
        } else if (promised) {
            seen[fences_take(&fences)]++;
            taken++;
        }
    }
    return NULL;
}

static void each_fence_goes_to_one_thread(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    fences_init(&fences, 0, RANGE);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS * TAKEN; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(fences_outstanding(&fences), 0);
    assert_true(atomic_load(&requests) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fences_rise_by_one_from_the_first),
        cmocka_unit_test(a_fence_at_the_ceiling_is_not_promised),
        cmocka_unit_test(a_returned_promise_can_be_made_again),
        cmocka_unit_test(a_higher_ceiling_allows_more_promises),
        cmocka_unit_test(the_next_range_is_requested_once_when_half_of_the_last_is_in_use),
        cmocka_unit_test(a_request_counts_after_its_promise_is_returned),
        cmocka_unit_test(without_a_ceiling_fences_need_no_promise),
        cmocka_unit_test(each_fence_goes_to_one_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
