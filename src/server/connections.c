#include "server/connections.h"

#include <assert.h>
#include <string.h>

#include "base/time_units.h"

enum {
    CONNECTIONS_AUTH_DELAY_MS = 100, /* before the close after a wrong secret */
    CONNECTIONS_WALK_RETRY_MS = 10,
    CONNECTIONS_LINGER_MS = 2000, /* for the peer to end its side after the server ended its own */
    CONNECTIONS_EFFECTS_BATCH = 32,
    CONNECTIONS_AHEAD = 4,  /* completions: how early their connections are prefetched */
    CONNECTIONS_SLICE = 128 /* steps of LATER before replies and wake-ups leave */
};

/* ---- input ---- */

/* Processes a completion of a connection's request. */
static void connections_complete(struct connections *connections,
                                 const struct completion *completion)
{
    struct connection_context *context = &connections->context;
    uint64_t address = completion->tag & ~(uint64_t)TRANSPORT_REQUEST_MASK;
    struct connection *connection = connection_of((struct transport *)(uintptr_t)address);

    switch (completion->tag & TRANSPORT_REQUEST_MASK) {
    case TRANSPORT_RECEIVE:
        connection_received(context, connection, completion);
        break;
    case TRANSPORT_SEND:
        connection_sent(context, connection, completion);
        break;
    case TRANSPORT_WATCH:
        connection_watched(context, connection, completion);
        break;
    case TRANSPORT_COUNT:
        connection = slots_at(&connections->slots, transport_count_slot(completion->tag));
        if (connection)
            connection_counted(context, connection, completion->result);
        break;
    default:
        assert(false); /* there are no other requests */
    }
}

/* Prefetches the connection of a completion that comes soon. Any tag is fine. */
static void connections_expect(uint64_t tag)
{
    const char *connection = (const char *)(uintptr_t)tag;

    if (tag < CONNECTIONS_TAG_MIN)
        return;
    for (size_t at = 0; at < sizeof(struct connection); at += CACHE_LINE_BYTES)
        __builtin_prefetch(connection + at, 1);
}

/* All completions of the turn are processed: silent sends are done, if the ring is settled. */
static void connections_settle(struct connections *connections)
{
    struct transports *transports = &connections->context.transports;
    struct transport *transport;

    transports->must_not_sleep = !ring_settled(transports->ring);
    if (transports->must_not_sleep)
        return;
    while ((transport = transports_next_sent(transports)))
        connection_sent_silently(&connections->context, connection_of(transport));
}

static void connections_complete_all(struct connections *connections,
                                     const struct connections_hooks *hooks)
{
    struct ring *ring = connections->context.transports.ring;
    struct completion completion;

    turn_enter(&connections->context.turn, TURN_INPUT);
    while (ring_next(ring, &completion)) {
        connections_expect(ring_ahead(ring, CONNECTIONS_AHEAD));
        if (completion.tag < CONNECTIONS_TAG_MIN) {
            hooks->complete(hooks->context, &completion);
            continue;
        }
        connections_complete(connections, &completion);
        if (completion.bytes)
            ring_return_buffer(ring, completion.buffer);
    }
    connections_settle(connections);
}

/* ---- effects ---- */

static void connections_effect(struct connections *connections, const struct stripes_effect *effect)
{
    struct connection *connection =
        slots_at(&connections->slots, connection_id_slot(effect->connection_id));

    turn_set_aside(&connections->context.turn, TURN_SYSTEM_CALL); /* for the send of the reply */
    if (connection && connection->session.claims.connection_id == effect->connection_id)
        connection_effect(&connections->context, connection, &effect->answer);
}

/*
 * Processes the effects that are in the mailbox now. Returns true if it is not empty then: a post
 * to a mailbox that is not empty wakes nobody, and may come after the count.
 */
static bool connections_effects(struct connections *connections)
{
    struct turn *turn = &connections->context.turn;
    struct stripes_effect effects[CONNECTIONS_EFFECTS_BATCH];
    uint32_t due = mailbox_count(connections->mailbox);
    uint32_t left = due;

    turn_enter(turn, TURN_EFFECTS);
    while (left > 0 && !turn_is_over(turn)) {
        uint32_t most = left < CONNECTIONS_EFFECTS_BATCH ? left : CONNECTIONS_EFFECTS_BATCH;

        mailbox_take(connections->mailbox, effects, most);
        for (uint32_t i = 0; i < most; i++)
            connections_effect(connections, &effects[i]);
        left -= most;
    }
    slots_reuse(&connections->slots, due - left, left);
    return due > 0 && mailbox_count(connections->mailbox) > 0;
}

