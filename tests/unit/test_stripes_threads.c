/*
 * Stripes with several threads, which contend for a few keys. The tests check mutual exclusion, the
 * limit on states, and that each wait ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "os/mailbox.h"
#include "seeded.h"
#include "server/connection_id.h"
#include "stripes_fixture.h"

enum {
    CLIENTS = 8, /* of each worker */
    LOCKS = 3,
    KEYS = LOCKS + 1, /* plus a semaphore */
    SLOTS = 3,        /* of the semaphore */
    ROUNDS = 6000,    /* of each client */
    SLEEP_MAX_S = 20  /* a worker that sleeps longer missed its wake-up */
};

enum condition {
    IDLE,
    BLOCKED,
    HOLDING,
    DONE
};

struct client {
    enum condition condition;
    uint64_t id;
    uint64_t stripes_used;
    uint32_t rounds;
    int key;
    struct lock_token token;
};

/* A worker sleeps until a wake-up. A wake-up of an awake worker is not lost. */
struct wake_up {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool pending;
};

struct hammer;

struct worker {
    struct hammer *hammer;
    uint32_t number;
    struct wake_up wake_up;
    uint64_t alarm_ns; /* the end of its last sleep */
    struct seeded seeded;
    struct client clients[CLIENTS];
    int queue[KEYS][CLIENTS]; /* its blocked clients, in order */
    int queued[KEYS];
    uint64_t grants[KEYS];
};

struct hammer {
    struct stripes *stripes;
    struct lock_key keys[KEYS];
    struct worker workers[WORKERS];
    _Atomic uint64_t clients_started;
    _Atomic(const char *) failure;
    _Atomic int held[KEYS];       /* actual holders */
    uint64_t guarded[LOCKS];      /* only the holder of the lock changes it */
    uint64_t fence_before[LOCKS]; /* only the holder changes it */
};

/* Records the failure for the main thread if the condition does not hold. */
static void expect_that(struct hammer *hammer, bool holds, const char *failure)
{
    if (!holds)
        atomic_store(&hammer->failure, failure);
}

static uint32_t limit_of(int key)
{
    return key < LOCKS ? 1 : SLOTS;
}

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void post_wake_up(struct wake_up *wake_up)
{
    pthread_mutex_lock(&wake_up->mutex);
    wake_up->pending = true;
    pthread_cond_signal(&wake_up->changed);
    pthread_mutex_unlock(&wake_up->mutex);
}

/* Returns false if no wake-up came within SLEEP_MAX_S, and `until_ns` is later. */
static bool sleep_until(struct wake_up *wake_up, uint64_t until_ns)
{
    uint64_t most_ns = clock_ns() + SLEEP_MAX_S * SECOND;
    bool limited = until_ns > most_ns;
    struct timespec until;
    bool woken;

    if (limited)
        until_ns = most_ns;
    until.tv_sec = (time_t)(until_ns / SECOND);
    until.tv_nsec = (long)(until_ns % SECOND);
    pthread_mutex_lock(&wake_up->mutex);
    while (!wake_up->pending &&
           pthread_cond_timedwait(&wake_up->changed, &wake_up->mutex, &until) == 0)
        ;
    woken = wake_up->pending;
    wake_up->pending = false;
    pthread_mutex_unlock(&wake_up->mutex);
    return woken || !limited;
}

/* Like a ring's alarm, the alarm stays set although its deadline was cancelled. */
static bool fall_asleep(struct worker *worker)
{
    struct stripes *stripes = worker->hammer->stripes;
    uint64_t alarm_ns = worker->alarm_ns > clock_ns() ? worker->alarm_ns : UINT64_MAX;
    bool in_time;

    worker->alarm_ns = stripes_sleep(stripes, worker->number, alarm_ns);
    in_time = sleep_until(&worker->wake_up, worker->alarm_ns);
    stripes_awake(stripes, worker->number);
    return in_time;
}

/* Wakes the other workers in `wake`. Returns whether `worker` is in it too. */
static bool wake_workers(struct worker *worker, uint64_t wake)
{
    for (uint32_t other = 0; other < WORKERS; other++) {
        if (other != worker->number && (wake >> other & 1))
            post_wake_up(&worker->hammer->workers[other].wake_up);
    }
    return wake >> worker->number & 1;
}

