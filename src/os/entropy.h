/*
 * Random bytes of the kernel's CSPRNG, fetched many at a time: a system call once in some hundred
 * tokens, not with each.
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
    uint32_t left; /* start with 0 */
};

/* 64 random bits that were handed out to nobody else. */
uint64_t entropy_next(struct entropy *entropy);

/* Fills `bytes`. The process ends where the kernel has no randomness to give. */
void entropy_fill(void *bytes, size_t length);

#endif
