/*
 * What a thread counts: answers by kind, with their latency, and rounds. Each thread has its own,
 * without locks; they are added up at the end.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/codec.h"
#include "bench/histogram.h"
#include "bench/progress.h"

struct tally {
    struct histogram *kinds; /* REQUEST_KINDS of them */
    struct histogram *rounds;
    uint64_t errors[OUTCOMES]; /* answers that gave not what was asked for */
    uint64_t lost;             /* connections */
    uint64_t late;             /* rounds that began later than they should have */
    uint64_t skipped;          /* rounds that should have begun, and did not or never ended */
    struct progress progress;
};

/* False when memory is short. */
bool tally_init(struct tally *tally);
void tally_free(struct tally *tally);

void tally_reply(struct tally *tally, enum request_kind kind, int outcome, uint64_t ns);
void tally_round(struct tally *tally, uint64_t ns);

/* Adds all that `from` counted, but its progress. */
void tally_add(struct tally *tally, const struct tally *from);

#endif
