/*
 * What a connection receives: requests are served from the buffer they came in, and what cannot be
 * served yet is kept in its backlog. Beyond a mark of it the connection stops to read.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>

#include "server/connection.h"

/* Input behind a blocked request: where reading stops, and where it goes on. */
enum {
    BACKLOG_PAUSE = 64 * 1024,
    BACKLOG_RESUME = 32 * 1024
};

static void pause_reading(struct connections *connections, struct connection *connection)
{
    connection->paused = true;
    if (connection->receiving)
        ring_cancel_tag(connections->ring, connection_tag(connection, REQUEST_RECEIVE));
    if (!connection->watching) {
        connection->watching = true;
        ring_watch(connections->ring, connection->descriptor, POLLRDHUP,
                   connection_tag(connection, REQUEST_WATCH));
    }
}

static void resume_reading(struct connections *connections, struct connection *connection)
{
    connection->paused = false;
    if (connection->watching)
        ring_cancel_tag(connections->ring, connection_tag(connection, REQUEST_WATCH));
    connection_add_work(connections, connection);
}

void connection_regulate(struct connections *connections, struct connection *connection, bool more)
{
    uint32_t kept = backlog_length(&connection->backlog);

    if (connection->state != CONNECTION_OPEN)
        return;
    if (connection->paused && kept <= BACKLOG_RESUME)
        resume_reading(connections, connection);
    else if (!connection->paused && kept > BACKLOG_PAUSE && !more && !connection->input_ended)
        pause_reading(connections, connection);
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

/*
 * Buffers are short in the whole process, and this connection keeps more of them than an answer
 * takes: it goes, and not one that has done nothing but ask at the wrong time.
 */
static bool must_make_room(const struct connections *connections, struct connection *connection)
{
    return connection_unsent(connection) > OUTPUT_CHUNK_BYTES && budget_tight(connections->buffers);
}

/* Does what the session wants next. */
static void heed(struct connections *connections, struct connection *connection,
                 const struct session_progress *progress)
{
    connection->want = (uint8_t)progress->want;
    if (must_make_room(connections, connection)) {
        connection_close_for_room(connections, connection);
        return;
    }
    set_pace(connections, connection, progress);
    switch (progress->want) {
    case SESSION_WANT_CLOSE:
        connection_close(connections, connection);
        return;
    case SESSION_WANT_TURN:
        connection_add_work(connections, connection);
        break;
    case SESSION_WANT_EFFECT:
        if (connection->input_ended || connection->hung_up) {
            connection_close(connections, connection);
            return;
        }
        break;
    case SESSION_WANT_INPUT:
        if (connection->input_ended) {
            session_input_ended(&connection->session, &connections->host, &connection->output);
            connection_close(connections, connection);
            return;
        }
        break;
    case SESSION_WANT_ROOM:
        break;
    }
    connection_regulate(connections, connection, progress->want == SESSION_WANT_INPUT);
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

void connection_serve(struct connections *connections, struct connection *connection)
{
    struct backlog *backlog = &connection->backlog;
    struct session_progress progress =
        read_requests(connections, connection, backlog_bytes(backlog), backlog_length(backlog));

    backlog_consume(backlog, &connections->backlogs, progress.consumed);
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

    if (!backlog_append(backlog, &connections->backlogs, bytes, part)) {
        connection_abort(connections, connection);
        return part;
    }
    connection_serve(connections, connection);
    kept = backlog_length(backlog);
    if (connection->state != CONNECTION_OPEN || kept > part)
        return part;
    backlog_clear(backlog, &connections->backlogs);
    return part - kept;
}

void connection_serve_received(struct connections *connections, struct connection *connection,
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
        !backlog_append(&connection->backlog, &connections->backlogs, bytes, length)) {
        connection_abort(connections, connection);
        return;
    }
    heed(connections, connection, &progress);
}

void connection_end_input(struct connections *connections, struct connection *connection)
{
    connection->input_ended = true;
    if (connection->state != CONNECTION_OPEN)
        return;
    if (connection_handshakes(connection)) {
        if (backlog_length(&connection->backlog) == 0) /* nothing that could complete it */
            connection_abort(connections, connection);
    } else if (connection->want == SESSION_WANT_INPUT || connection->want == SESSION_WANT_EFFECT) {
        struct session_progress progress = {
            .want = (enum session_want)connection->want,
            .lines = connection->lines,
        };

        heed(connections, connection, &progress);
    }
}

static void start_receive(struct connections *connections, struct connection *connection)
{
    connection->receiving = true;
    ring_receive(connections->ring, connection->descriptor,
                 connection_tag(connection, REQUEST_RECEIVE));
}

static bool may_receive(const struct connection *connection)
{
    return !connection->receiving && !connection->paused && !connection->input_ended &&
           connection->state != CONNECTION_GONE;
}

/*
 * The ring's buffers are all free when the receives of this turn begin, and each takes at least one
 * if it has input. So receives beyond the count of buffers would end at once, for nothing.
 */
void connection_receive(struct connections *connections, struct connection *connection)
{
    if (!may_receive(connection))
        return;
    if (!connection->starved) {
        start_receive(connections, connection);
        return;
    }
    /* It has work for the next turn, whose end comes back here. */
    if (list_linked(&connection->work_link))
        return;
    connection->waiting = true;
    list_push_back(connection->denied ? &connections->denied : &connections->starved,
                   &connection->work_link);
}

/* Those that were denied a buffer in their turn come before the others: they waited longer. */
void connections_receive_starved(struct connections *connections)
{
    for (uint32_t i = 0; i < connections->buffer_count; i++) {
        struct list_link *link = list_first(&connections->denied);
        struct connection *connection;

        if (!link)
            link = list_first(&connections->starved);
        if (!link)
            return;
        list_remove(link);
        connection = CONTAINER_OF(link, struct connection, work_link);
        connection->waiting = false;
        if (may_receive(connection))
            start_receive(connections, connection);
    }
}

void connection_received(struct connections *connections, struct connection *connection,
                         const struct completion *completion)
{
    connection->receiving = completion->more;
    if (completion->result == -ENOBUFS) {
        connection->denied = connection->starved;
        connection->starved = true;
    } else {
        connection->denied = false;
        connection->starved = false;
    }
    if (completion->result > 0) {
        if (connection->state != CONNECTION_OPEN || connection->input_ended) {
            /* Dropped: nothing is served any more, or the peer had said that it was through. */
        } else if (connection->channel) {
            connection_serve_sealed(connections, connection, completion->bytes,
                                    (uint32_t)completion->result);
        } else {
            connection_serve_received(connections, connection, completion->bytes,
                                      (uint32_t)completion->result);
        }
    } else if (completion->result == 0) {
        connection_end_input(connections, connection);
    } else if (completion->result != -ENOBUFS && completion->result != -ECANCELED) {
        connection->input_ended = true;
        connection_abort(connections, connection);
    }
    connection_add_work(connections, connection);
}

void connection_watched(struct connections *connections, struct connection *connection,
                        const struct completion *completion)
{
    connection->watching = false;
    if (completion->result > 0) {
        connection->hung_up = true;
        if (completion->result & (POLLERR | POLLHUP))
            connection_abort(connections, connection);
        else if (connection->want == SESSION_WANT_EFFECT)
            connection_close(connections, connection);
    } else if (connection->paused && !connection->hung_up) {
        pause_reading(connections, connection);
    }
    connection_add_work(connections, connection);
}
