/*
 * The clients of one thread by slot: the connections of a worker, or the sessions of the HTTP front
 * end. The slot is part of the client's id (see server/connection_id.h), so that an effect finds
 * its client.
 *
 * A slot of a freed connection is not used again before all effects are taken that were in the
 * mailbox when the connection was freed: all effects in the mailbox for one slot are for one
 * connection.
 */
#ifndef SERVER_SLOTS_H
#define SERVER_SLOTS_H

#include "base/segments.h"
#include "os/mailbox.h"
#include "server/connection_id.h"

enum {
    SLOT_NONE = CONNECTION_ID_SLOTS
};

struct slots {
    struct segments values; /* the connection's address, or the next slot of a chain */
    struct mailbox *mailbox;
    uint32_t count;   /* in use, free or retired */
    uint32_t free;    /* chains of slots, each ended by SLOT_NONE */
    uint32_t retired; /* since the last start of `waiting` */
    uint32_t waiting; /* free once `effects` more effects are taken */
    uint32_t effects;
};

/* Allocates nothing. Borrows the mailbox. */
void slots_init(struct slots *slots, const struct memory *memory, struct mailbox *mailbox);

void slots_free(struct slots *slots);

/* Returns a free slot with room for its effects in the mailbox; SLOT_NONE if memory is short. */
uint32_t slots_take(struct slots *slots);

void slots_set(struct slots *slots, uint32_t slot, void *client);

/* Returns the connection in `slot`, or NULL. */
void *slots_at(const struct slots *slots, uint32_t slot);

/* The slot has no connection any more, or never had one. */
void slots_retire(struct slots *slots, uint32_t slot);

/* `taken` effects have been taken since the last call, and at least `left` are in the mailbox. */
void slots_reuse(struct slots *slots, uint32_t taken, uint32_t left);

#endif
