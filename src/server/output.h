/*
 * The replies of one connection on their way out: a chain of chunks, of which it has none while
 * there is nothing to send.
 */
#ifndef SERVER_OUTPUT_H
#define SERVER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"

enum {
    OUTPUT_CHUNK_BYTES = 2040, /* eight of them fill a chunk of the pool */
    OUTPUT_RESERVE_MAX = 2024,
    OUTPUT_SPARES = 64, /* chunks of the pool: for a reply to each receive buffer of a ring */
    /*
     * Free chunks that outputs which have one already leave to those that have none: if memory is
     * short, a peer that does not read its replies fails before one that asks for its first.
     */
    OUTPUT_KEPT = 64
};

struct output_chunk {
    struct output_chunk *next;
    uint32_t start; /* of what is still to be sent */
    uint32_t end;
    uint8_t bytes[OUTPUT_RESERVE_MAX];
};

struct output {
    struct output_chunk *first;
    struct output_chunk *last;
    uint32_t length; /* bytes in all chunks */
    bool failed;     /* memory was short: a reply is missing, and the connection must end */
};

/* A pool for chunks of any number of outputs of one thread. */
void output_pool_init(struct pool *pool, const struct memory *memory);

/* Room for `length` bytes, at most OUTPUT_RESERVE_MAX, or NULL with `failed` set. */
uint8_t *output_reserve(struct output *output, struct pool *pool, size_t length);

/* How much can be reserved without a further chunk. */
static inline uint32_t output_room(const struct output *output)
{
    return output->last ? OUTPUT_RESERVE_MAX - output->last->end : 0;
}

/* What was reserved last is filled up to `end`. */
void output_commit(struct output *output, const uint8_t *end);

/* The bytes to be sent next; NULL when there are none. */
const uint8_t *output_peek(const struct output *output, uint32_t *length);

/* The first `length` bytes of what output_peek showed are sent. */
void output_consume(struct output *output, struct pool *pool, uint32_t length);

/* Drops everything. */
void output_clear(struct output *output, struct pool *pool);

#endif
