/*
 * Where connections come in: what the server listens on, by its options or by what the service
 * manager passes on.
 */
#ifndef SERVER_LISTENERS_H
#define SERVER_LISTENERS_H

#include <stdbool.h>
#include <stdint.h>

#include "os/activation.h"
#include "os/sockets.h"
#include "os/unix_socket.h"
#include "server/connection_id.h"
#include "server/options.h"

enum {
    LISTENERS_SHARED_MAX = ACTIVATION_MAX + 1, /* and the Unix socket */
    LISTENERS_MAX = LISTENERS_SHARED_MAX + 1   /* of one worker */
};

/*
 * On host and port each worker has a listener of its own, and the kernel spreads connections among
 * them. A path and what is passed on have one listener for all: the first worker accepts from it.
 */
struct listeners {
    int own[WORKERS_MAX];
    uint32_t own_count; /* 0 where sockets are passed on */
    struct listener shared[LISTENERS_SHARED_MAX];
    uint32_t shared_count;
    struct unix_socket unix_socket;
    int guard; /* see sockets_guard; -1 if sockets are passed on */
    bool path_stays;
};

enum listeners_result {
    LISTENERS_OPEN,
    LISTENERS_FAILED,
    LISTENERS_STOPPED
};

/*
 * Listens for so many workers. If a draining server had an address before, first waits until its
 * process has ended; the caller must have blocked SIGTERM, SIGINT and SIGHUP, and `signals` is a
 * signalfd(2) of them. To be called while there is one thread, and before anything is opened that a
 * draining server may keep locked.
 *
 * Returns OPEN; FAILED, and `problem` says in a line what is wrong; STOPPED if a signal asked for
 * the end while the server waited.
 */
enum listeners_result listeners_open(struct listeners *listeners, const struct options *options,
                                     uint32_t workers, int signals,
                                     char problem[OPTIONS_PROBLEM_MAX]);

/*
 * Returns whether listeners_open could listen with these options now, as far as can be seen without
 * listening. If not, sets `problem`.
 */
bool listeners_check(const struct options *options, char problem[OPTIONS_PROBLEM_MAX]);

/* Those that the worker accepts from, and closes in the end: how many. */
uint32_t listeners_of_worker(const struct listeners *listeners, uint32_t worker,
                             struct listener list[LISTENERS_MAX]);

/* A line for each. */
void listeners_log(const struct listeners *listeners);

/*
 * Announces to the next server that this one drains. To be called when draining begins, before
 * anything else: before a connection is refused and before listeners_hide. Logs what fails.
 */
void listeners_announce(struct listeners *listeners);

/*
 * Whether `listener` must stay open and its path in place until the process ends, because draining
 * could not be announced for it.
 */
bool listeners_must_stay(const struct listeners *listeners, const struct listener *listener);

/* Nobody finds the path any more. May be called again. */
void listeners_hide(struct listeners *listeners);

/* As listeners_hide, when no client is served any more: the next server may have the path. */
void listeners_leave(struct listeners *listeners);

#endif
