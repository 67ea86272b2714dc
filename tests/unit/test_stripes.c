/*
 * Stripes in one thread: keys, tokens, fences, and the workers that must wake.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/mailbox.h"
#include "server/connection_id.h"
#include "stripes_fixture.h"

/* ---- keys ---- */

static void equal_keys_share_a_stripe_and_kinds_differ(void **state)
{
    struct stripes *stripes = create_stripes(WORKERS, 10, 0);
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
    destroy_stripes(stripes);
}

static void each_table_has_its_own_hash_secret(void **state)
{
    struct stripes *stripes = create_stripes(1, 10, 0);
    uint64_t first = key_named(stripes, LOCK_KIND_LOCK, "k").hash;

    (void)state;
    destroy_stripes(stripes);
    stripes = create_stripes(1, 10, 0);
    assert_true(key_named(stripes, LOCK_KIND_LOCK, "k").hash != first);
    destroy_stripes(stripes);
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
        struct stripes *stripes = create_stripes(1, 10, 0);
        struct lock_key key = key_named(stripes, LOCK_KIND_LOCK, "k");

        for (int grant = 0; grant < GRANTS; grant++) {
            struct lock_token token =
                acquire_in_stripes(stripes, 0, connection_id_make(1, 0, 0), &key, 0, LONG_S, &wake)
                    .token;

            salts[i * GRANTS + grant] = token.salt;
            any |= token.salt;
            all &= token.salt;
            assert_int_equal(
                apply_to_stripes(stripes, 0, release_request(&key, token), &wake).outcome,
                DFLOCKD_OK);
        }
        destroy_stripes(stripes);
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
    struct stripes *stripes = create_stripes_with_fences(WORKERS, 10, 0, 4);
    char name[16];
    char other_name[16];
    struct lock_key key = key_at_home(stripes, 1, name);
    struct lock_key other = key_at_home(stripes, 2, other_name);
    struct lock_token token;
    uint64_t wake = 0;

    (void)state;
    token = acquire_in_stripes(stripes, 0, 1, &key, 0, LONG_S, &wake).token;
    assert_int_equal(token.fence, 1);
    assert_int_equal(acquire_in_stripes(stripes, 0, 2, &key, 9, LONG_S, &wake).outcome,
                     LOCK_PENDING);
    assert_int_equal(acquire_in_stripes(stripes, 0, 1, &other, 0, LONG_S, &wake).token.fence, 2);
    assert_int_equal(acquire_in_stripes(stripes, 0, 3, &other, 9, LONG_S, &wake).outcome,
                     DFLOCKD_ERROR);
    check_stripes(stripes);
    assert_true(stripes_cancel(stripes, 0, 2, stripes_index(stripes, &key), &wake));
    check_stripes(stripes);
    assert_int_equal(acquire_in_stripes(stripes, 0, 3, &other, 9, LONG_S, &wake).outcome,
                     LOCK_PENDING);
    assert_int_equal(acquire_in_stripes(stripes, 0, 2, &key, 9, LONG_S, &wake).outcome,
                     DFLOCKD_ERROR);
    fences_raise(stripes_fences(stripes), 5);
    assert_int_equal(acquire_in_stripes(stripes, 0, 2, &key, 9, LONG_S, &wake).outcome,
                     LOCK_PENDING);
    destroy_stripes(stripes);
}

static void the_fence_worker_is_woken_once_when_fences_are_low(void **state)
{
    struct stripes *stripes = create_stripes_with_fences(WORKERS, 100, 0, 9);
    uint64_t wake = 0;

    (void)state;
    for (uint64_t grant = 1; grant <= 8; grant++) {
        char name[16];
        struct lock_key key;

        snprintf(name, sizeof(name), "key %u", (unsigned)grant);
        key = key_named(stripes, LOCK_KIND_LOCK, name);
        assert_int_equal(acquire_in_stripes(stripes, 0, 1, &key, 0, LONG_S, &wake).token.fence,
                         grant);
        assert_int_equal(wake, grant == 4 ? 1 << STRIPES_FENCE_WORKER : 0);
        wake = 0;
    }
    destroy_stripes(stripes);
}

/* ---- workers to wake ---- */

