/*
 * Shared by the fuzzers: a check that ends the run with a message, and the input as a stream of
 * bytes.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static inline void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

/* Returns a copy of exact size, so that a sanitizer detects reads beyond it; the caller frees it.
 */
static inline uint8_t *exact_copy(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length);

    must(copy, "there is memory");
    if (length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

struct input {
    const uint8_t *bytes;
    size_t length;
};

/* Returns the next byte; 0 at the end. */
static inline uint8_t input_byte(struct input *input)
{
    if (input->length == 0)
        return 0;
    input->length--;
    return *input->bytes++;
}

/* Returns the next `length` bytes, or as many as are left. */
static inline struct input input_take(struct input *input, size_t length)
{
    struct input taken = {.bytes = input->bytes, .length = length};

    if (taken.length > input->length)
        taken.length = input->length;
    input->bytes += taken.length;
    input->length -= taken.length;
    return taken;
}

#endif
