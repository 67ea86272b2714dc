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

static const char not_a_socket[] = "what is there is no socket; it was not touched";

/* What is at the path. */
enum occupant {
    OCCUPANT_NONE,
    OCCUPANT_STALE, /* a socket that nobody listens on */
    OCCUPANT_LIVE,
    OCCUPANT_NO_SOCKET,
    OCCUPANT_UNKNOWN /* errno says why */
};

static void take_a_break(void)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

    nanosleep(&pause, NULL);
}

/*
 * Looking at the path, removing what is stale and listening is for one at a time, by a lock of the
 * folder; else one of two could remove as stale what the other has just made. Where the folder
 * can't be opened this returns -1, and what follows fails with the better message.
 */
static int lock_folder(const char *path, bool *locked)
{
    char copy[UNIX_SOCKET_PATH_MAX + 1];
    int folder;

    snprintf(copy, sizeof(copy), "%s", path);
    folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *locked = folder < 0 || flock(folder, LOCK_EX | LOCK_NB) == 0;
    for (int i = 0; i < ATTEMPTS && !*locked; i++) {
        take_a_break();
        *locked = flock(folder, LOCK_EX | LOCK_NB) == 0;
    }
    return folder;
}

static enum occupant try_to_connect(const struct sockaddr_un *address)
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
        case EAGAIN:     /* so many wait there that there is no room for one more */
        case EPROTOTYPE: /* of another kind */
            break;
        default:
            occupant = OCCUPANT_UNKNOWN;
        }
    }
    close(probe);
    return occupant;
}

static enum occupant look(const struct sockaddr_un *address)
{
    struct stat file;

    if (lstat(address->sun_path, &file) < 0)
        return errno == ENOENT ? OCCUPANT_NONE : OCCUPANT_UNKNOWN;
    return S_ISSOCK(file.st_mode) ? try_to_connect(address) : OCCUPANT_NO_SOCKET;
}

static const char *explain(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "its directory does not exist";
    case EACCES:
    case EPERM:
        return "no permission";
    case EADDRINUSE:
        return "another process listens there already";
    default:
        return strerror(error);
    }
}

/*
 * Makes the path free. A server that was just killed still listens for some milliseconds, as with
 * TCP (sockets.c): one that is live is looked at again.
 */
static bool clear(const struct sockaddr_un *address, const char **problem)
{
    enum occupant occupant = look(address);

    for (int i = 0; i < ATTEMPTS && occupant == OCCUPANT_LIVE; i++) {
        take_a_break();
        occupant = look(address);
    }
    switch (occupant) {
    case OCCUPANT_NONE:
        return true;
    case OCCUPANT_STALE:
        if (unlink(address->sun_path) == 0 || errno == ENOENT)
            return true;
        *problem = explain(errno);
        return false;
    case OCCUPANT_LIVE:
        *problem = "another process listens there already";
        return false;
    case OCCUPANT_NO_SOCKET:
        *problem = not_a_socket;
        return false;
    case OCCUPANT_UNKNOWN:
        *problem = explain(errno);
        return false;
    }
    return false;
}

static int open_listener(struct unix_socket *unix_socket, const struct sockaddr_un *address,
                         mode_t mode, const char **problem)
{
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* By the umask, since chmod(2) would come when others can connect already. */
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
    *problem = explain(errno);
    if (bound)
        unlink(address->sun_path);
    if (listener >= 0)
        close(listener);
    return -1;
}

/*
 * The path is free, but it may be so because a draining server has removed it. That one announces
 * first and removes then, so the announcement is there to be seen now.
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
        *problem = "cannot find out whether a draining server listened there";
        return false;
    }
    return false;
}

static bool path_to_address(const char *path, struct sockaddr_un *address, const char **problem)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) > UNIX_SOCKET_PATH_MAX) {
        *problem = "the path is longer than 107 bytes";
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

    if (!path_to_address(path, &address, problem))
        return false;
    snprintf(copy, sizeof(copy), "%s", path);
    if (lstat(path, &file) == 0 && !S_ISSOCK(file.st_mode)) {
        *problem = not_a_socket;
        return false;
    }
    if (faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) < 0) {
        *problem = explain(errno);
        return false;
    }
    return true;
}

static bool lock_path_of(const char *path, char text[UNIX_SOCKET_LOCK_PATH_MAX + 1])
{
    return snprintf(text, UNIX_SOCKET_LOCK_PATH_MAX + 1, "%s.lock", path) <=
           UNIX_SOCKET_LOCK_PATH_MAX;
}

/* Whether `path` still leads to the file that was locked, and not to one that came later. */
static bool unix_socket_lock_is_current(int lock, const char *path)
{
    struct stat locked;
    struct stat named;

    return fstat(lock, &locked) == 0 && lstat(path, &named) == 0 && locked.st_dev == named.st_dev &&
           locked.st_ino == named.st_ino;
}

/*
 * A lock on a file beside the socket, from before the server listens until its process ends. The
 * socket's own file cannot be locked, and goes when draining begins; and an announcement is not
 * seen from another network namespace, nor believed of another user. The lock holds there too.
 */
static int unix_socket_lock(const char *path, const char **problem)
{
    char lock_path[UNIX_SOCKET_LOCK_PATH_MAX + 1];
    bool held = false;
    int lock = -1;

    if (!lock_path_of(path, lock_path))
        return -1;
    for (int i = 0; i < ATTEMPTS && !held; i++) {
        if (lock >= 0)
            close(lock);
        lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (lock < 0) {
            *problem =
                errno == EACCES || errno == EPERM
                    ? "no permission for its lock, the file of that name with .lock behind it"
                    : explain(errno);
            return -1;
        }
        held = flock(lock, LOCK_EX | LOCK_NB) == 0 && unix_socket_lock_is_current(lock, lock_path);
        if (!held)
            take_a_break();
    }
    if (held)
        return lock;
    close(lock);
    *problem = "another server uses it, and holds the lock on the file of that name with .lock "
               "behind it";
    return -1;
}

void unix_socket_release(struct unix_socket *unix_socket)
{
    char lock_path[UNIX_SOCKET_LOCK_PATH_MAX + 1];

    if (unix_socket->lock > 0 && lock_path_of(unix_socket->lock_of, lock_path))
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
    int folder;
    int lock;

    draining->descriptor = -1;
    if (!path_to_address(path, &address, problem))
        return -1;
    folder = lock_folder(path, &locked);
    if (!locked)
        *problem = "another process keeps its directory locked";
    else if (clear(&address, problem) && unix_socket_is_drained(path, draining, problem)) {
        lock = unix_socket_lock(path, problem);
        if (lock >= 0)
            listener = open_listener(unix_socket, &address, mode, problem);
        if (listener >= 0)
            unix_socket_keep_lock(unix_socket, lock, path);
        else if (lock >= 0)
            close(lock);
    }
    if (folder >= 0)
        close(folder);
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
