/*
 * Requests as data, and how they look on the wire.
 */
#ifndef TESTS_SIM_WORDING_H
#define TESTS_SIM_WORDING_H

#include <stdbool.h>
#include <stdint.h>

#include "dflockd/protocol.h"
#include "event.h"
#include "keys.h"

enum {
    WORDING_MAX = 1536 /* bytes of a request */
};

#define WORDING_SECRET "a secret for simulation"

struct asked {
    uint8_t op; /* enum dflockd_command */
    uint8_t flaw;
    uint8_t style;
    uint16_t key;
    uint32_t wait_s;
    uint32_t limit;
    uint32_t lease_s; /* 0: left out */
    uint64_t fence;
    uint64_t salt;
    uint32_t end; /* of its bytes, in what its client said */
};

/* Whether the server looks at neither key nor arg, or only at the arg. */
static inline bool asked_keyless(uint8_t op)
{
    return op == DFLOCKD_PING || op == DFLOCKD_STATS || op == DFLOCKD_AUTH;
}

/* Whether it ends the session, whatever it is. */
static inline bool asked_too_long(const struct asked *asked)
{
    return asked->flaw >= FLAW_LONG_COMMAND;
}

/* Writes the request at `to`; its length. */
uint32_t wording_write(char *to, const struct asked *asked, const struct key_names *names);

#endif
