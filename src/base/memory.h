/*
 * Memory as an argument. The creator of a structure chooses its memory, so that a test can count
 * allocations, make them fail, and find leaks.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

enum {
    CACHE_LINE_BYTES = 64 /* a cache line, the unit of transfer between processors */
};

struct memory {
    /* Returns `size` bytes at a multiple of `alignment` (a power of two), not cleared, or NULL. */
    void *(*allocate)(void *context, size_t size, size_t alignment);
    /* Frees a block; `size` is its allocated size. */
    void (*release)(void *context, void *block, size_t size);
    void *context;
};

static inline void *memory_allocate(const struct memory *memory, size_t size, size_t alignment)
{
    return memory->allocate(memory->context, size, alignment);
}

static inline void memory_release(const struct memory *memory, void *block, size_t size)
{
    if (block)
        memory->release(memory->context, block, size);
}

#endif
