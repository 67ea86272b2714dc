/*
 * Where connections come in: what the server listens on, by its options or by what the service
 * manager passes on.
 */
#ifndef SERVER_ENTRANCES_H
#define SERVER_ENTRANCES_H

#include <stdbool.h>
#include <stdint.h>

#include "os/activation.h"
#include "os/sockets.h"
#include "os/unix_socket.h"
#include "server/client_id.h"
#include "server/options.h"

enum {
    ENTRANCES_SHARED_MAX = ACTIVATION_MAX + 1, /* and the Unix socket */
    ENTRANCES_MAX = ENTRANCES_SHARED_MAX + 1   /* of one worker */
};

/*
 * On host and port each worker has a listener of its own, and the kernel spreads connections among
 * them. A path and what is passed on have one listener for all: the first worker accepts from it.
 */
struct entrances {
    int own[WORKERS_MAX];
    uint32_t own_count; /* 0 where sockets are passed on */
    struct listener shared[ENTRANCES_SHARED_MAX];
    uint32_t shared_count;
    struct unix_socket unix_socket;
};

/* Listens for so many workers. False where `problem` says in a line what is wrong. */
bool entrances_open(struct entrances *entrances, const struct options *options, uint32_t workers,
                    char problem[OPTIONS_PROBLEM_MAX]);

/*
 * Returns whether entrances_open could listen with these options now, as far as can be seen without
 * listening. If not, sets `problem`.
 */
bool entrances_check(const struct options *options, char problem[OPTIONS_PROBLEM_MAX]);

/* Those that the worker accepts from, and closes in the end: how many. */
uint32_t entrances_of(const struct entrances *entrances, uint32_t worker,
                      struct listener listeners[ENTRANCES_MAX]);

/* A line for each. */
void entrances_log(const struct entrances *entrances);

/* Nobody finds the path any more. May be called again. */
void entrances_hide(struct entrances *entrances);

#endif
