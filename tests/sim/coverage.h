/*
 * Counts of situations that were seen, to prove that a long run met all of them.
 */
#ifndef TESTS_SIM_COVERAGE_H
#define TESTS_SIM_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Name, and its text in the report. */
#define COVERAGE_REPLIES(X)                              \
    X(GRANTED, "ok with a token")                        \
    X(ACQUIRED, "acquired")                              \
    X(QUEUED, "queued")                                  \
    X(RENEWED, "ok with a lease")                        \
    X(PLAIN_OK, "ok")                                    \
    X(TIMEOUT, "timeout")                                \
    X(ERROR, "error")                                    \
    X(ERROR_AUTH, "error_auth")                          \
    X(ERROR_MAX_LOCKS, "error_max_locks")                \
    X(ERROR_MAX_WAITERS, "error_max_waiters")            \
    X(ERROR_LIMIT_MISMATCH, "error_limit_mismatch")      \
    X(ERROR_NOT_ENQUEUED, "error_not_enqueued")          \
    X(ERROR_ALREADY_ENQUEUED, "error_already_enqueued")  \
    X(ERROR_LEASE_EXPIRED, "error_lease_expired of a w") \
    X(LATE_GRANT, "error_lease_expired of a late grant") \
    X(ERROR_DRAINING, "error_draining")                  \
    X(STATS, "stats while much changed")                 \
    X(STATS_EXACT, "stats with all keys unchanged")

#define COVERAGE_ENDS(X)                               \
    X(GONE_AUTH, "before auth")                        \
    X(GONE_SILENT, "without claims")                   \
    X(GONE_MID_REQUEST, "during a request")            \
    X(GONE_BLOCKED_L, "blocked in l")                  \
    X(GONE_BLOCKED_W, "blocked in w")                  \
    X(GONE_QUEUED, "queued by e")                      \
    X(GONE_UNREPORTED, "granted after e, unreported")  \
    X(GONE_HOLDING, "holding")                         \
    X(GONE_GRANT_ON_WAY, "with a grant on its way")    \
    X(GONE_EFFECT_ON_WAY, "with a timeout on its way") \
    X(GONE_STATS, "during stats")                      \
    X(GONE_SKIPPING, "during a line that is too long") \
    X(GONE_BY_SERVER, "by the server's own activity")

#define COVERAGE_OTHERS(X)                                   \
    X(LOST_GRANT, "grants lost in flight")                   \
    X(LOST_EFFECT, "timeouts lost in flight")                \
    X(RELEASED_UNREAD, "grants released unread")             \
    X(HANDED_OVER, "hand-overs")                             \
    X(DUE, "waiters that were due for a grant")              \
    X(RESUMED, "waiters granted at the end of a pause")      \
    X(LEASES_ENDED, "leases ended")                          \
    X(COLLECTIONS, "keys collected")                         \
    X(TIES, "hand-overs at one instant")                     \
    X(PARTIAL_DISCONNECT, "disconnects in parts")            \
    X(LATE_CLOCK, "calls with a late clock")                 \
    X(PIPELINED, "requests behind others")                   \
    X(SPLIT, "requests in pieces")                           \
    X(BEHIND_BLOCKED, "requests behind a blocked one")       \
    X(REUSED, "slots used again with effect for the last")   \
    X(MEMORY_ERROR, "requests short of memory")              \
    X(MEMORY_OUTPUT, "sessions ended without output memory") \
    X(EDGES, "deadlines met to the nanosecond")              \
    X(WOKEN, "sleeping workers woken")                       \
    X(DRAINED, "blocked requests drained")                   \
    X(DRAINED_QUEUES, "places in queues drained")            \
    X(DRAINING_RENEWAL, "renewals while draining")           \
    X(WATCHED, "watches set")                                \
    X(FULL, "sessions stopped by a slow reader")             \
    X(WALK_WAITS, "stats that waited for others'")           \
    X(OWNED, "grants owned by another")                      \
    X(FORGOTTEN, "lost leases forgotten with their key")     \
    X(IDLE, "idle effects")                                  \
    X(BUDGET, "runs that freed their budget")                \
    X(WITHOUT_FENCE, "requests without a fence")             \
    X(CLAIMS, "requests beyond the cap on claims")           \
    X(ADMINISTRATOR, "clients that became administrators")   \
    X(REVOKED_ON_WAY, "grants revoked on their way")         \
    X(REVOKED_ENQUEUED, "grants revoked before a w")         \
    X(REVOKED_SEEN, "known grants revoked")                  \
    X(REVOKED_SHARED, "shared grants revoked")               \
    X(REVOKED_OF_GONE, "grants of lost clients revoked")     \
    X(REVOKED_LATE, "revoked grants not reported")           \
    X(REVOKED_NONE, "revocations without a grant")           \
    X(REVOKE_REFUSED, "revocations without rights")          \
    X(SHOWN, "keys shown")                                   \
    X(SHOWN_IDLE, "idle keys shown")                         \
    X(SHOWN_DUE, "waiters shown that were due")              \
    X(SHOWN_PAUSED, "keys shown in a pause")                 \
    X(SHOWN_PART, "keys shown in part")                      \
    X(SHOWN_NAME, "names shown")                             \
    X(SHOWN_GONE, "holders shown that are gone")             \
    X(SHOW_LEFT, "shows left for another turn")              \
    X(SHOW_LONG, "shows that took more than their turn")     \
    X(NAMED, "connections named")                            \
    X(NAME_INVALID, "invalid names")                         \
    X(CLAIMS_EACH, "requests beyond a connection's")         \
    X(FENCES_ASKED, "events while fences were low")          \
    X(WALKS, "walks through all invariants")

enum coverage_kind {
#define X(name, text) COVERAGE_##name,
    COVERAGE_REPLIES(X)
    COVERAGE_ENDS(X) COVERAGE_OTHERS(X)
#undef X
        COVERAGE_KINDS
};

struct coverage {
    uint64_t counts[COVERAGE_KINDS];
};

void coverage_add(struct coverage *to, const struct coverage *from);

/* As comments of TAP. */
void coverage_print(FILE *to, const struct coverage *coverage);

/* Returns the first situation that was never seen, or NULL. */
const char *coverage_missing(const struct coverage *coverage);

#endif
