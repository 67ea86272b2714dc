/*
 * Stripes: single calls show which workers must wake. Then several threads contend for a few keys;
 * they check mutual exclusion, and that every wait ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lock_requests.h"
#include "os/mailbox.h"
#include "seeded.h"
#include "server/connection_id.h"
#include "server/stripes.h"

#define SECOND UINT64_C(1000000000)

enum {
    WORKERS = 4,
    CLIENTS = 8, /* of each worker */
    LOCKS = 3,
    KEYS = LOCKS + 1, /* plus a semaphore */
    SLOTS = 3,        /* of the semaphore */
    ROUNDS = 6000,    /* of each client */
    LONG_S = 100000,  /* longer than any test */
    SLEEP_MAX_S = 20, /* a worker that sleeps longer missed its wake-up */
    STEPS = 1000
};

/* ---- memory for many threads ---- */

static void *allocate(void *context, size_t size, size_t alignment)
{
    _Atomic int64_t *blocks = context;
    void *block = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);

    if (block)
        atomic_fetch_add(blocks, 1);
    return block;
}

static void release(void *context, void *block, size_t size)
{
    _Atomic int64_t *blocks = context;

    (void)size;
    atomic_fetch_sub(blocks, 1);
    free(block);
}

static _Atomic int64_t blocks_out;

/* Fences start at 1 and are below `fence_ceiling`; 0: no limit. */
static struct stripes *create_with_fences(uint32_t workers, uint64_t states_max,
                                          uint64_t gc_max_idle_s, uint64_t fence_ceiling)
{
    struct stripes_options options = {
        .workers = workers,
        .memory = {.allocate = allocate, .release = release, .context = &blocks_out},
        .policy = {.gc_max_idle_ns = gc_max_idle_s * SECOND,
                   .gc_interval_ns = 5 * SECOND,
                   .release_on_disconnect = true},
        .states_max = states_max,
        .fence_first = 1,
        .fence_ceiling = fence_ceiling,
    };
    struct stripes *stripes;

    atomic_store(&blocks_out, 0);
    stripes = stripes_create(&options);
    assert_non_null(stripes);
    for (uint32_t worker = 0; worker < workers; worker++)
        assert_true(mailbox_reserve(stripes_mailbox(stripes, worker), 1024));
    return stripes;
}

static struct stripes *create(uint32_t workers, uint64_t states_max, uint64_t gc_max_idle_s)
{
    return create_with_fences(workers, states_max, gc_max_idle_s, 0);
}

static void check(struct stripes *stripes)
{
    const char *problem = NULL;

    if (!stripes_check(stripes, &problem))
        fail_msg("the stripes are not valid: %s", problem);
}

static void destroy(struct stripes *stripes)
{
    check(stripes);
    stripes_destroy(stripes);
    assert_int_equal(atomic_load(&blocks_out), 0);
}

static struct lock_key key_named(const struct stripes *stripes, enum lock_kind kind,
                                 const char *name)
{
    return stripes_key(
        stripes, kind,
        (struct slice){.bytes = (const uint8_t *)name, .length = (uint32_t)strlen(name)});
}

/* Returns a key whose stripe has the home worker `home`; `name` holds its bytes. */
static struct lock_key key_at_home(const struct stripes *stripes, uint32_t home, char name[16])
{
    for (uint32_t i = 0;; i++) {
        struct lock_key key;

        snprintf(name, 16, "k%u", i);
        key = key_named(stripes, LOCK_KIND_LOCK, name);
        if (stripes_index(stripes, &key) % WORKERS == home)
            return key;
    }
}

static struct lock_answer acquire(struct stripes *stripes, uint64_t now_ns, uint64_t client,
                                  const struct lock_key *key, uint64_t wait_s, uint64_t lease_s,
                                  uint64_t *wake)
{
    return apply_to_stripes(stripes, now_ns, acquire_request(client, key, 1, wait_s, lease_s),
                            wake);
}

/* ---- keys ---- */

