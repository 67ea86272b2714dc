/*
 * Locks and semaphores against a real server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

struct fixture {
    struct served served;
    struct dflockd_client *client;
    struct dflockd_client *rival;
};

static int set_up_with(void **state, const char *const *flags)
{
    struct fixture *f = calloc(1, sizeof(*f));

    server_start(&f->served, flags);
    f->client = open_client(f->served.address);
    f->rival = open_client(f->served.address);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, FLAGS("--threads=2"));
}

static int set_up_narrow(void **state)
{
    return set_up_with(state, FLAGS("--max-locks=1", "--max-waiters=1"));
}

static int set_up_impatient(void **state)
{
    return set_up_with(state, FLAGS("--read-timeout=1"));
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    dflockd_client_close(f->client);
    dflockd_client_close(f->rival);
    server_kill(&f->served);
    free(f);
    return 0;
}

/* ---- one lock ---- */

static void a_lock_is_held_from_acquire_to_release(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    struct dflockd_lock *other = new_lock(f->rival, "key", NULL);

    assert_false(dflockd_lock_held(lock));
    assert_done(dflockd_lock_acquire(lock, 5000));
    assert_true(dflockd_lock_held(lock));
    assert_status(dflockd_lock_try(other), DFLOCKD_STATUS_TIMED_OUT);
    assert_false(dflockd_lock_held(other));
    assert_done(dflockd_lock_release(lock));
    assert_false(dflockd_lock_held(lock));
    assert_false(dflockd_lock_lost(lock));
    assert_done(dflockd_lock_try(other));
    dflockd_lock_free(lock);
    dflockd_lock_free(other);
}

static void fence_token_and_lease_are_known_while_the_lock_is_held(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock_options options;
    struct dflockd_lock *lock;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    char start[17];
    uint64_t fence;

    dflockd_lock_options_init(&options);
    options.lease_s = 9;
    lock = new_lock(f->client, "key", &options);
    assert_int_equal(dflockd_lock_fence(lock), 0);
    assert_int_equal(dflockd_lock_lease_ms(lock), 0);
    assert_false(dflockd_lock_token(lock, token));
    assert_string_equal(token, "");
    assert_done(dflockd_lock_acquire(lock, 0));
    fence = dflockd_lock_fence(lock);
    assert_true(dflockd_lock_token(lock, token));
    assert_int_equal(strlen(token), DFLOCKD_TOKEN_LENGTH);
    snprintf(start, sizeof(start), "%016llx", (unsigned long long)fence);
    assert_memory_equal(token, start, 16);
    assert_in_range(dflockd_lock_lease_ms(lock), 8000, 9000);
    assert_string_equal(dflockd_lock_key(lock), "key");
    assert_done(dflockd_lock_release(lock));
    assert_int_equal(dflockd_lock_fence(lock), 0);
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_true(dflockd_lock_fence(lock) > fence);
    dflockd_lock_free(lock);
}

static void freeing_a_lock_releases_it(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0));
    assert_false(is_free(f->served.address, "key"));
    dflockd_lock_free(lock);
    assert_true(is_free(f->served.address, "key"));
}

static void acquire_waits_for_its_timeout(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    struct dflockd_lock *other = new_lock(f->rival, "key", NULL);
    int64_t begun;

    assert_done(dflockd_lock_acquire(lock, 0));
    begun = now_ms();
    assert_status(dflockd_lock_acquire(other, 1000), DFLOCKD_STATUS_TIMED_OUT);
    assert_true(now_ms() - begun >= 990);
    dflockd_lock_free(lock);
    dflockd_lock_free(other);
}

