#include "bench/watch.h"

#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"

#define MARGIN_NS (NS_PER_S / 20) /* what a lease may seem shorter or longer than it is */

/* Longer ones don't end while anybody watches; sums of them fit into 64 bits. */
#define SECONDS_WATCHED 100000000ull

enum {
    FENCE_DIGITS = 16
};

bool watch_init(struct watch *watch, const struct settings *settings, const struct keys *keys,
                uint32_t own_count)
{
    uint64_t timeout_s =
        settings->timeout_s < SECONDS_WATCHED ? settings->timeout_s : SECONDS_WATCHED;

    watch->chosen_count = keys_count(keys, own_count);
    watch->timeout_ns = timeout_s * NS_PER_S;
    watch->judge = judge_new(2 * watch->chosen_count + own_count, MARGIN_NS);
    if (!watch->judge)
        return false;
    for (uint32_t i = 0; i < watch->chosen_count; i++)
        judge_limit(watch->judge, watch->chosen_count + i, (uint32_t)settings->limit);
    return true;
}

void watch_free(struct watch *watch)
{
    judge_free(watch->judge);
}

static struct judge_claim *ask(struct watch *watch, const struct hold *hold, enum kind kind,
                               enum key_space space, uint64_t now_ns)
{
    uint32_t key = hold->key;
    struct judge_claim *claim;

    if (space == KEY_KEPT)
        key += 2 * watch->chosen_count;
    else if (kind == KIND_SEMAPHORE_ACQUIRE)
        key += watch->chosen_count;
    claim = judge_asked(watch->judge, key, now_ns);
    if (!claim)
        abort();
    return claim;
}

void watch_asks(struct watch *watch, struct hold *hold, enum kind kind, enum key_space space,
                uint64_t now_ns)
{
    struct judge *judge = watch->judge;

    switch (kind) {
    case KIND_ACQUIRE:
    case KIND_TRY:
    case KIND_SEMAPHORE_ACQUIRE:
        hold->claim = ask(watch, hold, kind, space, now_ns);
        judge_waits(judge, hold->claim, kind == KIND_TRY ? 0 : watch->timeout_ns, now_ns);
        break;
    case KIND_ENQUEUE:
        hold->claim = ask(watch, hold, kind, space, now_ns);
        break;
    case KIND_WAIT:
        /* What is held already is only confirmed, and its lease starts again. */
        if (hold->held)
            judge_renews(judge, hold->claim, now_ns);
        else
            judge_waits(judge, hold->claim, watch->timeout_ns, now_ns);
        break;
    case KIND_RENEW:
        judge_renews(judge, hold->claim, now_ns);
        break;
    case KIND_RELEASE:
    case KIND_SEMAPHORE_RELEASE:
        judge_releases(judge, hold->claim, now_ns);
        break;
    default:
        break;
    }
}

static uint64_t fence_of(const struct token *token)
{
    char digits[FENCE_DIGITS + 1] = "";

    memcpy(digits, token->text, token->length < FENCE_DIGITS ? token->length : FENCE_DIGITS);
    return strtoull(digits, NULL, 16);
}

static uint64_t lease_of(const struct answer *answer)
{
    return (answer->lease_s < SECONDS_WATCHED ? answer->lease_s : SECONDS_WATCHED) * NS_PER_S;
}

static void hear_claim(struct watch *watch, struct hold *hold, const struct answer *answer,
                       uint64_t now_ns)
{
    struct judge *judge = watch->judge;

    if (answer->token) {
        judge_granted(judge, hold->claim, fence_of(answer->token), lease_of(answer), now_ns);
    } else if (answer->outcome == DFLOCKD_QUEUED) {
        judge_queued(judge, hold->claim);
    } else if (answer->outcome == DFLOCKD_TIMEOUT) {
        judge_timed_out(judge, hold->claim, now_ns);
        hold->claim = NULL;
    } else {
        if (answer->outcome <= DFLOCKD_ACQUIRED || answer->outcome == OUTCOME_UNKNOWN)
            judge_accuse(judge, JUDGE_SERVICE, "an answer that no right server gives");
        watch_drops(watch, hold, now_ns);
    }
}

static void hear_renewal(struct watch *watch, struct hold *hold, bool fine,
                         const struct answer *answer, uint64_t now_ns)
{
    judge_renewed(watch->judge, hold->claim, fine ? lease_of(answer) : 0, now_ns);
    if (!fine)
        watch_drops(watch, hold, now_ns);
}

void watch_hears(struct watch *watch, struct hold *hold, enum kind kind,
                 const struct answer *answer, uint64_t now_ns)
{
    switch (kind) {
    case KIND_ACQUIRE:
    case KIND_TRY:
    case KIND_SEMAPHORE_ACQUIRE:
    case KIND_ENQUEUE:
        hear_claim(watch, hold, answer, now_ns);
        break;
    case KIND_WAIT:
        if (hold->held)
            hear_renewal(watch, hold, answer->token != NULL, answer, now_ns);
        else
            hear_claim(watch, hold, answer, now_ns);
        break;
    case KIND_RENEW:
        hear_renewal(watch, hold, answer->outcome == DFLOCKD_OK, answer, now_ns);
        break;
    case KIND_RELEASE:
    case KIND_SEMAPHORE_RELEASE:
        judge_released(watch->judge, hold->claim, answer->outcome == DFLOCKD_OK, now_ns);
        hold->claim = NULL;
        break;
    default:
        break;
    }
}

void watch_drops(struct watch *watch, struct hold *hold, uint64_t now_ns)
{
    if (hold->claim)
        judge_dropped(watch->judge, hold->claim, now_ns);
    hold->claim = NULL;
}

uint64_t watch_violations(const struct watch *watch)
{
    uint64_t sum = 0;

    for (int rule = 0; rule < JUDGE_RULES; rule++)
        sum += judge_counts(watch->judge)->wrong[rule];
    return sum;
}
