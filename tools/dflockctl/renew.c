#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/key_view.h"
#include "dflockctl/query.h"
#include "dflockctl/stats_parser.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"
#include "dflockctl/token.h"
#include "os/standard_output.h"

enum {
    RENEW_DEFAULT_S = 33 /* the default of --default-lease-ttl */
};

/* The search for a lock in the statistics. */
struct renew_search {
    char *key;
    double lease_s; /* that remain; negative: unknown */
    struct stats_parser parser;
};

/* A stats_key_function. */
static void renew_take_key(void *context, const struct key_stats *entry)
{
    struct renew_search *search = context;

    if (entry->kind == KEY_LOCK && entry->key_length == strlen(search->key) &&
        memcmp(entry->key, search->key, entry->key_length) == 0)
        search->lease_s = entry->lease_s;
}

/* A dflockd_text_function. */
static void renew_take_text(void *context, const char *part, size_t length)
{
    struct renew_search *search = context;

    stats_parser_read(&search->parser, part, length);
}

static uint64_t renew_round_up(double lease_s)
{
    return lease_s > 0 && lease_s < (double)DFLOCKD_SECONDS_MAX ? (uint64_t)lease_s + 1 : 0;
}

/* Returns the seconds that remain of the lock's lease by the statistics, 0 if they do not say. */
static uint64_t renew_remaining_by_stats(struct query *query, const struct settings *settings,
                                         size_t server, const char *key)
{
    const struct dflockd_request request = {.command = DFLOCKD_STATS};
    struct renew_search *search = new_memory(1, sizeof(*search));
    uint64_t remaining_s = 0;

    search->key = text_valid(key, strlen(key));
    search->lease_s = -1;
    stats_parser_begin(&search->parser, server, renew_take_key, search);
    query_begin(query, settings, server, &request, renew_take_text, search);
    query_wait(query, 1);
    if (query->status == DFLOCKD_STATUS_DONE && stats_parser_is_complete(&search->parser))
        remaining_s = renew_round_up(search->lease_s);
    free(search->key);
    free(search);
    return remaining_s;
}

/* Returns the seconds that remain of the grant's lease, 0 if the server does not say. */
static uint64_t renew_remaining(struct query *query, const struct settings *settings, size_t server,
                                const struct dflockd_request *request)
{
    struct key_views views;
    enum dflockd_status status = key_views_ask(&views, query, settings, server, request->key);
    const struct key_view_client *holder =
        status == DFLOCKD_STATUS_DONE ? key_views_find_token(&views, request->token) : NULL;
    uint64_t remaining_s = holder ? renew_round_up(holder->left_s) : 0;

    key_views_free(&views);
    if (status == DFLOCKD_STATUS_UNSUPPORTED)
        return renew_remaining_by_stats(query, settings, server, request->key);
    return remaining_s;
}

/* Returns the server's default lease: that of a slot of QUERY_PROBE_KEY. */
static uint64_t renew_default(struct query *query, const struct settings *settings, size_t server)
{
    struct dflockd_request request = {
        .command = DFLOCKD_SEMAPHORE_ACQUIRE,
        .key = QUERY_PROBE_KEY,
        .limit = DFLOCKD_LIMIT_MAX,
    };
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    uint64_t lease_s;

    query_begin(query, settings, server, &request, NULL, NULL);
    query_wait(query, 1);
    if (query->status != DFLOCKD_STATUS_DONE)
        return RENEW_DEFAULT_S;
    lease_s = query->reply.lease_s;
    memcpy(token, query->reply.token, sizeof(token));
    request.command = DFLOCKD_SEMAPHORE_RELEASE;
    request.token = token;
    query_begin(query, settings, server, &request, NULL, NULL);
    query_wait(query, 1);
    return lease_s;
}

/* Returns the lease that `dflockctl lock` requested for the same token, 0 if there is none. */
static uint64_t renew_inherited(const char *token)
{
    const char *holder = getenv("DFLOCKD_TOKEN");
    const char *lease = getenv("DFLOCKD_LEASE");
    uint64_t lease_s;

    if (!holder || !lease || strcmp(holder, token) != 0 ||
        lease[strspn(lease, "0123456789")] != '\0')
        return 0;
    lease_s = strtoull(lease, NULL, 10);
    return lease_s <= DFLOCKD_SECONDS_MAX ? lease_s : 0;
}

/*
 * The protocol has no request for the length of a lease. A renewal must not end a lease earlier:
 * its holder may rely on the time that it knows. Returns 0 for the server's default.
 */
static uint64_t renew_choose_lease(const struct settings *settings,
                                   const struct dflockd_request *request)
{
    size_t server = settings_server_of(settings, request->key);
    struct query query = {0};
    uint64_t lease_s = settings->lease_s ? settings->lease_s : renew_inherited(request->token);
    uint64_t default_s;

    if (lease_s > 0)
        return lease_s;
    lease_s = renew_remaining(&query, settings, server, request);
    if (lease_s > 0) {
        default_s = renew_default(&query, settings, server);
        lease_s = default_s > lease_s ? default_s : lease_s;
    }
    query_close(&query);
    return lease_s;
}

int renew_run(const struct settings *settings)
{
    struct dflockd_request request = {0};
    struct dflockd_reply reply;
    int status;
    int error;

    if (!token_read(settings, &request))
        return STATUS_USAGE;
    request.lease_s = renew_choose_lease(settings, &request);
    status = token_run(settings, &request, DFLOCKD_RENEW, DFLOCKD_SEMAPHORE_RENEW, &reply);
    if (status != STATUS_DONE)
        return status;
    printf("%" PRIu64 "\n", reply.lease_s);
    error = standard_output_flush();
    if (error == 0)
        return STATUS_DONE;
    status_report("standard output: %s; the lease is renewed, for %" PRIu64 " s", strerror(-error),
                  reply.lease_s);
    return STATUS_OUTPUT;
}
