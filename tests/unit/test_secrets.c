/*
 * The secrets of clients and administrators, and the time for which previous ones stay valid.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/time_units.h"
#include "server/secrets.h"

enum {
    THREADS = 3,
    CHANGES = 2000
};

enum {
    CLIENT = 1 << SECRETS_CLIENT,
    ADMINISTRATOR = 1 << SECRETS_ADMINISTRATOR
};

/* NULL: the role has no secret. */
static void set_secrets(struct secrets *secrets, const char *client, const char *administrator)
{
    char *tokens[SECRETS_ROLES] = {
        [SECRETS_CLIENT] = client ? strdup(client) : NULL,
        [SECRETS_ADMINISTRATOR] = administrator ? strdup(administrator) : NULL,
    };

    secrets_init(secrets, tokens);
}

/* Returns the roles of `text` as bits. */
static unsigned match(struct secrets *secrets, uint64_t now_ns, const char *text)
{
    return secrets_match(secrets, now_ns, (const uint8_t *)text, strlen(text));
}

static bool accepts_client(struct secrets *secrets, uint64_t now_ns, const char *text)
{
    return match(secrets, now_ns, text) == CLIENT;
}

/* Changes a secret one second after 0. */
static enum secrets_change change(struct secrets *secrets, enum secrets_role role, const char *text,
                                  uint64_t previous_until_ns)
{
    return secrets_change(secrets, role, strdup(text), NS_PER_S, previous_until_ns);
}

static void only_the_whole_secret_matches(void **state)
{
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "secret", NULL);
    assert_true(accepts_client(&secrets, 1, "secret"));
    assert_false(accepts_client(&secrets, 1, "secre"));
    assert_false(accepts_client(&secrets, 1, "secrets"));
    assert_false(accepts_client(&secrets, 1, "Secret"));
    assert_false(accepts_client(&secrets, 1, ""));
    secrets_free(&secrets);
}

static void the_previous_secret_is_valid_until_its_time(void **state)
{
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "old", NULL);
    assert_int_equal(change(&secrets, SECRETS_CLIENT, "new", 10 * NS_PER_S), SECRETS_CHANGED);
    assert_true(accepts_client(&secrets, NS_PER_S, "new"));
    assert_true(accepts_client(&secrets, NS_PER_S, "old"));
    assert_true(accepts_client(&secrets, 10 * NS_PER_S - 1, "old"));
    assert_false(accepts_client(&secrets, 10 * NS_PER_S, "old"));
    assert_true(accepts_client(&secrets, 10 * NS_PER_S, "new"));
    secrets_free(&secrets);
}

static void only_the_last_previous_secret_stays_valid(void **state)
{
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "first", NULL);
    change(&secrets, SECRETS_CLIENT, "second", 10 * NS_PER_S);
    change(&secrets, SECRETS_CLIENT, "third", 11 * NS_PER_S);
    assert_false(accepts_client(&secrets, NS_PER_S, "first"));
    assert_true(accepts_client(&secrets, NS_PER_S, "second"));
    assert_true(accepts_client(&secrets, NS_PER_S, "third"));
    secrets_free(&secrets);
}

static void the_same_secret_again_changes_nothing(void **state)
{
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "old", NULL);
    change(&secrets, SECRETS_CLIENT, "new", 10 * NS_PER_S);
    assert_int_equal(change(&secrets, SECRETS_CLIENT, "new", 20 * NS_PER_S), SECRETS_UNCHANGED);
    assert_true(accepts_client(&secrets, 9 * NS_PER_S, "old"));
    assert_false(accepts_client(&secrets, 10 * NS_PER_S, "old"));
    secrets_free(&secrets);
}

static void an_expired_secret_is_removed_from_memory(void **state)
{
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "old", NULL);
    change(&secrets, SECRETS_CLIENT, "new", 10 * NS_PER_S);
    assert_int_equal(secrets_expire(&secrets, 10 * NS_PER_S - 1), 10 * NS_PER_S);
    assert_non_null(secrets.of[SECRETS_CLIENT].previous);
    assert_true(secrets_expire(&secrets, 10 * NS_PER_S) == UINT64_MAX);
    assert_null(secrets.of[SECRETS_CLIENT].previous);
    assert_true(accepts_client(&secrets, 11 * NS_PER_S, "new"));
    secrets_free(&secrets);
    assert_null(secrets.of[SECRETS_CLIENT].current);
}

static void each_secret_gives_its_role(void **state)
{
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "client", "admin");
    assert_true(secrets_has(&secrets, SECRETS_CLIENT));
    assert_true(secrets_has(&secrets, SECRETS_ADMINISTRATOR));
    assert_int_equal(match(&secrets, 1, "client"), CLIENT);
    assert_int_equal(match(&secrets, 1, "admin"), ADMINISTRATOR);
    assert_int_equal(match(&secrets, 1, "other"), 0);
    secrets_free(&secrets);
}