static void remove_from_queue(struct worker *worker, int key, int client)
{
    int kept = 0;

    for (int i = 0; i < worker->queued[key]; i++) {
        if (worker->queue[key][i] != client)
            worker->queue[key][kept++] = worker->queue[key][i];
    }
    worker->queued[key] = kept;
}

static void enter_lock(struct worker *worker, struct client *client,
                       const struct lock_answer *answer)
{
    struct hammer *hammer = worker->hammer;
    int key = client->key;
    int before = atomic_fetch_add(&hammer->held[key], 1);

    expect_that(hammer, before < (int)limit_of(key), "more holders than slots");
    client->condition = HOLDING;
    client->token = answer->token;
    worker->grants[key]++;
    if (key < LOCKS) {
        hammer->guarded[key]++;
        expect_that(hammer, answer->token.fence > hammer->fence_before[key],
                    "a fence did not rise");
        hammer->fence_before[key] = answer->token.fence;
    }
}

static void leave_lock(struct worker *worker, struct client *client)
{
    atomic_fetch_sub(&worker->hammer->held[client->key], 1);
    client->condition = IDLE;
}

static void start_client(struct worker *worker, int index)
{
    uint64_t number = 1 + atomic_fetch_add(&worker->hammer->clients_started, 1);

    worker->clients[index].id = connection_id_make(number, worker->number, (uint32_t)index);
    worker->clients[index].condition = IDLE;
    worker->clients[index].stripes_used = 0;
}

static void request_lock(struct worker *worker, int index, uint64_t *wake)
{
    struct hammer *hammer = worker->hammer;
    struct client *client = &worker->clients[index];
    int key = client->key = (int)seeded_below(&worker->seeded, KEYS);
    const struct lock_key *at = &hammer->keys[key];
    uint64_t now_ns = clock_ns();
    struct lock_answer answer;

    client->rounds++;
    client->stripes_used |= UINT64_C(1) << stripes_index(worker->hammer->stripes, at);
    if (seeded_below(&worker->seeded, 3)) {
        uint64_t wait_s = seeded_below(&worker->seeded, 8) ? LONG_S : 0;

        answer =
            apply_to_stripes(hammer->stripes, now_ns,
                             acquire_request(client->id, at, limit_of(key), wait_s, LONG_S), wake);
        if (answer.outcome == DFLOCKD_TIMEOUT) {
            expect_that(hammer, wait_s == 0, "a wait ended at once");
            return;
        }
    } else {
        answer = apply_to_stripes(hammer->stripes, now_ns,
                                  enqueue_request(client->id, at, limit_of(key), LONG_S), wake);
        expect_that(hammer, answer.outcome == DFLOCKD_ACQUIRED || answer.outcome == DFLOCKD_QUEUED,
                    "an unexpected answer to enqueue");
        answer =
            apply_to_stripes(hammer->stripes, now_ns, wait_request(client->id, at, LONG_S), wake);
    }
    if (answer.outcome == DFLOCKD_OK) {
        enter_lock(worker, client, &answer);
    } else {
        expect_that(hammer, answer.outcome == LOCK_PENDING, "an unexpected answer");
        client->condition = BLOCKED;
        worker->queue[key][worker->queued[key]++] = index;
    }
}

static uint32_t stripe_of_client(const struct hammer *hammer, const struct client *client)
{
    return stripes_index(hammer->stripes, &hammer->keys[client->key]);
}

static void disconnect_client(struct worker *worker, int index, uint64_t *wake)
{
    struct client *client = &worker->clients[index];
    bool blocked = client->condition == BLOCKED;

    if (blocked)
        remove_from_queue(worker, client->key, index);
    else if (client->condition == HOLDING)
        leave_lock(worker, client);
    for (uint64_t left = client->stripes_used; left; left &= left - 1) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(left);
        bool pending = blocked && stripe_of_client(worker->hammer, client) == stripe;

        while (!stripes_disconnect(worker->hammer->stripes, clock_ns(), client->id, stripe, pending,
                                   &(uint32_t){1}, wake))
            ;
    }
    start_client(worker, index);
}

