/*
 * Many locks of one client over few connections. The first locks keep their own connections; the
 * grants of the others move to a shared one.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

enum {
    LOCKS_MAX = 2000,
    LOCKS_FEW = 40,
    DESCRIPTORS_MAX = 20,
    THREADS = 8,
    ROUNDS = 30
};

struct fixture {
    struct served served;
    struct dflockd_client *client;
    struct dflockd_lock_options options;
    struct dflockd_lock *locks[LOCKS_MAX];
    int count;
    atomic_int losses;
};

static void note_loss(void *context, struct dflockd_lock *lock, enum dflockd_status why)
{
    struct fixture *f = context;

    (void)lock;
    (void)why;
    f->losses++;
}

static int start(void **state, const char *flag)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    server_start(&f->served, FLAGS("--max-locks", "10000", "--gc-max-idle", "0", flag));
    f->client = open_client(f->served.address);
    dflockd_lock_options_init(&f->options);
    f->options.lost = note_loss;
    f->options.context = f;
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return start(state, NULL);
}

static int set_up_without_auto_release(void **state)
{
    return start(state, "--no-auto-release-on-disconnect");
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < f->count; i++)
        dflockd_lock_free(f->locks[i]);
    dflockd_client_close(f->client);
    server_kill(&f->served);
    free(f);
    return 0;
}

static void hold(struct fixture *f, int count, uint64_t lease_s)
{
    f->options.lease_s = lease_s;
    f->count = count;
    for (int i = 0; i < count; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key-%d", i);
        f->locks[i] = new_lock(f->client, key, &f->options);
        assert_done(dflockd_lock_acquire(f->locks[i], 0));
    }
}

static int count_held(const struct fixture *f)
{
    int held = 0;

    for (int i = 0; i < f->count; i++)
        held += dflockd_lock_held(f->locks[i]);
    return held;
}

/* ---- descriptors ---- */

static int count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Returns whether a descriptor is a connection to the server. */
static bool is_connected_to(int descriptor, int port)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof(peer);

    return getpeername(descriptor, (struct sockaddr *)&peer, &length) == 0 &&
           peer.sin_family == AF_INET && ntohs(peer.sin_port) == port;
}

static void cut_connections(const struct fixture *f)
{
    for (int i = 3; i < 1024; i++) {
        if (is_connected_to(i, f->served.port))
            shutdown(i, SHUT_RDWR);
    }
}

static void many_locks_take_few_descriptors(void **state)
{
    struct fixture *f = *state;
    int before = count_descriptors();

    hold(f, LOCKS_MAX, 0);
    eventually(count_descriptors() < before + DESCRIPTORS_MAX);
    assert_int_equal(count_held(f), LOCKS_MAX);
    for (int i = 0; i < LOCKS_MAX; i++)
        assert_done(dflockd_lock_release(f->locks[i]));
    assert_int_equal(count_held(f), 0);
    assert_true(stats_hold(f->client, "\"locks\":[]"));
}

static void no_connection_stays_after_the_last_lock(void **state)
{
    struct fixture *f = *state;
    int before = count_descriptors();

    hold(f, 3, 0);
    while (f->count > 0)
        dflockd_lock_free(f->locks[--f->count]);
    assert_int_equal(count_descriptors(), before);
}

static void a_few_locks_keep_their_connections(void **state)
{
    struct fixture *f = *state;
    int before = count_descriptors();

    hold(f, 3, 0);
    sleep_ms(100);
    assert_int_equal(count_descriptors(), before + 3);
}

static void an_unused_shared_connection_is_closed(void **state)
{
    struct fixture *f = *state;
    int before = count_descriptors();

    hold(f, LOCKS_FEW, 0);
    for (int i = 0; i < LOCKS_FEW; i++)
        assert_done(dflockd_lock_release(f->locks[i]));
    eventually(count_descriptors() <= before + 4);
}

/* ---- leases ---- */

static void shared_locks_are_held_over_several_leases(void **state)
{
    struct fixture *f = *state;
    int64_t end = now_ms() + 5000;

    hold(f, LOCKS_FEW, 2);
    while (now_ms() < end) {
        assert_int_equal(count_held(f), LOCKS_FEW);
        sleep_ms(50);
    }
    for (int i = 0; i < LOCKS_FEW; i++) {
        assert_done(dflockd_lock_renew(f->locks[i], 30));
        assert_true(dflockd_lock_lease_ms(f->locks[i]) > 20000);
    }
}

static void slots_of_semaphores_move_too(void **state)
{
    struct fixture *f = *state;

    f->options.limit = 3;
    hold(f, LOCKS_FEW, 1);
    sleep_ms(2500);
    assert_int_equal(count_held(f), LOCKS_FEW);
    for (int i = 0; i < LOCKS_FEW; i++)
        assert_done(dflockd_lock_release(f->locks[i]));
}

