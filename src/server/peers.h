/*
 * How many connections each address has, where that is limited; for all workers. An address is
 * known while it has a connection.
 */
#ifndef SERVER_PEERS_H
#define SERVER_PEERS_H

#include <stdint.h>

#include "base/memory.h"
#include "os/sockets.h"

enum {
    PEERS_MAX = 1 << 20, /* addresses at a time; 64 bytes each */
    PEERS_NONE = 0
};

struct peers;

/* NULL when memory is short. */
struct peers *peers_create(const struct memory *memory, uint64_t connections_max);

/* NULL is fine. */
void peers_destroy(struct peers *peers);

/*
 * Counts a connection of `address`, and returns by what to take it away again. PEERS_NONE where
 * the address has as many as it may, or memory is short.
 */
uint32_t peers_enter(struct peers *peers, const uint8_t address[SOCKETS_PEER_BYTES]);

/* Takes away what peers_enter counted. */
void peers_leave(struct peers *peers, uint32_t peer);

#endif
