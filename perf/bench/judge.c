/*
 * Each key has a list of its claims, from request to end. Events are numbered in call order.
 * Times matter only for leases and timeouts.
 */
#include "bench/judge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/time_units.h"

enum {
    PROBLEM_MAX = 240,
    FENCES_KEPT = 256, /* the latest fences, to find repeated ones */
    ENDS_KEPT = 16,    /* ends of holds per key and mode */
    REVOCATIONS_KEPT = 1024
};

struct judge_claim {
    struct judge_claim *next;
    struct judge_claim *previous;
    uint32_t key;
    bool shared;
    bool held;
    bool releasing; /* the release has been sent */
    bool succeeded; /* a later claim was granted after this one held */
    bool disconnected;
    uint32_t losses;
    uint64_t fence_overlapping; /* of a later grant; this claim may have ended before. 0: none */
    uint64_t fence_doubted;     /* fence_overlapping when the release was sent */
    uint64_t requested_event;
    uint64_t requested_ns;
    uint64_t queued_event;  /* 0: not known to be queued */
    uint64_t started_ns;    /* earliest start of the lease */
    uint64_t wait_start_ns; /* start of the wait of `timeout_ns`; 0: no wait */
    uint64_t timeout_ns;
    uint64_t renewing_ns;
    uint64_t releasing_ns;
    uint64_t sure_until_ns; /* the lease lasts at least until then */
    uint64_t ended_ns;      /* the lease has ended by then */
    uint64_t revoking_ns;   /* when the first revocation was sent; 0: none */
    uint64_t revoked_ns;    /* when the reply to the accepted one was read; 0: none */
    uint64_t fence;
    uint64_t fence_floor;  /* highest fence known at the request */
    uint64_t fence_ahead;  /* highest fence of the claims certainly ahead in the queue */
    uint64_t fence_behind; /* lowest fence of the claims certainly behind in the queue */
    uint64_t pairs_behind;
    uint64_t passed_ns; /* when the first grant to a claim behind was read */
};

struct hold_end {
    uint64_t fence;
    uint64_t at_ns; /* earliest time of the end */
};

/* The past holds of a key in one mode. */
struct past_holds {
    uint64_t fence_last; /* highest fence read */
    struct hold_end ends[ENDS_KEPT];
    uint32_t end_next;
};

/* The revocations of one grant. They may precede the reply to the grant. */
struct revocation {
    uint64_t fence;
    uint64_t sent_ns;     /* when the first one was sent */
    uint64_t accepted_ns; /* 0: none was accepted */
    uint32_t attempts;
    bool released; /* the holder's release was accepted */
};

struct judge_key {
    struct judge_claim *claims;
    uint32_t limit;
    uint64_t revoking_ns; /* when the latest revocation was sent */
    uint64_t ended_event; /* when the last hold ended */
    struct past_holds exclusive;
    struct past_holds shared;
};

struct judge {
    struct judge_key *keys;
    uint32_t key_count;
    uint64_t margin_ns;
    uint64_t event;
    uint64_t fence_last;
    uint64_t fences[FENCES_KEPT];
    uint32_t fence_next;
    struct revocation revocations[REVOCATIONS_KEPT];
    uint32_t revocation_next;
    struct judge_counts counts;
    char problems[JUDGE_RULES][PROBLEM_MAX];
};

const char *judge_rule_name(enum judge_rule rule)
{
    static const char *const names[JUDGE_RULES] = {
        [JUDGE_EXCLUSION] = "holders of a key never exceed its limit",
        [JUDGE_ORDER] = "grants come in the order of the queue",
        [JUDGE_FENCE] = "fences rise with the grants",
        [JUDGE_LEASE] = "a lease lasts exactly its time",
        [JUDGE_SERVICE] = "every request gets a reply, and no timeout is early",
    };

    return names[rule];
}

__attribute__((format(printf, 3, 4))) static void
judge_add_violation(struct judge *judge, enum judge_rule rule, const char *format, ...)
{
    if (judge->counts.violations[rule]++ == 0) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(judge->problems[rule], PROBLEM_MAX, format, arguments);
        va_end(arguments);
    }
}

void judge_report(struct judge *judge, enum judge_rule rule, const char *what)
{
    judge_add_violation(judge, rule, "%s", what);
}

