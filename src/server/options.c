#include "server/options.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/auth_token.h"
#include "base/flags.h"
#include "dflockd/protocol.h"
#include "server/connection_id.h"

enum {
    SECONDS_MAX = INT_MAX, /* of the server's own intervals and timeouts */
    COUNT_MAX = OPTIONS_COUNT_MAX
};

#define FLAGS_STRUCT struct options

static const struct flag options_table[] = {
    TEXT_FLAG("host", "HOST", host, "127.0.0.1", "Address or name to listen on"),
    NUMBER_FLAG("port", "PORT", NULL, port, 0, 65535, "6388",
                "Port to listen on; 0: a free port, which the log reports"),
    NUMBER_FLAG("default-lease-ttl", "DEFAULT_LEASE_TTL_S", NULL, default_lease_s, 1,
                DFLOCKD_SECONDS_MAX, "33", "Seconds of a lease if the request gives none"),
    NUMBER_FLAG("lease-sweep-interval", "LEASE_SWEEP_INTERVAL_S", NULL, lease_sweep_interval_s, 1,
                SECONDS_MAX, "1", "Ignored; for compatibility"),
    NUMBER_FLAG("gc-interval", "GC_INTERVAL_S", "GC_LOOP_SLEEP", gc_interval_s, 1, SECONDS_MAX, "5",
                "Seconds between removals of idle keys"),
    NUMBER_FLAG("gc-max-idle", "GC_MAX_IDLE_S", "GC_MAX_UNUSED_TIME", gc_max_idle_s, 0, SECONDS_MAX,
                "60", "Seconds until an idle key may be removed; 0: at once"),
    NUMBER_FLAG("grant-after", "GRANT_AFTER_S", NULL, grant_after_s, 0, SECONDS_MAX, "0",
                "Seconds after the start in which the server grants nothing, so that leases of a "
                "server before it can end; 0: none"),
    NUMBER_FLAG("max-locks", "MAX_LOCKS", NULL, max_locks, 1, COUNT_MAX, "1024",
                "Maximum number of keys, including idle ones; each takes up to 400 bytes"),
    NUMBER_FLAG("max-connections", "MAX_CONNECTIONS", NULL, max_connections, 0, COUNT_MAX, "0",
                "Maximum number of connections; 0: no limit"),
    NUMBER_FLAG("max-connections-per-ip", "MAX_CONNECTIONS_PER_IP", NULL, max_connections_per_ip, 0,
                COUNT_MAX, "0", "Maximum number of connections of one IP address; 0: no limit"),
    NUMBER_FLAG("max-waiters", "MAX_WAITERS", NULL, max_waiters, 0, COUNT_MAX, "0",
                "Maximum number of waiters of one key; 0: no limit"),
    NUMBER_FLAG("max-claims", "MAX_CLAIMS", NULL, max_claims, 0, COUNT_MAX, "0",
                "Maximum number of holders and waiters of all keys; 0: what fits in a quarter of "
                "the memory"),
    NUMBER_FLAG(
        "max-claims-per-connection", "MAX_CLAIMS_PER_CONNECTION", NULL, max_claims_per_connection,
        0, COUNT_MAX, "0",
        "Maximum number of holders and waiters of one connection; 0: a quarter of --max-claims"),
    NUMBER_FLAG("max-buffered-mib", "MAX_BUFFERED_MIB", NULL, max_buffered_mib, 0, COUNT_MAX, "0",
                "MiB of buffers for all connections, including TLS; 0: a quarter of the memory"),
    NUMBER_FLAG(
        "read-timeout", "READ_TIMEOUT_S", NULL, read_timeout_s, 1, SECONDS_MAX, "23",
        "Seconds for a client to complete a line, and to send a request if it holds nothing"),
    NUMBER_FLAG("write-timeout", "WRITE_TIMEOUT_S", NULL, write_timeout_s, 0, SECONDS_MAX, "5",
                "Seconds without a read by the peer until its connection is closed; 0: no limit"),
    NUMBER_FLAG("shutdown-timeout", "SHUTDOWN_TIMEOUT_S", NULL, shutdown_timeout_s, 0, SECONDS_MAX,
                "30", "Seconds of draining after SIGTERM or SIGINT; 0: no limit"),
    BOOLEAN_FLAG("auto-release-on-disconnect", "AUTO_RELEASE_ON_DISCONNECT",
                 auto_release_on_disconnect, "true",
                 "Release the locks and slots of a client when its connection ends"),
    TEXT_FLAG("tls-cert", "TLS_CERT", tls_certificate, NULL,
              "File with the certificate chain in PEM; all connections use TLS then"),
    TEXT_FLAG("tls-key", "TLS_KEY", tls_key, NULL,
              "File with the private key of the certificate in PEM"),
    TEXT_FLAG(
        "tls-client-ca", "TLS_CLIENT_CA", tls_client_ca, NULL,
        "File with CA certificates in PEM; one of them must have signed each client's certificate"),
    TEXT_FLAG(
        "auth-token", "AUTH_TOKEN", secrets[SECRETS_CLIENT].given, NULL,
        "Secret that clients must send first; other users may see it while the server starts"),
    TEXT_FLAG("auth-token-file", "AUTH_TOKEN_FILE", secrets[SECRETS_CLIENT].file, NULL,
              "File with the secret that clients must send first"),
    TEXT_FLAG("admin-token", "ADMIN_TOKEN", secrets[SECRETS_ADMINISTRATOR].given, NULL,
              "Secret of administrators, who may revoke locks; other users may see it while the "
              "server starts"),
    TEXT_FLAG("admin-token-file", "ADMIN_TOKEN_FILE", secrets[SECRETS_ADMINISTRATOR].file, NULL,
              "File with the secret of administrators, who may revoke locks"),
    TEXT_FLAG("fence-state-file", "FENCE_STATE_FILE", fence_state_file, NULL,
              "File that keeps fences rising across restarts, even if the clock is set back"),
    TEXT_FLAG("unix-socket", "UNIX_SOCKET", unix_socket, NULL,
              "Path of an additional Unix socket to listen on"),
    {"unix-socket-mode", "UNIX_SOCKET_MODE", NULL, FLAG_OCTAL,
     offsetof(struct options, unix_socket_mode), 0, 0777, "0660",
     "Permissions of the Unix socket in octal; clients need write permission to connect"},
    UNSUPPORTED_FLAG("http-port", "HTTP_PORT"),
    UNSUPPORTED_FLAG("http-host", "HTTP_HOST"),
    UNSUPPORTED_FLAG("http-session-idle-timeout", "HTTP_SESSION_IDLE_S"),
    UNSUPPORTED_FLAG("http-max-sessions", "HTTP_MAX_SESSIONS"),
    UNSUPPORTED_FLAG("http-max-sessions-per-ip", "HTTP_MAX_SESSIONS_PER_IP"),
    UNSUPPORTED_FLAG("http-max-connections-per-ip", "HTTP_MAX_CONNECTIONS_PER_IP"),
    UNSUPPORTED_FLAG("http-rate-limit-per-ip", "HTTP_RATE_LIMIT_PER_IP"),
    UNSUPPORTED_FLAG("http-rate-limit-burst", "HTTP_RATE_LIMIT_BURST"),
    UNSUPPORTED_FLAG("http-cors-allowed-origins", "HTTP_CORS_ALLOWED_ORIGINS"),
    NUMBER_FLAG(
        "threads", "THREADS", NULL, threads, 0, WORKERS_MAX, "0",
        "Number of worker threads; 0: one for each usable CPU, as far as RLIMIT_MEMLOCK allows"),
    BOOLEAN_FLAG("debug", "DEBUG", debug, "false", "Log each connection"),
    BOOLEAN_FLAG("check", NULL, check, NULL,
                 "Check the options, their files and the addresses to listen on, and exit"),
    VERSION_FLAG("Print the version and exit"),
    HELP_FLAGS,
};

