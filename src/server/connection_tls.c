/*
 * The TLS of a connection: its handshake, and plain bytes out of what is received.
 *
 * A step of a handshake may cost as much as a thousand requests. So what is received for one waits
 * in the backlog, and there is one step in a turn: however many clients shake hands, those who are
 * through wait for one of them at most.
 */
#include "server/connection.h"

enum {
    /*
     * Handshakes under way in one worker. Beyond it the oldest is closed: an honest client is
     * through in some round trips and so never the oldest for long, while one that only opens
     * connections would hold up everybody if new ones had to wait.
     */
    HANDSHAKES_MAX = 1024,
    PLAIN_BYTES = 4096 /* read from a channel at a time */
};

/* The connection whose handshake takes longest makes room for another one. */
static void join_handshakes(struct connections *connections, struct channel *channel)
{
    if (connections->handshaking_count == HANDSHAKES_MAX) {
        struct list_link *first = list_first(&connections->handshaking);
        struct connection *oldest =
            CONTAINER_OF(first, struct channel, handshaking_link)->connection;

        connection_report(connections, oldest, LOG_EVENT_TLS_FAILED,
                          "handshake given up for a newer one");
        connection_abort(connections, oldest);
    }
    connections->handshaking_count++;
    list_push_back(&connections->handshaking, &channel->handshaking_link);
}

bool connection_start_tls(struct connections *connections, struct connection *connection)
{
    struct channel *channel;

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
    join_handshakes(connections, channel);
    return true;
}

void connection_leave_handshake(struct connections *connections, struct connection *connection)
{
    if (!connection_handshakes(connection))
        return;
    list_remove(&connection->channel->handshaking_link);
    connections->handshaking_count--;
    if (list_linked(&connection->channel->heard_link))
        list_remove(&connection->channel->heard_link);
}

/* The handshake is done: the time for the first request begins. */
static void begin_requests(struct connections *connections, struct connection *connection)
{
    if (connection_handshakes(connection) && tls_ready(connection->channel->tls)) {
        connection_leave_handshake(connections, connection);
        connection->overdue = false;
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    }
}

/* As connection_serve_received, for ciphertext. */
static void unseal(struct connections *connections, struct connection *connection,
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
            connection_serve_received(connections, connection, plain, (uint32_t)count);
    }
    if (result == TLS_ENDED) {
        connection_end_input(connections, connection);
    } else if (result == TLS_BROKEN) {
        connection_report(connections, connection, LOG_EVENT_TLS_FAILED, channel_problem(channel));
        connection_close(connections, connection);
    }
    channel_give(channel, NULL, 0);
}

void connection_serve_sealed(struct connections *connections, struct connection *connection,
                             const uint8_t *bytes, uint32_t length)
{
    struct channel *channel = connection->channel;

    if (!connection_handshakes(connection)) {
        unseal(connections, connection, bytes, length);
        return;
    }
    if (!backlog_append(&connection->backlog, &connections->backlogs, bytes, length)) {
        connection_abort_for_memory(connections, connection);
        return;
    }
    if (!list_linked(&channel->heard_link))
        list_push_back(&connections->heard, &channel->heard_link);
    connection_regulate(connections, connection, false);
}

void connections_handshake(struct connections *connections)
{
    struct list_link *link = list_first(&connections->heard);
    struct connection *connection;
    struct backlog heard;
    bool input_ended;

    if (!link)
        return;
    list_remove(link);
    connection = CONTAINER_OF(link, struct channel, heard_link)->connection;
    heard = connection->backlog;
    connection->backlog = (struct backlog){0};
    input_ended = connection->input_ended; /* that is behind what was heard */
    connection->input_ended = false;
    unseal(connections, connection, backlog_bytes(&heard), backlog_length(&heard));
    backlog_clear(&heard, &connections->backlogs);
    if (input_ended)
        connection_end_input(connections, connection);
    else
        connection_regulate(connections, connection, connection->want == SESSION_WANT_INPUT);
    connection_judge_overdue(connections, connection);
    connection_add_work(connections, connection);
}