/* ---- advancing ---- */

/* Advances the first connection of `list`, and returns it to the pool if it is over. */
static void connections_advance(struct connections *connections, struct list *list)
{
    struct connection_context *context = &connections->context;
    struct connection *connection = CONTAINER_OF(list_first(list), struct connection, work_link);

    connection_unqueue(context, connection);
    if (connection_advance(context, connection))
        return;
    slots_retire(&connections->slots, connection_id_slot(connection->session.claims.connection_id));
    pool_give(&connections->pool, connection);
}

/* Advances the connections with new input or an effect. */
static void connections_advance_first(struct connections *connections)
{
    struct connection_context *context = &connections->context;

    turn_enter(&context->turn, TURN_FIRST);
    while (!list_empty(&context->first) && !turn_is_over(&context->turn))
        connections_advance(connections, &context->first);
}

/* Queues all connections, some in each turn, so that connection_advance sees the new state. */
static void connections_sweep(struct connections *connections)
{
    struct connection_context *context = &connections->context;

    while (connections->swept < connections->slots.count && !turn_is_over(&context->turn)) {
        struct connection *connection = slots_at(&connections->slots, connections->swept++);

        if (connection)
            connection_queue_later(context, connection);
        turn_spend(&context->turn, 1);
    }
}

static void connections_begin_later(struct connections *connections)
{
    struct connection_context *context = &connections->context;

    turn_enter(&context->turn, TURN_LATER);
    connections_sweep(connections);
    turn_divide(&context->turn, context->later_count);
    connections->round = context->later_count;
}

/*
 * Advances some of the other connections. Returns true if others follow in this turn: the caller
 * flushes, then calls again.
 */
static bool connections_advance_later(struct connections *connections)
{
    struct connection_context *context = &connections->context;
    int32_t end = context->turn.left - CONNECTIONS_SLICE;

    while (connections->round > 0 && !turn_is_over(&context->turn)) {
        if (context->turn.left <= end)
            return true;
        connections->round--;
        connections_advance(connections, &context->later);
    }
    return false;
}

static bool connections_handshake_pending(const struct connections *connections)
{
    return !list_empty(&connections->context.transports.pending_handshakes);
}

/*
 * Does one step of one handshake: however many there are, requests wait for one step at most. It
 * may take as long as a thousand requests.
 */
static void connections_continue_handshake(struct connections *connections)
{
    struct connection_context *context = &connections->context;
    struct transport *transport;

    while ((transport = transports_next_handshake(&context->transports))) {
        if (connection_continue_handshake(context, connection_of(transport)))
            return;
    }
}

/*
 * Starts a receive for each receive buffer at most; more would end at once, for nothing. Those that
 * were denied a buffer in their turn have waited longest.
 */
static void connections_receive_starved(struct connections *connections)
{
    struct connection_context *context = &connections->context;

    for (uint32_t i = 0; i < connections->buffer_count; i++) {
        struct list_link *link = list_first(&context->denied);
        struct connection *connection;

        if (!link)
            link = list_first(&context->starved);
        if (!link)
            return;
        connection = CONTAINER_OF(link, struct connection, work_link);
        connection_unqueue(context, connection);
        if (transport_can_receive(&connection->transport))
            transport_receive(&context->transports, &connection->transport);
    }
}

static void connections_advance_all(struct connections *connections,
                                    const struct connections_hooks *hooks)
{
    connections_advance_first(connections);
    connections_begin_later(connections);
    while (connections_advance_later(connections))
        hooks->flush(hooks->context);
    if (connections_handshake_pending(connections)) {
        hooks->flush(hooks->context);
        connections_continue_handshake(connections);
    }
}

/* Returns true if connections have work for the next turn. */
static bool connections_has_work(const struct connections *connections)
{
    const struct connection_context *context = &connections->context;

    return connections->evicting || context->transports.must_not_sleep ||
           !list_empty(&context->first) || !list_empty(&context->later) ||
           connections->swept < connections->slots.count || !list_empty(&context->starved) ||
           !list_empty(&context->denied) || connections_handshake_pending(connections);
}

