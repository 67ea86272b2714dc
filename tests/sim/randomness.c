/*
 * This getrandom replaces that of the C library.
 */
#include "randomness.h"

#include <string.h>
#include <sys/random.h>

#include "seeded.h"

static struct seeded source;

void randomness_seed(uint64_t seed)
{
    source.state = seed;
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
    uint8_t *to = buffer;

    (void)flags;
    for (size_t left = length; left > 0;) {
        uint64_t value = seeded_next(&source);
        size_t part = left < sizeof(value) ? left : sizeof(value);

        memcpy(to, &value, part);
        to += part;
        left -= part;
    }
    return (ssize_t)length;
}
