#include "server/output.h"

#include <assert.h>

void output_pool_init(struct pool *pool, const struct memory *memory)
{
    static_assert(sizeof(struct output_chunk) == OUTPUT_CHUNK_BYTES, "chunks fill the pool's");
    pool_init(pool, memory, sizeof(struct output_chunk));
    pool_keep(pool, OUTPUT_SPARES);
}

uint8_t *output_reserve(struct output *output, struct pool *pool, size_t length)
{
    struct output_chunk *chunk = output->last;

    assert(length <= OUTPUT_RESERVE_MAX);
    if (chunk && OUTPUT_RESERVE_MAX - chunk->end >= length)
        return chunk->bytes + chunk->end;
    chunk = output->first ? pool_take_keeping(pool, OUTPUT_KEPT) : pool_take(pool);
    if (!chunk) {
        output->failed = true;
        return NULL;
    }
    chunk->next = NULL;
    chunk->start = 0;
    chunk->end = 0;
    if (output->last)
        output->last->next = chunk;
    else
        output->first = chunk;
    output->last = chunk;
    return chunk->bytes;
}

void output_commit(struct output *output, const uint8_t *end)
{
    struct output_chunk *chunk = output->last;
    uint32_t filled = (uint32_t)(end - chunk->bytes);

    assert(filled <= OUTPUT_RESERVE_MAX && filled >= chunk->end);
    output->length += filled - chunk->end;
    chunk->end = filled;
}

const uint8_t *output_peek(const struct output *output, uint32_t *length)
{
    const struct output_chunk *chunk = output->first;

    if (output->length == 0)
        return NULL;
    *length = chunk->end - chunk->start;
    return chunk->bytes + chunk->start;
}

void output_consume(struct output *output, struct pool *pool, uint32_t length)
{
    struct output_chunk *chunk = output->first;

    assert(length <= chunk->end - chunk->start);
    chunk->start += length;
    output->length -= length;
    if (chunk->start < chunk->end)
        return;
    output->first = chunk->next;
    if (!output->first)
        output->last = NULL;
    pool_give(pool, chunk);
}

void output_clear(struct output *output, struct pool *pool)
{
    while (output->first) {
        struct output_chunk *chunk = output->first;

        output->first = chunk->next;
        pool_give(pool, chunk);
    }
    output->last = NULL;
    output->length = 0;
}
