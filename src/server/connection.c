#include "server/connection.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>

#include "server/buffer_rules.h"
#include "server/log.h"
#include "server/log_events.h"

enum {
    /* Input behind a blocked request: reading pauses above the first and resumes at the second. */
    CONNECTION_BACKLOG_PAUSE = 64 * 1024,
    CONNECTION_BACKLOG_RESUME = 32 * 1024,
    CONNECTION_LINGERS_MAX = 1024 /* of one worker; more end the oldest */
};

/* ---- log ---- */

static uint32_t connection_slot(const struct connection *connection)
{
    return connection_id_slot(connection->session.claims.connection_id);
}

/* Returns NULL if the address is not kept, as without --debug. */
static const char *connection_address(const struct connection_context *context,
                                      const struct connection *connection)
{
    uint32_t slot = connection_slot(connection);

    if (slot >= segments_capacity(&context->addresses))
        return NULL;
    return segments_at(&context->addresses, slot);
}

/* Keeps the address for the last debug line, because the kernel may have forgotten it by then. */
static void connection_keep_address(struct connection_context *context,
                                    const struct connection *connection)
{
    uint32_t slot = connection_slot(connection);

    if (log_enabled(LOG_DEBUG) && segments_reserve(&context->addresses, slot + 1))
        sockets_describe_peer(connection->transport.descriptor,
                              segments_at(&context->addresses, slot));
}

static void connection_log(const struct connection_context *context,
                           const struct connection *connection, const char *message)
{
    const char *address;
    char number[24];

    if (!log_enabled(LOG_DEBUG))
        return;
    snprintf(number, sizeof(number), "%llu",
             (unsigned long long)connection_id_number(connection->session.claims.connection_id));
    address = connection_address(context, connection);
    log_line(LOG_DEBUG, message, "addr", address ? address : "unknown", "conn", number, NULL);
}

/* Logs an event at WARN. `reason` NULL: the event's own. */
static void connection_report(const struct connection_context *context,
                              const struct connection *connection, enum log_event event,
                              const char *reason)
{
    const struct log_peer peer = {
        .descriptor = connection->transport.descriptor,
        .address = connection_address(context, connection),
        .connection = connection_id_number(connection->session.claims.connection_id),
    };

    log_event_of_peer(event, context->session.now_ns, &peer, reason);
}

static void connection_report_problem(const struct connection_context *context,
                                      const struct connection *connection,
                                      enum session_problem problem)
{
    static const struct {
        enum log_event event;
        const char *reason;
    } reports[] = {
        [SESSION_PROBLEM_INVALID_REQUEST] = {LOG_EVENT_INVALID_REQUEST, NULL},
        [SESSION_PROBLEM_LINE_TOO_LONG] = {LOG_EVENT_LINE_TOO_LONG, NULL},
        [SESSION_PROBLEM_WRONG_SECRET] = {LOG_EVENT_AUTH_FAILED, "wrong secret"},
        [SESSION_PROBLEM_NO_SECRET] = {LOG_EVENT_AUTH_FAILED, "first request is not auth"},
        [SESSION_PROBLEM_NO_RIGHTS] = {LOG_EVENT_NO_RIGHTS, NULL},
        [SESSION_PROBLEM_MAX_LOCKS] = {LOG_EVENT_MAX_LOCKS, NULL},
        [SESSION_PROBLEM_MAX_WAITERS] = {LOG_EVENT_MAX_WAITERS, NULL},
        [SESSION_PROBLEM_MAX_CLAIMS] = {LOG_EVENT_MAX_CLAIMS, NULL},
        [SESSION_PROBLEM_MAX_CLAIMS_PER_CONNECTION] = {LOG_EVENT_MAX_CLAIMS_PER_CONNECTION, NULL},
    };

    connection_report(context, connection, reports[problem].event, reports[problem].reason);
}

/* ---- requests to close, which connection_advance fulfils ---- */

static void connection_request_close(struct connection *connection)
{
    if (connection->state == CONNECTION_OPEN)
        connection->state = CONNECTION_CLOSE_DUE;
}