static void step_holding(struct worker *worker, int index, uint64_t *wake)
{
    struct hammer *hammer = worker->hammer;
    struct client *client = &worker->clients[index];
    const struct lock_key *at = &hammer->keys[client->key];
    uint32_t draw = seeded_below(&worker->seeded, 16);

    if (draw == 0) {
        disconnect_client(worker, index, wake);
    } else if (draw == 1) {
        expect_that(hammer,
                    apply_to_stripes(hammer->stripes, clock_ns(),
                                     renew_request(at, client->token, LONG_S), wake)
                            .outcome == DFLOCKD_OK,
                    "a valid token was not renewed");
    } else {
        leave_lock(worker, client);
        expect_that(
            hammer,
            apply_to_stripes(hammer->stripes, clock_ns(), release_request(at, client->token), wake)
                    .outcome == DFLOCKD_OK,
            "a valid token was not released");
    }
}

static void step_blocked(struct worker *worker, int index, uint64_t *wake)
{
    struct client *client = &worker->clients[index];
    uint32_t draw = seeded_below(&worker->seeded, 64);

    if (draw == 0) {
        disconnect_client(worker, index, wake);
    } else if (draw == 1 && stripes_cancel(worker->hammer->stripes, clock_ns(), client->id,
                                           stripe_of_client(worker->hammer, client), wake)) {
        remove_from_queue(worker, client->key, index);
        client->condition = IDLE;
    }
}

/* Returns whether the client can continue without an effect. */
static bool step_client(struct worker *worker, int index, uint64_t *wake)
{
    struct client *client = &worker->clients[index];

    switch (client->condition) {
    case IDLE:
        if (client->rounds == ROUNDS)
            client->condition = DONE;
        else
            request_lock(worker, index, wake);
        break;
    case BLOCKED:
        step_blocked(worker, index, wake);
        break;
    case HOLDING:
        step_holding(worker, index, wake);
        break;
    case DONE:
        break;
    }
    return client->condition == IDLE || client->condition == HOLDING;
}

static void take_effects(struct worker *worker)
{
    struct hammer *hammer = worker->hammer;
    struct stripes_effect effect;

    while (mailbox_take(stripes_mailbox(hammer->stripes, worker->number), &effect, 1)) {
        int index = (int)connection_id_slot(effect.connection_id);
        struct client *client = &worker->clients[index];

        expect_that(hammer, connection_id_worker(effect.connection_id) == worker->number,
                    "an effect for another worker");
        if (client->id != effect.connection_id)
            continue;
        expect_that(hammer, client->condition == BLOCKED,
                    "an effect for a client that does not wait");
        expect_that(hammer, effect.answer.outcome == DFLOCKD_OK, "a wait ended without a grant");
        expect_that(hammer, worker->queue[client->key][0] == index,
                    "a client was granted before its turn");
        remove_from_queue(worker, client->key, index);
        enter_lock(worker, client, &effect.answer);
    }
}

static void *run_clients(void *context)
{
    struct worker *worker = context;
    struct hammer *hammer = worker->hammer;

    while (!atomic_load(&hammer->failure)) {
        uint64_t wake = 0;
        bool busy = false;
        int done = 0;

        stripes_expire(hammer->stripes, clock_ns(), worker->number, &(uint32_t){STEPS}, &wake);
        take_effects(worker);
        for (int i = 0; i < CLIENTS; i++) {
            busy |= step_client(worker, i, &wake);
            done += worker->clients[i].condition == DONE;
        }
        busy |= wake_workers(worker, wake);
        if (done == CLIENTS)
            break;
        if (busy)
            continue;
        expect_that(hammer, fall_asleep(worker), "a wake-up was lost");
    }
    return NULL;
}

static void start_worker(struct hammer *hammer, uint32_t number, uint64_t seed)
{
    struct worker *worker = &hammer->workers[number];
    pthread_condattr_t attributes;

    worker->hammer = hammer;
    worker->number = number;
    worker->seeded.state = seed;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&worker->wake_up.mutex, NULL);
    pthread_cond_init(&worker->wake_up.changed, &attributes);
    pthread_condattr_destroy(&attributes);
    for (int i = 0; i < CLIENTS; i++)
        start_client(worker, i);
}

/* Checks that the key has no holders and no waiters. */
static void check_idle_state(void *context, const struct lock_view *view)
{
    assert_int_equal(view->holders + view->waiters, 0);
    ++*(uint32_t *)context;
}

