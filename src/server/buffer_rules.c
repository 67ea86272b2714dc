#include "server/buffer_rules.h"

#include "server/backlog.h"

/* Returns whether the client may use `size` bytes for more than one request and its reply take. */
static bool buffer_rules_allow_much(const struct session_context *context,
                                    const struct session *session, size_t size)
{
    const struct budget *buffers = context->buffers;

    return budget_has(buffers, size, budget_reserve(buffers)) ||
           (budget_has(buffers, size, buffer_rules_half_reserve(buffers)) &&
            claims_hold(&session->claims, context));
}

bool buffer_rules_allow_input(const struct session_context *context, const struct session *session,
                              size_t size)
{
    if (size > BACKLOG_MIN)
        return buffer_rules_allow_much(context, session, size);
    return budget_has(context->buffers, size, budget_reserve(context->buffers)) ||
           claims_hold(&session->claims, context);
}

bool buffer_rules_allow_unsent(const struct session_context *context, const struct session *session)
{
    return buffer_rules_allow_much(context, session, 0);
}
