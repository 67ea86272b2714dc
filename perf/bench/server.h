/*
 * The servers of the load, and sockets that connect to them.
 */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "os/address.h"

enum {
    SERVERS_MAX = ADDRESS_LIST_MAX,
    SERVERS_PROBLEM_MAX = ADDRESS_PROBLEM_MAX
};

struct server {
    struct address address;
    struct address_choices choices;
    uint32_t preferred;         /* the choice to try first */
    uint64_t connect_timeout_s; /* for each choice */
    uint64_t reply_timeout_s;
    const char *tls_name; /* in the server's certificate */
};

/*
 * Parses and resolves a list of addresses as address_parse_list takes it. The caller must set the
 * timeouts and names. Returns false and sets `problem` on failure.
 */
bool servers_read(struct server servers[SERVERS_MAX], uint32_t *count, const char *list,
                  char problem[SERVERS_PROBLEM_MAX]);

/*
 * Tries all choices in turn, the preferred one first. Returns a connected blocking socket, which
 * has the timeouts, and sets `*choice` to its number; or returns -errno of the last attempt.
 */
int server_connect(const struct server *server, uint32_t *choice);

/*
 * Starts to connect to one choice: the preferred one for attempt 0, the others for the next
 * attempts. Returns a blocking socket whose connect is in progress, or -errno.
 */
int server_start_connecting(const struct server *server, uint32_t attempt);

#endif
