/*
 * A min-heap of deadlines. Each element knows its place, so any element can be moved or removed
 * in O(log n). A node has four children: this halves the levels of a binary heap, and the
 * children of a node share a cache line.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/segments.h"

/* Embedded in the element. `place` is the index in the heap plus one, or 0 if it is in no heap. */
struct heap_node {
    uint32_t place;
};

struct heap {
    struct segments entries;
    uint32_t count;
};

void heap_init(struct heap *heap, const struct memory *memory);

void heap_free(struct heap *heap);

/*
 * Makes room for `count` elements. Returns false if memory is short. Inserting allocates
 * nothing, so a caller that must not fail later reserves first.
 */
bool heap_reserve(struct heap *heap, uint32_t count);

/* Frees the room beyond `count` elements. */
void heap_trim(struct heap *heap, uint32_t count);

/* `node` must be in no heap, and room must be reserved. */
void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key);

/* `node` must be in this heap. */
void heap_update(struct heap *heap, struct heap_node *node, uint64_t key);

/* Does nothing if `node` is in no heap. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* Returns the element with the smallest key, or NULL. */
struct heap_node *heap_top(const struct heap *heap);

/* Returns the smallest key, or UINT64_MAX if the heap is empty. */
uint64_t heap_top_key(const struct heap *heap);

/* Returns the key of `node`, which must be in this heap. */
uint64_t heap_key(const struct heap *heap, const struct heap_node *node);

static inline bool heap_contains(const struct heap_node *node)
{
    return node->place != 0;
}

/* For tests: returns whether order and places are right. */
bool heap_valid(const struct heap *heap);

#endif
