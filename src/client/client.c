#include "client/client.h"

#include <stdlib.h>
#include <string.h>

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
        if (status == DFLOCKD_STATUS_DONE && !renewer_open(&made->renewer, &made->servers)) {
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

/* Sends a request, and copies the text of its reply unless `text` is NULL. */
static enum dflockd_status client_ask(const struct dflockd_client *client, size_t server,
                                      enum dflockd_command command, char **text)
{
    const struct dflockd_request request = {.command = command};
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
    enum dflockd_status status;
    int64_t timeout_ms;

    if (server >= client->servers.count)
        return DFLOCKD_STATUS_INVALID;
    status = connection_open(&connection, &client->servers, server, NULL);
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    timeout_ms = (int64_t)client->servers.connect_timeout_ms + client->servers.reply_timeout_ms;
    status = dflockd_connection_ask(connection, &request, &reply, timeout_ms);
    if (status == DFLOCKD_STATUS_AGAIN)
        status = DFLOCKD_STATUS_NO_REPLY;
    if (status == DFLOCKD_STATUS_DONE)
        status = reply.status;
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
    *json = NULL;
    return client_ask(client, server, DFLOCKD_STATS, json);
}

enum dflockd_status dflockd_client_ping(struct dflockd_client *client, size_t server)
{
    return client_ask(client, server, DFLOCKD_PING, NULL);
}