static void equal_keys_share_a_stripe_and_kinds_differ(void **state)
{
    struct stripes *stripes = create(WORKERS, 10, 0);
    uint32_t used[STRIPES_MAX] = {0};
    uint32_t stripes_used = 0;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        char name[16];
        char copy[16];
        struct lock_key first;
        struct lock_key second;

        snprintf(name, sizeof(name), "key %d", i);
        strcpy(copy, name);
        first = key_named(stripes, LOCK_KIND_LOCK, name);
        second = key_named(stripes, LOCK_KIND_LOCK, copy);
        assert_int_equal(stripes_index(stripes, &first), stripes_index(stripes, &second));
        assert_true(first.hash == second.hash);
        assert_true(stripes_index(stripes, &first) < STRIPES_MAX);
        second = key_named(stripes, LOCK_KIND_SEMAPHORE, name);
        assert_true(first.hash != second.hash);
        stripes_used += used[stripes_index(stripes, &first)]++ == 0;
    }
    assert_int_equal(stripes_used, WORKERS * 8);
    destroy(stripes);
}

static void each_table_has_its_own_hash_secret(void **state)
{
    struct stripes *stripes = create(1, 10, 0);
    uint64_t first = key_named(stripes, LOCK_KIND_LOCK, "k").hash;

    (void)state;
    destroy(stripes);
    stripes = create(1, 10, 0);
    assert_true(key_named(stripes, LOCK_KIND_LOCK, "k").hash != first);
    destroy(stripes);
}

/* ---- tokens ---- */

static int compare_salts(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a;
    uint64_t second = *(const uint64_t *)b;

    return (first > second) - (first < second);
}

static void salts_are_random_and_each_is_used_once(void **state)
{
    enum {
        GRANTS = 2000 /* of each stripes; more than one read from the kernel supplies */
    };
    static uint64_t salts[2 * GRANTS];
    uint64_t any = 0;
    uint64_t all = UINT64_MAX;
    uint64_t wake = 0;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct stripes *stripes = create(1, 10, 0);
        struct lock_key key = key_named(stripes, LOCK_KIND_LOCK, "k");

        for (int grant = 0; grant < GRANTS; grant++) {
            struct lock_token token =
                acquire(stripes, 0, connection_id_make(1, 0, 0), &key, 0, LONG_S, &wake).token;

            salts[i * GRANTS + grant] = token.salt;
            any |= token.salt;
            all &= token.salt;
            assert_int_equal(
                apply_to_stripes(stripes, 0, release_request(&key, token), &wake).outcome,
                DFLOCKD_OK);
        }
        destroy(stripes);
    }
    assert_true(any == UINT64_MAX);
    assert_true(all == 0);
    qsort(salts, 2 * GRANTS, sizeof(salts[0]), compare_salts);
    for (int i = 1; i < 2 * GRANTS; i++)
        assert_true(salts[i] != salts[i - 1]);
}

/* ---- fences ---- */

static void fences_are_promised_for_all_stripes_together(void **state)
{
    struct stripes *stripes = create_with_fences(WORKERS, 10, 0, 4);
    char name[16];
    char other_name[16];
    struct lock_key key = key_at_home(stripes, 1, name);
    struct lock_key other = key_at_home(stripes, 2, other_name);
    struct lock_token token;
    uint64_t wake = 0;

    (void)state;
    token = acquire(stripes, 0, 1, &key, 0, LONG_S, &wake).token;
    assert_int_equal(token.fence, 1);
    assert_int_equal(acquire(stripes, 0, 2, &key, 9, LONG_S, &wake).outcome, LOCK_PENDING);
    assert_int_equal(acquire(stripes, 0, 1, &other, 0, LONG_S, &wake).token.fence, 2);
    assert_int_equal(acquire(stripes, 0, 3, &other, 9, LONG_S, &wake).outcome, DFLOCKD_ERROR);
    check(stripes);
    assert_true(stripes_cancel(stripes, 0, 2, stripes_index(stripes, &key), &wake));
    check(stripes);
    assert_int_equal(acquire(stripes, 0, 3, &other, 9, LONG_S, &wake).outcome, LOCK_PENDING);
    assert_int_equal(acquire(stripes, 0, 2, &key, 9, LONG_S, &wake).outcome, DFLOCKD_ERROR);
    fences_raise(stripes_fences(stripes), 5);
    assert_int_equal(acquire(stripes, 0, 2, &key, 9, LONG_S, &wake).outcome, LOCK_PENDING);
    destroy(stripes);
}