static void a_role_without_a_secret_matches_nothing(void **state)
{
    struct secrets secrets;

    (void)state;
    assert_false(secrets_has(NULL, SECRETS_CLIENT));
    set_secrets(&secrets, NULL, "admin");
    assert_false(secrets_has(&secrets, SECRETS_CLIENT));
    assert_int_equal(match(&secrets, 1, "admin"), ADMINISTRATOR);
    assert_int_equal(match(&secrets, 1, ""), 0);
    secrets_free(&secrets);
    set_secrets(&secrets, "client", NULL);
    assert_false(secrets_has(&secrets, SECRETS_ADMINISTRATOR));
    assert_int_equal(match(&secrets, 1, "client"), CLIENT);
    assert_int_equal(match(&secrets, 1, ""), 0);
    secrets_free(&secrets);
}

static void each_role_has_its_own_previous_secret(void **state)
{
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "client", "admin");
    assert_int_equal(change(&secrets, SECRETS_ADMINISTRATOR, "admin2", 10 * NS_PER_S),
                     SECRETS_CHANGED);
    assert_int_equal(change(&secrets, SECRETS_CLIENT, "client2", 20 * NS_PER_S), SECRETS_CHANGED);
    assert_int_equal(match(&secrets, NS_PER_S, "admin"), ADMINISTRATOR);
    assert_int_equal(match(&secrets, NS_PER_S, "admin2"), ADMINISTRATOR);
    assert_int_equal(match(&secrets, NS_PER_S, "client"), CLIENT);
    assert_int_equal(match(&secrets, NS_PER_S, "client2"), CLIENT);
    assert_true(secrets_expire(&secrets, NS_PER_S) == 10 * NS_PER_S);
    assert_true(secrets_expire(&secrets, 10 * NS_PER_S) == 20 * NS_PER_S);
    assert_null(secrets.of[SECRETS_ADMINISTRATOR].previous);
    assert_int_equal(match(&secrets, 10 * NS_PER_S, "admin"), 0);
    assert_int_equal(match(&secrets, 10 * NS_PER_S, "client"), CLIENT);
    assert_true(secrets_expire(&secrets, 20 * NS_PER_S) == UINT64_MAX);
    assert_int_equal(match(&secrets, 20 * NS_PER_S, "client"), 0);
    secrets_free(&secrets);
}

static void a_secret_of_the_other_role_is_refused(void **state)
{
    (void)state;
    for (int role = 0; role < SECRETS_ROLES; role++) {
        enum secrets_role own = (enum secrets_role)role;
        enum secrets_role other = (enum secrets_role)(SECRETS_ROLES - 1 - role);
        const char *own_name = own == SECRETS_CLIENT ? "client" : "admin";
        const char *other_name = own == SECRETS_CLIENT ? "admin" : "client";
        struct secrets secrets;

        set_secrets(&secrets, "client", "admin");
        assert_int_equal(change(&secrets, own, other_name, 10 * NS_PER_S), SECRETS_OF_OTHER);
        assert_null(secrets.of[own].previous);
        assert_int_equal(match(&secrets, NS_PER_S, other_name), 1 << other);

        /* The previous secret of the other role, while it is valid. */
        assert_int_equal(change(&secrets, other, "new", 10 * NS_PER_S), SECRETS_CHANGED);
        assert_int_equal(change(&secrets, own, other_name, 10 * NS_PER_S), SECRETS_OF_OTHER);
        assert_int_equal(match(&secrets, NS_PER_S, other_name), 1 << other);
        assert_int_equal(match(&secrets, NS_PER_S, own_name), 1 << own);
        assert_int_equal(
            secrets_change(&secrets, own, strdup(other_name), 10 * NS_PER_S, 20 * NS_PER_S),
            SECRETS_CHANGED);
        assert_int_equal(match(&secrets, 10 * NS_PER_S, other_name), 1 << own);
        secrets_free(&secrets);
    }
}

static void *authenticate_repeatedly(void *context)
{
    struct secrets *secrets = context;
    uintptr_t refused = 0;

    /* Whichever of the two is current, the other one is the previous one. */
    for (int i = 0; i < CHANGES; i++)
        refused +=
            !accepts_client(secrets, NS_PER_S, "one") || !accepts_client(secrets, NS_PER_S, "two");
    return (void *)refused;
}

static void threads_authenticate_during_changes(void **state)
{
    pthread_t threads[THREADS];
    struct secrets secrets;

    (void)state;
    set_secrets(&secrets, "one", "admin");
    change(&secrets, SECRETS_CLIENT, "two", 10 * NS_PER_S);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, authenticate_repeatedly, &secrets);
    for (int i = 0; i < CHANGES; i++)
        change(&secrets, SECRETS_CLIENT, i % 2 ? "two" : "one", 10 * NS_PER_S);
    for (int i = 0; i < THREADS; i++) {
        void *refused;

        pthread_join(threads[i], &refused);
        assert_null(refused);
    }
    secrets_free(&secrets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_whole_secret_matches),
        cmocka_unit_test(the_previous_secret_is_valid_until_its_time),
        cmocka_unit_test(only_the_last_previous_secret_stays_valid),
        cmocka_unit_test(the_same_secret_again_changes_nothing),
        cmocka_unit_test(an_expired_secret_is_removed_from_memory),
        cmocka_unit_test(each_secret_gives_its_role),
        cmocka_unit_test(a_role_without_a_secret_matches_nothing),
        cmocka_unit_test(each_role_has_its_own_previous_secret),
        cmocka_unit_test(a_secret_of_the_other_role_is_refused),
        cmocka_unit_test(threads_authenticate_during_changes),
    };

    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
