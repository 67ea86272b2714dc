/*
 * The connections of one worker: their sockets, buffers and time-outs around their sessions.
 *
 * In a turn of the worker, completions and effects change connections and put them on the list of
 * those with work; at its end each of these does what is to be done: serves buffered requests,
 * sends the replies of the whole turn at once, and goes on with closing.
 *
 *   OPEN     the session serves requests
 *   CLOSING  the session is over; what the client had is taken away, replies are still sent, then
 *            the end of output, and input is dropped until the peer has ended it too
 *   GONE     nothing is sent or received; freed when no request of it is left in the ring
 */
#ifndef SERVER_CONNECTIONS_H
#define SERVER_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/list.h"
#include "base/pool.h"
#include "os/ring.h"
#include "os/tls.h"
#include "server/backlog.h"
#include "server/ip_limits.h"
#include "server/session.h"
#include "server/slots.h"
#include "server/timeouts.h"

/*
 * Tags in the ring below this are the worker's; those of connections are their addresses, or their
 * slots above it.
 */
enum {
    CONNECTIONS_TAG_MIN = 1 << 16
};

struct connections_options {
    struct memory memory;
    struct budget *buffers; /* what is buffered for all connections of the process */
    struct ring *ring;
    uint32_t buffer_count; /* its receive buffers */
    struct session_context host;
    struct tls_place *tls; /* NULL: connections are plain */
    uint32_t worker;
    _Atomic uint64_t *numbers;   /* of connections so far, in the whole process */
    _Atomic uint64_t *open;      /* connections now, in the whole process */
    struct ip_limits *ip_limits; /* see connections_open; NULL: addresses are not counted */
    uint64_t read_timeout_ns;
    uint64_t write_timeout_ns; /* 0: none */
};

struct connections {
    struct memory memory;
    struct budget *buffers;
    struct ring *ring;
    struct session_context host;
    struct mailbox *mailbox;
    struct tls_place *tls;
    uint32_t worker;
    _Atomic uint64_t *numbers;
    _Atomic uint64_t *open;
    struct ip_limits *ip_limits;

    struct pool pool;
    struct pool output_pool;
    struct pool channel_pool; /* of those with TLS */
    struct backlog_source backlogs;
    struct slots slots;
    struct segments addresses; /* with --debug: the peer of each slot, as text */

    struct list handshaking; /* channels, the longest so first */
    uint32_t handshaking_count;
    struct list heard; /* those of them that have something to go on with, longest so first */

    struct list work;
    uint32_t buffer_count;        /* receive buffers of the ring */
    struct list starved;          /* their receive ended for want of a buffer; in that order */
    struct list denied;           /* likewise, and again when they received anew; come first */
    struct list sent;             /* a silent send is under way */
    bool dismissing;              /* see connections_dismiss */
    bool hurry;                   /* one of those has something to do when it is through */
    struct timeouts reads;        /* between requests, within one, or while reading is paused */
    struct timeouts writes;       /* a send waits for the peer to read */
    struct timeouts walk_retries; /* too many connections read statistics */
    struct timeouts auth_delays;
    struct timeouts lingers;
    uint32_t lingering; /* connections whose end of output is sent */
};

/* Asks for no memory yet. */
void connections_init(struct connections *connections, const struct connections_options *options);

/* None may be open any more. */
void connections_free(struct connections *connections);

uint64_t connections_count(const struct connections *connections);

/*
 * Takes over the socket `descriptor`, and what counts it in the IP limits (IP_LIMITS_NONE: nothing
 * does). False when memory is short: the caller keeps both.
 */
bool connections_open(struct connections *connections, int descriptor, uint32_t peer);

/* A completion whose tag is not below CONNECTIONS_TAG_MIN. */
void connections_completion(struct connections *connections, const struct completion *completion);

/* A completion with `tag` comes soon: its connection is fetched from memory meanwhile. */
void connections_expect(uint64_t tag);

/* All completions of the turn are seen: what was sent silently has been sent. */
void connections_settle(struct connections *connections);

/* Takes the effects out of the mailbox. */
void connections_effects(struct connections *connections);

/* Lets time-outs happen. */
void connections_expire(struct connections *connections);

/*
 * Lets each connection with work do it. True when there is more for another turn, which must not
 * wait then.
 */
bool connections_work(struct connections *connections);

/* When a time-out happens next; UINT64_MAX: none. */
uint64_t connections_deadline(const struct connections *connections);

/* The server stops: blocked requests end; from now on only holders are served. */
void connections_drain(struct connections *connections);

/*
 * Draining goes on: from now on each connection is closed as soon as its client holds no lease and
 * all that it sent is answered, and each whose TLS handshake is not done. Later ones, too.
 */
void connections_dismiss(struct connections *connections);

/* Closes all, at once. */
void connections_abort(struct connections *connections);

/*
 * The kernel dropped completions, and any of them may have been of these connections: bytes of a
 * request, or the failure of a send. A reply to one request could be taken for the reply to
 * another. So all connections end at once, before another completion is looked at.
 */
void connections_lose(struct connections *connections);

#endif
