#include "os/drain_notice.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "os/notify.h"
#include "os/sockets.h"

#define PREFIX "dflockd-draining/"

enum {
    BACKLOG = 4096, /* connections are never accepted; each waiting server takes one place */
    CONNECT_ATTEMPTS = 20,
    CONNECT_PAUSE_MS = 50,
    EXTEND_EVERY_MS = 10000
};

/* FNV-1a. Equal names give an attacker no advantage; see drain_notice_find. */
static uint64_t drain_notice_hash(const char *bytes, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325;

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)bytes[i]) * 0x100000001b3;
    return hash;
}

struct drain_notice_name drain_notice_name_of_tcp(const char *address)
{
    struct drain_notice_name name = {.owner = geteuid()};

    snprintf(name.text, sizeof(name.text), PREFIX "%.80s", address);
    return name;
}

struct drain_notice_name drain_notice_name_of_path(const char *path)
{
    struct drain_notice_name name = {.owner = geteuid()};
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    char file[sizeof(folder)];
    struct stat status;
    const char *base;

    snprintf(folder, sizeof(folder), "%s", path);
    snprintf(file, sizeof(file), "%s", path);
    if (stat(dirname(folder), &status) < 0)
        return name;
    base = basename(file);
    name.owner = status.st_uid;
    snprintf(name.text, sizeof(name.text), PREFIX "unix:%llx-%llx-%016llx",
             (unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
             (unsigned long long)drain_notice_hash(base, strlen(base)));
    return name;
}

struct drain_notice_name drain_notice_name_of(int listener)
{
    struct sockaddr_un address = {.sun_family = AF_UNSPEC};
    socklen_t length = sizeof(address);
    char text[SOCKETS_TEXT_MAX];
    struct drain_notice_name name = {.owner = geteuid()};
    size_t path_length;

    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        return name;
    if (address.sun_family != AF_UNIX) {
        sockets_describe(listener, text);
        return drain_notice_name_of_tcp(text);
    }
    path_length = length - offsetof(struct sockaddr_un, sun_path);
    if (path_length > 0 && address.sun_path[0]) {
        char path[sizeof(address.sun_path) + 1];

        snprintf(path, sizeof(path), "%.*s", (int)path_length, address.sun_path);
        return drain_notice_name_of_path(path);
    }
    snprintf(name.text, sizeof(name.text), PREFIX "abstract:%016llx",
             (unsigned long long)drain_notice_hash(address.sun_path, path_length));
    return name;
}

/* Returns the length of the abstract address. */
static socklen_t drain_notice_address(const struct drain_notice_name *name,
                                      struct sockaddr_un *address)
{
    size_t length = strlen(name->text);

    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name->text, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

int drain_notice_announce(const struct drain_notice_name *name)
{
    struct sockaddr_un address;
    socklen_t length = drain_notice_address(name, &address);
    int descriptor;
    int error;

    if (!name->text[0])
        return -ENOENT;
    descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -errno;
    if (bind(descriptor, (const struct sockaddr *)&address, length) == 0 &&
        listen(descriptor, BACKLOG) == 0)
        return descriptor;
    error = -errno;
    close(descriptor);
    return error;
}

/* Returns whether the announcement of the peer's user counts. */
static bool drain_notice_trusts(const struct drain_notice_name *name, int descriptor, pid_t *pid)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return false;
    *pid = peer.pid;
    return peer.uid == 0 || peer.uid == geteuid() || peer.uid == name->owner;
}

enum drain_notice_found drain_notice_find(const struct drain_notice_name *name,
                                          struct drain_notice *notice)
{
    static const struct timespec pause = {.tv_nsec = CONNECT_PAUSE_MS * 1000000L};
    enum drain_notice_found found = DRAIN_NOTICE_UNKNOWN;
    struct sockaddr_un address;
    socklen_t length = drain_notice_address(name, &address);
    int descriptor;

    if (!name->text[0])
        return DRAIN_NOTICE_NONE;
    descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0)
        return DRAIN_NOTICE_UNKNOWN;
    for (int attempt = 0; attempt < CONNECT_ATTEMPTS; attempt++) {
        if (connect(descriptor, (const struct sockaddr *)&address, length) == 0)
            found = drain_notice_trusts(name, descriptor, &notice->pid) ? DRAIN_NOTICE_FOUND
                                                                        : DRAIN_NOTICE_NONE;
        else if (errno == ECONNREFUSED || errno == EPROTOTYPE)
            found = DRAIN_NOTICE_NONE;
        /* EAGAIN: the queue of waiting servers is full. */
        if (found != DRAIN_NOTICE_UNKNOWN || errno != EAGAIN)
            break;
        nanosleep(&pause, NULL);
    }
    if (found == DRAIN_NOTICE_FOUND)
        notice->descriptor = descriptor;
    else
        close(descriptor);
    return found;
}

enum drain_notice_end drain_notice_wait(const struct drain_notice *notice, int signals)
{
    for (;;) {
        struct pollfd events[] = {
            {.fd = notice->descriptor}, /* poll(2) always reports POLLHUP */
            {.fd = signals, .events = POLLIN},
        };
        struct signalfd_siginfo signal;

        notify_service_manager("EXTEND_TIMEOUT_USEC=30000000");
        if (poll(events, 2, EXTEND_EVERY_MS) < 0 && errno != EINTR)
            return DRAIN_NOTICE_ENDED; /* the caller tries to listen again */
        if (events[1].revents && read(signals, &signal, sizeof(signal)) == sizeof(signal) &&
            signal.ssi_signo != SIGHUP)
            return DRAIN_NOTICE_STOPPED;
        if (events[0].revents)
            return DRAIN_NOTICE_ENDED;
    }
}
