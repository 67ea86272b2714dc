/*
 * Memory that counts: how often it was asked, and what is still out. It can be told to run out, it
 * checks that each block comes back once, with its size and nothing written behind its end, and
 * hands out no cleared bytes. For one thread. Include it behind cmocka.h.
 */
#ifndef TESTS_UNIT_MEMORY_COUNTED_H
#define TESTS_UNIT_MEMORY_COUNTED_H

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    MEMORY_COUNTED_FRESH = 0xD7, /* fills a new block */
    MEMORY_COUNTED_GUARD = 0x5A, /* fills what was added behind it, to round its size up */
    MEMORY_COUNTED_GUARD_LEAST = 8
};

#define MEMORY_COUNTED_LIVE UINT64_C(0x6c697665626c6f63)

struct memory_counted {
    struct memory memory;
    uint64_t calls;      /* allocations asked for, also those that failed */
    uint64_t blocks;     /* now out */
    uint64_t bytes;      /* now out */
    uint64_t fail_after; /* so many more succeed, it counts down; UINT64_MAX: never */
};

/* Lies right in front of each block. */
struct memory_counted_header {
    uint64_t live;
    uint64_t size;
    uint64_t total;
    uint64_t offset; /* of the block in what aligned_alloc gave */
};

static inline void *memory_counted_allocate(void *context, size_t size, size_t alignment)
{
    struct memory_counted *counted = context;
    size_t header_bytes = sizeof(struct memory_counted_header);
    size_t unit = alignment < header_bytes ? header_bytes : alignment;
    size_t total = (unit + size + MEMORY_COUNTED_GUARD_LEAST + unit - 1) / unit * unit;
    struct memory_counted_header header = {MEMORY_COUNTED_LIVE, size, total, unit};
    uint8_t *base;

    assert_true(alignment > 0 && (alignment & (alignment - 1)) == 0);
    counted->calls++;
    if (counted->fail_after == 0)
        return NULL;
    if (counted->fail_after != UINT64_MAX)
        counted->fail_after--;
    base = aligned_alloc(unit, total);
    assert_non_null(base);
    memset(base, MEMORY_COUNTED_GUARD, total);
    memset(base + unit, MEMORY_COUNTED_FRESH, size);
    memcpy(base + unit - header_bytes, &header, header_bytes);
    counted->blocks++;
    counted->bytes += size;
    return base + unit;
}

static inline void memory_counted_release(void *context, void *block, size_t size)
{
    struct memory_counted *counted = context;
    struct memory_counted_header header;
    uint8_t *base;

    memcpy(&header, (uint8_t *)block - sizeof(header), sizeof(header));
    assert_true(header.live == MEMORY_COUNTED_LIVE);
    assert_int_equal(header.size, size);
    base = (uint8_t *)block - header.offset;
    for (size_t i = header.offset + size; i < header.total; i++)
        assert_int_equal(base[i], MEMORY_COUNTED_GUARD);
    memset(base, 0, header.total);
    free(base);
    counted->blocks--;
    counted->bytes -= size;
}

static inline void memory_counted_init(struct memory_counted *counted)
{
    counted->memory.allocate = memory_counted_allocate;
    counted->memory.release = memory_counted_release;
    counted->memory.context = counted;
    counted->calls = 0;
    counted->blocks = 0;
    counted->bytes = 0;
    counted->fail_after = UINT64_MAX;
}

/* Whether every block came back. */
static inline void memory_counted_assert_returned(const struct memory_counted *counted)
{
    assert_int_equal(counted->blocks, 0);
    assert_int_equal(counted->bytes, 0);
}

#endif
