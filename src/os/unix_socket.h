/*
 * Listening on a path of the file system.
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
    dev_t device; /* of the file that is ours */
    ino_t inode;
    int lock; /* of the path, until unix_socket_release; 0: none */
    char lock_of[UNIX_SOCKET_PATH_MAX + 1];
};

/*
 * Listens on `path`, whose file has the permissions `mode` from the start; the umask does not
 * count. What a killed server left behind is replaced. To be called while there is one thread.
 *
 * The descriptor, or -1, and `problem` says what is wrong: somebody listens there, something that
 * is no socket is there, which is never touched, or the file system's reasons. Of two servers that
 * are started at once, one is refused.
 *
 * Also -1 if a draining server has announced the path: `draining` is set then, to be waited for and
 * closed by the caller; else its descriptor is -1.
 */
int unix_socket_listen(struct unix_socket *unix_socket, const char *path, mode_t mode,
                       struct drain_notice *draining, const char **problem);

/*
 * Returns whether unix_socket_listen could listen on `path` now, as far as can be seen without
 * changing anything. A socket at the path is fine: a server may be running. If not, sets `problem`.
 */
bool unix_socket_check(const char *path, const char **problem);

/* Removes the file, unless it is another one by now. May be called again. */
void unix_socket_remove(struct unix_socket *unix_socket);

/*
 * The next server may have the path. To be called when no client is served any more; a process that
 * ends without leaves the file of the lock, which does no harm. May be called again.
 */
void unix_socket_release(struct unix_socket *unix_socket);

#endif
