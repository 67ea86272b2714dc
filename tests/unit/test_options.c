/*
 * Flags, variables and defaults: their forms, their precedence, and the problems with wrong values.
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

/* ---- numbers and texts ---- */

struct number_option {
    const char *flag;
    const char *variable;
    const char *variable_old;
    size_t field;
    uint64_t initial;
};

#define FIELD(name) offsetof(struct options, name)

/* As the protocol's table of options has them. */
static const struct number_option numbers[] = {
    {"port", "PORT", NULL, FIELD(port), 6388},
    {"default-lease-ttl", "DEFAULT_LEASE_TTL_S", NULL, FIELD(default_lease_s), 33},
    {"lease-sweep-interval", "LEASE_SWEEP_INTERVAL_S", NULL, FIELD(lease_sweep_interval_s), 1},
    {"gc-interval", "GC_INTERVAL_S", "GC_LOOP_SLEEP", FIELD(gc_interval_s), 5},
    {"gc-max-idle", "GC_MAX_IDLE_S", "GC_MAX_UNUSED_TIME", FIELD(gc_max_idle_s), 60},
    {"grant-after", "GRANT_AFTER_S", NULL, FIELD(grant_after_s), 0},
    {"max-locks", "MAX_LOCKS", NULL, FIELD(max_locks), 1024},
    {"max-connections", "MAX_CONNECTIONS", NULL, FIELD(max_connections), 0},
    {"max-waiters", "MAX_WAITERS", NULL, FIELD(max_waiters), 0},
    {"max-connections-per-ip", "MAX_CONNECTIONS_PER_IP", NULL, FIELD(max_connections_per_ip), 0},
    {"read-timeout", "READ_TIMEOUT_S", NULL, FIELD(read_timeout_s), 23},
    {"write-timeout", "WRITE_TIMEOUT_S", NULL, FIELD(write_timeout_s), 5},
    {"shutdown-timeout", "SHUTDOWN_TIMEOUT_S", NULL, FIELD(shutdown_timeout_s), 30},
    {"threads", "THREADS", NULL, FIELD(threads), 0},
    {"max-claims", "MAX_CLAIMS", NULL, FIELD(max_claims), 0},
    {"max-claims-per-connection", "MAX_CLAIMS_PER_CONNECTION", NULL,
     FIELD(max_claims_per_connection), 0},
};

enum {
    NUMBERS = sizeof(numbers) / sizeof(numbers[0])
};

static uint64_t number_of(const struct reading *reading, const struct number_option *of)
{
    uint64_t value;

    memcpy(&value, (const char *)&reading->options + of->field, sizeof(value));
    return value;
}

/* All but `of` have their defaults. */
static void assert_defaults_but(const struct reading *reading, const struct number_option *of)
{
    for (size_t i = 0; i < NUMBERS; i++) {
        if (&numbers[i] != of)
            assert_int_equal(number_of(reading, &numbers[i]), numbers[i].initial);
    }
}

static void assert_number(const struct reading *reading, const struct number_option *of,
                          uint64_t value)
{
    assert_result(reading, OPTIONS_RUN, of->flag);
    assert_int_equal(number_of(reading, of), value);
    assert_defaults_but(reading, of);
}

static void assert_defaults(const struct reading *reading)
{
    assert_result(reading, OPTIONS_RUN, "defaults");
    assert_defaults_but(reading, NULL);
    assert_string_equal(reading->options.host, "127.0.0.1");
    assert_true(reading->options.auto_release_on_disconnect);
    assert_false(reading->options.debug);
    assert_null(reading->options.secrets[SECRETS_CLIENT].token);
    assert_null(reading->options.secrets[SECRETS_ADMINISTRATOR].token);
}

static void defaults_are_as_documented(void **state)
{
    struct reading r;

    (void)state;
    clear_variables();
    read_arguments(&r, NULL);
    assert_defaults(&r);
}

