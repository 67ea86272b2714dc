/*
 * Compares every record of a table with the others.
 */
#include "lock/claim.h"

#include <string.h>

struct table_counts {
    const struct table *table;
    const char *problem; /* the first one found */
    uint64_t holding;
    uint64_t waiting;
    uint64_t lost;
    uint64_t enqueued;
    uint64_t idle;
    uint64_t resource_holders;
    uint64_t resource_waiters;
    uint64_t resource_lost;
    struct lock_counters now; /* its members for the present */
};

static void table_check_that(struct table_counts *counts, bool holds, const char *problem)
{
    if (!holds && !counts->problem)
        counts->problem = problem;
}

static bool table_check_contains(const struct map *map, const struct map_link *wanted)
{
    const struct map_link *link = map_find(map, wanted->hash);

    while (link && link != wanted)
        link = map_find_next(link);
    return link != NULL;
}

static void table_check_first_waiter(struct table_counts *counts, const struct resource *resource)
{
    const struct claim *first =
        CONTAINER_OF(list_first(&resource->queue), struct claim, queue_link);

    table_check_that(counts,
                     counts->table->paused || heap_contains(&counts->table->resumption) ||
                         claim_is_due(first) || claim_slots(first) > resource_slots_left(resource),
                     "a waiter beside free slots");
}

static void table_check_queue(struct table_counts *counts, const struct resource *resource)
{
    uint32_t waiters = 0;

    for (const struct list_link *link = resource->queue.head.next;
         link != &resource->queue.head && waiters <= resource->waiters; link = link->next) {
        const struct claim *claim = CONTAINER_OF(link, struct claim, queue_link);

        table_check_that(counts, claim_is(claim, CLAIMS_WAITING),
                         "a claim in a queue does not wait");
        table_check_that(counts, claim->resource == resource, "a claim is in another key's queue");
        waiters++;
    }
    table_check_that(counts, waiters == resource->waiters,
                     "a queue's length is not the waiters' count");
    if (waiters > 0)
        table_check_first_waiter(counts, resource);
}

static void table_check_holders(struct table_counts *counts, const struct resource *resource)
{
    const struct claim *owner = resource->owner;
    struct chain holders = resource_holders(resource);
    uint32_t taken = 0;

    table_check_that(counts, (resource->taken > 0) == (owner != NULL),
                     "slots are taken without an owner, or the reverse");
    if (owner && owner->exclusive) {
        table_check_that(counts, claim_is(owner, CLAIMS_HOLDING) && owner->resource == resource,
                         "an owner does not hold the key");
        taken = claim_slots(owner);
    }
    for (struct list_link *link = holders.first; link && taken <= resource->taken;
         link = chain_next(&holders, link)) {
        const struct claim *claim = claim_of_holder(link);

        table_check_that(counts,
                         claim_is(claim, CLAIMS_HOLDING) && !claim->exclusive &&
                             claim->resource == resource,
                         "a claim among the holders does not hold the key");
        taken++;
    }
    table_check_that(counts, taken == resource->taken, "taken slots miscounted");
    counts->resource_holders += resource_holder_count(resource);
    if (resource_is_lock(resource))
        counts->now.locks_held += resource->taken > 0;
    else
        counts->now.semaphore_holders += resource_holder_count(resource);
}

static void table_check_lost(struct table_counts *counts, const struct resource *resource)
{
    const struct list_link *link = resource->lost.first;

    for (; link; link = chain_next(&resource->lost, link)) {
        const struct claim *claim = CONTAINER_OF(link, struct claim, queue_link);

        table_check_that(counts, claim->state == CLAIM_LOST,
                         "a claim among the lost ones is not lost");
        table_check_that(counts, claim->resource == resource, "a lost claim is on another key");
        counts->resource_lost++;
    }
}

