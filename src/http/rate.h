/*
 * Limits the requests of each IP address to a rate. An address has a bucket of tokens: it holds
 * `burst` at first, a request takes one, and `per_second` are added in each second up to `burst`.
 * For one thread. Time is an argument.
 */
#ifndef HTTP_RATE_H
#define HTTP_RATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "os/sockets.h"

enum {
    RATE_ADDRESSES_MAX = 65536 /* addresses whose buckets are not full, of about 80 bytes each */
};

struct rate;

/*
 * `per_second` is at least 1. `burst` 0: as many as per_second. Returns NULL if memory is short.
 * `memory` is copied.
 */
struct rate *rate_create(const struct memory *memory, uint64_t per_second, uint64_t burst);

/* `rate` may be NULL. */
void rate_destroy(struct rate *rate);

/*
 * Returns whether a request from `address` may be served at `now_ns`, and counts it. Otherwise
 * returns false and sets `*retry_after_s` to the whole seconds, at least 1, until one may be
 * served. Forgets buckets that are full again. If there are RATE_ADDRESSES_MAX others or memory is
 * short, requests from further addresses are served and not counted.
 */
bool rate_take(struct rate *rate, uint64_t now_ns, const uint8_t address[SOCKETS_PEER_BYTES],
               uint64_t *retry_after_s);

#endif
