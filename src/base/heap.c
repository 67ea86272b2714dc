#include "base/heap.h"

#include <assert.h>

enum {
    CHILDREN = 4
};

/* The key is stored beside the pointer, so that comparing does not touch the element. */
struct heap_entry {
    uint64_t key;
    struct heap_node *node;
};

static struct heap_entry *heap_entry_at(const struct heap *heap, uint32_t index)
{
    return segments_at(&heap->entries, index);
}

static void heap_entry_put(struct heap *heap, uint32_t index, struct heap_entry entry)
{
    *heap_entry_at(heap, index) = entry;
    entry.node->place = index + 1;
}

void heap_init(struct heap *heap, const struct memory *memory)
{
    segments_init(&heap->entries, memory, sizeof(struct heap_entry));
    heap->count = 0;
}

void heap_free(struct heap *heap)
{
    segments_free(&heap->entries);
    heap->count = 0;
}

bool heap_reserve(struct heap *heap, uint32_t count)
{
    return segments_reserve(&heap->entries, count);
}

void heap_trim(struct heap *heap, uint32_t count)
{
    segments_trim(&heap->entries, count);
}

static void heap_sift_up(struct heap *heap, uint32_t index, struct heap_entry entry)
{
    while (index > 0) {
        uint32_t parent = (index - 1) / CHILDREN;
        struct heap_entry above = *heap_entry_at(heap, parent);

        if (above.key <= entry.key)
            break;
        heap_entry_put(heap, index, above);
        index = parent;
    }
    heap_entry_put(heap, index, entry);
}

static void heap_sift_down(struct heap *heap, uint32_t index, struct heap_entry entry)
{
    for (;;) {
        uint64_t first = (uint64_t)index * CHILDREN + 1;
        uint64_t end = first + CHILDREN < heap->count ? first + CHILDREN : heap->count;
        uint64_t least_key = entry.key;
        uint32_t least = index;

        for (uint64_t child = first; child < end; child++) {
            uint64_t key = heap_entry_at(heap, (uint32_t)child)->key;

            if (key < least_key) {
                least_key = key;
                least = (uint32_t)child;
            }
        }
        if (least == index)
            break;
        heap_entry_put(heap, index, *heap_entry_at(heap, least));
        index = least;
    }
    heap_entry_put(heap, index, entry);
}

void heap_insert(struct heap *heap, struct heap_node *node, uint64_t key)
{
    assert(!heap_contains(node));
    assert(heap->count < segments_capacity(&heap->entries));

    heap->count++;
    heap_sift_up(heap, heap->count - 1, (struct heap_entry){.key = key, .node = node});
}

static void heap_restore_order(struct heap *heap, uint32_t index, struct heap_entry entry)
{
    if (index > 0 && entry.key < heap_entry_at(heap, (index - 1) / CHILDREN)->key)
        heap_sift_up(heap, index, entry);
    else
        heap_sift_down(heap, index, entry);
}

void heap_update(struct heap *heap, struct heap_node *node, uint64_t key)
{
    assert(heap_contains(node) && heap_entry_at(heap, node->place - 1)->node == node);

    heap_restore_order(heap, node->place - 1, (struct heap_entry){.key = key, .node = node});
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    uint32_t index;
    struct heap_entry last;

    if (!heap_contains(node))
        return;
    index = node->place - 1;
    assert(heap_entry_at(heap, index)->node == node);

    node->place = 0;
    last = *heap_entry_at(heap, --heap->count);
    if (last.node != node)
        heap_restore_order(heap, index, last);
}

struct heap_node *heap_top(const struct heap *heap)
{
    return heap->count ? heap_entry_at(heap, 0)->node : NULL;
}

uint64_t heap_top_key(const struct heap *heap)
{
    return heap->count ? heap_entry_at(heap, 0)->key : UINT64_MAX;
}

uint64_t heap_key(const struct heap *heap, const struct heap_node *node)
{
    assert(heap_contains(node));
    return heap_entry_at(heap, node->place - 1)->key;
}

bool heap_valid(const struct heap *heap)
{
    for (uint32_t i = 0; i < heap->count; i++) {
        const struct heap_entry *entry = heap_entry_at(heap, i);

        if (entry->node->place != i + 1)
            return false;
        if (i > 0 && heap_entry_at(heap, (i - 1) / CHILDREN)->key > entry->key)
            return false;
    }
    return true;
}
