/*
 * Claims are kept in a list for each key from when they are asked for until they are no more. The
 * order of events is the order of calls, numbered; times only matter for leases and time-outs.
 */
#include "bench/judge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PROBLEM_MAX = 240,
    FENCES_KEPT = 256, /* the latest ones, among which none may come twice */
    ENDS_KEPT = 16     /* ends of holds of one key */
};

struct judge_claim {
    struct judge_claim *next;
    struct judge_claim *previous;
    uint32_t key;
    bool held;
    bool ending;   /* the release is sent */
    bool followed; /* it held, and another one got the lock after it */
    uint64_t asked_event;
    uint64_t queued_event; /* 0: not known to be queued */
    uint64_t started_ns;   /* the lease can't have started before */
    uint64_t waited_ns;    /* since when it waits for `timeout_ns`; 0: it doesn't */
    uint64_t timeout_ns;
    uint64_t renews_ns;
    uint64_t releases_ns;
    uint64_t sure_until_ns; /* the lease is certainly on */
    uint64_t over_ns;       /* the lease is certainly over */
    uint64_t fence;
    uint64_t fence_floor;  /* the highest fence known to be before its own */
    uint64_t fence_ahead;  /* the highest fence of those certainly ahead of it in the queue */
    uint64_t fence_behind; /* the lowest fence of those certainly behind it in the queue */
    uint64_t pairs_behind;
    uint64_t passed_ns; /* when the first of those was read */
};

struct hold_end {
    uint64_t fence;
    uint64_t at_ns; /* not before */
};

struct judge_key {
    struct judge_claim *claims;
    uint32_t limit;
    uint64_t ended_event; /* when a hold ended last */
    uint64_t fence_last;  /* the highest one read */
    struct hold_end ends[ENDS_KEPT];
    uint32_t end_next;
};

struct judge {
    struct judge_key *keys;
    uint32_t key_count;
    uint64_t margin_ns;
    uint64_t event;
    uint64_t fence_last;
    uint64_t fences[FENCES_KEPT];
    uint32_t fence_next;
    struct judge_counts counts;
    char problems[JUDGE_RULES][PROBLEM_MAX];
};

const char *judge_rule_name(enum judge_rule rule)
{
    static const char *const names[JUDGE_RULES] = {
        [JUDGE_EXCLUSION] = "holders of a key never exceed its limit",
        [JUDGE_ORDER] = "grants come in the order of the queue",
        [JUDGE_FENCE] = "fences rise with the grants",
        [JUDGE_LEASE] = "a lease is on until it is over, and no longer",
        [JUDGE_SERVICE] = "everyone is answered, and none before time",
    };

    return names[rule];
}

