/*
 * The secrets of both roles: the precedence of their four sources, their trimming, and refusals
 * that do not reveal them. Two secrets that are equal are refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockd/protocol.h"
#include "options_fixture.h"

/* The sources of a token; the first one that is set wins. */
enum source {
    BY_FLAG,
    BY_FILE_FLAG,
    BY_VARIABLE,
    BY_FILE_VARIABLE,
    SOURCES
};

static const char *const names_of[SECRETS_ROLES][SOURCES] = {
    [SECRETS_CLIENT] =
        {
            [BY_FLAG] = "--auth-token",
            [BY_FILE_FLAG] = "--auth-token-file",
            [BY_VARIABLE] = PREFIX "AUTH_TOKEN",
            [BY_FILE_VARIABLE] = PREFIX "AUTH_TOKEN_FILE",
        },
    [SECRETS_ADMINISTRATOR] =
        {
            [BY_FLAG] = "--admin-token",
            [BY_FILE_FLAG] = "--admin-token-file",
            [BY_VARIABLE] = PREFIX "ADMIN_TOKEN",
            [BY_FILE_VARIABLE] = PREFIX "ADMIN_TOKEN_FILE",
        },
};

/* Of the running test. */
static enum secrets_role role;
static const char *const *source_names;

static int set_role(void **state)
{
    role = (enum secrets_role)(uintptr_t)*state;
    source_names = names_of[role];
    return 0;
}

static bool from_file(enum source source)
{
    return source == BY_FILE_FLAG || source == BY_FILE_VARIABLE;
}

/* Arguments and variables of one reading that has a token. */
struct invocation {
    const char *arguments[GIVEN_MAX + 1];
    size_t count;
    char paths[GIVEN_MAX][64]; /* of files to remove */
    size_t path_count;
};

static void invocation_begin(struct invocation *invocation)
{
    clear_variables();
    memset(invocation, 0, sizeof(*invocation));
}

static void give_text(struct invocation *invocation, enum source source, const char *text)
{
    if (source == BY_VARIABLE || source == BY_FILE_VARIABLE) {
        set_variable(source_names[source] + strlen(PREFIX), text);
    } else {
        invocation->arguments[invocation->count++] = source_names[source];
        invocation->arguments[invocation->count++] = text;
    }
}

/* Sets the token itself, or a file that holds it. */
static void pass_token(struct invocation *invocation, enum source source, const void *token,
                       size_t length)
{
    char *path;
    int file;

    if (!from_file(source)) {
        give_text(invocation, source, token);
        return;
    }
    path = invocation->paths[invocation->path_count++];
    strcpy(path, "/tmp/dflockd-test-options-XXXXXX");
    file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, token, length), length);
    close(file);
    give_text(invocation, source, path);
}

static void invocation_read(struct invocation *invocation, struct reading *reading)
{
    read_arguments(reading, invocation->arguments);
    while (invocation->path_count > 0)
        unlink(invocation->paths[--invocation->path_count]);
}

static void read_token(struct reading *reading, enum source source, const void *token,
                       size_t length)
{
    struct invocation invocation;

    invocation_begin(&invocation);
    pass_token(&invocation, source, token, length);
    invocation_read(&invocation, reading);
}

static void assert_token(enum source source, const char *given, const char *token)
{
    struct reading r;

    read_token(&r, source, given, strlen(given));
    assert_result(&r, OPTIONS_RUN, source_names[source]);
    assert_non_null(r.options.secrets[role].token);
    assert_string_equal(r.options.secrets[role].token, token);
    options_free(&r.options);
    assert_null(r.options.secrets[role].token);
}

static void assert_token_refused(enum source source, const void *token, size_t length)
{
    struct reading r;

    read_token(&r, source, token, length);
    assert_null(r.options.secrets[role].token);
    assert_null(strstr(r.problem, "hidden"));
    assert_wrong(&r, source_names[source]);
}