static void connection_request_abort(struct connection_context *context,
                                     struct connection *connection)
{
    if (connection->state == CONNECTION_LINGERING) {
        context->lingering--;
        timeout_stop(&connection->next_step);
    }
    if (connection->state < CONNECTION_ABORT_DUE)
        connection->state = CONNECTION_ABORT_DUE;
}

void connection_abort(struct connection_context *context, struct connection *connection)
{
    connection_request_abort(context, connection);
    connection_queue_later(context, connection);
}

void connection_abort_for_room(struct connection_context *context, struct connection *connection)
{
    if (connection->state < CONNECTION_ABORT_DUE)
        connection_report(context, connection, LOG_EVENT_BUFFERS_SHORT, NULL);
    transport_drop_output(&context->transports, &connection->transport);
    connection_abort(context, connection);
}

static void connection_abort_for_memory(struct connection_context *context,
                                        struct connection *connection)
{
    if (connection->state >= CONNECTION_ABORT_DUE)
        return;
    connection_report(context, connection, LOG_EVENT_BUFFERS_SHORT,
                      "no room for its requests or replies");
    connection_request_abort(context, connection);
}

void connection_abort_handshake(struct connection_context *context, struct connection *connection)
{
    connection_report(context, connection, LOG_EVENT_TLS_FAILED,
                      "handshake given up for a newer one");
    transport_stop_handshake(&context->transports, &connection->transport);
    connection_abort(context, connection);
}

void connection_lose(struct connection_context *context, struct connection *connection)
{
    transport_lose(&connection->transport);
    connection_abort(context, connection);
    timeout_start(&context->lingers, &connection->next_step, context->session.now_ns);
}

/* ---- serving ---- */

static void connection_start_read_timeout(struct connection_context *context,
                                          struct connection *connection)
{
    timeout_start(&context->reads, &connection->read, context->session.now_ns);
}

/*
 * The read timeout runs while the session waits for input; a complete line starts it again. While
 * reading is paused it runs from the pause to the resumption, whatever is served: the server does
 * not see a FIN behind a full window, and such a connection must end at some time.
 */
static void connection_set_timeouts(struct connection_context *context,
                                    struct connection *connection,
                                    const struct session_progress *progress)
{
    bool progressed = progress->served || progress->lines > connection->lines;

    connection->lines = (uint8_t)progress->lines;
    connection->overdue &= progress->want == SESSION_WANT_INPUT && !progressed;
    if (progress->want == SESSION_WANT_WALK)
        timeout_start(&context->walk_retries, &connection->next_step, context->session.now_ns);
    if (transport_paused(&connection->transport))
        return;
    if (progress->want != SESSION_WANT_INPUT)
        timeout_stop(&connection->read);
    else if (progressed || !timeout_runs(&connection->read))
        connection_start_read_timeout(context, connection);
}

static void connection_act_on(struct connection_context *context, struct connection *connection,
                              const struct session_progress *progress)
{
    connection->want = (uint8_t)progress->want;
    if (progress->problem != SESSION_PROBLEM_NONE)
        connection_report_problem(context, connection, progress->problem);
    if (transport_unsent(&connection->transport) > OUTPUT_CHUNK_BYTES &&
        !buffer_rules_allow_unsent(&context->session, &connection->session)) {
        connection_abort_for_room(context, connection);
        return;
    }
    connection_set_timeouts(context, connection, progress);
    if (progress->want == SESSION_WANT_CLOSE)
        connection_request_close(connection);
    else if (progress->want == SESSION_WANT_TURN)
        connection_queue_later(context, connection);
}

static struct session_progress connection_read_requests(struct connection_context *context,
                                                        struct connection *connection,
                                                        const uint8_t *bytes, size_t length)
{
    struct session_progress progress;

    context->session.steps = turn_take_share(&context->turn);
    progress = session_read(&connection->session, &context->session, bytes, length,
                            &connection->transport.output);
    turn_return(&context->turn, context->session.steps);
    turn_spend(&context->turn, context->session.overdrawn);
    context->session.overdrawn = 0;
    return progress;
}

/* Returns false, and aborts the connection, if it may not have memory for replies. */
static bool connection_may_reply(struct connection_context *context, struct connection *connection)
{
    if (buffer_rules_allow_reply(&context->session, &connection->session))
        return true;
    connection_abort_for_memory(context, connection);
    connection_queue_later(context, connection);
    return false;
}

