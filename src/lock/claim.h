/*
 * The claims of a lock table: what one connection holds or waits for on one key. The states are in
 * lock/records.h.
 */
#ifndef LOCK_CLAIM_H
#define LOCK_CLAIM_H

#include "lock/client.h"

void claim_init_pools(struct table *table, uint32_t chunk_bytes);

/* Takes a batch of room from the budget, or the rest. Returns false if the budget has none. */
bool claim_take_room(struct table *table);

/* Returns whether the table may have one more claim. */
static inline bool claim_has_room(struct table *table)
{
    return table->claim_count < table->claims_room || claim_take_room(table);
}

/* Returns a batch of room to the budget if the table has more than it keeps. */
void claim_return_room(struct table *table);

/* What a new claim is, see struct claim. */
struct claim_form {
    bool two_phase;
    bool exclusive;
};

/*
 * Creates a claim that waits, and takes the promise of a fence for it. The caller puts it among its
 * client's claims, and grants it or puts it in the queue. Returns NULL if memory or fences are
 * short.
 */
struct claim *claim_create(struct table *table, uint64_t connection_id, struct resource *resource,
                           uint64_t lease_s, struct claim_form form);

/* Gives slots, a new token and a lease to a waiting claim that is not in the queue. */
void claim_grant(struct table *table, uint64_t now_ns, struct claim *claim, enum claim_state state);

/* The answer `outcome` with the claim's token, lease and deadline. */
struct lock_answer claim_answer(const struct table *table, int outcome, const struct claim *claim,
                                uint64_t lease_s);

/* Sets the deadline of the lease or of the wait to `seconds` from now. */
void claim_set_deadline(struct table *table, uint64_t now_ns, struct claim *claim,
                        uint64_t seconds);

/*
 * Makes a waiting claim due for a grant, in the order of these calls and before all deadlines: its
 * key in the heap is below all times. After TABLE_GRANTS_IN_ROW_MAX such grants the key is
 * `now_ns`: deadlines that are over come first. The claim must be the first waiter.
 */
void claim_set_due(struct table *table, uint64_t now_ns, struct claim *claim);
bool claim_is_due(const struct claim *claim);

bool claim_lease_is_over(const struct table *table, uint64_t now_ns, const struct claim *claim);

/* Returns the enqueued claim of a client on a resource, or NULL. */
struct claim *claim_find_enqueued(const struct table *table, const struct client *client,
                                  const struct resource *resource);

/* `w` cannot ask for the claim any more. The caller changes the state. */
void claim_end_enqueued(struct table *table, struct claim *claim);

/* Ends a claim that waits or holds: its deadline, and its promise of a fence if it waits. */
void claim_deactivate(struct table *table, struct claim *claim);

/* Frees a claim, and its client with the last one. */
void claim_remove(struct table *table, struct claim *claim);

#endif
