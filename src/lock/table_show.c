/*
 * Who holds a key, and who waits for it.
 */
#include "lock/resource.h"

static struct lock_claim_view table_show_claim(const struct table *table, uint64_t now_ns,
                                               const struct claim *claim)
{
    bool holding = claim_is(claim, CLAIMS_HOLDING);
    struct lock_claim_view view = {
        .connection_id = client_connection_id(table, claim->client),
        .fence = holding ? mix_number(&table->mix, claim->token_link.hash) : 0,
        .age_ns = holding ? claim_held_ns(claim, now_ns) : claim_waited_ns(claim, now_ns),
        .left_ns = TABLE_NO_DEADLINE,
        .exclusive = claim->exclusive,
    };

    /* A claim that is only due for a grant has no request that waits. */
    if (heap_contains(&claim->deadline) && claim->state != CLAIM_QUEUED) {
        uint64_t deadline_ns = heap_key(&table->deadlines, &claim->deadline);

        view.left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    }
    return view;
}

static void table_show_holders(const struct table *table, uint64_t now_ns,
                               const struct resource *resource, struct lock_details *details)
{
    struct chain holders = resource_holders(resource);
    struct list_link *link = chain_last(&holders);

    if (!link && details->holder_count > 0)
        details->holders[0] = table_show_claim(table, now_ns, resource->owner);
    for (uint32_t i = 0; link && i < details->holder_count && i < TABLE_SHOWN_MAX; i++) {
        details->holders[i] = table_show_claim(table, now_ns, claim_of_holder(link));
        link = link->previous;
    }
}

static void table_show_waiters(const struct table *table, uint64_t now_ns,
                               const struct resource *resource, struct lock_details *details)
{
    const struct list_link *link = &resource->queue.head;

    for (uint32_t i = 0; i < details->waiter_count && i < TABLE_SHOWN_MAX; i++) {
        link = link->next;
        details->waiters[i] =
            table_show_claim(table, now_ns, CONTAINER_OF(link, struct claim, queue_link));
    }
}

bool table_show(const struct table *table, uint64_t now_ns, const struct lock_key *key,
                struct lock_details *details)
{
    const struct resource *resource = resource_find(table, key);

    if (!resource)
        return false;
    details->limit = key->kind == LOCK_KIND_LOCK ? 1 : resource->limit;
    details->holder_count = resource_idle(resource) ? 0 : resource_holder_count(resource);
    details->waiter_count = resource->waiters;
    if (details->holder_count > 0)
        table_show_holders(table, now_ns, resource, details);
    if (details->waiter_count > 0)
        table_show_waiters(table, now_ns, resource, details);
    return true;
}
