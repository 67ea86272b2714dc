/*
 * The claims of one client over all stripes: what it holds and what it waits for. A client is a TCP
 * connection or an HTTP session. It has at most one pending request.
 *
 * The functions belong to the thread of the client. They use context->stripes, now_ns and
 * claims_max, and set bits of context->wake.
 */
#ifndef SERVER_CLAIMS_H
#define SERVER_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/session_context.h"

struct claims {
    uint64_t connection_id;
    uint64_t stripes_used;  /* a bit for each stripe where the client may have claims */
    uint32_t bound;         /* the client has at most so many claims that hold or wait */
    uint8_t pending_stripe; /* of the pending request, if there is one */
    uint8_t watched_stripe; /* which will send LOCK_IDLE, while `watching` */
    bool watching;
};

/* The client has no claims yet. */
void claims_init(struct claims *claims, uint64_t connection_id);

/*
 * Applies a request of the client, as table_apply. Sets request->connection_id and claims_full.
 * After LOCK_PENDING the request is pending until its effect comes or claims_cancel returns true.
 */
struct lock_answer claims_apply(struct claims *claims, struct session_context *context,
                                struct lock_request *request);

/*
 * Releases a grant that claims_apply answered to `request`, because the client will not receive it.
 */
void claims_return_grant(struct session_context *context, const struct lock_request *request,
                         const struct lock_answer *grant);

/* Returns whether the grant that answers the pending request ended on its way to the client. */
bool claims_grant_is_lost(const struct claims *claims, const struct session_context *context,
                          const struct lock_answer *grant);

/*
 * Cancels the pending request. Returns true if no effect follows, false if its effect was posted
 * before.
 */
bool claims_cancel(struct claims *claims, struct session_context *context);

/*
 * The server drains: the client leaves all queues, so that claims_watch reports leases only.
 * Returns true when all is done. Else the steps are used up: call again.
 */
bool claims_leave_queues(struct claims *claims, struct session_context *context);

/*
 * The client has disconnected: ends its claims as the policy says. If a request is pending, a grant
 * on its way is released. Returns true when all is done. Else the steps are used up: call again.
 */
bool claims_disconnect(struct claims *claims, struct session_context *context, bool pending);

/* Returns whether the client holds a lease. */
bool claims_hold(const struct claims *claims, const struct session_context *context);

/*
 * Returns whether the client holds something or waits for it, or may have done so until now. Then
 * LOCK_IDLE follows when that has changed: call claims_notice, and this again.
 */
bool claims_watch(struct claims *claims, struct session_context *context);

/* LOCK_IDLE came. */
static inline void claims_notice(struct claims *claims)
{
    claims->watching = false;
}

#endif
