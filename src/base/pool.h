/*
 * A slab allocator for objects of one size. It allocates chunks and frees a chunk when all its
 * objects are returned, except for a few spares. So an idle pool is small again.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stdint.h>

#include "base/list.h"
#include "base/memory.h"

enum {
    POOL_CHUNK_BYTES = 16384
};

struct pool {
    const struct memory *memory;
    struct list partial; /* chunks with a free object; empty ones last */
    uint32_t chunk_bytes;
    uint32_t object_bytes;
    uint32_t objects_per_chunk;
    uint64_t count;  /* objects in use */
    uint64_t chunks; /* allocated */
    uint32_t empty_chunks;
    uint32_t empty_chunks_max;
};

/*
 * Objects have `object_bytes`, aligned to 8, or to 64 if that divides their size. `memory` must
 * outlive the pool. The pool keeps one spare chunk, which suffices for a count that changes
 * little at a time.
 */
void pool_init(struct pool *pool, const struct memory *memory, size_t object_bytes);

/* As pool_init, with chunks of `chunk_bytes`, a power of two, for one of many small pools. */
void pool_init_chunks(struct pool *pool, const struct memory *memory, size_t object_bytes,
                      uint32_t chunk_bytes);

/* Keeps up to `chunks` spare chunks, for a count that rises and falls by much. */
void pool_keep(struct pool *pool, uint32_t chunks);

/* Frees all spare chunks but `chunks`. */
void pool_trim(struct pool *pool, uint32_t chunks);

/* All objects must have been returned. */
void pool_free(struct pool *pool);

/* Returns an object, not cleared, or NULL if memory is short. */
void *pool_take(struct pool *pool);

/*
 * Like pool_take, for a caller that can do without: leaves at least `kept` free objects to
 * others and allocates a chunk for them first. Returns NULL if memory is short.
 */
void *pool_take_keeping(struct pool *pool, uint32_t kept);

void pool_give(struct pool *pool, void *object);

#endif