struct judge *judge_new(uint32_t keys, uint64_t margin_ns)
{
    struct judge *judge = calloc(1, sizeof(*judge));

    if (!judge)
        return NULL;
    judge->keys = calloc(keys, sizeof(*judge->keys));
    if (!judge->keys) {
        free(judge);
        return NULL;
    }
    judge->key_count = keys;
    judge->margin_ns = margin_ns;
    for (uint32_t i = 0; i < keys; i++)
        judge->keys[i].limit = 1;
    return judge;
}

static void judge_claim_free(struct judge *judge, struct judge_claim *claim)
{
    if (claim->previous)
        claim->previous->next = claim->next;
    else
        judge->keys[claim->key].claims = claim->next;
    if (claim->next)
        claim->next->previous = claim->previous;
    free(claim);
}

void judge_free(struct judge *judge)
{
    for (uint32_t i = 0; i < judge->key_count; i++) {
        struct judge_claim *next;

        for (struct judge_claim *claim = judge->keys[i].claims; claim; claim = next) {
            next = claim->next;
            free(claim);
        }
    }
    free(judge->keys);
    free(judge);
}

void judge_limit(struct judge *judge, uint32_t key, uint32_t limit)
{
    judge->keys[key].limit = limit;
}

/* ---- before the grant ---- */

struct judge_claim *judge_requested(struct judge *judge, uint32_t key, uint64_t now_ns)
{
    struct judge_claim *claim = calloc(1, sizeof(*claim));
    struct judge_key *on = &judge->keys[key];

    if (!claim)
        return NULL;
    claim->key = key;
    claim->requested_event = ++judge->event;
    claim->requested_ns = now_ns;
    claim->started_ns = now_ns;
    claim->fence_floor = judge->fence_last;
    claim->fence_behind = UINT64_MAX;
    claim->next = on->claims;
    if (on->claims)
        on->claims->previous = claim;
    on->claims = claim;
    return claim;
}

void judge_set_shared(struct judge_claim *claim)
{
    claim->shared = true;
}

void judge_set_losses(struct judge_claim *claim, uint32_t losses)
{
    claim->losses = losses;
}

void judge_queued(struct judge *judge, struct judge_claim *claim)
{
    claim->queued_event = ++judge->event;
}

void judge_waiting(struct judge *judge, struct judge_claim *claim, uint64_t timeout_ns,
                   uint64_t now_ns)
{
    judge->event++;
    claim->started_ns = now_ns;
    claim->wait_start_ns = now_ns;
    claim->timeout_ns = timeout_ns;
}

/* ---- the grant ---- */

static struct revocation *judge_find_revocation(struct judge *judge, uint64_t fence)
{
    for (uint32_t i = 0; i < REVOCATIONS_KEPT && i < judge->revocation_next; i++) {
        if (judge->revocations[i].fence == fence)
            return &judge->revocations[i];
    }
    return NULL;
}

/* Returns the time until which the hold lasts at least. */
static uint64_t judge_sure_until(const struct judge_claim *claim)
{
    return claim->revoking_ns && claim->revoking_ns < claim->sure_until_ns ? claim->revoking_ns
                                                                           : claim->sure_until_ns;
}

static void judge_set_lease(const struct judge *judge, struct judge_claim *claim, uint64_t since_ns,
                            uint64_t lease_ns, uint64_t now_ns)
{
    claim->sure_until_ns = since_ns + lease_ns - judge->margin_ns;
    claim->ended_ns = claim->revoked_ns ? claim->revoked_ns : now_ns + lease_ns + judge->margin_ns;
}

/* Returns whether one of the claims of a lock excludes the other. */
static bool judge_conflict(const struct judge_claim *one, const struct judge_claim *other)
{
    return !one->shared || !other->shared;
}

static struct past_holds *judge_past_holds(struct judge_key *key, const struct judge_claim *claim)
{
    return claim->shared ? &key->shared : &key->exclusive;
}

/* Returns the latest end of a hold with a lower fence, or `start_ns` if that is later. */
static uint64_t judge_latest_end(const struct past_holds *past, uint64_t fence, uint64_t start_ns)
{
    for (uint32_t i = 0; i < ENDS_KEPT; i++) {
        const struct hold_end *end = &past->ends[i];

        if (end->fence && end->fence < fence && end->at_ns > start_ns)
            start_ns = end->at_ns;
    }
    return start_ns;
}

