#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "os/mailbox.h"
#include "server/connection.h"
#include "server/peers.h"
#include "server/slots.h"
#include "steps.h"
#include "wire/request.h"

enum {
    WORKERS = 4,
    SLOTS = 1 << 16
};

/* The effects of one worker's mailbox, which must come out in this order. */
struct effects {
    struct stripes_effect *posted;
    size_t first;
    size_t end;
    size_t room;
    uint32_t pending[SLOTS]; /* effects for each slot */
};

static struct steps steps;
static struct effects *effects; /* of each worker */

struct request_frame counted_request_read(const uint8_t *bytes, size_t length,
                                          struct request *request);
bool counted_table_disconnect(struct table *table, uint64_t now_ns, uint64_t connection_id,
                              bool pending, uint32_t *left);
bool counted_table_leave_queues(struct table *table, uint64_t now_ns, uint64_t connection_id,
                                uint32_t *left);
bool counted_table_expire(struct table *table, uint64_t now_ns, uint32_t *left);
uint64_t counted_table_walk(struct table *table, uint64_t now_ns, struct lock_walk walk,
                            uint64_t position,
                            void (*show)(void *context, const struct lock_view *view),
                            void *context);
bool counted_mailbox_post(struct mailbox *mailbox, const void *message);
uint32_t counted_mailbox_take(struct mailbox *mailbox, void *messages, uint32_t most);
void *counted_slots_at(const struct slots *slots, uint32_t slot);
bool counted_connection_advance(struct connection_context *context, struct connection *connection);
void counted_connection_start(struct connection_context *context, struct connection *connection,
                              uint64_t connection_id, uint32_t ip_limit);
void counted_peers_describe(struct peers *peers, uint64_t connection_id,
                            struct peer_description *peer);

void steps_start(void)
{
    steps = (struct steps){0};
    effects = calloc(WORKERS, sizeof(*effects));
    assert(effects);
}

void steps_stop(void)
{
    for (int i = 0; i < WORKERS; i++)
        free(effects[i].posted);
    free(effects);
}

const struct steps *steps_count(void)
{
    return &steps;
}

bool steps_effects_taken(void)
{
    for (int i = 0; i < WORKERS; i++) {
        if (effects[i].first < effects[i].end)
            return false;
    }
    return true;
}

/* ---- sessions ---- */

struct request_frame counted_request_read(const uint8_t *bytes, size_t length,
                                          struct request *request)
{
    struct request_frame frame = request_read(bytes, length, request);

    steps.requests += frame.framing != REQUEST_PARTIAL;
    return frame;
}

/* ---- tables ---- */

/* Counts what has left the table since `claims` and `enqueued` were read. */
static void count_claims(const struct table *table, uint64_t claims, uint64_t enqueued)
{
    uint64_t ended = claims - table->claim_count;
    uint64_t left = enqueued - table->enqueued.count;

    steps.claims += ended > left ? ended : left;
}

bool counted_table_disconnect(struct table *table, uint64_t now_ns, uint64_t connection_id,
                              bool pending, uint32_t *left)
{
    uint64_t claims = table->claim_count;
    uint64_t enqueued = table->enqueued.count;
    bool done = table_disconnect(table, now_ns, connection_id, pending, left);

    count_claims(table, claims, enqueued);
    return done;
}

bool counted_table_leave_queues(struct table *table, uint64_t now_ns, uint64_t connection_id,
                                uint32_t *left)
{
    uint64_t claims = table->claim_count;
    uint64_t enqueued = table->enqueued.count;
    bool done = table_leave_queues(table, now_ns, connection_id, left);

    count_claims(table, claims, enqueued);
    return done;
}

bool counted_table_expire(struct table *table, uint64_t now_ns, uint32_t *left)
{
    uint64_t deadlines = table->deadlines.count;
    uint64_t resources = table->resources.count;
    bool more = table_expire(table, now_ns, left);
    uint64_t ended = deadlines - table->deadlines.count;
    uint64_t removed = resources - table->resources.count;

    steps.expired += ended > removed ? ended : removed;
    return more;
}

/* A callback of the walk, and its context. */
struct shown {
    void (*show)(void *context, const struct lock_view *view);
    void *context;
};

static void count_view(void *context, const struct lock_view *view)
{
    const struct shown *shown = context;

    steps.views++;
    shown->show(shown->context, view);
}

uint64_t counted_table_walk(struct table *table, uint64_t now_ns, struct lock_walk walk,
                            uint64_t position,
                            void (*show)(void *context, const struct lock_view *view),
                            void *context)
{
    struct shown shown = {show, context};

    return table_walk(table, now_ns, walk, position, count_view, &shown);
}

void counted_peers_describe(struct peers *peers, uint64_t connection_id,
                            struct peer_description *peer)
{
    steps.shown++;
    peers_describe(peers, connection_id, peer);
}

/* ---- effects ---- */

bool counted_mailbox_post(struct mailbox *mailbox, const void *message)
{
    const struct stripes_effect *effect = message;
    struct effects *to = &effects[connection_id_worker(effect->connection_id)];

    if (to->end == to->room) {
        to->room = to->room ? to->room * 2 : 1024;
        to->posted = realloc(to->posted, to->room * sizeof(*to->posted));
        assert(to->posted);
    }
    to->posted[to->end++] = *effect;
    to->pending[connection_id_slot(effect->connection_id)]++;
    return mailbox_post(mailbox, message);
}

static void (*interrupting)(void *context);
static void *interrupting_context;

void steps_interrupt_take(void (*post)(void *context), void *context)
{
    interrupting = post;
    interrupting_context = context;
}

uint32_t counted_mailbox_take(struct mailbox *mailbox, void *messages, uint32_t most)
{
    const struct stripes_effect *taken = messages;
    void (*post)(void *context) = interrupting;
    uint32_t count;

    interrupting = NULL;
    if (post)
        post(interrupting_context);
    count = mailbox_take(mailbox, messages, most);
    for (uint32_t i = 0; i < count; i++) {
        struct effects *from = &effects[connection_id_worker(taken[i].connection_id)];

        assert(from->first < from->end);
        assert(from->posted[from->first].connection_id == taken[i].connection_id);
        assert(from->posted[from->first].answer.outcome == taken[i].answer.outcome);
        from->pending[connection_id_slot(taken[i].connection_id)]--;
        if (++from->first == from->end)
            from->first = from->end = 0;
    }
    steps.effects += count;
    return count;
}

/* ---- connections ---- */

void *counted_slots_at(const struct slots *slots, uint32_t slot)
{
    steps.slots++;
    return slots_at(slots, slot);
}

bool counted_connection_advance(struct connection_context *context, struct connection *connection)
{
    steps.advances++;
    return connection_advance(context, connection);
}

/* The slot must not have effects for its last connection. */
void counted_connection_start(struct connection_context *context, struct connection *connection,
                              uint64_t connection_id, uint32_t ip_limit)
{
    uint32_t slot = connection_id_slot(connection_id);

    assert(slot < SLOTS);
    assert(effects[connection_id_worker(connection_id)].pending[slot] == 0);
    connection_start(context, connection, connection_id, ip_limit);
}
