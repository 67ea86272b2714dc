/*
 * The end of a connection: what its client had is taken away, what it was told is still sent.
 */
#include <assert.h>

#include "os/sockets.h"
#include "server/connection.h"

enum {
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
    if (connection->peer != PEERS_NONE)
        peers_leave(connections->peers, connection->peer);
    slots_retire(&connections->slots, connection->slot);
    pool_give(&connections->pool, connection);
    atomic_fetch_sub_explicit(connections->open, 1, memory_order_relaxed);
}

/* All is sent: ends our side, unless the peer has ended its own. */
static void finish(struct connections *connections, struct connection *connection)
{
    if (connection->channel && channel_end(connection->channel)) {
        connection_add_work(connections, connection);
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
    if (in_flight(connection)) {
        if (!connection->cancelled) {
            connection->cancelled = true;
            ring_cancel(connections->ring, connection->descriptor);
        }
    } else if (connection->departed) {
        free_connection(connections, connection);
    }
}
