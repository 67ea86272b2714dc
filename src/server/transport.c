#include "server/transport.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>

/*
 * A handshake step may cost as much as a thousand requests. So received bytes wait in
 * handshake_input, and a worker does one step a turn: requests wait for one step at most. If there
 * are more handshakes than this, the oldest is given up. An honest client needs some round trips
 * only, so it does not stay the oldest for long.
 */
enum {
    TRANSPORT_HANDSHAKES_MAX = 1024
};

void transports_init(struct transports *transports, const struct memory *memory,
                     struct budget *buffers, struct backlog_source *backlogs, struct ring *ring,
                     struct tls_place *tls, uint64_t write_timeout_ns)
{
    transports->ring = ring;
    transports->buffers = buffers;
    transports->backlogs = backlogs;
    transports->tls = tls;
    output_pool_init(&transports->output_pool, &buffers->memory);
    pool_init(&transports->stream_pool, memory, sizeof(struct tls_stream));
    list_init(&transports->handshaking);
    list_init(&transports->pending_handshakes);
    list_init(&transports->silent);
    timeouts_init(&transports->writes, write_timeout_ns);
}

void transports_free(struct transports *transports)
{
    pool_free(&transports->output_pool);
    pool_free(&transports->stream_pool);
}

static uint64_t transport_tag(const struct transport *transport, enum transport_request request)
{
    return (uint64_t)(uintptr_t)transport | request;
}

static struct tls_stream *transport_open_stream(struct transports *transports,
                                                struct transport *transport)
{
    struct tls_stream *stream;

    if (budget_tight(transports->buffers) || !budget_take(transports->buffers, TLS_STREAM_BYTES))
        return NULL;
    stream = pool_take(&transports->stream_pool);
    if (stream && tls_stream_open(stream, transport, transports->tls, &transports->output_pool)) {
        transports->handshaking_count++;
        list_push_back(&transports->handshaking, &stream->handshaking_link);
        return stream;
    }
    if (stream)
        pool_give(&transports->stream_pool, stream);
    budget_give(transports->buffers, TLS_STREAM_BYTES);
    return NULL;
}

bool transport_open(struct transports *transports, struct transport *transport, int descriptor)
{
    *transport = (struct transport){.descriptor = descriptor};
    if (transports->tls)
        transport->stream = transport_open_stream(transports, transport);
    return !transports->tls || transport->stream;
}

void transport_close(struct transports *transports, struct transport *transport)
{
    assert(!transport_in_flight(transport));
    ring_close_descriptor(transports->ring, transport->descriptor);
    output_clear(&transport->output, &transports->output_pool);
    if (!transport->stream)
        return;
    transport_stop_handshake(transports, transport);
    transport_end_tls(transports, transport);
    tls_stream_close(transport->stream);
    pool_give(&transports->stream_pool, transport->stream);
}

/* ---- receiving ---- */

void transport_receive(struct transports *transports, struct transport *transport)
{
    transport->receive_pending = true;
    ring_receive(transports->ring, transport->descriptor,
                 transport_tag(transport, TRANSPORT_RECEIVE));
}

enum transport_result transport_received(struct transport *transport,
                                         const struct completion *completion)
{
    transport->receive_pending = completion->more;
    if (completion->result == -ENOBUFS) {
        transport->shortage =
            transport->shortage == TRANSPORT_NOT_STARVED ? TRANSPORT_STARVED : TRANSPORT_DENIED;
        return TRANSPORT_AGAIN;
    }
    transport->shortage = TRANSPORT_NOT_STARVED;
    if (completion->result > 0) /* bytes behind a close_notify are dropped */
        return transport->input == TRANSPORT_INPUT_ENDED ? TRANSPORT_AGAIN : TRANSPORT_BYTES;
    if (completion->result == -ECANCELED)
        return TRANSPORT_AGAIN;
    transport->input = TRANSPORT_INPUT_ENDED;
    return completion->result == 0 ? TRANSPORT_ENDED : TRANSPORT_FAILED;
}

static void transport_leave_handshakes(struct transports *transports, struct tls_stream *stream)
{
    list_remove(&stream->handshaking_link);
    transports->handshaking_count--;
}

static enum transport_result transport_decrypt(struct transports *transports,
                                               struct transport *transport,
                                               struct transport_bytes *bytes)
{
    struct tls_stream *stream = transport->stream;
    size_t count = 0;
    enum tls_result result =
        tls_stream_read(stream, transports->plain, sizeof(transports->plain), &count);

    if (list_linked(&stream->handshaking_link) && tls_ready(stream->tls))
        transport_leave_handshakes(transports, stream);
    *bytes = (struct transport_bytes){transports->plain, (uint32_t)count};
    switch (result) {
    case TLS_BYTES:
        return TRANSPORT_BYTES;
    case TLS_WAITS:
        return TRANSPORT_AGAIN;
    case TLS_ENDED:
        transport->input = TRANSPORT_INPUT_ENDED;
        return TRANSPORT_ENDED;
    case TLS_BROKEN:
        break;
    }
    return TRANSPORT_TLS_FAILED;
}

