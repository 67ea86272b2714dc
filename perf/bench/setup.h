/*
 * A plain conversation with a server: one blocking socket, for what comes before the load.
 */
#ifndef BENCH_SETUP_H
#define BENCH_SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/address.h"
#include "bench/codec.h"
#include "os/tls.h"

enum {
    SETUP_PROBLEM_MAX = 400
};

/* Connects and says the secret, where there is one: the descriptor, or -1 and `problem`. */
int setup_connect(const struct address *address, const struct codec *codec,
                  char problem[SETUP_PROBLEM_MAX]);

/* Shakes hands as TLS does, where nothing was said before; false where `problem` says why not. */
bool setup_try_tls(int descriptor, const struct address *address, struct tls_context *context,
                   char problem[SETUP_PROBLEM_MAX]);

/* Sends all of it; false when the connection is gone. */
bool setup_send(int descriptor, const void *bytes, size_t length);

/* What was heard and not read yet. */
struct setup_input {
    size_t start;
    size_t end;
    char bytes[4096];
};

/* The next line without its newline, valid until the next call; NULL when there will be none. */
const char *setup_read_line(int descriptor, struct setup_input *input, uint32_t *length);

#endif
