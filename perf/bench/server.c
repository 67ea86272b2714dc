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

bool servers_read(struct server servers[SERVERS_MAX], uint32_t *count, const char *list,
                  char problem[SERVERS_PROBLEM_MAX])
{
    struct address addresses[ADDRESS_LIST_MAX];

    if (!address_parse_list(addresses, count, list, problem))
        return false;
    for (uint32_t i = 0; i < *count; i++) {
        int error = address_resolve(&addresses[i], false, &servers[i].choices);

        if (error) {
            snprintf(problem, SERVERS_PROBLEM_MAX, "cannot resolve '%.250s': %.80s; check the name",
                     addresses[i].text,
                     error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
            return false;
        }
        servers[i].address = addresses[i];
        servers[i].preferred = 0;
    }
    return true;
}

static const struct address_choice *server_choice(const struct server *server, uint32_t attempt)
{
    return &server->choices.at[(server->preferred + attempt) % server->choices.count];
}

/* The kernel ends a connection whose peer acknowledges nothing for the reply timeout. */
static int server_open_socket(const struct server *server, const struct address_choice *choice,
                              int flags)
{
    unsigned int silent_ms = (unsigned int)server->reply_timeout_s * 1000;
    int descriptor = socket(choice->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    int one = 1;

    if (descriptor < 0)
        return -errno;
    if (choice->socket.ss_family != AF_UNIX) {
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent_ms, sizeof(silent_ms));
    }
    return descriptor;
}

static int server_connect_choice(const struct server *server, const struct address_choice *choice)
{
    struct timeval connecting = {.tv_sec = (time_t)server->connect_timeout_s};
    struct timeval replying = {.tv_sec = (time_t)server->reply_timeout_s};
    int descriptor = server_open_socket(server, choice, 0);
    int error;

    if (descriptor < 0)
        return descriptor;
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &connecting, sizeof(connecting));
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &replying, sizeof(replying));
    if (connect(descriptor, (const struct sockaddr *)&choice->socket, choice->length) == 0)
        return descriptor;
    error = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
    close(descriptor);
    return -error;
}

int server_connect(const struct server *server, uint32_t *choice)
{
    int descriptor = -1;

    for (uint32_t i = 0; i < server->choices.count && descriptor < 0; i++) {
        descriptor = server_connect_choice(server, server_choice(server, i));
        *choice = (server->preferred + i) % server->choices.count;
    }
    return descriptor;
}

int server_start_connecting(const struct server *server, uint32_t attempt)
{
    const struct address_choice *choice = server_choice(server, attempt);
    int descriptor = server_open_socket(server, choice, SOCK_NONBLOCK);
    int off = 0;
    int error;

    if (descriptor < 0)
        return descriptor;
    if (connect(descriptor, (const struct sockaddr *)&choice->socket, choice->length) < 0 &&
        errno != EINPROGRESS) {
        error = errno;
        close(descriptor);
        return -error;
    }
    /* The ring can wait only on blocking sockets. */
    ioctl(descriptor, FIONBIO, &off);
    return descriptor;
}
