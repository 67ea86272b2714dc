/*
 * Which web pages may use the server. A browser sends the origin of the page with a request to
 * another origin, so a page of someone else cannot use a server on the visitor's machine without
 * being noticed. A page can also reach the server by a name of its own that it resolves to the
 * server's address (DNS rebinding); then the Host header has that name. Pure,
 * except that it uses the C library's allocator.
 */
#ifndef HTTP_ORIGIN_H
#define HTTP_ORIGIN_H

#include <stdbool.h>

enum {
    ORIGINS_MAX = 256, /* in a list */
    ORIGINS_PROBLEM_MAX = 160
};

/*
 * The origins that --http-cors-allowed-origins allows. An origin is a scheme, a host and a port.
 * Origins and hosts are compared without case, a dot at the end of the host, and the default port.
 */
struct origins;

/*
 * Parses origins that are separated by commas, as https://app.example.com and
 * http://localhost:3000; `*` allows any. Blanks around them are ignored, and an empty list allows
 * none. Returns the list, which origins_free frees, or NULL with `problem` set to one line about
 * the value.
 */
struct origins *origins_parse(const char *text, char problem[ORIGINS_PROBLEM_MAX]);

/* `origins` may be NULL. */
void origins_free(struct origins *origins);

/*
 * Returns the value of Access-Control-Allow-Origin for a request with this Origin header (NULL:
 * none): "*", or `origin` itself, so that the answer varies by Origin; NULL if the origin is not
 * allowed.
 */
const char *origins_allow(const struct origins *origins, const char *origin);

/*
 * Returns whether to serve a request with this Origin header: the origin is allowed, or it is that
 * of the Host header `host` (NULL: none), with either scheme. Without an Origin header (NULL) the
 * result is true.
 */
bool origins_accept(const struct origins *origins, const char *origin, const char *host);

/*
 * For listeners on loopback without a secret: returns whether the Host header is one that no
 * stranger can resolve to this machine: an IP address, `localhost` or a name under it, `http_host`
 * (the value of --http-host), `machine` (the machine's name), or the host of an allowed origin; any
 * host if all origins are allowed. `http_host` and `machine` may be NULL. Without a Host header
 * (NULL) the result is true: browsers send one.
 */
bool origins_accept_host(const struct origins *origins, const char *host, const char *http_host,
                         const char *machine);

#endif
