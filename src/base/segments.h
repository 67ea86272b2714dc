/*
 * A growable array whose elements never move: a directory of segments of one size. Growing by
 * one element allocates at most one segment and copies no elements, so its cost does not depend
 * on the size.
 */
#ifndef BASE_SEGMENTS_H
#define BASE_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

enum {
    SEGMENT_BYTES = 4096
};

struct segments {
    const struct memory *memory;
    uint8_t **directory;
    uint32_t directory_capacity;
    uint32_t segment_count;
    uint8_t element_shift; /* an element has 1 << element_shift bytes */
    uint8_t index_shift;   /* a segment has 1 << index_shift elements */
};

/* `element_bytes` is a power of two up to SEGMENT_BYTES. `memory` must outlive the array. */
void segments_init(struct segments *segments, const struct memory *memory, size_t element_bytes);

void segments_free(struct segments *segments);

/* Makes room for `count` elements. Returns false if memory is short; existing elements stay. */
bool segments_reserve(struct segments *segments, size_t count);

/* Frees the segments beyond `count` elements, except for one spare. */
void segments_trim(struct segments *segments, size_t count);

/* Returns the number of elements that have room. */
static inline size_t segments_capacity(const struct segments *segments)
{
    return (size_t)segments->segment_count << segments->index_shift;
}

/* Returns the element at `index`, which must be below the capacity. */
static inline void *segments_at(const struct segments *segments, size_t index)
{
    size_t within = index & (((size_t)1 << segments->index_shift) - 1);

    return segments->directory[index >> segments->index_shift] +
           (within << segments->element_shift);
}

#endif