/* ---- time ---- */

/* Returns the next timeout that has expired, or NULL: none has, or the turn has no step for it. */
static struct timeout *connections_take_timeout(struct connection_context *context,
                                                struct timeouts *timeouts)
{
    struct timeout *timeout = NULL;

    if (!turn_is_over(&context->turn))
        timeout = timeouts_take(timeouts, context->session.now_ns);
    if (timeout)
        turn_spend(&context->turn, TURN_SYSTEM_CALL);
    return timeout;
}

/* The same, for timeouts of the next step of a connection. */
static struct connection *connections_take_next_step(struct connection_context *context,
                                                     struct timeouts *timeouts)
{
    struct timeout *timeout = connections_take_timeout(context, timeouts);

    return timeout ? CONTAINER_OF(timeout, struct connection, next_step) : NULL;
}

static void connections_expire_leases(struct connections *connections)
{
    struct connection_context *context = &connections->context;
    uint32_t steps;

    turn_enter(&context->turn, TURN_EXPIRIES);
    steps = (uint32_t)context->turn.left;
    turn_spend(&context->turn, steps);
    stripes_expire(context->session.stripes, context->session.now_ns, connections->worker, &steps,
                   &context->session.wake);
    turn_return(&context->turn, steps);
}

/* Processes expired timeouts, and makes room if buffers are short. */
static void connections_expire(struct connections *connections)
{
    struct connection_context *context = &connections->context;
    struct timeout *timeout;
    struct connection *connection;

    turn_enter(&context->turn, TURN_TIMEOUTS);
    connections->evicting = evictor_turn(&connections->evictor, context, &connections->slots,
                                         connections->other_workers);
    if (context->transports.must_not_sleep)
        return; /* unprocessed completions may bring input or make room */
    while ((connection = connections_take_next_step(context, &context->lingers)))
        connection_abort(context, connection);
    while ((connection = connections_take_next_step(context, &context->auth_delays)))
        connection_queue_later(context, connection);
    while ((connection = connections_take_next_step(context, &context->walk_retries)))
        connection_retry_walk(context, connection);
    while ((timeout = connections_take_timeout(context, &context->transports.writes)))
        connection_write_timed_out(context,
                                   connection_of(CONTAINER_OF(timeout, struct transport, write)));
    while ((timeout = connections_take_timeout(context, &context->reads)))
        connection_read_timed_out(context, CONTAINER_OF(timeout, struct connection, read));
}

static uint64_t connections_earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

uint64_t connections_deadline(const struct connections *connections)
{
    const struct connection_context *context = &connections->context;
    uint64_t deadline_ns = timeouts_deadline(&context->reads);

    deadline_ns = connections_earlier(deadline_ns, timeouts_deadline(&context->transports.writes));
    deadline_ns = connections_earlier(
        deadline_ns, evictor_deadline(&connections->evictor, context->session.buffers));
    deadline_ns = connections_earlier(deadline_ns, timeouts_deadline(&context->walk_retries));
    deadline_ns = connections_earlier(deadline_ns, timeouts_deadline(&context->auth_delays));
    return connections_earlier(deadline_ns, timeouts_deadline(&context->lingers));
}

/* ---- a turn ---- */

bool connections_turn(struct connections *connections, const struct connections_hooks *hooks)
{
    uint64_t *wake = &connections->context.session.wake;
    uint64_t own = 1ull << connections->worker;
    bool busy;

    connections_expire_leases(connections);
    connections_complete_all(connections, hooks);
    *wake &= ~own;
    busy = connections_effects(connections);
    connections_expire(connections);
    hooks->expire(hooks->context);
    connections_advance_all(connections, hooks);
    connections_receive_starved(connections);
    return busy || connections_has_work(connections) || (*wake & own);
}

/* ---- the set ---- */

static struct connection *connections_allocate(struct connections *connections, int descriptor)
{
    struct connection *connection = pool_take(&connections->pool);

    if (!connection)
        return NULL;
    memset(connection, 0, sizeof(*connection));
    if (transport_open(&connections->context.transports, &connection->transport, descriptor))
        return connection;
    pool_give(&connections->pool, connection);
    return NULL;
}