__attribute__((format(printf, 3, 4))) static void
judge_add_violation(struct judge *judge, enum judge_rule rule, const char *format, ...)
{
    if (judge->counts.wrong[rule]++ == 0) {
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
    claim->asked_event = ++judge->event;
    claim->started_ns = now_ns;
    claim->fence_floor = judge->fence_last;
    claim->fence_behind = UINT64_MAX;
    claim->next = on->claims;
    if (on->claims)
        on->claims->previous = claim;
    on->claims = claim;
    return claim;
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
    claim->waited_ns = now_ns;
    claim->timeout_ns = timeout_ns;
}

/* ---- the grant ---- */

static void judge_set_lease(const struct judge *judge, struct judge_claim *claim, uint64_t since_ns,
                            uint64_t lease_ns, uint64_t now_ns)
{
    claim->sure_until_ns = since_ns + lease_ns - judge->margin_ns;
    claim->over_ns = now_ns + lease_ns + judge->margin_ns;
}

/*
 * When the lease of a new grant started, at the earliest: of a lock not before the hold of a lower
 * fence ended.
 */
static uint64_t judge_earliest_start(const struct judge_key *key, const struct judge_claim *claim,
                                     uint64_t now_ns)
{
    uint64_t start_ns = claim->started_ns;

    if (key->limit > 1)
        return start_ns;
    for (uint32_t i = 0; i < ENDS_KEPT; i++) {
        const struct hold_end *end = &key->ends[i];

        if (end->fence && end->fence < claim->fence && end->at_ns > start_ns)
            start_ns = end->at_ns;
    }
    for (const struct judge_claim *other = key->claims; other; other = other->next) {
        if (other != claim && other->held && other->fence < claim->fence &&
            other->sure_until_ns <= now_ns && other->sure_until_ns > start_ns)
            start_ns = other->sure_until_ns;
    }
    return start_ns;
}

/*
 * The grant came some time before it was read, yet after those with lower fences: of these, who
 * certainly holds when it is read did so at the grant as well. Those with higher fences count only
 * where the new lease is certainly on.
 */
static void judge_check_exclusion(struct judge *judge, const struct judge_key *key,
                                  const struct judge_claim *claim, uint64_t now_ns)
{
    bool sure = claim->sure_until_ns > now_ns;
    uint32_t holders = 0;
    uint64_t other_fence = 0;

    for (const struct judge_claim *other = key->claims; other; other = other->next) {
        if (other != claim && other->held && !other->ending && other->sure_until_ns > now_ns &&
            (sure || other->fence < claim->fence)) {
            holders++;
            other_fence = other->fence;
        }
    }
    judge->counts.overlaps++;
    if (holders >= key->limit)
        judge_add_violation(judge, JUDGE_EXCLUSION,
                            "key %" PRIu32 " with limit %" PRIu32 ": fence %" PRIu64
                            " is granted while %" PRIu32 " hold, one by fence %" PRIu64,
                            claim->key, key->limit, claim->fence, holders, other_fence);
}

static void judge_check_fence(struct judge *judge, struct judge_key *key,
                              const struct judge_claim *claim, uint64_t now_ns)
{
    uint64_t fence = claim->fence;

    judge->counts.fences++;
    for (uint32_t i = 0; i < FENCES_KEPT; i++) {
        if (judge->fences[i] == fence)
            judge_add_violation(judge, JUDGE_FENCE,
                                "key %" PRIu32 ": fence %" PRIu64 " comes twice", claim->key,
                                fence);
    }
    /* Of a lock, a hold that is still on is also the latest one. */
    if (fence <= claim->fence_floor ||
        (key->limit == 1 && claim->sure_until_ns > now_ns && fence <= key->fence_last))
        judge_add_violation(judge, JUDGE_FENCE,
                            "key %" PRIu32 ": fence %" PRIu64 " after %" PRIu64
                            " of its key and %" PRIu64 " of all",
                            claim->key, fence, key->fence_last, claim->fence_floor);
    judge->fences[judge->fence_next++ % FENCES_KEPT] = fence;
    if (fence > key->fence_last)
        key->fence_last = fence;
    if (fence > judge->fence_last)
        judge->fence_last = fence;
}

/*
 * Fences tell the order of grants, whatever the order in which they were read. Of two claims whose
 * order in the queue is certain the first one to be granted leaves its fence with the other.
 */
static void judge_check_order(struct judge *judge, struct judge_key *key, struct judge_claim *claim,
                              uint64_t now_ns)
{
    judge->counts.pairs += claim->pairs_behind;
    if (claim->fence > claim->fence_behind)
        judge_add_violation(judge, JUDGE_ORDER,
                            "key %" PRIu32 ": fence %" PRIu64
                            " went to one who asked after fence %" PRIu64 " was known to be queued",
                            claim->key, claim->fence_behind, claim->fence);
    if (claim->fence < claim->fence_ahead)
        judge_add_violation(judge, JUDGE_ORDER,
                            "key %" PRIu32 ": fence %" PRIu64
                            " went to one who asked after fence %" PRIu64 " was known to be queued",
                            claim->key, claim->fence, claim->fence_ahead);
    for (struct judge_claim *other = key->claims; other; other = other->next) {
        if (other == claim || other->held)
            continue;
        if (other->queued_event && other->queued_event < claim->asked_event) {
            if (claim->fence < other->fence_behind)
                other->fence_behind = claim->fence;
            if (other->pairs_behind++ == 0)
                other->passed_ns = now_ns;
        }
        if (claim->queued_event && claim->queued_event < other->asked_event) {
            judge->counts.pairs++;
            if (claim->fence > other->fence_ahead)
                other->fence_ahead = claim->fence;
        }
    }
}

/* How long after the end of a lease, which its holder let run out, the next one got the lock. */
static void judge_note_late(struct judge *judge, const struct judge_key *key,
                            const struct judge_claim *claim, uint64_t now_ns)
{
    struct judge_claim *before = NULL;
    uint64_t over_ns;

    for (struct judge_claim *other = key->claims; other; other = other->next) {
        if (other != claim && other->held && !other->ending && !other->followed &&
            other->fence < claim->fence) {
            other->followed = true;
            if (!before || other->fence > before->fence)
                before = other;
        }
    }
    if (key->limit > 1 || !before)
        return;
    over_ns = before->over_ns - judge->margin_ns;
    /* Who asked after it was not kept waiting by it. */
    if (claim->started_ns < over_ns && now_ns > over_ns) {
        judge->counts.run_outs++;
        if (now_ns - over_ns > judge->counts.late_ns)
            judge->counts.late_ns = now_ns - over_ns;
    }
}

void judge_granted(struct judge *judge, struct judge_claim *claim, uint64_t fence,
                   uint64_t lease_ns, uint64_t now_ns)
{
    struct judge_key *key = &judge->keys[claim->key];

    judge->event++;
    judge->counts.grants++;
    if (key->ended_event > claim->asked_event)
        judge->counts.hand_overs++;
    claim->fence = fence;
    claim->held = true;
    claim->waited_ns = 0;
    judge_set_lease(judge, claim, judge_earliest_start(key, claim, now_ns), lease_ns, now_ns);
    judge_note_late(judge, key, claim, now_ns);
    judge_check_order(judge, key, claim, now_ns);
    judge_check_fence(judge, key, claim, now_ns);
    judge_check_exclusion(judge, key, claim, now_ns);
}

/* ---- after it ---- */

void judge_renewing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    judge->event++;
    claim->renews_ns = now_ns;
}

