/*
 * Requests to servers whose replies the command waits for: one, or one to each server at the same
 * time.
 */
#ifndef DFLOCKCTL_QUERY_H
#define DFLOCKCTL_QUERY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockctl/settings.h"
#include "dflockd/client.h"

/* Zeroed before the first request. */
/*
 * A semaphore of DFLOCKD_LIMIT_MAX slots, so that each request is granted at once. One key for all
 * processes: idle keys count for the server's limit.
 */
#define QUERY_PROBE_KEY "dflockctl.probe"

struct query {
    struct dflockd_connection *connection; /* NULL: none yet */
    struct dflockd_reply reply;            /* DONE if there is none */
    enum dflockd_status status;            /* of the reply, or why there is none */

    /* Private. */
    const struct settings *settings;
    size_t server;
    enum dflockd_command command;
    bool pending;
    int64_t deadline_ms;
    char problem[DFLOCKD_PROBLEM_MAX]; /* why there is no reply; "": `status` says it */
};

/*
 * Sends the request to server number `server`, and waits for the reply. Further requests of the
 * same query use the same connection. Returns the status of the reply. If no reply comes, reports
 * that on stderr, and returns the reason; the status in `query->reply` is DONE then.
 */
enum dflockd_status query_run(struct query *query, const struct settings *settings, size_t server,
                              const struct dflockd_request *request);

/*
 * Begins a request. `take` with `context` receives the text of a reply to `stats` in parts; NULL:
 * `query->reply` has it.
 */
void query_begin(struct query *query, const struct settings *settings, size_t server,
                 const struct dflockd_request *request, dflockd_text_function *take, void *context);

/*
 * Takes the replies that have arrived: a query is no longer pending then, or after its timeout.
 * Sets `watched` for each query. Returns when to call it again if nothing happens, as loop_now_ms
 * counts, or LOOP_NEVER if no query is pending.
 */
int64_t query_receive(struct query *queries, size_t count, struct pollfd *watched);

/* Waits until no query is pending. */
void query_wait(struct query *queries, size_t count);

/* Reports on stderr that `query` has no reply, or a reply other than DONE. */
void query_report_failure(const struct query *query);

/*
 * Returns the status of `reply` to `command`. A server that does not know ping or stats replies
 * `error`: UNSUPPORTED. A dflockd of this version does not reply that to them.
 */
enum dflockd_status query_judge(enum dflockd_command command, const struct dflockd_reply *reply);

/* Closes the connection. */
void query_close(struct query *query);

/* Returns what poll(2) shall watch for the connection; nothing if it is NULL. */
struct pollfd query_watched(const struct dflockd_connection *connection);

/* Reports on stderr that a server did not serve a request: `status` and what to do about it. */
void query_report(const struct settings *settings, size_t server, enum dflockd_status status);

#endif
