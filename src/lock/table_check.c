/*
 * Walks every record of a table and compares what each says of the others.
 */
#include "lock/table_internal.h"

#include <string.h>

struct census {
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
};

static void expect(struct census *census, bool holds, const char *problem)
{
    if (!holds && !census->problem)
        census->problem = problem;
}

static bool map_contains(const struct map *map, const struct map_link *wanted)
{
    const struct map_link *link = map_find(map, wanted->hash);

    while (link && link != wanted)
        link = map_find_next(link);
    return link != NULL;
}

static void check_queue(struct census *census, const struct resource *resource)
{
    uint32_t waiters = 0;

    for (const struct list_link *link = resource->queue.head.next;
         link != &resource->queue.head && waiters <= resource->waiters; link = link->next) {
        const struct claim *claim = CONTAINER_OF(link, struct claim, queue_link);

        expect(census, claim_is(claim, CLAIMS_WAITING), "a claim in a queue does not wait");
        expect(census, claim->resource == resource, "a claim is in another key's queue");
        waiters++;
    }
    expect(census, waiters == resource->waiters, "a queue's length is not the waiters' count");
}

static void check_lost(struct census *census, const struct resource *resource)
{
    const struct list_link *link = resource->lost.first;

    for (; link; link = chain_next(&resource->lost, link)) {
        const struct claim *claim = CONTAINER_OF(link, struct claim, queue_link);

        expect(census, claim->state == CLAIM_LOST, "a claim among the lost ones is not lost");
        expect(census, claim->resource == resource, "a lost claim is on another key");
        census->resource_lost++;
    }
}

static void check_resource(void *context, struct map_link *link)
{
    struct census *census = context;
    const struct resource *resource = CONTAINER_OF(link, struct resource, link);

    expect(census, resource->limit > 0, "a resource has no slots");
    expect(census, resource->holders <= resource->limit, "more holders than slots");
    expect(census, resource->waiters == 0 || resource->holders == resource->limit,
           "a waiter beside a free slot");
    census->resource_holders += resource->holders;
    census->resource_waiters += resource->waiters;
    check_lost(census, resource);
    if (resource_idle(resource)) {
        expect(census, list_linked(&resource->idle_link), "an idle resource is never collected");
        census->idle++;
        return;
    }
    check_queue(census, resource);
    expect(census, resource->limit > 1 || resource->owner, "a held lock has no owner");
    expect(census, !resource->owner || resource->owner->resource == resource,
           "a resource's owner is another's");
}

/* By the table of enum claim_state: each state with what must be true of a claim in it. */
static const struct rule {
    bool token;    /* found by its token */
    bool deadline; /* of its lease, or of its wait */
    bool enqueued; /* found by `w`, which only claims of `e` are */
} check_rules[] = {
    [CLAIM_BLOCKED] = {.deadline = true},
    [CLAIM_QUEUED] = {.enqueued = true},
    [CLAIM_QUEUED_BLOCKED] = {.deadline = true, .enqueued = true},
    [CLAIM_HELD] = {.token = true, .deadline = true},
    [CLAIM_HELD_BLOCKED] = {.token = true, .deadline = true},
    [CLAIM_HELD_ENQUEUED] = {.token = true, .deadline = true, .enqueued = true},
    [CLAIM_HELD_UNTOLD] = {.token = true, .deadline = true, .enqueued = true},
    [CLAIM_LOST] = {.enqueued = true},
};

static void check_claim(struct census *census, const struct claim *claim)
{
    const struct table *table = census->table;
    const struct rule *rule = &check_rules[CLAIM_LOST];

    expect(census, claim->state <= CLAIM_LOST, "a claim is in no state");
    if (claim->state <= CLAIM_LOST)
        rule = &check_rules[claim->state];
    expect(census, map_contains(&table->resources, &claim->resource->link),
           "a claim on a resource that is gone");
    expect(census, !rule->token || map_contains(&table->tokens, &claim->token_link),
           "a holder's token leads nowhere");
    expect(census, heap_contains(&claim->deadline) == rule->deadline,
           "a claim has a deadline and should not, or the reverse");
    expect(census, !rule->enqueued || claim->two_phase, "`e` did not make an enqueued claim");
    expect(census, rule->enqueued == claim_is(claim, CLAIMS_ENQUEUED), "the sets of states differ");
    if (rule->enqueued && claim->two_phase)
        expect(census, map_contains(&table->enqueued, &two_phase_of(claim)->link),
               "an enqueued claim is not found");
    census->waiting += claim_is(claim, CLAIMS_WAITING);
    census->holding += claim_is(claim, CLAIMS_HOLDING);
    census->lost += claim->state == CLAIM_LOST;
    census->enqueued += rule->enqueued;
}

static void check_client(void *context, struct map_link *link)
{
    struct census *census = context;
    const struct client *client = CONTAINER_OF(link, struct client, link);
    const struct list_link *at = client->claims.first;
    uint32_t active = 0;
    bool held = false; /* what follows is merely held */

    expect(census, at, "a client with nothing");
    for (; at; at = chain_next(&client->claims, at)) {
        const struct claim *claim = CONTAINER_OF(at, struct claim, client_link);
        bool first = at == client->claims.first;

        expect(census, claim->client == client, "a claim is another client's");
        expect(census, first || !claim_is(claim, CLAIMS_BLOCKED),
               "a blocked claim is not the first");
        expect(census, !held || claim->state == CLAIM_HELD, "more than held behind a held claim");
        held = claim->state == CLAIM_HELD;
        active += claim->state != CLAIM_LOST;
        check_claim(census, claim);
    }
    expect(census, active == client->active, "a client's claims miscounted");
}

bool table_check(const struct table *table, const char **problem)
{
    struct census census = {.table = table};
    uint64_t position = 0;
    uint64_t idle = 0;

    do
        position = map_walk(&table->resources, position, check_resource, &census);
    while (position);
    do
        position = map_walk(&table->clients, position, check_client, &census);
    while (position);
    for (const struct list_link *link = table->idle.head.next; link != &table->idle.head;
         link = link->next) {
        const struct resource *resource = CONTAINER_OF(link, struct resource, idle_link);
        const struct resource *next = CONTAINER_OF(link->next, struct resource, idle_link);

        idle++;
        expect(&census, resource_idle(resource), "a busy resource is to be collected");
        expect(&census,
               link->next == &table->idle.head || next->idle_since_ns >= resource->idle_since_ns,
               "idle resources out of order");
    }
    expect(&census, idle == census.idle, "an idle resource is forgotten");
    expect(&census, census.enqueued == table->enqueued.count, "enqueued claims miscounted");
    expect(&census, census.lost == census.resource_lost, "lost claims miscounted");
    expect(&census, census.holding == table->tokens.count, "tokens and holders do not match");
    expect(&census, census.holding == census.resource_holders, "holders miscounted");
    expect(&census, census.waiting == census.resource_waiters, "waiters miscounted");
    expect(&census, census.waiting == table->promises, "promises of fences and waiters differ");
    expect(&census,
           census.holding + census.waiting + census.lost ==
               table->claim_pool.count + table->two_phase_pool.count,
           "a claim has leaked");
    expect(&census, table->resources.count <= atomic_load(&table->budget->used),
           "more states than the budget knows");
    expect(&census, heap_valid(&table->deadlines), "deadlines out of order");
    *problem = census.problem;
    return !census.problem;
}