/* Appends input to the backlog. Without memory returns false, and aborts the connection. */
static bool connection_keep(struct connection_context *context, struct connection *connection,
                            const uint8_t *bytes, uint32_t length)
{
    struct backlog *backlog = &connection->backlog;
    uint32_t growth = backlog_growth(backlog, length);

    if ((growth == 0 ||
         buffer_rules_allow_input(&context->session, &connection->session, growth)) &&
        backlog_append(backlog, &context->backlogs, bytes, length))
        return true;
    connection_abort_for_memory(context, connection);
    return false;
}

/* Serves the backlog. */
static void connection_serve(struct connection_context *context, struct connection *connection)
{
    struct backlog *backlog = &connection->backlog;
    struct session_progress progress = connection_read_requests(
        context, connection, backlog_bytes(backlog), backlog_length(backlog));

    backlog_consume(backlog, &context->backlogs, progress.consumed);
    connection_act_on(context, connection, &progress);
}

/*
 * Appends to the incomplete request in the backlog what may complete it, and serves that. What
 * follows it can be served from its own buffer. Returns the number of used bytes.
 */
static uint32_t connection_complete_request(struct connection_context *context,
                                            struct connection *connection, const uint8_t *bytes,
                                            uint32_t length)
{
    struct backlog *backlog = &connection->backlog;
    uint32_t kept = backlog_length(backlog);
    uint32_t most = kept < BACKLOG_MIN ? BACKLOG_MIN - kept : BACKLOG_MIN;
    uint32_t part = length < most ? length : most;

    if (!connection_keep(context, connection, bytes, part))
        return part;
    connection_serve(context, connection);
    kept = backlog_length(backlog);
    if (connection->state != CONNECTION_OPEN || kept > part)
        return part;
    backlog_clear(backlog, &context->backlogs);
    return part - kept;
}

/* Serves plain bytes from the buffer they are in. Keeps those that can't be served yet. */
static void connection_serve_received(struct connection_context *context,
                                      struct connection *connection, const uint8_t *bytes,
                                      uint32_t length)
{
    struct session_progress progress;

    while (length > 0 && connection->backlog.bytes && connection->want == SESSION_WANT_INPUT &&
           connection->state == CONNECTION_OPEN) {
        uint32_t used = connection_complete_request(context, connection, bytes, length);

        bytes += used;
        length -= used;
    }
    if (length == 0 || connection->state != CONNECTION_OPEN)
        return;
    progress = (struct session_progress){.want = (enum session_want)connection->want};
    if (progress.want == SESSION_WANT_INPUT) {
        progress = connection_read_requests(context, connection, bytes, length);
        bytes += progress.consumed;
        length -= (uint32_t)progress.consumed;
    }
    if (length > 0 && progress.want != SESSION_WANT_CLOSE &&
        !connection_keep(context, connection, bytes, length))
        return;
    connection_act_on(context, connection, &progress);
}

/* ---- events ---- */

void connection_start(struct connection_context *context, struct connection *connection,
                      uint64_t connection_id, uint32_t ip_limit)
{
    connection->ip_limit = ip_limit;
    connection->counted = true;
    session_start(&connection->session, &context->session, connection_id);
    connection_start_read_timeout(context, connection);
    turn_spend(&context->turn, TURN_SYSTEM_CALL);
    connection_queue_first(context, connection);
    connection_keep_address(context, connection);
    connection_log(context, connection, "connection accepted");
}

/* Serves `bytes`, and what TLS has behind them, as long as `result` is BYTES. */
static enum transport_result connection_serve_all(struct connection_context *context,
                                                  struct connection *connection,
                                                  struct transport_bytes *bytes,
                                                  enum transport_result result)
{
    struct transport *transport = &connection->transport;

    while (result == TRANSPORT_BYTES && connection->state == CONNECTION_OPEN) {
        connection_serve_received(context, connection, bytes->start, bytes->length);
        result = connection->state == CONNECTION_OPEN
                     ? transport_read_next(&context->transports, transport, bytes)
                     : TRANSPORT_AGAIN;
    }
    transport_end_read(&context->transports, transport);
    return result;
}