static const struct flags options_flags = {
    .table = options_table,
    .count = sizeof(options_table) / sizeof(options_table[0]),
    .variable_prefix = "DFLOCKD_",
};

/* A server with half of a TLS configuration would accept unencrypted connections. */
static const struct flag_need options_needs[] = {
    {"tls-cert", "tls-key"},
    {"tls-key", "tls-cert"},
    {"tls-client-ca", "tls-cert"},
};

static const char *const options_secret_flags[SECRETS_ROLES] = {
    [SECRETS_CLIENT] = "auth-token",
    [SECRETS_ADMINISTRATOR] = "admin-token",
};

/* Writes the name of the flag that gave the secret of `role`, without its dashes. */
static void options_name_secret(const struct options *options, enum secrets_role role,
                                char name[AUTH_TOKEN_FLAG_MAX])
{
    if (options->secrets[role].source)
        auth_token_name_file(options_secret_flags[role], name);
    else
        snprintf(name, AUTH_TOKEN_FLAG_MAX, "%s", options_secret_flags[role]);
}

/* Each client would be an administrator. */
static bool options_check_secrets(struct flags_reading *reading)
{
    struct options *options = reading->options;
    const char *client = options->secrets[SECRETS_CLIENT].token;
    const char *administrator = options->secrets[SECRETS_ADMINISTRATOR].token;
    char name[AUTH_TOKEN_FLAG_MAX];
    char source[FLAGS_SOURCE_MAX];
    char what[FLAGS_PROBLEM_MAX];

    if (!client || !administrator || strcmp(client, administrator) != 0)
        return true;
    options_name_secret(options, SECRETS_CLIENT, name);
    flags_name_source(reading, name, source);
    snprintf(what, sizeof(what), "the same secret as %s; give administrators another one", source);
    options_name_secret(options, SECRETS_ADMINISTRATOR, name);
    return flags_wrong_value(reading, name, what);
}

