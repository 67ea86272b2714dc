#include "bench/settings.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auth_token.h"
#include "bench/process.h"
#include "dflockd/protocol.h"

enum {
    WORKERS_LIMIT = 1000000,
    CONNECTIONS_LIMIT = 1000,
    DEPTH_LIMIT = 10000,
    HELD_LIMIT = 100000000,
    KEYS_LIMIT = 1000000000,
    KEYS_CHECKED_LIMIT = 100000, /* the judge keeps much state per key */
    WEIGHT_LIMIT = 1000000,
    RATE_LIMIT = 100000000,
    SECONDS_LIMIT = 1000000,
    DURATION_S = 10, /* without --rounds and --duration */
    WARMUP_S = 1     /* without --rounds */
};

#define FLAGS_STRUCT struct settings

static const struct flag table[] = {
    TEXT_FLAG("servers", NULL, server_list, "127.0.0.1:6388",
              "Servers: host:port or unix:path, separated by commas; worker i uses server i modulo "
              "their count"),
    NUMBER_FLAG("workers", NULL, NULL, workers, 0, WORKERS_LIMIT, "10", "Concurrent workers"),
    NUMBER_FLAG("connections", NULL, NULL, connections, 0, CONNECTIONS_LIMIT, "1",
                "Connections of each worker, used in turn; 0 means 1"),
    NUMBER_FLAG("rounds", NULL, NULL, rounds, 0, UINT32_MAX, "0",
                "Rounds of each worker; 0: until --duration ends"),
    NUMBER_FLAG("duration", NULL, NULL, duration_s, 1, SECONDS_LIMIT, NULL,
                "Seconds to measure, at most (default 10 without --rounds, no limit with it)"),
    NUMBER_FLAG("warmup", NULL, NULL, warmup, 0, UINT32_MAX, "0",
                "Rounds of each worker before the measurement"),
    NUMBER_FLAG("warmup-seconds", NULL, NULL, warmup_s, 0, SECONDS_LIMIT, NULL,
                "Seconds of load before the measurement (default 1 without --rounds)"),
    TEXT_FLAG("key", NULL, key, "bench", "Prefix of all keys"),
    NUMBER_FLAG("timeout", NULL, NULL, timeout_s, 0, DFLOCKD_SECONDS_MAX, "30",
                "Seconds to wait for a grant; 0: do not wait"),
    NUMBER_FLAG("lease", NULL, NULL, lease_s, 1, DFLOCKD_SECONDS_MAX, "10",
                "Seconds of each lease"),
    BOOLEAN_FLAG("shared-key", NULL, shared_key, NULL, "Same as --keys shared"),
    TEXT_FLAG("load", NULL, load_text, "lock",
              "Work of a round: lock, semaphore, try, two-phase, renew or ping; several with "
              "weights, as in lock=8,renew=1,ping=1"),
    NUMBER_FLAG("limit", NULL, NULL, limit, 1, DFLOCKD_LIMIT_MAX, "1", "Slots of each semaphore"),
    TEXT_FLAG("keys", NULL, keys_text, NULL,
              "Choice of keys: own, shared, uniform:COUNT or zipf:COUNT[:EXPONENT] (default own; "
              "exponent 0.99)"),
    BOOLEAN_FLAG("new-connection", NULL, new_connection, NULL, "A new connection for each round"),
    NUMBER_FLAG("depth", NULL, NULL, depth, 1, DEPTH_LIMIT, "1",
                "Concurrent rounds of each worker, with pipelined requests"),
    NUMBER_FLAG("idle", NULL, NULL, idle, 0, WORKERS_LIMIT, "0", "Additional idle connections"),
    NUMBER_FLAG("held", NULL, NULL, held, 0, HELD_LIMIT, "0",
                "Keys that additional connections hold during the load"),
    NUMBER_FLAG("hold", NULL, NULL, hold_us, 0, UINT32_MAX, "0",
                "Microseconds between grant and release"),
    NUMBER_FLAG("ramp", NULL, NULL, ramp_s, 0, SECONDS_LIMIT, "0",
                "Seconds over which the start of the workers is spread"),
    NUMBER_FLAG("rate", NULL, NULL, rate, 0, RATE_LIMIT, "0",
                "Rounds per second of all workers, started on schedule; latency counts from the "
                "scheduled start. 0: each round follows the previous one"),
    NUMBER_FLAG("threads", NULL, NULL, threads, 0, SETTINGS_THREADS_MAX, "0",
                "Threads of the load; 0: half of the usable CPUs"),
    NUMBER_FLAG("seed", NULL, NULL, seed, 0, UINT64_MAX - 1, NULL,
                "Seed of the random choices (default: the time)"),
    NUMBER_FLAG("server-pid", NULL, NULL, server_pid, 1, INT_MAX, NULL,
                "Process id of the server, to report its CPU time and memory"),
    TEXT_FLAG("protocol", NULL, protocol, "dflockd",
              "Protocol: dflockd or redis (SET with NX and PX, and DEL; only --load lock and try)"),
    TEXT_FLAG("auth-token-file", NULL, auth_token_file, NULL, "File with the auth token"),
    BOOLEAN_FLAG("tls", NULL, tls, NULL,
                 "Use TLS; not with --idle, --held, --auth-token-file or --protocol redis"),
    TEXT_FLAG("tls-ca", NULL, tls_ca, NULL,
              "File with the trusted authorities in PEM (default: those of the system)"),
    BOOLEAN_FLAG("tls-insecure", NULL, tls_insecure, NULL, "Do not verify certificates"),
    BOOLEAN_FLAG("check", NULL, check, NULL,
                 "Check that the server keeps its guarantees, in one thread; exit status 3 if not. "
                 "Tokens must begin with a fence"),
    BOOLEAN_FLAG("quiet", NULL, quiet, NULL, "No progress line every second"),
    BOOLEAN_FLAG("json", NULL, json, NULL, "Print one JSON object"),
    BOOLEAN_FLAG("csv", NULL, csv, NULL,
                 "Print a line of names and a line of comma-separated values"),
    TEXT_FLAG("hdr", NULL, hdr_file, NULL,
              "File for the distribution of request latencies, in microseconds, in the format of "
              "HdrHistogram's tools"),
    HELP_FLAGS,
    VERSION_FLAG("Print the version and exit"),
};

