#include "http/origin.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"

enum {
    ORIGIN_NAME_MAX = 253, /* bytes of a host name, as in DNS */
    ORIGIN_ECHO_MAX = 40   /* bytes of a wrong origin in a problem */
};

/* In one form for all spellings: lower case; an IPv6 address in brackets and as short as it gets.
 */
struct origin_host {
    char name[ORIGIN_NAME_MAX + 1];
    uint32_t port; /* 0: not given */
    bool address;
};

struct origin {
    bool secure; /* https */
    struct origin_host host;
};

struct origins {
    bool any;
    uint32_t count;
    struct origin list[];
};

static_assert(INET6_ADDRSTRLEN + 2 <= ORIGIN_NAME_MAX, "an address is a name");

/* ---- hosts ---- */

/* Reads `:<port>`, `:` or nothing. */
static bool origin_read_port(const char *text, size_t length, uint32_t *port)
{
    *port = 0;
    if (length == 0)
        return true;
    if (text[0] != ':' || length > 6)
        return false;
    for (size_t i = 1; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *port = *port * 10 + (uint32_t)(text[i] - '0');
    }
    return length == 1 || (*port > 0 && *port <= UINT16_MAX);
}

/* Reads `[<address>]`. Returns its length, or 0 if there is none. */
static size_t origin_read_ipv6(const char *text, size_t length, struct origin_host *host)
{
    const char *end = memchr(text, ']', length);
    size_t inside = end ? (size_t)(end - text) - 1 : 0;
    char address[INET6_ADDRSTRLEN];
    struct in6_addr parsed;

    if (!end || inside >= sizeof(address))
        return 0;
    memcpy(address, text + 1, inside);
    address[inside] = '\0';
    if (inet_pton(AF_INET6, address, &parsed) != 1)
        return 0;
    inet_ntop(AF_INET6, &parsed, address, sizeof(address));
    snprintf(host->name, sizeof(host->name), "[%s]", address);
    host->address = true;
    return inside + 2;
}

static bool origin_in_name(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
           byte == '.' || byte == '_';
}

/* Reads a name or an IPv4 address. Returns its length, or 0 if there is none. */
static size_t origin_read_name(const char *text, size_t length, struct origin_host *host)
{
    struct in_addr parsed;
    size_t count = 0;
    size_t kept;

    for (; count < length && text[count] != ':'; count++) {
        char byte = text[count];

        if (byte >= 'A' && byte <= 'Z')
            byte = (char)(byte - 'A' + 'a');
        if (count == ORIGIN_NAME_MAX || !origin_in_name(byte))
            return 0;
        host->name[count] = byte;
    }
    kept = count > 0 && host->name[count - 1] == '.' ? count - 1 : count;
    host->name[kept] = '\0';
    host->address = inet_pton(AF_INET, host->name, &parsed) == 1;
    return kept > 0 ? count : 0;
}

/* Reads `<host>[:<port>]`. Returns false if it is not one. */
static bool origin_read_host(const char *text, size_t length, struct origin_host *host)
{
    size_t name = length > 0 && text[0] == '[' ? origin_read_ipv6(text, length, host)
                                               : origin_read_name(text, length, host);

    return name > 0 && origin_read_port(text + name, length - name, &host->port);
}

/* Returns whether the name of `host` is `name`, in any case and with or without a dot at its end.
 */
static bool origin_host_is(const struct origin_host *host, const char *name)
{
    size_t length = name ? strlen(name) : 0;

    if (length > 0 && name[length - 1] == '.')
        length--;
    return length > 0 && strlen(host->name) == length && strncasecmp(host->name, name, length) == 0;
}

static bool origin_host_is_local(const struct origin_host *host)
{
    static const char suffix[] = ".localhost";
    size_t length = strlen(host->name);

    if (length >= sizeof(suffix) - 1)
        return strcmp(host->name + length - (sizeof(suffix) - 1), suffix) == 0;
    return strcmp(host->name, suffix + 1) == 0;
}

/* ---- origins ---- */

static bool origin_read(const char *text, size_t length, struct origin *origin)
{
    size_t scheme;

    if (length >= 7 && strncasecmp(text, "http://", 7) == 0)
        scheme = 7;
    else if (length >= 8 && strncasecmp(text, "https://", 8) == 0)
        scheme = 8;
    else
        return false;
    origin->secure = scheme == 8;
    return origin_read_host(text + scheme, length - scheme, &origin->host);
}

