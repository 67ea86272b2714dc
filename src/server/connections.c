#include "server/connections.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "os/mailbox.h"
#include "os/sockets.h"
#include "server/channel.h"
#include "server/client_id.h"
#include "server/log.h"

enum {
    MILLISECOND_NS = 1000000,
    AUTH_DELAY_MS = 100,
    LINGER_MS = 2000, /* for the peer to end its side after we ended ours */

    /* Input behind a blocked request: where reading stops, and where it goes on. */
    BACKLOG_PAUSE = 64 * 1024,
    BACKLOG_RESUME = 32 * 1024,
    BACKLOG_MIN = 1016, /* holds any request but `auth`; from a pool */
    /* What may still come in after reading was stopped: a ring's worth of buffers. */
    BACKLOG_MAX = 8 * 1024 * 1024,

    /*
     * Handshakes of TLS under way in one worker. Beyond it the oldest is closed: an honest client
     * is through in some round trips and so never the oldest for long, while one that only opens
     * connections would hold up everybody if new ones had to wait.
     */
    HANDSHAKES_MAX = 1024,
    PLAIN_BYTES = 4096, /* read from a channel at a time */

    DISCONNECT_STEPS = 256, /* claims of one client and stripe taken away in one go */
    EFFECTS_BATCH = 64,
    /*
     * Between two looks into the mailbox: an answer, and notices of the watch there is and of two
     * that were given up at most, since a session watches once in a read time-out.
     */
    EFFECTS_PER_SLOT = 4,
    SLOT_NONE = CLIENT_SLOTS_MAX
};

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

/* Received bytes that no request was made of yet; has no memory while there are none. */
struct backlog {
    uint8_t *bytes;
    uint32_t start;
    uint32_t end;
    uint32_t capacity;
};

struct connection {
    struct session session;
    struct output output; /* plain replies */
    struct backlog backlog;
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

static uint64_t tag_of(const struct connection *connection, enum connection_request request)
{
    return (uint64_t)(uintptr_t)connection | request;
}

static void add_work(struct connections *connections, struct connection *connection)
{
    if (!list_linked(&connection->work_link))
        list_push_back(&connections->work, &connection->work_link);
}

/* What goes to the socket. */
static struct output *wire_of(struct connection *connection)
{
    return connection->channel ? &connection->channel->wire : &connection->output;
}

/* ---- backlog ---- */

static uint32_t backlog_length(const struct backlog *backlog)
{
    return backlog->end - backlog->start;
}

static uint8_t *backlog_allocate(struct connections *connections, uint32_t capacity)
{
    if (capacity == BACKLOG_MIN)
        return pool_take(&connections->backlog_pool);
    if (budget_tight(connections->buffers))
        return NULL;
    return memory_allocate(&connections->buffers->memory, capacity, 1);
}

static void backlog_clear(struct connections *connections, struct backlog *backlog)
{
    if (backlog->bytes && backlog->capacity == BACKLOG_MIN)
        pool_give(&connections->backlog_pool, backlog->bytes);
    else
        memory_release(&connections->buffers->memory, backlog->bytes, backlog->capacity);
    memset(backlog, 0, sizeof(*backlog));
}

/* False when memory is short, also that for all, or the backlog as large as it may be. */
static bool backlog_append(struct connections *connections, struct backlog *backlog,
                           const uint8_t *bytes, uint32_t length)
{
    uint32_t kept = backlog_length(backlog);

    assert(length > 0);
    if (!backlog->bytes || backlog->capacity - backlog->end < length) {
        uint32_t capacity = BACKLOG_MIN;
        uint8_t *larger;

        if (kept + length > BACKLOG_MAX)
            return false;
        while (capacity < kept + length)
            capacity *= 2;
        larger = backlog_allocate(connections, capacity);
        if (!larger)
            return false;
        if (backlog->bytes)
            memcpy(larger, backlog->bytes + backlog->start, kept);
        backlog_clear(connections, backlog);
        *backlog = (struct backlog){.bytes = larger, .end = kept, .capacity = capacity};
    }
    memcpy(backlog->bytes + backlog->end, bytes, length);
    backlog->end += length;
    return true;
}

static void backlog_consume(struct connections *connections, struct backlog *backlog, size_t length)
{
    backlog->start += (uint32_t)length;
    if (backlog->bytes && backlog->start == backlog->end)
        backlog_clear(connections, backlog);
}

/* ---- slots ---- */

static uint64_t *slot_at(const struct connections *connections, uint64_t slot)
{
    return segments_at(&connections->slots, slot);
}

/* A free slot holds twice the next one of its chain plus 1: an odd number, unlike an address. */
static uint32_t slot_next(const struct connections *connections, uint32_t slot)
{
    return (uint32_t)(*slot_at(connections, slot) >> 1);
}

static void slot_chain(struct connections *connections, uint32_t slot, uint32_t *chain)
{
    *slot_at(connections, slot) = (uint64_t)*chain << 1 | 1;
    *chain = slot;
}

/* A slot, and room for its effect in the mailbox; SLOT_NONE when there is none. */
static uint32_t slot_take(struct connections *connections)
{
    uint32_t slot = connections->free_slots;

    if (slot != SLOT_NONE) {
        connections->free_slots = slot_next(connections, slot);
        return slot;
    }
    if (connections->slot_count == CLIENT_SLOTS_MAX ||
        !segments_reserve(&connections->slots, connections->slot_count + 1) ||
        !mailbox_reserve(connections->mailbox, (connections->slot_count + 1) * EFFECTS_PER_SLOT))
        return SLOT_NONE;
    return connections->slot_count++;
}

/*
 * A slot is used again only when the mailbox has been emptied after its connection went: what is
 * in there for a slot is for one connection.
 */
static void slot_retire(struct connections *connections, uint32_t slot)
{
    slot_chain(connections, slot, &connections->retired_slots);
}

static void slots_free_retired(struct connections *connections)
{
    while (connections->retired_slots != SLOT_NONE) {
        uint32_t slot = connections->retired_slots;

        connections->retired_slots = slot_next(connections, slot);
        slot_chain(connections, slot, &connections->free_slots);
    }
}

static struct connection *connection_at(const struct connections *connections, uint32_t slot)
{
    uint64_t value = *slot_at(connections, slot);

