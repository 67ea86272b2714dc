/*
 * One connection, for the files that make it up: what it receives (connection_input.c), its TLS
 * (connection_tls.c), what it sends (connection_output.c) and its end (connection_end.c), between
 * which connections.c goes in turns.
 */
#ifndef SERVER_CONNECTION_H
#define SERVER_CONNECTION_H

#include "server/backlog.h"
#include "server/channel.h"
#include "server/connections.h"
#include "server/log_events.h"

/* What a completion is about: the low bits of its tag, which are 0 in an address. */
enum connection_request {
    REQUEST_RECEIVE = 1,
    REQUEST_SEND,
    REQUEST_SEND_NOW,
    REQUEST_WATCH,
    REQUEST_COUNT, /* see connection_counted */
    REQUEST_MASK = 7
};

enum connection_state {
    CONNECTION_OPEN,
    CONNECTION_CLOSING,
    CONNECTION_GONE
};

struct connection {
    struct session session;
    struct output output;    /* plain replies */
    struct backlog backlog;  /* plain requests; until the handshake is done, ciphertext */
    struct channel *channel; /* NULL: no TLS */
    struct list_link work_link;
    struct list_link sent_link;
    struct timeout pace; /* in reads, walk_retries, auth_delays or lingers */
    struct timeout write;
    int descriptor;
    uint32_t slot;
    uint32_t sent_length;   /* of the silent send under way */
    uint32_t overdue_bytes; /* that waited then and have not been received since */
    uint8_t lines;          /* complete lines of the incomplete request in the backlog */
    uint8_t state;          /* enum connection_state */
    uint8_t want;           /* enum session_want */

    /* Requests in the ring. */
    bool receiving : 1;
    bool watching : 1;
    bool sending : 1;
    bool sending_now : 1;

    bool paused : 1;      /* reading is stopped: too much is buffered */
    bool input_ended : 1; /* the peer has sent its last byte, and we have it */
    bool hung_up : 1;     /* the peer has ended its side, seen while paused */
    bool departed : 1;    /* what the client had is taken away */
    bool finishing : 1;   /* the end of output is sent */
    bool cancelled : 1;   /* requests in the ring are being ended */
    bool overdue : 1;     /* the read time-out was over while input waited */
    bool uncounted : 1;   /* not counted against the caps any more */
    bool lost : 1;        /* completions of those may have been dropped */
    bool starved : 1;     /* its last receive ended for want of a buffer */
    bool denied : 1;      /* so did the one before, with nothing received in between */
    bool waiting : 1;     /* to receive: its work_link is in the list `starved` or `denied` */
    bool answered : 1;    /* since draining began */
    bool unanswered : 1;  /* closed without an answer: the peer has nothing to read but the end */

    uint32_t peer; /* what counts it among those of its address, or IP_LIMITS_NONE */
};

static_assert(_Alignof(struct connection) > REQUEST_MASK, "tags have room in addresses");

static inline uint64_t connection_tag(const struct connection *connection,
                                      enum connection_request request)
{
    return (uint64_t)(uintptr_t)connection | request;
}

/*
 * The tag of REQUEST_COUNT names the slot and not the address: its completion may come when the
 * connection has been freed.
 */
static inline uint64_t connection_count_tag(const struct connection *connection)
{
    return (uint64_t)(connection->slot + 1) * CONNECTIONS_TAG_MIN | REQUEST_COUNT;
}

static inline uint32_t connection_count_slot(uint64_t tag)
{
    return (uint32_t)(tag / CONNECTIONS_TAG_MIN) - 1;
}

/* It has something to do at the end of the turn. */
static inline void connection_add_work(struct connections *connections,
                                       struct connection *connection)
{
    if (connection->waiting) {
        connection->waiting = false;
        list_remove(&connection->work_link);
    }
    if (!list_linked(&connection->work_link))
        list_push_back(&connections->work, &connection->work_link);
}

/* What goes to the socket. */
static inline struct output *connection_wire(struct connection *connection)
{
    return connection->channel ? &connection->channel->wire : &connection->output;
}

/* Replies that are not with the kernel yet. */
static inline size_t connection_unsent(const struct connection *connection)
{
    size_t length = connection->output.length;

    return connection->channel ? length + connection->channel->wire.length : length;
}

