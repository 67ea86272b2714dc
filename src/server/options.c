#include "server/options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dflockd/protocol.h"
#include "server/client_id.h"

enum option_type {
    OPTION_TEXT,
    OPTION_NUMBER,
    OPTION_BOOLEAN,
    OPTION_HELP,
    OPTION_VERSION,
    /* Known upstream and not built yet: refused, unless it asks for nothing (0 or empty). */
    OPTION_UNSUPPORTED
};

enum {
    SECONDS_MAX = INT_MAX, /* of intervals and time-outs of the server itself */
    COUNT_MAX = INT_MAX,
    AUTH_FILE_MAX = 1 << 20 /* blanks around the token included */
};

struct option {
    const char *flag;
    const char *variable; /* without VARIABLE_PREFIX; NULL: none */
    const char *variable_old;
    enum option_type type;
    size_t field;
    uint64_t least;
    uint64_t most;
    const char *initial;
    const char *help;
};

#define VARIABLE_PREFIX "DFLOCKD_"
#define FIELD(name)     offsetof(struct options, name)

#define TEXT(flag, variable, name, initial, help)                           \
    {                                                                       \
        flag, variable, NULL, OPTION_TEXT, FIELD(name), 0, 0, initial, help \
    }
#define NUMBER(flag, variable, old, name, least, most, initial, help)               \
    {                                                                               \
        flag, variable, old, OPTION_NUMBER, FIELD(name), least, most, initial, help \
    }
#define BOOLEAN(flag, variable, name, initial, help)                           \
    {                                                                          \
        flag, variable, NULL, OPTION_BOOLEAN, FIELD(name), 0, 0, initial, help \
    }
#define UNSUPPORTED(flag, variable)                                   \
    {                                                                 \
        flag, variable, NULL, OPTION_UNSUPPORTED, 0, 0, 0, NULL, NULL \
    }

