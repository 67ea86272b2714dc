#include "bench/checker.h"

#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"

#define MARGIN_NS (NS_PER_S / 20) /* assumed error of a lease's end */

/* Longer times do not end during a load, and sums of these fit into 64 bits. */
#define SECONDS_WATCHED 100000000ull

enum {
    FENCE_DIGITS = 16
};

bool checker_init(struct checker *checker, const struct settings *settings, const struct keys *keys,
                  uint32_t own_count)
{
    uint64_t timeout_s =
        settings->timeout_s < SECONDS_WATCHED ? settings->timeout_s : SECONDS_WATCHED;

    checker->chosen_count = keys_count(keys, own_count);
    checker->timeout_ns = timeout_s * NS_PER_S;
    checker->judge = judge_new(2 * checker->chosen_count + own_count, MARGIN_NS);
    if (!checker->judge)
        return false;
    for (uint32_t i = 0; i < checker->chosen_count; i++)
        judge_limit(checker->judge, checker->chosen_count + i, (uint32_t)settings->limit);
    return true;
}

void checker_free(struct checker *checker)
{
    judge_free(checker->judge);
}

static struct judge_claim *checker_new_claim(struct checker *checker, const struct hold *hold,
                                             enum request_kind kind, enum key_space space,
                                             uint64_t now_ns)
{
    uint32_t key = hold->key;
    struct judge_claim *claim;

    if (space == KEY_KEPT)
        key += 2 * checker->chosen_count;
    else if (kind == REQUEST_SEMAPHORE_ACQUIRE)
        key += checker->chosen_count;
    claim = judge_requested(checker->judge, key, now_ns);
    if (!claim)
        abort();
    if (kind == REQUEST_SHARED_ACQUIRE || kind == REQUEST_SHARED_ENQUEUE)
        judge_set_shared(claim);
    judge_set_losses(claim, hold->losses);
    return claim;
}

void checker_note_request(struct checker *checker, struct hold *hold, enum request_kind kind,
                          enum key_space space, uint64_t now_ns)
{
    struct judge *judge = checker->judge;

    switch (codec_step(kind)) {
    case STEP_ACQUIRE:
        hold->claim = checker_new_claim(checker, hold, kind, space, now_ns);
        judge_waiting(judge, hold->claim, kind == REQUEST_TRY ? 0 : checker->timeout_ns, now_ns);
        break;
    case STEP_ENQUEUE:
        hold->claim = checker_new_claim(checker, hold, kind, space, now_ns);
        break;
    case STEP_WAIT:
        /* `w` confirms the grant that `e` got, and restarts its lease. */
        if (hold->held)
            judge_renewing(judge, hold->claim, now_ns);
        else
            judge_waiting(judge, hold->claim, checker->timeout_ns, now_ns);
        break;
    case STEP_RENEW:
        judge_renewing(judge, hold->claim, now_ns);
        break;
    case STEP_RELEASE:
        judge_releasing(judge, hold->claim, now_ns);
        break;
    default:
        break;
    }
}

static uint64_t checker_fence(const struct token *token)
{
    char digits[FENCE_DIGITS + 1] = "";

    memcpy(digits, token->text, token->length < FENCE_DIGITS ? token->length : FENCE_DIGITS);
    return strtoull(digits, NULL, 16);
}

static uint64_t checker_lease_ns(const struct reply *reply)
{
    return (reply->lease_s < SECONDS_WATCHED ? reply->lease_s : SECONDS_WATCHED) * NS_PER_S;
}

static void checker_note_claim_reply(struct checker *checker, struct hold *hold,
                                     const struct reply *reply, uint64_t now_ns)
{
    struct judge *judge = checker->judge;

    if (reply->token) {
        judge_granted(judge, hold->claim, checker_fence(reply->token), checker_lease_ns(reply),
                      now_ns);
    } else if (reply->outcome == DFLOCKD_QUEUED) {
        judge_queued(judge, hold->claim);
    } else if (reply->outcome == DFLOCKD_TIMEOUT) {
        judge_timed_out(judge, hold->claim, now_ns);
        hold->claim = NULL;
    } else {
        if (reply->outcome <= DFLOCKD_ACQUIRED || reply->outcome == OUTCOME_UNKNOWN)
            judge_report(judge, JUDGE_SERVICE, "a reply outside the protocol");
        checker_drop(checker, hold, now_ns);
    }
}

static void checker_note_renewal(struct checker *checker, struct hold *hold, bool fine,
                                 const struct reply *reply, uint64_t now_ns)
{
    judge_renewed(checker->judge, hold->claim, fine ? checker_lease_ns(reply) : 0, now_ns);
    if (!fine)
        checker_drop(checker, hold, now_ns);
}

void checker_note_reply(struct checker *checker, struct hold *hold, enum request_kind kind,
                        const struct reply *reply, uint64_t now_ns)
{
    switch (codec_step(kind)) {
    case STEP_ACQUIRE:
    case STEP_ENQUEUE:
        checker_note_claim_reply(checker, hold, reply, now_ns);
        break;
    case STEP_WAIT:
        if (hold->held)
            checker_note_renewal(checker, hold, reply->token != NULL, reply, now_ns);
        else
            checker_note_claim_reply(checker, hold, reply, now_ns);
        break;
    case STEP_RENEW:
        checker_note_renewal(checker, hold, reply->outcome == DFLOCKD_OK, reply, now_ns);
        break;
    case STEP_RELEASE:
        judge_released(checker->judge, hold->claim, reply->outcome == DFLOCKD_OK, now_ns);
        hold->claim = NULL;
        break;
    default:
        break;
    }
}

void checker_note_loss(struct checker *checker, struct hold *hold, uint64_t now_ns)
{
    if (hold->claim && (hold->held || hold->lost))
        judge_disconnected(checker->judge, hold->claim);
    else
        checker_drop(checker, hold, now_ns);
}

void checker_drop(struct checker *checker, struct hold *hold, uint64_t now_ns)
{
    if (hold->claim)
        judge_dropped(checker->judge, hold->claim, now_ns);
    hold->claim = NULL;
}

uint64_t checker_violations(const struct checker *checker)
{
    uint64_t sum = 0;

    for (int rule = 0; rule < JUDGE_RULES; rule++)
        sum += judge_counts(checker->judge)->violations[rule];
    return sum;
}
