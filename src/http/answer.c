#include "http/answer.h"

#include <assert.h>
#include <string.h>

#include "wire/text.h"

/* Everything but the detail. */
enum {
    ANSWER_FRAME_MAX = 64
};

static_assert(ANSWER_FRAME_MAX + ANSWER_DETAIL_MAX * TEXT_STRING_GROWTH_MAX <= ANSWER_MAX,
              "the longest error fits");

static uint8_t *answer_start(struct answer *answer, unsigned status)
{
    answer->status = status;
    return (uint8_t *)answer->text;
}

static void answer_end(struct answer *answer, uint8_t *to)
{
    to = text_put(to, "}\n");
    answer->length = (uint32_t)(to - (uint8_t *)answer->text);
    assert(answer->length <= ANSWER_MAX);
}

static void answer_empty(struct answer *answer)
{
    answer->status = 204;
    answer->length = 0;
}

void answer_error(struct answer *answer, unsigned status, const char *code, const char *detail)
{
    uint8_t *to = text_put(answer_start(answer, status), "{\"error\":\"");

    to = text_put(text_put(to, code), "\"");
    if (detail) {
        to = text_put(to, ",\"detail\":");
        to = text_put_string(to, (const uint8_t *)detail,
                             (uint32_t)strnlen(detail, ANSWER_DETAIL_MAX));
    }
    answer_end(answer, to);
}

void answer_status(struct answer *answer, unsigned status, const char *text)
{
    uint8_t *to = text_put(answer_start(answer, status), "{\"status\":\"");

    answer_end(answer, text_put(text_put(to, text), "\""));
}

void answer_session(struct answer *answer, const char id[ROUTE_SESSION_ID_LENGTH],
                    uint64_t idle_timeout_s)
{
    uint8_t *to = text_put(answer_start(answer, 200), "{\"session_id\":\"");

    to = text_put_bytes(to, id, ROUTE_SESSION_ID_LENGTH);
    to = text_put(to, "\",\"idle_timeout_s\":");
    answer_end(answer, text_put_number(to, idle_timeout_s));
}

static void answer_grant(struct answer *answer, const char *status,
                         const struct lock_answer *outcome)
{
    uint8_t *to = text_put(answer_start(answer, 200), "{\"status\":\"");

    to = text_put(text_put(to, status), "\",\"token\":\"");
    to = text_put_hex(to, outcome->token.fence);
    to = text_put_hex(to, outcome->token.salt);
    to = text_put(to, "\",\"lease_ttl_s\":");
    answer_end(answer, text_put_number(to, outcome->lease_s));
}

static void answer_renewed(struct answer *answer, uint64_t lease_s)
{
    uint8_t *to = text_put(answer_start(answer, 200), "{\"remaining_s\":");

    answer_end(answer, text_put_number(to, lease_s));
}

static void answer_ok(struct answer *answer, enum route_endpoint endpoint,
                      const struct lock_answer *outcome)
{
    if (endpoint == ROUTE_ACQUIRE || endpoint == ROUTE_WAIT)
        answer_grant(answer, "ok", outcome);
    else if (endpoint == ROUTE_RENEW)
        answer_renewed(answer, outcome->lease_s);
    else
        answer_empty(answer);
}

/* DFLOCKD_ERROR: its meaning depends on the request. */
static void answer_refusal(struct answer *answer, enum route_endpoint endpoint)
{
    switch (endpoint) {
    case ROUTE_SHOW:
        answer_error(answer, 404, "not_found", "nobody holds this key or waits for it");
        return;
    case ROUTE_REVOKE:
        answer_error(answer, 404, "not_held", "no grant of this key has this fence");
        return;
    case ROUTE_RELEASE:
    case ROUTE_RENEW:
    case ROUTE_OWN:
        answer_error(answer, 404, "not_held", "the token does not hold this key");
        return;
    default:
        answer_error(answer, 503, "unavailable", "the server is short of memory or fences");
    }
}

/* The outcomes that refuse a request and mean the same for all. */
static const struct answer_refused {
    unsigned status;
    const char *code;
    const char *detail;
} answer_refused[DFLOCKD_OUTCOME_COUNT] = {
    [DFLOCKD_ERROR_AUTH] = {403, "forbidden", NULL},
    [DFLOCKD_ERROR_MAX_LOCKS] = {503, "max_locks", NULL},
    [DFLOCKD_ERROR_MAX_WAITERS] = {503, "max_waiters", NULL},
    [DFLOCKD_ERROR_LIMIT_MISMATCH] = {409, "limit_mismatch", "the semaphore has another limit"},
    [DFLOCKD_ERROR_NOT_ENQUEUED] = {409, "not_enqueued",
                                    "the session has not enqueued for this key"},
    [DFLOCKD_ERROR_ALREADY_ENQUEUED] = {409, "already_enqueued",
                                        "the session has enqueued for this key before"},
    [DFLOCKD_ERROR_LEASE_EXPIRED] = {409, "lease_expired", "the lease ended before the answer"},
    [DFLOCKD_ERROR_DRAINING] = {503, "draining", "the server is about to stop"},
};

void answer_outcome(struct answer *answer, enum route_endpoint endpoint,
                    const struct lock_answer *outcome)
{
    const struct answer_refused *refused;

    assert(outcome->outcome >= 0 && outcome->outcome < DFLOCKD_OUTCOME_COUNT);
    switch (outcome->outcome) {
    case DFLOCKD_OK:
        answer_ok(answer, endpoint, outcome);
        return;
    case DFLOCKD_ACQUIRED:
        answer_grant(answer, "acquired", outcome);
        return;
    case DFLOCKD_QUEUED:
        answer_status(answer, 200, "queued");
        return;
    case DFLOCKD_TIMEOUT:
        answer_status(answer, 200, "timeout");
        return;
    case DFLOCKD_ERROR:
        answer_refusal(answer, endpoint);
        return;
    default:
        refused = &answer_refused[outcome->outcome];
        answer_error(answer, refused->status, refused->code, refused->detail);
    }
}
