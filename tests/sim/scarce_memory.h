/*
 * Memory that counts its blocks and fails at random on request. It records the output's length
 * at each failure, which identifies the request that failed.
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
    uint64_t blocks; /* allocated now */
    uint64_t bytes;
    uint64_t calls;
    uint64_t failures;
    uint32_t one_in; /* one in this many calls fails; 0: none */
    uint64_t seed;
    const uint32_t *position; /* length of the current output */
    size_t notes[SCARCE_NOTES];
    uint32_t note_count;
};

void scarce_memory_init(struct scarce_memory *scarce);

/* Makes one call in `one_in` fail (0: none). `seed` decides which. */
void scarce_memory_fail(struct scarce_memory *scarce, uint32_t one_in, uint64_t seed);

/* Clears the records; later ones use `position`. */
void scarce_memory_watch(struct scarce_memory *scarce, const uint32_t *position);

/* Returns whether a call failed while the output was `position` bytes long. */
bool scarce_memory_failed_at(const struct scarce_memory *scarce, size_t position);

#endif
