/*
 * A listening Unix socket with a path.
 */
#ifndef OS_UNIX_SOCKET_H
#define OS_UNIX_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "os/drain_notice.h"

enum {
    UNIX_SOCKET_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1,
    UNIX_SOCKET_LOCK_PATH_MAX = UNIX_SOCKET_PATH_MAX + sizeof(".lock") - 1
};

struct unix_socket {
    char path[UNIX_SOCKET_PATH_MAX + 1];
    dev_t device; /* of the file that this process created */
    ino_t inode;
    int lock; /* descriptor of the lock file, until unix_socket_release; 0: none */
    char lock_of[UNIX_SOCKET_PATH_MAX + 1];
};

/*
 * Listens on `path`. The file has the permissions `mode` from the start, whatever the umask is.
 * Replaces the socket of a killed server, and never anything other than a socket. Call it while the
 * process has one thread.
 *
 * Returns a descriptor, or -1 and sets `*problem`. Of two servers that start at once, one fails.
 *
 * If a draining server has announced the path, returns -1 and sets `draining`, whose descriptor the
 * caller waits for and closes. Otherwise that descriptor is -1.
 */
int unix_socket_listen(struct unix_socket *unix_socket, const char *path, mode_t mode,
                       struct drain_notice *draining, const char **problem);

/*
 * Returns whether unix_socket_listen could listen on `path` now, as far as this can be checked
 * without a change. A socket at the path is allowed: a server may be running. If not, sets
 * `*problem`.
 */
bool unix_socket_check(const char *path, const char **problem);

/* Removes the file, unless another file has its name now. May be called again. */
void unix_socket_remove(struct unix_socket *unix_socket);

/*
 * Releases the path for the next server, after the last client was served. A process that ends
 * without this call leaves the lock file, which does no harm. May be called again.
 */
void unix_socket_release(struct unix_socket *unix_socket);

#endif
