#include "http/route.h"

#include <string.h>
#include <strings.h>

#include "wire/hex.h"
#include "wire/request.h"

/* The search goes from the start, so the endpoints that a lock service uses most come first. */
const struct route route_table[] = {
    /* method, endpoint, semaphore, open, needs_session, pattern */
    {ROUTE_POST, ROUTE_ACQUIRE, false, false, true, "/v1/locks/{key}"},
    {ROUTE_POST, ROUTE_RELEASE, false, false, true, "/v1/locks/{key}/release"},
    {ROUTE_POST, ROUTE_RENEW, false, false, true, "/v1/locks/{key}/renew"},
    {ROUTE_POST, ROUTE_ENQUEUE, false, false, true, "/v1/locks/{key}/enqueue"},
    {ROUTE_POST, ROUTE_WAIT, false, false, true, "/v1/locks/{key}/wait"},
    {ROUTE_POST, ROUTE_OWN, false, false, true, "/v1/locks/{key}/own"},
    {ROUTE_GET, ROUTE_SHOW, false, false, false, "/v1/locks/{key}"},
    {ROUTE_POST, ROUTE_REVOKE, false, false, false, "/v1/locks/{key}/revoke"},
    {ROUTE_POST, ROUTE_ACQUIRE, true, false, true, "/v1/semaphores/{key}"},
    {ROUTE_POST, ROUTE_RELEASE, true, false, true, "/v1/semaphores/{key}/release"},
    {ROUTE_POST, ROUTE_RENEW, true, false, true, "/v1/semaphores/{key}/renew"},
    {ROUTE_POST, ROUTE_ENQUEUE, true, false, true, "/v1/semaphores/{key}/enqueue"},
    {ROUTE_POST, ROUTE_WAIT, true, false, true, "/v1/semaphores/{key}/wait"},
    {ROUTE_POST, ROUTE_OWN, true, false, true, "/v1/semaphores/{key}/own"},
    {ROUTE_GET, ROUTE_SHOW, true, false, false, "/v1/semaphores/{key}"},
    {ROUTE_POST, ROUTE_REVOKE, true, false, false, "/v1/semaphores/{key}/revoke"},
    {ROUTE_POST, ROUTE_SESSION_PING, false, false, false, "/v1/sessions/{id}/ping"},
    {ROUTE_POST, ROUTE_SESSION_CREATE, false, false, false, "/v1/sessions"},
    {ROUTE_DELETE, ROUTE_SESSION_DELETE, false, false, false, "/v1/sessions/{id}"},
    {ROUTE_GET, ROUTE_KEYS, false, false, false, "/v1/keys"},
    {ROUTE_GET, ROUTE_STATS, false, false, false, "/v1/stats"},
    {ROUTE_GET, ROUTE_OPENAPI, false, true, false, "/v1/openapi.json"},
    {ROUTE_GET, ROUTE_HEALTH, false, true, false, "/health"},
    {ROUTE_GET, ROUTE_READY, false, true, false, "/ready"},
    {ROUTE_GET, ROUTE_METRICS, false, false, false, "/metrics"},
    {ROUTE_GET, ROUTE_PAGE, false, true, false, "/"},
    {ROUTE_GET, ROUTE_PAGE_SCRIPT, false, true, false, "/page/app.js"},
    {ROUTE_GET, ROUTE_PAGE_STYLE, false, true, false, "/page/style.css"},
    {ROUTE_GET, ROUTE_PAGE_ICON, false, true, false, "/page/icon.svg"},
};

const uint32_t route_count = sizeof(route_table) / sizeof(route_table[0]);

/* Returns the method, or ROUTE_METHODS if no endpoint has it. */
static enum route_method route_method_of(const char *method)
{
    if (strcmp(method, "POST") == 0)
        return ROUTE_POST;
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        return ROUTE_GET;
    return strcmp(method, "DELETE") == 0 ? ROUTE_DELETE : ROUTE_METHODS;
}

/* Returns the path of an absolute URI, or `path`. */
static const char *route_path_of(const char *path)
{
    const char *authority;

    if (path[0] == '/')
        return path;
    if (strncasecmp(path, "http://", 7) == 0)
        authority = path + 7;
    else if (strncasecmp(path, "https://", 8) == 0)
        authority = path + 8;
    else
        return path;
    path = strchr(authority, '/');
    return path ? path : "/";
}