/* Whether its TLS is not ready yet. */
static inline bool connection_handshakes(const struct connection *connection)
{
    return connection->channel && list_linked(&connection->channel->handshaking_link);
}

/* Logs a line of level debug. */
void connection_log(const struct connections *connections, const struct connection *connection,
                    const char *message);

/* Logs an event of log_events.h, with its own reason if `reason` is NULL. */
void connection_report(const struct connections *connections, const struct connection *connection,
                       enum log_event event, const char *reason);

/* ---- connection_input.c ---- */

void connection_received(struct connections *connections, struct connection *connection,
                         const struct completion *completion);

/* Reading was stopped, and the peer has ended its side, or the watch for that is over. */
void connection_watched(struct connections *connections, struct connection *connection,
                        const struct completion *completion);

/* Serves what is in the backlog. */
void connection_serve(struct connections *connections, struct connection *connection);

/* Serves plain bytes that were just received where they lie; what is left over is kept. */
void connection_serve_received(struct connections *connections, struct connection *connection,
                               const uint8_t *bytes, uint32_t length);

/* The peer sends no more. */
void connection_end_input(struct connections *connections, struct connection *connection);

/* Receives; if the last receive ended for want of a buffer, when its turn comes. */
void connection_receive(struct connections *connections, struct connection *connection);

/* Starts a receive for each buffer at most, of the connections that waited longest for one. */
void connections_receive_starved(struct connections *connections);

/* Stops or resumes reading by what is kept, `more` of which is wanted or not. */
void connection_regulate(struct connections *connections, struct connection *connection, bool more);

/*
 * The read time-out is over: closes the connection, unless it holds something and is between
 * requests. If input waits in its socket, the server may have been late and not the peer: the
 * connection is closed after that input was served, and only if it was no progress.
 */
void connection_read_timed_out(struct connections *connections, struct connection *connection);

/* To be called after input was served: closes a connection that is overdue all the same. */
void connection_judge_overdue(struct connections *connections, struct connection *connection);

/* ---- connection_tls.c ---- */

/* Gives a new connection its TLS; the handshake is the client's to begin. False: no memory. */
bool connection_start_tls(struct connections *connections, struct connection *connection);

/* Takes ciphertext. All of it is used up, kept, or dropped. */
void connection_serve_sealed(struct connections *connections, struct connection *connection,
                             const uint8_t *bytes, uint32_t length);

/* The handshake is done, or will not be. Nothing happens where there is none. */
void connection_leave_handshake(struct connections *connections, struct connection *connection);

/* Goes on with the handshake that has waited longest for it. */
void connections_handshake(struct connections *connections);

/* ---- connection_output.c ---- */

/* Sends what is there to be sent, unless a send is under way. */
void connection_flush(struct connections *connections, struct connection *connection);

/*
 * The write time-out is over. Aborts the connection, unless its socket has room by now: then the
 * send that waits for that is about to complete.
 */
void connection_write_timed_out(struct connections *connections, struct connection *connection);

/* A silent send has told of itself: the socket did not take all, or failed. */
void connection_sent_in_part(struct connections *connections, struct connection *connection,
                             const struct completion *completion);

/* The send that waited for the socket is through, or failed. */
void connection_sent_at_last(struct connections *connections, struct connection *connection,
                             const struct completion *completion);

/* ---- connection_end.c ---- */

/* The session is over, or its client gone: nothing more is served. */
void connection_close(struct connections *connections, struct connection *connection);

/* As connection_close, and nothing more is sent. */
void connection_abort(struct connections *connections, struct connection *connection);

/* Aborts it for the sake of others: buffers are short in the whole process. */
void connection_close_for_room(struct connections *connections, struct connection *connection);

/* As connection_abort, after the kernel dropped completions: see connections_lose. */
void connection_lose(struct connections *connections, struct connection *connection);

/* The kernel has counted the requests of a lost connection: `count`, or a negative errno. */
void connection_counted(struct connections *connections, struct connection *connection,
                        int32_t count);

/* Aborts it because there is no memory for what it receives or sends. */
void connection_abort_for_memory(struct connections *connections, struct connection *connection);

/* A step towards the end; may free the connection. */
void connection_go_on_closing(struct connections *connections, struct connection *connection);

#endif
