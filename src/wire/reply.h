/*
 * Outcomes to bytes: the answer lines, and the JSON of `stats`.
 */
#ifndef WIRE_REPLY_H
#define WIRE_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/protocol.h"

/* Room that one entry of `stats` may need: a key whose every byte is written as \u00xx, and the
 * numbers beside it. */
#define REPLY_ENTRY_MAX (DFLOCKD_KEY_MAX * 6 + 192)

/* Each writes at `to` and returns the end of what it wrote; the room needed is stated. */

/* `<word>\n`: DFLOCKD_ANSWER_MAX bytes. */
uint8_t *reply_outcome(uint8_t *to, enum dflockd_outcome outcome);

/* `<word> <token> <lease>\n`: DFLOCKD_ANSWER_MAX bytes. */
uint8_t *reply_grant(uint8_t *to, enum dflockd_outcome outcome, uint64_t fence, uint64_t salt,
                     uint64_t lease_s);

/* `ok <lease>\n`: DFLOCKD_ANSWER_MAX bytes. */
uint8_t *reply_renewed(uint8_t *to, uint64_t lease_s);

/*
 * The arrays of `stats`, in the order they are sent. A semaphore of limit 1 counts as a lock, as
 * it does upstream.
 */
enum reply_section {
    REPLY_LOCKS,
    REPLY_SEMAPHORES,
    REPLY_IDLE_LOCKS,
    REPLY_IDLE_SEMAPHORES,
    REPLY_SECTIONS
};

/* One resource as `stats` shows it; each section uses some of the fields. */
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

/* `ok {"connections":N`: REPLY_ENTRY_MAX bytes, as all that follow. */
uint8_t *reply_stats_begin(uint8_t *to, uint64_t connections);
uint8_t *reply_stats_section(uint8_t *to, enum reply_section section);
uint8_t *reply_stats_entry(uint8_t *to, enum reply_section section, bool first,
                           const struct reply_entry *entry);
uint8_t *reply_stats_section_end(uint8_t *to);
uint8_t *reply_stats_end(uint8_t *to);

#endif
