/*
 * Random bytes from the kernel. A stock of them costs one system call for several hundred tokens.
 */
#ifndef OS_ENTROPY_H
#define OS_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

enum {
    ENTROPY_STOCK = 512
};

struct entropy {
    uint64_t stock[ENTROPY_STOCK];
    uint32_t left; /* values left in the stock; 0 at first */
};

/* Returns 64 random bits, and removes them from the stock. */
uint64_t entropy_next(struct entropy *entropy);

/* Fills `bytes`. Aborts the process if the kernel provides no random bytes. */
void entropy_fill(void *bytes, size_t length);

#endif
