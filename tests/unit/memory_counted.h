/*
 * An allocator that counts its calls and blocks, and that can run out. It checks that each block is
 * released once, with its size, and that nothing was written behind it. New blocks are not cleared.
 * For one thread; a failed check fails the test.
 */
#ifndef TESTS_UNIT_MEMORY_COUNTED_H
#define TESTS_UNIT_MEMORY_COUNTED_H

#include <stdint.h>

#include "base/memory.h"

enum {
    MEMORY_COUNTED_FRESH = 0xD7, /* fills a new block */
    MEMORY_COUNTED_GUARD = 0x5A, /* fills the bytes after it, which round its size up */
    MEMORY_COUNTED_GUARD_LEAST = 8
};

#define MEMORY_COUNTED_LIVE UINT64_C(0x6c697665626c6f63)

struct memory_counted {
    struct memory memory;
    uint64_t calls;      /* of allocate, including failed ones */
    uint64_t blocks;     /* allocated now */
    uint64_t bytes;      /* allocated now */
    uint64_t fail_after; /* allocations that still succeed, counts down; UINT64_MAX: all */
};

/* Lies right in front of each block. */
struct memory_counted_header {
    uint64_t live;
    uint64_t size;
    uint64_t total;
    uint64_t offset; /* of the block in what aligned_alloc gave */
};

void memory_counted_init(struct memory_counted *counted);

/* Whether every block came back. */
void memory_counted_assert_returned(const struct memory_counted *counted);

#endif
