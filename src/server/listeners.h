/*
 * The listening sockets of the server, from its options or from the service manager.
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
    LISTENERS_SHARED_MAX = ACTIVATION_MAX + 1, /* passed sockets and the Unix socket */
    LISTENERS_MAX = LISTENERS_SHARED_MAX + 1   /* of one worker */
};

/*
 * Each worker has its own TCP listener, and the kernel distributes connections among them. A path
 * and each passed socket have one listener, from which worker 0 accepts for all.
 */
struct listeners {
    int own[WORKERS_MAX];
    uint32_t own_count; /* 0 if sockets are passed */
    struct listener shared[LISTENERS_SHARED_MAX];
    uint32_t shared_count;
    struct unix_socket unix_socket;
    int guard;       /* see sockets_guard; -1 if sockets are passed */
    bool path_stays; /* see listeners_must_stay */
};

enum listeners_result {
    LISTENERS_OPEN,
    LISTENERS_FAILED,
    LISTENERS_STOPPED
};

/*
 * Listens for `workers` workers. If a draining server has an address, first waits until its process
 * ends. `signals` is a signalfd(2) of SIGTERM, SIGINT and SIGHUP, which the caller has blocked.
 * Call it before opening files that a draining server may keep locked.
 *
 * Returns OPEN, FAILED with `problem` set to one line, or STOPPED if a signal requested the end
 * during the wait.
 */
enum listeners_result listeners_open(struct listeners *listeners, const struct options *options,
                                     uint32_t workers, int signals,
                                     char problem[OPTIONS_PROBLEM_MAX]);

/*
 * Returns whether listeners_open could listen with these options now, as far as this can be checked
 * without listening. If not, sets `problem`.
 */
bool listeners_check(const struct options *options, char problem[OPTIONS_PROBLEM_MAX]);

/* Copies the listeners that this worker accepts from and closes. Returns their number. */
uint32_t listeners_of_worker(const struct listeners *listeners, uint32_t worker,
                             struct listener list[LISTENERS_MAX]);

/* Logs one line for each listener. */
void listeners_log(const struct listeners *listeners);

/*
 * Announces to the next server that this one drains. Call it first when draining begins, before
 * connections are refused and before listeners_hide. Logs failures.
 */
void listeners_announce(struct listeners *listeners);

/*
 * Returns whether `listener` must stay open, and its path in place, until the process ends, because
 * the server could not announce draining for it.
 */
bool listeners_must_stay(const struct listeners *listeners, const struct listener *listener);

/* Removes the path. May be called again. */
void listeners_hide(struct listeners *listeners);

/* Removes the path and releases it for the next server, after the last client was served. */
void listeners_leave(struct listeners *listeners);

#endif
