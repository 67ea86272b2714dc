/*
 * One lease, from the request for a grant to its end: its state, what to send next, and when. A
 * state machine without clock and connection; claim.h drives it.
 *
 * The rule of safety: the lease ends here before it ends at the server. So a lease counts from when
 * its request was sent, not from the reply. A grant whose reply took long began at an unknown
 * moment. A renewal confirms it before it is HELD. After a lost connection the server may have
 * released the grant. It is HELD again only after the replies to `own` and a renewal on a new
 * connection were `ok`.
 *
 *   state       event                                        next        action
 *   ----------  -------------------------------------------  ----------  ------------------------
 *   NONE, LOST  ask                                          WAITING
 *   QUEUED      ask                                          WAITING
 *   WAITING     grant in time                                HELD        renew at the ratio
 *   WAITING     late grant                                   CONFIRMING  renew now
 *   WAITING     queued                                       QUEUED
 *   WAITING     refused, disconnected, no reply, draining    NONE
 *   WAITING     end of the caller's wait                     NONE        close: the server releases
 *   QUEUED      disconnected                                 NONE
 *   CONFIRMING  renewed                                      HELD        renew at the ratio
 *   CONFIRMING  renewed, but this lease has ended            CONFIRMING  renew now
 *   CONFIRMING  refused, disconnected, no reply, draining    NONE
 *   HELD        renewed                                      HELD        renew at the ratio
 *   HELD        draining                                     HELD
 *   HELD        disconnected                                 UNVERIFIED  connect now
 *   HELD        refused, end of the lease                    LOST
 *   HELD        moving, refused by the new connection        HELD        renew now
 *   HELD        moving, the old connection ends              UNVERIFIED  wait for own
 *   HELD        moving, the new connection ends              LOST
 *   UNVERIFIED  connected, and the peer replies              UNVERIFIED  own now
 *   UNVERIFIED  no reply in time, except to own              UNVERIFIED  connect after a delay
 *   UNVERIFIED  ok to own, LEASE_RENEWED                     UNVERIFIED  renew now
 *   UNVERIFIED  ok to own, another mode                      HELD
 *   UNVERIFIED  unreachable, draining                        UNVERIFIED  connect after a delay
 *   UNVERIFIED  disconnected before own was sent             UNVERIFIED  connect after a delay
 *   UNVERIFIED  disconnected after own was sent              LOST
 *   UNVERIFIED  disconnected after the renewal was sent      UNVERIFIED  connect after a delay
 *   UNVERIFIED  renewed                                      HELD        renew at the ratio
 *   UNVERIFIED  refused, end of the lease                    LOST
 *   any         release                                      NONE; LOST stays
 *   NONE, LOST  reply, connected, disconnected               stays
 *
 * The server may process `own` after its connection has ended for the client. The end of that
 * connection at the server then releases the grant, although a newer connection owned it before.
 * So a lease is LOST if a connection ends, or must be given up, before the reply to `own`.
 *
 * Times are nanoseconds of a clock that runs while the machine sleeps, as the server's does.
 */
#ifndef CLIENT_LEASE_H
#define CLIENT_LEASE_H

#include <stdint.h>

#include "dflockd/client.h"

enum lease_state {
    LEASE_NONE,
    LEASE_WAITING,    /* a request for the grant is pending */
    LEASE_QUEUED,     /* in the queue, and no request is pending */
    LEASE_CONFIRMING, /* granted at an unknown moment */
    LEASE_HELD,
    LEASE_UNVERIFIED, /* the connection was lost; the server may have released the grant */
    LEASE_LOST
};

enum lease_action {
    LEASE_DO_NOTHING,
    LEASE_SEND_RENEW,
    LEASE_SEND_OWN,
    LEASE_CONNECT
};

/* Who renews a HELD lease. */
enum lease_mode {
    LEASE_RENEWED, /* its owner, in time */
    LEASE_FIXED,   /* its owner, only on demand */
    LEASE_WATCHED  /* another process, by the token; lease_check finds out whether it is held */
};

struct lease_terms {
    enum lease_mode mode;
    double renew_ratio; /* part of the lease after which it is renewed, between 0 and 1 */
    uint64_t connect_timeout_ns;
    uint64_t reply_timeout_ns;
};

struct lease {
    struct lease_terms terms;
    enum lease_state state;
    enum dflockd_status why;              /* reason of NONE, UNVERIFIED or LOST */
    bool replied;                         /* to the request for the grant */
    char token[DFLOCKD_TOKEN_LENGTH + 1]; /* CONFIRMING to UNVERIFIED, else empty */
    uint64_t fence;                       /* as the token, else 0 */
    uint64_t lease_s;                     /* of the last grant or renewal */
    uint64_t end_ns;                      /* HELD and UNVERIFIED: end of the lease; UINT64_MAX
                                             if HELD and LEASE_WATCHED */