static void the_fence_worker_is_woken_once_when_fences_are_low(void **state)
{
    struct stripes *stripes = create_with_fences(WORKERS, 100, 0, 9);
    uint64_t wake = 0;

    (void)state;
    for (uint64_t grant = 1; grant <= 8; grant++) {
        char name[16];
        struct lock_key key;

        snprintf(name, sizeof(name), "key %u", (unsigned)grant);
        key = key_named(stripes, LOCK_KIND_LOCK, name);
        assert_int_equal(acquire(stripes, 0, 1, &key, 0, LONG_S, &wake).token.fence, grant);
        assert_int_equal(wake, grant == 4 ? 1 << STRIPES_FENCE_WORKER : 0);
        wake = 0;
    }
    destroy(stripes);
}

/* ---- workers to wake ---- */

static void an_effect_wakes_its_worker_only_when_its_mailbox_was_empty(void **state)
{
    struct stripes *stripes = create(WORKERS, 10, 0);
    struct lock_key j = key_named(stripes, LOCK_KIND_LOCK, "j");
    struct lock_key k = key_named(stripes, LOCK_KIND_LOCK, "k");
    uint64_t holder = connection_id_make(1, 0, 0);
    uint64_t waiter = connection_id_make(2, 2, 5);
    struct stripes_effect effects[3];
    struct lock_token first;
    struct lock_token second;
    uint64_t wake = 0;

    (void)state;
    first = acquire(stripes, 0, holder, &j, 0, LONG_S, &wake).token;
    second = acquire(stripes, 0, holder, &k, 0, LONG_S, &wake).token;
    assert_int_equal(acquire(stripes, 0, waiter, &j, 9, LONG_S, &wake).outcome, LOCK_PENDING);
    assert_int_equal(acquire(stripes, 0, waiter + 1, &k, 9, LONG_S, &wake).outcome, LOCK_PENDING);
    assert_int_equal(wake, 0);
    assert_int_equal(apply_to_stripes(stripes, 0, release_request(&j, first), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 1 << 2);
    wake = 0;
    assert_int_equal(apply_to_stripes(stripes, 0, release_request(&k, second), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 0);
    assert_int_equal(mailbox_take(stripes_mailbox(stripes, 0), effects, 3), 0);
    assert_int_equal(mailbox_take(stripes_mailbox(stripes, 2), effects, 3), 2);
    assert_int_equal(effects[0].connection_id, waiter);
    assert_int_equal(effects[1].connection_id, waiter + 1);
    assert_int_equal(effects[0].answer.outcome, DFLOCKD_OK);
    destroy(stripes);
}

static void an_earlier_deadline_wakes_the_home_that_sleeps_beyond_it(void **state)
{
    struct stripes *stripes = create(WORKERS, 10, 0);
    char name[16];
    char other_name[16];
    struct lock_key key = key_at_home(stripes, 3, name);
    struct lock_key other = key_at_home(stripes, 1, other_name);
    uint64_t wake = 0;
    struct lock_token token;

    (void)state;
    /* An awake worker computes its deadline before it sleeps. */
    token = acquire(stripes, 0, 1, &key, 0, 50, &wake).token;
    assert_int_equal(wake, 0);
    assert_true(stripes_sleep(stripes, 3, UINT64_MAX) == 50 * SECOND);
    assert_true(stripes_sleep(stripes, 1, UINT64_MAX) == UINT64_MAX);
    /* A later deadline, or one of another home. */
    assert_int_equal(apply_to_stripes(stripes, 0, renew_request(&key, token, 60), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 0);
    acquire(stripes, 0, 1, &other, 0, 70, &wake);
    assert_int_equal(wake, 1 << 1);
    wake = 0;
    /* An earlier deadline. */
    assert_int_equal(apply_to_stripes(stripes, 0, renew_request(&key, token, 10), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 1 << 3);
    wake = 0;
    stripes_awake(stripes, 3);
    assert_int_equal(apply_to_stripes(stripes, 0, renew_request(&key, token, 5), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 0);
    assert_true(stripes_sleep(stripes, 3, UINT64_MAX) == 5 * SECOND);
    destroy(stripes);
}

static void a_worker_that_wakes_in_time_is_not_woken(void **state)
{
    struct stripes *stripes = create(WORKERS, 10, 0);
    char name[16];
    struct lock_key key = key_at_home(stripes, 3, name);
    uint64_t wake = 0;
    struct lock_token token;

    (void)state;
    assert_true(stripes_sleep(stripes, 3, 20 * SECOND) == 20 * SECOND);
    token = acquire(stripes, 0, 1, &key, 0, 20, &wake).token;
    assert_int_equal(wake, 0);
    assert_int_equal(apply_to_stripes(stripes, 0, renew_request(&key, token, 19), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 1 << 3);
    assert_true(stripes_sleep(stripes, 3, 20 * SECOND) == 19 * SECOND);
    destroy(stripes);
}

static void a_worker_expires_only_its_home_stripes(void **state)
{
    struct stripes *stripes = create(WORKERS, 10, 0);
    char name[16];
    struct lock_key key = key_at_home(stripes, 2, name);
    struct stripes_effect effect;
    uint64_t wake = 0;

    (void)state;
    acquire(stripes, 0, connection_id_make(1, 0, 0), &key, 0, 5, &wake);
    acquire(stripes, 0, connection_id_make(2, 1, 0), &key, 99, 7, &wake);
    stripes_expire(stripes, 4 * SECOND, 2, STEPS, &wake);
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        if (worker != 2)
            stripes_expire(stripes, 5 * SECOND, worker, STEPS, &wake);
    }
    assert_int_equal(mailbox_take(stripes_mailbox(stripes, 1), &effect, 1), 0);
    stripes_expire(stripes, 5 * SECOND, 2, STEPS, &wake);
    assert_int_equal(wake, 1 << 1);
    assert_int_equal(mailbox_take(stripes_mailbox(stripes, 1), &effect, 1), 1);
    assert_int_equal(effect.connection_id, connection_id_make(2, 1, 0));
    assert_true(effect.answer.deadline_ns == 12 * SECOND);
    assert_true(stripes_sleep(stripes, 2, UINT64_MAX) == 12 * SECOND);
    destroy(stripes);
}

/* ---- workers' clocks: each has the time at which its turn began ---- */

static void show_idle(void *context, const struct lock_view *view)
{
    *(uint64_t *)context = view->idle_ns;
}

static void a_worker_that_is_behind_sees_no_idle_time_before_its_now(void **state)
{
    struct stripes *stripes = create(1, 10, 60);
    struct lock_key key = key_named(stripes, LOCK_KIND_LOCK, "k");
    uint64_t wake = 0;
    uint32_t stripe = 0;
    uint64_t position = 0;
    uint64_t idle_ns = UINT64_MAX;
    struct lock_token token = acquire(stripes, 10 * SECOND, 1, &key, 0, 30, &wake).token;

    (void)state;
    assert_int_equal(
        apply_to_stripes(stripes, 10 * SECOND, release_request(&key, token), &wake).outcome,
        DFLOCKD_OK);
    while (stripes_walk(stripes, 10 * SECOND - 1, (struct lock_walk){0}, &stripe, &position,
                        show_idle, &idle_ns))
        ;
    assert_true(idle_ns == 0);
    destroy(stripes);
}

static void the_invariants_hold_while_one_worker_is_behind(void **state)
{
    struct stripes *stripes = create(1, 10, 60);
    struct lock_key j = key_named(stripes, LOCK_KIND_LOCK, "j");
    struct lock_key k = key_named(stripes, LOCK_KIND_LOCK, "k");
    uint64_t wake = 0;
    struct lock_token first = acquire(stripes, SECOND, 1, &j, 0, 30, &wake).token;
    struct lock_token second = acquire(stripes, SECOND, 2, &k, 0, 30, &wake).token;

    (void)state;
    apply_to_stripes(stripes, 10 * SECOND, release_request(&j, first), &wake);
    apply_to_stripes(stripes, 10 * SECOND - 1, release_request(&k, second), &wake);
    check(stripes);
    destroy(stripes);
}

/* ---- threads ---- */

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
    _Atomic uint64_t numbers; /* of clients */
    _Atomic(const char *) failure;
    _Atomic int held[KEYS];       /* actual holders */
    uint64_t guarded[LOCKS];      /* only the holder of the lock changes it */
    uint64_t fence_before[LOCKS]; /* likewise */
};

static void note(struct hammer *hammer, bool holds, const char *failure)
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

static void wake_up_post(struct wake_up *wake_up)
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
            wake_up_post(&worker->hammer->workers[other].wake_up);
    }
    return wake >> worker->number & 1;
}

static void queue_remove(struct worker *worker, int key, int client)
{
    int kept = 0;

    for (int i = 0; i < worker->queued[key]; i++) {
        if (worker->queue[key][i] != client)
            worker->queue[key][kept++] = worker->queue[key][i];
    }
    worker->queued[key] = kept;
}

static void enter(struct worker *worker, struct client *client, const struct lock_answer *answer)
{
    struct hammer *hammer = worker->hammer;
    int key = client->key;
    int before = atomic_fetch_add(&hammer->held[key], 1);

    note(hammer, before < (int)limit_of(key), "more holders than slots");
    client->condition = HOLDING;
    client->token = answer->token;
    worker->grants[key]++;
    if (key < LOCKS) {
        hammer->guarded[key]++;
        note(hammer, answer->token.fence > hammer->fence_before[key], "a fence did not rise");
        hammer->fence_before[key] = answer->token.fence;
    }
}

static void leave(struct worker *worker, struct client *client)
{
    atomic_fetch_sub(&worker->hammer->held[client->key], 1);
    client->condition = IDLE;
}

static void start_client(struct worker *worker, int index)
{
    uint64_t number = 1 + atomic_fetch_add(&worker->hammer->numbers, 1);

    worker->clients[index].id = connection_id_make(number, worker->number, (uint32_t)index);
    worker->clients[index].condition = IDLE;
    worker->clients[index].stripes_used = 0;
}

static void ask(struct worker *worker, int index, uint64_t *wake)
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
            note(hammer, wait_s == 0, "a wait ended at once");
            return;
        }
    } else {
        answer = apply_to_stripes(hammer->stripes, now_ns,
                                  enqueue_request(client->id, at, limit_of(key), LONG_S), wake);
        note(hammer, answer.outcome == DFLOCKD_ACQUIRED || answer.outcome == DFLOCKD_QUEUED,
             "a strange answer to enqueue");
        answer =
            apply_to_stripes(hammer->stripes, now_ns, wait_request(client->id, at, LONG_S), wake);
    }
    if (answer.outcome == DFLOCKD_OK) {
        enter(worker, client, &answer);
    } else {
        note(hammer, answer.outcome == LOCK_PENDING, "a strange answer");
        client->condition = BLOCKED;
        worker->queue[key][worker->queued[key]++] = index;
    }
}

