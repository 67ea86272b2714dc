/*
 * Where a server is: as it is written, and what the network makes of that.
 */
#ifndef CLIENT_ADDRESS_H
#define CLIENT_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADDRESS_TEXT_MAX = 320,
    ADDRESS_PORT_MAX = 6,
    ADDRESS_CHOICES_MAX = 8 /* of what a name stands for, so many are tried */
};

struct address {
    char text[ADDRESS_TEXT_MAX]; /* as it was given */
    char host[ADDRESS_TEXT_MAX]; /* a name or a number; of a Unix socket its path */
    char port[ADDRESS_PORT_MAX];
    bool local; /* a Unix socket */
};

struct address_choices {
    struct address_choice {
        struct sockaddr_storage socket;
        socklen_t length;
    } at[ADDRESS_CHOICES_MAX];
    uint32_t count; /* at least 1 */
};

/*
 * Reads `host`, `host:port`, `[host]:port`, an IPv6 address alone, or `unix:path`; without a port
 * it is dflockd's. False where it is none of these.
 */
bool address_read(struct address *address, const char *text);

/* Looks the host up, which may wait. NULL, or why it can't be found: static text. */
const char *address_resolve(const struct address *address, struct address_choices *choices);

#endif