static void acquiring_a_held_lock_returns_already(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_status(dflockd_lock_release(lock), DFLOCKD_STATUS_NOT_HELD);
    assert_status(dflockd_lock_renew(lock, 5), DFLOCKD_STATUS_NOT_HELD);
    assert_status(dflockd_lock_wait(lock, 0), DFLOCKD_STATUS_NOT_ENQUEUED);
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_status(dflockd_lock_acquire(lock, 0), DFLOCKD_STATUS_ALREADY);
    assert_status(dflockd_lock_enqueue(lock), DFLOCKD_STATUS_ALREADY);
    assert_true(dflockd_lock_held(lock));
    dflockd_lock_free(lock);
}

static void renew_sets_the_requested_lease(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0));
    assert_in_range(dflockd_lock_lease_ms(lock), 30000, 33000);
    assert_done(dflockd_lock_renew(lock, 200));
    assert_in_range(dflockd_lock_lease_ms(lock), 198000, 200000);
    assert_done(dflockd_lock_renew(lock, 0));
    assert_in_range(dflockd_lock_lease_ms(lock), 30000, 33000);
    assert_status(dflockd_lock_renew(lock, UINT64_MAX), DFLOCKD_STATUS_INVALID);
    assert_done(dflockd_lock_release(lock));
    dflockd_lock_free(lock);
}

static void a_key_has_any_bytes_except_white_space(void **state)
{
    struct fixture *f = *state;
    char longest[DFLOCKD_KEY_MAX + 2];
    const char *good[] = {"k", "schl\xc3\xbcssel", "\xff\x01", longest};
    const char *bad[] = {"", "a b", "a\tb", "a\nb", "a\rb", longest};
    struct dflockd_lock *lock;

    memset(longest, 'k', sizeof(longest));
    longest[DFLOCKD_KEY_MAX] = '\0';
    for (size_t i = 0; i < 4; i++) {
        lock = new_lock(f->client, good[i], NULL);
        assert_done(dflockd_lock_try(lock));
        dflockd_lock_free(lock);
    }
    longest[DFLOCKD_KEY_MAX] = 'k';
    longest[DFLOCKD_KEY_MAX + 1] = '\0';
    for (size_t i = 0; i < 6; i++)
        assert_status(dflockd_lock_new(&lock, f->client, bad[i], NULL), DFLOCKD_STATUS_INVALID);
    assert_status(dflockd_lock_new(&lock, f->client, NULL, NULL), DFLOCKD_STATUS_INVALID);
    assert_null(lock);
}

static void invalid_lock_options_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock_options options;
    struct dflockd_lock *lock;
    double ratios[] = {0, 1, -0.5, 2, 0.0 / 0.0};

    dflockd_lock_options_init(&options);
    options.lease_s = (uint64_t)DFLOCKD_SECONDS_MAX + 1;
    assert_status(dflockd_lock_new(&lock, f->client, "k", &options), DFLOCKD_STATUS_INVALID);
    dflockd_lock_options_init(&options);
    options.limit = DFLOCKD_LIMIT_MAX + 1;
    assert_status(dflockd_lock_new(&lock, f->client, "k", &options), DFLOCKD_STATUS_INVALID);
    for (size_t i = 0; i < 5; i++) {
        dflockd_lock_options_init(&options);
        options.renew_ratio = ratios[i];
        assert_status(dflockd_lock_new(&lock, f->client, "k", &options), DFLOCKD_STATUS_INVALID);
    }
    lock = new_lock(f->client, "k", NULL);
    assert_status(dflockd_lock_acquire(lock, INT64_MAX), DFLOCKD_STATUS_INVALID);
    assert_false(dflockd_lock_held(lock));
    dflockd_lock_free(lock);
}

static void a_lock_reuses_its_connection(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    for (int i = 0; i < 100; i++) {
        assert_done(dflockd_lock_acquire(lock, 0));
        assert_done(dflockd_lock_release(lock));
    }
    /* The lock's connection, and that of the request for stats. */
    assert_true(stats_hold(f->client, "\"connections\":2,"));
    dflockd_lock_free(lock);
}

static void a_connection_that_the_server_closed_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0));
    assert_done(dflockd_lock_release(lock));
    eventually(stats_hold(f->client, "\"connections\":1,"));
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_true(dflockd_lock_held(lock));
    dflockd_lock_free(lock);
}

