#include "options_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void clear_variables(void)
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

void set_variable(const char *name, const char *value)
{
    char full[NAME_MAX_BYTES];

    snprintf(full, sizeof(full), PREFIX "%s", name);
    assert_int_equal(setenv(full, value, 1), 0);
}

void read_arguments(struct reading *reading, const char *const *arguments)
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

void read_two(struct reading *reading, const char *first, const char *second)
{
    const char *const arguments[] = {first, second, NULL};

    read_arguments(reading, arguments);
}

void assert_result(const struct reading *reading, enum options_result result, const char *what)
{
    if (reading->result != result)
        fail_msg("%s: result %d, '%s'", what, (int)reading->result, reading->problem);
}

void assert_problem(const struct reading *reading, const char *start)
{
    assert_result(reading, OPTIONS_WRONG, start);
    if (strncmp(reading->problem, start, strlen(start)) != 0)
        fail_msg("'%s' does not begin with %s", reading->problem, start);
    assert_true(strlen(reading->problem) > strlen(start));
    assert_null(strchr(reading->problem, '\n'));
}

void assert_wrong(struct reading *reading, const char *name)
{
    char start[2 * NAME_MAX_BYTES];

    snprintf(start, sizeof(start), "%s: ", name);
    assert_problem(reading, start);
    options_free(&reading->options);
}

void name_flag(char name[NAME_MAX_BYTES], const char *flag)
{
    snprintf(name, NAME_MAX_BYTES, "--%s", flag);
}

void name_variable(char name[NAME_MAX_BYTES], const char *variable)
{
    snprintf(name, NAME_MAX_BYTES, PREFIX "%s", variable);
}
