#include "client/address.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "dflockd/protocol.h"

#define PATH_PREFIX "unix:"

enum {
    PORT_HIGHEST = 65535
};

static bool address_read_path(struct address *address, const char *path)
{
    address->is_unix = true;
    if (!path[0] || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return false;
    snprintf(address->host, sizeof(address->host), "%s", path);
    return true;
}

static bool address_read_port(struct address *address, const char *digits)
{
    size_t length = strspn(digits, "0123456789");
    long port;

    if (length == 0 || length >= ADDRESS_PORT_MAX || digits[length])
        return false;
    port = strtol(digits, NULL, 10);
    if (port < 1 || port > PORT_HIGHEST)
        return false;
    snprintf(address->port, sizeof(address->port), "%s", digits);
    return true;
}

bool address_read(struct address *address, const char *text)
{
    const char *end = text + strlen(text);
    const char *colon = strchr(text, ':');

    *address = (struct address){0};
    if (end - text >= ADDRESS_TEXT_MAX)
        return false;
    snprintf(address->text, sizeof(address->text), "%s", text);
    if (strncmp(text, PATH_PREFIX, strlen(PATH_PREFIX)) == 0)
        return address_read_path(address, text + strlen(PATH_PREFIX));
    snprintf(address->port, sizeof(address->port), "%d", DFLOCKD_PORT);
    if (text[0] == '[') {
        end = strchr(++text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return false;
        colon = end[1] ? end + 1 : NULL;
    } else if (colon && strchr(colon + 1, ':')) {
        colon = NULL; /* an IPv6 address without a port */
    } else if (colon) {
        end = colon;
    }
    snprintf(address->host, sizeof(address->host), "%.*s", (int)(end - text), text);
    return address->host[0] && (!colon || address_read_port(address, colon + 1));
}

static void address_resolve_path(const struct address *address, struct address_choices *choices)
{
    struct sockaddr_un *socket = (struct sockaddr_un *)&choices->at[0].socket;

    *socket = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(socket->sun_path, address->host, strlen(address->host));
    choices->at[0].length = sizeof(*socket);
    choices->count = 1;
}

int address_resolve(const struct address *address, bool numeric_only,
                    struct address_choices *choices)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    int error;

    choices->count = 0;
    if (address->is_unix) {
        address_resolve_path(address, choices);
        return 0;
    }
    if (numeric_only)
        hints.ai_flags |= AI_NUMERICHOST;
    error = getaddrinfo(address->host, address->port, &hints, &found);
    if (error)
        return error;
    for (const struct addrinfo *at = found; at && choices->count < ADDRESS_CHOICES_MAX;
         at = at->ai_next) {
        struct address_choice *choice = &choices->at[choices->count++];

        memcpy(&choice->socket, at->ai_addr, at->ai_addrlen);
        choice->length = at->ai_addrlen;
    }
    freeaddrinfo(found);
    return 0;
}