static void the_first_source_of_a_token_wins(void **state)
{
    static const char *const tokens[SOURCES] = {"one", "two", "three", "four"};

    (void)state;
    for (unsigned given = 0; given < 1U << SOURCES; given++) {
        struct invocation invocation;
        struct reading r;
        const char *expected = NULL;

        invocation_begin(&invocation);
        for (int source = SOURCES - 1; source >= 0; source--) {
            if (given >> source & 1) {
                pass_token(&invocation, (enum source)source, tokens[source],
                           strlen(tokens[source]));
                expected = tokens[source];
            }
        }
        invocation_read(&invocation, &r);
        assert_result(&r, OPTIONS_RUN, "auth token");
        if (expected) {
            assert_non_null(r.options.secrets[role].token);
            assert_string_equal(r.options.secrets[role].token, expected);
        } else {
            assert_null(r.options.secrets[role].token);
        }
        options_free(&r.options);
    }
}

static void a_source_of_lower_precedence_is_not_read(void **state)
{
    (void)state;
    for (int winner = 0; winner < SOURCES; winner++) {
        for (int loser = winner + 1; loser < SOURCES; loser++) {
            struct invocation invocation;
            struct reading r;

            invocation_begin(&invocation);
            pass_token(&invocation, (enum source)winner, "token", strlen("token"));
            give_text(&invocation, (enum source)loser,
                      from_file((enum source)loser) ? "/nonexistent/file" : "two\nlines");
            invocation_read(&invocation, &r);
            assert_result(&r, OPTIONS_RUN, source_names[winner]);
            assert_string_equal(r.options.secrets[role].token, "token");
            options_free(&r.options);
        }
    }
}

static void blanks_around_a_token_are_removed_and_others_kept(void **state)
{
    (void)state;
    for (int source = 0; source < SOURCES; source++) {
        assert_token((enum source)source, "secret", "secret");
        assert_token((enum source)source, " \t secret \t ", "secret");
        assert_token((enum source)source, "secret\n", "secret");
        assert_token((enum source)source, "secret\r\n", "secret");
        assert_token((enum source)source, "\n\nsecret\n\n", "secret");
        assert_token((enum source)source, "two  words\tand\xff more", "two  words\tand\xff more");
    }
}

/* `auth` trims these too, so clients could not send them. */
static void a_token_is_trimmed_as_by_auth(void **state)
{
    (void)state;
    for (int source = 0; source < SOURCES; source++)
        assert_token((enum source)source, "\v\fsecret\f\v", "secret");
}

static void an_empty_token_is_refused_by_name(void **state)
{
    static const char *const tokens[] = {" ", "\t", "\n", "\r\n", " \t\r\n "};

    (void)state;
    for (int source = 0; source < SOURCES; source++) {
        for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
            assert_token_refused((enum source)source, tokens[i], strlen(tokens[i]));
    }
    assert_token_refused(BY_FLAG, "", 0);
    assert_token_refused(BY_FILE_FLAG, "", 0);
    assert_token_refused(BY_FILE_VARIABLE, "", 0);
}

static void a_token_of_two_lines_is_refused_by_name(void **state)
{
    static const char *const tokens[] = {"hidden\nhidden", "hidden\r\nhidden", "\nhidden\n\nx\n"};

    (void)state;
    for (int source = 0; source < SOURCES; source++) {
        for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
            assert_token_refused((enum source)source, tokens[i], strlen(tokens[i]));
    }
}

static void a_token_file_with_a_nul_within_is_refused_by_name(void **state)
{
    static const char token[] = "hidden\0hidden\n";

    (void)state;
    assert_token_refused(BY_FILE_FLAG, token, sizeof(token) - 1);
    assert_token_refused(BY_FILE_VARIABLE, token, sizeof(token) - 1);
}

