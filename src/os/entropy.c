#include "os/entropy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* Not randombytes_buf of libsodium: it reads 256 bytes a system call, so a stock would cost 16. */
void entropy_fill(void *bytes, size_t length)
{
    uint8_t *to = bytes;

    while (length > 0) {
        ssize_t count = getrandom(to, length, 0);

        if (count < 0 && errno != EINTR) {
            perror("getrandom");
            abort();
        }
        if (count > 0) {
            to += count;
            length -= (size_t)count;
        }
    }
}

uint64_t entropy_next(struct entropy *entropy)
{
    uint64_t value;

    if (entropy->left == 0) {
        entropy_fill(entropy->stock, sizeof(entropy->stock));
        entropy->left = ENTROPY_STOCK;
    }
    value = entropy->stock[--entropy->left];
    entropy->stock[entropy->left] = 0;
    return value;
}
