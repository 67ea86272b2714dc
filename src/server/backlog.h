/*
 * Bytes that a connection has received and nobody has used yet. It has no memory while there are
 * none; small ones come from a pool, larger ones count against the budget of all buffers.
 */
#ifndef SERVER_BACKLOG_H
#define SERVER_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/pool.h"

enum {
    BACKLOG_MIN = 1016, /* holds any request but `auth`; from the pool */
    /* What may still come in after reading was stopped: a ring's worth of buffers. */
    BACKLOG_MAX = 8 * 1024 * 1024
};

struct backlog {
    uint8_t *bytes;
    uint32_t start;
    uint32_t end;
    uint32_t capacity;
};

/* Where the memory of backlogs comes from. */
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

/* Its bytes, borrowed until it changes; never NULL. */
const uint8_t *backlog_bytes(const struct backlog *backlog);

/* False when memory is short, also that for all, or the backlog as large as it may be. */
bool backlog_append(struct backlog *backlog, struct backlog_source *source, const uint8_t *bytes,
                    uint32_t length);

void backlog_consume(struct backlog *backlog, struct backlog_source *source, size_t length);

void backlog_clear(struct backlog *backlog, struct backlog_source *source);

#endif
