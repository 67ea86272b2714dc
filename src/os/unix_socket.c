#include "os/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os/sockets.h"

enum {
    ATTEMPTS = 20,
    PAUSE_MS = 50
};

static const char not_a_socket[] =
    "the file there is not a socket and was not changed; give another path";

enum occupant {
    OCCUPANT_NONE,
    OCCUPANT_STALE, /* a socket without a listener */
    OCCUPANT_LIVE,
    OCCUPANT_NO_SOCKET,
    OCCUPANT_UNKNOWN /* errno says why */
};

static void unix_socket_pause(void)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

    nanosleep(&pause, NULL);
}

/*
 * One process at a time checks the path, removes a stale socket and listens, under a lock on the
 * directory. Otherwise one could remove the new socket of another as stale. If the directory cannot
 * be opened, returns -1; the next step fails with a better message.
 */
static int unix_socket_lock_directory(const char *path, bool *locked)
{
    char copy[UNIX_SOCKET_PATH_MAX + 1];
    int directory;

    snprintf(copy, sizeof(copy), "%s", path);
    directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *locked = directory < 0 || flock(directory, LOCK_EX | LOCK_NB) == 0;
    for (int i = 0; i < ATTEMPTS && !*locked; i++) {
        unix_socket_pause();
        *locked = flock(directory, LOCK_EX | LOCK_NB) == 0;
    }
    return directory;
}

static enum occupant unix_socket_probe(const struct sockaddr_un *address)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    enum occupant occupant = OCCUPANT_LIVE;

    if (probe < 0)
        return OCCUPANT_UNKNOWN;
    if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) < 0) {
        switch (errno) {
        case ECONNREFUSED:
            occupant = OCCUPANT_STALE;
            break;
        case ENOENT:
            occupant = OCCUPANT_NONE;
            break;
        case EAGAIN:     /* the queue of the listener is full */
        case EPROTOTYPE: /* not a stream socket */
            break;
        default:
            occupant = OCCUPANT_UNKNOWN;
        }
    }
    close(probe);
    return occupant;
}

static enum occupant unix_socket_find_occupant(const struct sockaddr_un *address)
{
    struct stat file;

    if (lstat(address->sun_path, &file) < 0)
        return errno == ENOENT ? OCCUPANT_NONE : OCCUPANT_UNKNOWN;
    return S_ISSOCK(file.st_mode) ? unix_socket_probe(address) : OCCUPANT_NO_SOCKET;
}

static const char *unix_socket_explain(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "its directory does not exist; create it";
    case EACCES:
    case EPERM:
        return "no permission; let the user of this process write the directory";
    case EADDRINUSE:
        return "another process already listens there; stop it or give another path";
    default:
        return strerror(error);
    }
}

/*
 * Frees the path. A killed server still listens for some milliseconds, as with TCP (sockets.c), so
 * a live socket is probed again.
 */
static bool unix_socket_clear_path(const struct sockaddr_un *address, const char **problem)
{
    enum occupant occupant = unix_socket_find_occupant(address);

    for (int i = 0; i < ATTEMPTS && occupant == OCCUPANT_LIVE; i++) {
        unix_socket_pause();
        occupant = unix_socket_find_occupant(address);
    }
    switch (occupant) {
    case OCCUPANT_NONE:
        return true;
    case OCCUPANT_STALE:
        if (unlink(address->sun_path) == 0 || errno == ENOENT)
            return true;
        *problem = unix_socket_explain(errno);
        return false;
    case OCCUPANT_LIVE:
        *problem = "another process already listens there; stop it or give another path";
        return false;
    case OCCUPANT_NO_SOCKET:
        *problem = not_a_socket;
        return false;
    case OCCUPANT_UNKNOWN:
        *problem = unix_socket_explain(errno);
        return false;
    }
    return false;
}

static int unix_socket_open(struct unix_socket *unix_socket, const struct sockaddr_un *address,
                            mode_t mode, const char **problem)
{
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* By the umask: before chmod(2), other users could already connect. */
    mode_t before = umask(~mode & 0777);
    bool bound =
        listener >= 0 && bind(listener, (const struct sockaddr *)address, sizeof(*address)) == 0;
    struct stat file;

    umask(before);
    if (bound && lstat(address->sun_path, &file) == 0 && listen(listener, SOCKETS_BACKLOG) == 0) {
        unix_socket->device = file.st_dev;
        unix_socket->inode = file.st_ino;
        return listener;
    }
    *problem = unix_socket_explain(errno);
    if (bound)
        unlink(address->sun_path);
    if (listener >= 0)
        close(listener);
    return -1;
}

/*
 * A draining server may have removed the socket. It announces before it removes, so its
 * announcement is visible now.
 */
static bool unix_socket_is_drained(const char *path, struct drain_notice *draining,
                                   const char **problem)
{
    struct drain_notice_name name = drain_notice_name_of_path(path);

    switch (drain_notice_find(&name, draining)) {
    case DRAIN_NOTICE_NONE:
        return true;
    case DRAIN_NOTICE_FOUND:
        *problem = "a draining server listened there";
        return false;
    case DRAIN_NOTICE_UNKNOWN:
        *problem = "cannot determine whether a draining server listened there";
        return false;
    }
    return false;
}

