/*
 * Flag tables without variables, and the printed help. tests/unit/test_options.c tests the forms
 * of flags, numbers, booleans and variables.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/flags.h"

struct sample {
    const char *name;
    uint64_t count;
    uint64_t wait_ms;
    bool loud;
    const char *secret;
    uint64_t slots;
    const char *words;
};

#define FLAGS_STRUCT struct sample

static const struct flag table[] = {
    TEXT_FLAG("name", NULL, name, NULL, "A text"),
    NUMBER_FLAG("count", NULL, NULL, count, 2, 9, "7", "A number"),
    SECONDS_FLAG("wait", NULL, wait_ms, 1, 9000, "1.5", "Seconds to wait"),
    {"loud", "LOUD", "NOISY", FLAG_BOOLEAN, offsetof(struct sample, loud), 0, 0, "false",
     "A boolean"},
    UNSUPPORTED_FLAG("later", "LATER"),
    TEXT_FLAG("secret", "SECRET", secret, NULL, NULL),
    NUMBER_FLAG("n", NULL, NULL, slots, 1, 9, NULL, "A number of slots"),
    TEXT_FLAG("long-name-of-words", "LONG_NAME_S", words, NULL, "Words"),
    HELP_FLAGS,
    VERSION_FLAG("Print the version and exit"),
};

static const struct flags flags = {
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .variable_prefix = "FLAGS_TEST_",
};

static enum flags_result read_one(struct flags_reading *reading, struct sample *sample,
                                  const char *argument)
{
    char name[] = "program";
    char copy[64];
    char *arguments[] = {name, copy, NULL};

    snprintf(copy, sizeof(copy), "%s", argument ? argument : "");
    memset(sample, 0, sizeof(*sample));
    return flags_read(reading, &flags, sample, argument ? 2 : 1, arguments);
}

static void a_flag_not_given_has_its_initial_value(void **state)
{
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    assert_int_equal(read_one(&reading, &sample, NULL), FLAGS_RUN);
    assert_null(sample.name);
    assert_int_equal(sample.count, 7);
    assert_false(sample.loud);
    assert_false(flags_given(&reading, "count"));
}

static void flags_given_reports_given_flags(void **state)
{
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    assert_int_equal(read_one(&reading, &sample, "--count=7"), FLAGS_RUN);
    assert_true(flags_given(&reading, "count"));
    assert_false(flags_given(&reading, "name"));
}

static void the_last_value_of_a_repeated_flag_counts(void **state)
{
    char *arguments[] = {(char[]){"program"}, (char[]){"--count=3"}, (char[]){"--name=a"},
                         (char[]){"--count=4"}};
    struct flags_reading reading;
    struct sample sample = {0};

    (void)state;
    assert_int_equal(flags_read(&reading, &flags, &sample, 4, arguments), FLAGS_RUN);
    assert_int_equal(sample.count, 4);
    assert_true(flags_repeated(&reading, "count"));
    assert_false(flags_repeated(&reading, "name"));
    assert_false(flags_repeated(&reading, "loud"));
}

static void a_flag_without_a_variable_is_not_read_from_the_environment(void **state)
{
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    setenv("FLAGS_TEST_", "8", 1);
    setenv("FLAGS_TEST_COUNT", "8", 1);
    setenv("FLAGS_TEST_LOUD", "true", 1);
    assert_int_equal(read_one(&reading, &sample, NULL), FLAGS_RUN);
    assert_int_equal(sample.count, 7);
    assert_true(sample.loud);
    unsetenv("FLAGS_TEST_LOUD");
}

static void a_value_out_of_range_names_the_range(void **state)
{
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    assert_int_equal(read_one(&reading, &sample, "--count=10"), FLAGS_WRONG);
    assert_string_equal(reading.problem, "--count: '10' is not a whole number from 2 to 9");
}

static void seconds_have_up_to_three_decimals(void **state)
{
    static const struct {
        const char *argument;
        uint64_t ms;
    } right[] = {{"--wait=0.5", 500},   {"--wait=2", 2000},  {"--wait=1.25", 1250},
                 {"--wait=.5", 500},    {"--wait=0.001", 1}, {"--wait=9.000", 9000},
                 {"--wait=007.1", 7100}};
    static const char *const wrong[] = {"",   "0",   "9.001", "0.0001", ".",
                                        "1.", "-1",  "1e1",   "0x1",    " 1",
                                        "1 ", "nan", "1,5",   "1.2.3",  "99999999999999999999"};
    struct flags_reading reading;
    struct sample sample;
    char argument[64];

    (void)state;
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        assert_int_equal(read_one(&reading, &sample, right[i].argument), FLAGS_RUN);
        assert_int_equal(sample.wait_ms, right[i].ms);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(argument, sizeof(argument), "--wait=%s", wrong[i]);
        assert_int_equal(read_one(&reading, &sample, argument), FLAGS_WRONG);
        assert_non_null(strstr(reading.problem, "' is not a number of seconds from 0.001 to 9 "
                                                "with at most 3 decimals"));
    }
}

static void a_problem_names_the_flag_as_it_was_written(void **state)
{
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    assert_int_equal(read_one(&reading, &sample, "-count=10"), FLAGS_WRONG);
    assert_string_equal(reading.problem, "-count: '10' is not a whole number from 2 to 9");
    assert_int_equal(read_one(&reading, &sample, "-x"), FLAGS_WRONG);
    assert_string_equal(reading.problem, "-x: unknown flag; try --help");
}

static void an_unknown_flag_suggests_a_similar_one(void **state)
{
    static const char *const cases[][2] = {
        {"--conut=5", "--conut: unknown flag; did you mean --count?"},
        {"-coun", "-coun: unknown flag; did you mean --count?"},
        {"--Count", "--Count: unknown flag; did you mean --count?"},
        {"--no-lodu", "--no-lodu: unknown flag; did you mean --no-loud?"},
        {"--no-count", "--no-count: unknown flag; try --help"},
        {"--no-xxxx", "--no-xxxx: unknown flag; try --help"},
        {"-N", "-N: unknown flag; did you mean -n?"},
        {"-m", "-m: unknown flag; try --help"},
        {"--nam", "--nam: unknown flag; did you mean --name?"},
        {"--nm", "--nm: unknown flag; try --help"},
        {"--coat", "--coat: unknown flag; try --help"},
        {"--lxng_nxme_xf_wxrds", "--lxng_nxme_xf_wxrds: unknown flag; try --help"},
        {"--lnog_name_of_words", "--lnog_name_of_words: unknown flag; did you mean "
                                 "--long-name-of-words?"},
        {"--long-name", "--long-name: unknown flag; did you mean --long-name-of-words?"},
        {"--name-of-words", "--name-of-words: unknown flag; did you mean --long-name-of-words?"},
        {"--words", "--words: unknown flag; try --help"},
        {"--lon", "--lon: unknown flag; try --help"},
        {"--secert", "--secert: unknown flag; try --help"}, /* help does not show it */
        {"--latre", "--latre: unknown flag; try --help"},   /* it is not supported */
        {"count", "count: not a flag; did you mean --count?"},
        {"five", "five: not a flag; try --help"},
        {"-", "-: unknown flag; try --help"},
    };
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(read_one(&reading, &sample, cases[i][0]), FLAGS_WRONG);
        assert_string_equal(reading.problem, cases[i][1]);
    }
}

