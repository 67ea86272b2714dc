/*
 * The unsent bytes of one connection, in a chain of chunks. An empty output has no chunk.
 */
#ifndef SERVER_OUTPUT_H
#define SERVER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"

enum {
    OUTPUT_CHUNK_BYTES = 2040, /* eight fill a chunk of the pool */
    OUTPUT_RESERVE_MAX = 2024,
    OUTPUT_SPARES = 64, /* chunks of the pool: for one reply to each receive buffer of a ring */
    /*
     * Free chunks that only an empty output takes. If memory is short, peers that do not read their
     * replies fail before peers that wait for a first reply.
     */
    OUTPUT_KEPT = 64
};

struct output_chunk {
    struct output_chunk *next;
    uint32_t start; /* of the unsent bytes */
    uint32_t end;
    uint8_t bytes[OUTPUT_RESERVE_MAX];
};

struct output {
    struct output_chunk *first;
    struct output_chunk *last;
    uint32_t length; /* bytes in all chunks */
    bool failed;     /* memory was short and a reply is missing: the connection must end */
};

/* Initialises a pool of chunks for all outputs of one thread. */
void output_pool_init(struct pool *pool, const struct memory *memory);

/* Returns room for up to OUTPUT_RESERVE_MAX bytes. Without memory sets `failed`, returns NULL. */
uint8_t *output_reserve(struct output *output, struct pool *pool, size_t length);

/* Returns how many bytes can be reserved without another chunk. */
static inline uint32_t output_room(const struct output *output)
{
    return output->last ? OUTPUT_RESERVE_MAX - output->last->end : 0;
}

/* Appends the bytes that were written to the last reservation, up to `end`. */
void output_commit(struct output *output, const uint8_t *end);

/* Returns the bytes to send next, and sets `*length`. Returns NULL if there are none. */
const uint8_t *output_peek(const struct output *output, uint32_t *length);

/* Drops the first `length` of the bytes that output_peek returned. */
void output_consume(struct output *output, struct pool *pool, uint32_t length);

/* Drops all bytes. */
void output_clear(struct output *output, struct pool *pool);

#endif
