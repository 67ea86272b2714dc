/*
 * Several locks at once: all are held, or none.
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

enum {
    LOCKS = 4
};

/* Not in the order of the keys. */
static const char *const keys[LOCKS] = {"b", "a", "d", "b"};

static void new_locks(struct dflockd_client *client, struct dflockd_lock *locks[LOCKS])
{
    struct dflockd_lock_options options;

    dflockd_lock_options_init(&options);
    for (int i = 0; i < LOCKS; i++) {
        options.limit = i == LOCKS - 1 ? 2 : 0; /* "b" is a lock and a semaphore */
        locks[i] = new_lock(client, keys[i], &options);
    }
}

static void free_locks(struct dflockd_lock *locks[LOCKS])
{
    for (int i = 0; i < LOCKS; i++)
        dflockd_lock_free(locks[i]);
}

static int count_held(struct dflockd_lock *locks[LOCKS])
{
    int held = 0;

    for (int i = 0; i < LOCKS; i++)
        held += dflockd_lock_held(locks[i]);
    return held;
}

static void all_are_held_in_the_order_of_their_keys(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *locks[LOCKS];
    size_t failed = 7;

    new_locks(f->client, locks);
    assert_done(dflockd_locks_acquire(locks, LOCKS, 5000, &failed));
    assert_int_equal(failed, LOCKS);
    assert_int_equal(count_held(locks), LOCKS);
    assert_true(dflockd_lock_fence(locks[1]) < dflockd_lock_fence(locks[0]));
    assert_true(dflockd_lock_fence(locks[0]) < dflockd_lock_fence(locks[3]));
    assert_true(dflockd_lock_fence(locks[3]) < dflockd_lock_fence(locks[2]));
    assert_status(dflockd_locks_acquire(locks, LOCKS, 0, &failed), DFLOCKD_STATUS_ALREADY);
    assert_int_equal(failed, 1);
    assert_int_equal(count_held(locks), LOCKS);
    assert_done(dflockd_locks_release(locks, LOCKS));
    assert_int_equal(count_held(locks), 0);
    assert_status(dflockd_locks_release(locks, LOCKS), DFLOCKD_STATUS_NOT_HELD);
    assert_done(dflockd_locks_acquire(locks, 0, 0, NULL));
    free_locks(locks);
}

static void one_that_is_not_granted_gives_all_back(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *rival = new_lock(f->rival, "d", NULL);
    struct dflockd_lock *locks[LOCKS];
    int64_t timeouts_ms[] = {0, 100, 1000};
    size_t failed;

    new_locks(f->client, locks);
    assert_done(dflockd_lock_acquire(rival, 0));
    for (size_t i = 0; i < 3; i++) {
        failed = LOCKS;
        assert_status(dflockd_locks_acquire(locks, LOCKS, timeouts_ms[i], &failed),
                      DFLOCKD_STATUS_TIMED_OUT);
        assert_int_equal(failed, 2);
        assert_int_equal(count_held(locks), 0);
        assert_true(is_free(f->served.address, "a"));
        assert_true(is_free(f->served.address, "b"));
    }
    assert_done(dflockd_lock_release(rival));
    assert_done(dflockd_locks_acquire(locks, LOCKS, 100, NULL));
    dflockd_lock_free(rival);
    free_locks(locks);
}

static void the_same_key_twice_is_invalid(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *locks[] = {new_lock(f->client, "b", NULL), new_lock(f->client, "a", NULL),
                                    new_lock(f->client, "b", NULL)};
    struct dflockd_lock *one_twice[] = {locks[0], locks[0]};
    size_t failed = 7;

    assert_status(dflockd_locks_acquire(locks, 3, 0, &failed), DFLOCKD_STATUS_INVALID);
    assert_true(failed == 0 || failed == 2);
    assert_status(dflockd_locks_acquire(one_twice, 2, 0, NULL), DFLOCKD_STATUS_INVALID);
    assert_status(dflockd_locks_acquire(locks, 2, INT64_MAX, &failed), DFLOCKD_STATUS_INVALID);
    assert_int_equal(failed, 2);
    assert_false(dflockd_lock_held(locks[1]));
    for (int i = 0; i < 3; i++)
        dflockd_lock_free(locks[i]);
}

static void they_may_belong_to_several_servers(void **state)
{
    struct fixture *f = *state;
    struct served second;
    const char *servers[] = {f->served.address, second.address};
    struct dflockd_options options;
    struct dflockd_client *client;
    struct dflockd_lock *locks[LOCKS];

    server_start(&second, FLAGS("--threads=1"));
    dflockd_options_init(&options);
    options.servers = servers;
    options.server_count = 2;
    assert_done(dflockd_client_open(&client, &options));
    new_locks(client, locks);
    assert_int_not_equal(dflockd_client_server(client, "a"), dflockd_client_server(client, "d"));
    assert_done(dflockd_locks_acquire(locks, LOCKS, 0, NULL));
    assert_int_equal(count_held(locks), LOCKS);
    assert_done(dflockd_locks_release(locks, LOCKS));
    free_locks(locks);
    dflockd_client_close(client);
    server_kill(&second);
}

