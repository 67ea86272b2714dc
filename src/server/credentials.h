/*
 * What the server reads from files to authenticate with: its TLS certificate and the secrets of
 * clients and administrators. Loaded at the start; SIGHUP reloads the files. Reading a few KB
 * within a turn takes no time that clients notice.
 *
 * For worker 0, except for the members of struct credentials that it shares.
 */
#ifndef SERVER_CREDENTIALS_H
#define SERVER_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "os/tls.h"
#include "server/options.h"
#include "server/secrets.h"

struct credentials {
    const struct options *options;
    struct tls_place loaded_tls;
    struct tls_place *tls; /* NULL: connections are not encrypted */
    struct secrets secrets;
    uint64_t secret_ends_ns; /* a previous secret becomes invalid; UINT64_MAX: there is none */
};

/*
 * Loads the TLS files and takes the secrets over from the options. Returns false and sets `problem`
 * if a file cannot be used.
 */
bool credentials_load(struct credentials *credentials, struct options *options,
                      char problem[TLS_PROBLEM_MAX]);

/* Reloads all files. A file that cannot be used changes nothing. Logs the results. */
void credentials_reload(struct credentials *credentials, uint64_t now_ns);

/* Wipes previous secrets when they become invalid. For each turn. */
void credentials_expire(struct credentials *credentials, uint64_t now_ns);

/* Wipes the secrets from memory. */
void credentials_free(struct credentials *credentials);

#endif