static const struct flags flags = {.table = table, .count = sizeof(table) / sizeof(table[0])};

static const char *settings_load_name(enum load load)
{
    static const char *const names[] = {
#define X(name, word) word,
        SETTINGS_LOADS(X)
#undef X
    };

    return names[load];
}

/* ---- compound values ---- */

/* Parses a number from 1 to `most` and moves `*at` behind it. */
static bool settings_parse_number(const char **at, uint64_t most, uint32_t *value)
{
    char *end;
    unsigned long long number = strtoull(*at, &end, 10);

    if (**at < '0' || **at > '9' || number < 1 || number > most)
        return false;
    *at = end;
    *value = (uint32_t)number;
    return true;
}

/* Parses "name" or "name=weight" up to a comma or the end. */
static bool settings_parse_load(struct settings *settings, const char **at)
{
    size_t length = strcspn(*at, "=,");
    uint32_t weight = 1;
    uint32_t load = 0;

    while (load < LOAD_COUNT && (strlen(settings_load_name((enum load)load)) != length ||
                                 memcmp(settings_load_name((enum load)load), *at, length) != 0))
        load++;
    if (load == LOAD_COUNT)
        return false;
    *at += length;
    if (**at == '=') {
        ++*at;
        if (!settings_parse_number(at, WEIGHT_LIMIT, &weight))
            return false;
    }
    settings->weights[load] += weight;
    settings->weight_sum += weight;
    return settings->weight_sum <= WEIGHT_LIMIT && (**at == ',' || **at == '\0');
}

static bool settings_parse_loads(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    const char *at = settings->load_text;
    char what[200];

    for (;;) {
        if (!settings_parse_load(settings, &at)) {
            snprintf(what, sizeof(what),
                     "invalid '%.60s'; give lock, semaphore, try, two-phase, renew or ping, each "
                     "with an optional =WEIGHT, separated by commas",
                     settings->load_text);
            return flags_wrong(reading, "--load", what);
        }
        if (*at == '\0')
            return true;
        at++;
    }
}

