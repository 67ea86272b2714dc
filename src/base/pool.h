/*
 * A slab allocator for objects of one size. Memory comes in chunks; a chunk whose objects have all
 * come back is given back too, but for a few spares, so that a pool at rest is small again.
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
    struct list partial; /* chunks that have a free object */
    uint32_t object_bytes;
    uint32_t objects_per_chunk;
    uint64_t count;  /* objects taken */
    uint64_t chunks; /* that hold them, and free ones */
    uint32_t empty_chunks;
    uint32_t empty_chunks_max;
};

/*
 * Objects of `object_bytes`, aligned to 8, or to 64 where that divides their size; `memory` must
 * outlive the pool. One chunk is kept as a spare, which is enough for a count that moves little at
 * a time.
 */
void pool_init(struct pool *pool, const struct memory *memory, size_t object_bytes);

/* Keeps so many spare chunks, for a count that keeps coming and going. */
void pool_keep(struct pool *pool, uint32_t chunks);

/* Every object must have come back. */
void pool_free(struct pool *pool);

/* An object, not cleared, or NULL when memory is short. */
void *pool_take(struct pool *pool);

/*
 * As pool_take, for a caller that can do without: leaves at least `kept` free objects to the
 * others, for which it gets more memory first. Returns NULL if there is none.
 */
void *pool_take_keeping(struct pool *pool, uint32_t kept);

void pool_give(struct pool *pool, void *object);

#endif