static void table_check_resource(void *context, struct map_link *link)
{
    struct table_counts *counts = context;
    const struct resource *resource = CONTAINER_OF(link, struct resource, link);

    table_check_that(counts, resource->limit > 0, "a resource has no slots");
    table_check_that(counts, resource->taken <= resource->limit, "more slots are taken than exist");
    counts->resource_waiters += resource->waiters;
    if (resource_is_lock(resource))
        counts->now.lock_waiters += resource->waiters;
    else
        counts->now.semaphore_waiters += resource->waiters;
    table_check_lost(counts, resource);
    if (resource_idle(resource)) {
        table_check_that(counts, list_linked(&resource->idle_link),
                         "an idle resource is never collected");
        counts->idle++;
        return;
    }
    table_check_queue(counts, resource);
    table_check_holders(counts, resource);
}

/* Which properties the claims of each state have, see enum claim_state. */
static const struct claim_rule {
    bool token;    /* in table->tokens */
    bool deadline; /* of its lease, or of its wait */
    bool enqueued; /* in table->enqueued */
} table_check_rules[] = {
    [CLAIM_BLOCKED] = {.deadline = true},
    [CLAIM_QUEUED] = {.enqueued = true},
    [CLAIM_QUEUED_BLOCKED] = {.deadline = true, .enqueued = true},
    [CLAIM_HELD] = {.token = true, .deadline = true},
    [CLAIM_HELD_BLOCKED] = {.token = true, .deadline = true},
    [CLAIM_HELD_ENQUEUED] = {.token = true, .deadline = true, .enqueued = true},
    [CLAIM_HELD_UNSEEN] = {.token = true, .deadline = true, .enqueued = true},
    [CLAIM_LOST] = {.enqueued = true},
};

static void table_check_claim(struct table_counts *counts, const struct claim *claim)
{
    const struct table *table = counts->table;
    const struct claim_rule *rule = &table_check_rules[claim->state];

    table_check_that(counts, table_check_contains(&table->resources, &claim->resource->link),
                     "a claim on a resource that is gone");
    table_check_that(counts,
                     !rule->token || table_check_contains(&table->tokens, &claim->token_link),
                     "a holder's token leads nowhere");
    /* A queued claim is due if it can be granted its slots; one that was due when the table stopped
     * granting has no deadline. */
    table_check_that(counts,
                     heap_contains(&claim->deadline) == rule->deadline ||
                         claim->state == CLAIM_QUEUED ||
                         (table->paused && claim_is(claim, CLAIMS_WAITING)),
                     "a claim has a deadline and should not, or the reverse");
    table_check_that(counts, !rule->enqueued || claim->two_phase,
                     "`e` did not make an enqueued claim");
    table_check_that(counts, rule->enqueued == claim_is(claim, CLAIMS_ENQUEUED),
                     "the sets of states differ");
    if (rule->enqueued && claim->two_phase)
        table_check_that(counts, table_check_contains(&table->enqueued, &two_phase_of(claim)->link),
                         "an enqueued claim is not found");
    counts->waiting += claim_is(claim, CLAIMS_WAITING);
    counts->holding += claim_is(claim, CLAIMS_HOLDING);
    counts->lost += claim->state == CLAIM_LOST;
    counts->enqueued += rule->enqueued;
}

static void table_check_client(void *context, struct map_link *link)
{
    struct table_counts *counts = context;
    const struct client *client = CONTAINER_OF(link, struct client, link);
    const struct list_link *at = client->claims.first;
    uint32_t waiting = 0;
    uint32_t holding = 0;
    bool held = false; /* all that follow must be CLAIM_HELD */

    table_check_that(counts, at, "a client with nothing");
    for (; at; at = chain_next(&client->claims, at)) {
        const struct claim *claim = CONTAINER_OF(at, struct claim, client_link);
        bool first = at == client->claims.first;

        table_check_that(counts, claim->client == client, "a claim is another client's");
        table_check_that(counts, first || !claim_is(claim, CLAIMS_BLOCKED),
                         "a blocked claim is not the first");
        table_check_that(counts, !held || claim->state == CLAIM_HELD,
                         "more than held behind a held claim");
        held = claim->state == CLAIM_HELD;
        waiting += claim_is(claim, CLAIMS_WAITING);
        holding += claim_is(claim, CLAIMS_HOLDING);
        table_check_claim(counts, claim);
    }
    table_check_that(counts, waiting == client->waiting, "a client's waiting claims miscounted");
    table_check_that(counts, holding == client->holding, "a client's held claims miscounted");
}

