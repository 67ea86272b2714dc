/*
 * The TLS of one link: its requests become ciphertext in a buffer of its own, to be sent from
 * there.
 */
#ifndef BENCH_LINK_TLS_H
#define BENCH_LINK_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/address.h"
#include "os/tls.h"

struct link_tls {
    struct tls *session;
    uint8_t *bytes; /* ciphertext to be sent */
    uint32_t length;
    uint32_t capacity;
    const uint8_t *waiting; /* a request that the handshake holds up, or NULL */
    uint32_t waiting_length;
};

/* A new connection to `address`, whose first bytes are there to be sent; false: no memory. */
bool link_tls_open(struct link_tls *link_tls, struct tls_context *context,
                   const struct address *address);

/* Gives all its memory back; fine where it was never opened. */
void link_tls_free(struct link_tls *link_tls);

/*
 * Makes `bytes` ciphertext, in place of what was there before, or keeps them for after the
 * handshake; they must stay until they are replied. False where that can't be done.
 */
bool link_tls_write(struct link_tls *link_tls, const uint8_t *bytes, uint32_t length);

/* The next plain bytes of what tls_give was given; what is to be said to it is there to be sent. */
enum tls_result link_tls_read(struct link_tls *link_tls, uint8_t *to, size_t size, size_t *length);

#endif
