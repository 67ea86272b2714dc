/*
 * Counts of one thread: replies by request kind with latency, and rounds. Each thread has its
 * own tally without locks. The main thread adds them up at the end.
 */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/codec.h"
#include "bench/histogram.h"
#include "bench/progress.h"

/* The readers or the writers of a load with shared locks. */
struct tally_side {
    struct histogram *grants; /* time from the first request of a round to its grant */
    uint64_t refused;         /* rounds without a grant */
};

struct tally {
    struct histogram *kinds; /* REQUEST_KINDS of them */
    struct histogram *rounds;
    struct tally_side readers;
    struct tally_side writers;
    uint64_t errors[OUTCOMES]; /* replies that refused the request, by outcome */
    uint64_t refused;          /* rounds that ended with an error or after --timeout */
    uint64_t broken;           /* rounds that lost their connection */
    uint64_t lost;             /* connections */
    uint64_t connects_failed;
    uint64_t late;    /* rounds that started late */
    uint64_t skipped; /* rounds due in the window that did not start, or did not end */
    struct progress progress;
};

/* Returns false if memory is short. */
bool tally_init(struct tally *tally);
void tally_free(struct tally *tally);

void tally_reply(struct tally *tally, enum request_kind kind, int outcome, uint64_t ns);
void tally_round(struct tally *tally, uint64_t ns, bool refused);
void tally_lost_rounds(struct tally *tally, uint32_t count);
void tally_lost(struct tally *tally);

/* Adds all counts of `from` except its progress. */
void tally_add(struct tally *tally, const struct tally *from);

#endif
