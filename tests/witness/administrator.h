/*
 * Administrators of the witness. Each repeats: it reads the holders of a random key by `show`,
 * pauses, and revokes one of them. It reports each revocation to the judge. It has a connection
 * of its own, and closes it at random, also with a revocation pending.
 */
#ifndef WITNESS_ADMINISTRATOR_H
#define WITNESS_ADMINISTRATOR_H

#include "client.h"

#define ADMINISTRATOR_SECRET "witness-administrator"

struct administrator;

/* Returns NULL if memory is short. */
struct administrator *administrator_new(struct witness *witness);

/* Closes and frees the administrator, which may be NULL. */
void administrator_free(struct administrator *administrator);

/* Reads a reply that has arrived, and does what is due at witness->now_ns. Does not block. */
void administrator_turn(struct administrator *administrator);

#endif
