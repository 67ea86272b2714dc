#include "dflockctl/query.h"

#include "dflockctl/status.h"

void query_report(const struct settings *settings, size_t server, enum dflockd_status status)
{
    const char *problem = dflockd_status_text(status);

    status_report("%s: %s%s", settings->servers[server], problem, status_advice(status, problem));
}

enum dflockd_status query_run(struct query *query, const struct settings *settings, size_t server,
                              const struct dflockd_request *request)
{
    int64_t timeout_ms = settings->options.reply_timeout_ms;
    enum dflockd_status status = DFLOCKD_STATUS_DONE;
    const char *problem = settings->problem;

    if (!query->connection) {
        timeout_ms += settings->options.connect_timeout_ms;
        status = dflockd_connection_open(&query->connection, &settings->options, server);
    }
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_connection_ask(query->connection, request, &query->reply, timeout_ms);
    if (status == DFLOCKD_STATUS_DONE)
        return query->reply.status;
    query->reply = (struct dflockd_reply){0};
    if (status == DFLOCKD_STATUS_AGAIN)
        status = DFLOCKD_STATUS_NO_REPLY;
    else if (query->connection)
        problem = dflockd_connection_problem(query->connection);
    if (status != DFLOCKD_STATUS_NO_REPLY && *problem)
        status_report("%s%s", problem, status_advice(status, problem));
    else
        query_report(settings, server, status);
    return status;
}

void query_close(struct query *query)
{
    dflockd_connection_close(query->connection);
    query->connection = NULL;
}

struct pollfd query_watched(const struct dflockd_connection *connection)
{
    if (!connection)
        return (struct pollfd){.fd = -1};
    return (struct pollfd){
        .fd = dflockd_connection_descriptor(connection),
        .events = dflockd_connection_events(connection),
    };
}
