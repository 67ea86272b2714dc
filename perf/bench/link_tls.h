/*
 * TLS of one link. Its ciphertext lies in its own buffer, from which the link sends it.
 */
#ifndef BENCH_LINK_TLS_H
#define BENCH_LINK_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/server.h"
#include "client/buffer.h"
#include "os/tls.h"

struct link_tls {
    struct tls *session;
    struct buffer ciphertext; /* to send */
    const uint8_t *waiting;   /* a request that waits for the handshake, or NULL */
    uint32_t waiting_length;
};

/*
 * Starts a session with `server` and writes its first ciphertext. Returns false if memory is
 * short.
 */
bool link_tls_open(struct link_tls *link_tls, struct tls_context *context,
                   const struct server *server);

/* Frees everything. `link_tls` may be all zero. */
void link_tls_free(struct link_tls *link_tls);

/*
 * Encrypts `bytes` over the previous ciphertext, or keeps the pointer until the handshake ends.
 * `bytes` must stay valid until the reply. Returns false on failure.
 */
bool link_tls_write(struct link_tls *link_tls, const uint8_t *bytes, uint32_t length);

/*
 * Decrypts the next bytes that tls_give received. Ciphertext for the server is then ready to
 * send.
 */
enum tls_result link_tls_read(struct link_tls *link_tls, uint8_t *to, size_t size, size_t *length);

#endif
