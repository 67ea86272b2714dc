/*
 * The transport of one connection: its socket, its requests in the ring, and its TLS. It moves
 * bytes and returns verdicts; it does not call its connection.
 *
 * Receiving (enum transport_input):
 *
 *   state        event                    next state   action
 *   READING      transport_pause          PAUSED       cancel the receive, watch for the peer's end
 *   PAUSED       transport_resume         READING      cancel the watch
 *   PAUSED       watch: peer has ended    PAUSED_LAST
 *   PAUSED_LAST  transport_resume         LAST
 *   LAST         transport_pause          PAUSED_LAST  cancel the receive
 *   any          last byte is received    ENDED
 *
 * Sending (enum transport_output):
 *
 *   state        event                    next state   action
 *   READY        transport_send           SENDING      send what the socket takes at once
 *   SENDING      ring settled             READY        consume all that was sent
 *   SENDING      socket took a part       FULL         consume that part
 *   FULL         transport_send           WAITING      send when there is room; start write timeout
 *   WAITING      some was sent            READY        consume it, stop the write timeout
 *   any          request failed           READY        return TRANSPORT_FAILED
 */
#ifndef SERVER_TRANSPORT_H
#define SERVER_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "os/ring.h"
#include "os/sockets.h"
#include "server/timeouts.h"
#include "server/tls_stream.h"

enum {
    /* Tags below this are the worker's. Above, they are addresses of transports, or slots. */
    TRANSPORT_TAG_MIN = 1 << 16,
    TRANSPORT_PLAIN_BYTES = 4096 /* decrypted at a time */
};

/* A request in the ring: the low bits of its tag, which are 0 in an address. */
enum transport_request {
    TRANSPORT_RECEIVE = 1,
    TRANSPORT_SEND,
    TRANSPORT_WATCH,
    TRANSPORT_COUNT, /* see transport_count_requests */
    TRANSPORT_REQUEST_MASK = 7
};

enum transport_result {
    TRANSPORT_BYTES,      /* bytes were received, or sent */
    TRANSPORT_AGAIN,      /* nothing happened yet */
    TRANSPORT_ENDED,      /* the peer has ended its side */
    TRANSPORT_FAILED,     /* this and the following end the connection */
    TRANSPORT_TLS_FAILED, /* see transport_problem; the alert is to be sent */
    TRANSPORT_NO_MEMORY
};

enum transport_input {
    TRANSPORT_READING,
    TRANSPORT_PAUSED,      /* too much is buffered */
    TRANSPORT_LAST,        /* reading, and the peer is known to have ended its side */
    TRANSPORT_PAUSED_LAST, /* likewise, and reading is paused */
    TRANSPORT_INPUT_ENDED  /* the last byte is received */
};

enum transport_output {
    TRANSPORT_READY,
    TRANSPORT_SENDING, /* silent unless it fails; see ring_send_now */
    TRANSPORT_FULL,    /* the socket has no room; the next send waits for it */
    TRANSPORT_WAITING
};

/* Receive buffers of the ring: how often in a row the receive ended because none was free. */
enum transport_shortage {
    TRANSPORT_NOT_STARVED,
    TRANSPORT_STARVED, /* once */
    TRANSPORT_DENIED   /* again when its turn had come */
};

struct transport {
    struct output output;      /* plain replies */
    struct tls_stream *stream; /* NULL: no TLS */
    struct timeout write;      /* WAITING: in transports.writes; SENDING: its link is in `silent` */
    int descriptor;
    uint32_t sent_length; /* of the pending silent send */
    uint8_t input;        /* enum transport_input */
    uint8_t sending;      /* enum transport_output */
    uint8_t shortage;     /* enum transport_shortage */
    bool receive_pending : 1;
    bool watch_pending : 1;
    bool cancelled : 1; /* all its requests in the ring are cancelled */
    bool lost : 1;      /* the kernel may have dropped completions of its requests */
};

static_assert(_Alignof(struct transport) > TRANSPORT_REQUEST_MASK, "tags need the low bits");

/* What the transports of one worker share. */
struct transports {
    struct ring *ring;
    struct budget *buffers;
    struct backlog_source *backlogs;
    struct tls_place *tls; /* NULL: no TLS */
    struct pool output_pool;
    struct pool stream_pool;
    struct list handshaking; /* tls_streams, oldest first */
    uint32_t handshaking_count;
    struct list pending_handshakes; /* those with input for the next step, in its order */
    struct list silent;             /* pending silent sends, by transport.write.link */
    struct timeouts writes;         /* sends that wait for the peer to read */
    bool must_not_sleep;            /* work follows, so the next turn must not wait */
    uint8_t plain[TRANSPORT_PLAIN_BYTES];
};

struct transport_bytes {
    const uint8_t *start;
    uint32_t length;
};

void transports_init(struct transports *transports, const struct memory *memory,
                     struct budget *buffers, struct backlog_source *backlogs, struct ring *ring,
                     struct tls_place *tls, uint64_t write_timeout_ns);
void transports_free(struct transports *transports);

/*
 * Takes over the socket. Returns false if memory is short, or the reserve of buffers for TLS; then
 * the caller keeps it.
 */
bool transport_open(struct transports *transports, struct transport *transport, int descriptor);

/* Closes the socket and frees all memory. No request may be pending. */
void transport_close(struct transports *transports, struct transport *transport);