/* The port of a host that an origin is compared with. */
static uint32_t origin_port(const struct origin_host *host, bool secure)
{
    uint32_t usual = secure ? 443 : 80;

    return host->port > 0 ? host->port : usual;
}

static bool origin_has_host(const struct origin *origin, const struct origin_host *host)
{
    return strcmp(origin->host.name, host->name) == 0 &&
           origin_port(&origin->host, origin->secure) == origin_port(host, origin->secure);
}

/* ---- lists ---- */

static bool origins_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Sets `problem` to what is wrong with an origin. */
static void origins_refuse(const char *text, size_t length, char problem[ORIGINS_PROBLEM_MAX])
{
    char shown[ORIGIN_ECHO_MAX + 1];
    bool whole = utf8_copy_printable(shown, sizeof(shown), (const uint8_t *)text, (uint32_t)length);

    snprintf(problem, ORIGINS_PROBLEM_MAX,
             "'%s%s': must be '*' or http[s]://HOST[:PORT], without a path", shown,
             whole ? "" : "...");
}

/* Adds the origin of `length` bytes at `text`. */
static bool origins_add(struct origins *origins, const char *text, size_t length)
{
    while (length > 0 && origins_blank(text[length - 1]))
        length--;
    while (length > 0 && origins_blank(text[0])) {
        text++;
        length--;
    }
    if (length == 1 && text[0] == '*') {
        origins->any = true;
        return true;
    }
    if (!origin_read(text, length, &origins->list[origins->count]))
        return false;
    origins->count++;
    return true;
}

static uint32_t origins_count_commas(const char *text)
{
    uint32_t count = 0;

    while ((text = strchr(text, ',')) != NULL && count < ORIGINS_MAX) {
        text++;
        count++;
    }
    return count;
}

struct origins *origins_parse(const char *text, char problem[ORIGINS_PROBLEM_MAX])
{
    uint32_t room = origins_count_commas(text) + 1;
    struct origins *origins;

    if (room > ORIGINS_MAX) {
        snprintf(problem, ORIGINS_PROBLEM_MAX, "must be at most %d origins", ORIGINS_MAX);
        return NULL;
    }
    origins = calloc(1, sizeof(*origins) + room * sizeof(origins->list[0]));
    if (!origins) {
        snprintf(problem, ORIGINS_PROBLEM_MAX, "not enough memory");
        return NULL;
    }
    if (text[strspn(text, " \t")] == '\0')
        return origins;
    for (;;) {
        size_t length = strcspn(text, ",");

        if (!origins_add(origins, text, length)) {
            origins_refuse(text, length, problem);
            origins_free(origins);
            return NULL;
        }
        if (text[length] == '\0')
            return origins;
        text += length + 1;
    }
}

void origins_free(struct origins *origins)
{
    free(origins);
}

static bool origins_have(const struct origins *origins, const struct origin *origin)
{
    for (uint32_t i = 0; i < origins->count; i++) {
        if (origins->list[i].secure == origin->secure &&
            origin_has_host(&origins->list[i], &origin->host))
            return true;
    }
    return false;
}

const char *origins_allow(const struct origins *origins, const char *origin)
{
    struct origin parsed;

    if (!origin)
        return NULL;
    if (origins->any)
        return "*";
    /* Most servers have no list. */
    if (origins->count == 0 || !origin_read(origin, strlen(origin), &parsed))
        return NULL;
    return origins_have(origins, &parsed) ? origin : NULL;
}

bool origins_accept(const struct origins *origins, const char *origin, const char *host)
{
    struct origin_host parsed_host;
    struct origin parsed;

    if (!origin || origins->any)
        return true;
    if (!origin_read(origin, strlen(origin), &parsed))
        return false;
    if (origins_have(origins, &parsed))
        return true;
    return host && origin_read_host(host, strlen(host), &parsed_host) &&
           origin_has_host(&parsed, &parsed_host);
}

bool origins_accept_host(const struct origins *origins, const char *host, const char *http_host,
                         const char *machine)
{
    struct origin_host parsed;

    if (!host)
        return true;
    if (!origin_read_host(host, strlen(host), &parsed))
        return false;
    if (origins->any || parsed.address || origin_host_is_local(&parsed) ||
        origin_host_is(&parsed, http_host) || origin_host_is(&parsed, machine))
        return true;
    for (uint32_t i = 0; i < origins->count; i++) {
        if (strcmp(origins->list[i].host.name, parsed.name) == 0)
            return true;
    }
    return false;
}
