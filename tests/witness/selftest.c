#include "selftest.h"

#include <stdio.h>

#include "bench/judge.h"

#define MS     1000000ull
#define LEASE  (1000 * MS)
#define MARGIN (50 * MS)

#define RIGHT       0u
#define WRONG(rule) (1u << (rule))

/* A history reports its events to the judge. Times start at 1 s. */
struct history {
    const char *name;
    unsigned wrong; /* bits of enum judge_rule that the judge must report, and no others */
    void (*report)(struct judge *judge);
};

static uint64_t at_ms(uint64_t ms)
{
    return (1000 + ms) * MS;
}

static struct judge_claim *acquire_claim(struct judge *judge, uint64_t ms, uint64_t timeout_ms)
{
    struct judge_claim *claim = judge_requested(judge, 0, at_ms(ms));

    judge_waiting(judge, claim, timeout_ms * MS, at_ms(ms));
    return claim;
}

static struct judge_claim *enqueue_claim(struct judge *judge, uint64_t ms)
{
    struct judge_claim *claim = judge_requested(judge, 0, at_ms(ms));

    judge_queued(judge, claim);
    return claim;
}

static void release_claim(struct judge *judge, struct judge_claim *claim, uint64_t ms)
{
    judge_releasing(judge, claim, at_ms(ms));
    judge_released(judge, claim, true, at_ms(ms + 1));
}

static void hand_over(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second;
    struct judge_claim *third;

    judge_granted(judge, first, 1, LEASE, at_ms(1));
    second = enqueue_claim(judge, 2);
    third = enqueue_claim(judge, 3);
    judge_waiting(judge, second, LEASE, at_ms(4));
    judge_waiting(judge, third, LEASE, at_ms(4));
    release_claim(judge, first, 5);
    judge_granted(judge, second, 2, LEASE, at_ms(6));
    release_claim(judge, second, 7);
    judge_granted(judge, third, 3, LEASE, at_ms(8));
    judge_renewing(judge, third, at_ms(900));
    judge_renewed(judge, third, LEASE, at_ms(901));
    release_claim(judge, third, 1500);
}

static void granted_twice(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second = acquire_claim(judge, 1, 0);

    judge_granted(judge, first, 1, LEASE, at_ms(2));
    judge_granted(judge, second, 2, LEASE, at_ms(3));
    release_claim(judge, first, 4);
    release_claim(judge, second, 5);
}

/* The second client's reply is read before the first one's, whose release was sent before. */
static void granted_when_released(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second = acquire_claim(judge, 1, 5000);

    judge_granted(judge, first, 1, LEASE, at_ms(2));
    judge_releasing(judge, first, at_ms(3));
    judge_granted(judge, second, 2, LEASE, at_ms(4));
    judge_released(judge, first, true, at_ms(5));
    release_claim(judge, second, 6);
}

static void granted_during_a_lease(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second = acquire_claim(judge, 1, 5000);

    judge_granted(judge, first, 1, LEASE, at_ms(2));
    judge_granted(judge, second, 2, LEASE, at_ms(900));
}

static void granted_after_a_lease(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second = acquire_claim(judge, 1, 5000);

    judge_granted(judge, first, 1, LEASE, at_ms(2));
    judge_granted(judge, second, 2, LEASE, at_ms(1001));
    judge_releasing(judge, first, at_ms(1100));
    judge_released(judge, first, false, at_ms(1101));
    release_claim(judge, second, 1200);
}

static void granted_during_a_renewed_lease(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second = acquire_claim(judge, 1, 5000);

    judge_granted(judge, first, 1, LEASE, at_ms(2));
    judge_renewing(judge, first, at_ms(500));
    judge_renewed(judge, first, LEASE, at_ms(501));
    judge_granted(judge, second, 2, LEASE, at_ms(1400));
}

/* A long wait: the grant comes only with the release of the previous holder. */
static void granted_during_the_lease_of_a_waiter(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second = acquire_claim(judge, 1, 5000);
    struct judge_claim *third = acquire_claim(judge, 2, 5000);

    judge_granted(judge, first, 1, LEASE, at_ms(2));
    release_claim(judge, first, 900);
    judge_granted(judge, second, 2, LEASE, at_ms(902));
    judge_granted(judge, third, 3, LEASE, at_ms(1700));
}