/* Whether a renewal or release that was sent at `sent_ns` may be answered like this. */
static void judge_check_reply(struct judge *judge, const struct judge_claim *claim,
                              const char *what, bool accepted, uint64_t sent_ns, uint64_t now_ns)
{
    if (now_ns < claim->sure_until_ns || sent_ns > claim->over_ns)
        judge->counts.answers++;
    if (!accepted && now_ns < claim->sure_until_ns)
        judge_add_violation(judge, JUDGE_LEASE,
                            "key %" PRIu32 ": %s of fence %" PRIu64 " refused in its lease",
                            claim->key, what, claim->fence);
    if (accepted && sent_ns > claim->over_ns)
        judge_add_violation(judge, JUDGE_LEASE,
                            "key %" PRIu32 ": %s of fence %" PRIu64 " after its lease", claim->key,
                            what, claim->fence);
}

void judge_renewed(struct judge *judge, struct judge_claim *claim, uint64_t lease_ns,
                   uint64_t now_ns)
{
    judge->event++;
    judge_check_reply(judge, claim, "renewal", lease_ns > 0, claim->renews_ns, now_ns);
    if (lease_ns > 0)
        judge_set_lease(judge, claim, claim->renews_ns, lease_ns, now_ns);
    else
        claim->sure_until_ns = 0;
}

static void judge_hold_ended(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    struct judge_key *key = &judge->keys[claim->key];
    uint64_t end_ns = claim->sure_until_ns < now_ns ? claim->sure_until_ns : now_ns;

    if (!claim->held || claim->ending)
        return;
    claim->ending = true;
    key->ended_event = judge->event;
    key->ends[key->end_next++ % ENDS_KEPT] =
        (struct hold_end){.fence = claim->fence, .at_ns = end_ns};
}

void judge_releasing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    judge->event++;
    claim->releases_ns = now_ns;
    judge_hold_ended(judge, claim, now_ns);
}

void judge_released(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t now_ns)
{
    judge->event++;
    judge_check_reply(judge, claim, "release", accepted, claim->releases_ns, now_ns);
    judge_claim_free(judge, claim);
}

void judge_timed_out(struct judge *judge, struct judge_claim *claim, uint64_t now_ns)
{
    uint64_t due_ns = claim->waited_ns + claim->timeout_ns;

    judge->event++;
    if (claim->waited_ns && now_ns + judge->margin_ns < due_ns)
        judge_add_violation(
            judge, JUDGE_SERVICE, "key %" PRIu32 ": a wait of %" PRIu64 " ms ended after %" PRIu64,
            claim->key, claim->timeout_ns / 1000000, (now_ns - claim->waited_ns) / 1000000);
    /* It was in the queue until then, never granted, while somebody behind it was. */
    if (claim->waited_ns && claim->queued_event) {
        judge->counts.pairs += claim->pairs_behind;
        if (claim->pairs_behind && claim->passed_ns + judge->margin_ns < due_ns)
            judge_add_violation(judge, JUDGE_ORDER,
                                "key %" PRIu32 ": fence %" PRIu64
                                " went to one who asked after another was known"
                                " to be queued, who then timed out",
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

void judge_end(struct judge *judge)
{
    for (uint32_t i = 0; i < judge->key_count; i++) {
        for (const struct judge_claim *claim = judge->keys[i].claims; claim; claim = claim->next) {
            if (!claim->held || claim->ending)
                judge_add_violation(judge, JUDGE_SERVICE,
                                    "key %" PRIu32 ": left without an answer, %s", i,
                                    claim->ending         ? "to its release"
                                    : claim->queued_event ? "queued"
                                                          : "asked for");
        }
    }
}

const struct judge_counts *judge_counts(const struct judge *judge)
{
    return &judge->counts;
}

const char *judge_first_violation(const struct judge *judge, enum judge_rule rule)
{
    return judge->counts.wrong[rule] ? judge->problems[rule] : NULL;
}
