/*
 * How many connections each address has, where that is limited; for all workers. An address is
 * known while it has a connection.
 */
#ifndef SERVER_IP_LIMITS_H
#define SERVER_IP_LIMITS_H

#include <stdint.h>

#include "base/memory.h"
#include "os/sockets.h"

enum {
    IP_LIMITS_MAX = 1 << 20, /* addresses at a time; 64 bytes each */
    IP_LIMITS_NONE = 0
};

struct ip_limits;

/* NULL when memory is short. */
struct ip_limits *ip_limits_create(const struct memory *memory, uint64_t connections_max);

/* NULL is fine. */
void ip_limits_destroy(struct ip_limits *peers);

/*
 * Counts a connection of `address`, and returns by what to take it away again. IP_LIMITS_NONE where
 * the address has as many as it may, or memory is short.
 */
uint32_t ip_limits_enter(struct ip_limits *peers, const uint8_t address[SOCKETS_PEER_BYTES]);

/* Takes away what ip_limits_enter counted. */
void ip_limits_leave(struct ip_limits *peers, uint32_t peer);

#endif
