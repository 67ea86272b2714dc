#include "client/claim_text.h"

#include <stdio.h>

struct dflockd_request claim_request(const struct claim *claim, enum dflockd_command command)
{
    int offset = claim->terms.limit > 0 ? DFLOCKD_SEMAPHORE_ACQUIRE - DFLOCKD_ACQUIRE : 0;

    if (command != DFLOCKD_OWN)
        command = (enum dflockd_command)((int)command + offset);
    return (struct dflockd_request){
        .command = command,
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