/*
 * Returns the earliest start of a new grant's lease. For a lock, this is not before the end of a
 * hold with a lower fence that excludes it.
 */
static uint64_t judge_earliest_start(const struct judge_key *key, const struct judge_claim *claim,
                                     uint64_t now_ns)
{
    uint64_t start_ns = claim->started_ns;

    if (key->limit > 1)
        return start_ns;
    start_ns = judge_latest_end(&key->exclusive, claim->fence, start_ns);
    if (!claim->shared)
        start_ns = judge_latest_end(&key->shared, claim->fence, start_ns);
    for (const struct judge_claim *other = key->claims; other; other = other->next) {
        if (other != claim && other->held && judge_conflict(other, claim) &&
            other->fence < claim->fence && judge_sure_until(other) <= now_ns &&
            judge_sure_until(other) > start_ns)
            start_ns = judge_sure_until(other);
    }
    return start_ns;
}

/*
 * The grant happened before its reply was read, but after all grants with lower fences. A
 * certain holder with a lower fence therefore held at the time of the grant. Holders with higher
 * fences count only if the new lease certainly lasts.
 */
static void judge_check_exclusion(struct judge *judge, const struct judge_key *key,
                                  const struct judge_claim *claim, uint64_t now_ns)
{
    bool sure = judge_sure_until(claim) > now_ns;
    uint32_t holders = 0;
    uint64_t other_fence = 0;

    for (struct judge_claim *other = key->claims; other; other = other->next) {
        bool certain = !other->releasing && judge_sure_until(other) > now_ns;

        if (other == claim || !other->held || !judge_conflict(other, claim) ||
            (!certain && !other->disconnected))
            continue;
        if (other->disconnected || other->losses != claim->losses) {
            if (key->limit == 1 && other->fence < claim->fence)
                other->fence_overlapping = claim->fence;
        } else if (sure || other->fence < claim->fence) {
            holders++;
            other_fence = other->fence;
        }
    }
    judge->counts.overlaps++;
    if (holders >= key->limit)
        judge_add_violation(judge, JUDGE_EXCLUSION,
                            "key %" PRIu32 " with limit %" PRIu32 ": %sfence %" PRIu64
                            " is granted with %" PRIu32 " holders, one with fence %" PRIu64,
                            claim->key, key->limit, claim->shared ? "shared " : "", claim->fence,
                            holders, other_fence);
}

static void judge_check_fence(struct judge *judge, struct judge_key *key,
                              const struct judge_claim *claim, uint64_t now_ns)
{
    uint64_t fence = claim->fence;
    struct past_holds *past = judge_past_holds(key, claim);
    uint64_t fence_last = key->exclusive.fence_last;

    if (!claim->shared && key->shared.fence_last > fence_last)
        fence_last = key->shared.fence_last;
    judge->counts.fences++;
    for (uint32_t i = 0; i < FENCES_KEPT; i++) {
        if (judge->fences[i] == fence)
            judge_add_violation(judge, JUDGE_FENCE,
                                "key %" PRIu32 ": fence %" PRIu64 " is repeated", claim->key,
                                fence);
    }
    /* On a lock, a hold that still lasts is the latest one of those that exclude each other. */
    if (fence <= claim->fence_floor ||
        (key->limit == 1 && judge_sure_until(claim) > now_ns && fence <= fence_last))
        judge_add_violation(judge, JUDGE_FENCE,
                            "key %" PRIu32 ": fence %" PRIu64 " after %" PRIu64
                            " of this key and %" PRIu64 " of all keys",
                            claim->key, fence, fence_last, claim->fence_floor);
    judge->fences[judge->fence_next++ % FENCES_KEPT] = fence;
    if (fence > past->fence_last)
        past->fence_last = fence;
    if (fence > judge->fence_last)
        judge->fence_last = fence;
}

/* The claim with `fence_behind` was requested after the one with `fence_ahead` was queued. */
static void judge_compare_order(struct judge *judge, uint32_t key, uint64_t fence_behind,
                                uint64_t fence_ahead)
{
    if (fence_behind < fence_ahead)
        judge_add_violation(judge, JUDGE_ORDER,
                            "key %" PRIu32 ": fence %" PRIu64
                            " went to a claim requested after fence %" PRIu64 " was queued",
                            key, fence_behind, fence_ahead);
}

