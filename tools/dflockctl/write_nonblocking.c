#include "dflockctl/write_nonblocking.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Opens the same pipe or terminal as an open file of our own. Returns -1 if that is impossible. */
static int write_open_own(int descriptor)
{
    char path[40];
    int own;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
    own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    /* A user who may not open the terminal's file by its name may open it by this one. */
    if (own < 0 && errno != ENXIO && tcgetpgrp(descriptor) >= 0)
        own = open("/dev/tty", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return own;
}

/* Pipes and terminals. */
static ssize_t write_to_stream(int descriptor, const char *bytes, size_t length)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    struct pollfd room = {.fd = descriptor, .events = POLLOUT};
    ssize_t written;
    int own;

    /* Linux 6.4 and later, for pipes. */
    written = pwritev2(descriptor, &part, 1, -1, RWF_NOWAIT);
    if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
        return written;
    own = write_open_own(descriptor);
    if (own >= 0) {
        int error;

        written = write(own, bytes, length);
        error = errno;
        close(own);
        errno = error;
        return written;
    }
    /*
     * Without /proc, or for a file of another user. poll promises room for PIPE_BUF bytes in a pipe
     * and for some in a terminal; only another writer could take it from between the two calls.
     */
    if (errno == ENXIO) {
        errno = EPIPE;
        return -1;
    }
    if (poll(&room, 1, 0) != 1 || !(room.revents & POLLOUT)) {
        errno = EAGAIN;
        return -1;
    }
    return write(descriptor, bytes, length);
}

ssize_t write_nonblocking_part(int descriptor, const char *bytes, size_t length)
{
    struct stat about;
    sigset_t pipe_signal;
    sigset_t pending;
    sigset_t before;
    ssize_t written;

    if (fstat(descriptor, &about) < 0)
        return -errno;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigprocmask(SIG_BLOCK, &pipe_signal, &before);
    sigpending(&pending);
    if (S_ISSOCK(about.st_mode))
        written = send(descriptor, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (S_ISFIFO(about.st_mode) || S_ISCHR(about.st_mode))
        written = write_to_stream(descriptor, bytes, length);
    else
        written = write(descriptor, bytes, length);
    if (written < 0)
        written = -errno;
    /* Removes the SIGPIPE of this write, not one that was pending before. */
    if (written == -EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &(struct timespec){0});
    sigprocmask(SIG_SETMASK, &before, NULL);
    return written;
}

bool write_nonblocking(int descriptor, const char *bytes, size_t length)
{
    return write_nonblocking_part(descriptor, bytes, length) == (ssize_t)length;
}
