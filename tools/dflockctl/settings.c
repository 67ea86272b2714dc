#include "dflockctl/settings.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/auth_token.h"
#include "client/name.h"
#include "dflockctl/command.h"
#include "dflockctl/holder_name.h"
#include "dflockctl/key_stats.h"
#include "dflockctl/status.h"
#include "dflockd/protocol.h"

/* The arguments being sorted into flags and words. */
struct settings_reader {
    struct settings *settings;
    char *problem; /* FLAGS_PROBLEM_MAX bytes */
    int count;
    char **arguments;
    int at;       /* index of the next argument */
    char **flags; /* flags and their values, for flags_read */
    int flag_count;
    bool help;       /* flags_read returns at --help: what follows is not checked */
    bool only_words; /* after `--` */
};

/* Returns false, so that callers can return it. */
__attribute__((format(printf, 2, 3))) static bool settings_fail(char problem[FLAGS_PROBLEM_MAX],
                                                                const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(problem, FLAGS_PROBLEM_MAX, format, arguments);
    va_end(arguments);
    return false;
}

size_t settings_server_of(const struct settings *settings, const char *key)
{
    return dflockd_shard(key, settings->options.server_count);
}

bool settings_check_key(const char *key, char problem[FLAGS_PROBLEM_MAX])
{
    if (!*key)
        return settings_fail(problem, "key: empty; give 1 to %d bytes", DFLOCKD_KEY_MAX);
    if (strlen(key) > DFLOCKD_KEY_MAX)
        return settings_fail(problem, "key '%.20s...': has %zu bytes; give at most %d", key,
                             strlen(key), DFLOCKD_KEY_MAX);
    if (strpbrk(key, " \t\r\n"))
        return settings_fail(problem,
                             "key '%.100s': contains white space; use a key without blanks", key);
    return true;
}

/* ---- flags and words ---- */

static bool settings_is_flag(const char *argument)
{
    return argument[0] == '-' && argument[1] && strcmp(argument, "--") != 0;
}

/* Returns the entry of the flag that `argument` names, also as --no-FLAG or FLAG=VALUE; or NULL. */
static const struct flag *settings_find_flag(const struct flags *flags, const char *argument)
{
    const char *name = argument + (argument[1] == '-' ? 2 : 1);
    size_t length = strcspn(name, "=");

    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];
        bool negated = flag->type == FLAG_BOOLEAN && strncmp(name, "no-", 3) == 0;
        size_t start = negated ? 3 : 0;

        if (strlen(flag->name) + start == length &&
            strncmp(flag->name, name + start, length - start) == 0)
            return flag;
    }
    return NULL;
}

/* Returns what a flag of flock(1) or `etcdctl lock` is here; NULL: none of those. */
static const char *settings_find_advice(const struct command *command, const char *argument)
{
    static const struct {
        const char *name;
        const char *advice;
    } known[] = {
        {"n", "--try does not wait; for a semaphore use sem"},
        {"nb", "--try does not wait"},
        {"nonblock", "--try does not wait"},
        {"w", "--timeout sets the seconds to wait"},
        {"wait", "--timeout sets the seconds to wait"},
        {"x", "leave it out: a lock is exclusive without --shared"},
        {"e", "leave it out: a lock is exclusive without --shared"},
        {"exclusive", "leave it out: a lock is exclusive without --shared"},
        {"s", "a semaphore has a holder for each slot; for a shared lock use lock"},
        {"shared", "a semaphore has a holder for each slot; for a shared lock use lock"},
        {"u", "use dflockctl release"},
        {"unlock", "use dflockctl release"},
        {"ttl", "--lease sets the seconds of the lease"},
    };
    const char *name = argument + (argument[1] == '-' ? 2 : 1);
    size_t length = strcspn(name, "=");

    for (size_t i = 0; command->waits && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].name) == length && memcmp(known[i].name, name, length) == 0)
            return known[i].advice;
    }
    return NULL;
}

