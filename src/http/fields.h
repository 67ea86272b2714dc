/*
 * Reads a JSON object field by field. No request has a nested value, so the reader stops at one.
 * Strict (RFC 8259, UTF-8), without an allocation, and in one pass, so that a body takes no memory
 * and no more time than its length needs. Pure.
 */
#ifndef HTTP_FIELDS_H
#define HTTP_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FIELDS_TEXT_MAX = 64 /* bytes of a name or a string; longer ones are cut */
};

enum fields_type {
    FIELDS_STRING,
    FIELDS_WHOLE, /* a number without a fraction and an exponent */
    FIELDS_OTHER, /* another number, true, false, null */
    FIELDS_NESTED /* an object or an array; it cannot be read, and the caller stops */
};

/* A string without its escapes, in UTF-8. It may contain NUL bytes, and has no 0 at its end. */
struct fields_text {
    uint32_t length;
    bool cut; /* the string is longer */
    uint8_t bytes[FIELDS_TEXT_MAX];
};

/* Members that the type does not have are not set. */
struct field {
    struct fields_text name;
    enum fields_type type;
    bool negative;           /* WHOLE */
    uint64_t number;         /* WHOLE: without its sign; UINT64_MAX: that much or more */
    struct fields_text text; /* STRING */
};

struct fields {
    const uint8_t *at;
    const uint8_t *start;
    const uint8_t *end;
    bool begun;          /* the object */
    const char *problem; /* WRONG: a phrase */
};

enum fields_result {
    FIELDS_NEXT, /* there was another field */
    FIELDS_END,  /* the object has ended, and nothing but blanks follows it */
    FIELDS_WRONG /* `at` is near the problem */
};

/* Borrows `bytes` until the last field was read. */
void fields_init(struct fields *fields, const uint8_t *bytes, size_t length);

/* Reads the next field. Sets `*field` if there is one. Must not be called after END or WRONG. */
enum fields_result fields_read(struct fields *fields, struct field *field);

#endif