static uint32_t count_states(struct stripes *stripes)
{
    uint32_t count = 0;
    uint32_t stripe = 0;
    uint64_t position = 0;

    while (stripes_walk(stripes, clock_ns(), (struct lock_walk){0}, &stripe, &position,
                        &(uint32_t){64}, check_idle_state, &count))
        ;
    return count;
}

/* Runs `run` in a thread for each worker. Fails with the failure that a thread noted. */
static void run_threads(struct hammer *hammer, void *(*run)(void *))
{
    pthread_t threads[WORKERS];
    struct seeded seeded;

    seeded_init(&seeded, "test_stripes_threads");
    for (uint32_t i = 0; i < WORKERS; i++)
        start_worker(hammer, i, seeded_next(&seeded));
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &hammer->workers[i]), 0);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_mutex_destroy(&hammer->workers[i].wake_up.mutex);
        pthread_cond_destroy(&hammer->workers[i].wake_up.changed);
    }
    if (atomic_load(&hammer->failure))
        fail_msg("%s", atomic_load(&hammer->failure));
}

static void hammer_keys(uint64_t gc_max_idle_s, uint32_t states_left)
{
    static const char *const names[KEYS] = {"first", "second", "third", "semaphore"};
    static struct hammer hammer;

    memset(&hammer, 0, sizeof(hammer));
    hammer.stripes = create_stripes(WORKERS, 100, gc_max_idle_s);
    for (int key = 0; key < KEYS; key++)
        hammer.keys[key] = key_named(
            hammer.stripes, key < LOCKS ? LOCK_KIND_LOCK : LOCK_KIND_SEMAPHORE, names[key]);
    run_threads(&hammer, run_clients);
    for (int key = 0; key < KEYS; key++) {
        uint64_t grants = 0;

        for (uint32_t i = 0; i < WORKERS; i++)
            grants += hammer.workers[i].grants[key];
        assert_true(grants > ROUNDS);
        if (key < LOCKS)
            assert_int_equal(hammer.guarded[key], grants);
        assert_int_equal(atomic_load(&hammer.held[key]), 0);
    }
    assert_int_equal(count_states(hammer.stripes), states_left);
    destroy_stripes(hammer.stripes);
}

static void threads_exclude_each_other_and_every_wait_ends(void **state)
{
    (void)state;
    hammer_keys(LONG_S, KEYS);
}

static void threads_share_states_and_leave_none(void **state)
{
    (void)state;
    hammer_keys(0, 0);
}

/* ---- the limit on states with many threads ---- */

enum {
    CAP = 3,
    CAP_ROUNDS = 20000
};

static void *acquire_beyond_the_cap(void *context)
{
    struct worker *worker = context;
    struct hammer *hammer = worker->hammer;
    uint64_t id = worker->clients[0].id;
    uint64_t wake = 0;

    for (int round = 0; round < CAP_ROUNDS && !atomic_load(&hammer->failure); round++) {
        char name[24];
        struct lock_key key;
        struct lock_answer answer;

        snprintf(name, sizeof(name), "%u-%d", worker->number, round);
        key = key_named(hammer->stripes, LOCK_KIND_LOCK, name);
        answer = acquire_in_stripes(hammer->stripes, clock_ns(), id, &key, 0, LONG_S, &wake);
        if (answer.outcome != DFLOCKD_OK) {
            expect_that(hammer, answer.outcome == DFLOCKD_ERROR_MAX_LOCKS, "an unexpected refusal");
            continue;
        }
        expect_that(hammer, atomic_fetch_add(&hammer->held[0], 1) < CAP,
                    "more states than the cap");
        worker->grants[0]++;
        atomic_fetch_sub(&hammer->held[0], 1);
        expect_that(hammer,
                    apply_to_stripes(hammer->stripes, clock_ns(),
                                     release_request(&key, answer.token), &wake)
                            .outcome == DFLOCKD_OK,
                    "a valid token was not released");
    }
    return NULL;
}