static uint32_t stripe_of(const struct hammer *hammer, const struct client *client)
{
    return stripes_index(hammer->stripes, &hammer->keys[client->key]);
}

static void vanish(struct worker *worker, int index, uint64_t *wake)
{
    struct client *client = &worker->clients[index];
    bool blocked = client->condition == BLOCKED;

    if (blocked)
        queue_remove(worker, client->key, index);
    else if (client->condition == HOLDING)
        leave(worker, client);
    for (uint64_t left = client->stripes_used; left; left &= left - 1) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(left);
        bool pending = blocked && stripe_of(worker->hammer, client) == stripe;

        while (!stripes_disconnect(worker->hammer->stripes, clock_ns(), client->id, stripe, pending,
                                   1, wake))
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
        vanish(worker, index, wake);
    } else if (draw == 1) {
        note(hammer,
             apply_to_stripes(hammer->stripes, clock_ns(), renew_request(at, client->token, LONG_S),
                              wake)
                     .outcome == DFLOCKD_OK,
             "a token that holds is not renewed");
    } else {
        leave(worker, client);
        note(hammer,
             apply_to_stripes(hammer->stripes, clock_ns(), release_request(at, client->token), wake)
                     .outcome == DFLOCKD_OK,
             "a token that holds is not released");
    }
}