/* It is no blank, and not to be dropped in silence. */
static void a_token_file_with_a_nul_at_an_end_is_refused_by_name(void **state)
{
    (void)state;
    assert_token_refused(BY_FILE_FLAG, "hidden\0", 7);
    assert_token_refused(BY_FILE_FLAG, "\0secret", 7);
    assert_token_refused(BY_FILE_VARIABLE, "hidden\0\n", 8);
}

static void a_token_of_more_than_64_kib_is_refused(void **state)
{
    static char token[DFLOCKD_AUTH_LINE_MAX + 8];

    (void)state;
    for (int source = 0; source < SOURCES; source++) {
        memset(token, 's', sizeof(token));
        token[DFLOCKD_AUTH_LINE_MAX] = '\0';
        assert_token((enum source)source, token, token);
        token[DFLOCKD_AUTH_LINE_MAX] = 's';
        token[DFLOCKD_AUTH_LINE_MAX + 1] = '\0';
        assert_token_refused((enum source)source, token, strlen(token));
    }
}

/* A part of a token is another token. */
static void a_token_file_is_read_completely_or_refused(void **state)
{
    static char token[2 * DFLOCKD_AUTH_LINE_MAX];

    (void)state;
    memset(token, 's', sizeof(token));
    memset(token, ' ', 5);
    assert_token_refused(BY_FILE_FLAG, token, sizeof(token));
    memset(token, ' ', sizeof(token));
    token[0] = 's';
    token[sizeof(token) - 1] = 's';
    assert_token_refused(BY_FILE_FLAG, token, sizeof(token));
}

static void a_token_file_that_cannot_be_read_is_refused_by_name(void **state)
{
    static const char *const paths[] = {"/nonexistent/file", "/", "/proc/self/mem"};
    static const enum source sources[] = {BY_FILE_FLAG, BY_FILE_VARIABLE};

    (void)state;
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        for (size_t j = 0; j < sizeof(paths) / sizeof(paths[0]); j++) {
            struct invocation invocation;
            struct reading r;

            invocation_begin(&invocation);
            give_text(&invocation, sources[i], paths[j]);
            invocation_read(&invocation, &r);
            assert_non_null(strstr(r.problem, paths[j]));
            assert_wrong(&r, source_names[sources[i]]);
        }
    }
}

/* ---- both secrets ---- */

static void read_both(struct reading *reading, enum source client, const char *client_token,
                      enum source administrator, const char *administrator_token)
{
    struct invocation invocation;

    invocation_begin(&invocation);
    source_names = names_of[SECRETS_CLIENT];
    pass_token(&invocation, client, client_token, strlen(client_token));
    source_names = names_of[SECRETS_ADMINISTRATOR];
    pass_token(&invocation, administrator, administrator_token, strlen(administrator_token));
    invocation_read(&invocation, reading);
}

static void both_secrets_may_be_given(void **state)
{
    (void)state;
    for (int i = 0; i < SOURCES * SOURCES; i++) {
        struct reading r;

        read_both(&r, (enum source)(i / SOURCES), "one", (enum source)(i % SOURCES), "two");
        assert_result(&r, OPTIONS_RUN, "both secrets");
        assert_string_equal(r.options.secrets[SECRETS_CLIENT].token, "one");
        assert_string_equal(r.options.secrets[SECRETS_ADMINISTRATOR].token, "two");
        options_free(&r.options);
    }
}

static void equal_secrets_are_refused_by_both_names(void **state)
{
    (void)state;
    for (int i = 0; i < SOURCES * SOURCES; i++) {
        enum source client = (enum source)(i / SOURCES);
        enum source administrator = (enum source)(i % SOURCES);
        char other[NAME_MAX_BYTES];
        struct reading r;

        read_both(&r, client, "hidden", administrator, " hidden ");
        snprintf(other, sizeof(other), "the same secret as %s;", names_of[SECRETS_CLIENT][client]);
        assert_non_null(strstr(r.problem, other));
        assert_null(strstr(r.problem, "hidden"));
        assert_null(r.options.secrets[SECRETS_CLIENT].token);
        assert_null(r.options.secrets[SECRETS_ADMINISTRATOR].token);
        assert_wrong(&r, names_of[SECRETS_ADMINISTRATOR][administrator]);
    }
}

