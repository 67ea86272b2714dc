/*
 * What the server is told to do: flags, then environment variables, then defaults. One table in
 * options.c says it all, and prints `--help`.
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/flags.h"

enum {
    OPTIONS_PROBLEM_MAX = FLAGS_PROBLEM_MAX
};

/* Times are whole seconds. Texts are borrowed from the arguments and the environment. */
struct options {
    const char *host;
    uint64_t port;
    uint64_t default_lease_s;
    uint64_t lease_sweep_interval_s;
    uint64_t gc_interval_s;
    uint64_t gc_max_idle_s;
    uint64_t max_locks;
    uint64_t max_connections;        /* 0: no limit */
    uint64_t max_connections_per_ip; /* 0: no limit */
    uint64_t max_waiters;            /* 0: no limit */
    uint64_t max_buffered_mib;       /* 0: a share of the machine's memory */
    uint64_t read_timeout_s;
    uint64_t write_timeout_s;    /* 0: none */
    uint64_t shutdown_timeout_s; /* 0: none */
    bool auto_release_on_disconnect;
    const char *auth_token_given;
    const char *auth_token_file;
    const char *fence_state_file;  /* NULL: none */
    char *auth_token;              /* what these two come to, or NULL; owned, see options_free */
    const char *auth_token_source; /* the file that auth_token was read from; NULL: none */
    const char *tls_certificate;   /* NULL: no TLS; else tls_key is not NULL either */
    const char *tls_key;
    const char *tls_client_ca; /* NULL: clients show no certificate */
    const char *unix_socket;   /* a path; NULL or empty: none */
    uint64_t unix_socket_mode; /* permissions of its file */
    uint64_t threads;          /* 0: as many as this process may use CPUs */
    bool debug;
    bool check; /* do not serve */
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_WRONG /* `problem` says what, in a sentence that names the flag or variable */
};

/* base/flags.h tells how they are written. `problem` is set where something is wrong. */
enum options_result options_read(struct options *options, int count, char *const *arguments,
                                 char problem[OPTIONS_PROBLEM_MAX]);

/*
 * Wipes the auth token from the arguments and the environment that options_read took it from, so
 * that nobody sees it in /proc. The options keep their copy.
 */
void options_wipe_secrets(struct options *options, int count, char *const *arguments);

/* Wipes the auth token from memory. */
void options_free(struct options *options);

/* Prints every flag with its variable and default to stdout. */
void options_print_help(void);

#endif