/* No command is given yet. */
static bool settings_fail_flag_before(const struct settings_reader *reader, const char *argument,
                                      int length)
{
    const struct command *command;
    char suggestion[FLAGS_SOURCE_MAX];

    for (size_t i = 0; (command = command_at(i)); i++) {
        if (settings_find_flag(&command->flags, argument))
            return settings_fail(reader->problem, "%.*s: write it after the command", length,
                                 argument);
    }
    if (flags_suggest(command_flags(), argument, suggestion))
        return settings_fail(reader->problem, "%.*s: unknown flag; did you mean %s?", length,
                             argument, suggestion);
    return settings_fail(reader->problem, "%.*s: unknown flag; try: dflockctl --help", length,
                         argument);
}

static bool settings_fail_unknown_flag(const struct settings_reader *reader, const char *argument)
{
    const struct command *command = reader->settings->command;
    int length = (int)strcspn(argument, "=");
    char suggestion[FLAGS_SOURCE_MAX];
    const char *advice;

    if (length > 50)
        length = 50;
    if (!command)
        return settings_fail_flag_before(reader, argument, length);
    advice = settings_find_advice(command, argument);
    if (advice)
        return settings_fail(reader->problem, "%.*s: not a flag of %s; %s", length, argument,
                             command->name, advice);
    if (argument[1] == 'n' && isdigit((unsigned char)argument[2]) &&
        settings_find_flag(&command->flags, "-n"))
        return settings_fail(reader->problem, "%.*s: unknown flag; write: -n %.40s", length,
                             argument, argument + 2);
    if (strcmp(command->name, "lock") == 0 &&
        settings_find_flag(&command_find("sem")->flags, argument))
        return settings_fail(reader->problem, "%.*s: not a flag of lock; use sem", length,
                             argument);
    if (flags_suggest(&command->flags, argument, suggestion))
        return settings_fail(reader->problem, "%.*s: unknown flag; did you mean %s?", length,
                             argument, suggestion);
    return settings_fail(reader->problem, "%.*s: not a flag of %s; try: dflockctl %s --help",
                         length, argument, command->name, command->name);
}

/* Takes the next argument, a flag, and its value. */
static bool settings_take_flag(struct settings_reader *reader, const struct flags *flags)
{
    char *argument = reader->arguments[reader->at];
    const struct flag *flag = settings_find_flag(flags, argument);

    if (!flag && !reader->help)
        return settings_fail_unknown_flag(reader, argument);
    reader->flags[reader->flag_count++] = argument;
    reader->at++;
    if (flag && flag->type == FLAG_HELP)
        reader->help = true;
    if (!flag || strchr(argument, '=') || flag->type == FLAG_BOOLEAN || flag->type == FLAG_HELP ||
        flag->type == FLAG_VERSION)
        return true;
    if (reader->at < reader->count && strcmp(reader->arguments[reader->at], "--") != 0)
        reader->flags[reader->flag_count++] = reader->arguments[reader->at++];
    else if (!reader->help)
        return settings_fail(reader->problem, "%s: needs a value", argument);
    return true;
}

static bool settings_take_word(struct settings_reader *reader)
{
    struct settings *settings = reader->settings;
    const struct command *command = settings->command;
    char *word = reader->arguments[reader->at++];

    if (settings->word_count < command->words_max) {
        settings->words[settings->word_count++] = word;
        return true;
    }
    if (command->runs)
        return settings_fail(reader->problem,
                             "'%.100s': too many arguments before --; write: dflockctl %s %s", word,
                             command->name, command->arguments);
    return settings_fail(reader->problem, "'%.100s': too many arguments; try: dflockctl %s --help",
                         word, command->name);
}

/* Takes the arguments after the command's name: see settings.h for what `--` means. */
static bool settings_take_arguments(struct settings_reader *reader)
{
    struct settings *settings = reader->settings;
    const struct command *command = settings->command;

    while (reader->at < reader->count) {
        const char *argument = reader->arguments[reader->at];
        bool separates = strcmp(argument, "--") == 0 && (!reader->only_words || command->runs);

        if (command->runs && settings->word_count > 0 && (separates || reader->only_words)) {
            settings->command_line = reader->arguments + reader->at + separates;
            return true;
        }
        if (separates) {
            reader->only_words = true;
            reader->at++;
        } else if (!reader->only_words && settings_is_flag(argument)) {
            if (!settings_take_flag(reader, &command->flags))
                return false;
        } else if (!settings_take_word(reader)) {
            return false;
        }
    }
    return true;
}

