/*
 * What a connection receives: requests are served from the buffer they came in, and what cannot be
 * served yet is kept in its backlog. Beyond a mark of it the connection stops to read.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>

#include "os/sockets.h"
#include "server/connection.h"

/* Input behind a blocked request: where reading stops, and where it goes on. */
enum {
    BACKLOG_PAUSE = 64 * 1024,
    BACKLOG_RESUME = 32 * 1024
};

static void pause_reading(struct connections *connections, struct connection *connection)
{
    connection->paused = true;
    if (!connection_handshakes(connection)) /* its time-out began with the connection */
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
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
    if (!connection_handshakes(connection)) {
        timeout_stop(&connection->pace);
        if (connection->want == SESSION_WANT_INPUT)
            timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    }
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

/*
 * Starts, keeps or stops the read time-out after the session took `progress`. While reading is
 * paused, it runs from the pause to the resumption, whatever is served meanwhile: a FIN behind a
 * full window is not seen, so a connection that stays there must not stay for ever. Only a session
 * that waits for a walk needs the timer for something else meanwhile. `before` is what the session
 * wanted until now.
 */
static void set_pace(struct connections *connections, struct connection *connection,
                     enum session_want before, const struct session_progress *progress)
{
    bool ahead = progress->served || progress->lines > connection->lines;

    connection->lines = (uint8_t)progress->lines;
    connection->overdue &= progress->want == SESSION_WANT_INPUT && !ahead;
    if (progress->want == SESSION_WANT_WALK) {
        timeout_start(&connections->walk_retries, &connection->pace, connections->host.now_ns);
        return;
    }
    if (connection->paused) {
        if (before == SESSION_WANT_WALK)
            timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
        return;
    }
    if (progress->want != SESSION_WANT_INPUT)
        timeout_stop(&connection->pace);
    else if (ahead || !timeout_runs(&connection->pace))
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
}

/*
 * Buffers are short in the whole process, and this connection keeps more of them than an answer
 * takes: it goes, and not one that has done nothing but ask at the wrong time.
 */
static bool must_make_room(const struct connections *connections, struct connection *connection)
{
    return connection_unsent(connection) > OUTPUT_CHUNK_BYTES && budget_tight(connections->buffers);
}

static void connection_report_problem(const struct connections *connections,
                                      const struct connection *connection,
                                      enum session_problem problem)
{
    switch (problem) {
    case SESSION_PROBLEM_NONE:
        break;
    case SESSION_PROBLEM_INVALID_REQUEST:
        connection_report(connections, connection, LOG_EVENT_INVALID_REQUEST, NULL);
        break;
    case SESSION_PROBLEM_LINE_TOO_LONG:
        connection_report(connections, connection, LOG_EVENT_LINE_TOO_LONG, NULL);
        break;
    case SESSION_PROBLEM_WRONG_SECRET:
        connection_report(connections, connection, LOG_EVENT_AUTH_FAILED, "wrong secret");
        break;
    case SESSION_PROBLEM_NO_SECRET:
        connection_report(connections, connection, LOG_EVENT_AUTH_FAILED,
                          "first request is not auth");
        break;
    }
}

/* Does what the session wants next. */
static void heed(struct connections *connections, struct connection *connection,
                 const struct session_progress *progress)
{
    enum session_want before = (enum session_want)connection->want;

    connection->want = (uint8_t)progress->want;
    if (progress->problem != SESSION_PROBLEM_NONE)
        connection_report_problem(connections, connection, progress->problem);
    if (must_make_room(connections, connection)) {
        connection_close_for_room(connections, connection);
        return;
    }
    if (progress->want != SESSION_WANT_CLOSE)
        connection_regulate(connections, connection, progress->want == SESSION_WANT_INPUT);
    set_pace(connections, connection, before, progress);
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
            /* Not a failed attempt: a monitor that checks whether the port is open does the same.
             */
            if (connection->session.auth_failed)
                connection_log(connections, connection, "input ended before authentication");
            connection_close(connections, connection);
            return;
        }
        break;
    case SESSION_WANT_ROOM:
    case SESSION_WANT_WALK:
        break;
    }
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
        connection_abort_for_memory(connections, connection);
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
        connection_abort_for_memory(connections, connection);
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

/* Whether something was received that a step of the handshake will use. */
static bool connection_handshake_waits(const struct connection *connection)
{
    return connection_handshakes(connection) && list_linked(&connection->channel->heard_link);
}

static bool connection_input_waits(const struct connection *connection)
{
    return connection_handshake_waits(connection) || sockets_unread(connection->descriptor) > 0;
}

static bool connection_between_requests(const struct connection *connection)
{
    return !connection->backlog.bytes && connection->session.state == SESSION_READY;
}

static void connection_fail_late(struct connections *connections, struct connection *connection)
{
    connection->overdue = false;
    if (connection_handshakes(connection)) {
        connection_report(connections, connection, LOG_EVENT_TLS_FAILED,
                          "handshake not complete within --read-timeout");
        connection_abort(connections, connection);
        return;
    }
    if (connection_between_requests(connection))
        connection_log(connections, connection, "connection idle for --read-timeout");
    else if (connection->session.state == SESSION_SKIPPING)
        connection_log(connections, connection, "line too long not complete within --read-timeout");
    else if (connection->session.authenticated)
        connection_report(connections, connection, LOG_EVENT_REQUEST_LATE, NULL);
    else
        connection_report(connections, connection, LOG_EVENT_AUTH_FAILED,
                          "no secret within --read-timeout");
    session_fail(&connection->session, &connections->host, &connection->output);
    connection_close(connections, connection);
}

/*
 * The timer is started again for an overdue connection: should the kernel count bytes that it never
 * hands out (TCP has urgent data), the connection is closed then.
 */
void connection_read_timed_out(struct connections *connections, struct connection *connection)
{
    bool between = connection_between_requests(connection);
    bool blocked = connection->session.state == SESSION_BLOCKED;

    bool paused = connection->paused && !connection_handshakes(connection);

    if (paused && blocked) {
        connection_report(connections, connection, LOG_EVENT_BACKLOG_FULL, NULL);
        connection_abort(connections, connection);
    } else if (paused || connection->waiting) {
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    } else if (!connection->overdue && connection_input_waits(connection)) {
        connection->overdue = true;
        connection->overdue_bytes = sockets_unread(connection->descriptor);
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    } else if (!between || !session_watch(&connection->session, &connections->host)) {
        connection_fail_late(connections, connection);
    }
}

void connection_judge_overdue(struct connections *connections, struct connection *connection)
{
    if (connection->overdue && connection->overdue_bytes == 0 &&
        connection->state == CONNECTION_OPEN && !connection_handshake_waits(connection))
        connection_fail_late(connections, connection);
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
    uint32_t count = completion->result > 0 ? (uint32_t)completion->result : 0;

    connection->receiving = completion->more;
    connection->overdue_bytes -=
        count < connection->overdue_bytes ? count : connection->overdue_bytes;
    if (completion->result == -ENOBUFS) {
        connection->denied = connection->starved;
        connection->starved = true;
    } else {
        connection->denied = false;
        connection->starved = false;
    }
    if (count > 0) {
        if (connection->state != CONNECTION_OPEN || connection->input_ended) {
            /* Dropped: nothing is served any more, or the peer had said that it was through. */
        } else if (connection->channel) {
            connection_serve_sealed(connections, connection, completion->bytes, count);
        } else {
            connection_serve_received(connections, connection, completion->bytes, count);
        }
        connection_judge_overdue(connections, connection);
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
