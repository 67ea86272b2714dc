#include "server/connections.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "os/sockets.h"
#include "server/connection.h"
#include "server/log.h"

enum {
    AUTH_DELAY_MS = 100,
    WALK_RETRY_MS = 10,
    LINGER_MS = 2000, /* for the peer to end its side after we ended ours */
    EFFECTS_BATCH = 64
};

/* ---- log ---- */

/*
 * Addresses are kept only with --debug: the last debug line of a connection comes when the kernel
 * may not know its address any more. Returns NULL if the address is not kept.
 */
static const char *connection_address(const struct connections *connections,
                                      const struct connection *connection)
{
    if (connection->slot >= segments_capacity(&connections->addresses))
        return NULL;
    return segments_at(&connections->addresses, connection->slot);
}

static void connection_keep_address(struct connections *connections,
                                    const struct connection *connection)
{
    if (log_enabled(LOG_DEBUG) && segments_reserve(&connections->addresses, connection->slot + 1))
        sockets_describe_peer(connection->descriptor,
                              segments_at(&connections->addresses, connection->slot));
}

void connection_log(const struct connections *connections, const struct connection *connection,
                    const char *message)
{
    const char *address;
    char number[24];

    if (!log_enabled(LOG_DEBUG))
        return;
    snprintf(number, sizeof(number), "%llu",
             (unsigned long long)connection_id_number(connection->session.connection_id));
    address = connection_address(connections, connection);
    log_line(LOG_DEBUG, message, "addr", address ? address : "unknown", "conn", number, NULL);
}

void connection_report(const struct connections *connections, const struct connection *connection,
                       enum log_event event, const char *reason)
{
    const struct log_peer peer = {
        .descriptor = connection->descriptor,
        .address = connection_address(connections, connection),
        .connection = connection_id_number(connection->session.connection_id),
    };

    log_event_of_peer(event, connections->host.now_ns, &peer, reason);
}

/* ---- a turn ---- */

void connections_completion(struct connections *connections, const struct completion *completion)
{
    struct connection *connection =
        (struct connection *)(uintptr_t)(completion->tag & ~(uint64_t)REQUEST_MASK);

    switch (completion->tag & REQUEST_MASK) {
    case REQUEST_RECEIVE:
        connection_received(connections, connection, completion);
        break;
    case REQUEST_SEND:
        connection_sent_at_last(connections, connection, completion);
        break;
    case REQUEST_SEND_NOW:
        connection_sent_in_part(connections, connection, completion);
        break;
    case REQUEST_WATCH:
        connection_watched(connections, connection, completion);
        break;
    case REQUEST_COUNT:
        connection = slots_at(&connections->slots, connection_count_slot(completion->tag));
        if (connection)
            connection_counted(connections, connection, completion->result);
        break;
    default:
        assert(false); /* nothing else is asked for */
    }
}

void connections_expect(uint64_t tag)
{
    const char *connection = (const char *)(uintptr_t)tag;

    if (tag < CONNECTIONS_TAG_MIN)
        return;
    for (size_t at = 0; at < sizeof(struct connection); at += CACHE_LINE_BYTES)
        __builtin_prefetch(connection + at, 1);
}

/*
 * What the client held is gone: where nothing else has happened, its idle time begins. While the
 * server drains, the connection may have to go.
 */
static void idle(struct connections *connections, struct connection *connection)
{
    if (connection->want == SESSION_WANT_INPUT && !timeout_runs(&connection->pace) &&
        !session_watch(&connection->session, &connections->host))
        timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    if (connections->dismissing)
        connection_add_work(connections, connection);
}

static void effect(struct connections *connections, const struct stripes_effect *effect)
{
    struct connection *connection =
        slots_at(&connections->slots, connection_id_slot(effect->connection_id));

    if (!connection || connection->session.connection_id != effect->connection_id ||
        connection->state != CONNECTION_OPEN)
        return;
    if (effect->answer.outcome == LOCK_IDLE) {
        idle(connections, connection);
        return;
    }
    session_effect(&connection->session, &connections->host, &effect->answer, &connection->output);
    connection_serve(connections, connection);
    connection_add_work(connections, connection);
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
    slots_reuse(&connections->slots);
}

