/*
 * What the fuzzers share: a check that ends the run with a word on what did not hold, and the input
 * as something to take bytes from.
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

/* A copy with nothing behind it, so that reading beyond its end is seen; to be freed. */
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

/* The next byte, 0 behind the end. */
static inline uint8_t input_byte(struct input *input)
{
    if (input->length == 0)
        return 0;
    input->length--;
    return *input->bytes++;
}

/* The next bytes, as many of `length` as are left. */
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
