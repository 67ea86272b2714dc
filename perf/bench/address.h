/*
 * Where servers are.
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
    char text[ADDRESS_TEXT_MAX]; /* as it was given */
    char host[ADDRESS_TEXT_MAX]; /* of it, what a certificate must name */
};

/*
 * Reads `host:port`, `[host]:port` or `unix:path`, several with commas between them; without a port
 * it is dflockd's. False where `problem` says what is wrong.
 */
bool addresses_read(const char *list, struct address *addresses, uint32_t *count,
                    char problem[ADDRESS_PROBLEM_MAX]);

/*
 * A blocking socket, connected: the descriptor, or negative errno. It waits some seconds at most,
 * also in later calls.
 */
int address_connect(const struct address *address);

/* A blocking socket that is being connected: the descriptor, or negative errno. */
int address_start_connecting(const struct address *address);

#endif
