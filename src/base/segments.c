#include "base/segments.h"

#include <assert.h>
#include <string.h>

enum {
    DIRECTORY_CAPACITY_MIN = 8
};

void segments_init(struct segments *segments, const struct memory *memory, size_t element_bytes)
{
    assert(element_bytes && (element_bytes & (element_bytes - 1)) == 0);
    assert(element_bytes <= SEGMENT_BYTES);

    memset(segments, 0, sizeof(*segments));
    segments->memory = memory;
    segments->element_shift = (uint8_t)__builtin_ctzll(element_bytes);
    segments->index_shift = (uint8_t)__builtin_ctzll(SEGMENT_BYTES / element_bytes);
}

void segments_free(struct segments *segments)
{
    for (uint32_t i = 0; i < segments->segment_count; i++)
        memory_release(segments->memory, segments->directory[i], SEGMENT_BYTES);
    memory_release(segments->memory, segments->directory,
                   segments->directory_capacity * sizeof(*segments->directory));
    segments->directory = NULL;
    segments->directory_capacity = 0;
    segments->segment_count = 0;
}

static bool segments_grow_directory(struct segments *segments)
{
    uint32_t capacity = segments->directory_capacity * 2;
    uint8_t **directory;

    if (capacity < DIRECTORY_CAPACITY_MIN)
        capacity = DIRECTORY_CAPACITY_MIN;
    directory =
        memory_allocate(segments->memory, capacity * sizeof(*directory), sizeof(*directory));
    if (!directory)
        return false;
    if (segments->segment_count)
        memcpy(directory, segments->directory, segments->segment_count * sizeof(*directory));
    memory_release(segments->memory, segments->directory,
                   segments->directory_capacity * sizeof(*directory));
    segments->directory = directory;
    segments->directory_capacity = capacity;
    return true;
}

bool segments_reserve(struct segments *segments, size_t count)
{
    while (segments_capacity(segments) < count) {
        uint8_t *segment;

        if (segments->segment_count == segments->directory_capacity &&
            !segments_grow_directory(segments))
            return false;
        segment = memory_allocate(segments->memory, SEGMENT_BYTES, sizeof(void *));
        if (!segment)
            return false;
        segments->directory[segments->segment_count++] = segment;
    }
    return true;
}

void segments_trim(struct segments *segments, size_t count)
{
    size_t per_segment = (size_t)1 << segments->index_shift;
    size_t keep = ((count + per_segment - 1) >> segments->index_shift) + 1;

    while (segments->segment_count > keep)
        memory_release(segments->memory, segments->directory[--segments->segment_count],
                       SEGMENT_BYTES);
}
