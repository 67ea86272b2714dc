#include "os/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "os/address.h"

enum {
    BIND_ATTEMPTS = 20,
    BIND_PAUSE_MS = 50,
    /* A dead peer is detected after about two and a half minutes. */
    KEEPALIVE_IDLE_S = 15,
    KEEPALIVE_INTERVAL_S = 15,
    KEEPALIVE_COUNT = 9
};

static bool sockets_set_option(int socket, int level, int name, int value)
{
    return setsockopt(socket, level, name, &value, sizeof(value)) == 0;
}

/* Accepted connections inherit these. */
static bool sockets_set_tcp_options(int listener)
{
    return sockets_set_option(listener, IPPROTO_TCP, TCP_NODELAY, 1) &&
           sockets_set_option(listener, SOL_SOCKET, SO_KEEPALIVE, 1) &&
           sockets_set_option(listener, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S) &&
           sockets_set_option(listener, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S) &&
           sockets_set_option(listener, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

/* Closes a socket if it is open, and keeps errno. Returns -1. */
static int sockets_close_failed(int descriptor)
{
    int error = errno;

    if (descriptor >= 0)
        close(descriptor);
    errno = error;
    return -1;
}

/* Returns a bound socket, or -1 and sets errno. */
static int sockets_bind(const struct sockaddr *address, socklen_t length, bool shares_port)
{
    int descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fine = descriptor >= 0 && sockets_set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1);

    if (address->sa_family == AF_INET6)
        fine = fine && sockets_set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (shares_port)
        fine = fine && sockets_set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1);
    fine = fine && bind(descriptor, address, length) == 0;
    return fine ? descriptor : sockets_close_failed(descriptor);
}

/*
 * The first socket binds and listens without SO_REUSEPORT, so that it fails if another process
 * listens on the port. With the option, two servers of one user would share a port and grant the
 * same locks. The option is set after listen(2), for the sockets of the other workers. It is too
 * early after bind(2): with SO_REUSEADDR two servers can both bind until one of them listens.
 */
static int sockets_open_listener(const struct sockaddr *address, socklen_t length, bool first)
{
    int listener = sockets_bind(address, length, !first);
    bool fine = listener >= 0 && sockets_set_tcp_options(listener) &&
                listen(listener, SOCKETS_BACKLOG) == 0;

    if (first)
        fine = fine && sockets_set_option(listener, SOL_SOCKET, SO_REUSEPORT, 1);
    return fine ? listener : sockets_close_failed(listener);
}

/*
 * After a process is killed, the kernel takes some time to close its ring and the listener that it
 * was accepting from (measured: 5 ms, and 44 ms with 5,000 connections). A server that is started
 * right after must not fail because of that.
 */
static int sockets_open_first_listener(const struct sockaddr *address, socklen_t length)
{
    const struct timespec pause = {.tv_nsec = BIND_PAUSE_MS * 1000000L};
    int listener = sockets_open_listener(address, length, true);

    for (int i = 0; i < BIND_ATTEMPTS && listener < 0 && errno == EADDRINUSE; i++) {
        nanosleep(&pause, NULL);
        listener = sockets_open_listener(address, length, true);
    }
    return listener;
}

static void sockets_write_address(const struct sockaddr_storage *address, socklen_t length,
                                  char *text)
{
    char host[INET6_ADDRSTRLEN];

    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(text, SOCKETS_TEXT_MAX, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, SOCKETS_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
    } else {
        const struct sockaddr_un *un = (const struct sockaddr_un *)address;
        int bytes = (int)(length - offsetof(struct sockaddr_un, sun_path));
        bool abstract = bytes > 0 && un->sun_path[0] == '\0';

        snprintf(text, SOCKETS_TEXT_MAX, "unix:%s%.*s", abstract ? "@" : "", bytes - abstract,
                 un->sun_path + abstract);
    }
}

