/*
 * Listening sockets.
 */
#ifndef OS_SOCKETS_H
#define OS_SOCKETS_H

#include <stddef.h>
#include <stdint.h>

enum {
    SOCKETS_TEXT_MAX = 320 /* of an address, or of what is wrong with it */
};

/*
 * Listens on `host` and `port` with `count` sockets among which the kernel spreads connections,
 * one for each worker, all on the same port, also when `port` is 0 and the kernel chooses it. What
 * is accepted from them has TCP_NODELAY and keep-alive set. Nobody else may listen there: also not
 * another server of the same user.
 *
 * On success 0, and `text` says where it listens, as address:port; else -1, and it says what is
 * wrong.
 */
int sockets_listen(const char *host, uint16_t port, int *listeners, uint32_t count,
                   char text[SOCKETS_TEXT_MAX]);

/*
 * Lets no new connection of TCP begin on a listener that is to be closed soon: what waits in its
 * queue then would be reset by the kernel. Those already begun can still be accepted.
 */
void sockets_close_door(int listener);

/*
 * No more will be sent: the peer reads the end of input. A system call and not a request in the
 * ring, which would hand it to a thread of the kernel; that looks up the descriptor only when it
 * gets to run, and by then it may be another connection's.
 */
void sockets_end_output(int descriptor);

/* Raises the limit of open descriptors to the hard limit; what it is then. */
uint64_t sockets_raise_limit(void);

#endif