    /* Private. */
    enum lease_action pending;  /* request without a reply; not the request for the grant */
    enum lease_action action;   /* the next one */
    uint64_t action_ns;         /* when it is due */
    uint64_t sent_ns;           /* the pending request */
    uint64_t deadline_ns;       /* WAITING and CONFIRMING: of its reply */
    uint64_t wait_end_ns;       /* WAITING: of lease_end_wait; UINT64_MAX: none */
    uint64_t renewals_sent;     /* since the grant */
    uint64_t renewals_answered; /* number of the last one with a reply */
    uint64_t demanded;          /* number of the renewal of the last lease_demand */
    uint32_t attempts;          /* to reconnect, since the last renewal while HELD */
};

/* Sets the terms; the lease is NONE. */
void lease_init(struct lease *lease, const struct lease_terms *terms);

/*
 * A request for the grant is sent now. Its reply may take `wait_ns` plus the reply timeout. Resets
 * the lease, also if it is LOST.
 */
void lease_ask(struct lease *lease, uint64_t wait_ns, uint64_t now_ns);

/*
 * A lease that is still WAITING at `at_ns` becomes NONE with TIMED_OUT, without a reply. The caller
 * must then close the connection, so that the server releases a grant that is on its way.
 */
void lease_end_wait(struct lease *lease, uint64_t at_ns);

/* The request for the grant is sent again on a new connection. Connecting may take `wait_ns`. */
void lease_ask_again(struct lease *lease, uint64_t wait_ns, uint64_t now_ns);

/*
 * The reply to the pending request was received now. Does nothing if no request is pending: the
 * lease ended before the reply came. Before lease_ask, receive all replies to the previous lease,
 * or close its connection.
 */
void lease_reply(struct lease *lease, const struct dflockd_reply *reply, uint64_t now_ns);

/* The connection was lost, or a new one could not be opened, for this reason. */
void lease_disconnected(struct lease *lease, enum dflockd_status why, uint64_t now_ns);

/*
 * Ends a lease or request whose time has passed. Returns what to do now: call lease_sent, then do
 * it. LEASE_CONNECT: open a new connection in place of the old one. Call lease_connected once the
 * server has replied to a request on it, or lease_disconnected. Receive pending replies before
 * lease_next, so that a reply counts that came while this program was paused.
 */
enum lease_action lease_next(struct lease *lease, uint64_t now_ns);
void lease_connected(struct lease *lease);
void lease_sent(struct lease *lease, uint64_t now_ns);

/* Returns when to call lease_next; UINT64_MAX: never. */
uint64_t lease_due_ns(const struct lease *lease);

/*
 * Renews a lease that is HELD or UNVERIFIED as soon as possible. Returns the number of the renewal.
 * It has a reply once `renewals_answered` is at least that number.
 */
uint64_t lease_demand(struct lease *lease);

/* Changes who renews the lease. */
void lease_set_mode(struct lease *lease, enum lease_mode mode);

/* Makes lease_next send `own` for a HELD lease, unless a request is pending. Only for servers that
 * know `own`. */
void lease_check(struct lease *lease);

/* Returns whether the lease is HELD and no request is pending, so that it can move. */
bool lease_can_move(const struct lease *lease);

/* The lease moves to another connection: `own` was sent there at `now_ns`. lease_reply takes its
 * reply if that is `ok`, or after lease_doubt. */
void lease_begin_move(struct lease *lease, uint64_t now_ns);

/* The new connection refused `own`: the lease stays on the old one. */
void lease_end_move(struct lease *lease);

/* The old connection has ended for this reason before the reply to `own`. */
void lease_doubt(struct lease *lease, enum dflockd_status why);

/* The connection has ended before the reply to `own`. */
void lease_lose(struct lease *lease, enum dflockd_status why);

/* The lease becomes NONE, unless it is LOST. */
void lease_release(struct lease *lease);

/* Returns the rest of the lease; 0 unless it is HELD. Not for LEASE_WATCHED. */
uint64_t lease_left_ns(const struct lease *lease, uint64_t now_ns);

/* Returns the delay before attempt number `attempt` to reconnect; 0 for the first, number 0. `seed`
 * makes the delays differ, so that the clients of a server do not all return at once. */
uint64_t lease_backoff_ns(uint32_t attempt, uint64_t seed);

#endif
