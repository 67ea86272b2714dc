/*
 * Listening sockets, and queries and operations on connected sockets.
 */
#ifndef OS_SOCKETS_H
#define OS_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SOCKETS_TEXT_MAX = 320, /* of an address or a problem */
    SOCKETS_BACKLOG = 4096, /* connections in the queue of a listener */
    SOCKETS_PEER_BYTES = 16,
    SOCKETS_PEER_TEXT_MAX = 64 /* of a peer's address */
};

struct listener {
    int descriptor;
    bool local;  /* a Unix socket */
    bool passed; /* by the service manager; other processes use it before and after this one */
};

/*
 * Listens on `host` and `port` with `count` sockets, one for each worker. The kernel distributes
 * connections among them. With `port` 0 the kernel chooses one port for all. Accepted connections
 * have TCP_NODELAY and keep-alive set. No other process can listen there, not even of the same
 * user.
 *
 * Returns 0 and sets `text` to address:port. On failure returns -errno (-EINVAL if the host has no
 * address) and sets `text` to the problem.
 */
int sockets_listen(const char *host, uint16_t port, int *listeners, uint32_t count,
                   char text[SOCKETS_TEXT_MAX]);

/*
 * Keeps the port of `listener` bound until the process ends, even after all listeners are closed:
 * the kernel then refuses connections, and no other server can listen there. Returns a socket,
 * which must stay open, or -errno.
 */
int sockets_guard(int listener);

/* Writes the address of `host` and `port` as sockets_describe does. Returns false if none. */
bool sockets_address(const char *host, uint16_t port, char text[SOCKETS_TEXT_MAX]);

/* Sets our TCP options on a passed listening socket. Returns false and sets errno on failure. */
bool sockets_adopt(int listener);

/*
 * Checks whether a server could listen, except that the port may be in use. Returns 0, or sets
 * `text` to the problem and returns a negative errno; -EINVAL: `host` has no address.
 */
int sockets_check(const char *host, uint16_t port, char text[SOCKETS_TEXT_MAX]);

/* Writes the address of a listening socket: address:port, or unix:path. */
void sockets_describe(int listener, char text[SOCKETS_TEXT_MAX]);

/*
 * Rejects new connections on a listener of our own that will be closed soon. Connections that have
 * begun can still be accepted; closing the listener at once would reset them.
 */
void sockets_reject_new(const struct listener *listener);

/*
 * Writes the peer's address of a TCP connection as an IPv6 address; an IPv4 address is mapped.
 * Returns false if the connection has ended.
 */
bool sockets_peer(int descriptor, uint8_t address[SOCKETS_PEER_BYTES]);

/* Returns the number of received bytes in the kernel; 0 also on any error. */
uint32_t sockets_unread(int descriptor);

/* Returns whether one of the poll(2) `events` or an error is pending. */
bool sockets_ready(int descriptor, short events);

/*
 * Writes the peer's address for the log: 127.0.0.1:4711, [::1]:4711, "unix", or "unknown" if the
 * connection has ended. Mapped IPv4 addresses are written as IPv4.
 */
void sockets_describe_peer(int descriptor, char text[SOCKETS_PEER_TEXT_MAX]);

/*
 * Ends output: the peer reads the end of input. This is a system call because the ring would pass
 * the request to a kernel thread. That thread looks up the descriptor when it runs, and by then the
 * number may belong to another connection.
 */
void sockets_end_output(int descriptor);

/* Ends both directions of a connection at once, for all owners of the socket. */
void sockets_end(int descriptor);

/* Raises the limit of open descriptors to the hard limit. Returns the resulting limit. */
uint64_t sockets_raise_limit(void);

#endif
