/*
 * The TLS of one link: its requests become ciphertext in a buffer of its own, to be sent from
 * there.
 */
#ifndef BENCH_SEAL_H
#define BENCH_SEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/address.h"
#include "os/tls.h"

struct seal {
    struct tls *tls;
    uint8_t *bytes; /* ciphertext to be sent */
    uint32_t length;
    uint32_t capacity;
    const uint8_t *waiting; /* a request that the handshake holds up, or NULL */
    uint32_t waiting_length;
};

/* A new connection to `address`, whose first bytes are there to be sent; false: no memory. */
bool seal_open(struct seal *seal, struct tls_context *context, const struct address *address);

/* Gives all its memory back; fine where it was never opened. */
void seal_free(struct seal *seal);

/*
 * Makes `bytes` ciphertext, in place of what was there before, or keeps them for after the
 * handshake; they must stay until they are answered. False where that can't be done.
 */
bool seal_write(struct seal *seal, const uint8_t *bytes, uint32_t length);

/* The next plain bytes of what tls_give was given; what is to be said to it is there to be sent. */
enum tls_result seal_read(struct seal *seal, uint8_t *to, size_t size, size_t *length);

#endif