enum transport_result transport_read(struct transports *transports, struct transport *transport,
                                     struct transport_bytes *bytes)
{
    struct tls_stream *stream = transport->stream;

    if (!stream)
        return TRANSPORT_BYTES;
    if (transport_handshakes(transport)) {
        if (budget_tight(transports->buffers) ||
            !backlog_append(&stream->handshake_input, transports->backlogs, bytes->start,
                            bytes->length))
            return TRANSPORT_NO_MEMORY;
        if (!list_linked(&stream->pending_link))
            list_push_back(&transports->pending_handshakes, &stream->pending_link);
        return TRANSPORT_AGAIN;
    }
    tls_stream_give(stream, bytes->start, bytes->length);
    return transport_decrypt(transports, transport, bytes);
}

enum transport_result transport_read_next(struct transports *transports,
                                          struct transport *transport,
                                          struct transport_bytes *bytes)
{
    return transport->stream ? transport_decrypt(transports, transport, bytes) : TRANSPORT_AGAIN;
}

void transport_end_read(struct transports *transports, struct transport *transport)
{
    struct tls_stream *stream = transport->stream;

    if (!stream)
        return;
    tls_stream_give(stream, NULL, 0);
    if (!list_linked(&stream->pending_link))
        backlog_clear(&stream->handshake_input, transports->backlogs);
}

static void transport_watch(struct transports *transports, struct transport *transport)
{
    transport->watch_pending = true;
    ring_watch(transports->ring, transport->descriptor, POLLRDHUP,
               transport_tag(transport, TRANSPORT_WATCH));
}

void transport_pause(struct transports *transports, struct transport *transport)
{
    bool last = transport->input == TRANSPORT_LAST;

    transport->input = last ? TRANSPORT_PAUSED_LAST : TRANSPORT_PAUSED;
    if (transport->receive_pending)
        ring_cancel_tag(transports->ring, transport_tag(transport, TRANSPORT_RECEIVE));
    if (!last && !transport->watch_pending)
        transport_watch(transports, transport);
}

void transport_resume(struct transports *transports, struct transport *transport)
{
    if (!transport_paused(transport))
        return;
    transport->input = transport->input == TRANSPORT_PAUSED ? TRANSPORT_READING : TRANSPORT_LAST;
    if (transport->watch_pending)
        ring_cancel_tag(transports->ring, transport_tag(transport, TRANSPORT_WATCH));
}

enum transport_result transport_watched(struct transports *transports, struct transport *transport,
                                        const struct completion *completion)
{
    transport->watch_pending = false;
    if (completion->result > 0) {
        if (completion->result & (POLLERR | POLLHUP))
            return TRANSPORT_FAILED;
        if (transport->input == TRANSPORT_READING)
            transport->input = TRANSPORT_LAST;
        else if (transport->input == TRANSPORT_PAUSED)
            transport->input = TRANSPORT_PAUSED_LAST;
        return TRANSPORT_ENDED;
    }
    /* The watch of an earlier pause was cancelled after this pause had begun. */
    if (transport->input == TRANSPORT_PAUSED)
        transport_watch(transports, transport);
    return TRANSPORT_AGAIN;
}

/* ---- handshakes ---- */

struct transport *transports_next_handshake(struct transports *transports)
{
    struct list_link *link = list_first(&transports->pending_handshakes);

    return link ? CONTAINER_OF(link, struct tls_stream, pending_link)->transport : NULL;
}

enum transport_result transport_continue_handshake(struct transports *transports,
                                                   struct transport *transport,
                                                   struct transport_bytes *bytes)
{
    struct tls_stream *stream = transport->stream;

    list_remove(&stream->pending_link);
    tls_stream_give(stream, backlog_bytes(&stream->handshake_input),
                    backlog_length(&stream->handshake_input));
    return transport_decrypt(transports, transport, bytes);
}

struct transport *transports_excess_handshake(struct transports *transports)
{
    struct list_link *oldest = list_first(&transports->handshaking);

    if (transports->handshaking_count <= TRANSPORT_HANDSHAKES_MAX)
        return NULL;
    return CONTAINER_OF(oldest, struct tls_stream, handshaking_link)->transport;
}

void transport_stop_handshake(struct transports *transports, struct transport *transport)
{
    struct tls_stream *stream = transport->stream;

    if (!stream)
        return;
    if (list_linked(&stream->handshaking_link))
        transport_leave_handshakes(transports, stream);
    if (list_linked(&stream->pending_link))
        list_remove(&stream->pending_link);
    backlog_clear(&stream->handshake_input, transports->backlogs);
}

const char *transport_problem(const struct transport *transport)
{
    return tls_stream_problem(transport->stream);
}

/* ---- sending ---- */

/* What goes to the socket. */
static struct output *transport_wire(struct transport *transport)
{
    return transport->stream ? &transport->stream->ciphertext : &transport->output;
}