static void semaphore_full(struct judge *judge)
{
    struct judge_claim *claims[3];

    judge_limit(judge, 0, 3);
    for (uint64_t i = 0; i < 3; i++) {
        claims[i] = acquire_claim(judge, i, 0);
        judge_granted(judge, claims[i], 3 - i, LEASE, at_ms(3));
    }
    for (uint64_t i = 0; i < 3; i++)
        release_claim(judge, claims[i], 4);
}

/* Requested at the same time, so any order of fences is valid. */
static void semaphore_full_at_once(struct judge *judge)
{
    struct judge_claim *claims[3];

    judge_limit(judge, 0, 3);
    for (uint64_t i = 0; i < 3; i++)
        claims[i] = acquire_claim(judge, i, 0);
    for (uint64_t i = 0; i < 3; i++)
        judge_granted(judge, claims[i], 3 - i, LEASE, at_ms(3));
    for (uint64_t i = 0; i < 3; i++)
        release_claim(judge, claims[i], 4);
}

static void semaphore_above_its_limit(struct judge *judge)
{
    struct judge_claim *claims[4];

    judge_limit(judge, 0, 3);
    for (uint64_t i = 0; i < 4; i++)
        claims[i] = acquire_claim(judge, i, 0);
    for (uint64_t i = 0; i < 4; i++)
        judge_granted(judge, claims[i], 1 + i, LEASE, at_ms(4));
}

static void overtaken(struct judge *judge)
{
    struct judge_claim *first = enqueue_claim(judge, 0);
    struct judge_claim *second = enqueue_claim(judge, 1);

    judge_waiting(judge, first, LEASE, at_ms(2));
    judge_waiting(judge, second, LEASE, at_ms(2));
    judge_granted(judge, second, 1, LEASE, at_ms(3));
    release_claim(judge, second, 4);
    judge_granted(judge, first, 2, LEASE, at_ms(5));
    release_claim(judge, first, 6);
}

/* In queue order, but the fences show another order. */
static void fences_cross(struct judge *judge)
{
    struct judge_claim *first = enqueue_claim(judge, 0);
    struct judge_claim *second = enqueue_claim(judge, 1);

    judge_granted(judge, first, 2, LEASE, at_ms(3));
    release_claim(judge, first, 4);
    judge_granted(judge, second, 1, LEASE, at_ms(5));
    release_claim(judge, second, 6);
}

static void perhaps_overtaken(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 5000);
    struct judge_claim *second = acquire_claim(judge, 1, 5000);

    judge_granted(judge, second, 1, LEASE, at_ms(3));
    release_claim(judge, second, 4);
    judge_granted(judge, first, 2, LEASE, at_ms(5));
    release_claim(judge, first, 6);
}

static void overtaken_and_timed_out(struct judge *judge)
{
    struct judge_claim *first = enqueue_claim(judge, 0);
    struct judge_claim *second = enqueue_claim(judge, 1);

    judge_waiting(judge, first, LEASE, at_ms(2));
    judge_granted(judge, second, 1, 5 * LEASE, at_ms(3));
    judge_timed_out(judge, first, at_ms(1003));
    release_claim(judge, second, 1004);
}

static void fence_repeated(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 5000);
    struct judge_claim *second = acquire_claim(judge, 0, 5000);

    judge_granted(judge, first, 7, LEASE, at_ms(1));
    release_claim(judge, first, 2);
    judge_granted(judge, second, 7, LEASE, at_ms(3));
    release_claim(judge, second, 4);
}

static void fence_falls(struct judge *judge)
{
    for (uint64_t i = 0; i < 2; i++) {
        struct judge_claim *claim = judge_requested(judge, (uint32_t)i, at_ms(i));

        judge_granted(judge, claim, 9 - i, LEASE, at_ms(i));
        release_claim(judge, claim, i);
    }
}

static void renewal_refused(struct judge *judge)
{
    struct judge_claim *claim = acquire_claim(judge, 0, 0);

    judge_granted(judge, claim, 1, LEASE, at_ms(1));
    judge_renewing(judge, claim, at_ms(2));
    judge_renewed(judge, claim, 0, at_ms(3));
}

