/*
 * Leases that are renewed for long, and every way to lose one: dflockd_lock_lost is true, and the
 * callback is called once and soon.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "harness.h"

enum {
    /* From a loss to its callback, on a busy machine. The next renewal of a lease of 30 s would be
     * later. */
    AT_ONCE_MS = 5000
};

struct losses {
    atomic_int count;
    _Atomic(enum dflockd_status) why;
    _Atomic int64_t at_ms;
};

struct fixture {
    struct served served;
    struct wire wire;
    struct dflockd_client *client;
    struct dflockd_lock_options options;
    struct losses losses;
};

static void note_loss(void *context, struct dflockd_lock *lock, enum dflockd_status why)
{
    struct losses *losses = context;

    losses->at_ms = now_ms();
    losses->why = why;
    /* What a callback may do. */
    if (dflockd_lock_held(lock) || !dflockd_lock_lost(lock) || dflockd_lock_fence(lock) != 0 ||
        dflockd_lock_release(lock) != DFLOCKD_STATUS_LOST)
        abort();
    losses->count++;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    server_start(&f->served, FLAGS("--shutdown-timeout=1"));
    wire_open(&f->wire, &f->served);
    f->client = open_client(f->wire.address);
    dflockd_lock_options_init(&f->options);
    f->options.lost = note_loss;
    f->options.context = &f->losses;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    dflockd_client_close(f->client);
    wire_close(&f->wire);
    server_kill(&f->served);
    free(f);
    return 0;
}

/* A held lock with a lease of `lease_s`. */
static struct dflockd_lock *hold_lock(struct fixture *f, uint64_t lease_s)
{
    struct dflockd_lock *lock;

    f->options.lease_s = lease_s;
    lock = new_lock(f->client, "key", &f->options);
    assert_done(dflockd_lock_acquire(lock, 0));
    return lock;
}

/* The lock was lost once, for this reason, within `within_ms` after `since_ms`, and stays lost. */
static void assert_lost(struct fixture *f, struct dflockd_lock *lock, enum dflockd_status why,
                        int64_t since_ms, int64_t within_ms)
{
    eventually(f->losses.count > 0);
    assert_status(f->losses.why, why);
    assert_true(f->losses.at_ms - since_ms <= within_ms);
    assert_true(dflockd_lock_lost(lock));
    assert_false(dflockd_lock_held(lock));
    assert_int_equal(dflockd_lock_lease_ms(lock), 0);
    assert_status(dflockd_lock_renew(lock, 5), DFLOCKD_STATUS_LOST);
    assert_status(dflockd_lock_release(lock), DFLOCKD_STATUS_LOST);
    assert_true(dflockd_lock_lost(lock));
    sleep_ms(100);
    assert_int_equal(f->losses.count, 1);
}

/* Another connection releases or renews by the token. */
static void interfere_with_lock(struct fixture *f, struct dflockd_lock *lock,
                                enum dflockd_command command)
{
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    struct dflockd_request request = {.command = command, .key = "key", .token = token};

    assert_true(dflockd_lock_token(lock, token));
    assert_done(ask_once(f->served.address, &request));
}

/* ---- renewals ---- */

static void a_lock_is_held_over_several_leases(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 1);
    uint64_t fence = dflockd_lock_fence(lock);
    int64_t end = now_ms() + 4500;

    while (now_ms() < end) {
        assert_true(dflockd_lock_held(lock));
        assert_in_range(dflockd_lock_lease_ms(lock), 1, 1000);
        assert_false(is_free(f->served.address, "key"));
        sleep_ms(50);
    }
    assert_int_equal(dflockd_lock_fence(lock), fence);
    assert_done(dflockd_lock_release(lock));
    assert_int_equal(f->losses.count, 0);
    dflockd_lock_free(lock);
}

static void a_semaphore_slot_is_held_over_several_leases(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock;

    f->options.limit = 2;
    lock = hold_lock(f, 1);
    sleep_ms(3200);
    assert_true(dflockd_lock_held(lock));
    assert_done(dflockd_lock_release(lock));
    dflockd_lock_free(lock);
}

