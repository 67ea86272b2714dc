/*
 * The static files of the page at `GET /`, which are part of the program. Pure.
 */
#ifndef HTTP_PAGE_H
#define HTTP_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/route.h"

/* The header Content-Security-Policy of the page: only its own files, only requests to its server.
 */
#define PAGE_CONTENT_SECURITY_POLICY                                            \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

struct page_file {
    const char *type; /* the header Content-Type */
    const uint8_t *bytes;
    size_t length;
};

/*
 * Sets `*file` to the file of `endpoint`: ROUTE_PAGE, ROUTE_PAGE_SCRIPT, ROUTE_PAGE_STYLE or
 * ROUTE_PAGE_ICON. Its bytes live as long as the program. Returns false for other endpoints, and
 * leaves `*file` as it was.
 */
bool page_find(enum route_endpoint endpoint, struct page_file *file);

#endif
