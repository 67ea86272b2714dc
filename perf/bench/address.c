#include "bench/address.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "dflockd/protocol.h"

#define PATH_PREFIX "unix:"

enum {
    TIMEOUT_S = 10
};

/* Splits "host:port". Without a port, `port` is dflockd's. */
static void address_split(const char *text, char host[ADDRESS_TEXT_MAX],
                          char port[ADDRESS_TEXT_MAX])
{
    const char *close = text[0] == '[' ? strchr(text, ']') : NULL;
    const char *colon = strrchr(close ? close : text, ':');
    const char *start = close ? text + 1 : text;
    const char *end = close ? close : colon ? colon : text + strlen(text);

    snprintf(host, ADDRESS_TEXT_MAX, "%.*s", (int)(end - start), start);
    if (colon)
        snprintf(port, ADDRESS_TEXT_MAX, "%s", colon + 1);
    else
        snprintf(port, ADDRESS_TEXT_MAX, "%d", DFLOCKD_PORT);
}

/* Prefers IPv4, as most users expect. */
static bool address_resolve(struct address *address, char problem[ADDRESS_PROBLEM_MAX])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    const struct addrinfo *chosen;
    char host[ADDRESS_TEXT_MAX];
    char port[ADDRESS_TEXT_MAX];
    int error;

    address_split(address->text, host, port);
    if (!host[0] || !port[0]) {
        snprintf(problem, ADDRESS_PROBLEM_MAX, "'%s' is not host:port", address->text);
        return false;
    }
    error = getaddrinfo(host, port, &hints, &found);
    if (error) {
        snprintf(problem, ADDRESS_PROBLEM_MAX, "cannot resolve '%s': %s", address->text,
                 gai_strerror(error));
        return false;
    }
    assert(found);
    chosen = found;
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        if (at->ai_family == AF_INET) {
            chosen = at;
            break;
        }
    }
    memcpy(address->host, host, sizeof(host));
    memcpy(&address->socket, chosen->ai_addr, chosen->ai_addrlen);
    address->length = chosen->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

/*
 * Returns whether the address is `unix:path`. Sets the length to 0 if the path is empty or too
 * long.
 */
static bool address_parse_path(struct address *address)
{
    struct sockaddr_un *socket = (struct sockaddr_un *)&address->socket;
    const char *path = address->text + strlen(PATH_PREFIX);

    if (strncmp(address->text, PATH_PREFIX, strlen(PATH_PREFIX)) != 0)
        return false;
    memset(socket, 0, sizeof(*socket));
    socket->sun_family = AF_UNIX;
    address->length = 0;
    if (path[0] && strlen(path) < sizeof(socket->sun_path)) {
        memcpy(socket->sun_path, path, strlen(path));
        address->length = sizeof(*socket);
    }
    return true;
}

bool addresses_read(const char *list, struct address *addresses, uint32_t *count,
                    char problem[ADDRESS_PROBLEM_MAX])
{
    *count = 0;
    for (;;) {
        struct address *address = &addresses[*count];
        size_t length = strcspn(list, ",");
        const char *start = list + strspn(list, " ");
        const char *end = list + length;

        while (end > start && end[-1] == ' ')
            end--;
        if (end < start || (size_t)(end - start) >= ADDRESS_TEXT_MAX) {
            snprintf(problem, ADDRESS_PROBLEM_MAX, "'%.40s' is not host:port", list);
            return false;
        }
        if (*count == ADDRESSES_MAX) {
            snprintf(problem, ADDRESS_PROBLEM_MAX, "more than %d servers", ADDRESSES_MAX);
            return false;
        }
        snprintf(address->text, ADDRESS_TEXT_MAX, "%.*s", (int)(end - start), start);
        if (address_parse_path(address)) {
            if (address->length == 0) {
                snprintf(problem, ADDRESS_PROBLEM_MAX, "'%s' has an empty or too long path",
                         address->text);
                return false;
            }
        } else if (!address_resolve(address, problem)) {
            return false;
        }
        ++*count;
        if (!list[length])
            return true;
        list += length + 1;
    }
}

static int address_open_socket(const struct address *address, int flags)
{
    int descriptor = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    int one = 1;

    if (descriptor < 0)
        return -errno;
    if (address->socket.ss_family != AF_UNIX)
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return descriptor;
}

int address_connect(const struct address *address)
{
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int descriptor = address_open_socket(address, 0);
    int error;

    if (descriptor < 0)
        return descriptor;
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(descriptor, (const struct sockaddr *)&address->socket, address->length) == 0)
        return descriptor;
    error = errno == EINPROGRESS ? ETIMEDOUT : errno;
    close(descriptor);
    return -error;
}

int address_start_connecting(const struct address *address)
{
    int descriptor = address_open_socket(address, SOCK_NONBLOCK);
    int off = 0;
    int error;

    if (descriptor < 0)
        return descriptor;
    if (connect(descriptor, (const struct sockaddr *)&address->socket, address->length) < 0 &&
        errno != EINPROGRESS) {
        error = errno;
        close(descriptor);
        return -error;
    }
    /* The ring can wait only on blocking sockets. */
    ioctl(descriptor, FIONBIO, &off);
    return descriptor;
}
