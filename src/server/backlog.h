/*
 * Received bytes that can't be used yet. An empty backlog has no memory. A small one comes from a
 * pool; a larger one counts against the budget of all buffers.
 */
#ifndef SERVER_BACKLOG_H
#define SERVER_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/pool.h"

enum {
    BACKLOG_MIN = 1016, /* an object of the pool; holds any request except `auth` */
    /* More than all receive buffers of a ring, which may still be received after a pause. */
    BACKLOG_MAX = 8 * 1024 * 1024
};

struct backlog {
    uint8_t *bytes;
    uint32_t start;
    uint32_t end;
    uint32_t capacity;
};

/* The memory of all backlogs of one thread. */
struct backlog_source {
    struct budget *buffers;
    struct pool pool;
};

void backlog_source_init(struct backlog_source *source, struct budget *buffers);
void backlog_source_free(struct backlog_source *source);

static inline uint32_t backlog_length(const struct backlog *backlog)
{
    return backlog->end - backlog->start;
}

/* Returns the bytes, valid until the backlog changes; never NULL. */
const uint8_t *backlog_bytes(const struct backlog *backlog);

/*
 * Returns the size of the block that backlog_append would allocate for `length` more bytes; 0: it
 * would allocate none.
 */
uint32_t backlog_growth(const struct backlog *backlog, uint32_t length);

/* Returns false if memory or the budget is short, or above BACKLOG_MAX. `length` is not 0. */
bool backlog_append(struct backlog *backlog, struct backlog_source *source, const uint8_t *bytes,
                    uint32_t length);

void backlog_consume(struct backlog *backlog, struct backlog_source *source, size_t length);

void backlog_clear(struct backlog *backlog, struct backlog_source *source);

#endif
