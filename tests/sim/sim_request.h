/*
 * Requests as data, and their text on the wire.
 */
#ifndef TESTS_SIM_SIM_REQUEST_H
#define TESTS_SIM_SIM_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "dflockd/protocol.h"
#include "event.h"
#include "keys.h"

enum {
    SIM_REQUEST_MAX = 1536 /* bytes of a request */
};

#define SIM_REQUEST_SECRET       "a secret for simulation"
#define SIM_REQUEST_ADMIN_SECRET "another secret"

struct sim_request {
    uint8_t op; /* enum dflockd_command */
    uint8_t flaw;
    uint8_t style;
    bool administrator; /* of `auth`: the secret is the administrators' */
    uint8_t name;       /* of `name`, among sim_names */
    uint16_t key;
    uint32_t wait_s;
    uint32_t limit;
    uint32_t lease_s; /* 0: omitted */
    uint64_t fence;
    uint64_t salt;
    uint32_t end; /* position of its last byte in the client's input */
};

/* Returns whether the server ignores the key, or the key and the arg. */
static inline bool sim_request_is_keyless(uint8_t op)
{
    return op == DFLOCKD_PING || op == DFLOCKD_STATS || op == DFLOCKD_AUTH || op == DFLOCKD_NAME;
}

/* The arg of `name`. */
struct sim_name {
    const char *text;
    const char *json; /* as `show` must write it, with quotes; NULL: the name is not valid */
};

enum {
    SIM_NAMES = 16
};

extern const struct sim_name sim_names[SIM_NAMES];

/* Returns whether the command takes a lock shared. */
static inline bool sim_request_is_shared(uint8_t op)
{
    return op == DFLOCKD_ACQUIRE_SHARED || op == DFLOCKD_ENQUEUE_SHARED;
}

/* Returns whether the request always ends the session. */
static inline bool sim_request_ends_session(const struct sim_request *request)
{
    return request->flaw >= FLAW_LONG_COMMAND;
}

/* Writes the request to `to`. Returns its length. */
uint32_t sim_request_write(char *to, const struct sim_request *request,
                           const struct key_names *names);

#endif