bool connections_open(struct connections *connections, int descriptor, uint32_t ip_limit)
{
    struct connection_context *context = &connections->context;
    uint32_t slot = slots_take(&connections->slots);
    struct connection *connection;
    struct transport *excess;
    uint64_t number;
    uint64_t id;

    if (slot == SLOT_NONE)
        return false;
    number = atomic_fetch_add_explicit(connections->next_id, 1, memory_order_relaxed) + 1;
    id = connection_id_make(number, connections->worker, slot);
    connection = peers_add(context->session.peers, id, descriptor)
                     ? connections_allocate(connections, descriptor)
                     : NULL;
    if (!connection) {
        peers_remove(context->session.peers, id);
        slots_retire(&connections->slots, slot);
        return false;
    }
    excess = transports_excess_handshake(&context->transports);
    if (excess)
        connection_abort_handshake(context, connection_of(excess));
    slots_set(&connections->slots, slot, connection);
    connection_start(context, connection, id, ip_limit);
    return true;
}

void connections_drain(struct connections *connections)
{
    struct session_context *session = &connections->context.session;

    /* Else each waiter that the drain removes from the head of a queue would hand over. */
    stripes_stop_granting(session->stripes, session->now_ns, &session->wake);
    session->draining = true;
    connections->swept = 0;
}

void connections_dismiss(struct connections *connections)
{
    connections->context.dismissing = true;
    connections->swept = 0;
}

uint64_t connections_count_holders(const struct connections *connections)
{
    uint64_t count = 0;

    for (uint32_t slot = 0; slot < connections->slots.count; slot++) {
        const struct connection *connection = slots_at(&connections->slots, slot);

        count +=
            connection && claims_hold(&connection->session.claims, &connections->context.session);
    }
    return count;
}

void connections_abort(struct connections *connections)
{
    connections->context.aborting = true;
    connections->swept = 0;
}

void connections_lose(struct connections *connections)
{
    for (uint32_t slot = 0; slot < connections->slots.count; slot++) {
        struct connection *connection = slots_at(&connections->slots, slot);

        if (connection)
            connection_lose(&connections->context, connection);
    }
}

uint64_t connections_count(const struct connections *connections)
{
    return connections->pool.count;
}

static void connections_init_context(struct connection_context *context,
                                     const struct connections_options *options,
                                     const struct memory *memory)
{
    context->session = options->session;
    context->session.output_pool = &context->transports.output_pool;
    context->session.buffers = options->buffers;
    context->open = options->open;
    context->ip_limits = options->ip_limits;
    backlog_source_init(&context->backlogs, options->buffers);
    transports_init(&context->transports, memory, options->buffers, &context->backlogs,
                    options->ring, options->tls, options->write_timeout_ns);
    segments_init(&context->addresses, memory, SOCKETS_PEER_TEXT_MAX);
    list_init(&context->first);
    list_init(&context->later);
    list_init(&context->starved);
    list_init(&context->denied);
    timeouts_init(&context->reads, options->read_timeout_ns);
    timeouts_init(&context->walk_retries, CONNECTIONS_WALK_RETRY_MS * NS_PER_MS);
    timeouts_init(&context->auth_delays, CONNECTIONS_AUTH_DELAY_MS * NS_PER_MS);
    timeouts_init(&context->lingers, CONNECTIONS_LINGER_MS * NS_PER_MS);
}

void connections_init(struct connections *connections, const struct connections_options *options)
{
    memset(connections, 0, sizeof(*connections));
    connections->memory = options->memory;
    connections->mailbox = stripes_mailbox(options->session.stripes, options->worker);
    connections->next_id = options->next_id;
    connections->worker = options->worker;
    connections->other_workers = UINT64_MAX >> (64 - options->workers) & ~(1ull << options->worker);
    connections->buffer_count = options->buffer_count;
    connections->swept = UINT32_MAX;
    connections_init_context(&connections->context, options, &connections->memory);
    pool_init(&connections->pool, &connections->memory, sizeof(struct connection));
    slots_init(&connections->slots, &connections->memory, connections->mailbox);
}

void connections_free(struct connections *connections)
{
    struct connection_context *context = &connections->context;

    assert(connections->pool.count == 0);
    pool_free(&connections->pool);
    transports_free(&context->transports);
    backlog_source_free(&context->backlogs);
    slots_free(&connections->slots);
    segments_free(&context->addresses);
}