static void an_enqueued_lock_waits_on_its_own_connection(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *other = open_client(f->served.address);
    struct dflockd_lock *lock = new_lock(other, "queued", NULL);
    struct dflockd_lock *waiter = new_lock(f->client, "queued", NULL);

    hold(f, LOCKS_FEW, 0);
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_status(dflockd_lock_enqueue(waiter), DFLOCKD_STATUS_WAITING);
    assert_done(dflockd_lock_release(lock));
    assert_done(dflockd_lock_wait(waiter, WAIT_MS));
    sleep_ms(100);
    assert_true(dflockd_lock_held(waiter));
    assert_done(dflockd_lock_release(waiter));
    assert_status(dflockd_lock_enqueue(waiter), DFLOCKD_STATUS_DONE);
    dflockd_lock_free(waiter);
    dflockd_lock_free(lock);
    dflockd_client_close(other);
}

/* ---- losses ---- */

static void locks_survive_a_cut_without_auto_release(void **state)
{
    struct fixture *f = *state;

    hold(f, LOCKS_FEW, 0);
    sleep_ms(200);
    cut_connections(f);
    sleep_ms(100);
    for (int i = 0; i < LOCKS_FEW; i++)
        assert_done(dflockd_lock_renew(f->locks[i], 0));
    assert_int_equal(count_held(f), LOCKS_FEW);
    assert_int_equal(f->losses, 0);
    for (int i = 0; i < LOCKS_FEW; i++)
        assert_done(dflockd_lock_release(f->locks[i]));
}

/* Each lock is lost, or the server knows its grant. `own` of a new connection may come before the
 * server sees the end of the old one. */
static void assert_lost_or_held(struct fixture *f)
{
    for (int i = 0; i < f->count; i++) {
        enum dflockd_status status = dflockd_lock_renew(f->locks[i], 0);

        if (status != DFLOCKD_STATUS_DONE)
            assert_status(status, DFLOCKD_STATUS_LOST);
    }
    eventually(f->losses + count_held(f) == f->count);
    for (int i = 0; i < f->count; i++) {
        bool held = dflockd_lock_held(f->locks[i]);

        assert_true(dflockd_lock_lost(f->locks[i]) != held);
        assert_status(dflockd_lock_acquire(f->locks[i], 1000),
                      held ? DFLOCKD_STATUS_ALREADY : DFLOCKD_STATUS_DONE);
    }
    assert_int_equal(count_held(f), f->count);
}

static void a_cut_with_auto_release_loses_locks_once(void **state)
{
    struct fixture *f = *state;

    hold(f, LOCKS_FEW, 0);
    sleep_ms(200);
    cut_connections(f);
    assert_lost_or_held(f);
    assert_true(f->losses > 0);
}

static void a_cut_while_locks_move_leaves_none_held_without_a_grant(void **state)
{
    struct fixture *f = *state;

    hold(f, LOCKS_FEW, 0);
    cut_connections(f);
    assert_lost_or_held(f);
}

static void a_revoked_lock_is_lost_and_the_others_stay(void **state)
{
    struct fixture *f = *state;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    struct dflockd_request request = {.command = DFLOCKD_RELEASE, .key = "key-20", .token = token};

    hold(f, LOCKS_FEW, 1);
    sleep_ms(100);
    assert_true(dflockd_lock_token(f->locks[20], token));
    assert_done(ask_once(f->served.address, &request));
    eventually(f->losses == 1);
    assert_true(dflockd_lock_lost(f->locks[20]));
    assert_int_equal(count_held(f), LOCKS_FEW - 1);
}

static void release_the_next(void *context, struct dflockd_lock *lock, enum dflockd_status why)
{
    struct fixture *f = context;

    (void)lock;
    (void)why;
    assert_done(dflockd_lock_release(f->locks[21]));
    f->losses++;
}

static void a_callback_releases_another_shared_lock(void **state)
{
    struct fixture *f = *state;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    struct dflockd_request request = {.command = DFLOCKD_RELEASE, .key = "key-20", .token = token};

    f->options.lost = release_the_next;
    hold(f, LOCKS_FEW, 1);
    sleep_ms(100);
    assert_true(dflockd_lock_token(f->locks[20], token));
    assert_done(ask_once(f->served.address, &request));
    eventually(f->losses == 1);
    assert_true(is_free(f->served.address, "key-21"));
    assert_int_equal(count_held(f), LOCKS_FEW - 2);
}

static void a_draining_server_renews_and_releases_shared_locks(void **state)
{
    struct fixture *f = *state;

    hold(f, LOCKS_FEW, 2);
    sleep_ms(200);
    server_signal(&f->served, SIGTERM);
    sleep_ms(3000);
    assert_int_equal(count_held(f), LOCKS_FEW);
    for (int i = 0; i < LOCKS_FEW; i++)
        assert_done(dflockd_lock_release(f->locks[i]));
}

