/*
 * Memory that counts what is out, and that fails now and then where it is told to. It notes at
 * which length of the output it failed: that tells which request was short of memory.
 */
#ifndef TESTS_SIM_SCARCE_MEMORY_H
#define TESTS_SIM_SCARCE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

enum {
    SCARCE_NOTES = 256
};

struct scarce_memory {
    struct memory memory;
    uint64_t blocks; /* now out */
    uint64_t bytes;
    uint64_t calls;
    uint64_t failures;
    uint32_t one_in; /* calls of which one fails by chance; 0: none */
    uint64_t seed;
    const uint32_t *position; /* of the output that is being written */
    size_t notes[SCARCE_NOTES];
    uint32_t note_count;
};

void scarce_memory_init(struct scarce_memory *scarce);

/* From now on one call in `one_in` fails (0: none), which ones depends on `seed`. */
void scarce_memory_fail(struct scarce_memory *scarce, uint32_t one_in, uint64_t seed);

/* Forgets the notes; the next ones are of `position`. */
void scarce_memory_watch(struct scarce_memory *scarce, const uint32_t *position);

/* Whether it failed while the output was `position` bytes long. */
bool scarce_memory_failed_at(const struct scarce_memory *scarce, size_t position);

#endif
