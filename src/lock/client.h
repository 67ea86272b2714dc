/*
 * The client records of a lock table: the claims of one connection, in the order that struct client
 * states. A record exists while it has a claim.
 */
#ifndef LOCK_CLIENT_H
#define LOCK_CLIENT_H

#include "lock/records.h"

/* Returns the record of `connection_id`, or NULL if it has no claim. */
struct client *client_find(const struct table *table, uint64_t connection_id);

/* As client_find, but creates a record without claims. Returns NULL if memory is short. */
struct client *client_find_or_create(struct table *table, uint64_t connection_id);

/* Frees a record without claims; leaves others alone. */
void client_remove_unused(struct table *table, struct client *client);

uint64_t client_connection_id(const struct table *table, const struct client *client);

/* Returns the claim of the pending request, or of one that an effect granted; or NULL. */
struct claim *client_blocked_claim(const struct client *client);

/* Sets a holding claim to CLAIM_HELD, and puts it behind the other claims. */
void client_settle_claim(struct claim *claim);

/* The client makes a new request: it has received the reply to its last one. */
void client_reply_received(struct client *client);

/* A claim of the client waits or holds no more. Sends LOCK_IDLE if it was the last one. */
void client_report_idle(struct table *table, struct client *client);

#endif