static void leases_end_while_the_server_is_stopped(void **state)
{
    struct fixture *f = *state;

    hold(f, LOCKS_FEW, 1);
    sleep_ms(100);
    server_signal(&f->served, SIGSTOP);
    sleep_ms(1100);
    assert_int_equal(count_held(f), 0);
    server_signal(&f->served, SIGCONT);
    eventually(f->losses == LOCKS_FEW);
    /* The late renewals extend no grant that nobody holds. */
    for (int i = 0; i < LOCKS_FEW; i++)
        assert_done(dflockd_lock_acquire(f->locks[i], WAIT_MS));
}

static void a_release_without_a_reply_ends(void **state)
{
    struct fixture *f = *state;

    hold(f, LOCKS_FEW, 0);
    sleep_ms(200);
    server_signal(&f->served, SIGSTOP);
    assert_status(dflockd_lock_release(f->locks[20]), DFLOCKD_STATUS_NO_REPLY);
    server_signal(&f->served, SIGCONT);
    assert_true(dflockd_lock_held(f->locks[21]));
    assert_done(dflockd_lock_release(f->locks[21]));
    eventually(is_free(f->served.address, "key-20"));
}

/* ---- other threads and processes ---- */

static void *cycle(void *argument)
{
    static atomic_int next;
    struct fixture *f = argument;
    struct dflockd_lock *locks[ROUNDS];
    int thread = next++;

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < ROUNDS; i++) {
            char key[32];

            snprintf(key, sizeof(key), "thread-%d-%d", thread, i);
            locks[i] = new_lock(f->client, key, &f->options);
            assert_done(dflockd_lock_acquire(locks[i], WAIT_MS));
        }
        for (int i = 0; i < ROUNDS; i++) {
            if (i % 3 == 0)
                assert_done(dflockd_lock_renew(locks[i], 0));
            assert_done(dflockd_lock_release(locks[i]));
            dflockd_lock_free(locks[i]);
        }
    }
    return NULL;
}

static void threads_acquire_and_release_while_grants_move(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, cycle, f), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(f->losses, 0);
    assert_true(stats_hold(f->client, "\"locks\":[]"));
}

static void *cancel_soon(void *lock)
{
    sleep_ms(100);
    dflockd_lock_cancel(lock);
    return NULL;
}

static void a_cancelled_wait_leaves_the_shared_locks(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *other = open_client(f->served.address);
    struct dflockd_lock *lock = new_lock(other, "busy", NULL);
    struct dflockd_lock *waiter = new_lock(f->client, "busy", NULL);
    pthread_t thread;

    hold(f, LOCKS_FEW, 0);
    assert_done(dflockd_lock_acquire(lock, 0));
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, waiter), 0);
    assert_status(dflockd_lock_acquire(waiter, WAIT_MS), DFLOCKD_STATUS_CANCELLED);
    pthread_join(thread, NULL);
    assert_done(dflockd_lock_release(lock));
    assert_true(is_free(f->served.address, "busy"));
    assert_int_equal(count_held(f), LOCKS_FEW);
    dflockd_lock_free(waiter);
    dflockd_lock_free(lock);
    dflockd_client_close(other);
}

static void a_forked_child_does_not_disturb_shared_locks(void **state)
{
    struct fixture *f = *state;
    pid_t child;

    hold(f, LOCKS_FEW, 1);
    sleep_ms(100);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sleep_ms(1000);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    sleep_ms(1500);
    assert_int_equal(count_held(f), LOCKS_FEW);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_locks_take_few_descriptors),
        TEST(no_connection_stays_after_the_last_lock),
        TEST(a_few_locks_keep_their_connections),
        TEST(an_unused_shared_connection_is_closed),
        TEST(shared_locks_are_held_over_several_leases),
        TEST(slots_of_semaphores_move_too),
        TEST(an_enqueued_lock_waits_on_its_own_connection),
        cmocka_unit_test_setup_teardown(locks_survive_a_cut_without_auto_release,
                                        set_up_without_auto_release, tear_down),
        TEST(a_cut_with_auto_release_loses_locks_once),
        TEST(a_cut_while_locks_move_leaves_none_held_without_a_grant),
        TEST(a_revoked_lock_is_lost_and_the_others_stay),
        TEST(a_callback_releases_another_shared_lock),
        TEST(a_draining_server_renews_and_releases_shared_locks),
        TEST(leases_end_while_the_server_is_stopped),
        TEST(a_release_without_a_reply_ends),
        TEST(threads_acquire_and_release_while_grants_move),
        TEST(a_cancelled_wait_leaves_the_shared_locks),
        TEST(a_forked_child_does_not_disturb_shared_locks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
