#include "bench/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    TIMEOUT_S = 10
};

bool servers_read(struct server servers[SERVERS_MAX], uint32_t *count, const char *list,
                  char problem[ADDRESS_PROBLEM_MAX])
{
    struct address addresses[ADDRESS_LIST_MAX];
    struct address_choices choices;

    if (!address_parse_list(addresses, count, list, problem))
        return false;
    for (uint32_t i = 0; i < *count; i++) {
        int error = address_resolve(&addresses[i], false, &choices);

        if (error) {
            snprintf(problem, ADDRESS_PROBLEM_MAX, "cannot resolve '%.250s': %.80s",
                     addresses[i].text,
                     error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
            return false;
        }
        servers[i] = (struct server){addresses[i], *address_prefer_ipv4(&choices)};
    }
    return true;
}

static int server_open_socket(const struct server *server, int flags)
{
    int descriptor = socket(server->socket.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    int one = 1;

    if (descriptor < 0)
        return -errno;
    if (server->socket.socket.ss_family != AF_UNIX)
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return descriptor;
}

int server_connect(const struct server *server)
{
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int descriptor = server_open_socket(server, 0);
    int error;

    if (descriptor < 0)
        return descriptor;
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(descriptor, (const struct sockaddr *)&server->socket.socket,
                server->socket.length) == 0)
        return descriptor;
    error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    close(descriptor);
    return -error;
}

int server_start_connecting(const struct server *server)
{
    int descriptor = server_open_socket(server, SOCK_NONBLOCK);
    int off = 0;
    int error;

    if (descriptor < 0)
        return descriptor;
    if (connect(descriptor, (const struct sockaddr *)&server->socket.socket,
                server->socket.length) < 0 &&
        errno != EINPROGRESS) {
        error = errno;
        close(descriptor);
        return -error;
    }
    /* The ring can wait only on blocking sockets. */
    ioctl(descriptor, FIONBIO, &off);
    return descriptor;
}
