#include "dflockctl/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auth_token.h"
#include "dflockctl/census.h"
#include "dflockctl/command.h"
#include "dflockctl/status.h"
#include "dflockd/protocol.h"

/* The arguments sorted out: those that are flags, or values of flags, as flags_read takes them. */
struct sorted {
    char **flags;
    int count;
};

__attribute__((format(printf, 2, 3))) static bool wrong(char problem[FLAGS_PROBLEM_MAX],
                                                        const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(problem, FLAGS_PROBLEM_MAX, format, arguments);
    va_end(arguments);
    return false;
}

bool settings_is_key(const char *text)
{
    return *text && strlen(text) <= DFLOCKD_KEY_MAX && !strpbrk(text, " \t\r\n");
}

/* ---- flags apart from words ---- */

static bool is_flag(const char *argument)
{
    return argument[0] == '-' && argument[1] && strcmp(argument, "--") != 0;
}

/* Whether the flag has its value in the next argument. One that isn't known has none. */
static bool value_follows(const struct flags *flags, const char *argument)
{
    const char *name = argument + (argument[1] == '-' ? 2 : 1);

    for (size_t i = 0; i < flags->count; i++) {
        const struct flag *flag = &flags->table[i];

        if (strcmp(flag->name, name) == 0)
            return flag->type == FLAG_TEXT || flag->type == FLAG_NUMBER || flag->type == FLAG_OCTAL;
    }
    return false;
}

/* Takes the flag at `at`, and its value; returns where the next argument is. */
static int take_flag(struct sorted *sorted, const struct flags *flags, int count, char **arguments,
                     int at)
{
    bool follows = value_follows(flags, arguments[at]);

    sorted->flags[sorted->count++] = arguments[at++];
    if (follows && at < count)
        sorted->flags[sorted->count++] = arguments[at++];
    return at;
}

static bool take_word(struct settings *settings, char *word, char problem[FLAGS_PROBLEM_MAX])
{
    const struct command *command = settings->command;

    if (settings->word_count < command->words_most) {
        settings->words[settings->word_count++] = word;
        return true;
    }
    if (command->runs)
        return wrong(problem,
                     "'%.100s' stands before --; the command follows it, as in: "
                     "dflockctl %s KEY -- COMMAND",
                     word, command->name);
    return wrong(problem, "'%.100s' is one word too many; try: dflockctl %s --help", word,
                 command->name);
}

/* What follows the command's name. */
static bool sort_out(struct settings *settings, struct sorted *sorted, int count, char **arguments,
                     int at, char problem[FLAGS_PROBLEM_MAX])
{
    const struct command *command = settings->command;
    bool only_words = false;

    while (at < count) {
        if (strcmp(arguments[at], "--") == 0 && (!only_words || command->runs)) {
            only_words = true;
            at++;
            if (command->runs && settings->word_count == command->words_most) {
                settings->command_line = arguments + at;
                return true;
            }
        } else if (!only_words && is_flag(arguments[at])) {
            at = take_flag(sorted, &command->flags, count, arguments, at);
        } else if (only_words && command->runs && settings->word_count == command->words_most) {
            settings->command_line = arguments + at;
            return true;
        } else if (!take_word(settings, arguments[at++], problem)) {
            return false;
        }
    }
    return true;
}

/* ---- what the words and flags must be ---- */

static bool check_words(const struct settings *settings, char problem[FLAGS_PROBLEM_MAX])
{
    const struct command *command = settings->command;

    if (settings->word_count < command->words_least)
        return wrong(problem, "%s needs a key; try: dflockctl %s --help", command->name,
                     command->name);
    if (settings->word_count > 0 && !settings_is_key(settings->words[0]))
        return wrong(problem, "'%.100s' is no key: that has 1 to 256 bytes and no blanks",
                     settings->words[0]);
    if (command->runs && (!settings->command_line || !settings->command_line[0]))
        return wrong(problem, "there is no command to run; write: dflockctl %s %s -- COMMAND",
                     command->name, settings->words[0]);
    return true;
}

static bool read_servers(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    char *rest = settings->servers_text = strdup(settings->server_list);
    size_t count = 0;
    char *server;

    if (!rest)
        die_of_memory();
    while ((server = strsep(&rest, ","))) {
        if (!*server || strpbrk(server, " \t"))
            return flags_wrong_value(
                reading, "servers",
                "give host:port or unix:/path, several with commas between them "
                "and no blanks");
        if (count == SETTINGS_SERVERS_MAX)
            return flags_wrong_value(reading, "servers", "more than 64 servers");
        settings->servers[count++] = server;
    }
    settings->options.servers = settings->servers;
    settings->options.server_count = count;
    return true;
}

static bool read_auth(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    const char *source;

    if (!auth_token_from_flags(reading, settings->auth_token_given, settings->auth_token_file,
                               &settings->auth_token, &source))
        return false;
    settings->options.auth_token = settings->auth_token;
    return true;
}

