#include "server/options.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/auth_token.h"
#include "base/flags.h"
#include "dflockd/protocol.h"
#include "server/connection_id.h"

enum {
    SECONDS_MAX = INT_MAX, /* of intervals and time-outs of the server itself */
    COUNT_MAX = INT_MAX
};

#define FLAGS_STRUCT struct options

static const struct flag table[] = {
    TEXT_FLAG("host", "HOST", host, "127.0.0.1", "Address or name to listen on"),
    NUMBER_FLAG("port", "PORT", NULL, port, 0, 65535, "6388",
                "Port to listen on; 0 takes a free one and logs it"),
    NUMBER_FLAG("default-lease-ttl", "DEFAULT_LEASE_TTL_S", NULL, default_lease_s, 1,
                DFLOCKD_SECONDS_MAX, "33", "Seconds of a lease that a request does not give"),
    NUMBER_FLAG("lease-sweep-interval", "LEASE_SWEEP_INTERVAL_S", NULL, lease_sweep_interval_s, 1,
                SECONDS_MAX, "1",
                "Accepted, without effect: a lease ends within 20 ms of its deadline"),
    NUMBER_FLAG("gc-interval", "GC_INTERVAL_S", "GC_LOOP_SLEEP", gc_interval_s, 1, SECONDS_MAX, "5",
                "Seconds between collections of idle keys"),
    NUMBER_FLAG("gc-max-idle", "GC_MAX_IDLE_S", "GC_MAX_UNUSED_TIME", gc_max_idle_s, 0, SECONDS_MAX,
                "60", "Seconds a key is idle before it is collected; 0: at once"),
    NUMBER_FLAG("max-locks", "MAX_LOCKS", NULL, max_locks, 1, COUNT_MAX, "1024",
                "Most keys known at a time, idle ones too"),
    NUMBER_FLAG("max-connections", "MAX_CONNECTIONS", NULL, max_connections, 0, COUNT_MAX, "0",
                "Most connections at a time; 0: no limit"),
    NUMBER_FLAG("max-connections-per-ip", "MAX_CONNECTIONS_PER_IP", NULL, max_connections_per_ip, 0,
                COUNT_MAX, "0", "Most connections of one IP address; 0: no limit"),
    NUMBER_FLAG("max-waiters", "MAX_WAITERS", NULL, max_waiters, 0, COUNT_MAX, "0",
                "Most waiters of one key; 0: no limit"),
    NUMBER_FLAG(
        "max-buffered-mib", "MAX_BUFFERED_MIB", NULL, max_buffered_mib, 0, COUNT_MAX, "0",
        "MiB buffered for all connections, those of TLS as well; 0: a quarter of the memory"),
    NUMBER_FLAG("read-timeout", "READ_TIMEOUT_S", NULL, read_timeout_s, 1, SECONDS_MAX, "23",
                "Seconds to wait for a line, and for a request where nothing is held"),
    NUMBER_FLAG("write-timeout", "WRITE_TIMEOUT_S", NULL, write_timeout_s, 0, SECONDS_MAX, "5",
                "Seconds a peer may not read its answers; 0: no limit"),
    NUMBER_FLAG("shutdown-timeout", "SHUTDOWN_TIMEOUT_S", NULL, shutdown_timeout_s, 0, SECONDS_MAX,
                "30", "Seconds of draining after SIGTERM or SIGINT; 0: no limit"),
    BOOLEAN_FLAG("auto-release-on-disconnect", "AUTO_RELEASE_ON_DISCONNECT",
                 auto_release_on_disconnect, "true",
                 "Release what a client holds when its connection ends"),
    TEXT_FLAG("tls-cert", "TLS_CERT", tls_certificate, NULL,
              "File with the certificate chain in PEM; all connections are TLS then"),
    TEXT_FLAG("tls-key", "TLS_KEY", tls_key, NULL, "File with its private key in PEM"),
    TEXT_FLAG("tls-client-ca", "TLS_CLIENT_CA", tls_client_ca, NULL,
              "File with the authorities, one of which must have signed a client's certificate"),
    TEXT_FLAG("auth-token", "AUTH_TOKEN", auth_token_given, NULL,
              "Secret that clients must send first; others may see it while the server starts"),
    TEXT_FLAG("auth-token-file", "AUTH_TOKEN_FILE", auth_token_file, NULL, "File with that secret"),
    TEXT_FLAG("fence-state-file", "FENCE_STATE_FILE", fence_state_file, NULL,
              "File that keeps fences rising over restarts, whatever the clock does"),
    TEXT_FLAG("unix-socket", "UNIX_SOCKET", unix_socket, NULL,
              "Path of a Unix socket to listen on as well"),
    {"unix-socket-mode", "UNIX_SOCKET_MODE", NULL, FLAG_OCTAL,
     offsetof(struct options, unix_socket_mode), 0, 0777, "0660",
     "Permissions of its file in octal; to connect is to write"},
    UNSUPPORTED_FLAG("http-port", "HTTP_PORT"),
    UNSUPPORTED_FLAG("http-host", "HTTP_HOST"),
    UNSUPPORTED_FLAG("http-session-idle-timeout", "HTTP_SESSION_IDLE_S"),
    UNSUPPORTED_FLAG("http-max-sessions", "HTTP_MAX_SESSIONS"),
    UNSUPPORTED_FLAG("http-max-sessions-per-ip", "HTTP_MAX_SESSIONS_PER_IP"),
    UNSUPPORTED_FLAG("http-max-connections-per-ip", "HTTP_MAX_CONNECTIONS_PER_IP"),
    UNSUPPORTED_FLAG("http-rate-limit-per-ip", "HTTP_RATE_LIMIT_PER_IP"),
    UNSUPPORTED_FLAG("http-rate-limit-burst", "HTTP_RATE_LIMIT_BURST"),
    UNSUPPORTED_FLAG("http-cors-allowed-origins", "HTTP_CORS_ALLOWED_ORIGINS"),
    NUMBER_FLAG("threads", "THREADS", NULL, threads, 0, WORKERS_MAX, "0",
                "Worker threads; 0: one for each usable CPU, as far as RLIMIT_MEMLOCK allows"),
    BOOLEAN_FLAG("debug", "DEBUG", debug, "false", "Log every connection"),
    BOOLEAN_FLAG("check", NULL, check, NULL,
                 "Check the options and the files they name as a start does, and exit"),
    VERSION_FLAG("Print the version and exit"),
    HELP_FLAGS,
};