static void step_blocked(struct worker *worker, int index, uint64_t *wake)
{
    struct client *client = &worker->clients[index];
    uint32_t draw = seeded_below(&worker->seeded, 64);

    if (draw == 0) {
        vanish(worker, index, wake);
    } else if (draw == 1 && stripes_cancel(worker->hammer->stripes, clock_ns(), client->id,
                                           stripe_of(worker->hammer, client), wake)) {
        queue_remove(worker, client->key, index);
        client->condition = IDLE;
    }
}

/* Returns whether the client can continue without an effect. */
static bool step(struct worker *worker, int index, uint64_t *wake)
{
    struct client *client = &worker->clients[index];

    switch (client->condition) {
    case IDLE:
        if (client->rounds == ROUNDS)
            client->condition = DONE;
        else
            ask(worker, index, wake);
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

        note(hammer, connection_id_worker(effect.connection_id) == worker->number,
             "another's effect");
        if (client->id != effect.connection_id)
            continue;
        note(hammer, client->condition == BLOCKED, "an effect for a client that does not wait");
        note(hammer, effect.answer.outcome == DFLOCKD_OK, "a wait ended without a grant");
        note(hammer, worker->queue[client->key][0] == index,
             "a client was granted before its turn");
        queue_remove(worker, client->key, index);
        enter(worker, client, &effect.answer);
    }
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct hammer *hammer = worker->hammer;

    while (!atomic_load(&hammer->failure)) {
        uint64_t wake = 0;
        bool busy = false;
        int done = 0;

        stripes_expire(hammer->stripes, clock_ns(), worker->number, STEPS, &wake);
        take_effects(worker);
        for (int i = 0; i < CLIENTS; i++) {
            busy |= step(worker, i, &wake);
            done += worker->clients[i].condition == DONE;
        }
        busy |= wake_workers(worker, wake);
        if (done == CLIENTS)
            break;
        if (busy)
            continue;
        note(hammer, fall_asleep(worker), "a wake-up was lost");
    }
    return NULL;
}

