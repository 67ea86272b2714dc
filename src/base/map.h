/*
 * A hash map of intrusive elements that grows and shrinks by one bucket at a time (linear hashing):
 * no insertion ever pays for a rehash of all, whatever the size. The caller hashes, with a secret
 * key where others choose what is hashed, and compares; elements with equal hashes may coexist.
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
    uint64_t mask; /* of the hash's low bits: the buckets not yet split in this round */
    uint64_t count;
};

/* Asks for no memory yet. */
void map_init(struct map *map, const struct memory *memory);

/* The first buckets: to be called once before all else but map_free. False when memory is short. */
bool map_reserve(struct map *map);

void map_free(struct map *map);

/* The first element with this hash, or NULL. */
struct map_link *map_find(const struct map *map, uint64_t hash);

/* The next element with the hash of `link`, or NULL. */
struct map_link *map_find_next(const struct map_link *link);

/* Never fails: where memory for another bucket is short, the chains grow longer. */
void map_insert(struct map *map, struct map_link *link, uint64_t hash);

/* `link` must be in the map. */
void map_remove(struct map *map, struct map_link *link);

/*
 * Visits the elements of one bucket and returns the position to go on from, 0 after the last one;
 * start with 0. Elements that stay in the map for the whole walk are visited exactly once, however
 * it grows and shrinks meanwhile. `visit` must not change the map.
 */
uint64_t map_walk(const struct map *map, uint64_t position,
                  void (*visit)(void *context, struct map_link *link), void *context);

#endif
