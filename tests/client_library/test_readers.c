/*
 * Shared locks: readers of one key hold it together, and a writer excludes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

enum {
    READERS = 12,
    LEASE_S = 1
};

struct fixture {
    struct served served;
    struct dflockd_client *client;
    struct dflockd_lock_options options;
    struct dflockd_lock *readers[READERS];
    struct dflockd_lock *writer;
    atomic_int losses;
};

static void note_loss(void *context, struct dflockd_lock *lock, enum dflockd_status why)
{
    struct fixture *f = context;

    (void)lock;
    assert_status(why, DFLOCKD_STATUS_NOT_HELD);
    f->losses++;
}

static int start(void **state, const char *flag)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    server_start(&f->served, FLAGS("--gc-max-idle", "0", flag));
    f->client = open_client(f->served.address);
    dflockd_lock_options_init(&f->options);
    f->options.lost = note_loss;
    f->options.context = f;
    f->writer = new_lock(f->client, "key", &f->options);
    f->options.shared = true;
    for (int i = 0; i < READERS; i++)
        f->readers[i] = new_lock(f->client, "key", &f->options);
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

    for (int i = 0; i < READERS; i++)
        dflockd_lock_free(f->readers[i]);
    dflockd_lock_free(f->writer);
    dflockd_client_close(f->client);
    server_kill(&f->served);
    free(f);
    return 0;
}

static void read_all(struct fixture *f)
{
    for (int i = 0; i < READERS; i++)
        assert_done(dflockd_lock_acquire(f->readers[i], 0));
}

static int count_readers(const struct fixture *f)
{
    int held = 0;

    for (int i = 0; i < READERS; i++)
        held += dflockd_lock_held(f->readers[i]);
    return held;
}

static void release_readers(struct fixture *f)
{
    for (int i = 0; i < READERS; i++)
        assert_done(dflockd_lock_release(f->readers[i]));
}

/* ---- who excludes whom ---- */

static void readers_hold_together_and_exclude_a_writer(void **state)
{
    struct fixture *f = *state;

    read_all(f);
    assert_int_equal(count_readers(f), READERS);
    for (int i = 1; i < READERS; i++)
        assert_true(dflockd_lock_fence(f->readers[i]) > dflockd_lock_fence(f->readers[i - 1]));
    assert_status(dflockd_lock_try(f->writer), DFLOCKD_STATUS_TIMED_OUT);
    release_readers(f);
    assert_done(dflockd_lock_try(f->writer));
}

static void a_writer_excludes_readers_and_writers(void **state)
{
    struct fixture *f = *state;

    assert_done(dflockd_lock_acquire(f->writer, 0));
    assert_status(dflockd_lock_try(f->readers[0]), DFLOCKD_STATUS_TIMED_OUT);
    assert_false(is_free(f->served.address, "key"));
    assert_done(dflockd_lock_release(f->writer));
    read_all(f);
}

/* A published client knows `l` only. */
static void a_reader_excludes_a_published_client(void **state)
{
    struct fixture *f = *state;

    assert_done(dflockd_lock_acquire(f->readers[0], 0));
    assert_false(is_free(f->served.address, "key"));
    assert_done(dflockd_lock_release(f->readers[0]));
    assert_true(is_free(f->served.address, "key"));
}

static void a_shared_semaphore_is_invalid(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock;

    f->options.limit = 1;
    assert_status(dflockd_lock_new(&lock, f->client, "key", &f->options), DFLOCKD_STATUS_INVALID);
    assert_null(lock);
}

/* ---- the queue ---- */

static void no_reader_passes_a_waiting_writer(void **state)
{
    struct fixture *f = *state;

    assert_done(dflockd_lock_acquire(f->readers[0], 0));
    assert_status(dflockd_lock_enqueue(f->writer), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_enqueue(f->readers[1]), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_enqueue(f->readers[2]), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_try(f->readers[3]), DFLOCKD_STATUS_TIMED_OUT);
    assert_done(dflockd_lock_release(f->readers[0]));
    assert_done(dflockd_lock_wait(f->writer, WAIT_MS));
    assert_status(dflockd_lock_wait(f->readers[1], 0), DFLOCKD_STATUS_TIMED_OUT);
    assert_status(dflockd_lock_enqueue(f->readers[1]), DFLOCKD_STATUS_WAITING);
    assert_done(dflockd_lock_release(f->writer));
    assert_done(dflockd_lock_wait(f->readers[2], WAIT_MS));
    assert_done(dflockd_lock_wait(f->readers[1], WAIT_MS));
}

static void a_writer_that_leaves_the_queue_lets_readers_in(void **state)
{
    struct fixture *f = *state;

    assert_done(dflockd_lock_acquire(f->readers[0], 0));
    assert_status(dflockd_lock_enqueue(f->writer), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_enqueue(f->readers[1]), DFLOCKD_STATUS_WAITING);
    assert_status(dflockd_lock_release(f->writer), DFLOCKD_STATUS_NOT_HELD);
    assert_done(dflockd_lock_wait(f->readers[1], WAIT_MS));
    assert_true(dflockd_lock_held(f->readers[0]));
}

static void two_phases_grant_a_reader_at_once(void **state)
{
    struct fixture *f = *state;

    assert_done(dflockd_lock_enqueue(f->readers[0]));
    assert_done(dflockd_lock_enqueue(f->readers[1]));
    assert_done(dflockd_lock_wait(f->readers[1], 0));
    assert_status(dflockd_lock_enqueue(f->readers[1]), DFLOCKD_STATUS_ALREADY);
    assert_int_equal(count_readers(f), 2);
}

