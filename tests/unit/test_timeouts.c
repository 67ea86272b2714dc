/* Timeouts of one duration expire in the order of their start, and not a nanosecond early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/timeouts.h"

enum {
    COUNT = 3,
    DURATION_NS = 1000
};

struct fixture {
    struct timeouts timeouts;
    struct timeout each[COUNT];
};

/* All are started, at 0, 10 and 20. */
static struct fixture *start_timeouts(uint64_t duration_ns)
{
    static struct fixture f;

    f = (struct fixture){.each = {{.since_ns = 0}}};
    timeouts_init(&f.timeouts, duration_ns);
    for (uint32_t i = 0; i < COUNT; i++)
        timeout_start(&f.timeouts, &f.each[i], i * 10);
    return &f;
}

static void an_empty_list_has_no_deadline(void **state)
{
    struct timeouts timeouts;
    struct timeout timeout = {.since_ns = 0};

    (void)state;
    timeouts_init(&timeouts, DURATION_NS);
    assert_int_equal(timeouts_deadline(&timeouts), UINT64_MAX);
    assert_null(timeouts_take(&timeouts, UINT64_MAX - 1));
    assert_false(timeout_runs(&timeout));
}

static void timeouts_expire_in_start_order_at_their_time(void **state)
{
    struct fixture *f = start_timeouts(DURATION_NS);

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t due = i * 10 + DURATION_NS;

        assert_int_equal(timeouts_deadline(&f->timeouts), due);
        assert_null(timeouts_take(&f->timeouts, due - 1));
        assert_true(timeout_runs(&f->each[i]));
        assert_ptr_equal(timeouts_take(&f->timeouts, due), &f->each[i]);
        assert_false(timeout_runs(&f->each[i]));
    }
    assert_int_equal(timeouts_deadline(&f->timeouts), UINT64_MAX);
}

static void overdue_timeouts_are_taken_one_by_one(void **state)
{
    struct fixture *f = start_timeouts(DURATION_NS);

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_ptr_equal(timeouts_take(&f->timeouts, 5 * DURATION_NS), &f->each[i]);
    assert_null(timeouts_take(&f->timeouts, 5 * DURATION_NS));
}

static void a_duration_of_0_never_ends(void **state)
{
    struct fixture *f = start_timeouts(0);

    (void)state;
    assert_int_equal(timeouts_deadline(&f->timeouts), UINT64_MAX);
    assert_null(timeouts_take(&f->timeouts, UINT64_MAX - 1));
    assert_true(timeout_runs(&f->each[0]));
}

static void a_restarted_timeout_runs_its_full_duration(void **state)
{
    struct fixture *f = start_timeouts(DURATION_NS);

    (void)state;
    timeout_start(&f->timeouts, &f->each[0], 30);
    assert_ptr_equal(timeouts_take(&f->timeouts, 2 * DURATION_NS), &f->each[1]);
    assert_ptr_equal(timeouts_take(&f->timeouts, 2 * DURATION_NS), &f->each[2]);
    assert_int_equal(timeouts_deadline(&f->timeouts), 30 + DURATION_NS);
    assert_null(timeouts_take(&f->timeouts, 29 + DURATION_NS));
    assert_ptr_equal(timeouts_take(&f->timeouts, 30 + DURATION_NS), &f->each[0]);
}

static void a_timeout_started_in_another_list_leaves_the_first(void **state)
{
    struct fixture *f = start_timeouts(DURATION_NS);
    struct timeouts others;

    (void)state;
    timeouts_init(&others, 5);
    timeout_start(&others, &f->each[0], 40);
    assert_int_equal(timeouts_deadline(&others), 45);
    assert_int_equal(timeouts_deadline(&f->timeouts), 10 + DURATION_NS);
    assert_ptr_equal(timeouts_take(&others, 45), &f->each[0]);
    assert_null(timeouts_take(&others, 45));
}

static void a_stopped_timeout_does_not_expire(void **state)
{
    struct fixture *f = start_timeouts(DURATION_NS);

    (void)state;
    timeout_stop(&f->each[1]);
    assert_false(timeout_runs(&f->each[1]));
    timeout_stop(&f->each[1]); /* nothing happens */
    assert_ptr_equal(timeouts_take(&f->timeouts, 5 * DURATION_NS), &f->each[0]);
    assert_ptr_equal(timeouts_take(&f->timeouts, 5 * DURATION_NS), &f->each[2]);
    assert_null(timeouts_take(&f->timeouts, 5 * DURATION_NS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_list_has_no_deadline),
        cmocka_unit_test(timeouts_expire_in_start_order_at_their_time),
        cmocka_unit_test(overdue_timeouts_are_taken_one_by_one),
        cmocka_unit_test(a_duration_of_0_never_ends),
        cmocka_unit_test(a_restarted_timeout_runs_its_full_duration),
        cmocka_unit_test(a_timeout_started_in_another_list_leaves_the_first),
        cmocka_unit_test(a_stopped_timeout_does_not_expire),
    };

    return cmocka_run_group_tests_name("timeouts", tests, NULL, NULL);
}
