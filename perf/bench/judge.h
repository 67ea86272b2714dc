/*
 * The judge of a lock server, outside it: told what clients asked, heard and did, and when, it says
 * what was wrong. It only holds against the server what is certain from outside:
 *
 * - exclusion: at no time more certain holders of a key than its limit. A hold is certain from when
 *   the grant was read, until the release is about to be sent, the connection about to be closed,
 * or the lease may be over at the earliest.
 * - order: who was known to be queued before another one asked is granted before that one.
 * - fence: no fence comes twice, and each is above all that were known when it was asked for.
 * - lease: who certainly holds can renew and release; whose lease is certainly over can't.
 * - service: no wait ends before its time, and nobody is left without an answer.
 *
 * A claim is one try of one client to get a key: asked for, perhaps queued, granted, given back.
 * The events of all claims are told in the order in which they happened, from one thread. The judge
 * has no clock and no sockets; times are nanoseconds of one monotonic clock.
 */
#ifndef BENCH_JUDGE_H
#define BENCH_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

enum judge_rule {
    JUDGE_EXCLUSION,
    JUDGE_ORDER,
    JUDGE_FENCE,
    JUDGE_LEASE,
    JUDGE_SERVICE,
    JUDGE_RULES
};

struct judge;
struct judge_claim;

struct judge_counts {
    uint64_t grants;
    uint64_t hand_overs; /* grants to claims that were there when the hold before ended */
    uint64_t overlaps;   /* grants compared with the certain holders of their key */
    uint64_t pairs;      /* grants compared with one whose place in the queue was certain */
    uint64_t fences;     /* fences compared with those known before */
    uint64_t run_outs;   /* grants of locks whose lease before was left to run out */
    uint64_t late_ns;    /* the longest time between the end of such a lease and the grant */
    uint64_t answers;    /* renewals and releases whose answer was certain */
    uint64_t wrong[JUDGE_RULES];
};

/*
 * A judge of `keys` keys, each with limit 1. `margin_ns` is what a lease is taken to be shorter, or
 * longer, than what is known of it. NULL when memory is short.
 */
struct judge *judge_new(uint32_t keys, uint64_t margin_ns);
void judge_free(struct judge *judge);

void judge_limit(struct judge *judge, uint32_t key, uint32_t limit);

/* A client is about to ask for `key`. The claim belongs to the judge; NULL when memory is short. */
struct judge_claim *judge_requested(struct judge *judge, uint32_t key, uint64_t now_ns);

/* It heard that it is in the queue. */
void judge_queued(struct judge *judge, struct judge_claim *claim);

/* It is about to wait for the grant, whose lease then starts (again) in full. */
void judge_waiting(struct judge *judge, struct judge_claim *claim, uint64_t timeout_ns,
                   uint64_t now_ns);

void judge_granted(struct judge *judge, struct judge_claim *claim, uint64_t fence,
                   uint64_t lease_ns, uint64_t now_ns);

/* It is about to renew; then it heard the answer, where `lease_ns` of 0 is a refusal. */
void judge_renewing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);
void judge_renewed(struct judge *judge, struct judge_claim *claim, uint64_t lease_ns,
                   uint64_t now_ns);

/* It is about to release; then it heard the answer, and the claim is no more. */
void judge_releasing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);
void judge_released(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t now_ns);

/* The wait timed out, in the words of the server; the claim is no more. */
void judge_timed_out(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);

/* It was refused for another reason, or is about to close its connection; the claim is no more. */
void judge_dropped(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);

/* Something wrong that the load saw by itself. */
void judge_report(struct judge *judge, enum judge_rule rule, const char *what);

/* All should have been answered by now: claims that wait for an answer are left behind. */
void judge_end(struct judge *judge);

const struct judge_counts *judge_counts(const struct judge *judge);

const char *judge_rule_name(enum judge_rule rule);

/* What was wrong first about this rule; NULL where nothing was. */
const char *judge_first_violation(const struct judge *judge, enum judge_rule rule);

#endif
