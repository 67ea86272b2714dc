/*
 * The options of the server, from flags, environment variables and defaults, in that order. The
 * table in options.c defines them all, and `--help` prints it.
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/flags.h"
#include "server/secrets.h"

enum {
    OPTIONS_PROBLEM_MAX = FLAGS_PROBLEM_MAX,
    OPTIONS_COUNT_MAX = INT32_MAX /* of each number of things */
};

/* The values whose problems are found after the reading. */
enum options_source {
    OPTIONS_HOST,
    OPTIONS_PORT,
    OPTIONS_UNIX_SOCKET,
    OPTIONS_FENCE_STATE_FILE,
    OPTIONS_TLS_CERT,
    OPTIONS_TLS_KEY,
    OPTIONS_TLS_CLIENT_CA,
    OPTIONS_SOURCES
};

struct options_secret {
    const char *given;
    const char *file;
    char *token;        /* the resulting secret, or NULL; owned, see options_free */
    const char *source; /* the file that `token` was read from; NULL: none */
};

/* Texts are borrowed from the arguments and the environment. */
struct options {
    const char *host;
    uint64_t port;
    uint64_t default_lease_s;
    uint64_t lease_sweep_interval_s;
    uint64_t gc_interval_s;
    uint64_t gc_max_idle_s;
    uint64_t grant_after_s; /* 0: at once */
    uint64_t max_locks;
    uint64_t max_connections;           /* 0: no limit */
    uint64_t max_connections_per_ip;    /* 0: no limit */
    uint64_t max_waiters;               /* 0: no limit */
    uint64_t max_buffered_mib;          /* 0: a quarter of the memory */
    uint64_t max_claims;                /* 0: what fits in a quarter of the memory */
    uint64_t max_claims_per_connection; /* 0: a quarter of max_claims */
    uint64_t read_timeout_s;
    uint64_t write_timeout_s;    /* 0: none */
    uint64_t shutdown_timeout_s; /* 0: none */
    bool auto_release_on_disconnect;
    struct options_secret secrets[SECRETS_ROLES];
    const char *fence_state_file; /* NULL: none */
    const char *tls_certificate;  /* NULL: no TLS; else tls_key is not NULL either */
    const char *tls_key;
    const char *tls_client_ca; /* NULL: clients need no certificate */
    const char *unix_socket;   /* a path; NULL or empty: none */
    uint64_t unix_socket_mode; /* its permissions */
    uint64_t threads;          /* 0: one for each CPU that this process may use */
    bool debug;
    bool check; /* check the configuration instead of serving */
    char sources[OPTIONS_SOURCES][FLAGS_SOURCE_MAX]; /* the flag or variable of each value */
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_WRONG /* `problem` is one line that names the flag or variable */
};

/*
 * Reads the options; see base/flags.h for their forms. On OPTIONS_WRONG, sets `problem` and frees
 * the secrets.
 */
enum options_result options_read(struct options *options, int count, char *const *arguments,
                                 char problem[OPTIONS_PROBLEM_MAX]);

/*
 * Wipes the secrets from the arguments and the environment, which /proc shows. The options keep
 * their copies.
 */
void options_wipe_secrets(struct options *options, int count, char *const *arguments);

/* Wipes the secrets from memory. */
void options_free(struct options *options);

/* Returns whether `entry` of the environment looks like a variable of the server, but is none. */
bool options_is_unknown_variable(const char *entry);

/* Writes the variable that the user may have meant by an unknown one. Returns false if none. */
bool options_suggest_variable(const char *entry, char suggestion[FLAGS_SOURCE_MAX]);

/* Prints every flag with its variable and default to stdout. */
void options_print_help(void);

#endif
