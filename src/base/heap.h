/*
 * A min-heap of deadlines in which an element knows its place, so that any of them can be moved or
 * removed in O(log n). Four children a node: half the levels of a binary heap, and the children
 * of a node share a cache line.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/segments.h"

/* Lies in the element. `place` is its index in the heap plus one, 0 while it is in none. */
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
 * Makes room for `count` elements in all. False when memory is short. Inserting asks for no
 * memory: who may not fail later reserves before.
 */
bool heap_reserve(struct heap *heap, uint32_t count);

/* Gives back the room that `count` elements do not need. */
void heap_trim(struct heap *heap, uint32_t count);

/* `node` must be in no heap, and room for it reserved. */
void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key);

/* `node` must be in this heap. */
void heap_update(struct heap *heap, struct heap_node *node, uint64_t key);

/* Nothing happens when `node` is in no heap. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* The element with the smallest key, or NULL. */
struct heap_node *heap_top(const struct heap *heap);

/* The smallest key, or UINT64_MAX of an empty heap. */
uint64_t heap_top_key(const struct heap *heap);

/* The key of `node`, which must be in this heap. */
uint64_t heap_key(const struct heap *heap, const struct heap_node *node);

static inline bool heap_contains(const struct heap_node *node)
{
    return node->place != 0;
}

/* Whether order and places are right everywhere; for tests. */
bool heap_valid(const struct heap *heap);

#endif