static void each_form_of_a_flag_is_accepted(void **state)
{
    (void)state;
    clear_variables();
    for (size_t i = 0; i < NUMBERS; i++) {
        for (size_t form = 0; form < 4; form++) {
            char argument[NAME_MAX_BYTES];
            struct reading r;
            bool joined = form < 2;
            const char *dashes = form % 2 ? "--" : "-";

            snprintf(argument, sizeof(argument), "%s%s%s", dashes, numbers[i].flag,
                     joined ? "=17" : "");
            read_two(&r, argument, joined ? NULL : "17");
            assert_number(&r, &numbers[i], 17);
        }
    }
}

static void every_variable_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUMBERS; i++) {
        struct reading r;

        clear_variables();
        set_variable(numbers[i].variable, "18");
        read_arguments(&r, NULL);
        assert_number(&r, &numbers[i], 18);
    }
}

static void former_variables_are_read_if_the_new_one_is_not_set(void **state)
{
    uint32_t seen = 0;

    (void)state;
    for (size_t i = 0; i < NUMBERS; i++) {
        struct reading r;

        if (!numbers[i].variable_old)
            continue;
        clear_variables();
        set_variable(numbers[i].variable_old, "19");
        read_arguments(&r, NULL);
        assert_number(&r, &numbers[i], 19);
        set_variable(numbers[i].variable, "");
        read_arguments(&r, NULL);
        assert_number(&r, &numbers[i], 19);
        set_variable(numbers[i].variable, "18");
        read_arguments(&r, NULL);
        assert_number(&r, &numbers[i], 18);
        seen++;
    }
    assert_int_equal(seen, 2);
}

static void a_flag_overrides_its_variable(void **state)
{
    (void)state;
    for (size_t i = 0; i < NUMBERS; i++) {
        char flag[NAME_MAX_BYTES];
        struct reading r;

        clear_variables();
        name_flag(flag, numbers[i].flag);
        set_variable(numbers[i].variable, "18");
        read_two(&r, flag, "17");
        assert_number(&r, &numbers[i], 17);
        set_variable(numbers[i].variable, "nonsense"); /* not even looked at */
        read_two(&r, flag, "17");
        assert_number(&r, &numbers[i], 17);
    }
}

static void an_empty_variable_is_not_set(void **state)
{
    struct reading r;

    (void)state;
    clear_variables();
    for (size_t i = 0; i < NUMBERS; i++) {
        set_variable(numbers[i].variable, "");
        if (numbers[i].variable_old)
            set_variable(numbers[i].variable_old, "");
    }
    set_variable("HOST", "");
    set_variable("DEBUG", "");
    set_variable("AUTO_RELEASE_ON_DISCONNECT", "");
    set_variable("AUTH_TOKEN", "");
    set_variable("AUTH_TOKEN_FILE", "");
    set_variable("ADMIN_TOKEN", "");
    set_variable("ADMIN_TOKEN_FILE", "");
    read_arguments(&r, NULL);
    assert_defaults(&r);
}

static void the_last_of_equal_flags_wins(void **state)
{
    static const char *const arguments[] = {"--port=1", "-host", "a", "-port", "2", NULL};
    struct reading r;

    (void)state;
    clear_variables();
    read_arguments(&r, arguments);
    assert_number(&r, &numbers[0], 2);
    assert_string_equal(r.options.host, "a");
}

static void the_host_is_any_text(void **state)
{
    static const char *const hosts[] = {"localhost", "::1", "0.0.0.0", "::", "a=b"};

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        char joined[NAME_MAX_BYTES];
        struct reading r;

        clear_variables();
        read_two(&r, "-host", hosts[i]);
        assert_result(&r, OPTIONS_RUN, hosts[i]);
        assert_string_equal(r.options.host, hosts[i]);
        snprintf(joined, sizeof(joined), "--host=%s", hosts[i]);
        read_two(&r, joined, NULL);
        assert_string_equal(r.options.host, hosts[i]);
        set_variable("HOST", hosts[i]);
        read_arguments(&r, NULL);
        assert_string_equal(r.options.host, hosts[i]);
        read_two(&r, "--host", "other");
        assert_string_equal(r.options.host, "other");
    }
}

