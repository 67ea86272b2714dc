#include "server/backlog.h"

#include <assert.h>
#include <string.h>

void backlog_source_init(struct backlog_source *source, struct budget *buffers)
{
    source->buffers = buffers;
    pool_init(&source->pool, &buffers->memory, BACKLOG_MIN);
}

void backlog_source_free(struct backlog_source *source)
{
    pool_free(&source->pool);
}

static uint8_t *backlog_allocate(struct backlog_source *source, uint32_t capacity)
{
    if (capacity == BACKLOG_MIN)
        return pool_take(&source->pool);
    return memory_allocate(&source->buffers->memory, capacity, 1);
}

const uint8_t *backlog_bytes(const struct backlog *backlog)
{
    static const uint8_t nothing[1];

    return backlog->bytes ? backlog->bytes + backlog->start : nothing;
}

uint32_t backlog_growth(const struct backlog *backlog, uint32_t length)
{
    uint32_t capacity = BACKLOG_MIN;

    if (backlog->bytes && backlog->capacity - backlog->end >= length)
        return 0;
    while (capacity < backlog_length(backlog) + length)
        capacity *= 2;
    return capacity;
}

bool backlog_append(struct backlog *backlog, struct backlog_source *source, const uint8_t *bytes,
                    uint32_t length)
{
    uint32_t kept = backlog_length(backlog);
    uint32_t capacity;

    assert(length > 0);
    if (kept + length > BACKLOG_MAX)
        return false;
    capacity = backlog_growth(backlog, length);
    if (capacity > 0) {
        uint8_t *larger = backlog_allocate(source, capacity);

        if (!larger)
            return false;
        if (backlog->bytes)
            memcpy(larger, backlog->bytes + backlog->start, kept);
        backlog_clear(backlog, source);
        *backlog = (struct backlog){.bytes = larger, .end = kept, .capacity = capacity};
    }
    memcpy(backlog->bytes + backlog->end, bytes, length);
    backlog->end += length;
    return true;
}

void backlog_consume(struct backlog *backlog, struct backlog_source *source, size_t length)
{
    backlog->start += (uint32_t)length;
    if (backlog->bytes && backlog->start == backlog->end)
        backlog_clear(backlog, source);
}

void backlog_clear(struct backlog *backlog, struct backlog_source *source)
{
    if (backlog->bytes && backlog->capacity == BACKLOG_MIN)
        pool_give(&source->pool, backlog->bytes);
    else
        memory_release(&source->buffers->memory, backlog->bytes, backlog->capacity);
    memset(backlog, 0, sizeof(*backlog));
}