static void *cancel_soon(void *lock)
{
    sleep_ms(100);
    dflockd_lock_cancel(lock);
    return NULL;
}

static void a_cancelled_reader_holds_nothing(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_done(dflockd_lock_acquire(f->writer, 0));
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, f->readers[0]), 0);
    assert_status(dflockd_lock_acquire(f->readers[0], -1), DFLOCKD_STATUS_CANCELLED);
    pthread_join(thread, NULL);
    assert_done(dflockd_lock_release(f->writer));
    assert_true(is_free(f->served.address, "key"));
}

/* ---- leases and losses ---- */

static void readers_are_renewed_and_released_on_a_shared_connection(void **state)
{
    struct fixture *f = *state;
    int64_t end = now_ms() + 2500 * LEASE_S;

    for (int i = 0; i < READERS; i++) {
        dflockd_lock_free(f->readers[i]);
        f->options.lease_s = LEASE_S;
        f->readers[i] = new_lock(f->client, "key", &f->options);
    }
    read_all(f);
    while (now_ms() < end) {
        assert_int_equal(count_readers(f), READERS);
        assert_false(is_free(f->served.address, "key"));
        sleep_ms(50);
    }
    assert_done(dflockd_lock_renew(f->readers[0], 30));
    assert_int_equal(f->losses, 0);
    release_readers(f);
    assert_true(is_free(f->served.address, "key"));
}

static void readers_survive_a_lost_connection_without_auto_release(void **state)
{
    struct fixture *f = *state;
    struct wire wire;
    struct dflockd_client *client;
    struct dflockd_lock *reader;

    wire_open(&wire, &f->served);
    client = open_client(wire.address);
    reader = new_lock(client, "key", &f->options);
    assert_done(dflockd_lock_acquire(f->readers[0], 0));
    assert_done(dflockd_lock_acquire(reader, 0));
    wire.cut = WIRE_CUT_SERVER;
    eventually(wire.accepted == 2);
    assert_done(dflockd_lock_renew(reader, 0));
    assert_true(dflockd_lock_held(reader));
    assert_done(dflockd_lock_release(reader));
    assert_true(dflockd_lock_held(f->readers[0]));
    dflockd_lock_free(reader);
    dflockd_client_close(client);
    wire_close(&wire);
}

/* The renewal of the one that the server does not know returns `error`. */
static void a_reader_is_lost_and_the_others_stay(void **state)
{
    struct fixture *f = *state;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    struct dflockd_request request = {.command = DFLOCKD_RELEASE, .key = "key", .token = token};

    read_all(f);
    assert_true(dflockd_lock_token(f->readers[1], token));
    assert_done(ask_once(f->served.address, &request));
    assert_status(dflockd_lock_renew(f->readers[1], 0), DFLOCKD_STATUS_LOST);
    eventually(f->losses == 1);
    assert_true(dflockd_lock_lost(f->readers[1]));
    assert_int_equal(count_readers(f), READERS - 1);
}

/* ---- several at once ---- */

static void several_locks_have_mixed_modes(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *other = open_client(f->served.address);
    struct dflockd_lock *both[] = {new_lock(other, "key", &f->options),
                                   new_lock(other, "other", NULL)};
    size_t failed;

    assert_done(dflockd_lock_acquire(f->readers[0], 0));
    assert_done(dflockd_locks_acquire(both, 2, 0, &failed));
    assert_status(dflockd_lock_try(f->writer), DFLOCKD_STATUS_TIMED_OUT);
    assert_false(is_free(f->served.address, "other"));
    assert_done(dflockd_locks_release(both, 2));
    assert_done(dflockd_lock_release(f->readers[0]));
    assert_done(dflockd_lock_acquire(f->writer, 0));
    assert_status(dflockd_locks_acquire(both, 2, 0, &failed), DFLOCKD_STATUS_TIMED_OUT);
    assert_int_equal(failed, 0);
    dflockd_lock_free(both[0]);
    dflockd_lock_free(both[1]);
    dflockd_client_close(other);
}

/* It would wait for itself. */
static void one_key_in_two_modes_at_once_is_invalid(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *both[] = {f->readers[0], f->writer};
    size_t failed;

    assert_status(dflockd_locks_acquire(both, 2, 0, &failed), DFLOCKD_STATUS_INVALID);
    assert_in_range(failed, 0, 1);
    assert_true(is_free(f->served.address, "key"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(readers_hold_together_and_exclude_a_writer),
        TEST(a_writer_excludes_readers_and_writers),
        TEST(a_reader_excludes_a_published_client),
        TEST(a_shared_semaphore_is_invalid),
        TEST(no_reader_passes_a_waiting_writer),
        TEST(a_writer_that_leaves_the_queue_lets_readers_in),
        TEST(two_phases_grant_a_reader_at_once),
        TEST(a_cancelled_reader_holds_nothing),
        TEST(readers_are_renewed_and_released_on_a_shared_connection),
        cmocka_unit_test_setup_teardown(readers_survive_a_lost_connection_without_auto_release,
                                        set_up_without_auto_release, tear_down),
        TEST(a_reader_is_lost_and_the_others_stay),
        TEST(several_locks_have_mixed_modes),
        TEST(one_key_in_two_modes_at_once_is_invalid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