static bool settings_parse_exponent(struct settings *settings, const char *text)
{
    char *end;

    settings->zipf_exponent = strtod(text, &end);
    return *text >= '0' && *text <= '9' && *end == '\0' && settings->zipf_exponent > 0 &&
           settings->zipf_exponent <= 10;
}

static bool settings_parse_keys(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    const char *text = settings->shared_key ? "shared" : "own";
    const char *at;
    char what[200];
    bool fine = true;

    if (settings->keys_text)
        text = settings->keys_text;
    settings->keys_text = text;
    settings->zipf_exponent = 0.99;
    at = strchr(text, ':');
    if (strcmp(text, "own") == 0) {
        settings->key_choice = KEYS_OWN;
    } else if (strcmp(text, "shared") == 0) {
        settings->key_choice = KEYS_SHARED;
    } else if (at && (strncmp(text, "uniform:", 8) == 0 || strncmp(text, "zipf:", 5) == 0)) {
        settings->key_choice = text[0] == 'u' ? KEYS_UNIFORM : KEYS_ZIPF;
        at++;
        fine = settings_parse_number(&at, KEYS_LIMIT, &settings->key_count) &&
               (*at == '\0' || (*at == ':' && settings->key_choice == KEYS_ZIPF &&
                                settings_parse_exponent(settings, at + 1)));
    } else {
        fine = false;
    }
    if (fine)
        return true;
    snprintf(what, sizeof(what),
             "invalid '%.60s'; give own, shared, uniform:COUNT or zipf:COUNT[:EXPONENT], with "
             "COUNT to %d and EXPONENT to 10",
             text, KEYS_LIMIT);
    return flags_wrong(reading, "--keys", what);
}

static bool settings_check_key(struct flags_reading *reading)
{
    const struct settings *settings = reading->options;
    char what[100];

    if (settings->key[0] && strlen(settings->key) <= SETTINGS_KEY_MAX &&
        !strpbrk(settings->key, " \t\r\n"))
        return true;
    snprintf(what, sizeof(what), "must have 1 to %d bytes and no blanks", SETTINGS_KEY_MAX);
    return flags_wrong(reading, "--key", what);
}

static bool settings_parse_protocol(struct flags_reading *reading)
{
    struct settings *settings = reading->options;

    settings->redis = strcmp(settings->protocol, "redis") == 0;
    return settings->redis || strcmp(settings->protocol, "dflockd") == 0 ||
           flags_wrong(reading, "--protocol", "must be dflockd or redis");
}

static bool settings_read_token(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    char problem[AUTH_TOKEN_PROBLEM_MAX];

    if (!settings->auth_token_file)
        return true;
    settings->auth_token = auth_token_read(settings->auth_token_file, problem);
    return settings->auth_token || flags_wrong(reading, "--auth-token-file", problem);
}

/* ---- combinations ---- */

static bool settings_has_redis_loads(const struct settings *settings)
{
    return settings->weight_sum == settings->weights[LOAD_LOCK] + settings->weights[LOAD_TRY];
}

