/*
 * Checks a lock server from outside. The caller reports each request, reply and close of each
 * client with its time, and the judge counts violations. It counts only violations that are
 * certain:
 *
 * - exclusion: a key never has more certain holders than its limit. Shared holders of a lock
 *   exclude only an exclusive one. A hold is certain from the reply to the grant until the
 *   release is sent, the connection is closed, or the lease may have ended. After a lost
 *   connection, only a reply of the server can prove that the hold lasted: a release that is
 *   accepted after a later grant of the lock was read.
 * - order: a claim that was known to be queued before another claim was requested is granted
 *   first.
 * - fence: fences are unique, and each is above all fences known at its request.
 * - lease: a certain holder can renew and release; after a certain end of the lease it cannot.
 *   A revocation ends the hold between its request and its reply: the hold is uncertain once an
 *   administrator is about to send it, and has certainly ended once its reply `ok` was read. A
 *   server accepts only one end of a hold.
 * - service: no wait times out early, and every request gets a reply.
 *
 * A claim is one attempt of one client to get a key: requested, perhaps queued, granted,
 * released. The caller reports the events of all claims in order, from one thread. The judge has
 * no clock and no sockets; times are nanoseconds of one monotonic clock.
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
    uint64_t hand_overs; /* grants to claims that waited when the previous hold ended */
    uint64_t overlaps;   /* grants compared with the certain holders of their key */
    uint64_t pairs;      /* pairs of grants whose order in the queue was certain */
    uint64_t fences;     /* fences compared with earlier ones */
    uint64_t expiries;   /* grants after a lease that expired */
    uint64_t late_ns;    /* longest time from the end of such a lease to the grant */
    uint64_t replies;    /* renewals and releases whose reply was certain */
    uint64_t revocations;
    uint64_t violations[JUDGE_RULES];
};

/*
 * Returns a judge of `keys` keys with limit 1, or NULL if memory is short. `margin_ns` is the
 * assumed error of a lease's end.
 */
struct judge *judge_new(uint32_t keys, uint64_t margin_ns);
void judge_free(struct judge *judge);

void judge_limit(struct judge *judge, uint32_t key, uint32_t limit);

/*
 * A client is about to request `key`. Returns a claim that the judge owns, or NULL if memory is
 * short.
 */
struct judge_claim *judge_requested(struct judge *judge, uint32_t key, uint64_t now_ns);

/* Makes the claim a shared one of a lock. Claims are exclusive initially. */
void judge_set_shared(struct judge_claim *claim);

/*
 * Sets the number of connections that were lost before the claim's connection was opened; 0
 * initially. The server may have restarted at a loss, and the ends of other connections may not
 * have been read yet. So of two holders with different numbers, an accepted release must prove
 * the overlap. Holders of a semaphore with other numbers do not count.
 */
void judge_set_losses(struct judge_claim *claim, uint32_t losses);

/* The client has read that it is queued. */
void judge_queued(struct judge *judge, struct judge_claim *claim);

/* The client is about to wait for the grant. The lease starts with the grant. */
void judge_waiting(struct judge *judge, struct judge_claim *claim, uint64_t timeout_ns,
                   uint64_t now_ns);

void judge_granted(struct judge *judge, struct judge_claim *claim, uint64_t fence,
                   uint64_t lease_ns, uint64_t now_ns);

/* The client is about to renew. Then it has read the reply; `lease_ns` is 0 if refused. */
void judge_renewing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);
void judge_renewed(struct judge *judge, struct judge_claim *claim, uint64_t lease_ns,
                   uint64_t now_ns);

/* The client is about to release. Then it has read the reply, and the claim ends. */
void judge_releasing(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);
void judge_released(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t now_ns);

/* The server has replied to `own`, which was sent at `sent_ns`. */
void judge_moved(struct judge *judge, struct judge_claim *claim, bool accepted, uint64_t sent_ns,
                 uint64_t now_ns);

/*
 * An administrator is about to revoke the grant with this fence; its client may not have read it
 * yet. Then the administrator has read the reply. Without a reply, the outcome stays uncertain.
 */
void judge_revoking(struct judge *judge, uint32_t key, uint64_t fence, uint64_t now_ns);
void judge_revoked(struct judge *judge, uint32_t key, uint64_t fence, bool accepted,
                   uint64_t now_ns);

/*
 * The server has replied to a wait that the grant has ended: a lease of `lease_ns` is over, or
 * the grant was revoked. The claim ends.
 */
void judge_expired(struct judge *judge, struct judge_claim *claim, uint64_t lease_ns,
                   uint64_t now_ns);

/* The server has replied with a timeout. The claim ends. */
void judge_timed_out(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);

/*
 * The server has refused otherwise, or the client is about to close its connection. The claim
 * ends.
 */
void judge_dropped(struct judge *judge, struct judge_claim *claim, uint64_t now_ns);

/*
 * The connection of a holder was lost. With auto-release or after a restart of the server, the
 * hold has ended; otherwise it lasts until its lease ends. The claim lasts until the caller has
 * reported a release by token over another connection, or dropped it.
 */
void judge_disconnected(struct judge *judge, struct judge_claim *claim);

/* Counts a violation that the caller found. */
void judge_report(struct judge *judge, enum judge_rule rule, const char *what);

/* Ends the load. Each claim that still waits for a reply is a violation. */
void judge_end(struct judge *judge);

const struct judge_counts *judge_counts(const struct judge *judge);

const char *judge_rule_name(enum judge_rule rule);

/* Returns the first violation of this rule, or NULL. */
const char *judge_first_violation(const struct judge *judge, enum judge_rule rule);

#endif
