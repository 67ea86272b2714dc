#include "os/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DESCRIPTOR_FIRST = 3
};

static int activation_get_option(int descriptor, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);

    return getsockopt(descriptor, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

/* Takes over one socket. Returns NULL, or the problem with it. */
static const char *activation_adopt(int descriptor, struct listener *listener)
{
    int family = activation_get_option(descriptor, SO_DOMAIN);
    int flags = fcntl(descriptor, F_GETFL);

    if (flags < 0)
        return "not open";
    if (activation_get_option(descriptor, SO_TYPE) != SOCK_STREAM ||
        activation_get_option(descriptor, SO_ACCEPTCONN) != 1)
        return "not a listening stream socket (Accept= must be no)";
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return "neither a TCP nor a Unix socket";
    /* io_uring waits only on blocking sockets. */
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) < 0 ||
        (family != AF_UNIX && !sockets_adopt(descriptor)))
        return strerror(errno);
    *listener = (struct listener){
        .descriptor = descriptor,
        .local = family == AF_UNIX,
        .passed = true,
    };
    return NULL;
}

int activation_take(struct listener listeners[ACTIVATION_MAX], char problem[SOCKETS_TEXT_MAX])
{
    const char *process = getenv("LISTEN_PID");
    const char *number = getenv("LISTEN_FDS");
    char *end;
    long count;

    if (!process || !number || strtol(process, &end, 10) != getpid() || *end)
        return 0;
    count = strtol(number, &end, 10);
    if (end == number || *end || count < 0 || count > ACTIVATION_MAX) {
        snprintf(problem, SOCKETS_TEXT_MAX, "LISTEN_FDS: '%.20s' is not a number from 0 to %d",
                 number, ACTIVATION_MAX);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        const char *wrong = activation_adopt(DESCRIPTOR_FIRST + i, &listeners[i]);

        if (wrong) {
            snprintf(problem, SOCKETS_TEXT_MAX, "LISTEN_FDS: descriptor %d: %s",
                     DESCRIPTOR_FIRST + i, wrong);
            return -1;
        }
    }
    return (int)count;
}
