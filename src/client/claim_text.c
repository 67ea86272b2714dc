#include "client/claim_text.h"

#include <stdio.h>

/* Returns the command of the claim's kind for that of an exclusive lock. */
static enum dflockd_command claim_command(const struct claim *claim, enum dflockd_command command)
{
    if (command == DFLOCKD_OWN)
        return command;
    if (claim->terms.limit > 0)
        return (enum dflockd_command)(command + DFLOCKD_SEMAPHORE_ACQUIRE - DFLOCKD_ACQUIRE);
    if (claim->terms.shared && command == DFLOCKD_ACQUIRE)
        return DFLOCKD_ACQUIRE_SHARED;
    if (claim->terms.shared && command == DFLOCKD_ENQUEUE)
        return DFLOCKD_ENQUEUE_SHARED;
    return command;
}

struct dflockd_request claim_request(const struct claim *claim, enum dflockd_command command)
{
    return (struct dflockd_request){
        .command = claim_command(claim, command),
        .key = claim->terms.key,
        .lease_s = claim->terms.lease_s,
        .limit = claim->terms.limit,
        .semaphore = claim->terms.limit > 0,
        .token = claim->lease.token,
    };
}

struct dflockd_request claim_action_request(const struct claim *claim, enum lease_action action)
{
    struct dflockd_request request =
        claim_request(claim, action == LEASE_SEND_OWN ? DFLOCKD_OWN : DFLOCKD_RENEW);

    if (claim->demand_s > 0)
        request.lease_s = claim->demand_s;
    return request;
}

static const char *claim_reason(const struct claim *claim, enum dflockd_status why)
{
    if (why == DFLOCKD_STATUS_UNSUPPORTED && claim->terms.shared)
        return "this server does not support shared locks";
    if (why != DFLOCKD_STATUS_LOST)
        return dflockd_status_text(why);
    if (claim->lease.state == LEASE_NONE)
        return "the lease ended before the grant was received";
    return "the server did not renew the lease in time";
}

void claim_note_problem(struct claim *claim, enum dflockd_status why)
{
    const char *problem = claim->connection ? dflockd_connection_problem(claim->connection) : "";

    if (*problem != '\0')
        snprintf(claim->problem, sizeof(claim->problem), "%s", problem);
    else if (claim->problem[0] == '\0')
        snprintf(claim->problem, sizeof(claim->problem), "%.320s: %s", claim->server,
                 claim_reason(claim, why));
}

enum dflockd_status claim_caller_status(enum dflockd_status why)
{
    return why == DFLOCKD_STATUS_NOT_HELD ? DFLOCKD_STATUS_LOST : why;
}