static void the_mode_of_the_unix_socket_is_octal(void **state)
{
    static const struct {
        const char *given;
        uint64_t mode;
    } modes[] = {{"0660", 0660}, {"600", 0600}, {"0", 0}, {"0777", 0777}};
    static const char *const wrong[] = {"0778", "1000", "0x1f", "rw", "-1", ""};
    struct reading r;

    (void)state;
    clear_variables();
    read_arguments(&r, NULL);
    assert_null(r.options.unix_socket);
    assert_int_equal(r.options.unix_socket_mode, 0660);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        read_two(&r, "--unix-socket-mode", modes[i].given);
        assert_result(&r, OPTIONS_RUN, modes[i].given);
        assert_int_equal(r.options.unix_socket_mode, modes[i].mode);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        read_two(&r, "--unix-socket-mode", wrong[i]);
        assert_wrong(&r, "--unix-socket-mode");
    }
    read_two(&r, "--unix-socket-mode", "8");
    assert_non_null(strstr(r.problem, "not an octal number from 0 to 777"));
    set_variable("UNIX_SOCKET", "/a/path");
    set_variable("UNIX_SOCKET_MODE", "0606");
    read_arguments(&r, NULL);
    assert_string_equal(r.options.unix_socket, "/a/path");
    assert_int_equal(r.options.unix_socket_mode, 0606);
}

/* `value` is refused from the flag, from the variable and from the old one. */
static void assert_number_refused(const struct number_option *of, const char *value)
{
    char name[NAME_MAX_BYTES];
    char joined[2 * NAME_MAX_BYTES];
    struct reading r;

    clear_variables();
    name_flag(name, of->flag);
    read_two(&r, name, value);
    assert_wrong(&r, name);
    snprintf(joined, sizeof(joined), "-%s=%s", of->flag, value);
    read_two(&r, joined, NULL);
    assert_wrong(&r, name + 1); /* with one dash, as written */
    if (!*value)
        return; /* an empty variable is not set */
    set_variable(of->variable, value);
    name_variable(name, of->variable);
    read_arguments(&r, NULL);
    assert_wrong(&r, name);
    if (!of->variable_old)
        return;
    clear_variables();
    set_variable(of->variable_old, value);
    name_variable(name, of->variable_old);
    read_arguments(&r, NULL);
    assert_wrong(&r, name);
}

static void a_value_that_is_not_a_number_is_refused_by_name(void **state)
{
    static const char *const values[] = {
        "",
        "x",
        "-1",
        "-0",
        " 1",
        "1 ",
        "1x",
        "x1",
        "1.5",
        "1s",
        "1,0",
        "0x",
        "\xd9\xa1",
        "true",
        "--debug",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "99999999999999999999999999",
    };

    (void)state;
    for (size_t i = 0; i < NUMBERS; i++) {
        for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++)
            assert_number_refused(&numbers[i], values[j]);
    }
}

static void numbers_out_of_their_range_are_refused_by_name(void **state)
{
    static const struct {
        size_t option; /* of `numbers` */
        const char *highest;
        uint64_t highest_value;
        const char *above;
    } ranges[] = {
        {0, "65535", 65535, "65536"},
        {1, "9223372036", DFLOCKD_SECONDS_MAX, "9223372037"},
    };

    (void)state;
    assert_number_refused(&numbers[1], "0"); /* no lease has 0 seconds */
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        const struct number_option *of = &numbers[ranges[i].option];
        char flag[NAME_MAX_BYTES];
        struct reading r;

        assert_number_refused(of, ranges[i].above);
        clear_variables();
        name_flag(flag, of->flag);
        read_two(&r, flag, ranges[i].highest);
        assert_number(&r, of, ranges[i].highest_value);
    }
}

static void zero_is_accepted_if_it_has_a_meaning(void **state)
{
    static const char *const flags[] = {"port",
                                        "gc-max-idle",
                                        "grant-after",
                                        "max-connections",
                                        "max-connections-per-ip",
                                        "max-waiters",
                                        "write-timeout",
                                        "shutdown-timeout",
                                        "max-claims",
                                        "max-claims-per-connection"};
    uint32_t seen = 0;

    (void)state;
    clear_variables();
    for (size_t i = 0; i < NUMBERS; i++) {
        for (size_t j = 0; j < sizeof(flags) / sizeof(flags[0]); j++) {
            char flag[NAME_MAX_BYTES];
            struct reading r;

            if (strcmp(numbers[i].flag, flags[j]) != 0)
                continue;
            name_flag(flag, flags[j]);
            read_two(&r, flag, "0");
            assert_number(&r, &numbers[i], 0);
            seen++;
        }
    }
    assert_int_equal(seen, sizeof(flags) / sizeof(flags[0]));
}

