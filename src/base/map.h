/*
 * A hash map of intrusive elements that grows and shrinks by one bucket at a time (linear
 * hashing), so an insertion never rehashes the whole map. The caller computes hashes and
 * compares elements. It must hash with a secret key if others choose the input. Elements with
 * equal hashes may coexist.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/segments.h"

struct map_link {
    struct map_link *next;
    uint64_t hash;
};

struct map {
    struct segments buckets;
    uint64_t bucket_count;
    uint64_t mask; /* of the hash's low bits: buckets not yet split in this round */
    uint64_t count;
};

/* Allocates nothing. */
void map_init(struct map *map, const struct memory *memory);

/*
 * Allocates the first buckets. Call it once before all functions except map_free. Returns false
 * if memory is short.
 */
bool map_reserve(struct map *map);

void map_free(struct map *map);

/* Returns the first element with this hash, or NULL. */
struct map_link *map_find(const struct map *map, uint64_t hash);

/* Returns the next element with the hash of `link`, or NULL. */
struct map_link *map_find_next(const struct map_link *link);

/* Never fails: without memory for another bucket, the chains grow longer. */
void map_insert(struct map *map, struct map_link *link, uint64_t hash);

/* `link` must be in the map. */
void map_remove(struct map *map, struct map_link *link);

/*
 * Visits the elements of one bucket. Returns the position of the next bucket, or 0 after the
 * last; start with 0. An element that stays in the map during the whole walk is visited exactly
 * once, even if the map grows or shrinks. `visit` must not change the map.
 */
uint64_t map_walk(const struct map *map, uint64_t position,
                  void (*visit)(void *context, struct map_link *link), void *context);

#endif
