/*
 * The end of a connection: what its client had is taken away, what it was told is still sent.
 */
#include <assert.h>

#include "os/sockets.h"
#include "server/connection.h"

enum {
    LINGERS_MAX = 1024,    /* connections of a worker that linger; the oldest makes room */
    DISCONNECT_STEPS = 256 /* claims of one client and stripe taken away in one go */
};

static bool in_flight(const struct connection *connection)
{
    return connection->receiving || connection->watching || connection->sending ||
           connection->sending_now;
}

void connection_close(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    connection->state = CONNECTION_CLOSING;
    timeout_stop(&connection->pace);
    connection_leave_handshake(connections, connection);
    backlog_clear(&connection->backlog, &connections->backlogs);
    if (connection->session.auth_failed) {
        timeout_start(&connections->auth_delays, &connection->pace, connections->host.now_ns);
    }
    if (connection->paused) {
        connection->paused = false;
        if (connection->watching)
            ring_cancel_tag(connections->ring, connection_tag(connection, REQUEST_WATCH));
    }
    connection_add_work(connections, connection);
}

static void clear_output(struct connections *connections, struct connection *connection)
{
    output_clear(&connection->output, &connections->output_pool);
    if (connection->channel)
        output_clear(&connection->channel->wire, &connections->output_pool);
}

void connection_abort(struct connections *connections, struct connection *connection)
{
    connection_close(connections, connection);
    connection->state = CONNECTION_GONE;
    if (!connection->lost)
        timeout_stop(&connection->pace);
    timeout_stop(&connection->write);
    /* Others may be short of what this one will not send any more. */
    if (!connection->sending && !connection->sending_now)
        clear_output(connections, connection);
    connection_add_work(connections, connection);
}

void connection_close_for_room(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_GONE)
        connection_report(connections, connection, LOG_EVENT_BUFFERS_SHORT, NULL);
    connection_abort(connections, connection);
}

void connection_abort_for_memory(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_GONE)
        connection_report(connections, connection, LOG_EVENT_BUFFERS_SHORT,
                          "no room for its requests or replies");
    connection_abort(connections, connection);
}

/*
 * The session is over and the peer has its last reply, or will never get it: the connection does
 * not count any more, neither against the caps nor in statistics, though the server may go on
 * reading for a while.
 */
static void connection_uncount(struct connections *connections, struct connection *connection)
{
    if (connection->uncounted)
        return;
    connection->uncounted = true;
    atomic_fetch_sub_explicit(connections->open, 1, memory_order_relaxed);
    if (connection->peer != IP_LIMITS_NONE)
        ip_limits_leave(connections->ip_limits, connection->peer);
}

void connection_lose(struct connections *connections, struct connection *connection)
{
    /* At once, and not by the ring: the peer must not wait for what may never come. */
    sockets_end(connection->descriptor);
    connection_abort(connections, connection);
    connection->lost = true;
    timeout_start(&connections->lingers, &connection->pace, connections->host.now_ns);
}

/*
 * A lost connection is cancelled as others are, and most are freed when their requests have ended.
 * One of which a completion was dropped would wait for it for ever, and must not be freed while the
 * kernel may use it. So after LINGER_MS the kernel is asked how many requests it has of it.
 */
static void count_requests(struct connections *connections, struct connection *connection)
{
    ring_cancel_counted(connections->ring, connection->descriptor,
                        connection_count_tag(connection));
    timeout_start(&connections->lingers, &connection->pace, connections->host.now_ns);
}

void connection_counted(struct connections *connections, struct connection *connection,
                        int32_t count)
{
    if (!connection->lost || count != 0)
        return; /* counted again after LINGER_MS */
    connection->receiving = false;
    connection->watching = false;
    connection->sending = false;
    connection_add_work(connections, connection);
}

static void free_connection(struct connections *connections, struct connection *connection)
{
    assert(!in_flight(connection) && !connection->backlog.bytes);
    connection_log(connections, connection, "connection closed");
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
    connections->lingering -= connection->finishing;
    slots_retire(&connections->slots, connection->slot);
    pool_give(&connections->pool, connection);
}

/* Reads on for a while, so that the peer's further input does not make TCP reset the last reply. */
static void connection_linger(struct connections *connections, struct connection *connection)
{
    if (connections->lingering >= LINGERS_MAX) {
        struct list_link *first = list_first(&connections->lingers.list);
        struct timeout *timeout = first ? CONTAINER_OF(first, struct timeout, link) : NULL;

        /* A lost connection stays in the list until the kernel has counted its requests. */
        if (timeout && CONTAINER_OF(timeout, struct connection, pace)->state != CONNECTION_GONE)
            connection_abort(connections, CONTAINER_OF(timeout, struct connection, pace));
    }
    connections->lingering++;
    connection->finishing = true;
    connection_uncount(connections, connection); /* before the peer sees the end */
    sockets_end_output(connection->descriptor);
    timeout_start(&connections->lingers, &connection->pace, connections->host.now_ns);
}

/*
 * All is sent: ends our side, unless the peer has ended its own. Without unread input the kernel
 * sends the end of output when the socket is closed. With it, the kernel would reset the
 * connection, and the peer might lose the last answer, so this side waits for the peer's end.
 */
static void finish(struct connections *connections, struct connection *connection)
{
    if (connection->channel && channel_end(connection->channel)) {
        connection_add_work(connections, connection);
    } else if (connection->input_ended ||
               (connection->unanswered && !sockets_unread(connection->descriptor))) {
        connection->state = CONNECTION_GONE;
    } else if (!connection->finishing) {
        connection_linger(connections, connection);
    }
}

static bool all_sent(struct connection *connection)
{
    return connection->output.length == 0 && connection_wire(connection)->length == 0;
}

void connection_go_on_closing(struct connections *connections, struct connection *connection)
{
    bool delayed = timeout_runs(&connection->pace) && !connection->finishing;

    if (!connection->departed)
        connection->departed =
            session_disconnect(&connection->session, &connections->host, DISCONNECT_STEPS);
    if (!connection->departed)
        connection_add_work(connections, connection);
    if (connection->state == CONNECTION_CLOSING && all_sent(connection) && !delayed)
        finish(connections, connection);
    if (connection->state != CONNECTION_GONE)
        return;
    connection_uncount(connections, connection);
    if (in_flight(connection)) {
        if (!connection->cancelled) {
            connection->cancelled = true;
            ring_cancel(connections->ring, connection->descriptor);
        } else if (connection->lost && !timeout_runs(&connection->pace)) {
            count_requests(connections, connection);
        }
    } else if (connection->departed) {
        free_connection(connections, connection);
    }
}