static const struct option table[] = {
    TEXT("host", "HOST", host, "127.0.0.1", "Address or name to listen on"),
    NUMBER("port", "PORT", NULL, port, 0, 65535, "6388",
           "Port to listen on; 0 takes a free one and logs it"),
    NUMBER("default-lease-ttl", "DEFAULT_LEASE_TTL_S", NULL, default_lease_s, 1,
           DFLOCKD_SECONDS_MAX, "33", "Seconds of a lease that a request does not give"),
    NUMBER("lease-sweep-interval", "LEASE_SWEEP_INTERVAL_S", NULL, lease_sweep_interval_s, 1,
           SECONDS_MAX, "1", "Accepted, without effect: a lease ends within 20 ms of its deadline"),
    NUMBER("gc-interval", "GC_INTERVAL_S", "GC_LOOP_SLEEP", gc_interval_s, 1, SECONDS_MAX, "5",
           "Seconds between collections of idle keys"),
    NUMBER("gc-max-idle", "GC_MAX_IDLE_S", "GC_MAX_UNUSED_TIME", gc_max_idle_s, 0, SECONDS_MAX,
           "60", "Seconds a key is idle before it is collected; 0: at once"),
    NUMBER("max-locks", "MAX_LOCKS", NULL, max_locks, 1, COUNT_MAX, "1024",
           "Most keys known at a time, idle ones too"),
    NUMBER("max-connections", "MAX_CONNECTIONS", NULL, max_connections, 0, COUNT_MAX, "0",
           "Most connections at a time; 0: no limit"),
    UNSUPPORTED("max-connections-per-ip", "MAX_CONNECTIONS_PER_IP"),
    NUMBER("max-waiters", "MAX_WAITERS", NULL, max_waiters, 0, COUNT_MAX, "0",
           "Most waiters of one key; 0: no limit"),
    NUMBER("read-timeout", "READ_TIMEOUT_S", NULL, read_timeout_s, 1, SECONDS_MAX, "23",
           "Seconds to wait for a line, and for a request where nothing is held"),
    NUMBER("write-timeout", "WRITE_TIMEOUT_S", NULL, write_timeout_s, 0, SECONDS_MAX, "5",
           "Seconds a peer may not read its answers; 0: no limit"),
    NUMBER("shutdown-timeout", "SHUTDOWN_TIMEOUT_S", NULL, shutdown_timeout_s, 0, SECONDS_MAX, "30",
           "Seconds of draining after SIGTERM or SIGINT; 0: no limit"),
    BOOLEAN("auto-release-on-disconnect", "AUTO_RELEASE_ON_DISCONNECT", auto_release_on_disconnect,
            "true", "Release what a client holds when its connection ends"),
    UNSUPPORTED("tls-cert", "TLS_CERT"),
    UNSUPPORTED("tls-key", "TLS_KEY"),
    TEXT("auth-token", "AUTH_TOKEN", auth_token_given, NULL,
         "Secret that clients must send first; visible in the list of processes"),
    TEXT("auth-token-file", "AUTH_TOKEN_FILE", auth_token_file, NULL, "File with that secret"),
    UNSUPPORTED("fence-state-file", "FENCE_STATE_FILE"),
    UNSUPPORTED("unix-socket", "UNIX_SOCKET"),
    UNSUPPORTED("http-port", "HTTP_PORT"),
    UNSUPPORTED("http-host", "HTTP_HOST"),
    UNSUPPORTED("http-session-idle-timeout", "HTTP_SESSION_IDLE_S"),
    UNSUPPORTED("http-max-sessions", "HTTP_MAX_SESSIONS"),
    UNSUPPORTED("http-max-sessions-per-ip", "HTTP_MAX_SESSIONS_PER_IP"),
    UNSUPPORTED("http-max-connections-per-ip", "HTTP_MAX_CONNECTIONS_PER_IP"),
    UNSUPPORTED("http-rate-limit-per-ip", "HTTP_RATE_LIMIT_PER_IP"),
    UNSUPPORTED("http-rate-limit-burst", "HTTP_RATE_LIMIT_BURST"),
    UNSUPPORTED("http-cors-allowed-origins", "HTTP_CORS_ALLOWED_ORIGINS"),
    NUMBER("threads", "THREADS", NULL, threads, 0, WORKERS_MAX, "0",
           "Worker threads; 0: one for each CPU this process may run on"),
    BOOLEAN("debug", "DEBUG", debug, "false", "Log every connection"),
    {"version", NULL, NULL, OPTION_VERSION, 0, 0, 0, NULL, "Print the version and exit"},
    {"help", NULL, NULL, OPTION_HELP, 0, 0, 0, NULL, "Print this and exit"},
    {"h", NULL, NULL, OPTION_HELP, 0, 0, 0, NULL, NULL},
};

enum {
    OPTION_COUNT = sizeof(table) / sizeof(table[0])
};

/* A reading of the options: where each was given, and what went wrong first. */
struct reading {
    struct options *options;
    bool by_flag[OPTION_COUNT];
    bool help;
    bool version;
    char *problem;
};

static bool wrong(struct reading *reading, const char *name, const char *what)
{
    snprintf(reading->problem, OPTIONS_PROBLEM_MAX, "%.200s: %.300s", name, what);
    /* One line, whatever was given. */
    for (char *at = reading->problem; *at; at++) {
        if (iscntrl((unsigned char)*at))
            *at = '?';
    }
    return false;
}

