/*
 * Counts the connections of each IP address for all workers, up to a limit. An address takes memory
 * while it has connections.
 */
#ifndef SERVER_IP_LIMITS_H
#define SERVER_IP_LIMITS_H

#include <stdint.h>

#include "base/memory.h"
#include "os/sockets.h"

enum {
    IP_LIMITS_MAX = 1 << 20, /* addresses at a time, of 64 bytes each */
    IP_LIMITS_NONE = 0
};

struct ip_limits;

/* `connections_max` is the limit of an address. Returns NULL if memory is short. */
struct ip_limits *ip_limits_create(const struct memory *memory, uint64_t connections_max);

/* `limits` may be NULL. */
void ip_limits_destroy(struct ip_limits *limits);

/*
 * Counts a connection of `address`. Returns the index of its counter, or IP_LIMITS_NONE if the
 * address has reached its limit or memory is short. From any thread.
 */
uint32_t ip_limits_enter(struct ip_limits *limits, const uint8_t address[SOCKETS_PEER_BYTES]);

/* Takes back what ip_limits_enter counted. From any thread. */
void ip_limits_leave(struct ip_limits *limits, uint32_t number);

#endif
