/*
 * Which clients may use what is left of the memory for buffers (--max-buffered-mib). A client that
 * holds a lease must not lose its connection because others use that memory. So the last eighth of
 * it is a reserve:
 *
 *   use                                     without a lease      with a lease
 *   TLS of a new connection                 leaves the reserve
 *   input of a TLS handshake                leaves the reserve
 *   first chunk of unsent replies           leaves half of it    may use all
 *   kept input, up to BACKLOG_MIN           leaves the reserve   may use all
 *   more kept input or unsent replies       leaves the reserve   leaves half of it
 *
 * A connection that may not have what it needs is closed. While the reserve is in use, the evictor
 * closes connections as well, see server/evictor.h.
 *
 * A client without a lease must not use a free object of a pool either: it would keep a chunk that
 * a holder took from the reserve, and the next holder would need another one. Replies are sent
 * within a turn or count as unread, so such a client may use half of the reserve for them. A grant
 * makes its client a holder before the reply is written.
 *
 * Workers check and take at different moments. So each may exceed a limit once, by a chunk of a
 * pool or a TLS connection. As long as half of the reserve has room for that and for what the
 * holders need at the same time, no holder loses a reply.
 */
#ifndef SERVER_BUFFER_RULES_H
#define SERVER_BUFFER_RULES_H

#include "base/budget.h"
#include "server/session.h"

static inline size_t buffer_rules_half_reserve(const struct budget *buffers)
{
    return budget_reserve(buffers) / 2;
}

/* Returns whether the session may write replies into a new chunk. */
static inline bool buffer_rules_allow_reply(const struct session_context *context,
                                            const struct session *session)
{
    return budget_has(context->buffers, 0, buffer_rules_half_reserve(context->buffers)) ||
           claims_hold(&session->claims, context);
}

/* Returns whether the session may keep input in a new block of `size` bytes. */
bool buffer_rules_allow_input(const struct session_context *context, const struct session *session,
                              size_t size);

/* Returns whether the session may keep more unsent replies than one chunk. */
bool buffer_rules_allow_unsent(const struct session_context *context,
                               const struct session *session);

#endif