static bool unix_socket_set_address(const char *path, struct sockaddr_un *address,
                                    const char **problem)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) > UNIX_SOCKET_PATH_MAX) {
        *problem = "the path is longer than 107 bytes; give a shorter one";
        return false;
    }
    snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
    return true;
}

bool unix_socket_check(const char *path, const char **problem)
{
    struct sockaddr_un address;
    char copy[UNIX_SOCKET_PATH_MAX + 1];
    struct stat file;

    if (!unix_socket_set_address(path, &address, problem))
        return false;
    snprintf(copy, sizeof(copy), "%s", path);
    if (lstat(path, &file) == 0 && !S_ISSOCK(file.st_mode)) {
        *problem = not_a_socket;
        return false;
    }
    if (faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) < 0) {
        *problem = unix_socket_explain(errno);
        return false;
    }
    return true;
}

static bool unix_socket_lock_path(const char *path, char text[UNIX_SOCKET_LOCK_PATH_MAX + 1])
{
    return snprintf(text, UNIX_SOCKET_LOCK_PATH_MAX + 1, "%s.lock", path) <=
           UNIX_SOCKET_LOCK_PATH_MAX;
}

/* Returns whether `path` still names the locked file, and not a newer one. */
static bool unix_socket_lock_is_current(int lock, const char *path)
{
    struct stat locked;
    struct stat named;

    return fstat(lock, &locked) == 0 && lstat(path, &named) == 0 && locked.st_dev == named.st_dev &&
           locked.st_ino == named.st_ino;
}

/*
 * Locks a file beside the socket from before the server listens until its process ends. The socket
 * cannot be locked, and is removed when draining begins. An announcement is invisible in other
 * network namespaces and is not trusted from other users; the lock is effective there too.
 */
static int unix_socket_lock(const char *path, const char **problem)
{
    char lock_path[UNIX_SOCKET_LOCK_PATH_MAX + 1];
    bool held = false;
    int lock = -1;

    if (!unix_socket_lock_path(path, lock_path))
        return -1;
    for (int i = 0; i < ATTEMPTS && !held; i++) {
        if (lock >= 0)
            close(lock);
        lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (lock < 0) {
            *problem = errno == EACCES || errno == EPERM
                           ? "no permission for its lock file, the path with the suffix .lock; let "
                             "the user of this process write it"
                           : unix_socket_explain(errno);
            return -1;
        }
        held = flock(lock, LOCK_EX | LOCK_NB) == 0 && unix_socket_lock_is_current(lock, lock_path);
        if (!held)
            unix_socket_pause();
    }
    if (held)
        return lock;
    close(lock);
    *problem = "another server uses it and holds its lock file, the path with the suffix .lock";
    return -1;
}

void unix_socket_release(struct unix_socket *unix_socket)
{
    char lock_path[UNIX_SOCKET_LOCK_PATH_MAX + 1];

    if (unix_socket->lock > 0 && unix_socket_lock_path(unix_socket->lock_of, lock_path))
        unlink(lock_path);
    if (unix_socket->lock > 0)
        close(unix_socket->lock);
    unix_socket->lock = 0;
}

static void unix_socket_keep_lock(struct unix_socket *unix_socket, int lock, const char *path)
{
    unix_socket->lock = lock;
    snprintf(unix_socket->lock_of, sizeof(unix_socket->lock_of), "%s", path);
}

int unix_socket_listen(struct unix_socket *unix_socket, const char *path, mode_t mode,
                       struct drain_notice *draining, const char **problem)
{
    struct sockaddr_un address;
    int listener = -1;
    bool locked;
    int directory;
    int lock;

    draining->descriptor = -1;
    if (!unix_socket_set_address(path, &address, problem))
        return -1;
    directory = unix_socket_lock_directory(path, &locked);
    if (!locked)
        *problem = "another process keeps its directory locked";
    else if (unix_socket_clear_path(&address, problem) &&
             unix_socket_is_drained(path, draining, problem)) {
        lock = unix_socket_lock(path, problem);
        if (lock >= 0)
            listener = unix_socket_open(unix_socket, &address, mode, problem);
        if (listener >= 0)
            unix_socket_keep_lock(unix_socket, lock, path);
        else if (lock >= 0)
            close(lock);
    }
    if (directory >= 0)
        close(directory);
    if (listener >= 0)
        snprintf(unix_socket->path, sizeof(unix_socket->path), "%s", path);
    return listener;
}

void unix_socket_remove(struct unix_socket *unix_socket)
{
    struct stat file;

    if (unix_socket->path[0] && lstat(unix_socket->path, &file) == 0 &&
        file.st_dev == unix_socket->device && file.st_ino == unix_socket->inode)
        unlink(unix_socket->path);
    unix_socket->path[0] = '\0';
}
