/*
 * One lease, from the request for a grant to its end: which state it is in, what to send next, and
 * when. A state machine: it has no clock, no connection and no memory but its own. claim.h drives
 * it.
 *
 * The rule of safety: the lease ends here before it ends at the server. So each lease counts from
 * when the request was sent that the reply answers, and not from the reply. A grant whose reply was
 * long in coming began at an unknown moment: it is confirmed by a renewal before it counts as held.
 * After a lost connection the server may have released the grant, so it counts as held again only
 * after `own` and a renewal were answered `ok` on a new connection.
 *
 *   state       event                                        next        action
 *   ----------  -------------------------------------------  ----------  ------------------------
 *   NONE, LOST  ask                                          WAITING
 *   QUEUED      ask                                          WAITING
 *   WAITING     grant in time                                HELD        renew at the ratio
 *   WAITING     grant, but late                              CONFIRMING  renew now
 *   WAITING     queued                                       QUEUED
 *   WAITING     refused, disconnected, no reply, draining    NONE
 *   QUEUED      disconnected                                 NONE
 *   CONFIRMING  renewed                                      HELD        renew at the ratio
 *   CONFIRMING  renewed, but this lease is over already      CONFIRMING  renew now
 *   CONFIRMING  refused, disconnected, no reply, draining    NONE
 *   HELD        renewed                                      HELD        renew at the ratio
 *   HELD        draining                                     HELD
 *   HELD        disconnected                                 UNVERIFIED  connect now
 *   HELD        refused, end of the lease                    LOST
 *   UNVERIFIED  connected, and the peer answers              UNVERIFIED  own now
 *   UNVERIFIED  no reply in time                             UNVERIFIED  connect after a delay
 *   UNVERIFIED  own answered ok, LEASE_RENEWED               UNVERIFIED  renew now
 *   UNVERIFIED  own answered ok, another mode                HELD
 *   UNVERIFIED  unreachable, draining, no answer             UNVERIFIED  connect after a delay
 *   UNVERIFIED  disconnected after own was sent              LOST
 *   UNVERIFIED  disconnected before the renewal was answered UNVERIFIED  connect after a delay
 *   UNVERIFIED  renewed                                      HELD        renew at the ratio
 *   UNVERIFIED  refused, end of the lease                    LOST
 *   any         release                                      NONE; LOST stays
 *   NONE, LOST  reply, connected, disconnected               stays
 *
 * Times are nanoseconds of one clock that goes on while the machine sleeps, as the server's does.
 */
#ifndef CLIENT_LEASE_H
#define CLIENT_LEASE_H

#include <stdbool.h>
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

/* What to do about a lease. */
enum lease_action {
    LEASE_DO_NOTHING,
    LEASE_SEND_RENEW,
    LEASE_SEND_OWN,
    LEASE_CONNECT
};

/* Who renews a lease that is held. */
enum lease_mode {
    LEASE_RENEWED, /* its owner, in time */
    LEASE_FIXED,   /* its owner, on demand only */
    LEASE_WATCHED  /* others, by its token; lease_check asks whether it is still held */
};

struct lease_terms {
    enum lease_mode mode;
    double renew_ratio; /* of the lease at which it is renewed, between 0 and 1 */
    uint64_t connect_timeout_ns;
    uint64_t reply_timeout_ns;
};

struct lease {
    struct lease_terms terms;
    enum lease_state state;
    enum dflockd_status why;              /* it is NONE, UNVERIFIED or LOST */
    char token[DFLOCKD_TOKEN_LENGTH + 1]; /* CONFIRMING to UNVERIFIED, else empty */
    uint64_t fence;                       /* as the token, else 0 */
    uint64_t lease_s;                     /* of the last grant or renewal */
    uint64_t end_ns;                      /* HELD and UNVERIFIED: it is over then; of a HELD
                                             lease that others renew, UINT64_MAX */

    /* Private. */
    enum lease_action pending;  /* sent and not answered; not the request for the grant */
    enum lease_action action;   /* the next one */
    uint64_t action_ns;         /* when it is due */
    uint64_t sent_ns;           /* the pending request */
    uint64_t deadline_ns;       /* WAITING and CONFIRMING: of its reply */
    uint64_t renewals_sent;     /* since the grant */
    uint64_t renewals_answered; /* the number of the last one that was answered */
    uint64_t demanded;          /* the number of the renewal that lease_demand asked for */
    uint32_t attempts;          /* to connect, since the last renewal while HELD */
};

/* Sets the terms; the lease is NONE. */
void lease_init(struct lease *lease, const struct lease_terms *terms);

/*
 * A request for the grant is sent now. The reply may take `wait_ns` and the terms' reply timeout.
 * Of the lease before nothing is kept, LOST neither.
 */
void lease_ask(struct lease *lease, uint64_t wait_ns, uint64_t now_ns);

/* The request for the grant is sent again, on a new connection whose opening may take `wait_ns`. */
void lease_ask_again(struct lease *lease, uint64_t wait_ns, uint64_t now_ns);

/*
 * The reply to the pending request was received now. The server's replies come in the order of
 * requests, so it can answer nothing else. Ignored if no request is pending: the lease ended before
 * its reply was received. Before lease_ask, receive the replies to requests of the lease before, or
 * close their connection.
 */
void lease_reply(struct lease *lease, const struct dflockd_reply *reply, uint64_t now_ns);

/* The connection is of no more use, for this reason; or a new one could not be opened. */
void lease_disconnected(struct lease *lease, enum dflockd_status why, uint64_t now_ns);

/*
 * What to do now; also ends what is over by the clock, so that the state is right after it. Call
 * lease_sent, then do it. For LEASE_CONNECT: open a new connection in place of the old one, and
 * call lease_connected once a server has answered a request on it, or lease_disconnected. Receive
 * pending replies before: a reply counts although this program was paused before it read it.
 */
enum lease_action lease_next(struct lease *lease, uint64_t now_ns);
void lease_connected(struct lease *lease);
void lease_sent(struct lease *lease, uint64_t now_ns);

/* When to call lease_next at the latest; UINT64_MAX: never. */
uint64_t lease_due_ns(const struct lease *lease);

/*
 * Renews a lease that is HELD or UNVERIFIED as soon as it can. Returns a number: the renewal was
 * answered once `renewals_answered` is as large.
 */
uint64_t lease_demand(struct lease *lease);

/* Others renew it from now on, or again its owner. */
void lease_set_mode(struct lease *lease, enum lease_mode mode);

/* Asks the server with `own` whether a HELD lease is still held, unless a request is pending. Only
 * for servers that know `own`. */
void lease_check(struct lease *lease);

/* It is released: NONE, unless it is LOST. */
void lease_release(struct lease *lease);

/* How long it is still held for sure: 0 unless it is HELD. Of a lease that others renew nothing is
 * sure. */
uint64_t lease_left_ns(const struct lease *lease, uint64_t now_ns);

/* How long to wait before attempt number `attempt` (0: at once) to connect again. Drawn by `seed`,
 * so that clients which lost one server do not return to it all at once. */
uint64_t lease_backoff_ns(uint32_t attempt, uint64_t seed);

#endif
