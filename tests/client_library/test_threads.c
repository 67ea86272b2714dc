/*
 * Many threads that use one client.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

enum {
    THREADS = 16,
    ROUNDS = 60,
    KEYS = 3,
    SLOTS = 2
};

struct fixture {
    struct served served;
    struct dflockd_client *client;
    /* Only the locks guard these, so that ThreadSanitizer reports if they fail. */
    long counters[KEYS];
    atomic_int inside[KEYS];
    atomic_int inside_semaphore;
    atomic_bool over;
};

struct worker {
    struct fixture *fixture;
    pthread_t thread;
    unsigned seed;
    int losses;
    int cancelled;
    bool wrong;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    server_start(&f->served, FLAGS("--threads=2"));
    f->client = open_client(f->served.address);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    dflockd_client_close(f->client);
    server_kill(&f->served);
    free(f);
    return 0;
}

static void run_workers(struct fixture *f, struct worker workers[THREADS],
                        void *(*work)(void *worker))
{
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.fixture = f, .seed = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_false(workers[i].wrong);
    }
}

static void *count_under_locks(void *argument)
{
    struct worker *worker = argument;
    struct fixture *f = worker->fixture;

    for (int round = 0; round < ROUNDS && !worker->wrong; round++) {
        int key = rand_r(&worker->seed) % KEYS;
        char name[16];
        struct dflockd_lock *lock;

        snprintf(name, sizeof(name), "key-%d", key);
        if (dflockd_lock_new(&lock, f->client, name, NULL) != DFLOCKD_STATUS_DONE ||
            dflockd_lock_acquire(lock, 60000) != DFLOCKD_STATUS_DONE) {
            worker->wrong = true;
            return NULL;
        }
        worker->wrong |= f->inside[key]++ != 0;
        f->counters[key]++;
        worker->wrong |= --f->inside[key] != 0;
        if (round % 2 == 0)
            worker->wrong |= dflockd_lock_release(lock) != DFLOCKD_STATUS_DONE;
        dflockd_lock_free(lock);
    }
    return NULL;
}

static void sixteen_threads_exclude_each_other(void **state)
{
    struct fixture *f = *state;
    struct worker workers[THREADS];
    long total = 0;

    run_workers(f, workers, count_under_locks);
    for (int i = 0; i < KEYS; i++)
        total += f->counters[i];
    assert_int_equal(total, THREADS * ROUNDS);
}

static void *hold_slots(void *argument)
{
    struct worker *worker = argument;
    struct fixture *f = worker->fixture;
    struct dflockd_lock_options options;
    struct dflockd_lock *lock;

    dflockd_lock_options_init(&options);
    options.limit = SLOTS;
    options.lease_s = 1;
    if (dflockd_lock_new(&lock, f->client, "slots", &options) != DFLOCKD_STATUS_DONE) {
        worker->wrong = true;
        return NULL;
    }
    for (int round = 0; round < ROUNDS / 10 && !worker->wrong; round++) {
        worker->wrong |= dflockd_lock_acquire(lock, 60000) != DFLOCKD_STATUS_DONE;
        worker->wrong |= ++f->inside_semaphore > SLOTS;
        sleep_ms(rand_r(&worker->seed) % 20);
        f->inside_semaphore--;
        worker->wrong |= dflockd_lock_release(lock) != DFLOCKD_STATUS_DONE;
    }
    dflockd_lock_free(lock);
    return NULL;
}

static void a_semaphore_never_has_more_holders_than_slots(void **state)
{
    struct worker workers[THREADS];

    run_workers(*state, workers, hold_slots);
}

static void count_loss(void *context, struct dflockd_lock *lock, enum dflockd_status why)
{
    (void)lock;
    (void)why;
    ++*(atomic_int *)context;
}

/* Locks that threads renew, query and release at any moment.
 */
static void *hold_and_let_go(void *argument)
{
    struct worker *worker = argument;
    struct dflockd_lock_options options;
    struct dflockd_lock *lock;
    atomic_int losses = 0;
    char key[16];

    snprintf(key, sizeof(key), "own-%u", worker->seed);
    dflockd_lock_options_init(&options);
    options.lease_s = 2;
    options.renew_ratio = 0.005;
    options.lost = count_loss;
    options.context = &losses;
    for (int round = 0; round < ROUNDS / 2; round++) {
        char token[DFLOCKD_TOKEN_LENGTH + 1];

        if (dflockd_lock_new(&lock, worker->fixture->client, key, &options) != 0 ||
            dflockd_lock_acquire(lock, 10000) != DFLOCKD_STATUS_DONE) {
            worker->wrong = true;
            return NULL;
        }
        sleep_ms(rand_r(&worker->seed) % 30);
        worker->wrong |= !dflockd_lock_held(lock) || !dflockd_lock_token(lock, token);
        worker->wrong |= dflockd_lock_renew(lock, 2) != DFLOCKD_STATUS_DONE;
        if (round % 3 == 0)
            worker->wrong |= dflockd_lock_release(lock) != DFLOCKD_STATUS_DONE;
        dflockd_lock_free(lock);
    }
    worker->wrong |= losses != 0;
    return NULL;
}