/*
 * A client that has ended its side is never granted anything. So a blocked request is given up when
 * that event comes, and not when the connection advances: an effect of this turn may grant it.
 */
static void connection_give_up_blocked(struct connection *connection)
{
    if (connection->want == SESSION_WANT_EFFECT && transport_peer_ended(&connection->transport))
        connection_request_close(connection);
}

/* Acts on a verdict from FAILED on. connection_advance sees the end of the input by itself. */
static void connection_fail(struct connection_context *context, struct connection *connection,
                            enum transport_result result)
{
    if (result == TRANSPORT_NO_MEMORY) {
        connection_abort_for_memory(context, connection);
    } else if (result == TRANSPORT_TLS_FAILED) {
        connection_report(context, connection, LOG_EVENT_TLS_FAILED,
                          transport_problem(&connection->transport));
        connection_request_close(connection);
    } else {
        connection_request_abort(context, connection);
    }
}

void connection_received(struct connection_context *context, struct connection *connection,
                         const struct completion *completion)
{
    struct transport *transport = &connection->transport;
    enum transport_result result = transport_received(transport, completion);

    if (result == TRANSPORT_BYTES) {
        struct transport_bytes bytes = {completion->bytes, (uint32_t)completion->result};

        if (connection->overdue)
            connection->overdue_bytes -=
                bytes.length < connection->overdue_bytes ? bytes.length : connection->overdue_bytes;
        if (connection->state == CONNECTION_OPEN && connection_may_reply(context, connection)) {
            result = transport_read(&context->transports, transport, &bytes);
            result = connection_serve_all(context, connection, &bytes, result);
            connection_queue_first(context, connection);
        }
    }
    if (result >= TRANSPORT_FAILED)
        connection_fail(context, connection, result);
    connection_give_up_blocked(connection);
    connection_queue_later(context, connection);
}

bool connection_continue_handshake(struct connection_context *context,
                                   struct connection *connection)
{
    struct transport *transport = &connection->transport;
    struct transport_bytes bytes;
    enum transport_result result;

    if (connection->state != CONNECTION_OPEN) {
        transport_stop_handshake(&context->transports, transport);
        return false;
    }
    if (!connection_may_reply(context, connection))
        return false;
    result = transport_continue_handshake(&context->transports, transport, &bytes);
    if (!transport_handshakes(transport)) {
        metrics_count(&context->session.metrics->tls_handshakes);
        connection->overdue = false;
        connection_start_read_timeout(context, connection);
    }
    result = connection_serve_all(context, connection, &bytes, result);
    if (result >= TRANSPORT_FAILED)
        connection_fail(context, connection, result);
    connection_queue_later(context, connection);
    return true;
}

void connection_watched(struct connection_context *context, struct connection *connection,
                        const struct completion *completion)
{
    if (transport_watched(&context->transports, &connection->transport, completion) ==
        TRANSPORT_FAILED)
        connection_request_abort(context, connection);
    connection_give_up_blocked(connection);
    connection_queue_later(context, connection);
}

/* Whether connection_advance has something to do once bytes are sent, apart from sending more. */
static bool connection_awaits_sending(const struct connection *connection)
{
    return connection->want == SESSION_WANT_ROOM || connection->state != CONNECTION_OPEN;
}

void connection_sent_silently(struct connection_context *context, struct connection *connection)
{
    if (transport_unsent(&connection->transport) > 0 || connection_awaits_sending(connection))
        connection_queue_later(context, connection);
}

void connection_sent(struct connection_context *context, struct connection *connection,
                     const struct completion *completion)
{
    if (transport_sent(&context->transports, &connection->transport, completion) ==
        TRANSPORT_FAILED)
        connection_abort(context, connection);
    connection_sent_silently(context, connection);
}

void connection_counted(struct connection_context *context, struct connection *connection,
                        int32_t count)
{
    if (!connection->transport.lost || count != 0)
        return; /* they are counted again when the timeout is over */
    transport_forget_requests(&connection->transport);
    connection_queue_later(context, connection);
}

