/*
 * Bytes to requests. Nothing is copied or kept: a request borrows the bytes that it was parsed
 * from. An incomplete request is parsed again from its start when more bytes are there.
 */
#ifndef WIRE_REQUEST_H
#define WIRE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/protocol.h"

struct slice {
    const uint8_t *bytes;
    uint32_t length;
};

/*
 * A request whose frame is complete. If the command is unknown, or a key, a number or a name is
 * wrong, `valid` is false, and the answer is `error`. Members that the command does not have are 0.
 */
struct request {
    bool valid;
    bool semaphore; /* the key is a semaphore and not a lock */
    enum dflockd_command command;
    struct slice key;
    uint64_t fence; /* of the token, or of the grant to revoke */
    uint64_t salt;
    uint64_t timeout_s;      /* 0 to DFLOCKD_SECONDS_MAX */
    uint64_t lease_s;        /* 1 to DFLOCKD_SECONDS_MAX; 0: left out */
    uint32_t limit;          /* 1 to DFLOCKD_LIMIT_MAX; 1 unless the command has one */
    union {                  /* without the blanks around it */
        struct slice secret; /* of `auth` */
        struct slice name;   /* of `name`: 1 to DFLOCKD_NAME_MAX bytes of printable UTF-8 */
    };
};

enum request_framing {
    REQUEST_COMPLETE,
    REQUEST_PARTIAL, /* more bytes are needed */
    REQUEST_TOO_LONG /* a line is too long; skip it with its '\n' */
};

/* The end of a request, or of the part that was parsed. */
struct request_frame {
    enum request_framing framing;
    uint32_t length; /* COMPLETE: of the request; TOO_LONG: up to the start of the long line */
    uint32_t lines;  /* complete ones, 0 to 3 */
};

/*
 * Parses the request at the start of `bytes`. Sets `*request` if the frame is complete. A partial
 * request has at most DFLOCKD_AUTH_LINE_MAX bytes and two lines of DFLOCKD_LINE_MAX.
 */
struct request_frame request_read(const uint8_t *bytes, size_t length, struct request *request);

/*
 * Returns whether `key` has 1 to DFLOCKD_KEY_MAX bytes, and no space, tab, '\r' or '\n'.
 */
bool request_key_valid(struct slice key);

/* Returns whether `command` has a key that is a semaphore. */
static inline bool command_of_semaphores(enum dflockd_command command)
{
    return command >= DFLOCKD_SEMAPHORE_ACQUIRE && command <= DFLOCKD_SEMAPHORE_WAIT;
}

#endif
