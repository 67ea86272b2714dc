/*
 * Server addresses, and sockets that connect to them.
 */
#ifndef BENCH_ADDRESS_H
#define BENCH_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADDRESSES_MAX = 64,
    ADDRESS_TEXT_MAX = 128,
    ADDRESS_PROBLEM_MAX = 300
};

struct address {
    struct sockaddr_storage socket;
    socklen_t length;
    char text[ADDRESS_TEXT_MAX]; /* as given */
    char host[ADDRESS_TEXT_MAX]; /* the name that a certificate must contain */
};

/*
 * Reads `host:port`, `[host]:port` or `unix:path`, separated by commas. The default port is
 * dflockd's. Returns false and sets `problem` if the list is invalid.
 */
bool addresses_read(const char *list, struct address *addresses, uint32_t *count,
                    char problem[ADDRESS_PROBLEM_MAX]);

/* Returns a connected blocking socket with a timeout of some seconds, or -errno. */
int address_connect(const struct address *address);

/* Returns a blocking socket whose connect is in progress, or -errno. */
int address_start_connecting(const struct address *address);

#endif
