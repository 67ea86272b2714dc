#include "server/evictor.h"

#include "base/time_units.h"
#include "server/buffer_rules.h"

enum {
    EVICTOR_REST_MS = 100,
    EVICTOR_LATE_MS = 1000
};

static void evictor_begin(struct evictor *evictor, uint8_t lap)
{
    evictor->lap = lap;
    evictor->passed = 0;
}

/* Returns whether the connection must be closed in a lap over the slots. */
static bool evictor_must_close(enum evictor_lap lap, const struct connection_context *context,
                               const struct connection *connection)
{
    const struct session *session = &connection->session;
    const struct timeout *read = &connection->read;

    if (connection->state >= CONNECTION_ABORT_DUE || connection_kept_memory(connection) == 0)
        return false;
    switch (lap) {
    case EVICTOR_UNAUTHENTICATED:
        return !session->authenticated || transport_handshakes(&connection->transport);
    case EVICTOR_LEASELESS:
        return !claims_hold(&session->claims, &context->session);
    default:
        return connection->backlog.bytes && connection->want == SESSION_WANT_INPUT &&
               timeout_runs(read) &&
               context->session.now_ns - read->since_ns >= EVICTOR_LATE_MS * NS_PER_MS;
    }
}

/* Closes a connection. Returns how many of `lack` bytes are still to be freed. */
static size_t evictor_close(struct connection_context *context, struct connection *connection,
                            size_t lack)
{
    size_t kept = connection_kept_memory(connection);

    connection_abort_for_room(context, connection);
    return kept < lack ? lack - kept : 0;
}

static void evictor_close_unread(struct connection_context *context, size_t lack)
{
    struct list_link *link;

    while (lack > 0 && (link = list_first(&context->transports.writes.list))) {
        struct timeout *timeout = CONTAINER_OF(link, struct timeout, link);
        struct transport *transport = CONTAINER_OF(timeout, struct transport, write);

        lack = evictor_close(context, connection_of(transport), lack);
    }
}

/* Passes slots. Returns false at the end of the lap. */
static bool evictor_pass(struct evictor *evictor, struct connection_context *context,
                         const struct slots *slots, size_t lack)
{
    struct turn *turn = &context->turn;

    while (lack > 0 && !turn_is_over(turn) && evictor->passed < slots->count) {
        struct connection *connection;

        if (evictor->hand >= slots->count)
            evictor->hand = 0;
        connection = slots_at(slots, evictor->hand++);
        evictor->passed++;
        turn_spend(turn, 1);
        if (!connection)
            continue;
        turn_spend(turn, (uint32_t)__builtin_popcountll(connection->session.claims.stripes_used));
        if (evictor_must_close((enum evictor_lap)evictor->lap, context, connection))
            lack = evictor_close(context, connection, lack);
    }
    return evictor->passed < slots->count;
}

static void evictor_start(struct evictor *evictor, struct connection_context *context,
                          uint64_t workers)
{
    uint64_t now_ns = context->session.now_ns;

    if (!evictor->active && now_ns >= evictor->wake_after_ns) {
        context->session.wake |= workers;
        evictor->wake_after_ns = now_ns + EVICTOR_REST_MS * NS_PER_MS;
    }
    evictor->active = true;
    pool_trim(&context->transports.output_pool, 0);
    pool_trim(&context->backlogs.pool, 0);
    evictor_begin(evictor, EVICTOR_UNAUTHENTICATED);
}

bool evictor_turn(struct evictor *evictor, struct connection_context *context,
                  const struct slots *slots, uint64_t workers)
{
    const struct budget *buffers = context->session.buffers;
    uint64_t now_ns = context->session.now_ns;
    size_t kept = budget_reserve(buffers);
    size_t lack;

    if (budget_lack(buffers, kept) == 0) {
        evictor->active = false;
        return false;
    }
    if (!evictor->active || (evictor->lap == EVICTOR_LAPS && now_ns >= evictor->rest_until_ns))
        evictor_start(evictor, context, workers);
    if (evictor->lap == EVICTOR_LAPS)
        return false;
    if (evictor->lap == EVICTOR_LATE)
        kept = buffer_rules_half_reserve(buffers);
    lack = budget_lack(buffers, kept);
    if (evictor->lap == EVICTOR_UNREAD)
        evictor_close_unread(context, lack);
    else if (lack > 0 && evictor_pass(evictor, context, slots, lack))
        return true;
    evictor_begin(evictor, evictor->lap + 1);
    if (evictor->lap == EVICTOR_LAPS)
        evictor->rest_until_ns = now_ns + EVICTOR_REST_MS * NS_PER_MS;
    return true;
}

uint64_t evictor_deadline(const struct evictor *evictor, const struct budget *buffers)
{
    bool rests = evictor->active && evictor->lap == EVICTOR_LAPS;

    if (!rests || budget_lack(buffers, buffer_rules_half_reserve(buffers)) == 0)
        return UINT64_MAX;
    return evictor->rest_until_ns;
}
