/*
 * Readings of flags and variables. Each starts with no variable of ours set. Include it behind
 * cmocka.h.
 */
#ifndef TESTS_UNIT_OPTIONS_FIXTURE_H
#define TESTS_UNIT_OPTIONS_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockd/protocol.h"
#include "server/options.h"

#define PREFIX "DFLOCKD_"

enum {
    GIVEN_MAX = 6,
    NAME_MAX_BYTES = 128
};

/* What a reading came to. */
struct reading {
    struct options options;
    enum options_result result;
    char problem[OPTIONS_PROBLEM_MAX];
};

static inline void clear_variables(void)
{
    for (char **variable = environ; *variable;) {
        char name[NAME_MAX_BYTES];

        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*variable, "="), *variable);
        if (strncmp(name, PREFIX, strlen(PREFIX)) == 0) {
            unsetenv(name);
            variable = environ;
        } else {
            variable++;
        }
    }
}

static inline void set_variable(const char *name, const char *value)
{
    char full[NAME_MAX_BYTES];

    snprintf(full, sizeof(full), PREFIX "%s", name);
    assert_int_equal(setenv(full, value, 1), 0);
}

/* Reads up to GIVEN_MAX arguments, ended by NULL. They must live as long as the options. */
static inline void read_arguments(struct reading *reading, const char *const *arguments)
{
    char name[] = "dflockd";
    char *vector[GIVEN_MAX + 2] = {name};
    int count = 1;

    for (; arguments && *arguments; arguments++) {
        assert_true(count <= GIVEN_MAX);
        memcpy(&vector[count++], arguments, sizeof(*arguments));
    }
    memset(reading, 0, sizeof(*reading));
    reading->result = options_read(&reading->options, count, vector, reading->problem);
    assert_true(memchr(reading->problem, '\0', OPTIONS_PROBLEM_MAX) != NULL);
}

static inline void read_two(struct reading *reading, const char *first, const char *second)
{
    const char *const arguments[] = {first, second, NULL};

    read_arguments(reading, arguments);
}

/* Checks the result. On a difference, prints the options that were read. */
static inline void assert_result(const struct reading *reading, enum options_result result,
                                 const char *what)
{
    if (reading->result != result)
        fail_msg("%s: result %d, '%s'", what, (int)reading->result, reading->problem);
}

/* One line that begins with `start`. */
static inline void assert_problem(const struct reading *reading, const char *start)
{
    assert_result(reading, OPTIONS_WRONG, start);
    if (strncmp(reading->problem, start, strlen(start)) != 0)
        fail_msg("'%s' does not begin with %s", reading->problem, start);
    assert_true(strlen(reading->problem) > strlen(start));
    assert_null(strchr(reading->problem, '\n'));
}

/* Checks that the problem is one line that begins with the name of the flag or variable. */
static inline void assert_wrong(struct reading *reading, const char *name)
{
    char start[2 * NAME_MAX_BYTES];

    snprintf(start, sizeof(start), "%s: ", name);
    assert_problem(reading, start);
    options_free(&reading->options);
}

static inline void name_flag(char name[NAME_MAX_BYTES], const char *flag)
{
    snprintf(name, NAME_MAX_BYTES, "--%s", flag);
}

static inline void name_variable(char name[NAME_MAX_BYTES], const char *variable)
{
    snprintf(name, NAME_MAX_BYTES, PREFIX "%s", variable);
}

#endif