static void table_check_counters(struct table_counts *counts)
{
    const struct lock_counters *counters = &counts->table->counters;

    table_check_that(counts, counters->locks_held == counts->now.locks_held,
                     "the counter of held locks is wrong");
    table_check_that(counts, counters->lock_waiters == counts->now.lock_waiters,
                     "the counter of lock waiters is wrong");
    table_check_that(counts, counters->semaphore_holders == counts->now.semaphore_holders,
                     "the counter of semaphore holders is wrong");
    table_check_that(counts, counters->semaphore_waiters == counts->now.semaphore_waiters,
                     "the counter of semaphore waiters is wrong");
    table_check_that(counts,
                     counters->waits == lock_durations_count(&counters->waits_granted) +
                                            counters->waits_timed_out + counters->waits_cancelled +
                                            counts->waiting,
                     "the waits that began and those that ended do not match");
    table_check_that(counts, counters->leases_ended == lock_durations_count(&counters->late),
                     "an ended lease is missing in the histogram");
    table_check_that(counts,
                     counters->grants >=
                         counts->holding + counters->leases_ended + counters->revocations,
                     "more grants ended or hold than were made");
}

bool table_check(const struct table *table, const char **problem)
{
    struct table_counts counts = {.table = table};
    uint64_t position = 0;
    uint64_t idle = 0;
    uint64_t count = table->claim_count;
    uint64_t objects = 0;

    do
        position = map_walk(&table->resources, position, table_check_resource, &counts);
    while (position);
    do
        position = map_walk(&table->clients, position, table_check_client, &counts);
    while (position);
    for (const struct list_link *link = table->idle.head.next; link != &table->idle.head;
         link = link->next) {
        const struct resource *resource = CONTAINER_OF(link, struct resource, idle_link);
        const struct resource *next = CONTAINER_OF(link->next, struct resource, idle_link);

        idle++;
        table_check_that(&counts, resource_idle(resource), "a busy resource is to be collected");
        table_check_that(&counts,
                         link->next == &table->idle.head ||
                             next->idle_since_ns >= resource->idle_since_ns,
                         "idle resources out of order");
    }
    table_check_that(&counts, idle == counts.idle, "an idle resource is forgotten");
    table_check_that(&counts, counts.enqueued == table->enqueued.count,
                     "enqueued claims miscounted");
    table_check_that(&counts, counts.lost == counts.resource_lost, "lost claims miscounted");
    table_check_that(&counts, counts.holding == table->tokens.count,
                     "tokens and holders do not match");
    table_check_that(&counts, counts.holding == counts.resource_holders, "holders miscounted");
    table_check_that(&counts, counts.waiting == counts.resource_waiters, "waiters miscounted");
    table_check_that(&counts, counts.waiting == table->promises,
                     "promises of fences and waiters differ");
    table_check_that(&counts, counts.holding + counts.waiting + counts.lost == count,
                     "a claim has leaked");
    for (uint32_t i = 0; i < TABLE_CLAIM_POOLS; i++)
        objects += table->claim_pools[i].count;
    table_check_that(&counts, objects == count, "claims miscounted");
    table_check_that(&counts, count <= table->claims_room, "more claims than the table has room");
    table_check_that(&counts, table->claims_room - count <= table->claims_spare,
                     "a table keeps too much room for claims");
    table_check_that(&counts,
                     !table->budget->claims_max ||
                         table->claims_room <= atomic_load(&table->budget->claims_used),
                     "more room for claims than the budget knows");
    table_check_that(&counts, atomic_load(&table->budget->claims_used) <= table->budget->claims_max,
                     "the budget has given more claims than it has");
    table_check_that(&counts, table->resources.count <= atomic_load(&table->budget->used),
                     "more states than the budget knows");
    table_check_that(&counts, heap_valid(&table->deadlines), "deadlines out of order");
    table_check_counters(&counts);
    *problem = counts.problem;
    return !counts.problem;
}
