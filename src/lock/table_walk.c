/*
 * Walks over the resources of a table, for statistics.
 */
#include "lock/client.h"

struct table_walk {
    const struct table *table;
    uint64_t now_ns;
    uint32_t note; /* the bit of the walk */
    bool first_pass;
    void (*show)(void *context, const struct lock_view *view);
    void *context;
};

static void table_walk_note(struct resource *resource, uint32_t note)
{
    if (resource_idle(resource))
        resource->idle_notes |= note & IDLE_NOTES_MASK;
    else
        resource->idle_notes &= ~note & IDLE_NOTES_MASK;
}

static void table_walk_show(void *context, struct map_link *link)
{
    const struct table_walk *walk = context;
    struct resource *resource = CONTAINER_OF(link, struct resource, link);
    struct lock_view view = {
        .key = resource->key,
        .key_length = resource->key_length,
        .kind = (enum lock_kind)resource->kind,
        .limit = resource->kind == LOCK_KIND_LOCK ? 1 : resource->limit,
        .holders = resource_holder_count(resource),
        .waiters = resource->waiters,
    };

    if (walk->first_pass)
        table_walk_note(resource, walk->note);
    view.noted_idle = resource->idle_notes & walk->note;
    if (resource_idle(resource)) {
        view.idle_ns = walk->now_ns - resource->idle_since_ns;
    } else if (resource->owner) {
        uint64_t deadline_ns = heap_key(&walk->table->deadlines, &resource->owner->deadline);

        view.owner = client_connection_id(walk->table, resource->owner->client);
        view.lease_ns = deadline_ns > walk->now_ns ? deadline_ns - walk->now_ns : 0;
    }
    walk->show(walk->context, &view);
}

uint64_t table_walk(struct table *table, uint64_t now_ns, struct lock_walk walk, uint64_t position,
                    void (*show)(void *context, const struct lock_view *view), void *context)
{
    struct table_walk all = {
        .table = table,
        .now_ns = now_ns,
        .note = 1u << walk.number,
        .first_pass = walk.first_pass,
        .show = show,
        .context = context,
    };

    assert(walk.number < TABLE_WALKS_MAX);

    return map_walk(&table->resources, position, table_walk_show, &all);
}