/* ---- claims ---- */

enum {
    MANY_CLAIMS = 8192
};

/* Takes slots of a new semaphore until the cap refuses one. Returns the grants. */
static uint32_t fill_with_claims(struct stripes *stripes, uint64_t client, const char *name)
{
    struct lock_key key = key_named(stripes, LOCK_KIND_SEMAPHORE, name);
    struct lock_answer answer;
    uint32_t grants = 0;
    uint64_t wake = 0;

    for (;;) {
        answer = apply_to_stripes(stripes, 0, acquire_request(client, &key, MANY_CLAIMS * 2, 0, 9),
                                  &wake);
        if (answer.outcome != DFLOCKD_OK)
            break;
        grants++;
    }
    assert_int_equal(answer.outcome, DFLOCKD_ERROR_MAX_LOCKS);
    assert_int_equal(stripes_claims(stripes, client, stripes_index(stripes, &key)), grants);
    assert_true(stripes_holds(stripes, client, stripes_index(stripes, &key)));
    return grants;
}

static void other_stripes_keep_at_most_3_percent_of_the_claims(void **state)
{
    struct stripes *stripes = create_stripes_from((struct stripes_options){
        .workers = WORKERS, .states_max = 10000, .claims_max = MANY_CLAIMS});
    uint64_t wake = 0;
    char name[16];

    (void)state;
    assert_int_equal(fill_with_claims(stripes, 1, "k"), MANY_CLAIMS);
    for (uint32_t stripe = 0; stripe < WORKERS * 8; stripe++)
        stripes_disconnect(stripes, 0, 1, stripe, false, &(uint32_t){UINT32_MAX}, &wake);
    for (int i = 0; i < 1000; i++) {
        struct lock_key key;

        snprintf(name, sizeof(name), "k%d", i);
        key = key_named(stripes, LOCK_KIND_LOCK, name);
        assert_int_equal(acquire_in_stripes(stripes, 0, 2, &key, 0, LONG_S, &wake).outcome,
                         DFLOCKD_OK);
    }
    for (uint32_t stripe = 0; stripe < WORKERS * 8; stripe++)
        stripes_disconnect(stripes, 0, 2, stripe, false, &(uint32_t){UINT32_MAX}, &wake);
    assert_in_range(fill_with_claims(stripes, 3, "k"), MANY_CLAIMS - MANY_CLAIMS / 32, MANY_CLAIMS);
    destroy_stripes(stripes);
}

static void a_small_cap_on_claims_is_exact_in_all_stripes(void **state)
{
    struct stripes *stripes = create_stripes_from(
        (struct stripes_options){.workers = WORKERS, .states_max = 10000, .claims_max = 100});
    uint64_t wake = 0;
    char name[16];

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i <= 100; i++) {
            struct lock_key key;

            snprintf(name, sizeof(name), "k%d", i);
            key = key_named(stripes, LOCK_KIND_LOCK, name);
            assert_int_equal(acquire_in_stripes(stripes, 0, 1, &key, 0, LONG_S, &wake).outcome,
                             i < 100 ? DFLOCKD_OK : DFLOCKD_ERROR_MAX_LOCKS);
        }
        check_stripes(stripes);
        for (uint32_t stripe = 0; stripe < WORKERS * 8; stripe++)
            stripes_disconnect(stripes, 0, 1, stripe, false, &(uint32_t){UINT32_MAX}, &wake);
    }
    destroy_stripes(stripes);
}

static void an_effect_wakes_its_worker_only_when_its_mailbox_was_empty(void **state)
{
    struct stripes *stripes = create_stripes(WORKERS, 10, 0);
    struct lock_key j = key_named(stripes, LOCK_KIND_LOCK, "j");
    struct lock_key k = key_named(stripes, LOCK_KIND_LOCK, "k");
    uint64_t holder = connection_id_make(1, 0, 0);
    uint64_t waiter = connection_id_make(2, 2, 5);
    struct stripes_effect effects[3];
    struct lock_token first;
    struct lock_token second;
    uint64_t wake = 0;

    (void)state;
    first = acquire_in_stripes(stripes, 0, holder, &j, 0, LONG_S, &wake).token;
    second = acquire_in_stripes(stripes, 0, holder, &k, 0, LONG_S, &wake).token;
    assert_int_equal(acquire_in_stripes(stripes, 0, waiter, &j, 9, LONG_S, &wake).outcome,
                     LOCK_PENDING);
    assert_int_equal(acquire_in_stripes(stripes, 0, waiter + 1, &k, 9, LONG_S, &wake).outcome,
                     LOCK_PENDING);
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
    destroy_stripes(stripes);
}