static void an_unknown_variable_suggests_a_similar_one(void **state)
{
    static const char *const cases[][2] = {
        {"FLAGS_TEST_LODU=1", "FLAGS_TEST_LOUD"},
        {"FLAGS_TEST_loud", "FLAGS_TEST_LOUD"},
        {"FLAGS_TEST_LONG_NAME=1", "FLAGS_TEST_LONG_NAME_S"},
        {"FLAGS_TEST_COUNT=1", NULL},
        {"FLAGS_TEST_=1", NULL},
    };
    char suggestion[FLAGS_SOURCE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(flags_suggest_variable(&flags, cases[i][0], suggestion),
                         cases[i][1] != NULL);
        if (cases[i][1])
            assert_string_equal(suggestion, cases[i][1]);
    }
}

static void a_flag_of_one_letter_is_written_with_one_dash(void **state)
{
    struct flags_reading reading;
    struct sample sample;
    char source[FLAGS_SOURCE_MAX];

    (void)state;
    assert_int_equal(read_one(&reading, &sample, "--n=0"), FLAGS_WRONG);
    assert_string_equal(reading.problem, "-n: '0' is not a whole number from 1 to 9");
    assert_int_equal(read_one(&reading, &sample, "--n"), FLAGS_WRONG);
    assert_string_equal(reading.problem, "-n: needs a value");
    assert_int_equal(read_one(&reading, &sample, "-n=3"), FLAGS_RUN);
    flags_name_source(&reading, "n", source);
    assert_string_equal(source, "-n");
}

static void the_source_of_a_value_is_its_variable_only_if_that_is_set(void **state)
{
    struct flags_reading reading;
    struct sample sample;
    char source[FLAGS_SOURCE_MAX];

    (void)state;
    assert_int_equal(read_one(&reading, &sample, "-n=3"), FLAGS_RUN);
    flags_name_source(&reading, "loud", source);
    assert_string_equal(source, "--loud");
    setenv("FLAGS_TEST_NOISY", "", true);
    flags_name_source(&reading, "loud", source);
    assert_string_equal(source, "--loud");
    setenv("FLAGS_TEST_NOISY", "1", true);
    flags_name_source(&reading, "loud", source);
    assert_string_equal(source, "FLAGS_TEST_NOISY");
    setenv("FLAGS_TEST_LOUD", "1", true);
    flags_name_source(&reading, "loud", source);
    assert_string_equal(source, "FLAGS_TEST_LOUD");
    unsetenv("FLAGS_TEST_LOUD");
    unsetenv("FLAGS_TEST_NOISY");
}