/*
 * Returns whether `path` is one of the pattern. Sets `*segment` to the part that the pattern leaves
 * open; its bytes stay NULL if there is none.
 */
static bool route_matches(const char *pattern, const char *path, struct slice *segment)
{
    const char *end;

    for (; *pattern != '{'; pattern++, path++) {
        if (*pattern != *path)
            return false;
        if (*pattern == '\0')
            return true;
    }
    end = strchrnul(path, '/');
    if (end == path || strcmp(strchr(pattern, '}') + 1, end) != 0)
        return false;
    *segment = (struct slice){.bytes = (const uint8_t *)path, .length = (uint32_t)(end - path)};
    return true;
}

static void route_read_id(struct slice text, struct route_match *match)
{
    uint64_t half;

    if (text.length != ROUTE_SESSION_ID_LENGTH || !hex_read(text.bytes, &half) ||
        !hex_read(text.bytes + HEX_DIGITS, &half)) {
        match->bad_segment = "session id: must be 32 lower-case hexadecimal digits";
        return;
    }
    memcpy(match->segment, text.bytes, text.length);
    match->segment_length = text.length;
}

static void route_read_key(struct slice text, struct route_match *match)
{
    int length =
        route_decode((const char *)text.bytes, text.length, match->segment, sizeof(match->segment));

    if (length == ROUTE_MALFORMED)
        match->bad_segment = "key: '%' must be followed by two hexadecimal digits";
    else if (length == ROUTE_TOO_LONG || !request_key_valid((struct slice){
                                             .bytes = match->segment,
                                             .length = (uint32_t)length,
                                         }))
        match->bad_segment = "key: must be 1 to 256 bytes, without spaces, tabs and line ends";
    else
        match->segment_length = (uint32_t)length;
}

/* Writes the methods in the set `methods`, a bit for each. */
static void route_put_allow(unsigned methods, char allow[ROUTE_ALLOW_MAX])
{
    static const char *const names[] = {
        [ROUTE_GET] = "GET, HEAD",
        [ROUTE_POST] = "POST",
        [ROUTE_DELETE] = "DELETE",
    };
    const char *separator = "";

    allow[0] = '\0';
    for (unsigned method = 0; method < ROUTE_METHODS; method++) {
        if (!(methods & 1U << method))
            continue;
        strcat(allow, separator);
        strcat(allow, names[method]);
        separator = ", ";
    }
}

enum route_result route_find(const char *method, const char *path, struct route_match *match)
{
    enum route_method wanted = route_method_of(method);
    struct slice segment = {.bytes = NULL};
    unsigned methods = 0;

    match->route = NULL;
    match->segment_length = 0;
    match->bad_segment = NULL;
    match->allow[0] = '\0';
    path = route_path_of(path);
    for (uint32_t i = 0; i < route_count; i++) {
        const struct route *route = &route_table[i];

        if (!route_matches(route->pattern, path, &segment))
            continue;
        methods |= 1U << route->method;
        if (route->method != wanted)
            continue;
        match->route = route;
        if (segment.bytes && strstr(route->pattern, "{id}"))
            route_read_id(segment, match);
        else if (segment.bytes)
            route_read_key(segment, match);
        return ROUTE_FOUND;
    }
    route_put_allow(methods, match->allow);
    return methods ? ROUTE_WRONG_METHOD : ROUTE_UNKNOWN;
}

/* Returns the value of a hexadecimal digit, or -1. */
static int route_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

int route_decode(const char *text, size_t length, uint8_t *to, size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < length; i++) {
        int byte = (uint8_t)text[i];

        if (byte == '%') {
            int high = length - i > 2 ? route_digit(text[i + 1]) : -1;
            int low = high < 0 ? -1 : route_digit(text[i + 2]);

            if (low < 0)
                return ROUTE_MALFORMED;
            byte = high << 4 | low;
            i += 2;
        }
        if (count == max)
            return ROUTE_TOO_LONG;
        to[count++] = (uint8_t)byte;
    }
    return (int)count;
}
