/*
 * The endpoints of the HTTP front end: which method and path each has, and what a request for it
 * needs. Pure.
 */
#ifndef HTTP_ROUTE_H
#define HTTP_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/protocol.h"

enum route_method {
    ROUTE_GET, /* and HEAD */
    ROUTE_POST,
    ROUTE_DELETE,
    ROUTE_METHODS
};

enum route_endpoint {
    ROUTE_HEALTH,
    ROUTE_READY,
    ROUTE_METRICS,
    ROUTE_OPENAPI,
    ROUTE_STATS,
    ROUTE_KEYS,
    ROUTE_SESSION_CREATE,
    ROUTE_SESSION_DELETE,
    ROUTE_SESSION_PING,
    ROUTE_ACQUIRE,
    ROUTE_RELEASE,
    ROUTE_RENEW,
    ROUTE_ENQUEUE,
    ROUTE_WAIT,
    ROUTE_OWN,
    ROUTE_SHOW,
    ROUTE_REVOKE,
    ROUTE_PAGE,
    ROUTE_PAGE_SCRIPT,
    ROUTE_PAGE_STYLE,
    ROUTE_PAGE_ICON,
    ROUTE_ENDPOINTS
};

enum {
    ROUTE_SESSION_ID_LENGTH = 32, /* lower-case hexadecimal digits */
    ROUTE_ALLOW_MAX = 32
};

struct route {
    enum route_method method;
    enum route_endpoint endpoint;
    bool semaphore;      /* the key is a semaphore and not a lock */
    bool open;           /* served without authentication */
    bool needs_session;  /* the request must have the header X-Dflockd-Session */
    const char *pattern; /* the path, with {key} or {id} for a segment; a label of metrics */
};

/* All endpoints. Patterns with a key are there twice, for locks and for semaphores. */
extern const struct route route_table[];
extern const uint32_t route_count;

enum route_result {
    ROUTE_FOUND,
    ROUTE_UNKNOWN,     /* 404: there is no such path */
    ROUTE_WRONG_METHOD /* 405: the path has other methods */
};

struct route_match {
    const struct route *route; /* FOUND; NULL otherwise */
    /*
     * FOUND, and the segment is valid: the decoded {key}, 1 to DFLOCKD_KEY_MAX bytes, or the {id},
     * ROUTE_SESSION_ID_LENGTH bytes. It has no 0 at its end. Length 0: the pattern has neither.
     */
    uint8_t segment[DFLOCKD_KEY_MAX];
    uint32_t segment_length;
    const char *bad_segment;     /* FOUND: the problem with the segment, for 400; or NULL */
    char allow[ROUTE_ALLOW_MAX]; /* WRONG_METHOD: the methods of the path, "GET, HEAD" */
};

/*
 * Finds the endpoint for `method`, the first word of the request, and `path`, which is as it was
 * received, without the query, and ends with a 0. Of an absolute URI, as http://host/path, the path
 * counts. Only segments are decoded, after the path was cut at its slashes: a key may contain
 * `%2F`, and is anything else that TCP accepts, also `..`. Sets `*match`.
 */
enum route_result route_find(const char *method, const char *path, struct route_match *match);

enum {
    ROUTE_MALFORMED = -1, /* a '%' without two hexadecimal digits */
    ROUTE_TOO_LONG = -2
};

/*
 * Replaces each %XX in `text` by its byte; a '+' stays. Writes at most `max` bytes at `to`, which
 * must not exceed INT_MAX. Returns their number, or a negative one of the above.
 */
int route_decode(const char *text, size_t length, uint8_t *to, size_t max);

#endif
