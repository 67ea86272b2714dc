/*
 * Listening sockets.
 */
#ifndef OS_SOCKETS_H
#define OS_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

enum {
    SOCKETS_ADDRESS_MAX = 64 /* of "[address]:port" as text */
};

/*
 * Listens on `host` and `port` with `count` sockets among which the kernel spreads connections,
 * one for each worker, all on the same port, also when `port` is 0 and the kernel chooses it. What
 * is accepted from them has TCP_NODELAY and keep-alive set. Nobody else may listen there: also not
 * another server of the same user.
 *
 * On success 0, with `address` set to where it listens; else -1, with `address` set to what is
 * wrong, as a sentence's end.
 */
int sockets_listen(const char *host, uint16_t port, int *listeners, uint32_t count,
                   char address[SOCKETS_ADDRESS_MAX + 256]);

/* Raises the limit of open descriptors to the hard limit; what it is then. */
uint64_t sockets_raise_limit(void);

#endif
