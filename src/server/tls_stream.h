/*
 * The TLS of one connection: decrypts what its socket receives, encrypts its replies. Only
 * transport.c uses it; a connection without TLS has none.
 */
#ifndef SERVER_TLS_STREAM_H
#define SERVER_TLS_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "os/tls.h"
#include "server/backlog.h"
#include "server/output.h"

enum {
    /* Measured: what GnuTLS keeps for a connection and for an incomplete record. */
    TLS_STREAM_BYTES = 32 * 1024,
    /* Unsent ciphertext above which replies stay plain, so that the session sees their length. */
    TLS_STREAM_CIPHERTEXT_MAX = 16 * 1024
};

struct transport;

struct tls_stream {
    struct tls *tls;             /* NULL after tls_stream_end_tls */
    struct transport *transport; /* its owner */
    struct pool *output_pool;
    struct output ciphertext;          /* to be sent */
    struct backlog handshake_input;    /* received, until the next step of the handshake */
    struct list_link handshaking_link; /* until the handshake is complete */
    struct list_link pending_link;     /* while handshake_input waits for its step */
    bool saw_tls_record;               /* the peer's first byte was one of TLS */
};

/* Returns false if memory is short. The client must begin the handshake. */
bool tls_stream_open(struct tls_stream *stream, struct transport *transport,
                     struct tls_place *place, struct pool *output_pool);

/* Frees `tls`. Only unsent ciphertext is left. */
void tls_stream_end_tls(struct tls_stream *stream);

/* Drops unsent ciphertext. The stream must be in no list, and `tls` and handshake_input empty. */
void tls_stream_close(struct tls_stream *stream);

/* Borrows received bytes until tls_stream_read has used them or the next call of this function. */
void tls_stream_give(struct tls_stream *stream, const uint8_t *bytes, size_t length);

/* As tls_read. A client that does not speak TLS gets no reply. */
enum tls_result tls_stream_read(struct tls_stream *stream, uint8_t *to, size_t size,
                                size_t *length);

/* Encrypts `plain` up to TLS_STREAM_CIPHERTEXT_MAX. Returns false if memory is short. */
bool tls_stream_encrypt(struct tls_stream *stream, struct output *plain);

/* Writes the close_notify. Returns false if it was written before or can't be written. */
bool tls_stream_end(struct tls_stream *stream);

/* Why tls_stream_read returned TLS_BROKEN. */
const char *tls_stream_problem(const struct tls_stream *stream);

#endif