/* ---- other threads ---- */

struct canceller {
    struct dflockd_client *client;
    struct dflockd_lock *lock;
};

static void *cancel_the_waiter(void *argument)
{
    struct canceller *canceller = argument;

    eventually(stats_hold(canceller->client, "\"waiters\":1"));
    dflockd_lock_cancel(canceller->lock);
    return NULL;
}

/* The call waits for "a"; the cancel is for "d". */
static void a_cancel_of_any_of_them_ends_the_call(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *rival = new_lock(f->rival, "a", NULL);
    struct dflockd_lock *locks[LOCKS];
    struct canceller canceller = {.client = f->rival};
    pthread_t thread;

    new_locks(f->client, locks);
    canceller.lock = locks[2];
    assert_done(dflockd_lock_acquire(rival, 0));
    pthread_create(&thread, NULL, cancel_the_waiter, &canceller);
    assert_status(dflockd_locks_acquire(locks, LOCKS, -1, NULL), DFLOCKD_STATUS_CANCELLED);
    pthread_join(thread, NULL);
    assert_int_equal(count_held(locks), 0);
    assert_done(dflockd_lock_release(rival));
    /* The call has taken the cancel. */
    assert_done(dflockd_locks_acquire(locks, LOCKS, 5000, NULL));
    dflockd_lock_free(rival);
    free_locks(locks);
}

struct thief {
    const struct fixture *fixture;
    struct dflockd_lock *lock;
    struct dflockd_lock *rival;
};

/* Another connection releases the first lock by its token while the call waits for the second. */
static void *steal_the_first(void *argument)
{
    struct thief *thief = argument;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    struct dflockd_request request = {.command = DFLOCKD_RELEASE, .key = "a", .token = token};

    eventually(stats_hold(thief->fixture->rival, "\"waiters\":1"));
    assert_true(dflockd_lock_token(thief->lock, token));
    assert_done(ask_once(thief->fixture->served.address, &request));
    eventually(dflockd_lock_lost(thief->lock));
    assert_done(dflockd_lock_release(thief->rival));
    return NULL;
}

static void one_that_is_lost_meanwhile_gives_all_back(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock_options options;
    struct dflockd_lock *locks[2];
    struct thief thief = {.fixture = f, .rival = new_lock(f->rival, "b", NULL)};
    pthread_t thread;
    size_t failed;

    dflockd_lock_options_init(&options);
    options.lease_s = 1;
    locks[0] = new_lock(f->client, "b", &options);
    locks[1] = thief.lock = new_lock(f->client, "a", &options);
    assert_done(dflockd_lock_acquire(thief.rival, 0));
    pthread_create(&thread, NULL, steal_the_first, &thief);
    assert_status(dflockd_locks_acquire(locks, 2, -1, &failed), DFLOCKD_STATUS_LOST);
    assert_int_equal(failed, 1);
    pthread_join(thread, NULL);
    assert_true(is_free(f->served.address, "b"));
    assert_true(dflockd_lock_lost(locks[1]));
    dflockd_lock_free(thief.rival);
    dflockd_lock_free(locks[0]);
    dflockd_lock_free(locks[1]);
}

/* ---- two programs ---- */

struct pair {
    struct dflockd_client *client;
    const char *first;
    const char *second;
    bool wrong;
};

static void *acquire_a_pair_often(void *argument)
{
    struct pair *pair = argument;
    struct dflockd_lock *locks[] = {new_lock(pair->client, pair->first, NULL),
                                    new_lock(pair->client, pair->second, NULL)};

    for (int i = 0; i < 50; i++) {
        pair->wrong |= dflockd_locks_acquire(locks, 2, 60000, NULL) != DFLOCKD_STATUS_DONE;
        pair->wrong |= dflockd_locks_release(locks, 2) != DFLOCKD_STATUS_DONE;
    }
    dflockd_lock_free(locks[0]);
    dflockd_lock_free(locks[1]);
    return NULL;
}

static void two_programs_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    struct pair pairs[] = {{.client = f->client, .first = "a", .second = "b"},
                           {.client = f->rival, .first = "b", .second = "a"}};
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, acquire_a_pair_often, &pairs[i]);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_false(pairs[i].wrong);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_are_held_in_the_order_of_their_keys),
        TEST(one_that_is_not_granted_gives_all_back),
        TEST(the_same_key_twice_is_invalid),
        TEST(they_may_belong_to_several_servers),
        TEST(a_cancel_of_any_of_them_ends_the_call),
        TEST(one_that_is_lost_meanwhile_gives_all_back),
        TEST(two_programs_do_not_wait_for_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