/* Nobody speaks in the clear who gave half of TLS. */
static bool read_tls(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    struct {
        const char *flag;
        const char **value;
    } texts[] = {
        {"tls-ca", &settings->tls_ca},
        {"tls-client-cert", &settings->tls_certificate},
        {"tls-client-key", &settings->tls_key},
        {"tls-server-name", &settings->tls_server_name},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (*texts[i].value && **texts[i].value == '\0')
            *texts[i].value = NULL;
        if (*texts[i].value && !settings->tls)
            return flags_wrong_value(reading, texts[i].flag, "needs --tls with it");
    }
    if (settings->tls_insecure && !settings->tls)
        return flags_wrong_value(reading, "tls-insecure", "needs --tls with it");
    if (settings->tls_certificate && !settings->tls_key)
        return flags_wrong_value(reading, "tls-client-cert", "needs --tls-client-key with it");
    if (settings->tls_key && !settings->tls_certificate)
        return flags_wrong_value(reading, "tls-client-key", "needs --tls-client-cert with it");
    settings->options.tls = settings->tls;
    settings->options.tls_ca_file = settings->tls_ca;
    settings->options.tls_certificate = settings->tls_certificate;
    settings->options.tls_key = settings->tls_key;
    settings->options.tls_server_name = settings->tls_server_name;
    settings->options.tls_insecure = settings->tls_insecure;
    return true;
}

/* Whether the command waits for a lock. */
static bool has_retry(const struct settings *settings)
{
    return settings->command->runs || strcmp(settings->command->name, "acquire") == 0;
}

/* What can't be together, or must. */
static bool check_flags(struct flags_reading *reading)
{
    struct settings *settings = reading->options;

    if (settings->try_once) {
        if (settings->timeout_s != DFLOCKD_SECONDS_MAX)
            return flags_wrong(reading, "--try", "is --timeout 0, and goes without --timeout");
        settings->timeout_s = 0;
    }
    if (has_retry(settings) && flags_given(reading, "retry"))
        settings->retry = settings->retry_given ? RETRY_ALWAYS : RETRY_NEVER;
    else if (settings->timeout_s == DFLOCKD_SECONDS_MAX)
        settings->retry = RETRY_WAITERS;
    if (strcmp(settings->command->name, "sem") == 0 && settings->limit == 0)
        return flags_wrong(reading, "-n", "is needed: how many may hold it at a time");
    if (settings->while_pid && !settings->hold)
        return flags_wrong(reading, "--while",
                           "leaves a process behind, and goes without --no-hold");
    if (settings->sort && !census_order_is(settings->sort))
        return flags_wrong(reading, "--sort",
                           "there is key, kind, holders, waiters, lease and server");
    return true;
}

static enum flags_result read_flags(struct settings *settings, const struct flags *flags,
                                    const struct sorted *sorted, char problem[FLAGS_PROBLEM_MAX])
{
    struct flags_reading reading;
    enum flags_result result = flags_read(&reading, flags, settings, sorted->count, sorted->flags);

    if (result == FLAGS_RUN && settings->command &&
        (!read_servers(&reading) || !read_auth(&reading) || !read_tls(&reading) ||
         !check_flags(&reading)))
        result = FLAGS_WRONG;
    if (result == FLAGS_WRONG)
        memcpy(problem, reading.problem, FLAGS_PROBLEM_MAX);
    settings->options.connect_timeout_ms = (uint32_t)(settings->connect_timeout_s * 1000);
    settings->options.reply_timeout_ms = (uint32_t)(settings->reply_timeout_s * 1000);
    return result;
}

/* ---- all of it ---- */

static bool find_command(struct settings *settings, const char *name,
                         char problem[FLAGS_PROBLEM_MAX])
{
    const struct command *like;

    settings->command = command_find(name);
    if (settings->command)
        return true;
    like = command_like(name);
    if (like)
        return wrong(problem, "there is no command '%.100s'; did you mean: dflockctl %s", name,
                     like->name);
    return wrong(problem, "there is no command '%.100s'; dflockctl --help lists them", name);
}

static enum flags_result read_all(struct settings *settings, struct sorted *sorted, int count,
                                  char **arguments, char problem[FLAGS_PROBLEM_MAX])
{
    enum flags_result result;
    int at = 1;

    while (at < count && is_flag(arguments[at]))
        at = take_flag(sorted, command_flags(), count, arguments, at);
    if (at < count && strcmp(arguments[at], "help") == 0) {
        if (at + 1 < count && !find_command(settings, arguments[at + 1], problem))
            return FLAGS_WRONG;
        return FLAGS_HELP;
    }
    /* What stands before the command is about servers only, or asks for help. */
    result = read_flags(settings, command_flags(), sorted, problem);
    if (result != FLAGS_RUN)
        return result;
    if (at == count)
        wrong(problem, "no command is given; dflockctl --help lists them");
    if (at == count || !find_command(settings, arguments[at], problem) ||
        !sort_out(settings, sorted, count, arguments, at + 1, problem))
        return FLAGS_WRONG;
    result = read_flags(settings, &settings->command->flags, sorted, problem);
    if (result == FLAGS_RUN && !check_words(settings, problem))
        result = FLAGS_WRONG;
    return result;
}

enum flags_result settings_read(struct settings *settings, int count, char **arguments,
                                char problem[FLAGS_PROBLEM_MAX])
{
    struct sorted sorted = {.flags = new_memory((size_t)count + 1, sizeof(char *)), .count = 1};
    enum flags_result result;

    memset(settings, 0, sizeof(*settings));
    dflockd_options_init(&settings->options);
    settings->options.problem = settings->problem;
    settings->timeout_s = DFLOCKD_SECONDS_MAX;
    sorted.flags[0] = arguments[0];
    result = read_all(settings, &sorted, count, arguments, problem);
    /* Also what was given in vain. */
    flags_wipe(settings->command ? &settings->command->flags : command_flags(), "auth-token",
               sorted.count, sorted.flags);
    settings->auth_token_given = NULL;
    free(sorted.flags);
    return result;
}

void settings_free(struct settings *settings)
{
    auth_token_free(settings->auth_token);
    free(settings->servers_text);
    memset(settings, 0, sizeof(*settings));
}