static void a_program_can_report_a_problem(void **state)
{
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    assert_int_equal(read_one(&reading, &sample, "--name=x"), FLAGS_RUN);
    assert_false(flags_wrong(&reading, "--name", "is\nno name"));
    assert_string_equal(reading.problem, "--name: is?no name");
}

static void an_unsupported_flag_is_refused_unless_empty_or_0(void **state)
{
    struct flags_reading reading;
    struct sample sample;

    (void)state;
    assert_int_equal(read_one(&reading, &sample, "--later=0"), FLAGS_RUN);
    assert_int_equal(read_one(&reading, &sample, "--later="), FLAGS_RUN);
    assert_int_equal(read_one(&reading, &sample, "--later=1"), FLAGS_WRONG);
    assert_non_null(strstr(reading.problem, "--later: not supported"));
}

/* Wipes --secret and compares the rest. */
static void assert_wiped(const char *const *given, const char *const *left, int count)
{
    char copies[6][32];
    char *arguments[7] = {NULL};

    for (int i = 0; i < count; i++) {
        snprintf(copies[i], sizeof(copies[i]), "%s", given[i]);
        arguments[i] = copies[i];
    }
    flags_wipe(&flags, "secret", count, arguments);
    for (int i = 0; i < count; i++) {
        assert_string_equal(arguments[i], left[i]);
        if (!*left[i])
            assert_memory_equal(arguments[i], "\0\0\0\0\0", strlen(given[i]));
    }
}

static void a_secret_is_wiped_from_arguments_and_environment(void **state)
{
    const char *const given[] = {"program", "--secret", "one", "-secret=two", "--name=secret"};
    const char *const left[] = {"program", "--secret", "", "-secret=", "--name=secret"};
    const char *const others[] = {"program", "--name", "--secret", "--loud", "--secret", "x"};
    const char *const others_left[] = {"program", "--name", "--secret", "--loud", "--secret", ""};
    const char *const at_end[] = {"program", "secret", "--secret"};

    (void)state;
    assert_wiped(given, left, 5);
    assert_wiped(others, others_left, 6); /* a value that looks like the flag is not the flag */
    assert_wiped(at_end, at_end, 3);
    setenv("FLAGS_TEST_SECRET", "three", 1);
    assert_wiped(given, left, 1);
    assert_string_equal(getenv("FLAGS_TEST_SECRET"), "");
    unsetenv("FLAGS_TEST_SECRET");
}

static void help_shows_every_flag_once(void **state)
{
    static const char expected[] =
        "  --name VALUE\n      A text.\n"
        "  --count NUMBER\n      A number. (default 7)\n"
        "  --wait SECONDS\n      Seconds to wait. (default 1.5)\n"
        "  --[no-]loud\n      A boolean. FLAGS_TEST_LOUD, formerly FLAGS_TEST_NOISY "
        "(default false)\n"
        "  --later\n      Not supported by this version. FLAGS_TEST_LATER\n"
        "  -n NUMBER\n      A number of slots.\n"
        "  --long-name-of-words VALUE\n      Words. FLAGS_TEST_LONG_NAME_S\n"
        "  --help\n      Print this and exit.\n"
        "  --version\n      Print the version and exit.\n";
    char printed[1024] = "";
    int before = dup(STDOUT_FILENO);
    FILE *file = tmpfile();
    size_t length;

    (void)state;
    assert_non_null(file);
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    flags_print(&flags);
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    rewind(file);
    length = fread(printed, 1, sizeof(printed) - 1, file);
    fclose(file);
    assert_int_equal(length, strlen(expected));
    assert_string_equal(printed, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flag_not_given_has_its_initial_value),
        cmocka_unit_test(flags_given_reports_given_flags),
        cmocka_unit_test(the_last_value_of_a_repeated_flag_counts),
        cmocka_unit_test(a_flag_without_a_variable_is_not_read_from_the_environment),
        cmocka_unit_test(a_value_out_of_range_names_the_range),
        cmocka_unit_test(seconds_have_up_to_three_decimals),
        cmocka_unit_test(a_problem_names_the_flag_as_it_was_written),
        cmocka_unit_test(an_unknown_flag_suggests_a_similar_one),
        cmocka_unit_test(an_unknown_variable_suggests_a_similar_one),
        cmocka_unit_test(a_flag_of_one_letter_is_written_with_one_dash),
        cmocka_unit_test(the_source_of_a_value_is_its_variable_only_if_that_is_set),
        cmocka_unit_test(a_program_can_report_a_problem),
        cmocka_unit_test(an_unsupported_flag_is_refused_unless_empty_or_0),
        cmocka_unit_test(a_secret_is_wiped_from_arguments_and_environment),
        cmocka_unit_test(help_shows_every_flag_once),
    };

    return cmocka_run_group_tests_name("flags", tests, NULL, NULL);
}
