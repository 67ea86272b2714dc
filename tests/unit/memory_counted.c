#include "memory_counted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void *memory_counted_allocate(void *context, size_t size, size_t alignment)
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

static void memory_counted_release(void *context, void *block, size_t size)
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

void memory_counted_init(struct memory_counted *counted)
{
    counted->memory.allocate = memory_counted_allocate;
    counted->memory.release = memory_counted_release;
    counted->memory.context = counted;
    counted->calls = 0;
    counted->blocks = 0;
    counted->bytes = 0;
    counted->fail_after = UINT64_MAX;
}

void memory_counted_assert_returned(const struct memory_counted *counted)
{
    assert_int_equal(counted->blocks, 0);
    assert_int_equal(counted->bytes, 0);
}