/* The client holds nothing any more, unless it has acquired something since: idle time begins. */
static void connection_begin_idle(struct connection_context *context, struct connection *connection)
{
    claims_notice(&connection->session.claims);
    if (connection->want == SESSION_WANT_INPUT && !timeout_runs(&connection->read) &&
        !claims_watch(&connection->session.claims, &context->session))
        connection_start_read_timeout(context, connection);
    if (context->dismissing)
        connection_queue_later(context, connection);
}

void connection_effect(struct connection_context *context, struct connection *connection,
                       const struct lock_answer *answer)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    if (answer->outcome == LOCK_IDLE) {
        connection_begin_idle(context, connection);
        return;
    }
    if (!connection_may_reply(context, connection))
        return;
    session_effect(&connection->session, &context->session, answer, &connection->transport.output);
    connection->want = SESSION_WANT_TURN; /* the backlog */
    connection_queue_first(context, connection);
}

/* ---- timeouts ---- */

void connection_retry_walk(struct connection_context *context, struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    if (transport_paused(&connection->transport)) /* the walk's time was the server's */
        connection_start_read_timeout(context, connection);
    connection->want = SESSION_WANT_TURN;
    connection_queue_later(context, connection);
}

void connection_write_timed_out(struct connection_context *context, struct connection *connection)
{
    /* If the socket has room by now, the pending send is about to complete. */
    if (connection->state >= CONNECTION_ABORT_DUE ||
        sockets_ready(connection->transport.descriptor, POLLOUT))
        return;
    connection_report(context, connection, LOG_EVENT_REPLIES_NOT_READ, NULL);
    connection_abort(context, connection);
}

static bool connection_is_between_requests(const struct connection *connection)
{
    return !connection->backlog.bytes && connection->session.state == SESSION_READY;
}

static void connection_fail_late(struct connection_context *context, struct connection *connection)
{
    connection->overdue = false;
    if (transport_handshakes(&connection->transport)) {
        connection_report(context, connection, LOG_EVENT_TLS_FAILED,
                          "handshake not complete within --read-timeout");
        connection_request_abort(context, connection);
        return;
    }
    if (connection_is_between_requests(connection))
        connection_log(context, connection, "connection idle for --read-timeout");
    else if (connection->session.state == SESSION_SKIPPING)
        connection_log(context, connection, "line too long not complete within --read-timeout");
    else if (connection->session.authenticated)
        connection_report(context, connection, LOG_EVENT_REQUEST_LATE, NULL);
    else
        connection_report(context, connection, LOG_EVENT_AUTH_FAILED,
                          "no secret within --read-timeout");
    session_fail(&connection->session, &context->session, &connection->transport.output);
    connection_request_close(connection);
}

/*
 * Ends the connection, unless it holds something and is between requests. If input waits, the
 * server may have been late and not the peer: the connection becomes overdue. Its timeout starts
 * again, because the kernel may count bytes that it never returns (TCP has urgent data).
 */
void connection_read_timed_out(struct connection_context *context, struct connection *connection)
{
    struct transport *transport = &connection->transport;
    bool handshakes = transport_handshakes(transport);
    bool paused = transport_paused(transport) && !handshakes;
    uint32_t unread;

    /* The last byte was received during a pause: the timeout of the pause has no purpose. */
    if (!paused && connection->want != SESSION_WANT_INPUT)
        return;
    if (connection->state != CONNECTION_OPEN)
        return;
    if (paused && connection->session.state == SESSION_BLOCKED) {
        connection_report(context, connection, LOG_EVENT_BACKLOG_FULL, NULL);
        connection_abort(context, connection);
        return;
    }
    if (paused || connection->queue == CONNECTION_STARVED) {
        connection_start_read_timeout(context, connection);
        return;
    }
    unread = connection->overdue ? 0 : sockets_unread(transport->descriptor);
    if (unread > 0 || (!connection->overdue && transport_handshake_pending(transport))) {
        connection->overdue = true;
        connection->overdue_bytes = unread;
        connection_start_read_timeout(context, connection);
    } else if (!connection_is_between_requests(connection) ||
               !claims_watch(&connection->session.claims, &context->session)) {
        connection_fail_late(context, connection);
        connection_queue_later(context, connection);
    }
}

/* ---- connection_advance ---- */

