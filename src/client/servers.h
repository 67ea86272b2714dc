/*
 * The options of a client or a connection, checked and copied: servers, secret, TLS, timeouts.
 */
#ifndef CLIENT_SERVERS_H
#define CLIENT_SERVERS_H

#include <stddef.h>
#include <stdint.h>

#include "client/extensions.h"
#include "dflockd/client.h"
#include "os/address.h"
#include "os/tls.h"

struct servers {
    struct address *addresses;
    size_t count; /* at least 1 */
    dflockd_shard_function *shard;
    void *shard_context;
    char *auth_token;        /* NULL: none */
    struct tls_context *tls; /* NULL: none */
    char *tls_server_name;   /* NULL: address_tls_name */
    char *name;              /* of the connections; NULL: none */
    uint32_t connect_timeout_ms;
    uint32_t reply_timeout_ms;
    struct extensions *extensions; /* of each server; NULL: each connection finds out itself */
};

/*
 * `options` is a copy of options_copy. Returns DONE: the caller must call servers_free. Otherwise
 * writes the reason to `options->problem`, and returns INVALID, NO_MEMORY or UNTRUSTED; there is
 * nothing to free.
 */
enum dflockd_status servers_init(struct servers *servers, const struct dflockd_options *options);

/* Makes all connections of these servers share `extensions`. Returns false if out of memory. */
bool servers_share_extensions(struct servers *servers);

void servers_free(struct servers *servers);

#endif