enum transport_result transport_send(struct transports *transports, struct transport *transport,
                                     uint64_t now_ns)
{
    uint64_t tag = transport_tag(transport, TRANSPORT_SEND);
    const uint8_t *bytes;
    uint32_t length;

    if (transport->sending == TRANSPORT_SENDING)
        transports->must_not_sleep |= transport_unsent(transport) > transport->sent_length;
    if (transport->sending == TRANSPORT_SENDING || transport->sending == TRANSPORT_WAITING)
        return TRANSPORT_AGAIN;
    if (transport->stream && !tls_stream_encrypt(transport->stream, &transport->output))
        return TRANSPORT_FAILED;
    bytes = output_peek(transport_wire(transport), &length);
    if (!bytes)
        return TRANSPORT_AGAIN;
    if (transport->sending == TRANSPORT_FULL) {
        transport->sending = TRANSPORT_WAITING;
        timeout_start(&transports->writes, &transport->write, now_ns);
        ring_send(transports->ring, transport->descriptor, bytes, length, tag);
        return TRANSPORT_AGAIN;
    }
    transport->sending = TRANSPORT_SENDING;
    transport->sent_length = length;
    list_push_back(&transports->silent, &transport->write.link);
    transports->must_not_sleep |= transport_unsent(transport) > length;
    ring_send_now(transports->ring, transport->descriptor, bytes, length, tag);
    return TRANSPORT_BYTES;
}

enum transport_result transport_sent(struct transports *transports, struct transport *transport,
                                     const struct completion *completion)
{
    bool silent = transport->sending == TRANSPORT_SENDING;

    /* If the connection is aborted, the write timeout has stopped. */
    if (list_linked(&transport->write.link))
        list_remove(&transport->write.link);
    transport->sending = silent ? TRANSPORT_FULL : TRANSPORT_READY;
    if (completion->result > 0) {
        output_consume(transport_wire(transport), &transports->output_pool,
                       (uint32_t)completion->result);
        return TRANSPORT_BYTES;
    }
    if (silent && (completion->result == -EAGAIN || completion->result == 0))
        return TRANSPORT_AGAIN;
    transport->sending = TRANSPORT_READY;
    return TRANSPORT_FAILED;
}

struct transport *transports_next_sent(struct transports *transports)
{
    struct list_link *link = list_first(&transports->silent);
    struct transport *transport;

    if (!link)
        return NULL;
    list_remove(link);
    transport = CONTAINER_OF(CONTAINER_OF(link, struct timeout, link), struct transport, write);
    transport->sending = TRANSPORT_READY;
    output_consume(transport_wire(transport), &transports->output_pool, transport->sent_length);
    return transport;
}

void transport_drop_output(struct transports *transports, struct transport *transport)
{
    if (transport->sending == TRANSPORT_SENDING)
        return;
    if (transport->sending == TRANSPORT_WAITING) {
        timeout_stop(&transport->write);
        return;
    }
    output_clear(&transport->output, &transports->output_pool);
    if (transport->stream)
        output_clear(&transport->stream->ciphertext, &transports->output_pool);
}

size_t transport_kept_memory(const struct transport *transport)
{
    const struct tls_stream *stream = transport->stream;
    size_t kept = transport->sending >= TRANSPORT_FULL ? transport_unsent(transport) : 0;

    return stream && stream->tls ? kept + TLS_STREAM_BYTES + stream->handshake_input.capacity
                                 : kept;
}

bool transport_finish(struct transport *transport)
{
    return transport->stream && tls_stream_end(transport->stream);
}

/* ---- the end ---- */

bool transport_in_flight(const struct transport *transport)
{
    return transport->receive_pending || transport->watch_pending ||
           transport->sending == TRANSPORT_SENDING || transport->sending == TRANSPORT_WAITING;
}

void transport_end_tls(struct transports *transports, struct transport *transport)
{
    struct tls_stream *stream = transport->stream;

    if (!stream || !stream->tls)
        return;
    tls_stream_end_tls(stream);
    budget_give(transports->buffers, TLS_STREAM_BYTES);
}

bool transport_cancel(struct transports *transports, struct transport *transport)
{
    if (transport->cancelled)
        return false;
    transport->cancelled = true;
    /* By tag: for a descriptor, the kernel would look at the requests of all connections. */
    if (transport->receive_pending)
        ring_cancel_tag(transports->ring, transport_tag(transport, TRANSPORT_RECEIVE));
    if (transport->watch_pending)
        ring_cancel_tag(transports->ring, transport_tag(transport, TRANSPORT_WATCH));
    if (transport->sending == TRANSPORT_WAITING)
        ring_cancel_tag(transports->ring, transport_tag(transport, TRANSPORT_SEND));
    return true;
}

void transport_lose(struct transport *transport)
{
    sockets_end(transport->descriptor);
    transport->lost = true;
}

void transport_count_requests(struct transports *transports, const struct transport *transport,
                              uint32_t slot)
{
    uint64_t tag = (uint64_t)(slot + 1) * TRANSPORT_TAG_MIN | TRANSPORT_COUNT;

    ring_cancel_counted(transports->ring, transport->descriptor, tag);
}

void transport_forget_requests(struct transport *transport)
{
    transport->receive_pending = false;
    transport->watch_pending = false;
    if (transport->sending == TRANSPORT_WAITING)
        transport->sending = TRANSPORT_READY;
}
