/*
 * The limit on lines of one event, and the count of suppressed events.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/time_units.h"
#include "server/log_limit.h"

enum {
    THREADS = 4,
    EVENTS_OF_THREAD = 20000
};

static void a_few_lines_per_second_are_admitted_and_the_others_counted(void **state)
{
    struct log_limit limit = {.window = 0};
    uint64_t suppressed = 0;

    (void)state;
    for (uint64_t second = 0; second < 5; second++) {
        for (uint64_t i = 0; i < 100; i++) {
            bool admitted = log_limit_admit(&limit, second * NS_PER_S + i, &suppressed);

            assert_int_equal(admitted, i < LOG_LIMIT_PER_SECOND);
            if (admitted)
                assert_int_equal(suppressed, second && i == 0 ? 100 - LOG_LIMIT_PER_SECOND : 0);
        }
    }
}

static void a_quiet_event_is_always_admitted(void **state)
{
    struct log_limit limit = {.window = 0};
    uint64_t suppressed;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(log_limit_admit(&limit, i * NS_PER_S / LOG_LIMIT_PER_SECOND, &suppressed));
        assert_int_equal(suppressed, 0);
    }
}

static void a_time_that_is_behind_opens_no_new_second(void **state)
{
    struct log_limit limit = {.window = 0};
    uint64_t suppressed;
    uint32_t admitted = 0;

    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        admitted += log_limit_admit(&limit, (i % 2 ? 7 : 6) * NS_PER_S, &suppressed);
    /* The very first was in its own second; from then on all count for the later one. */
    assert_in_range(admitted, LOG_LIMIT_PER_SECOND, LOG_LIMIT_PER_SECOND + 1);
}

struct crowd_member {
    struct log_limit *limit;
    uint64_t admitted;
    uint64_t suppressed;
};

static void *crowd_run(void *context)
{
    struct crowd_member *member = context;

    for (uint64_t i = 0; i < EVENTS_OF_THREAD; i++) {
        uint64_t suppressed;

        if (log_limit_admit(member->limit, i * NS_PER_S / 1000, &suppressed)) {
            member->admitted++;
            member->suppressed += suppressed;
        }
    }
    return NULL;
}

static void threads_lose_no_event(void **state)
{
    struct log_limit limit = {.window = 0};
    struct crowd_member members[THREADS] = {{NULL, 0, 0}};
    pthread_t threads[THREADS];
    uint64_t sum = 0;
    uint64_t admitted = 0;

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        members[i].limit = &limit;
        pthread_create(&threads[i], NULL, crowd_run, &members[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += members[i].admitted + members[i].suppressed;
        admitted += members[i].admitted;
    }
    assert_int_equal(sum + limit.suppressed, THREADS * EVENTS_OF_THREAD);
    assert_true(admitted <= EVENTS_OF_THREAD / 1000 * LOG_LIMIT_PER_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_lines_per_second_are_admitted_and_the_others_counted),
        cmocka_unit_test(a_quiet_event_is_always_admitted),
        cmocka_unit_test(a_time_that_is_behind_opens_no_new_second),
        cmocka_unit_test(threads_lose_no_event),
    };

    return cmocka_run_group_tests_name("log_limit", tests, NULL, NULL);
}