static void released_after_its_lease(struct judge *judge)
{
    struct judge_claim *claim = acquire_claim(judge, 0, 0);

    judge_granted(judge, claim, 1, LEASE, at_ms(1));
    release_claim(judge, claim, 1100);
}

static void timed_out_early(struct judge *judge)
{
    judge_timed_out(judge, acquire_claim(judge, 0, 1000), at_ms(900));
}

static void timed_out_in_time(struct judge *judge)
{
    judge_timed_out(judge, acquire_claim(judge, 0, 1000), at_ms(1000));
    judge_timed_out(judge, acquire_claim(judge, 1001, 0), at_ms(1002));
}

static void left_behind(struct judge *judge)
{
    enqueue_claim(judge, 0);
}

static void vanished(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 0);
    struct judge_claim *second = acquire_claim(judge, 1, 5000);
    struct judge_claim *third = enqueue_claim(judge, 2);

    judge_granted(judge, first, 1, LEASE, at_ms(3));
    judge_dropped(judge, third, at_ms(4));
    judge_dropped(judge, first, at_ms(5));
    judge_granted(judge, second, 2, LEASE, at_ms(6));
    release_claim(judge, second, 7);
}

/* ---- revocations ---- */

/* Returns a claim that holds key 0 with this fence. */
static struct judge_claim *hold(struct judge *judge, uint64_t fence, uint64_t ms)
{
    struct judge_claim *claim = acquire_claim(judge, ms, 5000);

    judge_granted(judge, claim, fence, LEASE, at_ms(ms + 1));
    return claim;
}

static void revoke(struct judge *judge, uint64_t fence, bool accepted, uint64_t ms)
{
    judge_revoking(judge, 0, fence, at_ms(ms));
    judge_revoked(judge, 0, fence, accepted, at_ms(ms + 2));
}

static void renew(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t ms)
{
    judge_renewing(judge, claim, at_ms(ms));
    judge_renewed(judge, claim, accepted ? LEASE : 0, at_ms(ms + 1));
}

static void revoked(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);
    struct judge_claim *second;

    revoke(judge, 1, true, 10);
    second = hold(judge, 2, 20);
    renew(judge, first, false, 30);
    judge_dropped(judge, first, at_ms(31));
    renew(judge, second, true, 40);
    release_claim(judge, second, 50);
}

static void granted_while_revoking(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    judge_revoking(judge, 0, 1, at_ms(10));
    hold(judge, 2, 11);
    judge_revoked(judge, 0, 1, true, at_ms(13));
    judge_releasing(judge, first, at_ms(20));
    judge_released(judge, first, false, at_ms(21));
}

/* Whether the server has received the revocation is unknown, so both outcomes are valid. */
static void revoked_without_a_reply(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    judge_revoking(judge, 0, 1, at_ms(10));
    renew(judge, first, true, 20);
    renew(judge, first, false, 30);
    judge_dropped(judge, first, at_ms(31));
    hold(judge, 2, 40);
}

static void revoked_before_the_grant_was_read(struct judge *judge)
{
    struct judge_claim *first = acquire_claim(judge, 0, 5000);

    revoke(judge, 1, true, 10);
    hold(judge, 2, 20);
    judge_granted(judge, first, 1, LEASE, at_ms(30));
    renew(judge, first, false, 31);
}

static void revoked_before_a_wait(struct judge *judge)
{
    struct judge_claim *first = enqueue_claim(judge, 0);

    revoke(judge, 1, true, 10);
    judge_waiting(judge, first, LEASE, at_ms(20));
    judge_expired(judge, first, LEASE, at_ms(21));
}

static void ended_before_its_revocation(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    judge_revoking(judge, 0, 1, at_ms(10));
    judge_releasing(judge, first, at_ms(11));
    judge_released(judge, first, true, at_ms(12));
    judge_revoked(judge, 0, 1, false, at_ms(13));
}

static void granted_before_the_revocation(struct judge *judge)
{
    hold(judge, 1, 0);
    hold(judge, 2, 8);
    revoke(judge, 1, true, 10);
}

static void granted_when_another_was_revoked(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    release_claim(judge, first, 2);
    hold(judge, 2, 4);
    revoke(judge, 1, false, 10);
    hold(judge, 3, 20);
}