static const struct flags flags = {
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .variable_prefix = "DFLOCKD_",
};

static bool read_auth(struct flags_reading *reading)
{
    struct options *options = reading->options;

    return auth_token_from_flags(reading, options->auth_token_given, options->auth_token_file,
                                 &options->auth_token, &options->auth_token_source);
}

/* Both files or none; nobody is served in the clear who asked for half of TLS. */
static bool read_tls(struct flags_reading *reading)
{
    struct options *options = reading->options;
    const char **files[] = {&options->tls_certificate, &options->tls_key, &options->tls_client_ca};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (*files[i] && **files[i] == '\0')
            *files[i] = NULL;
    }
    if (options->tls_certificate && !options->tls_key)
        return flags_wrong_value(reading, "tls-cert", "needs --tls-key with it");
    if (options->tls_key && !options->tls_certificate)
        return flags_wrong_value(reading, "tls-key", "needs --tls-cert with it");
    if (options->tls_client_ca && !options->tls_certificate)
        return flags_wrong_value(reading, "tls-client-ca", "needs --tls-cert and --tls-key");
    return true;
}

enum options_result options_read(struct options *options, int count, char *const *arguments,
                                 char problem[OPTIONS_PROBLEM_MAX])
{
    struct flags_reading reading;

    memset(options, 0, sizeof(*options));
    switch (flags_read(&reading, &flags, options, count, arguments)) {
    case FLAGS_HELP:
        return OPTIONS_HELP;
    case FLAGS_VERSION:
        return OPTIONS_VERSION;
    case FLAGS_RUN:
        if (read_tls(&reading) && read_auth(&reading))
            return OPTIONS_RUN;
        break;
    case FLAGS_WRONG:
        break;
    }
    memcpy(problem, reading.problem, OPTIONS_PROBLEM_MAX);
    return OPTIONS_WRONG;
}

void options_wipe_secrets(struct options *options, int count, char *const *arguments)
{
    flags_wipe(&flags, "auth-token", count, arguments);
    options->auth_token_given = NULL;
}

void options_free(struct options *options)
{
    auth_token_free(options->auth_token);
    options->auth_token = NULL;
}

void options_print_help(void)
{
    printf("Usage: dflockd [flags]\n\n"
           "A server of FIFO locks and semaphores by key, with leases, over TCP.\n\n"
           "An explicit flag wins over its environment variable, the variable over the default.\n"
           "\n");
    flags_print(&flags);
}