/* Returns the number of received bytes in the kernel. */
static uint32_t connection_unread(struct connection_context *context,
                                  const struct connection *connection)
{
    turn_spend(&context->turn, TURN_SYSTEM_CALL);
    return sockets_unread(connection->transport.descriptor);
}

/* The peer has ended its side: closes the connection once all its requests are served. */
static void connection_check_peer_end(struct connection_context *context,
                                      struct connection *connection)
{
    struct transport *transport = &connection->transport;
    bool ended = transport->input == TRANSPORT_INPUT_ENDED;

    if (transport_handshakes(transport)) {
        if (ended && !transport_handshake_pending(transport))
            connection_request_abort(context, connection);
        return;
    }
    connection_give_up_blocked(connection);
    if (connection->want == SESSION_WANT_INPUT && ended) {
        session_input_ended(&connection->session, &context->session, &transport->output);
        /* Not a failed attempt: a monitor that checks whether the port is open does the same. */
        if (connection->session.auth_failed)
            connection_log(context, connection, "input ended before authentication");
        connection_request_close(connection);
    }
}

/* Calls `end`, which ends claims of the session, with the steps that it may use. */
static bool connection_end_claims(struct connection_context *context, struct connection *connection,
                                  bool (*end)(struct session *, struct session_context *))
{
    uint32_t share = turn_take_share(&context->turn);
    uint32_t claims = (share + TURN_CLAIM - 1) / TURN_CLAIM;
    bool done;

    context->session.steps = claims;
    done = end(&connection->session, &context->session);
    turn_return(&context->turn, share);
    turn_spend(&context->turn, (claims - context->session.steps) * TURN_CLAIM);
    return done;
}

static bool connection_leave_queues(struct session *session, struct session_context *context)
{
    return claims_leave_queues(&session->claims, context);
}

/* The server drains: ends the blocked request, and takes the client out of all queues. */
static void connection_drain(struct connection_context *context, struct connection *connection)
{
    if (session_drain(&connection->session, &context->session, &connection->transport.output))
        connection->want = SESSION_WANT_TURN;
    connection->drained = connection_end_claims(context, connection, connection_leave_queues);
    if (!connection->drained)
        connection_queue_later(context, connection);
}

/*
 * While the server drains: closes the connection if its client holds nothing and all its requests
 * have replies. Requests may still be in the socket, or in a completion that an overflowing ring
 * does not show yet; the worker reads both in a later turn.
 */
static void connection_dismiss(struct connection_context *context, struct connection *connection)
{
    struct transport *transport = &connection->transport;

    if (transport_unsent(transport) > 0)
        connection->replied = true;
    if (!context->dismissing || !connection->drained)
        return;
    if (transport_handshakes(transport)) {
        connection_request_abort(context, connection);
    } else if (!ring_settled(context->transports.ring)) {
        connection_queue_later(context, connection);
    } else if (connection->want == SESSION_WANT_INPUT &&
               !claims_watch(&connection->session.claims, &context->session) &&
               !connection_unread(context, connection)) {
        connection->unread = !connection->replied;
        connection_request_close(connection);
    }
}

/*
 * Pauses or resumes reading by the length of what is kept. A session that wants input gets it
 * however much is kept, which is one incomplete request then.
 */
static void connection_regulate(struct connection_context *context, struct connection *connection)
{
    struct transport *transport = &connection->transport;
    uint32_t kept = backlog_length(&connection->backlog) + transport_kept(transport);
    bool paused = transport_paused(transport);
    bool wants_input = connection->want == SESSION_WANT_INPUT;
    bool handshakes;

    handshakes = transport_handshakes(transport);
    if (paused && kept > CONNECTION_BACKLOG_RESUME && (!wants_input || handshakes))
        return;
    if (!paused && kept <= CONNECTION_BACKLOG_PAUSE)
        return;
    if (paused)
        transport_resume(&context->transports, transport);
    else if (transport->input != TRANSPORT_INPUT_ENDED && (!wants_input || handshakes))
        transport_pause(&context->transports, transport);
    else
        return;
    if (handshakes) /* its timeout began with the connection */
        return;
    if (paused && !wants_input)
        timeout_stop(&connection->read);
    else
        connection_start_read_timeout(context, connection);
}