static void granted_after_a_refused_revocation(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    judge_revoking(judge, 0, 1, at_ms(10));
    judge_revoked(judge, 0, 1, false, at_ms(12));
    hold(judge, 2, 20);
    release_claim(judge, first, 30);
}

static void renewed_after_its_revocation(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    revoke(judge, 1, true, 10);
    renew(judge, first, true, 20);
}

static void renewed_while_revoking(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    judge_renewing(judge, first, at_ms(9));
    judge_revoking(judge, 0, 1, at_ms(10));
    judge_revoked(judge, 0, 1, true, at_ms(12));
    judge_renewed(judge, first, LEASE, at_ms(13));
    hold(judge, 2, 20);
    judge_releasing(judge, first, at_ms(30));
    judge_released(judge, first, false, at_ms(31));
}

static void released_after_its_revocation(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    revoke(judge, 1, true, 10);
    release_claim(judge, first, 20);
}

static void moved_after_its_revocation(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    revoke(judge, 1, true, 10);
    judge_moved(judge, first, true, at_ms(20), at_ms(21));
}

static void granted_after_its_revocation(struct judge *judge)
{
    struct judge_claim *first = enqueue_claim(judge, 0);

    revoke(judge, 1, true, 10);
    judge_waiting(judge, first, LEASE, at_ms(20));
    judge_granted(judge, first, 1, LEASE, at_ms(21));
}

static void revoked_and_released(struct judge *judge)
{
    struct judge_claim *first = hold(judge, 1, 0);

    judge_revoking(judge, 0, 1, at_ms(10));
    judge_releasing(judge, first, at_ms(10));
    judge_released(judge, first, true, at_ms(11));
    judge_revoked(judge, 0, 1, true, at_ms(12));
}

static void revoked_twice(struct judge *judge)
{
    hold(judge, 1, 0);
    revoke(judge, 1, true, 10);
    revoke(judge, 1, true, 20);
}

static void revocation_refused(struct judge *judge)
{
    hold(judge, 1, 0);
    revoke(judge, 1, false, 10);
}

static void lost_without_a_revocation(struct judge *judge)
{
    struct judge_claim *first = enqueue_claim(judge, 20);

    revoke(judge, 1, true, 10);
    judge_waiting(judge, first, LEASE, at_ms(30));
    judge_expired(judge, first, LEASE, at_ms(31));
}

static void fence_repeated_after_a_revocation(struct judge *judge)
{
    hold(judge, 1, 0);
    revoke(judge, 1, true, 10);
    hold(judge, 1, 20);
}

static void fence_below_a_revoked_one(struct judge *judge)
{
    revoke(judge, 5, true, 10);
    hold(judge, 4, 20);
}

static void reader_revoked(struct judge *judge)
{
    struct judge_claim *readers[2];

    for (uint64_t i = 0; i < 2; i++) {
        readers[i] = acquire_claim(judge, i, 5000);
        judge_set_shared(readers[i]);
        judge_granted(judge, readers[i], 1 + i, LEASE, at_ms(2 + i));
    }
    revoke(judge, 1, true, 10);
    hold(judge, 3, 20);
}

