#include "client/client.h"

#include <stdlib.h>
#include <string.h>

#include "client/codec.h"
#include "client/connection.h"
#include "client/options.h"

enum dflockd_status dflockd_client_open(struct dflockd_client **client,
                                        const struct dflockd_options *options)
{
    enum dflockd_status status = DFLOCKD_STATUS_NO_MEMORY;
    struct dflockd_options known;
    struct dflockd_client *made;

    *client = NULL;
    if (!options_copy(&known, options))
        return DFLOCKD_STATUS_INVALID;
    made = calloc(1, sizeof(*made));
    if (made) {
        status = servers_init(&made->servers, &known);
        if (status == DFLOCKD_STATUS_DONE && (!servers_share_extensions(&made->servers) ||
                                              !renewer_open(&made->renewer, &made->servers))) {
            servers_free(&made->servers);
            status = DFLOCKD_STATUS_NO_MEMORY;
        }
    }
    if (status == DFLOCKD_STATUS_DONE)
        *client = made;
    else
        free(made);
    return status;
}

void dflockd_client_close(struct dflockd_client *client)
{
    if (!client)
        return;
    renewer_close(&client->renewer);
    servers_free(&client->servers);
    free(client);
}

size_t dflockd_client_server(struct dflockd_client *client, const char *key)
{
    const struct servers *servers = &client->servers;

    if (servers->shard)
        return servers->shard(servers->shard_context, key, servers->count);
    return dflockd_shard(key, servers->count);
}

/* Sends a request, and waits for the reply. Returns its status, or why there is none. */
static enum dflockd_status client_await(const struct dflockd_client *client,
                                        struct dflockd_connection *connection,
                                        const struct dflockd_request *request,
                                        struct dflockd_reply *reply)
{
    int64_t timeout_ms =
        (int64_t)client->servers.connect_timeout_ms + client->servers.reply_timeout_ms;
    enum dflockd_status status = dflockd_connection_ask(connection, request, reply, timeout_ms);

    if (status == DFLOCKD_STATUS_AGAIN)
        return DFLOCKD_STATUS_NO_REPLY;
    return status == DFLOCKD_STATUS_DONE ? reply->status : status;
}

/*
 * The server replied `error` to `show` or `revoke`. Returns NOT_HELD if it knows them: it then
 * knows `name` too, which came with them. Otherwise returns UNSUPPORTED.
 */
static enum dflockd_status client_judge_error(const struct dflockd_client *client, size_t server,
                                              struct dflockd_connection *connection)
{
    const struct dflockd_request name = {.command = DFLOCKD_NAME, .text = "dflockd-probe"};
    struct extensions *extensions = &client->servers.extensions[server];
    struct dflockd_reply reply;

    if (extensions->name == KNOWLEDGE_NONE) {
        reply.status = client_await(client, connection, &name, &reply);
        extensions_take_name(extensions, &reply);
    }
    return extensions->name == KNOWLEDGE_YES ? DFLOCKD_STATUS_NOT_HELD : DFLOCKD_STATUS_UNSUPPORTED;
}

/* Sends a request on a new connection, and copies the text of its reply unless `text` is NULL. */
static enum dflockd_status client_ask(const struct dflockd_client *client, size_t server,
                                      const struct dflockd_request *request, char **text)
{
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
    enum dflockd_status status;

    if (server >= client->servers.count)
        return DFLOCKD_STATUS_INVALID;
    status = connection_open(&connection, &client->servers, server, false, NULL);
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    status = client_await(client, connection, request, &reply);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        status = client_judge_error(client, server, connection);
    if (status == DFLOCKD_STATUS_DONE && text) {
        *text = strdup(reply.text);
        if (!*text)
            status = DFLOCKD_STATUS_NO_MEMORY;
    }
    dflockd_connection_close(connection);
    return status;
}

enum dflockd_status dflockd_client_stats(struct dflockd_client *client, size_t server, char **json)
{
    const struct dflockd_request request = {.command = DFLOCKD_STATS};

    *json = NULL;
    return client_ask(client, server, &request, json);
}

enum dflockd_status dflockd_client_ping(struct dflockd_client *client, size_t server)
{
    const struct dflockd_request request = {.command = DFLOCKD_PING};

    return client_ask(client, server, &request, NULL);
}

/* As client_ask, for the server of the request's key. */
static enum dflockd_status client_ask_for_key(struct dflockd_client *client,
                                              const struct dflockd_request *request, char **text)
{
    if (!codec_request_is_valid(request))
        return DFLOCKD_STATUS_INVALID;
    return client_ask(client, dflockd_client_server(client, request->key), request, text);
}

enum dflockd_status dflockd_client_show(struct dflockd_client *client, const char *key,
                                        bool semaphore, char **json)
{
    const struct dflockd_request request = {
        .command = DFLOCKD_SHOW, .key = key, .semaphore = semaphore};

    *json = NULL;
    return client_ask_for_key(client, &request, json);
}

enum dflockd_status dflockd_client_revoke(struct dflockd_client *client, const char *key,
                                          bool semaphore, uint64_t fence)
{
    const struct dflockd_request request = {
        .command = DFLOCKD_REVOKE, .key = key, .semaphore = semaphore, .fence = fence};

    return client_ask_for_key(client, &request, NULL);
}
