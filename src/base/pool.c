/*
 * A chunk is aligned to its size, so an object's address gives its chunk. Objects are carved on
 * first use, so unused pages stay untouched.
 */
#include "base/pool.h"

#include <assert.h>

struct pool_chunk {
    struct list_link link; /* in pool->partial while it has a free object */
    void *free;            /* list of returned objects */
    uint32_t carved;       /* objects handed out at least once */
    uint32_t taken;
};

enum {
    CHUNK_HEADER_BYTES =
        64 /* one cache line, so that objects of whole lines are aligned to lines */
};

static_assert(sizeof(struct pool_chunk) <= CHUNK_HEADER_BYTES, "a header fits in its line");

void pool_init(struct pool *pool, const struct memory *memory, size_t object_bytes)
{
    pool_init_chunks(pool, memory, object_bytes, POOL_CHUNK_BYTES);
}

void pool_init_chunks(struct pool *pool, const struct memory *memory, size_t object_bytes,
                      uint32_t chunk_bytes)
{
    object_bytes = (object_bytes + 7) / 8 * 8;
    assert(object_bytes >= sizeof(void *));
    assert(object_bytes <= chunk_bytes - CHUNK_HEADER_BYTES);

    pool->memory = memory;
    list_init(&pool->partial);
    pool->chunk_bytes = chunk_bytes;
    pool->object_bytes = (uint32_t)object_bytes;
    pool->objects_per_chunk = (uint32_t)((chunk_bytes - CHUNK_HEADER_BYTES) / object_bytes);
    pool->count = 0;
    pool->chunks = 0;
    pool->empty_chunks = 0;
    pool->empty_chunks_max = 1;
}

void pool_keep(struct pool *pool, uint32_t chunks)
{
    pool->empty_chunks_max = chunks;
}

void pool_free(struct pool *pool)
{
    assert(pool->count == 0);
    while (!list_empty(&pool->partial)) {
        struct list_link *link = list_first(&pool->partial);

        list_remove(link);
        memory_release(pool->memory, CONTAINER_OF(link, struct pool_chunk, link),
                       pool->chunk_bytes);
    }
    pool->chunks = 0;
    pool->empty_chunks = 0;
}

void pool_trim(struct pool *pool, uint32_t chunks)
{
    while (pool->empty_chunks > chunks) {
        struct list_link *link = pool->partial.head.previous;

        list_remove(link);
        pool->empty_chunks--;
        pool->chunks--;
        memory_release(pool->memory, CONTAINER_OF(link, struct pool_chunk, link),
                       pool->chunk_bytes);
    }
}

static struct pool_chunk *pool_chunk_new(struct pool *pool)
{
    struct pool_chunk *chunk = memory_allocate(pool->memory, pool->chunk_bytes, pool->chunk_bytes);

    if (!chunk)
        return NULL;
    chunk->free = NULL;
    chunk->carved = 0;
    chunk->taken = 0;
    list_push_front(&pool->partial, &chunk->link);
    pool->chunks++;
    pool->empty_chunks++;
    return chunk;
}

void *pool_take(struct pool *pool)
{
    struct list_link *link = list_first(&pool->partial);
    struct pool_chunk *chunk =
        link ? CONTAINER_OF(link, struct pool_chunk, link) : pool_chunk_new(pool);
    void *object;

    if (!chunk)
        return NULL;
    if (chunk->free) {
        object = chunk->free;
        chunk->free = *(void **)object;
    } else {
        object = (char *)chunk + CHUNK_HEADER_BYTES + (size_t)chunk->carved * pool->object_bytes;
        chunk->carved++;
    }
    if (chunk->taken == 0)
        pool->empty_chunks--;
    chunk->taken++;
    if (chunk->taken == pool->objects_per_chunk)
        list_remove(&chunk->link);
    pool->count++;
    return object;
}

void *pool_take_keeping(struct pool *pool, uint32_t kept)
{
    uint64_t free = pool->chunks * pool->objects_per_chunk - pool->count;

    if (free <= kept && !pool_chunk_new(pool))
        return NULL;
    return pool_take(pool);
}

void pool_give(struct pool *pool, void *object)
{
    struct pool_chunk *chunk =
        (struct pool_chunk *)((uintptr_t)object & ~(uintptr_t)(pool->chunk_bytes - 1));

    assert(chunk->taken > 0);
    *(void **)object = chunk->free;
    chunk->free = object;
    if (chunk->taken == pool->objects_per_chunk)
        list_push_front(&pool->partial, &chunk->link);
    chunk->taken--;
    pool->count--;
    if (chunk->taken > 0)
        return;
    if (chunk->link.next != &pool->partial.head) {
        list_remove(&chunk->link);
        list_push_back(&pool->partial, &chunk->link);
    }
    pool->empty_chunks++;
    if (pool->empty_chunks > pool->empty_chunks_max)
        pool_trim(pool, pool->empty_chunks_max);
}