static void connection_advance_open(struct connection_context *context,
                                    struct connection *connection)
{
    struct transport *transport = &connection->transport;

    if (context->session.draining && !connection->drained)
        connection_drain(context, connection);
    if ((connection->want == SESSION_WANT_TURN ||
         (connection->want == SESSION_WANT_ROOM &&
          transport->output.length < SESSION_OUTPUT_MAX / 2)) &&
        connection_may_reply(context, connection))
        connection_serve(context, connection);
    /* The input that had waited at the read timeout brought no progress. */
    if (connection->overdue && connection->overdue_bytes == 0 &&
        connection->state == CONNECTION_OPEN && !transport_handshake_pending(transport))
        connection_fail_late(context, connection);
    if (transport_peer_ended(transport) && connection->state == CONNECTION_OPEN)
        connection_check_peer_end(context, connection);
    if (context->session.draining && connection->state == CONNECTION_OPEN)
        connection_dismiss(context, connection);
    if (connection->state == CONNECTION_OPEN)
        connection_regulate(context, connection);
}

static void connection_end_session(struct connection_context *context,
                                   struct connection *connection)
{
    timeout_stop(&connection->read);
    timeout_stop(&connection->next_step);
    transport_stop_handshake(&context->transports, &connection->transport);
    transport_resume(&context->transports, &connection->transport);
    backlog_clear(&connection->backlog, &context->backlogs);
}

static void connection_begin_closing(struct connection_context *context,
                                     struct connection *connection)
{
    connection->state = CONNECTION_CLOSING;
    connection_end_session(context, connection);
    if (connection->session.auth_failed)
        timeout_start(&context->auth_delays, &connection->next_step, context->session.now_ns);
}

/* A lost connection keeps its timeout: see connection_cancel. */
static void connection_begin_gone(struct connection_context *context, struct connection *connection)
{
    connection->state = CONNECTION_GONE;
    connection_end_session(context, connection);
    if (connection->transport.lost)
        timeout_start(&context->lingers, &connection->next_step, context->session.now_ns);
    transport_drop_output(&context->transports, &connection->transport);
    transport_end_tls(&context->transports, &connection->transport);
}

static void connection_send(struct connection_context *context, struct connection *connection)
{
    struct transports *transports = &context->transports;
    enum transport_result result =
        transport_send(transports, &connection->transport, context->session.now_ns);

    if (result != TRANSPORT_AGAIN)
        turn_spend(&context->turn, TURN_SYSTEM_CALL);
    if (result == TRANSPORT_BYTES)
        transports->must_not_sleep |= connection_awaits_sending(connection);
    else if (result == TRANSPORT_FAILED)
        connection_request_abort(context, connection);
}

/*
 * All receive buffers are free when the receives of a turn begin, and a receive takes one at least
 * if there is input. So a connection that got none waits for its turn; see connections.c.
 */
static void connection_receive(struct connection_context *context, struct connection *connection)
{
    struct transport *transport = &connection->transport;

    if (!transport_can_receive(transport))
        return;
    if (transport->shortage == TRANSPORT_NOT_STARVED) {
        transport_receive(&context->transports, transport);
    } else if (connection->queue == CONNECTION_NOT_QUEUED) {
        connection->queue = CONNECTION_STARVED;
        list_push_back(transport->shortage == TRANSPORT_DENIED ? &context->denied
                                                               : &context->starved,
                       &connection->work_link);
    }
}

/*
 * The session is over, and the peer has its last reply or will never get it: the connection does
 * not count against limits and in statistics any more, even if the server goes on to read.
 */
static void connection_uncount(struct connection_context *context, struct connection *connection)
{
    if (!connection->counted)
        return;
    connection->counted = false;
    atomic_fetch_sub_explicit(context->open, 1, memory_order_relaxed);
    if (connection->ip_limit != IP_LIMITS_NONE)
        ip_limits_leave(context->ip_limits, connection->ip_limit);
}