static void worker_start(struct hammer *hammer, uint32_t number, uint64_t seed)
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
static void count_idle(void *context, const struct lock_view *view)
{
    assert_int_equal(view->holders + view->waiters, 0);
    ++*(uint32_t *)context;
}

static uint32_t states_shown(struct stripes *stripes)
{
    uint32_t count = 0;
    uint32_t stripe = 0;
    uint64_t position = 0;

    while (stripes_walk(stripes, clock_ns(), (struct lock_walk){0}, &stripe, &position, count_idle,
                        &count))
        ;
    return count;
}

/* Runs `run` in a thread for each worker. Fails with the failure that a thread noted. */
static void run_threads(struct hammer *hammer, void *(*run)(void *))
{
    pthread_t threads[WORKERS];
    struct seeded seeded;

    seeded_init(&seeded, "test_stripes");
    for (uint32_t i = 0; i < WORKERS; i++)
        worker_start(hammer, i, seeded_next(&seeded));
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
    hammer.stripes = create(WORKERS, 100, gc_max_idle_s);
    for (int key = 0; key < KEYS; key++)
        hammer.keys[key] = key_named(
            hammer.stripes, key < LOCKS ? LOCK_KIND_LOCK : LOCK_KIND_SEMAPHORE, names[key]);
    run_threads(&hammer, work);
    for (int key = 0; key < KEYS; key++) {
        uint64_t grants = 0;

        for (uint32_t i = 0; i < WORKERS; i++)
            grants += hammer.workers[i].grants[key];
        assert_true(grants > ROUNDS);
        if (key < LOCKS)
            assert_int_equal(hammer.guarded[key], grants);
        assert_int_equal(atomic_load(&hammer.held[key]), 0);
    }
    assert_int_equal(states_shown(hammer.stripes), states_left);
    destroy(hammer.stripes);
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

static void *press_on_the_cap(void *context)
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
        answer = acquire(hammer->stripes, clock_ns(), id, &key, 0, LONG_S, &wake);
        if (answer.outcome != DFLOCKD_OK) {
            note(hammer, answer.outcome == DFLOCKD_ERROR_MAX_LOCKS, "a strange refusal");
            continue;
        }
        note(hammer, atomic_fetch_add(&hammer->held[0], 1) < CAP, "more states than the cap");
        worker->grants[0]++;
        atomic_fetch_sub(&hammer->held[0], 1);
        note(hammer,
             apply_to_stripes(hammer->stripes, clock_ns(), release_request(&key, answer.token),
                              &wake)
                     .outcome == DFLOCKD_OK,
             "a token that holds is not released");
    }
    return NULL;
}