/* ---- checks ---- */

static bool settings_check_keys(const struct settings *settings, char *problem)
{
    for (size_t i = 0; i < settings->word_count && (i == 0 || settings->command->runs); i++) {
        if (!settings_check_key(settings->words[i], problem))
            return false;
        for (size_t before = 0; before < i; before++) {
            if (strcmp(settings->words[before], settings->words[i]) == 0)
                return settings_fail(problem, "key '%.100s': given twice; it would wait for itself",
                                     settings->words[i]);
        }
    }
    return true;
}

/* -c: the shell as flock(1) chooses it. */
static bool settings_take_shell_line(struct settings *settings, char *problem)
{
    static char system_shell[] = "/bin/sh";
    static char run_line[] = "-c";
    char *shell = getenv("SHELL");

    if (settings->command_line)
        return settings_fail(problem, "-c: cannot be combined with a command after --");
    settings->shell_command[0] = shell && *shell ? shell : system_shell;
    settings->shell_command[1] = run_line;
    settings->shell_command[2] = settings->shell_line;
    settings->command_line = settings->shell_command;
    return true;
}

/* Returns whether `word` names a program that -c gives a line to run. */
static bool settings_takes_line(const char *word)
{
    static const char *const names[] = {"sh",  "ash",  "bash", "csh", "dash",
                                        "ksh", "mksh", "fish", "zsh", "tcsh"};
    const char *slash = strrchr(word, '/');
    const char *name = slash ? slash + 1 : word;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return strncmp(name, "python", strlen("python")) == 0;
}

/* flock(1) takes `KEY sh -c LINE` for a command. */
static bool settings_check_shell_line(const struct settings *settings, char *problem)
{
    const char *last = settings->words[settings->word_count - 1];

    if (settings->word_count > 1 && settings_takes_line(last))
        return settings_fail(problem,
                             "'%.100s': another key or a command? for a command write: "
                             "-- %.100s -c LINE, or only -c LINE",
                             last, last);
    return true;
}

static bool settings_check_words(const struct settings_reader *reader)
{
    struct settings *settings = reader->settings;
    const struct command *command = settings->command;
    char *problem = reader->problem;

    if (settings->word_count < command->words_min)
        return settings_fail(problem, "%s: no key; try: dflockctl %s --help", command->name,
                             command->name);
    if (settings->shell_line && (!settings_take_shell_line(settings, problem) ||
                                 !settings_check_shell_line(settings, problem)))
        return false;
    if (command->runs && !settings->command_line && reader->only_words)
        return settings_fail(problem, "%s: no key or no command; write: dflockctl %s %s",
                             command->name, command->name, command->arguments);
    if (command->runs && !settings->command_line && settings->word_count > 1)
        return settings_fail(problem, "'%.100s': another key or a command? write: dflockctl %s %s",
                             settings->words[1], command->name, command->arguments);
    if (!settings_check_keys(settings, problem))
        return false;
    if (settings->command_line && !settings->command_line[0])
        return settings_fail(problem, "%s: no command to run after --; write: dflockctl %s %s",
                             command->name, command->name, command->arguments);
    return true;
}

static bool settings_read_servers(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    char problem[ADDRESS_PROBLEM_MAX];
    uint32_t count;

    if (strpbrk(settings->server_list, " \t"))
        return flags_wrong_value(reading, "servers", "contains blanks; separate servers by commas");
    if (!settings->addresses)
        settings->addresses = new_memory(ADDRESS_LIST_MAX, sizeof(*settings->addresses));
    if (!address_parse_list(settings->addresses, &count, settings->server_list, problem))
        return flags_wrong_value(reading, "servers", problem);
    for (uint32_t i = 0; i < count; i++)
        settings->servers[i] = settings->addresses[i].text;
    settings->options.servers = settings->servers;
    settings->options.server_count = count;
    return true;
}

