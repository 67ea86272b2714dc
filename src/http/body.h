/*
 * The bodies of HTTP requests: JSON objects with a few fields. Pure.
 */
#ifndef HTTP_BODY_H
#define HTTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/route.h"

enum body_field {
    BODY_ACQUIRE_TIMEOUT = 1, /* acquire_timeout_s */
    BODY_TIMEOUT = 2,         /* timeout_s */
    BODY_LEASE = 4,           /* lease_ttl_s */
    BODY_LIMIT = 8,           /* limit */
    BODY_TOKEN = 16,          /* token */
    BODY_FENCE = 32,          /* fence */
    BODY_MODE = 64            /* mode */
};

enum {
    BODY_MAX = 1 << 20, /* bytes; the caller refuses a longer one with 413 */
    BODY_DETAIL_MAX = 160
};

/* Fields that are not present are 0. */
struct body {
    unsigned present;   /* a set of enum body_field */
    uint64_t timeout_s; /* of BODY_ACQUIRE_TIMEOUT or BODY_TIMEOUT: 0 to DFLOCKD_SECONDS_MAX */
    uint64_t lease_s;   /* 1 to DFLOCKD_SECONDS_MAX; 0: the default */
    uint32_t limit;     /* 1 to DFLOCKD_LIMIT_MAX */
    uint64_t fence;     /* of the token, or of BODY_FENCE */
    uint64_t salt;      /* of the token */
    bool shared;        /* of BODY_MODE; false: exclusive */
};

/*
 * Parses `length` bytes, at most BODY_MAX, as a JSON object with all fields of the set `required`
 * and no others than those of `allowed`. No bytes at all are an object without fields. Returns true
 * and sets `*body`. Otherwise returns false and sets `detail` to the first problem: one line of
 * printable text, which ends with a 0.
 */
bool body_parse(struct body *body, unsigned allowed, unsigned required, const uint8_t *bytes,
                size_t length, char detail[BODY_DETAIL_MAX]);

/* Sets which fields the endpoint takes and which of them it needs. */
void body_fields(const struct route *route, unsigned *allowed, unsigned *required);

#endif
