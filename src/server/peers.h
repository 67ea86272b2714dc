/*
 * Who is connected: the name and the address of each client of all workers and front ends, for
 * `show` and the log. The thread of a client adds, names and removes it; any thread may look it up.
 */
#ifndef SERVER_PEERS_H
#define SERVER_PEERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "dflockd/protocol.h"
#include "os/sockets.h"
#include "wire/request.h"

struct peers;

struct peer_description {
    char address[SOCKETS_PEER_TEXT_MAX]; /* "" if the connection is closed */
    char name[DFLOCKD_NAME_MAX + 1];     /* "" if the connection has none */
};

/*
 * `workers` counts front ends, too. Returns NULL if memory is short. The functions of `memory` are
 * called from any thread.
 */
struct peers *peers_create(const struct memory *memory, uint32_t workers);

/* Does nothing if it is NULL. */
void peers_destroy(struct peers *peers);

/* Returns false if memory is short. `descriptor` must stay open until peers_remove. */
bool peers_add(struct peers *peers, uint64_t connection_id, int descriptor);

/*
 * As peers_add, for a client whose connection can end before it: an HTTP session. Copies `address`,
 * a text of less than SOCKETS_PEER_TEXT_MAX bytes.
 */
bool peers_add_address(struct peers *peers, uint64_t connection_id, const char *address);

void peers_remove(struct peers *peers, uint64_t connection_id);

/*
 * Sets the name of a connection, at most DFLOCKD_NAME_MAX bytes. Returns false if memory is short;
 * a name that it had stays.
 */
bool peers_set_name(struct peers *peers, uint64_t connection_id, struct slice name);

/* Looks up a client. Makes a system call for a connection. */
void peers_describe(struct peers *peers, uint64_t connection_id, struct peer_description *peer);

#endif
