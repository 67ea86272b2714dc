#include "client/buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    CAPACITY_MIN = 512,
    CAPACITY_KEPT_MAX = 64 * 1024 /* while it is empty */
};

/* Does not use realloc(3), which does not wipe the old memory. */
static bool buffer_grow(struct buffer *buffer, size_t room)
{
    size_t length = buffer_length(buffer);
    size_t capacity = buffer->capacity > CAPACITY_MIN ? buffer->capacity : CAPACITY_MIN;
    uint8_t *bytes;

    while (capacity - length < room) {
        if (capacity > SIZE_MAX / 2)
            return false;
        capacity *= 2;
    }
    bytes = malloc(capacity);
    if (!bytes)
        return false;
    if (length > 0)
        memcpy(bytes, buffer_first(buffer), length);
    buffer_free(buffer);
    *buffer = (struct buffer){.bytes = bytes, .end = length, .capacity = capacity};
    return true;
}

uint8_t *buffer_room(struct buffer *buffer, size_t length)
{
    if (buffer->capacity - buffer->end < length) {
        /* Moves only if that frees more than half of the buffer, so that moves are rare. */
        if (buffer->start > buffer->capacity / 2 &&
            buffer->capacity - buffer_length(buffer) >= length) {
            memmove(buffer->bytes, buffer_first(buffer), buffer_length(buffer));
            buffer->end -= buffer->start;
            buffer->start = 0;
        } else if (!buffer_grow(buffer, length)) {
            return NULL;
        }
    }
    return buffer->bytes + buffer->end;
}

void buffer_added(struct buffer *buffer, size_t length)
{
    assert(length <= buffer->capacity - buffer->end);
    buffer->end += length;
}

bool buffer_add(struct buffer *buffer, const void *bytes, size_t length)
{
    uint8_t *to;

    if (length == 0)
        return true;
    to = buffer_room(buffer, length);
    if (!to)
        return false;
    memcpy(to, bytes, length);
    buffer_added(buffer, length);
    return true;
}

void buffer_drop(struct buffer *buffer, size_t length)
{
    assert(length <= buffer_length(buffer));
    buffer->start += length;
    if (buffer->start < buffer->end)
        return;
    buffer->start = 0;
    buffer->end = 0;
    if (buffer->capacity > CAPACITY_KEPT_MAX)
        buffer_free(buffer);
}

void buffer_free(struct buffer *buffer)
{
    if (buffer->bytes)
        explicit_bzero(buffer->bytes, buffer->capacity);
    free(buffer->bytes);
    *buffer = (struct buffer){0};
}