static void the_cap_on_states_is_hard_for_all_threads_together(void **state)
{
    static struct hammer hammer;

    (void)state;
    memset(&hammer, 0, sizeof(hammer));
    hammer.stripes = create_stripes(WORKERS, CAP, 0);
    run_threads(&hammer, acquire_beyond_the_cap);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_true(hammer.workers[i].grants[0] > 0);
    assert_int_equal(count_states(hammer.stripes), 0);
    destroy_stripes(hammer.stripes);
}

static void the_cap_on_claims_is_hard_for_all_threads_together(void **state)
{
    static struct hammer hammer;

    (void)state;
    for (uint32_t batch = 1; batch <= 3; batch++) {
        memset(&hammer, 0, sizeof(hammer));
        hammer.stripes = create_stripes_from((struct stripes_options){
            .workers = WORKERS, .states_max = 1000, .claims_max = CAP, .claims_batch = batch});
        run_threads(&hammer, acquire_beyond_the_cap);
        assert_int_equal(count_states(hammer.stripes), 0);
        destroy_stripes(hammer.stripes);
    }
}

/* ---- deadlines while all workers sleep ---- */

enum {
    DATES = 24
};

struct dates {
    struct hammer hammer; /* must be first, because its workers point to it */
    struct lock_key keys[DATES];
    char names[DATES][16];
    _Atomic int left; /* effects not yet received */
};

/* Sleeps until each deadline, until the workers have received all effects. */
static void *receive_effects(void *context)
{
    struct worker *worker = context;
    struct dates *dates = (struct dates *)(void *)worker->hammer;
    struct stripes_effect effect;

    while (atomic_load(&dates->left) > 0 && !atomic_load(&dates->hammer.failure)) {
        uint64_t wake = 0;

        stripes_expire(dates->hammer.stripes, clock_ns(), worker->number, &(uint32_t){STEPS},
                       &wake);
        while (mailbox_take(stripes_mailbox(dates->hammer.stripes, worker->number), &effect, 1)) {
            int expected =
                connection_id_slot(effect.connection_id) % 2 ? DFLOCKD_TIMEOUT : DFLOCKD_OK;

            expect_that(&dates->hammer, effect.answer.outcome == expected, "an unexpected effect");
            if (atomic_fetch_sub(&dates->left, 1) == 1)
                wake = (1 << WORKERS) - 1;
        }
        if (wake_workers(worker, wake))
            continue;
        expect_that(&dates->hammer, fall_asleep(worker), "a worker slept past a deadline");
    }
    return NULL;
}

/* Each key has a silent holder and a waiter of another worker. */
static void leases_and_waits_end_without_requests(void **state)
{
    static struct dates dates;
    uint64_t now_ns = clock_ns();
    uint64_t wake = 0;

    (void)state;
    memset(&dates, 0, sizeof(dates));
    dates.hammer.stripes = create_stripes(WORKERS, 100, 0);
    for (uint32_t i = 0; i < DATES; i++) {
        uint32_t lease_s = i % 2 ? LONG_S : 1;
        uint32_t wait_s = i % 2 ? 1 : LONG_S;

        snprintf(dates.names[i], sizeof(dates.names[i]), "date %u", i);
        dates.keys[i] = key_named(dates.hammer.stripes, LOCK_KIND_LOCK, dates.names[i]);
        acquire_in_stripes(dates.hammer.stripes, now_ns, connection_id_make(1000 + i, 0, i),
                           &dates.keys[i], 0, lease_s, &wake);
        assert_int_equal(acquire_in_stripes(dates.hammer.stripes, now_ns,
                                            connection_id_make(2000 + i, i / 2 % WORKERS, i),
                                            &dates.keys[i], wait_s, LONG_S, &wake)
                             .outcome,
                         LOCK_PENDING);
    }
    atomic_store(&dates.left, DATES);
    run_threads(&dates.hammer, receive_effects);
    assert_int_equal(atomic_load(&dates.left), 0);
    destroy_stripes(dates.hammer.stripes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_exclude_each_other_and_every_wait_ends),
        cmocka_unit_test(threads_share_states_and_leave_none),
        cmocka_unit_test(the_cap_on_states_is_hard_for_all_threads_together),
        cmocka_unit_test(the_cap_on_claims_is_hard_for_all_threads_together),
        cmocka_unit_test(leases_and_waits_end_without_requests),
    };

    return cmocka_run_group_tests_name("stripes_threads", tests, NULL, NULL);
}