/* The rest of the lease never falls below the ratio and the jitter. */
static void it_is_renewed_at_the_ratio_or_up_to_a_tenth_earlier(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock;
    int64_t lowest[6];
    int64_t last;
    int turn = 0;
    bool all_the_same = true;
    bool early = false;

    f->options.renew_ratio = 0.4;
    lock = hold_lock(f, 2);
    last = dflockd_lock_lease_ms(lock);
    for (int64_t end = now_ms() + WAIT_MS; turn < 6; sleep_ms(1)) {
        int64_t left = dflockd_lock_lease_ms(lock);

        assert_true(now_ms() < end && left > 0);
        if (left > last)
            lowest[turn++] = last;
        last = left;
    }
    for (int i = 0; i < 6; i++) {
        /* 2 s less 0.8 s is 1.2 s; jitter is at most 0.08 s. A busy machine is late now and then.
         */
        assert_in_range(lowest[i], 600, 1285);
        early |= lowest[i] > 1201;
        all_the_same &= lowest[i] == lowest[0];
    }
    assert_true(early);
    assert_false(all_the_same);
    dflockd_lock_free(lock);
}

static void without_renewal_the_lease_ends(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock;
    int64_t begun = now_ms();

    f->options.renew = false;
    lock = hold_lock(f, 1);
    assert_lost(f, lock, DFLOCKD_STATUS_LOST, begun, 1000 + AT_ONCE_MS);
    assert_true(f->losses.at_ms - begun >= 995);
    dflockd_lock_free(lock);
}

static void a_lost_lock_can_be_acquired_and_lost_again(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 5);

    for (int round = 1; round <= 3; round++) {
        interfere_with_lock(f, lock, DFLOCKD_RELEASE);
        assert_status(dflockd_lock_renew(lock, 0), DFLOCKD_STATUS_LOST);
        assert_done(dflockd_lock_acquire(lock, 0));
        assert_false(dflockd_lock_lost(lock));
        assert_true(dflockd_lock_held(lock));
        assert_int_equal(f->losses.count, round);
    }
    assert_done(dflockd_lock_release(lock));
    dflockd_lock_free(lock);
}

/* ---- lost ---- */

static void a_refused_renewal_loses_the_lock(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 2);
    int64_t begun = now_ms();

    interfere_with_lock(f, lock, DFLOCKD_RELEASE);
    assert_lost(f, lock, DFLOCKD_STATUS_NOT_HELD, begun, 1000 + AT_ONCE_MS);
    assert_true(is_free(f->served.address, "key"));
    dflockd_lock_free(lock);
}

static void a_server_that_stays_away_loses_the_lock_at_the_end_of_the_lease(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 2);
    char problem[DFLOCKD_PROBLEM_MAX];
    int64_t begun = now_ms();

    server_kill(&f->served);
    eventually(!dflockd_lock_held(lock));
    assert_false(dflockd_lock_lost(lock));
    assert_lost(f, lock, DFLOCKD_STATUS_LOST, begun, 2000 + AT_ONCE_MS);
    dflockd_lock_problem(lock, problem);
    assert_non_null(strstr(problem, f->wire.address));
    dflockd_lock_free(lock);
}

/* The new server does not know the token: the lock is lost when it replies. */
static void a_server_that_restarts_without_the_grant_loses_the_lock(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 30);
    char port[16];
    int64_t begun = now_ms();

    snprintf(port, sizeof(port), "%d", f->served.port);
    server_kill(&f->served);
    server_start(&f->served, FLAGS("--port", port));
    assert_lost(f, lock, DFLOCKD_STATUS_NOT_HELD, begun, 5000 + AT_ONCE_MS);
    assert_done(dflockd_lock_acquire(lock, 5000));
    dflockd_lock_free(lock);
}

static void a_grant_released_with_its_connection_is_lost(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 30);
    int64_t begun = now_ms();

    f->wire.cut = WIRE_CUT_SERVER;
    assert_lost(f, lock, DFLOCKD_STATUS_NOT_HELD, begun, AT_ONCE_MS);
    eventually(is_free(f->served.address, "key"));
    assert_done(dflockd_lock_acquire(lock, 5000));
    dflockd_lock_free(lock);
}

/* ---- lost connections ---- */

