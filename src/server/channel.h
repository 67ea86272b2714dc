/*
 * The TLS of one connection, between its socket and its session: received ciphertext becomes plain
 * bytes, and plain replies become ciphertext to be sent. A connection without TLS has none.
 */
#ifndef SERVER_CHANNEL_H
#define SERVER_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "os/tls.h"
#include "server/output.h"

enum {
    /* What GnuTLS keeps for a connection, and of a record that is not complete: as measured. */
    CHANNEL_BYTES = 32 * 1024,
    /* Ciphertext waiting to be sent, beyond which replies stay plain, for the session to see. */
    CHANNEL_WIRE_MAX = 16 * 1024
};

struct connection;

struct channel {
    struct tls *tls;
    struct connection *connection; /* whose it is */
    struct pool *output_pool;
    struct output wire;                /* ciphertext */
    struct list_link handshaking_link; /* until the handshake is done */
    struct list_link heard_link;       /* while ciphertext waits for the handshake to go on */
    bool met;                          /* the first byte was one of TLS */
};

/* False when memory is short. The handshake is the client's to begin. */
bool channel_open(struct channel *channel, struct tls_place *place, struct pool *output_pool);

/* Drops what was not sent. */
void channel_close(struct channel *channel);

/* What was received, borrowed until channel_read has used it up. */
void channel_give(struct channel *channel, const uint8_t *bytes, size_t length);

/* As tls_read; a client that does not speak TLS at all is not answered. */
enum tls_result channel_read(struct channel *channel, uint8_t *to, size_t size, size_t *length);

/* Turns `plain` into ciphertext, up to CHANNEL_WIRE_MAX of it. False when memory is short. */
bool channel_seal(struct channel *channel, struct output *plain);

/* Says that no more is sent; false where that was said before, or can't be. */
bool channel_end(struct channel *channel);

/* Why channel_read could not go on. */
const char *channel_problem(const struct channel *channel);

#endif
