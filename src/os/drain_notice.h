/*
 * How a draining server asks the next server on its address to wait until its process has ended.
 *
 * For each address it announces an abstract Unix socket, which lives in the network namespace as
 * ports do. The kernel removes the name in any case when the process ends. The draining server
 * listens there and never accepts. The next server connects, learns the process id from the
 * kernel, and waits until the connection hangs up.
 *
 * server/listeners.c says why two servers never serve one address at the same time.
 */
#ifndef OS_DRAIN_NOTICE_H
#define OS_DRAIN_NOTICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    DRAIN_NOTICE_NAME_MAX = 108 /* with the NUL; the size of sun_path */
};

struct drain_notice_name {
    char text[DRAIN_NOTICE_NAME_MAX]; /* "": no name */
    uid_t owner; /* announcements count from this user, root and our own user */
};

/* The announcement of a draining server; `descriptor` hangs up when its process ends. */
struct drain_notice {
    int descriptor;
    pid_t pid; /* 0: in another PID namespace */
};

enum drain_notice_found {
    DRAIN_NOTICE_NONE,
    DRAIN_NOTICE_FOUND,
    DRAIN_NOTICE_UNKNOWN /* the socket with this name does not respond */
};

enum drain_notice_end {
    DRAIN_NOTICE_ENDED, /* the draining process */
    DRAIN_NOTICE_STOPPED
};

/* The name for an address of TCP, written as sockets_describe writes it. */
struct drain_notice_name drain_notice_name_of_tcp(const char *address);

/*
 * The name for the path of a Unix socket. It contains the identity of the directory, so that all
 * spellings of a path have one name. Announcements of the directory's owner count, because the
 * owner can prevent any server from listening there.
 */
struct drain_notice_name drain_notice_name_of_path(const char *path);

/* The name for the address that `listener` is bound to. */
struct drain_notice_name drain_notice_name_of(int listener);

/*
 * Announces that this process drains. Returns a descriptor, which must stay open until the process
 * ends, or -errno: -EADDRINUSE if another process has the name.
 */
int drain_notice_announce(const struct drain_notice_name *name);

/*
 * Looks for the announcement of another process. Only announcements of root, our own user and
 * `name->owner` count, because any user can take an abstract name. On FOUND the caller closes
 * `notice->descriptor`.
 */
enum drain_notice_found drain_notice_find(const struct drain_notice_name *name,
                                          struct drain_notice *notice);

/*
 * Waits until the draining process ends, or until the signalfd(2) `signals` delivers SIGTERM or
 * SIGINT; ignores SIGHUP. Meanwhile extends the start timeout of the service manager.
 */
enum drain_notice_end drain_notice_wait(const struct drain_notice *notice, int signals);

#endif