static bool parse_boolean(const char *text, bool *value)
{
    static const char *const yes[] = {"true", "t", "1", "yes", "on"};
    static const char *const no[] = {"false", "f", "0", "no", "off"};

    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *value = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool parse_number(const struct option *option, const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *value >= option->least &&
           *value <= option->most;
}

/* Takes `text` for `option`; `name` is how the user wrote it, for the message. */
static bool take(struct reading *reading, const struct option *option, const char *name,
                 const char *text)
{
    char *field = (char *)reading->options + option->field;
    char range[128];

    switch (option->type) {
    case OPTION_TEXT:
        memcpy(field, &text, sizeof(text));
        return true;
    case OPTION_NUMBER: {
        uint64_t value;

        if (!parse_number(option, text, &value)) {
            snprintf(range, sizeof(range), "'%.40s' is not a whole number from %llu to %llu", text,
                     (unsigned long long)option->least, (unsigned long long)option->most);
            return wrong(reading, name, range);
        }
        memcpy(field, &value, sizeof(value));
        return true;
    }
    case OPTION_BOOLEAN: {
        bool value;

        if (!parse_boolean(text, &value)) {
            snprintf(range, sizeof(range), "'%.40s' is neither true nor false", text);
            return wrong(reading, name, range);
        }
        memcpy(field, &value, sizeof(value));
        return true;
    }
    case OPTION_UNSUPPORTED:
        if (*text == '\0' || strcmp(text, "0") == 0)
            return true;
        return wrong(reading, name, "not supported by this version; remove it to go on without");
    case OPTION_HELP:
        return parse_boolean(text, &reading->help) ||
               wrong(reading, name, "takes no value but true or false");
    case OPTION_VERSION:
        return parse_boolean(text, &reading->version) ||
               wrong(reading, name, "takes no value but true or false");
    }
    return false;
}

static const struct option *find(const char *flag, size_t length)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (strlen(table[i].flag) == length && memcmp(table[i].flag, flag, length) == 0)
            return &table[i];
    }
    return NULL;
}

static bool takes_no_value(const struct option *option)
{
    return option->type == OPTION_BOOLEAN || option->type == OPTION_HELP ||
           option->type == OPTION_VERSION;
}

/* One flag with its value; `*at` moves behind what was used. */
static bool read_flag(struct reading *reading, int count, char *const *arguments, int *at)
{
    const char *argument = arguments[(*at)++];
    const char *name = argument + (argument[0] == '-') + (argument[0] == '-' && argument[1] == '-');
    const char *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *option = find(name, length);
    char shown[64];
    const char *value;

    if (argument[0] != '-')
        return wrong(reading, argument, "is not a flag; try --help");
    snprintf(shown, sizeof(shown), "--%.*s", (int)(length < 48 ? length : 48), name);
    if (option) {
        value = equals ? equals + 1 : takes_no_value(option) ? "true" : NULL;
    } else {
        option = length > 3 && memcmp(name, "no-", 3) == 0 ? find(name + 3, length - 3) : NULL;
        if (!option || option->type != OPTION_BOOLEAN)
            return wrong(reading, shown, "unknown flag; try --help");
        if (equals)
            return wrong(reading, shown, "takes no value");
        value = "false";
    }
    if (!value) {
        if (*at >= count)
            return wrong(reading, shown, "needs a value");
        value = arguments[(*at)++];
    }
    reading->by_flag[option - table] = true;
    return take(reading, option, shown, value);
}

static const char *variable_value(const char *variable, char name[64])
{
    const char *value;

    if (!variable)
        return NULL;
    snprintf(name, 64, VARIABLE_PREFIX "%s", variable);
    value = getenv(name);
    return value && *value ? value : NULL;
}

/* Every option that no flag gave: from its variable, or its default. */
static bool read_variables(struct reading *reading)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &table[i];
        char name[64] = "";
        const char *value;

        if (reading->by_flag[i])
            continue;
        value = variable_value(option->variable, name);
        if (!value)
            value = variable_value(option->variable_old, name);
        if (!value)
            value = option->initial;
        if (value && !take(reading, option, name, value))
            return false;
    }
    return true;
}

/* ---- the auth token ---- */

