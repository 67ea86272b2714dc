/*
 * Blocks come from malloc, so that a sanitizer knows their bounds. They are never cleared.
 */
#include "scarce_memory.h"

#include <stdlib.h>
#include <string.h>

#include "seeded.h"

enum {
    FRESH = 0xD7 /* fills new blocks, so that no code relies on zeros */
};

static bool scarce_memory_take_failure(struct scarce_memory *scarce)
{
    struct seeded seeded = {.state = scarce->seed + scarce->calls};

    return scarce->one_in > 0 && seeded_below(&seeded, scarce->one_in) == 0;
}

static void *scarce_memory_allocate(void *context, size_t size, size_t alignment)
{
    struct scarce_memory *scarce = context;
    size_t total = (size + alignment - 1) / alignment * alignment;
    void *block;

    scarce->calls++;
    if (scarce_memory_take_failure(scarce)) {
        scarce->failures++;
        if (scarce->position && scarce->note_count < SCARCE_NOTES)
            scarce->notes[scarce->note_count++] = *scarce->position;
        return NULL;
    }
    block = alignment <= sizeof(void *) * 2 ? malloc(size) : aligned_alloc(alignment, total);
    if (!block)
        abort();
    memset(block, FRESH, size);
    scarce->blocks++;
    scarce->bytes += size;
    return block;
}

static void scarce_memory_release(void *context, void *block, size_t size)
{
    struct scarce_memory *scarce = context;

    free(block);
    scarce->blocks--;
    scarce->bytes -= size;
}

void scarce_memory_init(struct scarce_memory *scarce)
{
    memset(scarce, 0, sizeof(*scarce));
    scarce->memory.allocate = scarce_memory_allocate;
    scarce->memory.release = scarce_memory_release;
    scarce->memory.context = scarce;
}

void scarce_memory_fail(struct scarce_memory *scarce, uint32_t one_in, uint64_t seed)
{
    scarce->one_in = one_in;
    scarce->seed = seed;
}

void scarce_memory_watch(struct scarce_memory *scarce, const uint32_t *position)
{
    scarce->position = position;
    scarce->note_count = 0;
}

bool scarce_memory_failed_at(const struct scarce_memory *scarce, size_t position)
{
    for (uint32_t i = 0; i < scarce->note_count; i++) {
        if (scarce->notes[i] == position)
            return true;
    }
    return false;
}
