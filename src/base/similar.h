/* Similar names, to find what a user meant by a name that does not exist. */
#ifndef BASE_SIMILAR_H
#define BASE_SIMILAR_H

#include <stddef.h>

enum {
    SIMILAR_NAME_MAX = 32 /* bytes; a longer name is similar to none */
};

/*
 * Returns the least number of changes between the `length` bytes at `name` and `other`: insert,
 * remove or replace a byte, or exchange two adjacent bytes. Case does not count, nor does '_' for
 * '-'. Returns SIMILAR_NAME_MAX if one of them is too long.
 */
size_t similar_distance(const char *name, size_t length, const char *other);

#endif
