#include "server/claims.h"

/* Commands with which a client may get a claim. */
enum {
    CLAIMS_TAKEN_BY = 1u << DFLOCKD_ACQUIRE | 1u << DFLOCKD_SEMAPHORE_ACQUIRE |
                      1u << DFLOCKD_ENQUEUE | 1u << DFLOCKD_SEMAPHORE_ENQUEUE |
                      1u << DFLOCKD_ACQUIRE_SHARED | 1u << DFLOCKD_ENQUEUE_SHARED |
                      1u << DFLOCKD_OWN
};

void claims_init(struct claims *claims, uint64_t connection_id)
{
    *claims = (struct claims){.connection_id = connection_id};
}

/* Returns whether the client has all the claims that a connection may have. */
static bool claims_full(struct claims *claims, struct session_context *context)
{
    uint64_t count = 0;

    if (context->claims_max == 0 || claims->bound < context->claims_max)
        return false;
    for (uint64_t left = claims->stripes_used; left; left &= left - 1) {
        count += stripes_claims(context->stripes, claims->connection_id,
                                (uint32_t)__builtin_ctzll(left));
        context->steps -= context->steps > 0;
    }
    claims->bound = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
    return count >= context->claims_max;
}

struct lock_answer claims_apply(struct claims *claims, struct session_context *context,
                                struct lock_request *request)
{
    uint32_t stripe = stripes_index(context->stripes, &request->key);
    struct lock_answer answer;

    request->connection_id = claims->connection_id;
    if (1u << request->command & CLAIMS_TAKEN_BY) {
        request->claims_full = claims_full(claims, context);
        claims->stripes_used |= 1ull << stripe;
        claims->bound += claims->bound < UINT32_MAX;
    }
    answer = stripes_apply(context->stripes, context->now_ns, request, &context->wake);
    if (answer.outcome == LOCK_PENDING)
        claims->pending_stripe = (uint8_t)stripe;
    return answer;
}

void claims_return_grant(struct session_context *context, const struct lock_request *request,
                         const struct lock_answer *grant)
{
    struct lock_request release = *request;

    release.command = DFLOCKD_RELEASE;
    release.token = grant->token;
    stripes_apply(context->stripes, context->now_ns, &release, &context->wake);
}

bool claims_grant_is_lost(const struct claims *claims, const struct session_context *context,
                          const struct lock_answer *grant)
{
    return grant->deadline_ns <= context->now_ns ||
           stripes_grant_is_lost(context->stripes, grant, claims->pending_stripe);
}

bool claims_cancel(struct claims *claims, struct session_context *context)
{
    return stripes_cancel(context->stripes, context->now_ns, claims->connection_id,
                          claims->pending_stripe, &context->wake);
}

bool claims_leave_queues(struct claims *claims, struct session_context *context)
{
    for (uint64_t left = claims->stripes_used; left; left &= left - 1) {
        if (!stripes_leave_queues(context->stripes, context->now_ns, claims->connection_id,
                                  (uint32_t)__builtin_ctzll(left), &context->steps, &context->wake))
            return false;
    }
    return true;
}

bool claims_disconnect(struct claims *claims, struct session_context *context, bool pending)
{
    while (claims->stripes_used) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(claims->stripes_used);

        if (!stripes_disconnect(context->stripes, context->now_ns, claims->connection_id, stripe,
                                pending && claims->pending_stripe == stripe, &context->steps,
                                &context->wake))
            return false;
        claims->stripes_used &= claims->stripes_used - 1;
    }
    return true;
}

bool claims_hold(const struct claims *claims, const struct session_context *context)
{
    for (uint64_t left = claims->stripes_used; left; left &= left - 1) {
        if (stripes_holds(context->stripes, claims->connection_id, (uint32_t)__builtin_ctzll(left)))
            return true;
    }
    return false;
}

bool claims_watch(struct claims *claims, struct session_context *context)
{
    /* One notice at a time is on its way: the mailbox has room for it. */
    if (claims->watching &&
        !stripes_unwatch(context->stripes, claims->connection_id, claims->watched_stripe))
        return true;
    claims->watching = false;
    for (uint64_t left = claims->stripes_used; left; left &= left - 1) {
        uint32_t stripe = (uint32_t)__builtin_ctzll(left);

        if (stripes_watch(context->stripes, claims->connection_id, stripe)) {
            claims->watching = true;
            claims->watched_stripe = (uint8_t)stripe;
            return true;
        }
    }
    return false;
}
