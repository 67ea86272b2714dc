#include <stdio.h>

#include "dflockctl/command.h"
#include "dflockctl/json_writer.h"
#include "dflockctl/status.h"

int shard_run(const struct settings *settings)
{
    const char *key = settings->words[0];
    struct dflockd_client *client;
    /* Opening a client checks the addresses. It does not connect. */
    enum dflockd_status status = dflockd_client_open(&client, &settings->options);
    size_t server;

    if (status != DFLOCKD_STATUS_DONE) {
        status_report("%s%s", settings->problem, status_advice(status, settings->problem));
        return (int)status_of(status);
    }
    server = dflockd_client_server(client, key);
    dflockd_client_close(client);
    if (settings->json) {
        struct json_writer writer = json_writer_new();

        json_begin(&writer, '{');
        json_name(&writer, "key");
        json_text(&writer, key);
        json_name(&writer, "server");
        json_text(&writer, settings->servers[server]);
        json_name(&writer, "number");
        json_integer(&writer, server);
        json_end(&writer, '}');
    } else {
        printf("%s\n", settings->servers[server]);
    }
    return STATUS_DONE;
}