static void an_earlier_deadline_wakes_the_home_that_sleeps_beyond_it(void **state)
{
    struct stripes *stripes = create_stripes(WORKERS, 10, 0);
    char name[16];
    char other_name[16];
    struct lock_key key = key_at_home(stripes, 3, name);
    struct lock_key other = key_at_home(stripes, 1, other_name);
    uint64_t wake = 0;
    struct lock_token token;

    (void)state;
    /* An awake worker computes its deadline before it sleeps. */
    token = acquire_in_stripes(stripes, 0, 1, &key, 0, 50, &wake).token;
    assert_int_equal(wake, 0);
    assert_true(stripes_sleep(stripes, 3, UINT64_MAX) == 50 * SECOND);
    assert_true(stripes_sleep(stripes, 1, UINT64_MAX) == UINT64_MAX);
    /* A later deadline, or one of another home. */
    assert_int_equal(apply_to_stripes(stripes, 0, renew_request(&key, token, 60), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 0);
    acquire_in_stripes(stripes, 0, 1, &other, 0, 70, &wake);
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
    destroy_stripes(stripes);
}

static void a_worker_that_wakes_in_time_is_not_woken(void **state)
{
    struct stripes *stripes = create_stripes(WORKERS, 10, 0);
    char name[16];
    struct lock_key key = key_at_home(stripes, 3, name);
    uint64_t wake = 0;
    struct lock_token token;

    (void)state;
    assert_true(stripes_sleep(stripes, 3, 20 * SECOND) == 20 * SECOND);
    token = acquire_in_stripes(stripes, 0, 1, &key, 0, 20, &wake).token;
    assert_int_equal(wake, 0);
    assert_int_equal(apply_to_stripes(stripes, 0, renew_request(&key, token, 19), &wake).outcome,
                     DFLOCKD_OK);
    assert_int_equal(wake, 1 << 3);
    assert_true(stripes_sleep(stripes, 3, 20 * SECOND) == 19 * SECOND);
    destroy_stripes(stripes);
}

static void a_worker_expires_only_its_home_stripes(void **state)
{
    struct stripes *stripes = create_stripes(WORKERS, 10, 0);
    char name[16];
    struct lock_key key = key_at_home(stripes, 2, name);
    struct stripes_effect effect;
    uint64_t wake = 0;

    (void)state;
    acquire_in_stripes(stripes, 0, connection_id_make(1, 0, 0), &key, 0, 5, &wake);
    acquire_in_stripes(stripes, 0, connection_id_make(2, 1, 0), &key, 99, 7, &wake);
    stripes_expire(stripes, 4 * SECOND, 2, &(uint32_t){STEPS}, &wake);
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        if (worker != 2)
            stripes_expire(stripes, 5 * SECOND, worker, &(uint32_t){STEPS}, &wake);
    }
    assert_int_equal(mailbox_take(stripes_mailbox(stripes, 1), &effect, 1), 0);
    stripes_expire(stripes, 5 * SECOND, 2, &(uint32_t){STEPS}, &wake);
    assert_int_equal(wake, 1 << 1);
    assert_int_equal(mailbox_take(stripes_mailbox(stripes, 1), &effect, 1), 1);
    assert_int_equal(effect.connection_id, connection_id_make(2, 1, 0));
    assert_true(effect.answer.deadline_ns == 12 * SECOND);
    assert_true(stripes_sleep(stripes, 2, UINT64_MAX) == 12 * SECOND);
    destroy_stripes(stripes);
}

/* ---- workers' clocks: each has the time at which its turn began ---- */

static void read_idle_time(void *context, const struct lock_view *view)
{
    *(uint64_t *)context = view->idle_ns;
}

