#include "lock/client.h"

struct client *client_find(const struct table *table, uint64_t connection_id)
{
    struct map_link *link = map_find(&table->clients, mix_hash(&table->mix, connection_id));

    return link ? CONTAINER_OF(link, struct client, link) : NULL;
}

struct client *client_find_or_create(struct table *table, uint64_t connection_id)
{
    struct client *client = client_find(table, connection_id);

    if (client)
        return client;
    client = pool_take(&table->client_pool);
    if (!client)
        return NULL;
    chain_init(&client->claims);
    client->waiting = 0;
    client->holding = 0;
    client->watched = false;
    map_insert(&table->clients, &client->link, mix_hash(&table->mix, connection_id));
    return client;
}

void client_remove_unused(struct table *table, struct client *client)
{
    if (!chain_empty(&client->claims))
        return;
    map_remove(&table->clients, &client->link);
    pool_give(&table->client_pool, client);
}

uint64_t client_connection_id(const struct table *table, const struct client *client)
{
    return mix_number(&table->mix, client->link.hash);
}

struct claim *client_blocked_claim(const struct client *client)
{
    struct claim *first = client->claims.first ? claim_of(client->claims.first) : NULL;

    return first && claim_is(first, CLAIMS_BLOCKED) ? first : NULL;
}

void client_settle_claim(struct claim *claim)
{
    claim->state = CLAIM_HELD;
    chain_move_back(&claim->client->claims, &claim->client_link);
}

void client_reply_received(struct client *client)
{
    struct claim *claim = client_blocked_claim(client);

    if (claim) {
        /* A connection makes no request while one is pending, so the claim does not wait. */
        assert(claim->state == CLAIM_HELD_BLOCKED);
        client_settle_claim(claim);
    }
}

void client_report_idle(struct table *table, struct client *client)
{
    struct lock_answer notice = answer_plain(LOCK_IDLE);

    if (!client->watched || client_active(client) > 0)
        return;
    client->watched = false;
    table->context.effect(table->context.user_data, client_connection_id(table, client), &notice);
}
