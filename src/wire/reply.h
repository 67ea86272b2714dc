/*
 * Outcomes to bytes: the lines of answers, and the JSON of `stats` and `show`.
 */
#ifndef WIRE_REPLY_H
#define WIRE_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/protocol.h"

/* The largest entry of `stats` and `show`: each byte of the key as \u00xx, and the numbers. */
#define REPLY_ENTRY_MAX (DFLOCKD_KEY_MAX * 6 + 192)

/* Each writes at `to` and returns the end. Its comment states the largest size. */

/* `<word>\n`: DFLOCKD_ANSWER_MAX bytes. */
uint8_t *reply_outcome(uint8_t *to, enum dflockd_outcome outcome);

/* `<word> <token> <lease>\n`: DFLOCKD_ANSWER_MAX bytes. */
uint8_t *reply_grant(uint8_t *to, enum dflockd_outcome outcome, uint64_t fence, uint64_t salt,
                     uint64_t lease_s);

/* `ok <lease>\n`: DFLOCKD_ANSWER_MAX bytes. */
uint8_t *reply_renewed(uint8_t *to, uint64_t lease_s);

/* The arrays of `stats`, in their order. A semaphore of limit 1 is listed as a lock. */
enum reply_section {
    REPLY_LOCKS,
    REPLY_SEMAPHORES,
    REPLY_IDLE_LOCKS,
    REPLY_IDLE_SEMAPHORES,
    REPLY_SECTIONS
};

/* One resource of `stats`; each section writes some of the members. */
struct reply_entry {
    const uint8_t *key;
    uint32_t key_length;
    uint64_t owner;    /* connection id, 0: none */
    uint64_t lease_ns; /* left */
    uint64_t idle_ns;
    uint32_t limit;
    uint32_t holders;
    uint32_t waiters;
};

/* `ok {"connections":N`: REPLY_ENTRY_MAX bytes, as the functions below. */
uint8_t *reply_stats_begin(uint8_t *to, uint64_t connections);
uint8_t *reply_stats_section(uint8_t *to, enum reply_section section);
uint8_t *reply_stats_entry(uint8_t *to, enum reply_section section, bool first,
                           const struct reply_entry *entry);
uint8_t *reply_stats_section_end(uint8_t *to);
uint8_t *reply_stats_end(uint8_t *to);

/* The key of `show`. */
struct reply_resource {
    const uint8_t *key;
    uint32_t key_length;
    bool semaphore;
    uint32_t limit;
    uint32_t holders;
    uint32_t waiters;
};

#define REPLY_NO_TIME UINT64_MAX

/* A holder or waiter of `show`. */
struct reply_claim {
    uint64_t fence;    /* of a holder */
    uint64_t position; /* of a waiter, from 1 */
    bool exclusive;
    uint64_t connection;  /* its number */
    const char *address;  /* without bytes that JSON escapes; at most 128 bytes */
    const uint8_t *name;  /* printable, so that JSON escapes a byte by one more at most */
    uint32_t name_length; /* at most DFLOCKD_NAME_MAX */
    uint64_t age_ns;
    uint64_t left_ns; /* REPLY_NO_TIME: null */
};

/*
 * The largest holder or waiter. An output reserves this many bytes: the less they are, the fuller
 * are its chunks.
 */
#define REPLY_CLAIM_MAX (DFLOCKD_NAME_MAX * 2 + 384)

/* `ok {…,"holders":[`, at most REPLY_ENTRY_MAX bytes. */
uint8_t *reply_show_begin(uint8_t *to, const struct reply_resource *resource);
/* At most REPLY_CLAIM_MAX bytes, as the functions below. */
uint8_t *reply_show_holder(uint8_t *to, bool first, const struct reply_claim *claim);
/* `],"waiters":[` */
uint8_t *reply_show_waiters(uint8_t *to);
uint8_t *reply_show_waiter(uint8_t *to, bool first, const struct reply_claim *claim);
uint8_t *reply_show_end(uint8_t *to);

#endif
