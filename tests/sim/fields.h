/*
 * Records as text, for traces: `name=value` for each field that is not 0.
 */
#ifndef TESTS_SIM_FIELDS_H
#define TESTS_SIM_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* An unsigned number of 1, 2, 4 or 8 bytes. With `words`, it is written as one of these. */
struct field {
    const char *name;
    size_t offset;
    size_t size;
    const char *const *words;
    uint64_t word_count;
};

#define FIELD(type, member)                                                   \
    {                                                                         \
#member, offsetof(type, member), sizeof(((type *)0)->member), NULL, 0 \
    }

void fields_print(FILE *to, const struct field *fields, size_t count, const void *record);

/* Sets the fields that `text` names. Modifies `text`. Returns false if it is invalid. */
bool fields_parse(char *text, const struct field *fields, size_t count, void *record);

#endif