static bool settings_read_auth(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    const char *source;

    if (!auth_token_from_flags(reading, "auth-token", settings->auth_token_given,
                               settings->auth_token_file, &settings->auth_token, &source))
        return false;
    settings->options.auth_token = settings->auth_token;
    return true;
}

/* An option of TLS without --tls is an error: the connection would be in plain text. */
static const struct flag_need settings_tls_needs[] = {
    {"tls-ca", "tls"},
    {"tls-client-cert", "tls"},
    {"tls-client-key", "tls"},
    {"tls-server-name", "tls"},
    {"tls-insecure", "tls"},
    {"tls-client-cert", "tls-client-key"},
    {"tls-client-key", "tls-client-cert"},
};

/* Loads the files, so that wrong contents are an error of the command line. */
static bool settings_load_tls_files(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    const struct dflockd_options *options = &settings->options;
    struct dflockd_client *client;
    const char *flag = "tls-client-cert";
    const char *problem = settings->problem;

    if (!options->tls || (!options->tls_ca_file && !options->tls_certificate))
        return true;
    if (dflockd_client_open(&client, options) == DFLOCKD_STATUS_DONE) {
        dflockd_client_close(client);
        return true;
    }
    if (strncmp(problem, "TLS CA", strlen("TLS CA")) == 0)
        flag = "tls-ca";
    else if (strncmp(problem, "TLS key", strlen("TLS key")) == 0)
        flag = "tls-client-key";
    return flags_wrong_value(reading, flag, problem);
}

/* The library would report these files without the name of a flag. */
static bool settings_check_tls_files(struct flags_reading *reading)
{
    const struct settings *settings = reading->options;
    const struct {
        const char *flag;
        const char *path;
    } files[] = {
        {"tls-ca", settings->options.tls_ca_file},
        {"tls-client-cert", settings->options.tls_certificate},
        {"tls-client-key", settings->options.tls_key},
    };
    char problem[FLAGS_PROBLEM_MAX];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (!files[i].path || access(files[i].path, R_OK) == 0)
            continue;
        settings_fail(problem, "cannot read '%.200s': %s", files[i].path, strerror(errno));
        return flags_wrong_value(reading, files[i].flag, problem);
    }
    return settings_load_tls_files(reading);
}

static bool settings_read_retry(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    bool has_timeout = settings->timeout_ms != SETTINGS_NO_TIMEOUT;

    if (settings->try_once) {
        if (has_timeout)
            return flags_wrong(reading, "--try",
                               "cannot be combined with --timeout; it means --timeout 0");
        settings->timeout_ms = 0;
    }
    if (!settings->command->waits || !flags_given(reading, "retry"))
        settings->retry = settings->timeout_ms == SETTINGS_NO_TIMEOUT ? RETRY_WAITERS : RETRY_NEVER;
    else
        settings->retry = settings->retry_given ? RETRY_ALWAYS : RETRY_NEVER;
    if (settings->retry == RETRY_ALWAYS && settings->timeout_ms == 0)
        status_report(
            "warning: --retry: has no effect without time to wait; leave out --try or --timeout 0");
    return true;
}

/* Returns the number of a signal, given as a number or as a name with or without SIG; 0: none. */
static int settings_parse_signal(const char *text)
{
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    char *end;
    long number = strtol(text, &end, 10);

    if (*text >= '0' && *text <= '9')
        return *end == '\0' && number > 0 && number <= SIGRTMAX ? (int)number : 0;
    for (int signal = 1; signal < SIGRTMIN; signal++) {
        const char *known = sigabbrev_np(signal);

        if (known && strcasecmp(known, name) == 0)
            return signal;
    }
    return 0;
}

