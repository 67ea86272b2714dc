/*
 * The reply to `show`: who holds a key, and who waits for it.
 */
#ifndef SERVER_SHOW_H
#define SERVER_SHOW_H

#include <stdbool.h>
#include <stdint.h>

#include "server/output.h"
#include "server/peers.h"
#include "server/stripes.h"

enum {
    SHOW_STEPS = 2 * TABLE_SHOWN_MAX * 4 /* the most that a reply takes */
};

/*
 * Writes the reply, of one moment except for names and addresses. Sets `*steps` to the steps that
 * it took. Returns false, and writes nothing, if no table knows the key. If memory is short, sets
 * output->failed.
 */
bool show_write(struct stripes *stripes, struct peers *peers, uint64_t now_ns,
                const struct lock_key *key, uint32_t *steps, struct output *output,
                struct pool *pool);

#endif
