/*
 * One connection: a session, its transport, the input that the session can't use yet, and timeouts.
 *
 * Event handlers record facts, serve received bytes (they are borrowed from the ring) and queue the
 * connection. Later in the turn connection_advance decides: it serves, sends, reads, pauses or
 * closes. Only it closes and aborts. See server/turn.h for the order and the budget.
 *
 *   state      event                             next state  action
 *   OPEN       session over, peer gone, dismiss  CLOSE_DUE
 *   CLOSE_DUE  connection_advance                CLOSING     drop the backlog, end the session
 *   CLOSING    all is sent                       LINGERING   end the output, drop the input
 *   CLOSING    likewise, and the peer has ended  ABORT_DUE
 *   LINGERING  peer has ended, or time is over   ABORT_DUE
 *   any        failure, limit, shortage, stop    ABORT_DUE
 *   ABORT_DUE  connection_advance                GONE        drop all, cancel requests in the ring
 *   GONE       no request is left in the ring    freed
 */
#ifndef SERVER_CONNECTION_H
#define SERVER_CONNECTION_H

#include "base/segments.h"
#include "server/connection_id.h"
#include "server/ip_limits.h"
#include "server/peers.h"
#include "server/session.h"
#include "server/transport.h"
#include "server/turn.h"

/* In the order of a connection's life. */
enum connection_state {
    CONNECTION_OPEN,
    CONNECTION_CLOSE_DUE,
    CONNECTION_CLOSING,
    CONNECTION_LINGERING,
    CONNECTION_ABORT_DUE,
    CONNECTION_GONE
};

/* The list that holds work_link. */
enum connection_queue {
    CONNECTION_NOT_QUEUED,
    CONNECTION_STARVED, /* in `starved` or `denied` */
    CONNECTION_FIRST,   /* in `first` */
    CONNECTION_LATER    /* in `later` */
};

struct connection {
    struct transport transport; /* first: its address is the address in tags */
    struct session session;
    struct backlog backlog;
    struct list_link work_link;
    struct timeout read;
    struct timeout next_step; /* in walk_retries, auth_delays or lingers */
    uint32_t overdue_bytes;   /* unread at the read timeout, and not received since */
    uint32_t ip_limit;        /* its entry in the IP limits, or IP_LIMITS_NONE */
    uint8_t lines;            /* complete lines of the incomplete request in the backlog */
    uint8_t state;            /* enum connection_state */
    uint8_t want;             /* enum session_want */
    uint8_t queue;            /* enum connection_queue */
    bool disconnected : 1;    /* session_disconnect is complete */
    bool counted : 1;         /* by --max-connections, IP limits and statistics */
    bool overdue : 1;         /* the read timeout was over while input waited */
    bool drained : 1;         /* since draining began: its client is in no queue */
    bool replied : 1;         /* since draining began */
    bool unread : 1;          /* closed without a reply: the peer reads the end only */
};

static_assert(sizeof(struct connection) <= 224, "a connection takes no more memory than it needs");

/* What the connections of one worker share. */
struct connection_context {
    struct session_context session;
    struct turn turn;
    struct transports transports;
    struct backlog_source backlogs;
    _Atomic uint64_t *open;      /* connections of the process */
    struct ip_limits *ip_limits; /* NULL: there are none */
    struct segments addresses;   /* with --debug: the peer of each slot, as text */
    struct list first;           /* connections to advance, see server/turn.h */
    struct list later;
    uint32_t later_count;
    struct list starved; /* connections that wait for a receive buffer */
    struct list denied;  /* those that got none in their turn; they come first */
    struct timeouts reads;
    struct timeouts walk_retries; /* too many connections read statistics */
    struct timeouts auth_delays;
    struct timeouts lingers;
    uint32_t lingering; /* connections in state LINGERING */
    bool dismissing;    /* see connections_dismiss */
    bool aborting;      /* see connections_abort */
};

static inline struct connection *connection_of(struct transport *transport)
{
    return CONTAINER_OF(transport, struct connection, transport);
}

/* Returns the bytes of the budget that the connection keeps beyond this turn. */
static inline size_t connection_kept_memory(const struct connection *connection)
{
    return connection->backlog.capacity + transport_kept_memory(&connection->transport);
}

static inline void connection_unqueue(struct connection_context *context,
                                      struct connection *connection)
{
    if (connection->queue == CONNECTION_LATER)
        context->later_count--;
    if (connection->queue != CONNECTION_NOT_QUEUED)
        list_remove(&connection->work_link);
    connection->queue = CONNECTION_NOT_QUEUED;
}

/* Queues the connection, to advance it in this turn. Does nothing if it is queued already. */
static inline void connection_queue_first(struct connection_context *context,
                                          struct connection *connection)
{
    if (connection->queue >= CONNECTION_FIRST)
        return;
    connection_unqueue(context, connection);
    connection->queue = CONNECTION_FIRST;
    list_push_back(&context->first, &connection->work_link);
}

/* The same, after those that have new input or an effect. */
static inline void connection_queue_later(struct connection_context *context,
                                          struct connection *connection)
{
    if (connection->queue >= CONNECTION_FIRST)
        return;
    connection_unqueue(context, connection);
    connection->queue = CONNECTION_LATER;
    context->later_count++;
    list_push_back(&context->later, &connection->work_link);
}

/* Begins to count `connection`, whose transport is open. */
void connection_start(struct connection_context *context, struct connection *connection,
                      uint64_t connection_id, uint32_t ip_limit);

/*
 * Does all that is due. Returns false if the connection is over and everything in it is freed: then
 * the caller frees the connection itself.
 */
bool connection_advance(struct connection_context *context, struct connection *connection);

/* ---- events ---- */

/* Completions of the transport's requests. */
void connection_received(struct connection_context *context, struct connection *connection,
                         const struct completion *completion);
void connection_sent(struct connection_context *context, struct connection *connection,
                     const struct completion *completion);
void connection_watched(struct connection_context *context, struct connection *connection,
                        const struct completion *completion);

/* The pending silent send has sent all. */
void connection_sent_silently(struct connection_context *context, struct connection *connection);

/* The kernel has counted the requests of a lost connection: `count`, or a negative errno. */
void connection_counted(struct connection_context *context, struct connection *connection,
                        int32_t count);

/* The lock table's reply to the blocked request, or LOCK_IDLE. */
void connection_effect(struct connection_context *context, struct connection *connection,
                       const struct lock_answer *answer);

/* Continues the TLS handshake. Returns false if the connection does not need that any more. */
bool connection_continue_handshake(struct connection_context *context,
                                   struct connection *connection);

/* A timeout is over: `read`, transport.write, or `next_step`. */
void connection_read_timed_out(struct connection_context *context, struct connection *connection);
void connection_write_timed_out(struct connection_context *context, struct connection *connection);
void connection_retry_walk(struct connection_context *context, struct connection *connection);

/* Requests that the connection be aborted. */
void connection_abort(struct connection_context *context, struct connection *connection);

/* As connection_abort, and frees its buffers at once: all connections are short of them. */
void connection_abort_for_room(struct connection_context *context, struct connection *connection);

/* As connection_abort: a newer handshake needs the place of this one. */
void connection_abort_handshake(struct connection_context *context, struct connection *connection);

/* As connection_abort, after the kernel dropped completions; see connections_lose. */
void connection_lose(struct connection_context *context, struct connection *connection);

#endif