/* ---- receiving ---- */

static inline bool transport_can_receive(const struct transport *transport)
{
    return !transport->receive_pending &&
           (transport->input == TRANSPORT_READING || transport->input == TRANSPORT_LAST);
}

/* Starts to receive. */
void transport_receive(struct transports *transports, struct transport *transport);

/* A receive has completed. BYTES: `completion` has some, to be read with transport_read. */
enum transport_result transport_received(struct transport *transport,
                                         const struct completion *completion);

/*
 * Turns received `bytes` into plain ones. BYTES: serve `*bytes`, then call transport_read_next
 * until it returns something else. In the end call transport_end_read. A handshake keeps all bytes.
 */
enum transport_result transport_read(struct transports *transports, struct transport *transport,
                                     struct transport_bytes *bytes);
enum transport_result transport_read_next(struct transports *transports,
                                          struct transport *transport,
                                          struct transport_bytes *bytes);

/* Ends the reading of received bytes before they are released. Drops unread bytes. */
void transport_end_read(struct transports *transports, struct transport *transport);

void transport_pause(struct transports *transports, struct transport *transport);

/* Does nothing if reading is not paused. */
void transport_resume(struct transports *transports, struct transport *transport);

static inline bool transport_paused(const struct transport *transport)
{
    return transport->input == TRANSPORT_PAUSED || transport->input == TRANSPORT_PAUSED_LAST;
}

/* A watch has completed. Returns ENDED, FAILED or AGAIN. */
enum transport_result transport_watched(struct transports *transports, struct transport *transport,
                                        const struct completion *completion);

/* Returns whether the peer has ended its side, even if not all its bytes are received. */
static inline bool transport_peer_ended(const struct transport *transport)
{
    return transport->input >= TRANSPORT_LAST;
}

/* ---- handshakes ---- */

static inline bool transport_handshakes(const struct transport *transport)
{
    return transport->stream && list_linked(&transport->stream->handshaking_link);
}

/* Returns whether received bytes wait for a step of the handshake. */
static inline bool transport_handshake_pending(const struct transport *transport)
{
    return transport->stream && list_linked(&transport->stream->pending_link);
}

/* Returns the number of bytes kept for the handshake. */
static inline uint32_t transport_kept(const struct transport *transport)
{
    return transport->stream ? backlog_length(&transport->stream->handshake_input) : 0;
}

/* Returns the transport whose step of a handshake comes next, or NULL. */
struct transport *transports_next_handshake(struct transports *transports);

/* Does one step with all kept bytes. Verdicts as for transport_read. */
enum transport_result transport_continue_handshake(struct transports *transports,
                                                   struct transport *transport,
                                                   struct transport_bytes *bytes);

/* Returns the transport of the oldest handshake if there are too many, or NULL. */
struct transport *transports_excess_handshake(struct transports *transports);

/* Abandons the handshake, if there is one, and drops its input. */
void transport_stop_handshake(struct transports *transports, struct transport *transport);

/* Returns why TLS failed. */
const char *transport_problem(const struct transport *transport);

/* ---- sending ---- */

/* Returns the number of bytes that the kernel does not have yet. */
static inline size_t transport_unsent(const struct transport *transport)
{
    size_t length = transport->output.length;

    return transport->stream ? length + transport->stream->ciphertext.length : length;
}

/* Returns the bytes of the budget that the transport keeps; a turn frees those of others. */
size_t transport_kept_memory(const struct transport *transport);

/* Returns whether memory was short for bytes to send. */
static inline bool transport_output_failed(const struct transport *transport)
{
    return transport->output.failed || (transport->stream && transport->stream->ciphertext.failed);
}

/* Sends what can be sent now. Returns BYTES (a silent send is pending), AGAIN or FAILED. */
enum transport_result transport_send(struct transports *transports, struct transport *transport,
                                     uint64_t now_ns);

/* A send has completed: returns BYTES, AGAIN or FAILED. */
enum transport_result transport_sent(struct transports *transports, struct transport *transport,
                                     const struct completion *completion);

/* To be called once the ring is settled: the next transport whose silent send is done, or NULL. */
struct transport *transports_next_sent(struct transports *transports);

/* Stops the write timeout. Drops unsent bytes, unless a send that uses them is pending. */
void transport_drop_output(struct transports *transports, struct transport *transport);

/* All is sent. Returns true if there is more to be sent before the end, as with TLS. */
bool transport_finish(struct transport *transport);

/* ---- the end ---- */

bool transport_in_flight(const struct transport *transport);

/* Frees the memory of TLS. Nothing can be decrypted or encrypted any more. */
void transport_end_tls(struct transports *transports, struct transport *transport);

/* Cancels all requests in the ring. Returns false if that was done before. */
bool transport_cancel(struct transports *transports, struct transport *transport);

/* The kernel dropped completions. Ends the connection at once, without the ring. */
void transport_lose(struct transport *transport);

/*
 * Cancels all requests, and asks the kernel how many there were. The tag of that request names the
 * slot: its completion may come when the transport is freed.
 */
void transport_count_requests(struct transports *transports, const struct transport *transport,
                              uint32_t slot);

static inline uint32_t transport_count_slot(uint64_t tag)
{
    return (uint32_t)(tag / TRANSPORT_TAG_MIN) - 1;
}

/* The kernel has no request of a lost transport. */
void transport_forget_requests(struct transport *transport);

#endif