/*
 * Fences show the order of grants, whatever the order of the replies. Of two claims with a
 * certain order in the queue, the one granted first stores its fence in the other.
 */
static void judge_check_order(struct judge *judge, struct judge_key *key, struct judge_claim *claim,
                              uint64_t now_ns)
{
    judge->counts.pairs += claim->pairs_behind;
    judge_compare_order(judge, claim->key, claim->fence_behind, claim->fence);
    judge_compare_order(judge, claim->key, claim->fence, claim->fence_ahead);
    for (struct judge_claim *other = key->claims; other; other = other->next) {
        if (other == claim || other->held)
            continue;
        if (other->queued_event && other->queued_event < claim->requested_event) {
            if (claim->fence < other->fence_behind)
                other->fence_behind = claim->fence;
            if (other->pairs_behind++ == 0)
                other->passed_ns = now_ns;
        }
        if (claim->queued_event && claim->queued_event < other->requested_event) {
            judge->counts.pairs++;
            if (claim->fence > other->fence_ahead)
                other->fence_ahead = claim->fence;
        }
    }
}

/* Records how long after an expired lease the next claim was granted. */
static void judge_note_late(struct judge *judge, const struct judge_key *key,
                            const struct judge_claim *claim, uint64_t now_ns)
{
    struct judge_claim *before = NULL;
    uint64_t ended_ns;

    for (struct judge_claim *other = key->claims; other; other = other->next) {
        if (other != claim && other->held && !other->releasing && !other->succeeded &&
            other->fence < claim->fence) {
            other->succeeded = true;
            if (!before || other->fence > before->fence)
                before = other;
        }
    }
    /* Of shared holds, another one than the latest may have ended last. */
    if (key->limit > 1 || !before || before->shared || before->revoking_ns)
        return;
    ended_ns = before->ended_ns - judge->margin_ns;
    /* A claim requested later did not wait for this lease. */
    if (claim->started_ns < ended_ns && now_ns > ended_ns) {
        judge->counts.expiries++;
        if (now_ns - ended_ns > judge->counts.late_ns)
            judge->counts.late_ns = now_ns - ended_ns;
    }
}

/* Copies what is known of the revocations of the grant. */
static void judge_note_revocation(struct judge *judge, struct judge_claim *claim)
{
    const struct revocation *revocation = judge_find_revocation(judge, claim->fence);

    if (!revocation)
        return;
    claim->revoking_ns = revocation->sent_ns;
    claim->revoked_ns = revocation->accepted_ns;
    if (claim->revoked_ns && claim->revoked_ns < claim->started_ns)
        judge_add_violation(judge, JUDGE_LEASE,
                            "key %" PRIu32 ": fence %" PRIu64 " is granted after its revocation",
                            claim->key, claim->fence);
}

void judge_granted(struct judge *judge, struct judge_claim *claim, uint64_t fence,
                   uint64_t lease_ns, uint64_t now_ns)
{
    struct judge_key *key = &judge->keys[claim->key];

    judge->event++;
    judge->counts.grants++;
    if (key->ended_event > claim->requested_event)
        judge->counts.hand_overs++;
    claim->fence = fence;
    claim->held = true;
    claim->wait_start_ns = 0;
    judge_note_revocation(judge, claim);
    judge_set_lease(judge, claim, judge_earliest_start(key, claim, now_ns), lease_ns, now_ns);
    judge_note_late(judge, key, claim, now_ns);
    judge_check_order(judge, key, claim, now_ns);
    judge_check_fence(judge, key, claim, now_ns);
    judge_check_exclusion(judge, key, claim, now_ns);
}

/* ---- after the grant ---- */

void judge_renewing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    judge->event++;
    claim->renewing_ns = now_ns;
}

/* Checks the reply to a renewal or release that was sent at `sent_ns`. */
static void judge_check_reply(struct judge *judge, const struct judge_claim *claim,
                              const char *what, bool accepted, uint64_t sent_ns, uint64_t now_ns)
{
    if (now_ns < judge_sure_until(claim) || sent_ns > claim->ended_ns)
        judge->counts.replies++;
    if (!accepted && now_ns < judge_sure_until(claim))
        judge_add_violation(judge, JUDGE_LEASE,
                            "key %" PRIu32 ": %s of fence %" PRIu64 " refused during its lease",
                            claim->key, what, claim->fence);
    if (accepted && sent_ns > claim->ended_ns)
        judge_add_violation(
            judge, JUDGE_LEASE, "key %" PRIu32 ": %s of fence %" PRIu64 " accepted after its %s",
            claim->key, what, claim->fence, claim->revoked_ns ? "revocation" : "lease");
}

