#include "os/address.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "dflockd/protocol.h"

#define PATH_PREFIX "unix:"

enum {
    PORT_HIGHEST = 65535,
    ADDRESS_ADVICE_MAX = 130
};

static bool address_parse_path(struct address *address, const char *path)
{
    address->is_unix = true;
    if (!path[0] || strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return false;
    snprintf(address->host, sizeof(address->host), "%s", path);
    return true;
}

static bool address_parse_port(struct address *address, const char *digits)
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

static bool address_parse_text(struct address *address, const char *text)
{
    const char *end = text + strlen(text);
    const char *colon = strchr(text, ':');

    if (strncmp(text, PATH_PREFIX, strlen(PATH_PREFIX)) == 0)
        return address_parse_path(address, text + strlen(PATH_PREFIX));
    if (strchr(text, '/'))
        return false;
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
    return address->host[0] && (!colon || address_parse_port(address, colon + 1));
}

/* Writes the remedy for an invalid `text`. */
static void address_advise(const char *text, char advice[ADDRESS_ADVICE_MAX])
{
    const char *scheme = strstr(text, "://");
    const char *colon = strrchr(text, ':');

    if (scheme)
        snprintf(advice, ADDRESS_ADVICE_MAX, "leave out %.*s://",
                 scheme - text < 16 ? (int)(scheme - text) : 16, text);
    else if (strncmp(text, PATH_PREFIX, strlen(PATH_PREFIX)) == 0)
        snprintf(advice, ADDRESS_ADVICE_MAX, "give a path of 1 to %zu bytes",
                 sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    else if (text[0] == '/')
        snprintf(advice, ADDRESS_ADVICE_MAX, "for a path write unix:%.100s", text);
    else if (colon && colon > text && (text[0] != '[' || colon[-1] == ']') && colon[1] &&
             !colon[1 + strspn(colon + 1, "-0123456789")])
        snprintf(advice, ADDRESS_ADVICE_MAX, "a port is a number from 1 to %d", PORT_HIGHEST);
    else
        snprintf(advice, ADDRESS_ADVICE_MAX, "give host:port, [::1]:port or unix:/path");
}

/* As address_parse, for the first `length` bytes of `text`. */
static bool address_parse_part(struct address *address, const char *text, size_t length,
                               char problem[ADDRESS_PROBLEM_MAX])
{
    char advice[ADDRESS_ADVICE_MAX];

    *address = (struct address){0};
    memcpy(address->text, text, length < ADDRESS_TEXT_MAX ? length : ADDRESS_TEXT_MAX - 1);
    if (length < ADDRESS_TEXT_MAX && address_parse_text(address, address->text))
        return true;
    address_advise(address->text, advice);
    snprintf(problem, ADDRESS_PROBLEM_MAX, "'%s' is not host:port or unix:/path; %s", address->text,
             advice);
    return false;
}

bool address_parse(struct address *address, const char *text, char problem[ADDRESS_PROBLEM_MAX])
{
    return address_parse_part(address, text, strlen(text), problem);
}

bool address_parse_list(struct address addresses[ADDRESS_LIST_MAX], uint32_t *count,
                        const char *list, char problem[ADDRESS_PROBLEM_MAX])
{
    for (*count = 0; *count < ADDRESS_LIST_MAX; list++) {
        const char *start = list + strspn(list, " ");
        const char *end = start + strcspn(start, ",");

        list = end;
        while (end > start && end[-1] == ' ')
            end--;
        if (!address_parse_part(&addresses[*count], start, (size_t)(end - start), problem))
            return false;
        ++*count;
        if (*list == '\0')
            return true;
    }
    snprintf(problem, ADDRESS_PROBLEM_MAX, "more than %d servers", ADDRESS_LIST_MAX);
    return false;
}

const char *address_tls_name(const struct address *address)
{
    return address->is_unix ? "localhost" : address->host;
}

static void address_resolve_path(const struct address *address, struct address_choices *choices)
{
    struct sockaddr_un socket = {.sun_family = AF_UNIX};

    memcpy(socket.sun_path, address->host, strlen(address->host));
    memcpy(&choices->at[0].socket, &socket, sizeof(socket));
    choices->at[0].length = sizeof(socket);
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

const struct address_choice *address_prefer_ipv4(const struct address_choices *choices)
{
    assert(choices->count > 0);
    for (uint32_t i = 0; i < choices->count; i++) {
        if (choices->at[i].socket.ss_family == AF_INET)
            return &choices->at[i];
    }
    return &choices->at[0];
}
