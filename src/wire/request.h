/*
 * Bytes to requests. Nothing is copied and nothing kept: a request borrows the bytes it was read
 * from, and what is incomplete is read again from its beginning when more has come.
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
 * The fields that the command has are set; a lease that was left out is 0. Where the request is
 * framed rightly and yet wrong (an unknown command, a bad key or number), `valid` is false and the
 * answer is `error`.
 */
struct request {
    bool valid;
    bool semaphore; /* whether it is about a semaphore and not about a lock */
    enum dflockd_command command;
    struct slice key;
    uint64_t fence; /* of the token */
    uint64_t salt;
    uint64_t timeout_s;  /* 0 to DFLOCKD_SECONDS_MAX */
    uint64_t lease_s;    /* 1 to DFLOCKD_SECONDS_MAX */
    uint32_t limit;      /* 1 to DFLOCKD_LIMIT_MAX; 1 for a lock */
    struct slice secret; /* of `auth`, blanks around it trimmed */
};

enum request_framing {
    REQUEST_COMPLETE,
    REQUEST_PARTIAL, /* more bytes are needed */
    REQUEST_TOO_LONG /* a line is longer than it may be; skip to behind its '\n' */
};

/* Where a request ends, or where the reading stopped. */
struct request_frame {
    enum request_framing framing;
    uint32_t length; /* COMPLETE: of the request; TOO_LONG: up to the start of the long line */
    uint32_t lines;  /* that were complete: 0 to 3 */
};

/*
 * Reads the request at the start of `bytes`. `request` is set where the frame is complete. At most
 * DFLOCKD_AUTH_LINE_MAX and two lines of DFLOCKD_LINE_MAX can be partial.
 */
struct request_frame request_read(const uint8_t *bytes, size_t length, struct request *request);

/* Whether `command` is about semaphores. */
static inline bool command_of_semaphores(enum dflockd_command command)
{
    return command >= DFLOCKD_SEMAPHORE_ACQUIRE && command <= DFLOCKD_SEMAPHORE_WAIT;
}

#endif
