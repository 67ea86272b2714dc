/*
 * A queue of bytes, which may be secret: buffer_free and a growing buffer wipe memory before they
 * free it.
 */
#ifndef CLIENT_BUFFER_H
#define CLIENT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All 0: empty. */
struct buffer {
    uint8_t *bytes;
    size_t start; /* index of the first byte */
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

/* Returns room for `length` more bytes, or NULL if out of memory. After writing there, call
 * buffer_added with the number of bytes written. */
uint8_t *buffer_room(struct buffer *buffer, size_t length);
void buffer_added(struct buffer *buffer, size_t length);

/* Adds a copy of `bytes`. Returns false and adds nothing if out of memory. */
bool buffer_add(struct buffer *buffer, const void *bytes, size_t length);

/* Removes the first `length` bytes. */
void buffer_drop(struct buffer *buffer, size_t length);

/* Frees the memory; the buffer is empty and can be used again. */
void buffer_free(struct buffer *buffer);

#endif
