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
    struct timeout pace; /* in reads, auth_delays or lingers */
    struct timeout write;
    int descriptor;
    uint32_t slot;
    uint32_t sent_length; /* of the silent send under way */
    uint8_t lines;        /* complete lines of the incomplete request in the backlog */
    uint8_t state;        /* enum connection_state */
    uint8_t want;         /* enum session_want */

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

    uint32_t peer; /* what counts it among those of its address, or PEERS_NONE */
};

static_assert(_Alignof(struct connection) > REQUEST_MASK, "tags have room in addresses");

static inline uint64_t connection_tag(const struct connection *connection,
                                      enum connection_request request)
{
    return (uint64_t)(uintptr_t)connection | request;
}

/* It has something to do at the end of the turn. */
static inline void connection_add_work(struct connections *connections,
                                       struct connection *connection)
{
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

/* Stops or resumes reading by what is kept, `more` of which is wanted or not. */
void connection_regulate(struct connections *connections, struct connection *connection, bool more);

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

/* Aborts it because there is no memory for what it receives or sends. */
void connection_abort_for_memory(struct connections *connections, struct connection *connection);

/* A step towards the end; may free the connection. */
void connection_go_on_closing(struct connections *connections, struct connection *connection);

#endif