static void a_held_lock_outlives_the_read_timeout(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0));
    sleep_ms(2500);
    assert_true(dflockd_lock_held(lock));
    assert_done(dflockd_lock_release(lock));
    dflockd_lock_free(lock);
}

static void each_limit_of_the_server_has_its_status(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    struct dflockd_lock *other = new_lock(f->client, "other", NULL);
    struct dflockd_lock *second = new_lock(f->rival, "key", NULL);
    struct dflockd_lock *third = new_lock(f->rival, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0));
    assert_status(dflockd_lock_acquire(other, 0), DFLOCKD_STATUS_MAX_LOCKS);
    assert_status(dflockd_lock_enqueue(other), DFLOCKD_STATUS_MAX_LOCKS);
    assert_status(dflockd_lock_enqueue(second), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_acquire(third, 5000), DFLOCKD_STATUS_MAX_WAITERS);
    dflockd_lock_free(lock);
    dflockd_lock_free(other);
    dflockd_lock_free(second);
    dflockd_lock_free(third);
}

/* ---- in two steps ---- */

static void wait_returns_the_grant_of_enqueue(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    struct dflockd_lock *next = new_lock(f->rival, "key", NULL);

    assert_done(dflockd_lock_enqueue(lock));
    assert_true(dflockd_lock_held(lock));
    assert_done(dflockd_lock_wait(lock, 0));
    assert_status(dflockd_lock_enqueue(next), DFLOCKD_STATUS_WAITING);
    assert_false(dflockd_lock_held(next));
    assert_status(dflockd_lock_enqueue(next), DFLOCKD_STATUS_ALREADY);
    assert_done(dflockd_lock_release(lock));
    assert_false(is_free(f->served.address, "key"));
    assert_done(dflockd_lock_wait(next, 5000));
    assert_true(dflockd_lock_held(next));
    assert_done(dflockd_lock_release(next));
    assert_done(dflockd_lock_enqueue(next));
    dflockd_lock_free(lock);
    dflockd_lock_free(next);
}

static void a_wait_that_times_out_leaves_the_queue(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    struct dflockd_lock *next = new_lock(f->rival, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0));
    assert_status(dflockd_lock_enqueue(next), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_wait(next, 0), DFLOCKD_STATUS_TIMED_OUT);
    assert_status(dflockd_lock_wait(next, 0), DFLOCKD_STATUS_NOT_ENQUEUED);
    assert_true(stats_hold(f->client, "\"waiters\":0"));
    assert_status(dflockd_lock_enqueue(next), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_release(next), DFLOCKD_STATUS_NOT_HELD);
    eventually(stats_hold(f->client, "\"waiters\":0"));
    assert_status(dflockd_lock_wait(next, 0), DFLOCKD_STATUS_NOT_ENQUEUED);
    dflockd_lock_free(lock);
    dflockd_lock_free(next);
}

static void a_grant_that_ended_before_wait_is_lost(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock_options options;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    struct dflockd_lock *next;

    dflockd_lock_options_init(&options);
    options.lease_s = 1;
    next = new_lock(f->rival, "key", &options);
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_status(dflockd_lock_enqueue(next), DFLOCKD_STATUS_WAITING);
    assert_done(dflockd_lock_release(lock));
    sleep_ms(1200);
    assert_status(dflockd_lock_wait(next, 5000), DFLOCKD_STATUS_LOST);
    assert_false(dflockd_lock_held(next));
    assert_done(dflockd_lock_enqueue(next));
    dflockd_lock_free(lock);
    dflockd_lock_free(next);
}

/* ---- semaphores ---- */