/*
 * While the server drains: closes the connection if nothing keeps it any more. What the peer sent
 * before is answered first, also if it was not received yet. That is a completion which an
 * overflowing ring does not show yet, or input that is in the socket: both come in a later turn.
 */
static void connections_dismiss_one(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    if (connection_unsent(connection) > 0)
        connection->answered = true;
    if (!connections->dismissing)
        return;
    if (connection_handshakes(connection)) {
        connection_abort(connections, connection);
    } else if (!ring_settled(connections->ring)) {
        connection_add_work(connections, connection);
    } else if (connection->want == SESSION_WANT_INPUT &&
               !session_watch(&connection->session, &connections->host) &&
               !sockets_unread(connection->descriptor)) {
        connection->unanswered = !connection->answered;
        connection_close(connections, connection);
    }
}

static void work(struct connections *connections, struct connection *connection)
{
    if (connection->state == CONNECTION_OPEN &&
        (connection->want == SESSION_WANT_TURN ||
         (connection->want == SESSION_WANT_ROOM &&
          connection->output.length < SESSION_OUTPUT_MAX / 2)))
        connection_serve(connections, connection);
    if (connections->host.draining)
        connections_dismiss_one(connections, connection);
    if (connection->output.failed || connection_wire(connection)->failed)
        connection_abort_for_memory(connections, connection);
    if (connection->state != CONNECTION_GONE) {
        connection_flush(connections, connection);
        connection_receive(connections, connection);
    }
    if (connection->state != CONNECTION_OPEN)
        connection_go_on_closing(connections, connection);
}

bool connections_work(struct connections *connections)
{
    struct list_link *last;
    struct list_link *link;

    connections_handshake(connections);
    last = connections->work.head.previous;
    while ((link = list_first(&connections->work))) {
        list_remove(link);
        work(connections, CONTAINER_OF(link, struct connection, work_link));
        if (link == last)
            break;
    }
    connections_receive_starved(connections);
    return connections->hurry || !list_empty(&connections->work) ||
           !list_empty(&connections->starved) || !list_empty(&connections->denied) ||
           !list_empty(&connections->heard);
}

/* ---- time ---- */

/* Buffers are short: those whose peers do not read go, who waited longest first. */
static void make_room(struct connections *connections)
{
    size_t excess = budget_excess(connections->buffers);
    struct list_link *link;

    while (excess > 0 && (link = list_first(&connections->writes.list))) {
        struct timeout *timeout = CONTAINER_OF(link, struct timeout, link);
        struct connection *connection = CONTAINER_OF(timeout, struct connection, write);
        size_t kept = connection_unsent(connection);

        excess -= kept < excess ? kept : excess;
        connection_close_for_room(connections, connection);
    }
}