    return value & 1 ? NULL : (struct connection *)(uintptr_t)value;
}

/* The pair of `key` and `value` is left out where they are NULL. */
static void log_about(const struct connection *connection, const char *message, const char *key,
                      const char *value)
{
    char number[24];

    if (!log_enabled(LOG_DEBUG))
        return;
    snprintf(number, sizeof(number), "%llu",
             (unsigned long long)client_number(connection->session.client));
    log_line(LOG_DEBUG, message, "conn", number, key, value, NULL);
}

static void log_connection(const struct connection *connection, const char *message)
{
    log_about(connection, message, NULL, NULL);
}

/* ---- closing ---- */

static bool in_flight(const struct connection *connection)
{
    return connection->receiving || connection->watching || connection->sending ||
           connection->sending_now;
}

/* The handshake is done, or will not be. */
static void leave_handshake(struct connections *connections, struct channel *channel)
{
    if (channel && list_linked(&channel->handshaking_link)) {
        list_remove(&channel->handshaking_link);
        connections->handshaking_count--;
    }
}

static bool handshaking(const struct connection *connection)
{
    return connection->channel && list_linked(&connection->channel->handshaking_link);
}

/* The session is over, or its client gone: nothing more is served. */
static void start_closing(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    connection->state = CONNECTION_CLOSING;
    timeout_stop(&connection->pace);
    leave_handshake(connections, connection->channel);
    backlog_clear(connections, &connection->backlog);
    if (connection->session.auth_failed) {
        log_connection(connection, "authentication failed");
        timeout_start(&connections->auth_delays, &connection->pace, connections->host.now_ns);
    }
    if (connection->paused) {
        connection->paused = false;
        if (connection->watching)
            ring_cancel_tag(connections->ring, tag_of(connection, REQUEST_WATCH));
    }
    add_work(connections, connection);
}

static void clear_output(struct connections *connections, struct connection *connection)
{
    output_clear(&connection->output, &connections->output_pool);
    if (connection->channel)
        output_clear(&connection->channel->wire, &connections->output_pool);
}

static void abort_connection(struct connections *connections, struct connection *connection)
{
    start_closing(connections, connection);
    connection->state = CONNECTION_GONE;
    timeout_stop(&connection->pace);
    timeout_stop(&connection->write);
    /* Others may be short of what this one will not send any more. */
    if (!connection->sending && !connection->sending_now)
        clear_output(connections, connection);
    add_work(connections, connection);
}

static void free_connection(struct connections *connections, struct connection *connection)
{
    assert(!in_flight(connection) && !connection->backlog.bytes);
    log_connection(connection, "connection closed");
    if (list_linked(&connection->work_link))
        list_remove(&connection->work_link);
    timeout_stop(&connection->pace);
    timeout_stop(&connection->write);
    ring_close_descriptor(connections->ring, connection->descriptor);
    clear_output(connections, connection);
    if (connection->channel) {
        channel_close(connection->channel);
        pool_give(&connections->channel_pool, connection->channel);
        budget_give(connections->buffers, CHANNEL_BYTES);
    }
    if (connection->peer != PEERS_NONE)
        peers_leave(connections->peers, connection->peer);
    slot_retire(connections, connection->slot);
    pool_give(&connections->pool, connection);
    atomic_fetch_sub_explicit(connections->open, 1, memory_order_relaxed);
}

/* All is sent: ends our side, unless the peer has ended its own. */
static void finish(struct connections *connections, struct connection *connection)
{
    if (connection->channel && channel_end(connection->channel)) {
        add_work(connections, connection);
    } else if (connection->input_ended) {
        connection->state = CONNECTION_GONE;
    } else if (!connection->finishing) {
        connection->finishing = true;
        sockets_end_output(connection->descriptor);
        timeout_start(&connections->lingers, &connection->pace, connections->host.now_ns);
    }
}

static bool all_sent(struct connection *connection)
{
    return connection->output.length == 0 && wire_of(connection)->length == 0;
}

/* A step towards the end; may free the connection. */
static void go_on_closing(struct connections *connections, struct connection *connection)
{
    bool delayed = timeout_runs(&connection->pace) && !connection->finishing;

    if (!connection->departed)
        connection->departed =
            session_disconnect(&connection->session, &connections->host, DISCONNECT_STEPS);
    if (!connection->departed)
        add_work(connections, connection);
    if (connection->state == CONNECTION_CLOSING && all_sent(connection) && !delayed)
        finish(connections, connection);
    if (connection->state != CONNECTION_GONE)
        return;
    if (in_flight(connection)) {
        if (!connection->cancelled) {
            connection->cancelled = true;
            ring_cancel(connections->ring, connection->descriptor);
        }
    } else if (connection->departed) {
        free_connection(connections, connection);
    }
}

/* ---- input ---- */

static void pause_reading(struct connections *connections, struct connection *connection)
{
    connection->paused = true;
    if (connection->receiving)
        ring_cancel_tag(connections->ring, tag_of(connection, REQUEST_RECEIVE));
    if (!connection->watching) {
        connection->watching = true;
        ring_watch(connections->ring, connection->descriptor, POLLRDHUP,
                   tag_of(connection, REQUEST_WATCH));
    }
}

static void resume_reading(struct connections *connections, struct connection *connection)
{
    connection->paused = false;
    if (connection->watching)
        ring_cancel_tag(connections->ring, tag_of(connection, REQUEST_WATCH));
    add_work(connections, connection);
}

/* Starts, keeps or stops the read time-out after the session took `progress`. */
static void set_pace(struct connections *connections, struct connection *connection,
                     const struct session_progress *progress)
{
    if (progress->want != SESSION_WANT_INPUT) {
        timeout_stop(&connection->pace);
    } else if (progress->consumed > 0 || progress->lines > connection->lines ||
               !timeout_runs(&connection->pace)) {
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    }
    connection->lines = (uint8_t)progress->lines;
}

/* Replies that are not with the kernel yet. */
static size_t unsent(struct connection *connection)
{
    size_t length = connection->output.length;

    return connection->channel ? length + connection->channel->wire.length : length;
}

/*
 * Buffers are short in the whole process, and this connection keeps more of them than an answer
 * takes: it goes, and not one that has done nothing but ask at the wrong time.
 */
static bool must_make_room(const struct connections *connections, struct connection *connection)
{
    return unsent(connection) > OUTPUT_CHUNK_BYTES && budget_tight(connections->buffers);
}

static void close_for_room(struct connections *connections, struct connection *connection)
{
    log_connection(connection, "too much is buffered in all: this connection makes room");
    abort_connection(connections, connection);
}

/* Does what the session wants next. */
static void heed(struct connections *connections, struct connection *connection,
                 const struct session_progress *progress)
{
    uint32_t kept = backlog_length(&connection->backlog);

    connection->want = (uint8_t)progress->want;
    if (must_make_room(connections, connection)) {
        close_for_room(connections, connection);
        return;
    }
    set_pace(connections, connection, progress);
    switch (progress->want) {
    case SESSION_WANT_CLOSE:
        start_closing(connections, connection);
        return;
    case SESSION_WANT_TURN:
        add_work(connections, connection);
        break;
    case SESSION_WANT_EFFECT:
        if (connection->input_ended || connection->hung_up) {
            start_closing(connections, connection);
            return;
        }
        break;
    case SESSION_WANT_INPUT:
        if (connection->input_ended) {
            session_input_ended(&connection->session, &connections->host, &connection->output);
            start_closing(connections, connection);
            return;
        }
        break;
    case SESSION_WANT_ROOM:
        break;
    }
    if (connection->paused && kept <= BACKLOG_RESUME)
        resume_reading(connections, connection);
    else if (!connection->paused && kept > BACKLOG_PAUSE && progress->want != SESSION_WANT_INPUT &&
             !connection->input_ended)
        pause_reading(connections, connection);
}

/* As session_read, for a connection. */
static struct session_progress read_requests(struct connections *connections,
                                             struct connection *connection, const uint8_t *bytes,
                                             size_t length)
{
    connections->host.frugal = budget_tight(connections->buffers);
    return session_read(&connection->session, &connections->host, bytes, length,
                        &connection->output);
}

/* Serves what is in the backlog. */
static void serve_backlog(struct connections *connections, struct connection *connection)
{
    struct backlog *backlog = &connection->backlog;
    static const uint8_t nothing[1];
    struct session_progress progress = read_requests(
        connections, connection, backlog->bytes ? backlog->bytes + backlog->start : nothing,
        backlog_length(backlog));

    backlog_consume(connections, backlog, progress.consumed);
    heed(connections, connection, &progress);
}

/*
 * The incomplete request in the backlog is joined by what may complete it; what then follows is to
 * be served where it lies. The number of bytes that were used.
 */
static uint32_t complete_kept(struct connections *connections, struct connection *connection,
                              const uint8_t *bytes, uint32_t length)
{
    struct backlog *backlog = &connection->backlog;
    uint32_t kept = backlog_length(backlog);
    uint32_t most = kept < BACKLOG_MIN ? BACKLOG_MIN - kept : BACKLOG_MIN;
    uint32_t part = length < most ? length : most;

    if (!backlog_append(connections, backlog, bytes, part)) {
        abort_connection(connections, connection);
        return part;
    }
    serve_backlog(connections, connection);
    kept = backlog_length(backlog);
    if (connection->state != CONNECTION_OPEN || kept > part)
        return part;
    backlog_clear(connections, backlog);
    return part - kept;
}

/* Serves what was just received, from the buffer it came in; what is left over is kept. */
static void serve_received(struct connections *connections, struct connection *connection,
                           const uint8_t *bytes, uint32_t length)
{
    struct session_progress progress;

    while (length > 0 && connection->backlog.bytes && connection->want == SESSION_WANT_INPUT &&
           connection->state == CONNECTION_OPEN) {
        uint32_t used = complete_kept(connections, connection, bytes, length);

        bytes += used;
        length -= used;
    }
    if (length == 0 || connection->state != CONNECTION_OPEN)
        return;
    progress = (struct session_progress){.want = (enum session_want)connection->want};
    if (progress.want == SESSION_WANT_INPUT) {
        progress = read_requests(connections, connection, bytes, length);
        bytes += progress.consumed;
        length -= (uint32_t)progress.consumed;
    }
    if (length > 0 && progress.want != SESSION_WANT_CLOSE &&
        !backlog_append(connections, &connection->backlog, bytes, length)) {
        abort_connection(connections, connection);
        return;
    }
    heed(connections, connection, &progress);
}

/* The peer sends no more. */
static void end_input(struct connections *connections, struct connection *connection)
{
    connection->input_ended = true;
    if (connection->state != CONNECTION_OPEN)
        return;
    if (handshaking(connection)) {
        abort_connection(connections, connection);
    } else if (connection->want == SESSION_WANT_INPUT || connection->want == SESSION_WANT_EFFECT) {
        struct session_progress progress = {
            .want = (enum session_want)connection->want,
            .lines = connection->lines,
        };

        heed(connections, connection, &progress);
    }
}

/* The handshake is done: the time for the first request begins. */
static void begin_requests(struct connections *connections, struct connection *connection)
{
    if (handshaking(connection) && tls_ready(connection->channel->tls)) {
        leave_handshake(connections, connection->channel);
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    }
}

/* As serve_received, what came in being ciphertext. All of it is used up, or dropped. */
static void serve_sealed(struct connections *connections, struct connection *connection,
                         const uint8_t *bytes, uint32_t length)
{
    struct channel *channel = connection->channel;
    enum tls_result result = TLS_BYTES;

    channel_give(channel, bytes, length);
    while (result == TLS_BYTES && connection->state == CONNECTION_OPEN) {
        uint8_t plain[PLAIN_BYTES];
        size_t count = 0;

        result = channel_read(channel, plain, sizeof(plain), &count);
        begin_requests(connections, connection);
        if (result == TLS_BYTES)
            serve_received(connections, connection, plain, (uint32_t)count);
    }
    if (result == TLS_ENDED) {
        end_input(connections, connection);
    } else if (result == TLS_BROKEN) {
        log_about(connection, "TLS failed", "error", channel_problem(channel));
        start_closing(connections, connection);
    }
    channel_give(channel, NULL, 0);
}

static void received(struct connections *connections, struct connection *connection,
                     const struct completion *completion)
{
    connection->receiving = completion->more;
    if (completion->result > 0) {
        if (connection->state != CONNECTION_OPEN || connection->input_ended) {
            /* Dropped: nothing is served any more, or the peer had said that it was through. */
        } else if (connection->channel) {
            serve_sealed(connections, connection, completion->bytes, (uint32_t)completion->result);
        } else {
            serve_received(connections, connection, completion->bytes,
                           (uint32_t)completion->result);
        }
    } else if (completion->result == 0) {
        end_input(connections, connection);
    } else if (completion->result != -ENOBUFS && completion->result != -ECANCELED) {
        connection->input_ended = true;
        abort_connection(connections, connection);
    }
    add_work(connections, connection);
}

static void watched(struct connections *connections, struct connection *connection,
                    const struct completion *completion)
{
    connection->watching = false;
    if (completion->result > 0) {
        connection->hung_up = true;
        if (completion->result & (POLLERR | POLLHUP))
            abort_connection(connections, connection);
        else if (connection->want == SESSION_WANT_EFFECT)
            start_closing(connections, connection);
    } else if (connection->paused && !connection->hung_up) {
        pause_reading(connections, connection);
    }
    add_work(connections, connection);
}

/* ---- output ---- */

/* Whether something waits for the output to become shorter. */
static bool has_use_for_room(const struct connection *connection)
{
    return connection->want == SESSION_WANT_ROOM || connection->state != CONNECTION_OPEN;
}

/* Whether there is more to be sent than `length` bytes. */
static bool is_left(struct connection *connection, uint32_t length)
{
    return wire_of(connection)->length > length ||
           (connection->channel && connection->output.length > 0);
}

static void flush(struct connections *connections, struct connection *connection)
{
    struct output *wire = wire_of(connection);
    uint32_t length;
    const uint8_t *bytes;

    if (connection->sending || connection->sending_now)
        return;
    if (connection->channel && !channel_seal(connection->channel, &connection->output)) {
        abort_connection(connections, connection);
        return;
    }
    bytes = output_peek(wire, &length);
    if (!bytes)
        return;
    connection->sending_now = true;
    connection->sent_length = length;
    list_push_back(&connections->sent, &connection->sent_link);
    connections->hurry |= is_left(connection, length) || has_use_for_room(connection);
    ring_send_now(connections->ring, connection->descriptor, bytes, length,
                  tag_of(connection, REQUEST_SEND_NOW));
}

/* `length` bytes are with the kernel: goes on with what is left, and what waited for room. */
static void sent(struct connections *connections, struct connection *connection, uint32_t length)
{
    output_consume(wire_of(connection), &connections->output_pool, length);
    if (is_left(connection, 0) || has_use_for_room(connection))
        add_work(connections, connection);
}

/* The socket did not take all at once: the rest is sent when it has room. */
static void send_slowly(struct connections *connections, struct connection *connection,
                        const struct completion *completion)
{
    uint32_t length;
    const uint8_t *bytes;

    list_remove(&connection->sent_link);
    connection->sending_now = false;
    if (completion->result < 0 && completion->result != -EAGAIN) {
        abort_connection(connections, connection);
        return;
    }
    if (completion->result > 0)
        sent(connections, connection, (uint32_t)completion->result);
    bytes = output_peek(wire_of(connection), &length);
    if (!bytes || connection->state == CONNECTION_GONE) {
        add_work(connections, connection);
        return;
    }
    connection->sending = true;
    timeout_start(&connections->writes, &connection->write, connections->host.now_ns);
    ring_send(connections->ring, connection->descriptor, bytes, length,
              tag_of(connection, REQUEST_SEND));
}

static void sent_slowly(struct connections *connections, struct connection *connection,
                        const struct completion *completion)
{
    connection->sending = false;
    timeout_stop(&connection->write);
    if (completion->result > 0)
        sent(connections, connection, (uint32_t)completion->result);
    else
        abort_connection(connections, connection);
}

void connections_settle(struct connections *connections)
{
    struct list_link *link;

    if (!ring_settled(connections->ring))
        return;
    connections->hurry = false;
    while ((link = list_first(&connections->sent))) {
        struct connection *connection = CONTAINER_OF(link, struct connection, sent_link);

        list_remove(link);
        connection->sending_now = false;
        sent(connections, connection, connection->sent_length);
    }
}

/* ---- a turn ---- */

void connections_completion(struct connections *connections, const struct completion *completion)
{
    struct connection *connection =
        (struct connection *)(uintptr_t)(completion->tag & ~(uint64_t)REQUEST_MASK);

    switch (completion->tag & REQUEST_MASK) {
    case REQUEST_RECEIVE:
        received(connections, connection, completion);
        break;
    case REQUEST_SEND:
        sent_slowly(connections, connection, completion);
        break;
    case REQUEST_SEND_NOW:
        send_slowly(connections, connection, completion);
        break;
    case REQUEST_WATCH:
        watched(connections, connection, completion);
        break;
    default:
        assert(false); /* nothing else is asked for */
    }
}

/* What the client held is gone: where nothing else has happened, its idle time begins. */
static void idle(struct connections *connections, struct connection *connection)
{
    if (connection->want == SESSION_WANT_INPUT && !timeout_runs(&connection->pace) &&
        !session_watch(&connection->session, &connections->host))
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
}

static void effect(struct connections *connections, const struct stripes_effect *effect)
{
    struct connection *connection = connection_at(connections, client_slot(effect->client));

    if (!connection || connection->session.client != effect->client ||
        connection->state != CONNECTION_OPEN)
        return;
    if (effect->answer.outcome == LOCK_IDLE) {
        idle(connections, connection);
        return;
    }
    session_effect(&connection->session, &connections->host, &effect->answer, &connection->output);
    serve_backlog(connections, connection);
    add_work(connections, connection);
}

void connections_effects(struct connections *connections)
{
    struct stripes_effect effects[EFFECTS_BATCH];
    uint32_t count;

    do {
        count = mailbox_take(connections->mailbox, effects, EFFECTS_BATCH);
        for (uint32_t i = 0; i < count; i++)
            effect(connections, &effects[i]);
    } while (count > 0);
    slots_free_retired(connections);
}

static void work(struct connections *connections, struct connection *connection)
{
    if (connection->state == CONNECTION_OPEN &&
        (connection->want == SESSION_WANT_TURN ||
         (connection->want == SESSION_WANT_ROOM &&
          connection->output.length < SESSION_OUTPUT_MAX / 2)))
        serve_backlog(connections, connection);
    if (connection->output.failed || wire_of(connection)->failed)
        abort_connection(connections, connection);
    if (connection->state != CONNECTION_GONE) {
        flush(connections, connection);
        if (!connection->receiving && !connection->paused && !connection->input_ended) {
            connection->receiving = true;
            ring_receive(connections->ring, connection->descriptor,
                         tag_of(connection, REQUEST_RECEIVE));
        }
    }
    if (connection->state != CONNECTION_OPEN)
        go_on_closing(connections, connection);
}

bool connections_work(struct connections *connections)
{
    struct list_link *last = connections->work.head.previous;
    struct list_link *link;

    while ((link = list_first(&connections->work))) {
        list_remove(link);
        work(connections, CONTAINER_OF(link, struct connection, work_link));
        if (link == last)
            break;
    }
    return connections->hurry || !list_empty(&connections->work);
}

/* ---- time ---- */

/* The peer said nothing for the read time-out. Who holds something may do so between requests. */
static void read_timed_out(struct connections *connections, struct connection *connection)
{
    bool between = !connection->backlog.bytes && connection->session.state == SESSION_READY;

    if (handshaking(connection)) {
        abort_connection(connections, connection);
        return;
    }
    if (between && session_watch(&connection->session, &connections->host))
        return;
    session_fail(&connection->session, &connections->host, &connection->output);
    start_closing(connections, connection);
}

/* Buffers are short: those whose peers do not read go, who waited longest first. */
static void make_room(struct connections *connections)
{
    size_t excess = budget_excess(connections->buffers);
    struct list_link *link;

    while (excess > 0 && (link = list_first(&connections->writes.list))) {
        struct timeout *timeout = CONTAINER_OF(link, struct timeout, link);
        struct connection *connection = CONTAINER_OF(timeout, struct connection, write);
        size_t kept = unsent(connection);

        excess -= kept < excess ? kept : excess;
        close_for_room(connections, connection);
    }
}

void connections_expire(struct connections *connections)
{
    uint64_t now_ns = connections->host.now_ns;
    struct timeout *timeout;

    while ((timeout = timeouts_take(&connections->reads, now_ns)))
        read_timed_out(connections, CONTAINER_OF(timeout, struct connection, pace));
    while ((timeout = timeouts_take(&connections->writes, now_ns)))
        abort_connection(connections, CONTAINER_OF(timeout, struct connection, write));
    while ((timeout = timeouts_take(&connections->auth_delays, now_ns)))
        add_work(connections, CONTAINER_OF(timeout, struct connection, pace));
    while ((timeout = timeouts_take(&connections->lingers, now_ns)))
        abort_connection(connections, CONTAINER_OF(timeout, struct connection, pace));
    if (budget_tight(connections->buffers))
        make_room(connections);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t connections_deadline(const struct connections *connections)
{
    uint64_t deadline_ns = timeouts_deadline(&connections->reads);

    deadline_ns = least(deadline_ns, timeouts_deadline(&connections->writes));
    deadline_ns = least(deadline_ns, timeouts_deadline(&connections->auth_delays));
    return least(deadline_ns, timeouts_deadline(&connections->lingers));
}

/* ---- all of them ---- */

/* Makes the TLS of a new connection, where there is to be any. */
static bool start_handshake(struct connections *connections, struct connection *connection)
{
    struct channel *channel;

    if (!connections->tls)
        return true;
    if (!budget_take(connections->buffers, CHANNEL_BYTES))
        return false;
    channel = pool_take(&connections->channel_pool);
    if (!channel || !channel_open(channel, connections->tls, &connections->output_pool)) {
        if (channel)
            pool_give(&connections->channel_pool, channel);
        budget_give(connections->buffers, CHANNEL_BYTES);
        return false;
    }
    channel->connection = connection;
    connection->channel = channel;
    return true;
}

/* The connection whose handshake takes longest makes room for another one. */
static void join_handshake(struct connections *connections, struct connection *connection)
{
    if (connections->handshaking_count == HANDSHAKES_MAX) {
        struct list_link *first = list_first(&connections->handshaking);
        struct connection *oldest =
            CONTAINER_OF(first, struct channel, handshaking_link)->connection;

        log_connection(oldest, "TLS handshake given up for a newer one");
        abort_connection(connections, oldest);
    }
    connections->handshaking_count++;
    list_push_back(&connections->handshaking, &connection->channel->handshaking_link);
}

bool connections_open(struct connections *connections, int descriptor, uint32_t peer)
{
    uint32_t slot = slot_take(connections);
    struct connection *connection = slot == SLOT_NONE ? NULL : pool_take(&connections->pool);
    uint64_t number;

    if (connection) {
        memset(connection, 0, sizeof(*connection));
        if (!start_handshake(connections, connection)) {
            pool_give(&connections->pool, connection);
            connection = NULL;
        }
    }
    if (!connection) {
        if (slot != SLOT_NONE)
            slot_retire(connections, slot);
        return false;
    }
    number = atomic_fetch_add_explicit(connections->numbers, 1, memory_order_relaxed) + 1;
    connection->descriptor = descriptor;
    connection->peer = peer;
    connection->slot = slot;
    *slot_at(connections, slot) = (uint64_t)(uintptr_t)connection;
    session_start(&connection->session, &connections->host,
                  client_id(number, connections->worker, slot));
    timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    if (connection->channel)
        join_handshake(connections, connection);
    add_work(connections, connection);
    log_connection(connection, "connection accepted");
    return true;
}

static void for_each(struct connections *connections,
                     void (*act)(struct connections *, struct connection *))
{
    for (uint32_t slot = 0; slot < connections->slot_count; slot++) {
        struct connection *connection = connection_at(connections, slot);

        if (connection)
            act(connections, connection);
    }
}

static void drain(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    if (session_drain(&connection->session, &connections->host, &connection->output))
        serve_backlog(connections, connection);
    add_work(connections, connection);
}

void connections_drain(struct connections *connections)
{
    connections->host.draining = true;
    for_each(connections, drain);
}

void connections_abort(struct connections *connections)
{
    for_each(connections, abort_connection);
}

uint64_t connections_count(const struct connections *connections)
{
    return connections->pool.count;
}

void connections_init(struct connections *connections, const struct connections_options *options)
{
    memset(connections, 0, sizeof(*connections));
    connections->memory = options->memory;
    connections->buffers = options->buffers;
    connections->ring = options->ring;
    connections->host = options->host;
    connections->mailbox = stripes_mailbox(options->host.stripes, options->worker);
    connections->tls = options->tls;
    connections->worker = options->worker;
    connections->numbers = options->numbers;
    connections->open = options->open;
    connections->peers = options->peers;
    pool_init(&connections->pool, &connections->memory, sizeof(struct connection));
    output_pool_init(&connections->output_pool, &connections->buffers->memory);
    pool_init(&connections->backlog_pool, &connections->buffers->memory, BACKLOG_MIN);
    pool_init(&connections->channel_pool, &connections->memory, sizeof(struct channel));
    list_init(&connections->handshaking);
    connections->host.output_pool = &connections->output_pool;
    segments_init(&connections->slots, &connections->memory, sizeof(uint64_t));
    connections->free_slots = SLOT_NONE;
    connections->retired_slots = SLOT_NONE;
    list_init(&connections->work);
    list_init(&connections->sent);
    timeouts_init(&connections->reads, options->read_timeout_ns);
    timeouts_init(&connections->writes, options->write_timeout_ns);
    timeouts_init(&connections->auth_delays, (uint64_t)AUTH_DELAY_MS * MILLISECOND_NS);
    timeouts_init(&connections->lingers, (uint64_t)LINGER_MS * MILLISECOND_NS);
}

void connections_free(struct connections *connections)
{
    assert(connections->pool.count == 0);
    pool_free(&connections->pool);
    pool_free(&connections->output_pool);
    pool_free(&connections->backlog_pool);
    pool_free(&connections->channel_pool);
    segments_free(&connections->slots);
}
