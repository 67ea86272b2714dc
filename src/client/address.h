/*
 * The address of a server: its text, and the socket addresses that the text stands for.
 */
#ifndef CLIENT_ADDRESS_H
#define CLIENT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADDRESS_TEXT_MAX = 320,
    ADDRESS_PORT_MAX = 6,
    ADDRESS_CHOICES_MAX = 8 /* socket addresses of one name that are tried; others are ignored */
};

struct address {
    char text[ADDRESS_TEXT_MAX]; /* as the caller wrote it */
    char host[ADDRESS_TEXT_MAX]; /* a name or a number; of a Unix socket its path */
    char port[ADDRESS_PORT_MAX];
    bool is_unix;
};

struct address_choices {
    struct address_choice {
        struct sockaddr_storage socket;
        socklen_t length;
    } at[ADDRESS_CHOICES_MAX];
    uint32_t count;
};

/*
 * Parses `host`, `host:port`, `[host]:port`, an IPv6 address alone, or `unix:path`. Without a port
 * it is DFLOCKD_PORT. Returns false if `text` is none of these.
 */
bool address_read(struct address *address, const char *text);

/*
 * Finds the socket addresses of an address. With `numeric_only` it never waits: it converts a path
 * or a number. Without, it looks a name up by getaddrinfo(3), which may wait.
 *
 * Returns 0 with at least one choice, or an EAI code of getaddrinfo(3): EAI_NONAME with
 * `numeric_only` if the host is a name, EAI_SYSTEM with the reason in errno. Any thread.
 */
int address_resolve(const struct address *address, bool numeric_only,
                    struct address_choices *choices);

#endif
