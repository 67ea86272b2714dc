/*
 * Bytes that come in at one end and leave at the other. What is in it may be secret: it is wiped
 * before its memory goes back.
 */
#ifndef CLIENT_BUFFER_H
#define CLIENT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All 0 is an empty one. */
struct buffer {
    uint8_t *bytes;
    size_t start; /* of what is in it */
    size_t end;
    size_t capacity;
};

static inline size_t buffer_length(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline uint8_t *buffer_first(const struct buffer *buffer)
{
    return buffer->bytes + buffer->start;
}

/* Where `length` more bytes may be written; then buffer_added says how many were. NULL: no memory.
 */
uint8_t *buffer_room(struct buffer *buffer, size_t length);
void buffer_added(struct buffer *buffer, size_t length);

/* Adds a copy of `bytes`; false: no memory, and nothing is added. */
bool buffer_add(struct buffer *buffer, const void *bytes, size_t length);

/* The first `length` bytes leave. */
void buffer_drop(struct buffer *buffer, size_t length);

/* It is empty after it, and may be used again. */
void buffer_free(struct buffer *buffer);

#endif