static void a_semaphore_grants_only_its_slots(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock_options options;
    struct dflockd_lock *slots[4];
    struct dflockd_lock *other;

    dflockd_lock_options_init(&options);
    options.limit = 3;
    for (int i = 0; i < 4; i++)
        slots[i] = new_lock(f->client, "key", &options);
    for (int i = 0; i < 3; i++)
        assert_done(dflockd_lock_acquire(slots[i], 0));
    assert_status(dflockd_lock_try(slots[3]), DFLOCKD_STATUS_TIMED_OUT);
    assert_status(dflockd_lock_enqueue(slots[3]), DFLOCKD_STATUS_WAITING);
    assert_done(dflockd_lock_renew(slots[1], 50));
    assert_done(dflockd_lock_release(slots[1]));
    assert_done(dflockd_lock_wait(slots[3], 5000));
    options.limit = 4;
    other = new_lock(f->client, "key", &options);
    assert_status(dflockd_lock_try(other), DFLOCKD_STATUS_LIMIT_MISMATCH);
    dflockd_lock_free(other);
    /* A lock of that name is independent. */
    assert_true(is_free(f->served.address, "key"));
    for (int i = 0; i < 4; i++)
        dflockd_lock_free(slots[i]);
}

/* ---- the client ---- */

static void a_client_gets_stats_and_pings(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "some-key", NULL);
    char *json;

    assert_done(dflockd_client_ping(f->client, 0));
    assert_status(dflockd_client_ping(f->client, 1), DFLOCKD_STATUS_INVALID);
    assert_status(dflockd_client_stats(f->client, 1, &json), DFLOCKD_STATUS_INVALID);
    assert_null(json);
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_true(stats_hold(f->client, "{\"key\":\"some-key\",\"owner_conn_id\":"));
    dflockd_lock_free(lock);
}

static void a_missing_server_is_unreachable(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    char problem[DFLOCKD_PROBLEM_MAX];

    server_kill(&f->served);
    /* The kernel closes the port of a killed process a little later. */
    eventually(dflockd_client_ping(f->client, 0) == DFLOCKD_STATUS_UNREACHABLE);
    assert_status(dflockd_lock_acquire(lock, 0), DFLOCKD_STATUS_UNREACHABLE);
    dflockd_lock_problem(lock, problem);
    assert_non_null(strstr(problem, f->served.address));
    assert_non_null(strstr(problem, "refused"));
    dflockd_lock_free(lock);
}

static void every_status_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < DFLOCKD_STATUS_COUNT; i++) {
        for (int j = 0; j < i; j++)
            assert_string_not_equal(dflockd_status_text((enum dflockd_status)i),
                                    dflockd_status_text((enum dflockd_status)j));
    }
    assert_string_equal(dflockd_status_text((enum dflockd_status)1000), "unknown");
    assert_string_equal(dflockd_status_text((enum dflockd_status) - 1), "unknown");
}

#define TEST(name)            cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_WITH(name, with) cmocka_unit_test_setup_teardown(name, with, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_lock_is_held_from_acquire_to_release),
        TEST(fence_token_and_lease_are_known_while_the_lock_is_held),
        TEST(freeing_a_lock_releases_it),
        TEST(acquire_waits_for_its_timeout),
        TEST(acquiring_a_held_lock_returns_already),
        TEST(renew_sets_the_requested_lease),
        TEST(a_key_has_any_bytes_except_white_space),
        TEST(invalid_lock_options_are_refused),
        TEST(a_lock_reuses_its_connection),
        TEST_WITH(a_connection_that_the_server_closed_is_replaced, set_up_impatient),
        TEST_WITH(a_held_lock_outlives_the_read_timeout, set_up_impatient),
        TEST_WITH(each_limit_of_the_server_has_its_status, set_up_narrow),
        TEST(wait_returns_the_grant_of_enqueue),
        TEST(a_wait_that_times_out_leaves_the_queue),
        TEST(a_grant_that_ended_before_wait_is_lost),
        TEST(a_semaphore_grants_only_its_slots),
        TEST(a_client_gets_stats_and_pings),
        TEST(a_missing_server_is_unreachable),
        cmocka_unit_test(every_status_has_a_text_of_its_own),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