static void each_home_wakes_at_the_end_of_a_pause(void **state)
{
    struct stripes *stripes = create_stripes_from((struct stripes_options){
        .workers = WORKERS, .states_max = 1000, .policy.grant_from_ns = 7 * SECOND});
    uint64_t wake = 0;
    char name[16];

    (void)state;
    for (uint32_t home = 0; home < WORKERS; home++) {
        struct lock_key key = key_at_home(stripes, home, name);

        assert_true(stripes_sleep(stripes, home, UINT64_MAX) == 7 * SECOND);
        assert_int_equal(acquire_in_stripes(stripes, SECOND, 1, &key, 0, 30, &wake).outcome,
                         DFLOCKD_TIMEOUT);
        stripes_expire(stripes, 7 * SECOND, home, &(uint32_t){STEPS}, &wake);
        assert_int_equal(acquire_in_stripes(stripes, 7 * SECOND, 1, &key, 0, 30, &wake).outcome,
                         DFLOCKD_OK);
    }
    destroy_stripes(stripes);
}

static void a_worker_that_is_behind_sees_no_idle_time_before_its_now(void **state)
{
    struct stripes *stripes = create_stripes(1, 10, 60);
    struct lock_key key = key_named(stripes, LOCK_KIND_LOCK, "k");
    uint64_t wake = 0;
    uint32_t stripe = 0;
    uint64_t position = 0;
    uint64_t idle_ns = UINT64_MAX;
    struct lock_token token = acquire_in_stripes(stripes, 10 * SECOND, 1, &key, 0, 30, &wake).token;

    (void)state;
    assert_int_equal(
        apply_to_stripes(stripes, 10 * SECOND, release_request(&key, token), &wake).outcome,
        DFLOCKD_OK);
    while (stripes_walk(stripes, 10 * SECOND - 1, (struct lock_walk){0}, &stripe, &position,
                        &(uint32_t){64}, read_idle_time, &idle_ns))
        ;
    assert_true(idle_ns == 0);
    destroy_stripes(stripes);
}

static void the_invariants_hold_while_one_worker_is_behind(void **state)
{
    struct stripes *stripes = create_stripes(1, 10, 60);
    struct lock_key j = key_named(stripes, LOCK_KIND_LOCK, "j");
    struct lock_key k = key_named(stripes, LOCK_KIND_LOCK, "k");
    uint64_t wake = 0;
    struct lock_token first = acquire_in_stripes(stripes, SECOND, 1, &j, 0, 30, &wake).token;
    struct lock_token second = acquire_in_stripes(stripes, SECOND, 2, &k, 0, 30, &wake).token;

    (void)state;
    apply_to_stripes(stripes, 10 * SECOND, release_request(&j, first), &wake);
    apply_to_stripes(stripes, 10 * SECOND - 1, release_request(&k, second), &wake);
    check_stripes(stripes);
    destroy_stripes(stripes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_keys_share_a_stripe_and_kinds_differ),
        cmocka_unit_test(each_table_has_its_own_hash_secret),
        cmocka_unit_test(salts_are_random_and_each_is_used_once),
        cmocka_unit_test(fences_are_promised_for_all_stripes_together),
        cmocka_unit_test(the_fence_worker_is_woken_once_when_fences_are_low),
        cmocka_unit_test(other_stripes_keep_at_most_3_percent_of_the_claims),
        cmocka_unit_test(a_small_cap_on_claims_is_exact_in_all_stripes),
        cmocka_unit_test(an_effect_wakes_its_worker_only_when_its_mailbox_was_empty),
        cmocka_unit_test(an_earlier_deadline_wakes_the_home_that_sleeps_beyond_it),
        cmocka_unit_test(a_worker_that_wakes_in_time_is_not_woken),
        cmocka_unit_test(a_worker_expires_only_its_home_stripes),
        cmocka_unit_test(each_home_wakes_at_the_end_of_a_pause),
        cmocka_unit_test(a_worker_that_is_behind_sees_no_idle_time_before_its_now),
        cmocka_unit_test(the_invariants_hold_while_one_worker_is_behind),
    };

    return cmocka_run_group_tests_name("stripes", tests, NULL, NULL);
}