/* What is trimmed from a token is what `auth` trims from a client's (wire/request.c). */
static bool is_blank(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static bool set_token(struct reading *reading, const char *name, const char *text, size_t length)
{
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    while (length > 0 && is_blank(text[0])) {
        text++;
        length--;
    }
    if (length == 0)
        return wrong(reading, name, "the auth token is empty");
    if (length > DFLOCKD_AUTH_LINE_MAX)
        return wrong(reading, name, "the auth token is longer than 65536 bytes");
    if (memchr(text, '\n', length) || memchr(text, '\r', length))
        return wrong(reading, name, "the auth token holds a newline");
    if (memchr(text, '\0', length))
        return wrong(reading, name, "the auth token holds a NUL byte");
    reading->options->auth_token = strndup(text, length);
    return reading->options->auth_token || wrong(reading, name, "out of memory");
}

static bool read_token_file(struct reading *reading, const char *name, const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = file ? malloc(AUTH_FILE_MAX) : NULL;
    bool fine = false;
    size_t length;
    char what[300];

    if (!text) {
        snprintf(what, sizeof(what), "cannot read '%.200s': %s", path, strerror(errno));
        wrong(reading, name, what);
    } else {
        length = fread(text, 1, AUTH_FILE_MAX, file);
        if (ferror(file)) {
            snprintf(what, sizeof(what), "cannot read '%.200s': %s", path, strerror(errno));
            wrong(reading, name, what);
        } else if (length == AUTH_FILE_MAX) {
            wrong(reading, name, "the file is longer than a token with blanks around it");
        } else {
            fine = set_token(reading, name, text, length);
        }
        sodium_memzero(text, AUTH_FILE_MAX);
        free(text);
    }
    if (file)
        fclose(file);
    return fine;
}

/* The first of: flag, file's flag, variable, file's variable. */
static bool read_auth(struct reading *reading)
{
    const struct options *options = reading->options;
    const struct option *token = find("auth-token", strlen("auth-token"));
    const struct option *file = find("auth-token-file", strlen("auth-token-file"));
    bool token_by_flag = reading->by_flag[token - table];
    bool file_by_flag = reading->by_flag[file - table];

    if (options->auth_token_given && (token_by_flag || !file_by_flag))
        return set_token(reading, token_by_flag ? "--auth-token" : VARIABLE_PREFIX "AUTH_TOKEN",
                         options->auth_token_given, strlen(options->auth_token_given));
    if (options->auth_token_file)
        return read_token_file(
            reading, file_by_flag ? "--auth-token-file" : VARIABLE_PREFIX "AUTH_TOKEN_FILE",
            options->auth_token_file);
    return true;
}

enum options_result options_read(struct options *options, int count, char *const *arguments,
                                 char problem[OPTIONS_PROBLEM_MAX])
{
    struct reading reading = {.options = options, .problem = problem};
    int at = 1;

    memset(options, 0, sizeof(*options));
    while (at < count) {
        /* As Go's flag package has it: no flag follows, and we take nothing else. */
        if (strcmp(arguments[at], "--") == 0) {
            if (++at == count)
                break;
            wrong(&reading, arguments[at], "is not a flag; try --help");
            return OPTIONS_WRONG;
        }
        if (!read_flag(&reading, count, arguments, &at))
            return OPTIONS_WRONG;
        if (reading.help)
            return OPTIONS_HELP;
    }
    if (reading.version)
        return OPTIONS_VERSION;
    if (!read_variables(&reading) || !read_auth(&reading))
        return OPTIONS_WRONG;
    return OPTIONS_RUN;
}

void options_free(struct options *options)
{
    if (options->auth_token)
        sodium_memzero(options->auth_token, strlen(options->auth_token));
    free(options->auth_token);
    options->auth_token = NULL;
}

void options_print_help(void)
{
    printf("Usage: dflockd [flags]\n\n"
           "A server of FIFO locks and semaphores by key, with leases, over TCP.\n\n"
           "An explicit flag wins over its environment variable, the variable over the default.\n"
           "\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &table[i];

        if (option->type == OPTION_UNSUPPORTED) {
            printf("  --%s\n      Not supported by this version. %s%s\n", option->flag,
                   VARIABLE_PREFIX, option->variable);
            continue;
        }
        if (!option->help)
            continue;
        printf("  --%s\n      %s.", option->flag, option->help);
        if (option->variable)
            printf(" %s%s", VARIABLE_PREFIX, option->variable);
        if (option->variable_old)
            printf(", formerly %s%s", VARIABLE_PREFIX, option->variable_old);
        if (option->initial)
            printf(" (default %s)", option->initial);
        if (option->type == OPTION_BOOLEAN)
            printf("; --no-%s switches it off", option->flag);
        printf("\n");
    }
}