void sockets_describe(int listener, char text[SOCKETS_TEXT_MAX])
{
    struct sockaddr_storage address = {.ss_family = AF_UNIX};
    socklen_t length = sizeof(address);

    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        length = offsetof(struct sockaddr_un, sun_path);
    sockets_write_address(&address, length, text);
}

static const char *sockets_explain(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "another process already listens there; stop it or give another port";
    case EACCES:
        return "no permission; a port below 1024 needs root or CAP_NET_BIND_SERVICE";
    case EADDRNOTAVAIL:
        return "this machine does not have that address; give one of its own, or 0.0.0.0 or :: for "
               "all";
    default:
        return strerror(error);
    }
}

/* Returns 0 or an EAI code of getaddrinfo(3). */
static int sockets_resolve(const char *host, uint16_t port, struct sockaddr_storage *socket_address,
                           socklen_t *length)
{
    struct address address = {0};
    struct address_choices choices;
    const struct address_choice *choice;
    int error;

    snprintf(address.host, sizeof(address.host), "%s", host);
    snprintf(address.port, sizeof(address.port), "%u", port);
    error = address_resolve(&address, false, &choices);
    if (error)
        return error;
    choice = address_prefer_ipv4(&choices);
    *socket_address = choice->socket;
    *length = choice->length;
    return 0;
}

static bool sockets_resolve_or_explain(const char *host, uint16_t port,
                                       struct sockaddr_storage *address, socklen_t *length,
                                       char text[SOCKETS_TEXT_MAX])
{
    int error = sockets_resolve(host, port, address, length);

    if (error)
        snprintf(text, SOCKETS_TEXT_MAX, "cannot resolve host '%s': %s", host, gai_strerror(error));
    return error == 0;
}

static int sockets_fail_to_listen(const char *host, uint16_t port, int error,
                                  char text[SOCKETS_TEXT_MAX])
{
    snprintf(text, SOCKETS_TEXT_MAX, "cannot listen on %s port %u: %s", host, port,
             sockets_explain(error));
    return -error;
}

/* A socket that does not listen, with SO_REUSEADDR, is not in the way of a server that starts. */
int sockets_check(const char *host, uint16_t port, char text[SOCKETS_TEXT_MAX])
{
    struct sockaddr_storage address;
    socklen_t length = 0;
    int descriptor;
    int error = 0;

    if (!sockets_resolve_or_explain(host, port, &address, &length, text))
        return -EINVAL;
    descriptor = sockets_bind((const struct sockaddr *)&address, length, false);
    if (descriptor < 0)
        error = errno;
    else
        close(descriptor);
    return error == 0 || error == EADDRINUSE ? 0 : sockets_fail_to_listen(host, port, error, text);
}

int sockets_listen(const char *host, uint16_t port, int *listeners, uint32_t count,
                   char text[SOCKETS_TEXT_MAX])
{
    struct sockaddr_storage address;
    socklen_t length = 0;
    int error;

    if (!sockets_resolve_or_explain(host, port, &address, &length, text))
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        listeners[i] =
            i == 0 ? sockets_open_first_listener((const struct sockaddr *)&address, length)
                   : sockets_open_listener((const struct sockaddr *)&address, length, false);
        if (listeners[i] < 0) {
            error = errno;
            while (i-- > 0)
                close(listeners[i]);
            return sockets_fail_to_listen(host, port, error, text);
        }
        /* With port 0 the kernel has chosen now; the other sockets use the same port. */
        length = sizeof(address);
        getsockname(listeners[i], (struct sockaddr *)&address, &length);
    }
    sockets_write_address(&address, length, text);
    return 0;
}

/*
 * The guard is bound like one of the listeners, but never listens. After its SO_REUSEADDR and
 * SO_REUSEPORT are cleared, the kernel lets no other socket bind the port. A listener that is shut
 * down would do the same, except with port 0: the kernel releases a port that it chose itself.
 * Connections in TIME_WAIT inherited SO_REUSEADDR from their listener, so that they do not prevent
 * the next server from binding.
 */