static void the_cap_on_states_is_hard_for_all_threads_together(void **state)
{
    static struct hammer hammer;

    (void)state;
    memset(&hammer, 0, sizeof(hammer));
    hammer.stripes = create(WORKERS, CAP, 0);
    run_threads(&hammer, press_on_the_cap);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_true(hammer.workers[i].grants[0] > 0);
    assert_int_equal(states_shown(hammer.stripes), 0);
    destroy(hammer.stripes);
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

        stripes_expire(dates->hammer.stripes, clock_ns(), worker->number, STEPS, &wake);
        while (mailbox_take(stripes_mailbox(dates->hammer.stripes, worker->number), &effect, 1)) {
            int expected =
                connection_id_slot(effect.connection_id) % 2 ? DFLOCKD_TIMEOUT : DFLOCKD_OK;

            note(&dates->hammer, effect.answer.outcome == expected, "an unexpected effect");
            if (atomic_fetch_sub(&dates->left, 1) == 1)
                wake = (1 << WORKERS) - 1;
        }
        if (wake_workers(worker, wake))
            continue;
        note(&dates->hammer, fall_asleep(worker), "a worker slept past a deadline");
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
    dates.hammer.stripes = create(WORKERS, 100, 0);
    for (uint32_t i = 0; i < DATES; i++) {
        uint32_t lease_s = i % 2 ? LONG_S : 1;
        uint32_t wait_s = i % 2 ? 1 : LONG_S;

        snprintf(dates.names[i], sizeof(dates.names[i]), "date %u", i);
        dates.keys[i] = key_named(dates.hammer.stripes, LOCK_KIND_LOCK, dates.names[i]);
        acquire(dates.hammer.stripes, now_ns, connection_id_make(1000 + i, 0, i), &dates.keys[i], 0,
                lease_s, &wake);
        assert_int_equal(acquire(dates.hammer.stripes, now_ns,
                                 connection_id_make(2000 + i, i / 2 % WORKERS, i), &dates.keys[i],
                                 wait_s, LONG_S, &wake)
                             .outcome,
                         LOCK_PENDING);
    }
    atomic_store(&dates.left, DATES);
    run_threads(&dates.hammer, receive_effects);
    assert_int_equal(atomic_load(&dates.left), 0);
    destroy(dates.hammer.stripes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_keys_share_a_stripe_and_kinds_differ),
        cmocka_unit_test(each_table_has_its_own_hash_secret),
        cmocka_unit_test(salts_are_random_and_each_is_used_once),
        cmocka_unit_test(fences_are_promised_for_all_stripes_together),
        cmocka_unit_test(the_fence_worker_is_woken_once_when_fences_are_low),
        cmocka_unit_test(an_effect_wakes_its_worker_only_when_its_mailbox_was_empty),
        cmocka_unit_test(an_earlier_deadline_wakes_the_home_that_sleeps_beyond_it),
        cmocka_unit_test(a_worker_that_wakes_in_time_is_not_woken),
        cmocka_unit_test(a_worker_expires_only_its_home_stripes),
        cmocka_unit_test(a_worker_that_is_behind_sees_no_idle_time_before_its_now),
        cmocka_unit_test(the_invariants_hold_while_one_worker_is_behind),
        cmocka_unit_test(threads_exclude_each_other_and_every_wait_ends),
        cmocka_unit_test(threads_share_states_and_leave_none),
        cmocka_unit_test(the_cap_on_states_is_hard_for_all_threads_together),
        cmocka_unit_test(leases_and_waits_end_without_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
