/*
 * Blocking connections for the setup before the load.
 */
#ifndef BENCH_SETUP_H
#define BENCH_SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/codec.h"
#include "bench/server.h"
#include "os/tls.h"

enum {
    SETUP_PROBLEM_MAX = 400
};

/* Connects and authenticates. Returns the descriptor, or -1 and sets `problem`. */
int setup_connect(const struct server *server, const struct codec *codec,
                  char problem[SETUP_PROBLEM_MAX]);

/*
 * Tests a server on a new connection: connects, authenticates, and if `shared`, acquires the first
 * key shared and releases it. A server that does not know shared locks fails the test. With
 * `context`, tests TLS too, and at least pings: a server of TLS 1.3 refuses a client certificate
 * only after the handshake. Returns the address' number, or -1 and sets `problem`.
 */
int setup_try(const struct server *server, const struct codec *codec, struct tls_context *context,
              bool shared, char problem[SETUP_PROBLEM_MAX]);

/* Sends all bytes. Returns false if the connection is lost. */
bool setup_send(int descriptor, const void *bytes, size_t length);

/* Received bytes that are not yet read. */
struct setup_input {
    size_t start;
    size_t end;
    char bytes[4096];
};

/*
 * Returns the next line without its newline, valid until the next call, or NULL if the
 * connection is lost or the line is too long.
 */
const char *setup_read_line(int descriptor, struct setup_input *input, uint32_t *length);

#endif