static bool settings_read_on_loss(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    char problem[FLAGS_PROBLEM_MAX];

    if (!settings->on_loss_given)
        return true;
    if (!settings->while_pid)
        return flags_wrong(reading, "--on-loss", "needs --while, which names the process");
    settings->on_loss = settings_parse_signal(settings->on_loss_given);
    if (settings->on_loss)
        return true;
    settings_fail(problem, "'%.40s' is not a signal; give a name such as TERM, or a number",
                  settings->on_loss_given);
    return flags_wrong(reading, "--on-loss", problem);
}

/* As `show` prints a fence, 16 hex digits, or as DFLOCKD_FENCE has it, in decimal. */
static bool settings_read_fence(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    const char *text = settings->fence_given;
    bool hex = text && strlen(text) == DFLOCKD_TOKEN_LENGTH / 2;
    char problem[FLAGS_PROBLEM_MAX];

    if (!text)
        return true;
    if (settings->all)
        return flags_wrong(reading, "--all", "cannot be combined with --fence");
    errno = 0;
    if (text[strspn(text, hex ? "0123456789abcdefABCDEF" : "0123456789")] == '\0')
        settings->fence = strtoull(text, NULL, hex ? 16 : 10);
    if (settings->fence > 0 && errno == 0)
        return true;
    settings_fail(problem, "'%.40s' is not a fence; give the 16 hex digits that show prints", text);
    return flags_wrong(reading, "--fence", problem);
}

static bool settings_check_flags(struct flags_reading *reading)
{
    const struct settings *settings = reading->options;
    char problem[FLAGS_PROBLEM_MAX];

    if (settings->name && *settings->name && !name_is_valid(settings->name))
        return flags_wrong(reading, "--name",
                           "not printable UTF-8 of up to 128 bytes; give such a text, or none");
    if (settings->shared && settings->limit > 0)
        return flags_wrong(reading, "--shared",
                           "cannot be combined with -n: a semaphore has a holder for each slot");
    if (strcmp(settings->command->name, "sem") == 0 && settings->limit == 0)
        return flags_wrong(reading, "-n", "missing; give the number of slots");
    if (settings->while_pid && !settings->hold)
        return flags_wrong(reading, "--while", "cannot be combined with --no-hold");
    if (settings->sort && !key_stats_has_order(settings->sort)) {
        settings_fail(problem, "'%.40s' is not key, kind, holders, waiters, lease or server",
                      settings->sort);
        return flags_wrong(reading, "--sort", problem);
    }
    return true;
}

/* Reads the values of the flags. Sets all options if the command is known. */
static enum flags_result settings_read_flags(struct settings_reader *reader,
                                             const struct flags *flags)
{
    struct settings *settings = reader->settings;
    struct flags_reading reading;
    enum flags_result result =
        flags_read(&reading, flags, settings, reader->flag_count, reader->flags);

    if (result == FLAGS_RUN && settings->command &&
        (!settings_read_servers(&reading) || !settings_read_auth(&reading) ||
         !flags_check_needs(&reading, settings_tls_needs,
                            sizeof(settings_tls_needs) / sizeof(settings_tls_needs[0])) ||
         !settings_check_tls_files(&reading) || !settings_read_retry(&reading) ||
         !settings_read_on_loss(&reading) || !settings_read_fence(&reading) ||
         !settings_check_flags(&reading)))
        result = FLAGS_WRONG;
    if (result == FLAGS_WRONG)
        memcpy(reader->problem, reading.problem, FLAGS_PROBLEM_MAX);
    settings->options.connect_timeout_ms = (uint32_t)settings->connect_timeout_ms;
    settings->options.reply_timeout_ms = (uint32_t)settings->reply_timeout_ms;
    return result;
}

/*
 * Warns of variables that look like those of a flag. Those of lock and of the server have other
 * readers.
 */
