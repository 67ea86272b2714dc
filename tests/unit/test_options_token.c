/*
 * The auth token: the precedence of its four sources, its trimming, and refusals that do not
 * reveal it.
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

static const char *const source_names[SOURCES] = {
    [BY_FLAG] = "--auth-token",
    [BY_FILE_FLAG] = "--auth-token-file",
    [BY_VARIABLE] = PREFIX "AUTH_TOKEN",
    [BY_FILE_VARIABLE] = PREFIX "AUTH_TOKEN_FILE",
};

static bool from_file(enum source source)
{
    return source == BY_FILE_FLAG || source == BY_FILE_VARIABLE;
}

/* Arguments and variables of one reading that has a token. */
struct invocation {
    const char *arguments[GIVEN_MAX + 1];
    size_t count;
    char paths[SOURCES][64];
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
    char *path = invocation->paths[source];
    int file;

    if (!from_file(source)) {
        give_text(invocation, source, token);
        return;
    }
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
    for (int source = 0; source < SOURCES; source++) {
        if (*invocation->paths[source])
            unlink(invocation->paths[source]);
    }
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
    assert_non_null(r.options.secrets[SECRETS_CLIENT].token);
    assert_string_equal(r.options.secrets[SECRETS_CLIENT].token, token);
    options_free(&r.options);
    assert_null(r.options.secrets[SECRETS_CLIENT].token);
}

static void assert_token_refused(enum source source, const void *token, size_t length)
{
    struct reading r;

    read_token(&r, source, token, length);
    assert_null(r.options.secrets[SECRETS_CLIENT].token);
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
            assert_non_null(r.options.secrets[SECRETS_CLIENT].token);
            assert_string_equal(r.options.secrets[SECRETS_CLIENT].token, expected);
        } else {
            assert_null(r.options.secrets[SECRETS_CLIENT].token);
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
            assert_string_equal(r.options.secrets[SECRETS_CLIENT].token, "token");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_source_of_a_token_wins),
        cmocka_unit_test(a_source_of_lower_precedence_is_not_read),
        cmocka_unit_test(blanks_around_a_token_are_removed_and_others_kept),
        cmocka_unit_test(a_token_is_trimmed_as_by_auth),
        cmocka_unit_test(an_empty_token_is_refused_by_name),
        cmocka_unit_test(a_token_of_two_lines_is_refused_by_name),
        cmocka_unit_test(a_token_file_with_a_nul_within_is_refused_by_name),
        cmocka_unit_test(a_token_file_with_a_nul_at_an_end_is_refused_by_name),
        cmocka_unit_test(a_token_of_more_than_64_kib_is_refused),
        cmocka_unit_test(a_token_file_is_read_completely_or_refused),
        cmocka_unit_test(a_token_file_that_cannot_be_read_is_refused_by_name),
    };

    return cmocka_run_group_tests_name("options_token", tests, NULL, NULL);
}
