/*
 * A plain conversation with a server: one blocking socket, for what comes before the load.
 */
#ifndef BENCH_TALK_H
#define BENCH_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/address.h"
#include "bench/speech.h"
#include "os/tls.h"

enum {
    TALK_PROBLEM_MAX = 400
};

/* Connects and says the secret, where there is one: the descriptor, or -1 and `problem`. */
int talk_open(const struct address *address, const struct speech *speech,
              char problem[TALK_PROBLEM_MAX]);

/* Shakes hands as TLS does, where nothing was said before; false where `problem` says why not. */
bool talk_try_tls(int descriptor, const struct address *address, struct tls_context *context,
                  char problem[TALK_PROBLEM_MAX]);

/* Sends all of it; false when the connection is gone. */
bool talk_send(int descriptor, const void *bytes, size_t length);

/* What was heard and not read yet. */
struct talk_input {
    size_t start;
    size_t end;
    char bytes[4096];
};

/* The next line without its newline, valid until the next call; NULL when there will be none. */
const char *talk_hear(int descriptor, struct talk_input *input, uint32_t *length);

#endif
