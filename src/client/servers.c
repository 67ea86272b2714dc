#include "client/servers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/codec.h"
#include "client/name.h"

#define SERVER_DEFAULT "127.0.0.1"

static enum dflockd_status servers_fail(const struct dflockd_options *options,
                                        enum dflockd_status status, const char *why)
{
    if (options->problem)
        snprintf(options->problem, DFLOCKD_PROBLEM_MAX, "%s", why);
    return status;
}

/* Returns what is wrong with the options, except addresses and files; NULL if nothing. */
static const char *servers_check_options(const struct dflockd_options *options)
{
    const struct dflockd_request auth = {.command = DFLOCKD_AUTH, .token = options->auth_token};

    if (options->auth_token && !codec_request_is_valid(&auth))
        return "auth_token: must be 1 to 65536 bytes without newlines";
    if (options->name && *options->name != '\0' && !name_is_valid(options->name))
        return "name: must be up to 128 bytes of printable UTF-8";
    if (options->connect_timeout_ms == 0)
        return "connect_timeout_ms: must be at least 1";
    if (options->reply_timeout_ms == 0)
        return "reply_timeout_ms: must be at least 1";
    if (!options->tls_certificate != !options->tls_key)
        return "tls_certificate and tls_key: need each other";
    /* A program that sets one of these expects TLS. */
    if (!options->tls && (options->tls_ca_file || options->tls_certificate ||
                          options->tls_server_name || options->tls_insecure))
        return "tls: must be set for the other TLS options";
    return NULL;
}

static enum dflockd_status servers_parse_addresses(struct servers *servers,
                                                   const struct dflockd_options *options)
{
    static const char *const default_server[] = {SERVER_DEFAULT};
    const char *const *texts = options->server_count > 0 ? options->servers : default_server;

    servers->count = options->server_count > 0 ? options->server_count : 1;
    servers->addresses = calloc(servers->count, sizeof(*servers->addresses));
    if (!servers->addresses)
        return servers_fail(options, DFLOCKD_STATUS_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < servers->count; i++) {
        char problem[ADDRESS_PROBLEM_MAX];

        if (!address_parse(&servers->addresses[i], texts[i] ? texts[i] : "", problem))
            return servers_fail(options, DFLOCKD_STATUS_INVALID, problem);
    }
    return DFLOCKD_STATUS_DONE;
}

static enum dflockd_status servers_fail_tls(const struct dflockd_options *options, const char *why)
{
    return servers_fail(options,
                        errno == ENOMEM ? DFLOCKD_STATUS_NO_MEMORY : DFLOCKD_STATUS_UNTRUSTED, why);
}

static enum dflockd_status servers_load_tls(struct servers *servers,
                                            const struct dflockd_options *options)
{
    char why[TLS_PROBLEM_MAX];

    if (!options->tls)
        return DFLOCKD_STATUS_DONE;
    servers->tls = tls_context_for_clients(options->tls_ca_file, options->tls_insecure, why);
    if (!servers->tls)
        return servers_fail_tls(options, why);
    if (options->tls_certificate &&
        !tls_context_show(servers->tls, options->tls_certificate, options->tls_key, why))
        return servers_fail_tls(options, why);
    return DFLOCKD_STATUS_DONE;
}

static bool servers_copy_text(char **to, const char *text)
{
    *to = text ? strdup(text) : NULL;
    return *to || !text;
}

/* Returns false if out of memory. */
static bool servers_copy_name(struct servers *servers, const char *name)
{
    char built[DFLOCKD_NAME_MAX + 1];

    if (name)
        return *name == '\0' || servers_copy_text(&servers->name, name);
    name_build(built, program_invocation_short_name);
    return servers_copy_text(&servers->name, built);
}

enum dflockd_status servers_init(struct servers *servers, const struct dflockd_options *options)
{
    const char *why = servers_check_options(options);
    enum dflockd_status status;

    *servers = (struct servers){
        .shard = options->shard,
        .shard_context = options->shard_context,
        .connect_timeout_ms = options->connect_timeout_ms,
        .reply_timeout_ms = options->reply_timeout_ms,
    };
    if (why)
        return servers_fail(options, DFLOCKD_STATUS_INVALID, why);
    status = servers_parse_addresses(servers, options);
    if (status == DFLOCKD_STATUS_DONE)
        status = servers_load_tls(servers, options);
    if (status == DFLOCKD_STATUS_DONE &&
        (!servers_copy_text(&servers->auth_token, options->auth_token) ||
         !servers_copy_name(servers, options->name) ||
         !servers_copy_text(&servers->tls_server_name, options->tls_server_name)))
        status = servers_fail(options, DFLOCKD_STATUS_NO_MEMORY, "out of memory");
    if (status != DFLOCKD_STATUS_DONE)
        servers_free(servers);
    return status;
}

bool servers_share_extensions(struct servers *servers)
{
    servers->extensions = calloc(servers->count, sizeof(*servers->extensions));
    return servers->extensions != NULL;
}

void servers_free(struct servers *servers)
{
    if (servers->auth_token)
        explicit_bzero(servers->auth_token, strlen(servers->auth_token));
    free(servers->auth_token);
    free(servers->tls_server_name);
    free(servers->name);
    free(servers->extensions);
    free(servers->addresses);
    tls_context_drop(servers->tls);
    *servers = (struct servers){0};
}
