/*
 * What a connection sends: the replies of a whole turn at once and, as a rule, silently: there is
 * a completion only where the socket did not take all.
 */
#include <errno.h>
#include <poll.h>

#include "os/sockets.h"
#include "server/connection.h"

/* Whether something waits for the output to become shorter. */
static bool has_use_for_room(const struct connection *connection)
{
    return connection->want == SESSION_WANT_ROOM || connection->state != CONNECTION_OPEN;
}

/* Whether there is more to be sent than `length` bytes. */
static bool is_left(struct connection *connection, uint32_t length)
{
    return connection_wire(connection)->length > length ||
           (connection->channel && connection->output.length > 0);
}

void connection_flush(struct connections *connections, struct connection *connection)
{
    struct output *wire = connection_wire(connection);
    uint32_t length;
    const uint8_t *bytes;

    if (connection->sending || connection->sending_now)
        return;
    if (connection->channel && !channel_seal(connection->channel, &connection->output)) {
        connection_abort(connections, connection);
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
                  connection_tag(connection, REQUEST_SEND_NOW));
}

/* `length` bytes are with the kernel: goes on with what is left, and what waited for room. */
static void sent(struct connections *connections, struct connection *connection, uint32_t length)
{
    output_consume(connection_wire(connection), &connections->output_pool, length);
    if (is_left(connection, 0) || has_use_for_room(connection))
        connection_add_work(connections, connection);
}

/* The socket did not take all at once: the rest is sent when it has room. */
void connection_sent_in_part(struct connections *connections, struct connection *connection,
                             const struct completion *completion)
{
    uint32_t length;
    const uint8_t *bytes;

    list_remove(&connection->sent_link);
    connection->sending_now = false;
    if (completion->result < 0 && completion->result != -EAGAIN) {
        connection_abort(connections, connection);
        return;
    }
    if (completion->result > 0)
        sent(connections, connection, (uint32_t)completion->result);
    bytes = output_peek(connection_wire(connection), &length);
    if (!bytes || connection->state == CONNECTION_GONE) {
        connection_add_work(connections, connection);
        return;
    }
    connection->sending = true;
    timeout_start(&connections->writes, &connection->write, connections->host.now_ns);
    ring_send(connections->ring, connection->descriptor, bytes, length,
              connection_tag(connection, REQUEST_SEND));
}

void connection_sent_at_last(struct connections *connections, struct connection *connection,
                             const struct completion *completion)
{
    connection->sending = false;
    timeout_stop(&connection->write);
    if (completion->result > 0)
        sent(connections, connection, (uint32_t)completion->result);
    else
        connection_abort(connections, connection);
}

void connection_write_timed_out(struct connections *connections, struct connection *connection)
{
    if (sockets_ready(connection->descriptor, POLLOUT))
        return;
    connection_report(connections, connection, LOG_EVENT_REPLIES_NOT_READ, NULL);
    connection_abort(connections, connection);
}

void connections_settle(struct connections *connections)
{
    struct list_link *link;

    /* Until they are settled, nobody may sleep: what their connections have to do next waits. */
    connections->hurry = !ring_settled(connections->ring);
    if (connections->hurry)
        return;
    while ((link = list_first(&connections->sent))) {
        struct connection *connection = CONTAINER_OF(link, struct connection, sent_link);

        list_remove(link);
        connection->sending_now = false;
        sent(connections, connection, connection->sent_length);
    }
}