/* The server sees the end of the old connection later, when the new one owns the grant. */
static void assert_survives_a_cut(struct fixture *f, struct dflockd_lock *lock)
{
    uint64_t fence = dflockd_lock_fence(lock);

    f->wire.cut = WIRE_CUT_CLIENT;
    eventually(f->wire.accepted == 2);
    eventually(dflockd_lock_held(lock));
    assert_int_equal(dflockd_lock_fence(lock), fence);
    wire_end_half(&f->wire);
    sleep_ms(200);
    assert_done(dflockd_lock_renew(lock, 0));
    assert_true(dflockd_lock_held(lock));
    assert_int_equal(f->losses.count, 0);
    assert_done(dflockd_lock_release(lock));
    assert_true(is_free(f->served.address, "key"));
    dflockd_lock_free(lock);
}

static void a_lock_survives_its_connection(void **state)
{
    assert_survives_a_cut(*state, hold_lock(*state, 30));
}

static void a_slot_of_a_semaphore_survives_its_connection(void **state)
{
    struct fixture *f = *state;

    f->options.limit = 2;
    assert_survives_a_cut(f, hold_lock(f, 30));
}

static void a_lock_that_is_not_renewed_survives_its_connection(void **state)
{
    struct fixture *f = *state;

    f->options.renew = false;
    assert_survives_a_cut(f, hold_lock(f, 30));
}

static void an_unverified_lock_can_be_released(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 30);

    server_signal(&f->served, SIGSTOP);
    f->wire.cut = WIRE_CUT_CLIENT;
    eventually(!dflockd_lock_held(lock));
    assert_false(dflockd_lock_lost(lock));
    server_signal(&f->served, SIGCONT);
    assert_done(dflockd_lock_release(lock));
    assert_int_equal(f->losses.count, 0);
    assert_true(is_free(f->served.address, "key"));
    dflockd_lock_free(lock);
}

/*
 * A forked child keeps the connection open. It must neither wake the thread all the time nor make
 * it use a freed lock.
 */
static void a_forked_child_does_not_disturb_its_parent(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 1);
    struct timespec before;
    struct timespec after;
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    server_kill(&f->served);
    eventually(f->losses.count > 0);
    dflockd_lock_free(lock);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    sleep_ms(1000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(after.tv_sec * 1000 + after.tv_nsec / 1000000 - before.tv_sec * 1000 -
                    before.tv_nsec / 1000000 <
                500);
}

/* ---- lost by time ---- */

static void a_lease_that_ends_while_the_server_is_stopped_is_lost(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 1);
    int64_t begun = now_ms();

    server_signal(&f->served, SIGSTOP);
    assert_lost(f, lock, DFLOCKD_STATUS_LOST, begun, 2000 + AT_ONCE_MS);
    server_signal(&f->served, SIGCONT);
    eventually(is_free(f->served.address, "key"));
    dflockd_lock_free(lock);
}

static void renew_waits_at_most_until_the_lease_ends(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 1);
    int64_t begun = now_ms();

    server_signal(&f->served, SIGSTOP);
    assert_status(dflockd_lock_renew(lock, 60), DFLOCKD_STATUS_LOST);
    assert_lost(f, lock, DFLOCKD_STATUS_LOST, begun, 1000 + AT_ONCE_MS);
    server_signal(&f->served, SIGCONT);
    dflockd_lock_free(lock);
}

/* A holder may finish while the server drains, over several leases. */
static void a_draining_server_accepts_renewals_and_the_release(void **state)
{
    struct fixture *f = *state;
    struct served served;
    struct dflockd_client *client;
    struct dflockd_lock *lock;
    int64_t end;

    server_start(&served, FLAGS("--shutdown-timeout=0"));
    client = open_client(served.address);
    f->options.lease_s = 1;
    lock = new_lock(client, "key", &f->options);
    assert_done(dflockd_lock_acquire(lock, 0));
    server_signal(&served, SIGTERM);
    for (end = now_ms() + 3500; now_ms() < end; sleep_ms(20))
        assert_true(dflockd_lock_held(lock));
    assert_done(dflockd_lock_release(lock));
    assert_int_equal(f->losses.count, 0);
    dflockd_lock_free(lock);
    dflockd_client_close(client);
    server_kill(&served);
}

/* The fixture's server drains for a second. */
static void a_server_that_ends_loses_its_locks(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 3);
    int64_t begun = now_ms();

    server_signal(&f->served, SIGTERM);
    assert_lost(f, lock, DFLOCKD_STATUS_LOST, begun, 3000 + AT_ONCE_MS);
    dflockd_lock_free(lock);
}