/* ---- booleans ---- */

struct boolean_option {
    const char *flag;
    const char *variable;
    size_t field;
    bool initial;
};

static const struct boolean_option booleans[] = {
    {"debug", "DEBUG", FIELD(debug), false},
    {"auto-release-on-disconnect", "AUTO_RELEASE_ON_DISCONNECT", FIELD(auto_release_on_disconnect),
     true},
};

enum {
    BOOLEANS = sizeof(booleans) / sizeof(booleans[0])
};

static void assert_boolean(const struct reading *reading, const struct boolean_option *of,
                           bool value)
{
    bool got;

    assert_result(reading, OPTIONS_RUN, of->flag);
    memcpy(&got, (const char *)&reading->options + of->field, sizeof(got));
    assert_int_equal(got, value);
}

static void read_joined(struct reading *reading, const char *before, const char *flag,
                        const char *behind)
{
    static char argument[2 * NAME_MAX_BYTES];

    snprintf(argument, sizeof(argument), "%s%s%s", before, flag, behind);
    read_two(reading, argument, NULL);
}

static void a_boolean_flag_needs_no_value_and_can_be_negated(void **state)
{
    (void)state;
    for (size_t i = 0; i < BOOLEANS; i++) {
        const struct boolean_option *of = &booleans[i];
        struct reading r;

        for (int variable = 0; variable < 2; variable++) {
            clear_variables();
            if (variable)
                set_variable(of->variable, of->initial ? "false" : "true");
            read_joined(&r, "-", of->flag, "");
            assert_boolean(&r, of, true);
            read_joined(&r, "--", of->flag, "");
            assert_boolean(&r, of, true);
            read_joined(&r, "-no-", of->flag, "");
            assert_boolean(&r, of, false);
            read_joined(&r, "--no-", of->flag, "");
            assert_boolean(&r, of, false);
        }
    }
}

static void booleans_have_the_forms_of_go(void **state)
{
    static const struct {
        const char *text;
        bool value;
    } texts[] = {
        {"1", true},    {"t", true},      {"T", true},      {"true", true},
        {"TRUE", true}, {"True", true},   {"0", false},     {"f", false},
        {"F", false},   {"false", false}, {"FALSE", false}, {"False", false},
    };

    (void)state;
    for (size_t i = 0; i < BOOLEANS; i++) {
        for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
            char value[16];
            struct reading r;

            clear_variables();
            snprintf(value, sizeof(value), "=%s", texts[j].text);
            read_joined(&r, "--", booleans[i].flag, value);
            assert_boolean(&r, &booleans[i], texts[j].value);
            set_variable(booleans[i].variable, texts[j].text);
            read_arguments(&r, NULL);
            assert_boolean(&r, &booleans[i], texts[j].value);
        }
    }
}

static void a_value_that_is_not_a_boolean_is_refused_by_name(void **state)
{
    static const char *const values[] = {"", "maybe", "2", "-1", "tru", "truee", " true", "true "};

    (void)state;
    for (size_t i = 0; i < BOOLEANS; i++) {
        for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
            char value[16];
            char name[NAME_MAX_BYTES];
            struct reading r;

            clear_variables();
            snprintf(value, sizeof(value), "=%s", values[j]);
            name_flag(name, booleans[i].flag);
            read_joined(&r, "-", booleans[i].flag, value);
            assert_wrong(&r, name + 1); /* with one dash, as written */
            if (!*values[j])
                continue;
            set_variable(booleans[i].variable, values[j]);
            name_variable(name, booleans[i].variable);
            read_arguments(&r, NULL);
            assert_wrong(&r, name);
        }
    }
}