static void settings_warn_of_variables(const struct flags *flags)
{
    static const char *const others[] = {
        "DFLOCKD_KEY=",    "DFLOCKD_KEYS=",          "DFLOCKD_TOKEN=",
        "DFLOCKD_TOKENS=", "DFLOCKD_TLS_CLIENT_CA=", "DFLOCKD_READ_TIMEOUT_S="};

    for (char **entry = environ; *entry; entry++) {
        char suggestion[FLAGS_SOURCE_MAX];
        bool other = !flags_is_unknown_variable(flags, *entry);

        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
            other |= strncmp(*entry, others[i], strlen(others[i])) == 0;
        if (!other && flags_suggest_variable(flags, *entry, suggestion))
            status_report("warning: %.*s: unknown variable; did you mean %s?",
                          (int)strcspn(*entry, "="), *entry, suggestion);
    }
}

/* A connection that holds nothing needs no name, except in the log of revocations. */
static void settings_choose_name(struct settings *settings)
{
    if (settings->command->run == revoke_run)
        return;
    settings->options.name = "";
    if (!settings->command->waits)
        return;
    if (!settings->name)
        holder_name_build(settings->holder_name, settings);
    settings->options.name = settings->name ? settings->name : settings->holder_name;
}

/* ---- the command line as a whole ---- */

/* Finds the command that the next argument names. */
static bool settings_take_command(struct settings_reader *reader)
{
    const char *name = reader->at < reader->count ? reader->arguments[reader->at++] : NULL;
    const struct command *similar;

    if (!name)
        return settings_fail(reader->problem, "no command; dflockctl --help lists them");
    reader->settings->command = command_find(name);
    if (reader->settings->command)
        return true;
    similar = command_find_similar(name);
    if (similar)
        return settings_fail(reader->problem,
                             "'%.100s': unknown command; did you mean: dflockctl %s", name,
                             similar->name);
    return settings_fail(reader->problem, "'%.100s': unknown command; dflockctl --help lists them",
                         name);
}

static enum flags_result settings_read_all(struct settings_reader *reader)
{
    struct settings *settings = reader->settings;
    enum flags_result result;

    while (reader->at < reader->count && settings_is_flag(reader->arguments[reader->at])) {
        if (!settings_take_flag(reader, command_flags()))
            return FLAGS_WRONG;
    }
    if (reader->at < reader->count && strcmp(reader->arguments[reader->at], "help") == 0) {
        reader->at++;
        return reader->at == reader->count || settings_take_command(reader) ? FLAGS_HELP
                                                                            : FLAGS_WRONG;
    }
    /* For --help and --version before a command. */
    result = settings_read_flags(reader, command_flags());
    if (result != FLAGS_RUN)
        return result;
    if (!settings_take_command(reader) || !settings_take_arguments(reader))
        return FLAGS_WRONG;
    result = settings_read_flags(reader, &settings->command->flags);
    if (result == FLAGS_RUN && !settings_check_words(reader))
        result = FLAGS_WRONG;
    if (result == FLAGS_RUN)
        settings_choose_name(settings);
    if (result == FLAGS_RUN)
        settings_warn_of_variables(command_flags());
    return result;
}

enum flags_result settings_read(struct settings *settings, int count, char **arguments,
                                char problem[FLAGS_PROBLEM_MAX])
{
    struct settings_reader reader = {
        .settings = settings,
        .problem = problem,
        .count = count,
        .arguments = arguments,
        .at = 1,
        .flags = new_memory((size_t)count + 1, sizeof(char *)),
        .flag_count = 1,
    };
    enum flags_result result;

    memset(settings, 0, sizeof(*settings));
    dflockd_options_init(&settings->options);
    settings->options.problem = settings->problem;
    settings->timeout_ms = SETTINGS_NO_TIMEOUT;
    settings->conflict_status = STATUS_TIMED_OUT;
    reader.flags[0] = arguments[0];
    result = settings_read_all(&reader);
    flags_wipe(settings->command ? &settings->command->flags : command_flags(), "auth-token",
               reader.flag_count, reader.flags);
    settings->auth_token_given = NULL;
    free(reader.flags);
    return result;
}

void settings_free(struct settings *settings)
{
    auth_token_free(settings->auth_token);
    free(settings->addresses);
    memset(settings, 0, sizeof(*settings));
}
