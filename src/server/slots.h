/*
 * Where the connections of a worker are, by the number that is part of their names (see
 * server/connection_id.h): effects find their way by it.
 *
 * A slot is used again only when the mailbox has been emptied after its connection went: what is
 * in there for a slot is for one connection.
 */
#ifndef SERVER_SLOTS_H
#define SERVER_SLOTS_H

#include "base/segments.h"
#include "os/mailbox.h"
#include "server/connection_id.h"

enum {
    SLOT_NONE = CONNECTION_ID_SLOTS
};

struct connection;

struct slots {
    struct segments values; /* of each, the connection's address, or the next one of a chain */
    struct mailbox *mailbox;
    uint32_t count;   /* in use, free or retired */
    uint32_t free;    /* chains of slots, each ended by SLOT_NONE */
    uint32_t retired; /* to be free when the mailbox has been emptied */
};

/* Asks for no memory yet. The mailbox is borrowed. */
void slots_init(struct slots *slots, const struct memory *memory, struct mailbox *mailbox);

void slots_free(struct slots *slots);

/* A slot of nobody, and room for its effects in the mailbox; SLOT_NONE when memory is short. */
uint32_t slots_take(struct slots *slots);

void slots_set(struct slots *slots, uint32_t slot, struct connection *connection);

/* The connection in a slot, or NULL. */
struct connection *slots_at(const struct slots *slots, uint32_t slot);

/* The slot's connection has gone, or not come. */
void slots_retire(struct slots *slots, uint32_t slot);

/* The mailbox has been emptied. */
void slots_reuse(struct slots *slots);

#endif