static bool options_read_secrets(struct flags_reading *reading)
{
    struct options *options = reading->options;

    for (int role = 0; role < SECRETS_ROLES; role++) {
        struct options_secret *secret = &options->secrets[role];

        if (!auth_token_from_flags(reading, options_secret_flags[role], secret->given, secret->file,
                                   &secret->token, &secret->source))
            return false;
    }
    return options_check_secrets(reading);
}

static void options_name_sources(const struct flags_reading *reading)
{
    static const char *const names[OPTIONS_SOURCES] = {
        [OPTIONS_HOST] = "host",
        [OPTIONS_PORT] = "port",
        [OPTIONS_UNIX_SOCKET] = "unix-socket",
        [OPTIONS_FENCE_STATE_FILE] = "fence-state-file",
        [OPTIONS_TLS_CERT] = "tls-cert",
        [OPTIONS_TLS_KEY] = "tls-key",
        [OPTIONS_TLS_CLIENT_CA] = "tls-client-ca",
    };
    struct options *options = reading->options;

    for (int i = 0; i < OPTIONS_SOURCES; i++)
        flags_name_source(reading, names[i], options->sources[i]);
}

/* Kubernetes sets DFLOCKD_PORT for the pods of a namespace with a service named dflockd. */
static void options_explain_kubernetes(char problem[OPTIONS_PROBLEM_MAX])
{
    static const char start[] = "DFLOCKD_PORT: 'tcp://";
    size_t length = strlen(problem);

    if (strncmp(problem, start, strlen(start)) == 0)
        snprintf(problem + length, OPTIONS_PROBLEM_MAX - length,
                 "; Kubernetes sets it for a service of this name: set enableServiceLinks: false");
}

enum options_result options_read(struct options *options, int count, char *const *arguments,
                                 char problem[OPTIONS_PROBLEM_MAX])
{
    struct flags_reading reading;

    memset(options, 0, sizeof(*options));
    switch (flags_read(&reading, &options_flags, options, count, arguments)) {
    case FLAGS_HELP:
        return OPTIONS_HELP;
    case FLAGS_VERSION:
        return OPTIONS_VERSION;
    case FLAGS_RUN:
        options_name_sources(&reading);
        if (flags_check_needs(&reading, options_needs,
                              sizeof(options_needs) / sizeof(options_needs[0])) &&
            options_read_secrets(&reading))
            return OPTIONS_RUN;
        break;
    case FLAGS_WRONG:
        break;
    }
    options_free(options);
    memcpy(problem, reading.problem, OPTIONS_PROBLEM_MAX);
    options_explain_kubernetes(problem);
    return OPTIONS_WRONG;
}

void options_wipe_secrets(struct options *options, int count, char *const *arguments)
{
    for (int role = 0; role < SECRETS_ROLES; role++) {
        flags_wipe(&options_flags, options_secret_flags[role], count, arguments);
        options->secrets[role].given = NULL;
    }
}

void options_free(struct options *options)
{
    for (int role = 0; role < SECRETS_ROLES; role++) {
        auth_token_free(options->secrets[role].token);
        options->secrets[role].token = NULL;
    }
}

bool options_is_unknown_variable(const char *entry)
{
    return flags_is_unknown_variable(&options_flags, entry);
}

bool options_suggest_variable(const char *entry, char suggestion[FLAGS_SOURCE_MAX])
{
    return flags_suggest_variable(&options_flags, entry, suggestion);
}

void options_print_help(void)
{
    printf("Usage: dflockd [flags]\n\n"
           "Serves FIFO locks and semaphores by key, with leases, over TCP.\n\n"
           "A flag overrides its environment variable, which overrides the default.\n\n");
    flags_print(&options_flags);
}
