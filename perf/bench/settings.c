#include "bench/settings.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    WEIGHT_LIMIT = 1000000 * WEIGHT_UNIT,
    RATE_LIMIT = 100000000,
    MS_LIMIT = 1000000000,
    DURATION_MS = 10000, /* without --rounds and --duration */
    WARMUP_MS = 1000     /* without --rounds */
};

#define FLAGS_STRUCT struct settings
#define LOADS        "lock, semaphore, try, two-phase, renew, ping, shared or shared-two-phase"

static const struct flag table[] = {
    TEXT_FLAG(
        "servers", "SERVERS", server_list, "127.0.0.1:6388",
        "`Servers` as host:port, [::1]:port or unix:/path, separated by commas; worker i uses "
        "server i modulo their count"),
    NUMBER_FLAG("workers", NULL, NULL, workers, 0, WORKERS_LIMIT, "10", "Concurrent workers"),
    NUMBER_FLAG("connections", NULL, NULL, connections, 0, CONNECTIONS_LIMIT, "1",
                "Connections of each worker, used in turn; 0 means 1"),
    NUMBER_FLAG("rounds", NULL, NULL, rounds, 0, UINT32_MAX, "0",
                "Rounds of each worker; 0: until --duration ends"),
    SECONDS_FLAG("duration", NULL, duration_ms, 1, MS_LIMIT, NULL,
                 "Seconds to measure, at most (default 10 without --rounds, no limit with it)"),
    NUMBER_FLAG("warmup", NULL, NULL, warmup, 0, UINT32_MAX, "0",
                "Rounds of each worker before the measurement"),
    SECONDS_FLAG("warmup-seconds", NULL, warmup_ms, 0, MS_LIMIT, NULL,
                 "Seconds of load before the measurement (default 1 without --rounds)"),
    TEXT_FLAG("key", NULL, key, "bench", "`Prefix` of all keys"),
    NUMBER_FLAG("timeout", NULL, NULL, timeout_s, 0, DFLOCKD_SECONDS_MAX, "30",
                "Whole `seconds` to wait for a grant; 0: do not wait"),
    NUMBER_FLAG("lease", NULL, NULL, lease_s, 1, DFLOCKD_SECONDS_MAX, "10",
                "Whole `seconds` of each lease"),
    BOOLEAN_FLAG("shared-key", NULL, shared_key, NULL, "Same as --keys shared"),
    TEXT_FLAG("load", NULL, load_text, "lock",
              "Work of a round: " LOADS " (readers of locks). Several with weights, as in "
              "lock=8,renew=1,ping=1; of a sum below 1, as in shared=0.9, lock gets the rest"),
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
    SECONDS_FLAG("ramp", NULL, ramp_ms, 0, MS_LIMIT, "0",
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
    TEXT_FLAG("auth-token-file", "AUTH_TOKEN_FILE", auth_token_file, NULL,
              "`File` with the secret for authentication"),
    TEXT_FLAG("auth-token", "AUTH_TOKEN", auth_token_given, NULL,
              "The `secret` itself, which other users may see for a moment; it takes precedence "
              "over the file, but a flag over both variables"),
    BOOLEAN_FLAG("tls", "TLS", tls, NULL,
                 "Connect with TLS; not with --idle, --held or --protocol redis"),
    TEXT_FLAG(
        "tls-ca", "TLS_CA", tls_ca, NULL,
        "`File` with trusted certificate authorities, in PEM; by default those of the system"),
    TEXT_FLAG("tls-client-cert", "TLS_CLIENT_CERT", tls_certificate, NULL,
              "`File` with the client's certificate, in PEM, for servers that request one"),
    TEXT_FLAG("tls-client-key", "TLS_CLIENT_KEY", tls_key, NULL,
              "`File` with the private key of that certificate, in PEM"),
    TEXT_FLAG("tls-server-name", "TLS_SERVER_NAME", tls_server_name, NULL,
              "`Name` in the certificate of the servers; by default the host of the address"),
    BOOLEAN_FLAG("tls-insecure", "TLS_INSECURE", tls_insecure, NULL,
                 "Accept any certificate: an attacker in the network can read and change "
                 "everything"),
    NUMBER_FLAG("connect-timeout", "CONNECT_TIMEOUT_S", NULL, connect_timeout_s, 1, 86400, "10",
                "`Seconds` to connect to an address"),
    NUMBER_FLAG("reply-timeout", "REPLY_TIMEOUT_S", NULL, reply_timeout_s, 1, 86400, "10",
                "`Seconds` for a reply, in addition to --timeout; a load with --rounds ends if no "
                "reply comes for so long"),
    SECONDS_FLAG("reconnect", NULL, reconnect_ms, 0, MS_LIMIT, "30",
                 "Seconds to reconnect after a lost connection, before the worker ends; 0: it ends "
                 "at once"),
    BOOLEAN_FLAG("check", NULL, check, NULL,
                 "Check that the server keeps its guarantees, in one thread; exit status 3 if not. "
                 "Tokens must begin with a fence"),
    BOOLEAN_FLAG("quiet", NULL, quiet, NULL, "No progress line every second, and no notes"),
    BOOLEAN_FLAG("json", NULL, json, NULL, "Print one JSON object"),
    BOOLEAN_FLAG("csv", NULL, csv, NULL,
                 "Print a line of names and a line of comma-separated values"),
    TEXT_FLAG("hdr", NULL, hdr_file, NULL,
              "`File` for the distribution of request latencies, in microseconds, in the format of "
              "HdrHistogram's tools"),
    HELP_FLAGS,
    VERSION_FLAG("Print the version and exit"),
};

/* Of redis-benchmark and memtier_benchmark. */
static const struct flag_synonym synonyms[] = {
    {"host", "servers"},
    {"port", "servers"},
    {"p", "servers"},
    {"s", "servers"},
    {"c", "workers"},
    {"clients", "workers"},
    {"n", "rounds"},
    {"requests", "rounds"},
    {"P", "depth"},
    {"pipeline", "depth"},
    {"q", "quiet"},
    {"test-time", "duration"},
    /* Readers, or one key for all workers? */
    {"shared", "load shared or --shared-key"},
    {NULL, NULL},
};

static const struct flags flags = {
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .variable_prefix = "DFLOCKD_",
    .synonyms = synonyms,
};

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

/* Parses a weight of up to three decimals, and moves `*at` behind it. */
static bool settings_parse_weight(const char **at, uint32_t *weight)
{
    char *end;
    unsigned long long number = strtoull(*at, &end, 10);
    uint32_t unit = WEIGHT_UNIT;

    if (**at < '0' || **at > '9' || number > WEIGHT_LIMIT / WEIGHT_UNIT)
        return false;
    number *= WEIGHT_UNIT;
    if (*end == '.') {
        for (end++; *end >= '0' && *end <= '9' && unit > 1; end++) {
            unit /= 10;
            number += (unsigned)(*end - '0') * unit;
        }
        if (end[-1] == '.')
            return false;
    }
    *at = end;
    *weight = (uint32_t)number;
    return number >= 1 && number <= WEIGHT_LIMIT;
}

/* Parses "name" or "name=weight" up to a comma or the end. */
static bool settings_parse_load(struct settings *settings, const char **at)
{
    size_t length = strcspn(*at, "=,");
    uint32_t weight = WEIGHT_UNIT;
    uint32_t load = 0;

    while (load < LOAD_COUNT && (strlen(settings_load_name((enum load)load)) != length ||
                                 memcmp(settings_load_name((enum load)load), *at, length) != 0))
        load++;
    if (load == LOAD_COUNT)
        return false;
    *at += length;
    if (**at == '=') {
        ++*at;
        if (!settings_parse_weight(at, &weight))
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
    char what[300];

    /* Weights of a second --load look like an addition to those of the first. */
    if (flags_repeated(reading, "load"))
        return flags_wrong(
            reading, "--load",
            "given more than once; write all loads in one, as in lock=0.5,shared=0.5");
    for (bool more = true; more; at++) {
        if (!settings_parse_load(settings, &at)) {
            snprintf(what, sizeof(what),
                     "invalid '%.60s'; give " LOADS ", each with an optional =WEIGHT of up to "
                     "three decimals, separated by commas",
                     settings->load_text);
            return flags_wrong(reading, "--load", what);
        }
        more = *at == ',';
    }
    if (settings->weight_sum < WEIGHT_UNIT) {
        settings->weights[LOAD_LOCK] += WEIGHT_UNIT - settings->weight_sum;
        settings->weight_sum = WEIGHT_UNIT;
    }
    settings->shared = settings->weights[LOAD_SHARED] || settings->weights[LOAD_SHARED_TWO_PHASE];
    return true;
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

/* The TLS context would report these files without the name of a flag. */
static bool settings_check_tls_files(struct flags_reading *reading)
{
    const struct settings *settings = reading->options;
    const struct {
        const char *flag;
        const char *path;
    } files[] = {
        {"tls-ca", settings->tls_ca},
        {"tls-client-cert", settings->tls_certificate},
        {"tls-client-key", settings->tls_key},
    };
    char what[FLAGS_PROBLEM_MAX];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (!files[i].path || access(files[i].path, R_OK) == 0)
            continue;
        snprintf(what, sizeof(what), "cannot read '%.200s': %s", files[i].path, strerror(errno));
        return flags_wrong_value(reading, files[i].flag, what);
    }
    return true;
}

static bool settings_read_token(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    const char *source;

    return auth_token_from_flags(reading, "auth-token", settings->auth_token_given,
                                 settings->auth_token_file, &settings->auth_token, &source);
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
        {given->redis && !settings_has_redis_loads(given), "protocol",
         "redis supports only --load lock and try"},
        {given->redis && (given->check || given->held || given->auth_token), "protocol",
         "redis does not support --check, --held and --auth-token-file"},
        /* With shared keys, a worker could hold one key and wait for another: a deadlock. */
        {given->depth > 1 && given->key_choice != KEYS_OWN, "depth",
         "more than 1 requires --keys own"},
        {given->new_connection && given->connections > 1, "new-connection",
         "cannot be combined with --connections"},
        {given->new_connection && given->weights[LOAD_RENEW], "new-connection",
         "cannot be combined with --load renew, which keeps its connections"},
        {given->rate && (given->rounds || given->warmup), "rate",
         "cannot be combined with --rounds or --warmup; use --duration"},
        {given->check && given->threads > 1, "check", "cannot be combined with --threads above 1"},
        {given->check && (given->server_count > 1 || given->connections > 1), "check",
         "requires one server and one connection per worker"},
        {given->check && (given->key_count > KEYS_CHECKED_LIMIT ||
                          given->workers * given->depth > KEYS_CHECKED_LIMIT),
         "check", "supports at most 100000 keys"},
        {given->tls && (keeps_idle || given->redis), "tls",
         "cannot be combined with --idle, --held or --protocol redis"},
        {given->shared_key && strcmp(given->keys_text, "shared") != 0, "shared-key",
         "cannot be combined with --keys"},
        {given->json && given->csv, "csv", "cannot be combined with --json"},
        {given->workers == 0 && (!keeps_idle || given->rounds || given->warmup || given->rate),
         "workers", "must be at least 1; 0 is only for --idle or --held during --duration"},
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (rules[i].wrong)
            return flags_wrong_value(reading, rules[i].flag, rules[i].what);
    }
    return true;
}

bool settings_has_separate_readers(const struct settings *settings)
{
    const uint32_t *weights = settings->weights;

    return settings->shared && settings->key_choice == KEYS_OWN &&
           (weights[LOAD_LOCK] || weights[LOAD_TRY] || weights[LOAD_TWO_PHASE] ||
            weights[LOAD_RENEW]);
}

/* ---- command line ---- */

/* As for dflockctl: without --tls, the connection would be in plain text. */
static const struct flag_need needs[] = {
    {"tls-ca", "tls"},
    {"tls-client-cert", "tls"},
    {"tls-client-key", "tls"},
    {"tls-server-name", "tls"},
    {"tls-insecure", "tls"},
    {"tls-client-cert", "tls-client-key"},
    {"tls-client-key", "tls-client-cert"},
};

/* Sets defaults that depend on other flags. */
static void settings_set_defaults(struct flags_reading *reading)
{
    struct settings *settings = reading->options;

    if (settings->connections == 0)
        settings->connections = 1;
    if (!settings->rounds && !settings->duration_ms)
        settings->duration_ms = DURATION_MS;
    if (!flags_given(reading, "warmup-seconds") && !settings->rounds)
        settings->warmup_ms = WARMUP_MS;
    if (settings->threads == 0 && !settings->check)
        settings->threads = process_usable_cpus() / 2;
    if (settings->threads > settings->workers)
        settings->threads = settings->workers;
    if (settings->threads > SETTINGS_THREADS_MAX)
        settings->threads = SETTINGS_THREADS_MAX;
    if (settings->threads == 0)
        settings->threads = 1;
}

static bool settings_read_servers(struct flags_reading *reading)
{
    struct settings *settings = reading->options;
    char problem[SERVERS_PROBLEM_MAX];

    if (!servers_read(settings->servers, &settings->server_count, settings->server_list, problem))
        return flags_wrong_value(reading, "servers", problem);
    for (uint32_t i = 0; i < settings->server_count; i++) {
        struct server *server = &settings->servers[i];

        server->connect_timeout_s = settings->connect_timeout_s;
        server->reply_timeout_s = settings->reply_timeout_s;
        server->tls_name = settings->tls_server_name ? settings->tls_server_name
                                                     : address_tls_name(&server->address);
    }
    return true;
}

static bool settings_parse_texts(struct flags_reading *reading)
{
    return settings_read_servers(reading) && settings_parse_loads(reading) &&
           settings_parse_keys(reading) && settings_check_key(reading) &&
           settings_parse_protocol(reading) && settings_read_token(reading) &&
           settings_check_tls_files(reading);
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
        (!flags_check_needs(&reading, needs, sizeof(needs) / sizeof(needs[0])) ||
         !settings_parse_texts(&reading) || !settings_check_combinations(&reading)))
        result = FLAGS_WRONG;
    if (result == FLAGS_WRONG)
        memcpy(problem, reading.problem, FLAGS_PROBLEM_MAX);
    else
        settings_set_defaults(&reading);
    flags_wipe(&flags, "auth-token", count, arguments);
    settings->auth_token_given = NULL;
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
           "SIGINT and SIGTERM end the load early: dflockd-bench reports what it has\n"
           "measured, then ends by that signal. A second signal ends it at once.\n\n"
           "A worker that loses its connection reconnects after 10 ms, then after longer\n"
           "delays of up to 1 s. Before its next round, it releases by token what it held.\n\n"
           "Exit status, the first that applies: 1 if a flag is wrong or a server was not\n"
           "reached or cannot serve the load, 3 if --check found a violation, 130 or 143\n"
           "after SIGINT or SIGTERM, 2 if connections were lost or the server did not\n"
           "reply, 4 if more than half of the rounds failed, 1 if the result cannot be\n"
           "written, else 0. A timeout of --load try or of --timeout 0 is no failure.\n\n");
    flags_print(&flags);
}
