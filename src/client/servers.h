/*
 * Which servers there are, and what it takes to be let in: the options, read, checked and copied.
 */
#ifndef CLIENT_SERVERS_H
#define CLIENT_SERVERS_H

#include <stddef.h>
#include <stdint.h>

#include "os/address.h"
#include "dflockd/client.h"
#include "os/tls.h"

struct servers {
    struct address *addresses;
    size_t count; /* at least 1 */
    dflockd_shard_function *shard;
    void *shard_context;
    char *auth_token;        /* NULL: none */
    struct tls_context *tls; /* NULL: none */
    char *tls_server_name;   /* NULL: the host's */
    uint32_t connect_timeout_ms;
    uint32_t reply_timeout_ms;
};

/*
 * DONE, INVALID, NO_MEMORY, UNTRUSTED; where it is not DONE there is nothing to be freed, and
 * `options->problem` says why.
 */
enum dflockd_status servers_init(struct servers *servers, const struct dflockd_options *options);

void servers_free(struct servers *servers);

#endif