int sockets_guard(int listener)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    bool fine = getsockname(listener, (struct sockaddr *)&address, &length) == 0;
    int guard = fine ? socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    int error;

    fine = guard >= 0;
    if (address.ss_family == AF_INET6)
        fine = fine && sockets_set_option(guard, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    fine = fine && sockets_set_option(guard, SOL_SOCKET, SO_REUSEADDR, 1) &&
           sockets_set_option(guard, SOL_SOCKET, SO_REUSEPORT, 1) &&
           bind(guard, (const struct sockaddr *)&address, length) == 0 &&
           sockets_set_option(guard, SOL_SOCKET, SO_REUSEADDR, 0) &&
           sockets_set_option(guard, SOL_SOCKET, SO_REUSEPORT, 0);
    if (fine)
        return guard;
    error = -errno;
    if (guard >= 0)
        close(guard);
    return error;
}

bool sockets_address(const char *host, uint16_t port, char text[SOCKETS_TEXT_MAX])
{
    struct sockaddr_storage address;
    socklen_t length = 0;

    if (sockets_resolve(host, port, &address, &length) != 0)
        return false;
    sockets_write_address(&address, length, text);
    return true;
}

bool sockets_adopt(int listener)
{
    return sockets_set_tcp_options(listener);
}

void sockets_reject_new(const struct listener *listener)
{
    /* Drops packets with SYN and without ACK among the flags of the TCP header. */
    enum {
        FLAGS_AT = 13,
        ACK_AND_SYN = 0x12,
        SYN = 0x02
    };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ACK_AND_SYN),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (listener->local)
        shutdown(listener->descriptor, SHUT_RD);
    else
        setsockopt(listener->descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

bool sockets_peer(int descriptor, uint8_t address[SOCKETS_PEER_BYTES])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(peer);

    if (getpeername(descriptor, (struct sockaddr *)&peer, &length) < 0)
        return false;
    if (peer.ss_family == AF_INET) {
        memcpy(address, mapped, sizeof(mapped));
        memcpy(address + sizeof(mapped), &((struct sockaddr_in *)&peer)->sin_addr, 4);
    } else if (peer.ss_family == AF_INET6) {
        memcpy(address, &((struct sockaddr_in6 *)&peer)->sin6_addr, SOCKETS_PEER_BYTES);
    } else {
        return false;
    }
    return true;
}

uint32_t sockets_unread(int descriptor)
{
    int bytes = 0;

    if (ioctl(descriptor, FIONREAD, &bytes) < 0 || bytes < 0)
        return 0;
    return (uint32_t)bytes;
}

bool sockets_ready(int descriptor, short events)
{
    struct pollfd socket = {.fd = descriptor, .events = events};

    return poll(&socket, 1, 0) > 0;
}

void sockets_describe_peer(int descriptor, char text[SOCKETS_PEER_TEXT_MAX])
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(peer);
    char host[INET6_ADDRSTRLEN];

    if (getpeername(descriptor, (struct sockaddr *)&peer, &length) < 0)
        peer.ss_family = AF_UNSPEC;
    if (peer.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&peer;
        const uint8_t *bytes = in6->sin6_addr.s6_addr;
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);

        inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? bytes + 12 : bytes, host, sizeof(host));
        snprintf(text, SOCKETS_PEER_TEXT_MAX, mapped ? "%s:%u" : "[%s]:%u", host,
                 ntohs(in6->sin6_port));
    } else if (peer.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&peer;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, SOCKETS_PEER_TEXT_MAX, "%s:%u", host, ntohs(in->sin_port));
    } else {
        snprintf(text, SOCKETS_PEER_TEXT_MAX, "%s", peer.ss_family == AF_UNIX ? "unix" : "unknown");
    }
}

void sockets_end_output(int descriptor)
{
    shutdown(descriptor, SHUT_WR);
}

void sockets_end(int descriptor)
{
    shutdown(descriptor, SHUT_RDWR);
}

uint64_t sockets_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}
