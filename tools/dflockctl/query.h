/*
 * A request to one server whose reply the command waits for.
 */
#ifndef DFLOCKCTL_QUERY_H
#define DFLOCKCTL_QUERY_H

#include <poll.h>
#include <stddef.h>

#include "dflockctl/settings.h"
#include "dflockd/client.h"

/* Zeroed before the first request. */
struct query {
    struct dflockd_connection *connection; /* NULL: none yet */
    struct dflockd_reply reply;
};

/*
 * Sends the request to server number `server`, and waits for the reply. Further requests of the
 * same query use the same connection. Returns the status of the reply. If no reply comes, reports
 * that on stderr, and returns the reason; the status in `query->reply` is DONE then.
 */
enum dflockd_status query_run(struct query *query, const struct settings *settings, size_t server,
                              const struct dflockd_request *request);

/* Closes the connection. */
void query_close(struct query *query);

/* Returns what poll(2) shall watch for the connection; nothing if it is NULL. */
struct pollfd query_watched(const struct dflockd_connection *connection);

/* Reports on stderr that a server did not serve a request: `status` and what to do about it. */
void query_report(const struct settings *settings, size_t server, enum dflockd_status status);

#endif