static void connection_linger(struct connection_context *context, struct connection *connection)
{
    struct list_link *link = list_first(&context->lingers.list);

    if (context->lingering >= CONNECTION_LINGERS_MAX && link) {
        struct timeout *timeout = CONTAINER_OF(link, struct timeout, link);
        struct connection *oldest = CONTAINER_OF(timeout, struct connection, next_step);

        if (oldest->state == CONNECTION_LINGERING) /* not a lost one */
            connection_abort(context, oldest);
    }
    context->lingering++;
    connection->state = CONNECTION_LINGERING;
    connection_uncount(context, connection); /* before the peer sees the end */
    turn_spend(&context->turn, TURN_SYSTEM_CALL);
    sockets_end_output(connection->transport.descriptor);
    timeout_start(&context->lingers, &connection->next_step, context->session.now_ns);
}

/*
 * All is sent. If no input is unread, closing the socket sends the end of the output. With unread
 * input the kernel would reset the connection, and the peer might lose the last reply: so the
 * server ends its output and reads until the peer ends too.
 */
static void connection_finish(struct connection_context *context, struct connection *connection)
{
    struct transport *transport = &connection->transport;

    if (transport_finish(transport))
        connection_queue_later(context, connection);
    else if (transport->input == TRANSPORT_INPUT_ENDED ||
             (connection->unread && !connection_unread(context, connection)))
        connection_request_abort(context, connection);
    else if (connection->state == CONNECTION_CLOSING)
        connection_linger(context, connection);
}

/*
 * Most requests end when they are cancelled. A lost connection may wait for a dropped completion;
 * it can't be freed while the kernel may use it. So the kernel counts its requests from time to
 * time.
 */
static void connection_cancel(struct connection_context *context, struct connection *connection)
{
    struct transport *transport = &connection->transport;

    if (transport_cancel(&context->transports, transport)) {
        turn_spend(&context->turn, TURN_SYSTEM_CALL);
        return;
    }
    if (!transport->lost || timeout_runs(&connection->next_step))
        return;
    transport_count_requests(&context->transports, transport, connection_slot(connection));
    timeout_start(&context->lingers, &connection->next_step, context->session.now_ns);
}

static void connection_free(struct connection_context *context, struct connection *connection)
{
    assert(!connection->backlog.bytes);
    connection_log(context, connection, "connection closed");
    connection_unqueue(context, connection);
    turn_spend(&context->turn, TURN_SYSTEM_CALL);
    timeout_stop(&connection->next_step);
    peers_remove(context->session.peers, connection->session.claims.connection_id);
    transport_close(&context->transports, &connection->transport);
}

static void connection_disconnect(struct connection_context *context, struct connection *connection)
{
    connection->disconnected = connection_end_claims(context, connection, session_disconnect);
    if (!connection->disconnected)
        connection_queue_later(context, connection);
}

/* Returns false if the connection is freed. */
static bool connection_advance_closing(struct connection_context *context,
                                       struct connection *connection)
{
    bool delayed = connection->state == CONNECTION_CLOSING && timeout_runs(&connection->next_step);

    if (!connection->disconnected)
        connection_disconnect(context, connection);
    if (connection->state < CONNECTION_ABORT_DUE && !delayed &&
        transport_unsent(&connection->transport) == 0)
        connection_finish(context, connection);
    if (connection->state == CONNECTION_ABORT_DUE)
        connection_begin_gone(context, connection);
    if (connection->state != CONNECTION_GONE)
        return true;
    connection_uncount(context, connection);
    if (transport_in_flight(&connection->transport)) {
        connection_cancel(context, connection);
    } else if (connection->disconnected) {
        connection_free(context, connection);
        return false;
    }
    return true;
}

bool connection_advance(struct connection_context *context, struct connection *connection)
{
    turn_spend(&context->turn, 1);
    if (context->aborting)
        connection_request_abort(context, connection);
    if (connection->state == CONNECTION_OPEN)
        connection_advance_open(context, connection);
    if (transport_output_failed(&connection->transport))
        connection_abort_for_memory(context, connection);
    if (connection->state == CONNECTION_CLOSE_DUE)
        connection_begin_closing(context, connection);
    if (connection->state < CONNECTION_ABORT_DUE)
        connection_send(context, connection);
    if (connection->state < CONNECTION_ABORT_DUE)
        connection_receive(context, connection);
    return connection->state == CONNECTION_OPEN || connection_advance_closing(context, connection);
}
