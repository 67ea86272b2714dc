/*
 * The bodies and statuses of HTTP answers. Pure.
 */
#ifndef HTTP_ANSWER_H
#define HTTP_ANSWER_H

#include <stdint.h>

#include "http/route.h"
#include "lock/table.h"

enum {
    ANSWER_MAX = 1024,
    ANSWER_DETAIL_MAX = 160 /* bytes of a detail; a longer one is cut */
};

/* `text` is JSON and ends with a newline, without a 0. */
struct answer {
    unsigned status;
    uint32_t length; /* of the text; 0: no body */
    char text[ANSWER_MAX];
};

/*
 * {"error":"<code>","detail":"<detail>"}. `code` is a word of at most 32 bytes. `detail` is
 * escaped; NULL: left out.
 */
void answer_error(struct answer *answer, unsigned status, const char *code, const char *detail);

/*
 * The answer of the lock table to a request for `endpoint`, one of ROUTE_ACQUIRE to ROUTE_REVOKE.
 * `outcome` must not be pending. A grant or a renewal has its lease.
 */
void answer_outcome(struct answer *answer, enum route_endpoint endpoint,
                    const struct lock_answer *outcome);

/* The answer to ROUTE_SESSION_CREATE. `id` has no 0 at its end. */
void answer_session(struct answer *answer, const char id[ROUTE_SESSION_ID_LENGTH],
                    uint64_t idle_timeout_s);

/* {"status":"<text>"}. `text` is a word of at most 32 bytes. */
void answer_status(struct answer *answer, unsigned status, const char *text);

#endif