void connections_expire(struct connections *connections)
{
    uint64_t now_ns = connections->host.now_ns;
    struct timeout *timeout;

    if (budget_tight(connections->buffers))
        make_room(connections);
    if (connections->hurry)
        return; /* unprocessed completions may bring input or make room */
    while ((timeout = timeouts_take(&connections->reads, now_ns)))
        connection_read_timed_out(connections, CONTAINER_OF(timeout, struct connection, pace));
    while ((timeout = timeouts_take(&connections->writes, now_ns)))
        connection_write_timed_out(connections, CONTAINER_OF(timeout, struct connection, write));
    while ((timeout = timeouts_take(&connections->walk_retries, now_ns)))
        connection_serve(connections, CONTAINER_OF(timeout, struct connection, pace));
    while ((timeout = timeouts_take(&connections->auth_delays, now_ns)))
        connection_add_work(connections, CONTAINER_OF(timeout, struct connection, pace));
    while ((timeout = timeouts_take(&connections->lingers, now_ns)))
        connection_abort(connections, CONTAINER_OF(timeout, struct connection, pace));
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t connections_deadline(const struct connections *connections)
{
    uint64_t deadline_ns = timeouts_deadline(&connections->reads);

    deadline_ns = least(deadline_ns, timeouts_deadline(&connections->writes));
    deadline_ns = least(deadline_ns, timeouts_deadline(&connections->walk_retries));
    deadline_ns = least(deadline_ns, timeouts_deadline(&connections->auth_delays));
    return least(deadline_ns, timeouts_deadline(&connections->lingers));
}

/* ---- all of them ---- */

bool connections_open(struct connections *connections, int descriptor, uint32_t peer)
{
    uint32_t slot = slots_take(&connections->slots);
    struct connection *connection = slot == SLOT_NONE ? NULL : pool_take(&connections->pool);
    uint64_t number;

    if (connection) {
        memset(connection, 0, sizeof(*connection));
        if (connections->tls && !connection_start_tls(connections, connection)) {
            pool_give(&connections->pool, connection);
            connection = NULL;
        }
    }
    if (!connection) {
        if (slot != SLOT_NONE)
            slots_retire(&connections->slots, slot);
        return false;
    }
    number = atomic_fetch_add_explicit(connections->numbers, 1, memory_order_relaxed) + 1;
    connection->descriptor = descriptor;
    connection->peer = peer;
    connection->slot = slot;
    slots_set(&connections->slots, slot, connection);
    session_start(&connection->session, &connections->host,
                  connection_id_make(number, connections->worker, slot));
    timeout_start(&connections->reads, &connection->pace, connections->host.now_ns);
    connection_add_work(connections, connection);
    connection_keep_address(connections, connection);
    connection_log(connections, connection, "connection accepted");
    return true;
}

static void for_each(struct connections *connections,
                     void (*act)(struct connections *, struct connection *))
{
    for (uint32_t slot = 0; slot < connections->slots.count; slot++) {
        struct connection *connection = slots_at(&connections->slots, slot);

        if (connection)
            act(connections, connection);
    }
}

static void drain(struct connections *connections, struct connection *connection)
{
    if (connection->state != CONNECTION_OPEN)
        return;
    if (session_drain(&connection->session, &connections->host, &connection->output))
        connection_serve(connections, connection);
    connection_add_work(connections, connection);
}

void connections_drain(struct connections *connections)
{
    connections->host.draining = true;
    for_each(connections, drain);
}

void connections_dismiss(struct connections *connections)
{
    connections->dismissing = true;
    for_each(connections, connection_add_work);
}

void connections_abort(struct connections *connections)
{
    for_each(connections, connection_abort);
}

void connections_lose(struct connections *connections)
{
    for_each(connections, connection_lose);
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
    connections->buffer_count = options->buffer_count;
    connections->host = options->host;
    connections->mailbox = stripes_mailbox(options->host.stripes, options->worker);
    connections->tls = options->tls;
    connections->worker = options->worker;
    connections->numbers = options->numbers;
    connections->open = options->open;
    connections->ip_limits = options->ip_limits;
    pool_init(&connections->pool, &connections->memory, sizeof(struct connection));
    output_pool_init(&connections->output_pool, &connections->buffers->memory);
    pool_init(&connections->channel_pool, &connections->memory, sizeof(struct channel));
    list_init(&connections->handshaking);
    list_init(&connections->heard);
    connections->host.output_pool = &connections->output_pool;
    backlog_source_init(&connections->backlogs, connections->buffers);
    slots_init(&connections->slots, &connections->memory, connections->mailbox);
    segments_init(&connections->addresses, &connections->memory, SOCKETS_PEER_TEXT_MAX);
    list_init(&connections->work);
    list_init(&connections->starved);
    list_init(&connections->denied);
    list_init(&connections->sent);
    timeouts_init(&connections->reads, options->read_timeout_ns);
    timeouts_init(&connections->writes, options->write_timeout_ns);
    timeouts_init(&connections->walk_retries, (uint64_t)WALK_RETRY_MS * NS_PER_MS);
    timeouts_init(&connections->auth_delays, (uint64_t)AUTH_DELAY_MS * NS_PER_MS);
    timeouts_init(&connections->lingers, (uint64_t)LINGER_MS * NS_PER_MS);
}

void connections_free(struct connections *connections)
{
    assert(connections->pool.count == 0);
    pool_free(&connections->pool);
    pool_free(&connections->output_pool);
    pool_free(&connections->channel_pool);
    backlog_source_free(&connections->backlogs);
    slots_free(&connections->slots);
    segments_free(&connections->addresses);
}