static bool settings_check_combinations(struct flags_reading *reading)
{
    const struct settings *given = reading->options;
    bool keeps_idle = given->idle || given->held;
    const struct {
        bool wrong;
        const char *flag;
        const char *what;
    } rules[] = {
        {given->redis && !settings_has_redis_loads(given), "--protocol",
         "redis supports only --load lock and try"},
        {given->redis && (given->check || given->held || given->auth_token), "--protocol",
         "redis does not support --check, --held and --auth-token-file"},
        /* With shared keys, a worker could hold one key and wait for another: a deadlock. */
        {given->depth > 1 && given->key_choice != KEYS_OWN, "--depth",
         "more than 1 requires --keys own"},
        {given->new_connection && given->connections > 1, "--new-connection",
         "cannot be combined with --connections"},
        {given->new_connection && given->weights[LOAD_RENEW], "--new-connection",
         "cannot be combined with --load renew, which keeps its connections"},
        {given->rate && (given->rounds || given->warmup), "--rate",
         "cannot be combined with --rounds or --warmup; use --duration"},
        {given->check && given->threads > 1, "--check",
         "cannot be combined with --threads above 1"},
        {given->check && (given->server_count > 1 || given->connections > 1), "--check",
         "requires one server and one connection per worker"},
        {given->check && (given->key_count > KEYS_CHECKED_LIMIT ||
                          given->workers * given->depth > KEYS_CHECKED_LIMIT),
         "--check", "supports at most 100000 keys"},
        {given->tls && (keeps_idle || given->auth_token || given->redis), "--tls",
         "cannot be combined with --idle, --held, --auth-token-file or --protocol redis"},
        {given->shared_key && strcmp(given->keys_text, "shared") != 0, "--shared-key",
         "cannot be combined with --keys"},
        {given->json && given->csv, "--csv", "cannot be combined with --json"},
        {given->workers == 0 && (!keeps_idle || given->rounds || given->warmup || given->rate),
         "--workers", "must be at least 1; 0 is only for --idle or --held during --duration"},
    };
    static const struct flag_need needs[] = {{"tls-ca", "tls"}, {"tls-insecure", "tls"}};

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].wrong)
            return flags_wrong(reading, rules[i].flag, rules[i].what);
    }
    return flags_check_needs(reading, needs, sizeof(needs) / sizeof(needs[0]));
}

/* ---- command line ---- */

/* Sets defaults that depend on other flags. */
static void settings_set_defaults(struct flags_reading *reading)
{
    struct settings *settings = reading->options;

    if (settings->connections == 0)
        settings->connections = 1;
    if (!settings->rounds && !settings->duration_s)
        settings->duration_s = DURATION_S;
    if (!flags_given(reading, "warmup-seconds") && !settings->rounds)
        settings->warmup_s = WARMUP_S;
    if (settings->threads == 0 && !settings->check)
        settings->threads = process_usable_cpus() / 2;
    if (settings->threads > settings->workers)
        settings->threads = settings->workers;
    if (settings->threads > SETTINGS_THREADS_MAX)
        settings->threads = SETTINGS_THREADS_MAX;
    if (settings->threads == 0)
        settings->threads = 1;
}

static bool settings_parse_texts(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    char problem[ADDRESS_PROBLEM_MAX];

    return (servers_read(settings->servers, &settings->server_count, settings->server_list,
                         problem) ||
            flags_wrong(reading, "--servers", problem)) &&
           settings_parse_loads(reading) && settings_parse_keys(reading) &&
           settings_check_key(reading) && settings_parse_protocol(reading) &&
           settings_read_token(reading);
}

enum flags_result settings_read(struct settings *settings, int count, char *const *arguments,
                                char problem[FLAGS_PROBLEM_MAX])
{
    struct flags_reading reading;
    enum flags_result result;

    memset(settings, 0, sizeof(*settings));
    settings->seed = UINT64_MAX;
    result = flags_read(&reading, &flags, settings, count, arguments);
    if (result == FLAGS_RUN &&
        (!settings_parse_texts(&reading) || !settings_check_combinations(&reading)))
        result = FLAGS_WRONG;
    if (result == FLAGS_WRONG)
        memcpy(problem, reading.problem, FLAGS_PROBLEM_MAX);
    else
        settings_set_defaults(&reading);
    return result;
}

void settings_free(struct settings *settings)
{
    auth_token_free(settings->auth_token);
    settings->auth_token = NULL;
}

void settings_print_help(void)
{
    printf("Usage: dflockd-bench [flags]\n\n"
           "Generates load on a dflockd and measures it. The latency of a round counts from\n"
           "its first request to its last reply, that of a request to its own reply.\n\n"
           "Exit status: 0 on success, 1 if nothing was measured, 2 if the server closed\n"
           "connections or did not reply, 3 if --check found a violation.\n\n");
    flags_print(&flags);
}
