/*
 * Readings of flags and variables. Each starts with no variable of ours set. Failed checks fail the
 * test.
 */
#ifndef TESTS_UNIT_OPTIONS_FIXTURE_H
#define TESTS_UNIT_OPTIONS_FIXTURE_H

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

void clear_variables(void);

void set_variable(const char *name, const char *value);

/* Reads up to GIVEN_MAX arguments, ended by NULL. They must live as long as the options. */
void read_arguments(struct reading *reading, const char *const *arguments);

void read_two(struct reading *reading, const char *first, const char *second);

/* Checks the result. On a difference, prints the options that were read. */
void assert_result(const struct reading *reading, enum options_result result, const char *what);

/* One line that begins with `start`. */
void assert_problem(const struct reading *reading, const char *start);

/* Checks that the problem is one line that begins with the name of the flag or variable. */
void assert_wrong(struct reading *reading, const char *name);

void name_flag(char name[NAME_MAX_BYTES], const char *flag);

void name_variable(char name[NAME_MAX_BYTES], const char *variable);

#endif