void judge_renewed(struct judge *judge, struct judge_claim *claim, uint64_t lease_ns,
                   uint64_t now_ns)
{
    judge->event++;
    judge_check_reply(judge, claim, "renewal", lease_ns > 0, claim->renewing_ns, now_ns);
    if (lease_ns > 0)
        judge_set_lease(judge, claim, claim->renewing_ns, lease_ns, now_ns);
    else
        claim->sure_until_ns = 0;
}

static void judge_hold_ended(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    struct judge_key *key = &judge->keys[claim->key];
    struct past_holds *past = judge_past_holds(key, claim);
    uint64_t sure_until_ns = judge_sure_until(claim);
    uint64_t end_ns = sure_until_ns < now_ns ? sure_until_ns : now_ns;

    if (!claim->held || claim->releasing)
        return;
    claim->releasing = true;
    key->ended_event = judge->event;
    past->ends[past->end_next++ % ENDS_KEPT] =
        (struct hold_end){.fence = claim->fence, .at_ns = end_ns};
}

void judge_releasing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    judge->event++;
    claim->releasing_ns = now_ns;
    claim->fence_doubted = claim->fence_overlapping;
    judge_hold_ended(judge, claim, now_ns);
}

static void judge_report_two_ends(struct judge *judge, uint32_t key, uint64_t fence)
{
    judge_add_violation(judge, JUDGE_LEASE,
                        "key %" PRIu32 ": the server accepted two ends of fence %" PRIu64, key,
                        fence);
}

void judge_released(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t now_ns)
{
    struct revocation *revocation = accepted ? judge_find_revocation(judge, claim->fence) : NULL;

    judge->event++;
    if (revocation) {
        revocation->released = true;
        if (revocation->accepted_ns)
            judge_report_two_ends(judge, claim->key, claim->fence);
    }
    judge_check_reply(judge, claim, "release", accepted, claim->releasing_ns, now_ns);
    if (accepted && claim->fence_doubted)
        judge_add_violation(judge, JUDGE_EXCLUSION,
                            "key %" PRIu32 ": fence %" PRIu64 " was granted before the release of "
                            "fence %" PRIu64,
                            claim->key, claim->fence_doubted, claim->fence);
    judge_claim_free(judge, claim);
}

void judge_moved(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t sent_ns,
                 uint64_t now_ns)
{
    judge->event++;
    judge_check_reply(judge, claim, "move", accepted, sent_ns, now_ns);
}

static struct judge_claim *judge_find_holder(struct judge *judge, uint32_t key, uint64_t fence)
{
    struct judge_claim *claim = judge->keys[key].claims;

    while (claim && (!claim->held || claim->fence != fence))
        claim = claim->next;
    return claim;
}

void judge_revoking(struct judge *judge, uint32_t key, uint64_t fence, uint64_t now_ns)
{
    struct judge_claim *claim = judge_find_holder(judge, key, fence);
    struct revocation *revocation = judge_find_revocation(judge, fence);

    judge->event++;
    judge->keys[key].revoking_ns = now_ns;
    if (!revocation) {
        revocation = &judge->revocations[judge->revocation_next++ % REVOCATIONS_KEPT];
        *revocation = (struct revocation){.fence = fence, .sent_ns = now_ns};
    }
    revocation->attempts++;
    if (fence > judge->fence_last)
        judge->fence_last = fence;
    if (claim) {
        claim->revoking_ns = revocation->sent_ns;
        judge->keys[key].ended_event = judge->event;
    }
}

static void judge_accept_revocation(struct judge *judge, uint32_t key,
                                    struct revocation *revocation, uint64_t now_ns)
{
    struct judge_claim *claim = judge_find_holder(judge, key, revocation->fence);

    if (revocation->accepted_ns || revocation->released)
        judge_report_two_ends(judge, key, revocation->fence);
    judge->counts.revocations++;
    revocation->accepted_ns = now_ns;
    if (claim) {
        claim->revoked_ns = now_ns;
        claim->ended_ns = claim->ended_ns < now_ns ? claim->ended_ns : now_ns;
    }
}

