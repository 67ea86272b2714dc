#include "server/show.h"

#include <string.h>

#include "server/connection_id.h"
#include "wire/reply.h"

enum {
    SHOW_CLAIM_STEPS = SHOW_STEPS / (2 * TABLE_SHOWN_MAX) /* records, a system call, text */
};

static uint32_t show_listed(uint32_t count)
{
    return count < TABLE_SHOWN_MAX ? count : TABLE_SHOWN_MAX;
}

static void
show_write_claims(struct peers *peers, const struct lock_claim_view *claims, uint32_t count,
                  uint8_t *(*write)(uint8_t *to, bool first, const struct reply_claim *claim),
                  struct output *output, struct pool *pool)
{
    struct peer_description peer;

    for (uint32_t i = 0; i < count; i++) {
        bool described = i > 0 && claims[i].connection_id == claims[i - 1].connection_id;
        struct reply_claim claim = {
            .fence = claims[i].fence,
            .position = i + 1,
            .exclusive = claims[i].exclusive,
            .connection = connection_id_number(claims[i].connection_id),
            .age_ns = claims[i].age_ns,
            .left_ns = claims[i].left_ns,
        };
        uint8_t *to = output_reserve(output, pool, REPLY_CLAIM_MAX);

        if (!to)
            return;
        if (!described)
            peers_describe(peers, claims[i].connection_id, &peer);
        claim.address = peer.address;
        claim.name = (const uint8_t *)peer.name;
        claim.name_length = (uint32_t)strlen(peer.name);
        output_commit(output, write(to, i == 0, &claim));
    }
}

/* Writes a piece between the claims. */
static void show_write_piece(uint8_t *(*write)(uint8_t *to), struct output *output,
                             struct pool *pool)
{
    uint8_t *to = output_reserve(output, pool, REPLY_CLAIM_MAX);

    if (to)
        output_commit(output, write(to));
}

bool show_write(struct stripes *stripes, struct peers *peers, uint64_t now_ns,
                const struct lock_key *key, uint32_t *steps, struct output *output,
                struct pool *pool)
{
    struct lock_details details;
    uint32_t holders;
    uint32_t waiters;
    uint8_t *to;

    *steps = 0;
    if (!stripes_show(stripes, now_ns, key, &details))
        return false;
    holders = show_listed(details.holder_count);
    waiters = show_listed(details.waiter_count);
    *steps = (holders + waiters) * SHOW_CLAIM_STEPS;
    to = output_reserve(output, pool, REPLY_ENTRY_MAX);
    if (!to)
        return true;
    output_commit(output, reply_show_begin(to, &(struct reply_resource){
                                                   .key = key->bytes,
                                                   .key_length = key->length,
                                                   .semaphore = key->kind == LOCK_KIND_SEMAPHORE,
                                                   .limit = details.limit,
                                                   .holders = details.holder_count,
                                                   .waiters = details.waiter_count,
                                               }));
    show_write_claims(peers, details.holders, holders, reply_show_holder, output, pool);
    show_write_piece(reply_show_waiters, output, pool);
    show_write_claims(peers, details.waiters, waiters, reply_show_waiter, output, pool);
    show_write_piece(reply_show_end, output, pool);
    return true;
}
