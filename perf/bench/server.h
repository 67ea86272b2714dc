/*
 * The servers of the load, and sockets that connect to them.
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "os/address.h"

enum {
    SERVERS_MAX = ADDRESS_LIST_MAX
};

struct server {
    struct address address;
    struct address_choice socket;
};

/*
 * Parses and resolves a list of addresses as address_parse_list takes it. Returns false and sets
 * `problem` on failure.
 */
bool servers_read(struct server servers[SERVERS_MAX], uint32_t *count, const char *list,
                  char problem[ADDRESS_PROBLEM_MAX]);

/* Returns a connected blocking socket with a timeout of some seconds, or -errno. */
int server_connect(const struct server *server);

/* Returns a blocking socket whose connect is in progress, or -errno. */
int server_start_connecting(const struct server *server);

#endif