static void a_boolean_takes_no_value_of_its_own_argument(void **state)
{
    struct reading r;

    (void)state;
    clear_variables();
    read_two(&r, "--debug", "false");
    assert_wrong(&r, "false"); /* a stray argument */
    read_two(&r, "--no-debug=true", NULL);
    assert_wrong(&r, "--no-debug");
}

/* ---- flags that are wrong ---- */

static void unknown_flags_are_refused_by_name(void **state)
{
    static const struct {
        const char *argument;
        const char *name;
    } cases[] = {
        {"--nonsense", "--nonsense"},
        {"-nonsense", "-nonsense"},
        {"--nonsense=1", "--nonsense"},
        {"--por", "--por"},
        {"--ports", "--ports"},
        {"--Port", "--Port"},
        {"--port ", "--port "},
        {"--no-port", "--no-port"},
        {"--no-nonsense", "--no-nonsense"},
        {"--no-no-debug", "--no-no-debug"},
        {"--no-help", "--no-help"},
        {"--no-", "--no-"},
        {"---port", "---port"},
        {"--=1", "--"},
    };

    (void)state;
    clear_variables();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reading r;

        read_two(&r, cases[i].argument, "1");
        assert_wrong(&r, cases[i].name);
        read_two(&r, "--debug", cases[i].argument);
        assert_wrong(&r, cases[i].name);
    }
}

static void stray_arguments_are_refused_by_name(void **state)
{
    static const char *const strays[] = {"port", "7000", "debug", "8.5", "help"};

    (void)state;
    clear_variables();
    for (size_t i = 0; i < sizeof(strays) / sizeof(strays[0]); i++) {
        struct reading r;

        read_two(&r, strays[i], NULL);
        assert_wrong(&r, strays[i]);
        read_two(&r, "--port=1", strays[i]);
        assert_wrong(&r, strays[i]);
    }
}

static void a_flag_at_the_end_without_its_value_is_refused(void **state)
{
    static const char *const others[] = {"host", "auth-token", "auth-token-file", "http-port"};

    (void)state;
    clear_variables();
    for (size_t i = 0; i < NUMBERS + sizeof(others) / sizeof(others[0]); i++) {
        char name[NAME_MAX_BYTES];
        struct reading r;

        name_flag(name, i < NUMBERS ? numbers[i].flag : others[i - NUMBERS]);
        read_two(&r, name, NULL);
        assert_wrong(&r, name);
        read_two(&r, "--debug", name);
        assert_wrong(&r, name);
    }
}

static void a_long_argument_is_shortened_in_the_problem(void **state)
{
    static char argument[4 * OPTIONS_PROBLEM_MAX];
    static const char *const starts[] = {"", "--", "--port=", "--debug=", "--no-", "--host"};

    (void)state;
    clear_variables();
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        struct reading r;

        memset(argument, 'x', sizeof(argument) - 1);
        memcpy(argument, starts[i], strlen(starts[i]));
        read_two(&r, argument, NULL);
        assert_problem(&r, *starts[i] ? "--" : "xxx");
    }
}

static void a_problem_is_one_line_for_any_argument(void **state)
{
    static const char *const given[][2] = {
        {"--port", "1\n2"},       {"--debug=\ntrue", NULL}, {"--non\nsense", NULL},
        {"--non\nsense=1", NULL}, {"two\nlines", NULL},     {"--auth-token-file", "/none\n/file"},
    };

    struct reading r;

    (void)state;
    clear_variables();
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        read_two(&r, given[i][0], given[i][1]);
        assert_problem(&r, "");
    }
    set_variable("PORT", "1\n2");
    read_arguments(&r, NULL);
    assert_wrong(&r, PREFIX "PORT");
}

/* ---- help and version ---- */

static void help_and_version_are_accepted_in_each_form(void **state)
{
    static const struct {
        const char *argument;
        enum options_result result;
    } cases[] = {
        {"--help", OPTIONS_HELP},
        {"-help", OPTIONS_HELP},
        {"-h", OPTIONS_HELP},
        {"--h", OPTIONS_HELP},
        {"--help=true", OPTIONS_HELP},
        {"--help=false", OPTIONS_RUN},
        {"--version", OPTIONS_VERSION},
        {"-version", OPTIONS_VERSION},
        {"--version=false", OPTIONS_RUN},
    };

    (void)state;
    clear_variables();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reading r;

        read_two(&r, cases[i].argument, NULL);
        assert_result(&r, cases[i].result, cases[i].argument);
        read_two(&r, "--port=1", cases[i].argument);
        assert_result(&r, cases[i].result, cases[i].argument);
    }
}

