/*
 * Memory as an argument: who builds a structure says where its memory comes from, so that a test
 * can count the calls, make them fail, and see that each block comes back.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

enum {
    CACHE_LINE_BYTES = 64 /* what a processor fetches, or takes from another one to write to */
};

struct memory {
    /* `size` bytes at a multiple of `alignment` (a power of two), or NULL. Not cleared. */
    void *(*allocate)(void *context, size_t size, size_t alignment);
    /* Takes back a block; `size` is what it was asked with. */
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
