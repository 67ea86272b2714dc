/*
 * The end of a wait: by its timeout, which may be shorter than a second, and by another thread.
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

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    server_start(&f->served, FLAGS("--threads=2"));
    f->client = open_client(f->served.address);
    f->rival = open_client(f->served.address);
    *state = f;
    return 0;
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

/* ---- timeouts ---- */

static void a_wait_takes_at_least_its_timeout(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *holder = new_lock(f->rival, "key", NULL);
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    int64_t timeouts_ms[] = {1, 250, 1000, 1250};

    assert_done(dflockd_lock_acquire(holder, 0));
    for (size_t i = 0; i < 4; i++) {
        int64_t begun = now_ms();

        assert_status(dflockd_lock_acquire(lock, timeouts_ms[i]), DFLOCKD_STATUS_TIMED_OUT);
        assert_true(now_ms() - begun >= timeouts_ms[i]);
        assert_status(dflockd_lock_enqueue(lock), DFLOCKD_STATUS_WAITING);
        assert_status(dflockd_lock_wait(lock, timeouts_ms[i]), DFLOCKD_STATUS_TIMED_OUT);
        assert_status(dflockd_lock_wait(lock, 0), DFLOCKD_STATUS_NOT_ENQUEUED);
    }
    eventually(stats_hold(f->client, "\"waiters\":0"));
    assert_done(dflockd_lock_release(holder));
    assert_done(dflockd_lock_acquire(lock, 1));
    dflockd_lock_free(holder);
    dflockd_lock_free(lock);
}

static void a_negative_timeout_waits_without_limit(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, -1));
    assert_done(dflockd_lock_release(lock));
    assert_done(dflockd_lock_acquire(lock, INT64_MIN));
    dflockd_lock_free(lock);
}

/* The server is stopped before it reads the request. It grants, and releases with the connection.
 */
static void a_grant_after_the_end_of_the_wait_is_released(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_done(dflockd_lock_acquire(lock, 0)); /* connects */
    assert_done(dflockd_lock_release(lock));
    server_signal(&f->served, SIGSTOP);
    assert_status(dflockd_lock_acquire(lock, 100), DFLOCKD_STATUS_TIMED_OUT);
    assert_false(dflockd_lock_held(lock));
    assert_int_equal(dflockd_lock_fence(lock), 0);
    server_signal(&f->served, SIGCONT);
    eventually(is_free(f->served.address, "key"));
    assert_false(dflockd_lock_held(lock));
    assert_done(dflockd_lock_acquire(lock, 5500));
    dflockd_lock_free(lock);
}

/* ---- cancel ---- */

struct canceller {
    struct dflockd_lock *lock;
    int64_t after_ms;
};

static void *cancel_later(void *argument)
{
    struct canceller *canceller = argument;

    sleep_ms(canceller->after_ms);
    dflockd_lock_cancel(canceller->lock);
    return NULL;
}

static void another_thread_can_cancel_a_wait(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    struct dflockd_lock *next = new_lock(f->rival, "key", NULL);
    struct canceller canceller = {.lock = next, .after_ms = 200};
    int64_t begun = now_ms();
    pthread_t thread;

    assert_done(dflockd_lock_acquire(lock, 0));
    for (int round = 0; round < 2; round++) {
        if (round == 1)
            assert_status(dflockd_lock_enqueue(next), DFLOCKD_STATUS_WAITING);
        pthread_create(&thread, NULL, cancel_later, &canceller);
        assert_status(round == 0 ? dflockd_lock_acquire(next, 60000)
                                 : dflockd_lock_wait(next, 60000),
                      DFLOCKD_STATUS_CANCELLED);
        pthread_join(thread, NULL);
        assert_true(now_ms() - begun < 20000);
        eventually(stats_hold(f->client, "\"waiters\":0"));
    }
    assert_done(dflockd_lock_release(lock));
    assert_done(dflockd_lock_acquire(next, 5000));
    dflockd_lock_free(lock);
    dflockd_lock_free(next);
}

static void a_cancel_before_the_wait_cancels_one_wait(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    dflockd_lock_cancel(lock);
    dflockd_lock_cancel(lock);
    assert_status(dflockd_lock_acquire(lock, 60000), DFLOCKD_STATUS_CANCELLED);
    assert_done(dflockd_lock_acquire(lock, 60000));
    dflockd_lock_cancel(lock);
    assert_done(dflockd_lock_renew(lock, 10));
    assert_done(dflockd_lock_release(lock));
    assert_status(dflockd_lock_enqueue(lock), DFLOCKD_STATUS_CANCELLED);
    assert_done(dflockd_lock_enqueue(lock));
    dflockd_lock_free(lock);
}

static void a_cleared_cancel_cancels_nothing(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);

    assert_false(dflockd_lock_clear_cancel(lock));
    dflockd_lock_cancel(lock);
    assert_true(dflockd_lock_clear_cancel(lock));
    assert_false(dflockd_lock_clear_cancel(lock));
    assert_done(dflockd_lock_acquire(lock, 60000));
    /* A cancel that came too late for this call. */
    dflockd_lock_cancel(lock);
    assert_done(dflockd_lock_release(lock));
    assert_true(dflockd_lock_clear_cancel(lock));
    assert_done(dflockd_lock_enqueue(lock));
    dflockd_lock_free(lock);
}

/* ---- fork ---- */

/* The child has copies of all descriptors. */
static void a_client_leaves_the_queue_although_a_child_lives(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *holder = new_lock(f->rival, "key", NULL);
    struct dflockd_lock *lock = new_lock(f->client, "key", NULL);
    pid_t child;

    assert_done(dflockd_lock_acquire(holder, 0));
    assert_status(dflockd_lock_enqueue(lock), DFLOCKD_STATUS_WAITING);
    child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    assert_true(child > 0);
    assert_status(dflockd_lock_release(lock), DFLOCKD_STATUS_NOT_HELD);
    eventually(stats_hold(f->rival, "\"waiters\":0"));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_done(dflockd_lock_release(holder));
    dflockd_lock_free(holder);
    dflockd_lock_free(lock);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_wait_takes_at_least_its_timeout),
        TEST(a_negative_timeout_waits_without_limit),
        TEST(a_grant_after_the_end_of_the_wait_is_released),
        TEST(another_thread_can_cancel_a_wait),
        TEST(a_cancel_before_the_wait_cancels_one_wait),
        TEST(a_cleared_cancel_cancels_nothing),
        TEST(a_client_leaves_the_queue_although_a_child_lives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