static void a_draining_server_ends_a_wait(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *holder = connect_to(f->served.address);
    struct dflockd_request request = {.command = DFLOCKD_ACQUIRE, .key = "key"};
    struct dflockd_lock *lock = new_lock(f->client, "key", &f->options);
    struct dflockd_reply reply;
    enum dflockd_status status;

    assert_done(dflockd_connection_ask(holder, &request, &reply, WAIT_MS));
    assert_status(dflockd_lock_enqueue(lock), DFLOCKD_STATUS_WAITING);
    server_signal(&f->served, SIGTERM);
    status = dflockd_lock_wait(lock, 60000);
    /* The server replies, or has closed the idle connection before. */
    assert_true(status == DFLOCKD_STATUS_DRAINING || status == DFLOCKD_STATUS_DISCONNECTED);
    assert_false(dflockd_lock_held(lock));
    assert_int_equal(f->losses.count, 0);
    dflockd_connection_close(holder);
    dflockd_lock_free(lock);
}

static void a_released_lock_is_not_lost_later(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 1);

    assert_done(dflockd_lock_release(lock));
    server_kill(&f->served);
    sleep_ms(1500);
    assert_int_equal(f->losses.count, 0);
    assert_false(dflockd_lock_lost(lock));
    dflockd_lock_free(lock);
}

static void release_reports_that_others_released_the_lock(void **state)
{
    struct fixture *f = *state;
    struct dflockd_lock *lock = hold_lock(f, 30);

    interfere_with_lock(f, lock, DFLOCKD_RELEASE);
    assert_status(dflockd_lock_release(lock), DFLOCKD_STATUS_LOST);
    assert_true(dflockd_lock_lost(lock));
    assert_int_equal(f->losses.count, 0);
    dflockd_lock_free(lock);
}

/* ---- late grants ---- */

struct sleeper {
    struct dflockd_lock *lock;
    enum dflockd_status status;
    bool held;
};

static void *acquire_and_tell(void *argument)
{
    struct sleeper *sleeper = argument;

    sleeper->status = dflockd_lock_acquire(sleeper->lock, 60000);
    sleeper->held = dflockd_lock_held(sleeper->lock);
    return NULL;
}

static void a_late_grant_counts_from_its_renewal(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *rival = open_client(f->served.address);
    struct dflockd_lock *first = new_lock(rival, "key", NULL);
    struct dflockd_lock_options options = f->options;
    struct sleeper sleeper;
    pthread_t thread;

    options.lease_s = 2;
    sleeper.lock = new_lock(f->client, "key", &options);
    assert_done(dflockd_lock_acquire(first, 0));
    pthread_create(&thread, NULL, acquire_and_tell, &sleeper);
    sleep_ms(2500);
    assert_done(dflockd_lock_release(first));
    pthread_join(thread, NULL);
    assert_done(sleeper.status);
    assert_true(sleeper.held);
    sleep_ms(3000);
    assert_true(dflockd_lock_held(sleeper.lock));
    dflockd_lock_free(sleeper.lock);
    dflockd_lock_free(first);
    dflockd_client_close(rival);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_lock_is_held_over_several_leases),
        TEST(a_semaphore_slot_is_held_over_several_leases),
        TEST(it_is_renewed_at_the_ratio_or_up_to_a_tenth_earlier),
        TEST(without_renewal_the_lease_ends),
        TEST(a_lost_lock_can_be_acquired_and_lost_again),
        TEST(a_refused_renewal_loses_the_lock),
        TEST(a_server_that_stays_away_loses_the_lock_at_the_end_of_the_lease),
        TEST(a_server_that_restarts_without_the_grant_loses_the_lock),
        TEST(a_grant_released_with_its_connection_is_lost),
        TEST(a_lock_survives_its_connection),
        TEST(a_slot_of_a_semaphore_survives_its_connection),
        TEST(a_lock_that_is_not_renewed_survives_its_connection),
        TEST(an_unverified_lock_can_be_released),
        TEST(a_forked_child_does_not_disturb_its_parent),
        TEST(a_lease_that_ends_while_the_server_is_stopped_is_lost),
        TEST(renew_waits_at_most_until_the_lease_ends),
        TEST(a_draining_server_accepts_renewals_and_the_release),
        TEST(a_server_that_ends_loses_its_locks),
        TEST(a_draining_server_ends_a_wait),
        TEST(a_released_lock_is_not_lost_later),
        TEST(release_reports_that_others_released_the_lock),
        TEST(a_late_grant_counts_from_its_renewal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