static const struct history histories[] = {
    {"a hand-over", RIGHT, hand_over},
    {"a lock granted twice", WRONG(JUDGE_EXCLUSION), granted_twice},
    {"a lock granted when the release was sent", RIGHT, granted_when_released},
    {"a lock granted during a lease", WRONG(JUDGE_EXCLUSION), granted_during_a_lease},
    {"a lock granted after a lease", RIGHT, granted_after_a_lease},
    {"a lock granted during a renewed lease", WRONG(JUDGE_EXCLUSION),
     granted_during_a_renewed_lease},
    {"a lock granted during the lease of a waiter", WRONG(JUDGE_EXCLUSION),
     granted_during_the_lease_of_a_waiter},
    {"a full semaphore with falling fences", WRONG(JUDGE_FENCE), semaphore_full},
    {"a full semaphore", RIGHT, semaphore_full_at_once},
    {"a semaphore with one holder too many", WRONG(JUDGE_EXCLUSION), semaphore_above_its_limit},
    {"an overtaken claim", WRONG(JUDGE_ORDER), overtaken},
    {"a claim that may be overtaken", RIGHT, perhaps_overtaken},
    {"an overtaken claim that times out", WRONG(JUDGE_ORDER), overtaken_and_timed_out},
    {"grants in order with falling fences", WRONG(JUDGE_FENCE) | WRONG(JUDGE_ORDER), fences_cross},
    {"a repeated fence", WRONG(JUDGE_FENCE), fence_repeated},
    {"a fence below an earlier one of another key", WRONG(JUDGE_FENCE), fence_falls},
    {"a renewal refused during the lease", WRONG(JUDGE_LEASE), renewal_refused},
    {"a release accepted after the lease", WRONG(JUDGE_LEASE), released_after_its_lease},
    {"a wait that ends early", WRONG(JUDGE_SERVICE), timed_out_early},
    {"waits that end in time", RIGHT, timed_out_in_time},
    {"a claim without a reply", WRONG(JUDGE_SERVICE), left_behind},
    {"clients that vanish", RIGHT, vanished},
    {"a revocation", RIGHT, revoked},
    {"a grant between a revocation and its reply", RIGHT, granted_while_revoking},
    {"a revocation without a reply", RIGHT, revoked_without_a_reply},
    {"a revocation before the grant was read", RIGHT, revoked_before_the_grant_was_read},
    {"a revocation before a wait", RIGHT, revoked_before_a_wait},
    {"a release before the revocation", RIGHT, ended_before_its_revocation},
    {"a renewal before the revocation", RIGHT, renewed_while_revoking},
    {"a grant before the revocation", WRONG(JUDGE_EXCLUSION), granted_before_the_revocation},
    {"a grant after the revocation of another fence", WRONG(JUDGE_EXCLUSION),
     granted_when_another_was_revoked},
    {"a grant after a refused revocation", WRONG(JUDGE_EXCLUSION) | WRONG(JUDGE_LEASE),
     granted_after_a_refused_revocation},
    {"a renewal accepted after the revocation", WRONG(JUDGE_LEASE), renewed_after_its_revocation},
    {"a release accepted after the revocation", WRONG(JUDGE_LEASE), released_after_its_revocation},
    {"a move accepted after the revocation", WRONG(JUDGE_LEASE), moved_after_its_revocation},
    {"a wait granted after the revocation", WRONG(JUDGE_LEASE), granted_after_its_revocation},
    {"a release and a revocation both accepted", WRONG(JUDGE_LEASE), revoked_and_released},
    {"a revocation accepted twice", WRONG(JUDGE_LEASE), revoked_twice},
    {"a revocation refused during the lease", WRONG(JUDGE_LEASE), revocation_refused},
    {"a grant lost without a revocation", WRONG(JUDGE_LEASE), lost_without_a_revocation},
    {"a repeated fence after a revocation", WRONG(JUDGE_FENCE) | WRONG(JUDGE_LEASE),
     fence_repeated_after_a_revocation},
    {"a fence below a revoked one", WRONG(JUDGE_FENCE), fence_below_a_revoked_one},
    {"a writer beside a reader that was not revoked", WRONG(JUDGE_EXCLUSION), reader_revoked},
};

static int judge_history(const struct history *history, unsigned number)
{
    struct judge *judge = judge_new(2, MARGIN);
    int failed = 0;

    history->report(judge);
    judge_end(judge);
    for (int rule = 0; rule < JUDGE_RULES; rule++) {
        unsigned found = judge_counts(judge)->violations[rule] > 0 ? WRONG(rule) : 0;

        if (found != (history->wrong & WRONG(rule))) {
            const char *problem = judge_first_violation(judge, (enum judge_rule)rule);

            printf("# '%s': %s\n", judge_rule_name((enum judge_rule)rule),
                   problem ? problem : "no violation found");
            failed = 1;
        }
    }
    printf("%s %u - %s %s\n", failed ? "not ok" : "ok", number, history->name,
           history->wrong == RIGHT ? "is right" : "is wrong");
    judge_free(judge);
    return failed;
}

int selftest(void)
{
    unsigned count = sizeof(histories) / sizeof(histories[0]);
    int failed = 0;

    printf("1..%u\n", count);
    for (unsigned i = 0; i < count; i++)
        failed |= judge_history(&histories[i], i + 1);
    return failed;
}