void judge_revoked(struct judge *judge, uint32_t key, uint64_t fence, bool accepted,
                   uint64_t now_ns)
{
    struct revocation *revocation = judge_find_revocation(judge, fence);
    struct judge_claim *claim = judge_find_holder(judge, key, fence);

    judge->event++;
    if (!revocation)
        return;
    if (accepted) {
        judge_accept_revocation(judge, key, revocation, now_ns);
    } else if (revocation->attempts == 1) {
        /* The refusal changes nothing: what was certain is certain again. */
        *revocation = (struct revocation){0};
        if (!claim)
            return;
        claim->revoking_ns = 0;
        if (!claim->releasing && claim->sure_until_ns > now_ns)
            judge_add_violation(judge, JUDGE_LEASE,
                                "key %" PRIu32 ": revocation of fence %" PRIu64
                                " refused during its lease",
                                key, fence);
    }
}

void judge_expired(struct judge *judge, struct judge_claim *claim, uint64_t lease_ns,
                   uint64_t now_ns)
{
    bool revoked = judge->keys[claim->key].revoking_ns >= claim->requested_ns;

    if (!revoked && now_ns + judge->margin_ns < claim->requested_ns + lease_ns)
        judge_add_violation(
            judge, JUDGE_LEASE,
            "key %" PRIu32 ": a lease of %" PRIu64 " ms ended within %" PRIu64 " ms of its request",
            claim->key, lease_ns / NS_PER_MS, (now_ns - claim->requested_ns) / NS_PER_MS);
    judge_dropped(judge, claim, now_ns);
}

void judge_timed_out(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    uint64_t due_ns = claim->wait_start_ns + claim->timeout_ns;

    judge->event++;
    if (claim->wait_start_ns && now_ns + judge->margin_ns < due_ns)
        judge_add_violation(judge, JUDGE_SERVICE,
                            "key %" PRIu32 ": a wait of %" PRIu64 " ms ended after %" PRIu64 " ms",
                            claim->key, claim->timeout_ns / NS_PER_MS,
                            (now_ns - claim->wait_start_ns) / NS_PER_MS);
    /* The claim was queued until now without a grant, while a claim behind it was granted. */
    if (claim->wait_start_ns && claim->queued_event) {
        judge->counts.pairs += claim->pairs_behind;
        if (claim->pairs_behind && claim->passed_ns + judge->margin_ns < due_ns)
            judge_add_violation(judge, JUDGE_ORDER,
                                "key %" PRIu32 ": fence %" PRIu64
                                " went to a claim requested after a known queued"
                                " one, which then timed out",
                                claim->key, claim->fence_behind);
    }
    judge_claim_free(judge, claim);
}

void judge_dropped(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    judge->event++;
    judge_hold_ended(judge, claim, now_ns);
    judge_claim_free(judge, claim);
}

/* Nobody knows when the hold ends, so it does not show when the lease of the next one begins. */
void judge_disconnected(struct judge *judge, struct judge_claim *claim)
{
    struct judge_key *key = &judge->keys[claim->key];
    struct past_holds *past = judge_past_holds(key, claim);

    judge->event++;
    for (uint32_t i = 0; i < ENDS_KEPT; i++) {
        if (past->ends[i].fence == claim->fence)
            past->ends[i] = (struct hold_end){0};
    }
    key->ended_event = judge->event;
    claim->disconnected = true;
    claim->releasing = true;
    claim->sure_until_ns = 0;
    claim->ended_ns = UINT64_MAX;
}

void judge_end(struct judge *judge)
{
    for (uint32_t i = 0; i < judge->key_count; i++) {
        for (const struct judge_claim *claim = judge->keys[i].claims; claim; claim = claim->next) {
            if (!claim->held || (claim->releasing && !claim->disconnected))
                judge_add_violation(judge, JUDGE_SERVICE, "key %" PRIu32 ": no reply to %s", i,
                                    claim->releasing      ? "the release"
                                    : claim->queued_event ? "the wait"
                                                          : "the request");
        }
    }
}

const struct judge_counts *judge_counts(const struct judge *judge)
{
    return &judge->counts;
}

const char *judge_first_violation(const struct judge *judge, enum judge_rule rule)
{
    return judge->counts.violations[rule] ? judge->problems[rule] : NULL;
}
