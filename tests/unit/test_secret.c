/*
 * The secret of clients, and the time for which the previous one stays valid.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/time_units.h"
#include "server/secret.h"

enum {
    THREADS = 3,
    CHANGES = 2000
};

static bool secret_accepts(struct secret *secret, uint64_t now_ns, const char *text)
{
    return secret_matches(secret, now_ns, (const uint8_t *)text, strlen(text));
}

static void only_the_whole_secret_matches(void **state)
{
    struct secret secret;

    (void)state;
    secret_init(&secret, strdup("secret"));
    assert_true(secret_accepts(&secret, 1, "secret"));
    assert_false(secret_accepts(&secret, 1, "secre"));
    assert_false(secret_accepts(&secret, 1, "secrets"));
    assert_false(secret_accepts(&secret, 1, "Secret"));
    assert_false(secret_accepts(&secret, 1, ""));
    secret_free(&secret);
}

static void the_previous_secret_is_valid_until_its_time(void **state)
{
    struct secret secret;

    (void)state;
    secret_init(&secret, strdup("old"));
    assert_int_equal(secret_change(&secret, strdup("new"), 10 * NS_PER_S), SECRET_CHANGED);
    assert_true(secret_accepts(&secret, NS_PER_S, "new"));
    assert_true(secret_accepts(&secret, NS_PER_S, "old"));
    assert_true(secret_accepts(&secret, 10 * NS_PER_S - 1, "old"));
    assert_false(secret_accepts(&secret, 10 * NS_PER_S, "old"));
    assert_true(secret_accepts(&secret, 10 * NS_PER_S, "new"));
    secret_free(&secret);
}

static void only_the_last_previous_secret_stays_valid(void **state)
{
    struct secret secret;

    (void)state;
    secret_init(&secret, strdup("first"));
    secret_change(&secret, strdup("second"), 10 * NS_PER_S);
    secret_change(&secret, strdup("third"), 11 * NS_PER_S);
    assert_false(secret_accepts(&secret, NS_PER_S, "first"));
    assert_true(secret_accepts(&secret, NS_PER_S, "second"));
    assert_true(secret_accepts(&secret, NS_PER_S, "third"));
    secret_free(&secret);
}

static void the_same_secret_again_changes_nothing(void **state)
{
    struct secret secret;

    (void)state;
    secret_init(&secret, strdup("old"));
    secret_change(&secret, strdup("new"), 10 * NS_PER_S);
    assert_int_equal(secret_change(&secret, strdup("new"), 20 * NS_PER_S), SECRET_UNCHANGED);
    assert_true(secret_accepts(&secret, 9 * NS_PER_S, "old"));
    assert_false(secret_accepts(&secret, 10 * NS_PER_S, "old"));
    secret_free(&secret);
}

static void an_expired_secret_is_removed_from_memory(void **state)
{
    struct secret secret;

    (void)state;
    secret_init(&secret, strdup("old"));
    secret_change(&secret, strdup("new"), 10 * NS_PER_S);
    secret_expire(&secret, 10 * NS_PER_S - 1);
    assert_non_null(secret.previous);
    secret_expire(&secret, 10 * NS_PER_S);
    assert_null(secret.previous);
    assert_true(secret_accepts(&secret, 11 * NS_PER_S, "new"));
    secret_free(&secret);
    assert_null(secret.current);
}

static void *authenticate_repeatedly(void *context)
{
    struct secret *secret = context;
    uintptr_t refused = 0;

    /* Whichever of the two is current, the other one is the previous one. */
    for (int i = 0; i < CHANGES; i++)
        refused +=
            !secret_accepts(secret, NS_PER_S, "one") || !secret_accepts(secret, NS_PER_S, "two");
    return (void *)refused;
}

static void threads_authenticate_during_changes(void **state)
{
    pthread_t threads[THREADS];
    struct secret secret;

    (void)state;
    secret_init(&secret, strdup("one"));
    secret_change(&secret, strdup("two"), 10 * NS_PER_S);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, authenticate_repeatedly, &secret);
    for (int i = 0; i < CHANGES; i++)
        secret_change(&secret, strdup(i % 2 ? "two" : "one"), 10 * NS_PER_S);
    for (int i = 0; i < THREADS; i++) {
        void *refused;

        pthread_join(threads[i], &refused);
        assert_null(refused);
    }
    secret_free(&secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_whole_secret_matches),
        cmocka_unit_test(the_previous_secret_is_valid_until_its_time),
        cmocka_unit_test(only_the_last_previous_secret_stays_valid),
        cmocka_unit_test(the_same_secret_again_changes_nothing),
        cmocka_unit_test(an_expired_secret_is_removed_from_memory),
        cmocka_unit_test(threads_authenticate_during_changes),
    };

    return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
