/*
 * Listening sockets, and what is asked of connected ones.
 */
#ifndef OS_SOCKETS_H
#define OS_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SOCKETS_TEXT_MAX = 320, /* of an address, or of what is wrong with it */
    SOCKETS_BACKLOG = 4096, /* connections that wait to be accepted */
    SOCKETS_PEER_BYTES = 16,
    SOCKETS_PEER_TEXT_MAX = 64 /* of a peer's address */
};

/* A socket that connections are accepted from. */
struct listener {
    int descriptor;
    bool local;  /* a Unix socket */
    bool passed; /* others listen with it too, before and after us */
};

/*
 * Listens on `host` and `port` with `count` sockets among which the kernel spreads connections,
 * one for each worker, all on the same port, also when `port` is 0 and the kernel chooses it. What
 * is accepted from them has TCP_NODELAY and keep-alive set. Nobody else may listen there: also not
 * another server of the same user.
 *
 * On success 0, and `text` says where it listens, as address:port; else -errno (-EINVAL if the host
 * has no address), and it says what is wrong.
 */
int sockets_listen(const char *host, uint16_t port, int *listeners, uint32_t count,
                   char text[SOCKETS_TEXT_MAX]);

/*
 * Keeps the port of `listener` bound until the process ends, also after all listeners have been
 * closed: connections are refused then, and no other server can listen there. Returns the socket
 * that does so, which must stay open, or -errno.
 */
int sockets_guard(int listener);

/* Writes the address that `host` and `port` mean, as sockets_describe does; false if none. */
bool sockets_address(const char *host, uint16_t port, char text[SOCKETS_TEXT_MAX]);

/* Makes a listening socket of TCP that others opened like one of ours. False where errno says. */
bool sockets_adopt(int listener);

/*
 * Returns whether sockets_listen could find an address for `host` now. If not, `text` says what is
 * wrong, as that function does.
 */
bool sockets_resolves(const char *host, char text[SOCKETS_TEXT_MAX]);

/* Where a socket listens: address:port, or unix:path. */
void sockets_describe(int listener, char text[SOCKETS_TEXT_MAX]);

/*
 * Lets no new connection begin on a listener of our own that is to be closed soon: what waits in
 * its queue then would be reset by the kernel. Those already begun can still be accepted.
 */
void sockets_close_door(const struct listener *listener);

/*
 * The address of a connection of TCP, in the form of IPv6; that of IPv4 is mapped into it. False
 * where the connection is over already.
 */
bool sockets_peer(int descriptor, uint8_t address[SOCKETS_PEER_BYTES]);

/* The bytes that were received from the peer and not handed out yet; 0 also on any error. */
uint32_t sockets_unread(int descriptor);

/* Whether one of the poll(2) `events`, or an error, is there now. */
bool sockets_ready(int descriptor, short events);

/*
 * The address of a connection for the log: 127.0.0.1:4711, [::1]:4711, "unix", or "unknown" if the
 * connection is over already. An IPv4 address is written as one on a socket of IPv6, too.
 */
void sockets_describe_peer(int descriptor, char text[SOCKETS_PEER_TEXT_MAX]);

/*
 * No more will be sent: the peer reads the end of input. A system call and not a request in the
 * ring, which would hand it to a thread of the kernel; that looks up the descriptor only when it
 * gets to run, and by then it may be another connection's.
 */
void sockets_end_output(int descriptor);

/* Ends both sides of a connection at once, for whoever has the socket: the peer sees its end. */
void sockets_end(int descriptor);

/* Raises the limit of open descriptors to the hard limit; what it is then. */
uint64_t sockets_raise_limit(void);

#endif