static void help_is_printed_despite_a_wrong_variable(void **state)
{
    struct reading r;

    (void)state;
    clear_variables();
    set_variable("PORT", "nonsense");
    read_two(&r, "--help", NULL);
    assert_result(&r, OPTIONS_HELP, "--help");
    read_two(&r, "--version", NULL);
    assert_result(&r, OPTIONS_VERSION, "--version");
}

/* The text of `--help`. */
static void capture_help(char *text, size_t room)
{
    FILE *file = tmpfile();
    int stdout_before = dup(STDOUT_FILENO);
    size_t length;

    assert_non_null(file);
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    options_print_help();
    fflush(stdout);
    dup2(stdout_before, STDOUT_FILENO);
    close(stdout_before);
    rewind(file);
    length = fread(text, 1, room - 1, file);
    text[length] = '\0';
    fclose(file);
}

/* The entry of `flag`: from its line to the next flag. */
static void assert_help_has(const char *help, const char *flag, const char *const *words)
{
    char line[NAME_MAX_BYTES];
    const char *entry;
    const char *end;

    snprintf(line, sizeof(line), "\n  --%s", flag);
    entry = strstr(help, line);
    while (entry && entry[strlen(line)] != '\n' && entry[strlen(line)] != ' ')
        entry = strstr(entry + 1, line);
    if (!entry)
        fail_msg("--help has no --%s", flag);
    end = strstr(entry + strlen(line), "\n  --");
    if (!end)
        end = entry + strlen(entry);
    for (; *words; words++) {
        const char *found = strstr(entry, *words);

        if (!found || found > end)
            fail_msg("--help of --%s has no %s", flag, *words);
    }
}

static void help_lists_every_flag_with_its_variables_and_default(void **state)
{
    static const char *const auth[] = {PREFIX "AUTH_TOKEN", NULL};
    static const char *const auth_file[] = {PREFIX "AUTH_TOKEN_FILE", NULL};
    static const char *const admin[] = {PREFIX "ADMIN_TOKEN", NULL};
    static const char *const admin_file[] = {PREFIX "ADMIN_TOKEN_FILE", NULL};
    static const char *const host[] = {PREFIX "HOST", "127.0.0.1", NULL};
    static const char *const path[] = {PREFIX "UNIX_SOCKET", NULL};
    static const char *const mode[] = {PREFIX "UNIX_SOCKET_MODE", "0660", NULL};
    static const char *const none[] = {NULL};
    static char help[32768];

    (void)state;
    capture_help(help, sizeof(help));
    for (size_t i = 0; i < NUMBERS; i++) {
        char variable[NAME_MAX_BYTES];
        char old[NAME_MAX_BYTES] = "";
        char initial[NAME_MAX_BYTES];
        const char *const words[] = {variable, initial, old, NULL};

        name_variable(variable, numbers[i].variable);
        if (numbers[i].variable_old)
            name_variable(old, numbers[i].variable_old);
        snprintf(initial, sizeof(initial), "%llu", (unsigned long long)numbers[i].initial);
        assert_help_has(help, numbers[i].flag, words);
    }
    for (size_t i = 0; i < BOOLEANS; i++) {
        char flag[NAME_MAX_BYTES];
        char variable[NAME_MAX_BYTES];
        const char *const words[] = {variable, booleans[i].initial ? "true" : "false", NULL};

        snprintf(flag, sizeof(flag), "[no-]%s", booleans[i].flag);
        name_variable(variable, booleans[i].variable);
        assert_help_has(help, flag, words);
    }
    assert_help_has(help, "host", host);
    assert_help_has(help, "auth-token", auth);
    assert_help_has(help, "auth-token-file", auth_file);
    assert_help_has(help, "admin-token", admin);
    assert_help_has(help, "admin-token-file", admin_file);
    assert_help_has(help, "unix-socket", path);
    assert_help_has(help, "unix-socket-mode", mode);
    assert_help_has(help, "version", none);
    assert_help_has(help, "help", none);
}