static void one_file_for_both_secrets_is_refused(void **state)
{
    struct invocation invocation;
    struct reading r;

    (void)state;
    invocation_begin(&invocation);
    source_names = names_of[SECRETS_CLIENT];
    pass_token(&invocation, BY_FILE_FLAG, "secret", 6);
    source_names = names_of[SECRETS_ADMINISTRATOR];
    give_text(&invocation, BY_FILE_VARIABLE, invocation.paths[0]);
    invocation_read(&invocation, &r);
    assert_wrong(&r, names_of[SECRETS_ADMINISTRATOR][BY_FILE_VARIABLE]);
}

/* A wrong second secret leaves no copy of the first one. */
static void a_refused_start_frees_both_secrets(void **state)
{
    struct reading r;

    (void)state;
    read_both(&r, BY_FLAG, "secret", BY_VARIABLE, "two\nlines");
    assert_null(r.options.secrets[SECRETS_CLIENT].token);
    assert_wrong(&r, names_of[SECRETS_ADMINISTRATOR][BY_VARIABLE]);
}

static void both_secrets_are_wiped_from_the_arguments(void **state)
{
    char name[] = "dflockd", client[] = "--auth-token=one", flag[] = "--admin-token",
         administrator[] = "two";
    char *arguments[] = {name, client, flag, administrator};
    char problem[OPTIONS_PROBLEM_MAX];
    struct options options;

    (void)state;
    clear_variables();
    set_variable("AUTH_TOKEN", "three");
    set_variable("ADMIN_TOKEN", "four");
    assert_int_equal(options_read(&options, 4, arguments, problem), OPTIONS_RUN);
    options_wipe_secrets(&options, 4, arguments);
    assert_string_equal(client, "--auth-token=");
    assert_string_equal(flag, "--admin-token");
    assert_memory_equal(administrator, "\0\0\0", 3);
    assert_string_equal(getenv(PREFIX "AUTH_TOKEN"), "");
    assert_string_equal(getenv(PREFIX "ADMIN_TOKEN"), "");
    assert_string_equal(options.secrets[SECRETS_CLIENT].token, "one");
    assert_string_equal(options.secrets[SECRETS_ADMINISTRATOR].token, "two");
    options_free(&options);
}

/* A test of one secret, for each role. */
#define TEST(test)                                                                               \
    {#test, test, set_role, NULL, (void *)(uintptr_t)SECRETS_CLIENT},                            \
    {                                                                                            \
#test " (administrator)", test, set_role, NULL, (void *)(uintptr_t)SECRETS_ADMINISTRATOR \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_source_of_a_token_wins),
        TEST(a_source_of_lower_precedence_is_not_read),
        TEST(blanks_around_a_token_are_removed_and_others_kept),
        TEST(a_token_is_trimmed_as_by_auth),
        TEST(an_empty_token_is_refused_by_name),
        TEST(a_token_of_two_lines_is_refused_by_name),
        TEST(a_token_file_with_a_nul_within_is_refused_by_name),
        TEST(a_token_file_with_a_nul_at_an_end_is_refused_by_name),
        TEST(a_token_of_more_than_64_kib_is_refused),
        TEST(a_token_file_is_read_completely_or_refused),
        TEST(a_token_file_that_cannot_be_read_is_refused_by_name),
        cmocka_unit_test(both_secrets_may_be_given),
        cmocka_unit_test(equal_secrets_are_refused_by_both_names),
        cmocka_unit_test(one_file_for_both_secrets_is_refused),
        cmocka_unit_test(a_refused_start_frees_both_secrets),
        cmocka_unit_test(both_secrets_are_wiped_from_the_arguments),
    };

    return cmocka_run_group_tests_name("options_token", tests, NULL, NULL);
}
