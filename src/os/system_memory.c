#include "os/system_memory.h"

#include <stddef.h>
#include <stdlib.h>

static void *system_memory_allocate(void *context, size_t size, size_t alignment)
{
    void *block;

    (void)context;
    if (alignment <= _Alignof(max_align_t))
        return malloc(size);
    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

static void system_memory_release(void *context, void *block, size_t size)
{
    (void)context;
    (void)size;
    free(block);
}

const struct memory system_memory = {
    .allocate = system_memory_allocate,
    .release = system_memory_release,
};
