#include "server/stats.h"

#include "server/connection_id.h"
#include "wire/reply.h"

enum {
    STATS_PIECE_BUCKETS = 64, /* shown at a time, with the mutex of a stripe held */
    STATS_BUCKET_STEPS = 4    /* the records of a key are rarely in the cache */
};

/* One piece of the reply. */
struct stats_piece {
    struct stats_walk *walk;
    struct output *output;
    struct pool *pool;
};

bool stats_start(struct stats_walk *walk, struct stripes *stripes, uint64_t connections,
                 struct output *output, struct pool *pool)
{
    uint8_t *to;

    walk->running = stripes_walk_begin(stripes, &walk->walk);
    if (!walk->running)
        return false;
    walk->section = REPLY_LOCKS;
    walk->stripe = 0;
    walk->position = 0;
    walk->section_empty = true;
    to = output_reserve(output, pool, REPLY_ENTRY_MAX);
    if (!to)
        return true;
    to = reply_stats_begin(to, connections);
    output_commit(output, reply_stats_section(to, REPLY_LOCKS));
    return true;
}

void stats_stop(struct stats_walk *walk, struct stripes *stripes)
{
    if (walk->running)
        stripes_walk_end(stripes, walk->walk);
    walk->running = false;
}

/* Uses the note of the first pass, so that a key that changes is listed once. */
static enum reply_section stats_section_of(const struct lock_view *view)
{
    if (view->limit == 1)
        return view->noted_idle ? REPLY_IDLE_LOCKS : REPLY_LOCKS;
    return view->noted_idle ? REPLY_IDLE_SEMAPHORES : REPLY_SEMAPHORES;
}

static void stats_write_entry(void *context, const struct lock_view *view)
{
    const struct stats_piece *piece = context;
    struct stats_walk *walk = piece->walk;
    struct reply_entry entry = {
        .key = view->key,
        .key_length = view->key_length,
        .owner = connection_id_number(view->owner),
        .lease_ns = view->lease_ns,
        .idle_ns = view->idle_ns,
        .limit = view->limit,
        .holders = view->holders,
        .waiters = view->waiters,
    };
    uint8_t *to;

    if (stats_section_of(view) != walk->section)
        return;
    to = output_reserve(piece->output, piece->pool, REPLY_ENTRY_MAX);
    if (!to)
        return;
    to = reply_stats_entry(to, (enum reply_section)walk->section, walk->section_empty, &entry);
    output_commit(piece->output, to);
    walk->section_empty = false;
}

/* Ends a section, and starts the next one or ends the reply. Returns true if the reply ends. */
static bool stats_end_section(struct stats_walk *walk, struct stripes *stripes,
                              struct output *output, struct pool *pool)
{
    uint8_t *to = output_reserve(output, pool, REPLY_ENTRY_MAX);

    if (!to)
        return false;
    to = reply_stats_section_end(to);
    walk->walk.first_pass = false;
    walk->section++;
    walk->stripe = 0;
    walk->section_empty = true;
    if (walk->section < REPLY_SECTIONS) {
        to = reply_stats_section(to, (enum reply_section)walk->section);
    } else {
        to = reply_stats_end(to);
        stats_stop(walk, stripes);
    }
    output_commit(output, to);
    return !walk->running;
}

bool stats_write(struct stats_walk *walk, struct stripes *stripes, uint64_t now_ns, uint32_t *steps,
                 struct output *output, struct pool *pool)
{
    struct stats_piece piece = {.walk = walk, .output = output, .pool = pool};
    uint32_t stripe = walk->stripe;
    uint32_t most = *steps / STATS_BUCKET_STEPS + 1;
    uint32_t buckets = most < STATS_PIECE_BUCKETS ? most : STATS_PIECE_BUCKETS;
    uint32_t left = buckets;
    bool more = stripes_walk(stripes, now_ns, walk->walk, &stripe, &walk->position, &left,
                             stats_write_entry, &piece);
    uint32_t used = (buckets - left) * STATS_BUCKET_STEPS;

    *steps -= used < *steps ? used : *steps;
    walk->stripe = (uint8_t)stripe;
    return !more && stats_end_section(walk, stripes, output, pool);
}
