#include <jansson.h>
#include <stdio.h>

#include "dflockctl/command.h"
#include "dflockctl/output.h"
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
        json_t *value = output_made(json_pack("{s:o, s:s, s:i}", "key", output_key(key), "server",
                                              settings->servers[server], "number", (int)server));

        output_json(value);
        json_decref(value);
    } else {
        printf("%s\n", settings->servers[server]);
    }
    return STATUS_DONE;
}