/* ---- known options that are not supported ---- */

static const struct {
    const char *flag;
    const char *variable;
} unsupported[] = {
    {"http-port", "HTTP_PORT"},
    {"http-host", "HTTP_HOST"},
    {"http-session-idle-timeout", "HTTP_SESSION_IDLE_S"},
    {"http-max-sessions", "HTTP_MAX_SESSIONS"},
    {"http-max-sessions-per-ip", "HTTP_MAX_SESSIONS_PER_IP"},
    {"http-max-connections-per-ip", "HTTP_MAX_CONNECTIONS_PER_IP"},
    {"http-rate-limit-per-ip", "HTTP_RATE_LIMIT_PER_IP"},
    {"http-rate-limit-burst", "HTTP_RATE_LIMIT_BURST"},
    {"http-cors-allowed-origins", "HTTP_CORS_ALLOWED_ORIGINS"},
};

static void an_unsupported_flag_is_refused_by_name_and_not_as_unknown(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        char name[NAME_MAX_BYTES];
        struct reading r;

        clear_variables();
        name_flag(name, unsupported[i].flag);
        read_two(&r, name, "1");
        assert_non_null(strstr(r.problem, "not supported"));
        assert_wrong(&r, name);
        name_variable(name, unsupported[i].variable);
        set_variable(unsupported[i].variable, "1");
        read_arguments(&r, NULL);
        assert_non_null(strstr(r.problem, "not supported"));
        assert_wrong(&r, name);
    }
}

static void an_unsupported_flag_may_be_switched_off(void **state)
{
    static const char *const values[] = {"0", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        for (size_t j = 0; j < 2; j++) {
            char name[NAME_MAX_BYTES];
            struct reading r;

            clear_variables();
            name_flag(name, unsupported[i].flag);
            read_two(&r, name, values[j]);
            assert_result(&r, OPTIONS_RUN, name);
            set_variable(unsupported[i].variable, values[j]);
            read_arguments(&r, NULL);
            assert_result(&r, OPTIONS_RUN, unsupported[i].variable);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_as_documented),
        cmocka_unit_test(each_form_of_a_flag_is_accepted),
        cmocka_unit_test(every_variable_is_read),
        cmocka_unit_test(former_variables_are_read_if_the_new_one_is_not_set),
        cmocka_unit_test(a_flag_overrides_its_variable),
        cmocka_unit_test(an_empty_variable_is_not_set),
        cmocka_unit_test(the_last_of_equal_flags_wins),
        cmocka_unit_test(the_host_is_any_text),
        cmocka_unit_test(the_mode_of_the_unix_socket_is_octal),
        cmocka_unit_test(a_value_that_is_not_a_number_is_refused_by_name),
        cmocka_unit_test(numbers_out_of_their_range_are_refused_by_name),
        cmocka_unit_test(zero_is_accepted_if_it_has_a_meaning),
        cmocka_unit_test(a_boolean_flag_needs_no_value_and_can_be_negated),
        cmocka_unit_test(booleans_have_the_forms_of_go),
        cmocka_unit_test(a_value_that_is_not_a_boolean_is_refused_by_name),
        cmocka_unit_test(a_boolean_takes_no_value_of_its_own_argument),
        cmocka_unit_test(unknown_flags_are_refused_by_name),
        cmocka_unit_test(stray_arguments_are_refused_by_name),
        cmocka_unit_test(a_flag_at_the_end_without_its_value_is_refused),
        cmocka_unit_test(a_long_argument_is_shortened_in_the_problem),
        cmocka_unit_test(a_problem_is_one_line_for_any_argument),
        cmocka_unit_test(help_and_version_are_accepted_in_each_form),
        cmocka_unit_test(help_is_printed_despite_a_wrong_variable),
        cmocka_unit_test(help_lists_every_flag_with_its_variables_and_default),
        cmocka_unit_test(an_unsupported_flag_is_refused_by_name_and_not_as_unknown),
        cmocka_unit_test(an_unsupported_flag_may_be_switched_off),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
