/*
 * The reply to `stats`. It can be longer than any buffer, so it is written in pieces while it is
 * sent: one pass over all stripes for each section, some buckets of a stripe for each piece.
 */
#ifndef SERVER_STATS_H
#define SERVER_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/output.h"
#include "server/stripes.h"

/* All zeros: no walk runs. */
struct stats_walk {
    uint64_t position; /* in the table of `stripe` */
    struct lock_walk walk;
    uint8_t section; /* enum reply_section */
    uint8_t stripe;
    bool section_empty; /* no entry of the section is written yet */
    bool running;
};

/*
 * Starts a walk and writes the beginning of the reply. Returns false if too many walks run; the
 * caller tries again later.
 */
bool stats_start(struct stats_walk *walk, struct stripes *stripes, uint64_t connections,
                 struct output *output, struct pool *pool);

/*
 * Writes the next piece, from one stripe. Subtracts some steps for each bucket. Returns true when
 * the reply is complete, and the walk is stopped then. If memory is short, sets output->failed; the
 * caller must stop the walk.
 */
bool stats_write(struct stats_walk *walk, struct stripes *stripes, uint64_t now_ns, uint32_t *steps,
                 struct output *output, struct pool *pool);

/* Stops the walk if it runs. */
void stats_stop(struct stats_walk *walk, struct stripes *stripes);

#endif