static void renewals_and_releases_may_run_at_the_same_time(void **state)
{
    struct worker workers[THREADS];

    run_workers(*state, workers, hold_and_let_go);
}

/* ---- cancelling ---- */

struct victim {
    struct dflockd_lock *lock;
    atomic_bool over;
};

static void *cancel_all_the_time(void *argument)
{
    struct victim *victim = argument;
    unsigned seed = 7;

    while (!victim->over) {
        dflockd_lock_cancel(victim->lock);
        dflockd_lock_held(victim->lock);
        sleep_ms(rand_r(&seed) % 3);
    }
    return NULL;
}

static void *acquire_while_cancelled(void *argument)
{
    struct worker *worker = argument;
    struct victim victim = {0};
    pthread_t thread;

    if (dflockd_lock_new(&victim.lock, worker->fixture->client, "key", NULL) != 0) {
        worker->wrong = true;
        return NULL;
    }
    pthread_create(&thread, NULL, cancel_all_the_time, &victim);
    for (int round = 0; round < ROUNDS; round++) {
        enum dflockd_status status = dflockd_lock_acquire(victim.lock, 60000);

        if (status == DFLOCKD_STATUS_CANCELLED) {
            worker->cancelled++;
            worker->wrong |= dflockd_lock_held(victim.lock);
        } else {
            worker->wrong |= status != DFLOCKD_STATUS_DONE;
            worker->wrong |= worker->fixture->inside[0]++ != 0;
            worker->fixture->inside[0]--;
            worker->wrong |= dflockd_lock_release(victim.lock) != DFLOCKD_STATUS_DONE;
        }
    }
    victim.over = true;
    pthread_join(thread, NULL);
    dflockd_lock_free(victim.lock);
    return NULL;
}

static void cancelling_at_any_moment_leaves_no_waiter(void **state)
{
    struct fixture *f = *state;
    struct worker workers[THREADS];
    int cancelled = 0;

    run_workers(f, workers, acquire_while_cancelled);
    for (int i = 0; i < THREADS; i++)
        cancelled += workers[i].cancelled;
    assert_true(cancelled > 0);
    eventually(stats_hold(f->client, "\"connections\":1,\"locks\":[],"));
}

/* ---- losing ---- */

static void *hold_until_lost(void *argument)
{
    struct worker *worker = argument;
    struct dflockd_lock_options options;
    struct dflockd_lock *lock;
    atomic_int losses = 0;
    char key[16];
    int64_t end = now_ms() + WAIT_MS;

    snprintf(key, sizeof(key), "own-%u", worker->seed);
    dflockd_lock_options_init(&options);
    options.lost = count_loss;
    options.context = &losses;
    options.lease_s = 3;
    if (dflockd_lock_new(&lock, worker->fixture->client, key, &options) != 0 ||
        dflockd_lock_acquire(lock, 10000) != DFLOCKD_STATUS_DONE) {
        worker->wrong = true;
        return NULL;
    }
    while (losses == 0 && now_ms() < end)
        sleep_ms(1);
    if (worker->seed % 2 == 0)
        worker->wrong |= dflockd_lock_release(lock) != DFLOCKD_STATUS_LOST;
    dflockd_lock_free(lock);
    worker->wrong |= losses != 1;
    return NULL;
}

static void *kill_soon(void *argument)
{
    struct fixture *f = argument;

    sleep_ms(500);
    kill(f->served.pid, SIGKILL);
    return NULL;
}

static void each_lock_is_lost_once_when_the_server_dies(void **state)
{
    struct fixture *f = *state;
    struct worker workers[THREADS];
    pthread_t thread;

    pthread_create(&thread, NULL, kill_soon, f);
    run_workers(f, workers, hold_until_lost);
    pthread_join(thread, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sixteen_threads_exclude_each_other),
        TEST(a_semaphore_never_has_more_holders_than_slots),
        TEST(renewals_and_releases_may_run_at_the_same_time),
        TEST(cancelling_at_any_moment_leaves_no_waiter),
        TEST(each_lock_is_lost_once_when_the_server_dies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
