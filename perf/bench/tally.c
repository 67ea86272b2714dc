#include "bench/tally.h"

#include <stdlib.h>
#include <string.h>

bool tally_init(struct tally *tally)
{
    memset(tally, 0, sizeof(*tally));
    tally->kinds = calloc(REQUEST_KINDS, sizeof(*tally->kinds));
    tally->rounds = calloc(1, sizeof(*tally->rounds));
    tally->readers.grants = calloc(1, sizeof(*tally->readers.grants));
    tally->writers.grants = calloc(1, sizeof(*tally->writers.grants));
    return tally->kinds && tally->rounds && tally->readers.grants && tally->writers.grants;
}

void tally_free(struct tally *tally)
{
    free(tally->kinds);
    free(tally->rounds);
    free(tally->readers.grants);
    free(tally->writers.grants);
}

void tally_reply(struct tally *tally, enum request_kind kind, int outcome, uint64_t ns)
{
    histogram_record(&tally->kinds[kind], ns);
    progress_add(&tally->progress.requests, 1);
    progress_add(&tally->progress.request_ns, ns);
    if (outcome > DFLOCKD_QUEUED) {
        tally->errors[outcome]++;
        progress_add(&tally->progress.errors, 1);
    }
}

void tally_round(struct tally *tally, uint64_t ns, bool refused)
{
    histogram_record(tally->rounds, ns);
    tally->refused += refused;
    progress_add(&tally->progress.rounds, 1);
}

void tally_lost_rounds(struct tally *tally, uint32_t count)
{
    tally->broken += count;
}

void tally_lost(struct tally *tally)
{
    tally->lost++;
    progress_add(&tally->progress.lost, 1);
}

static void tally_add_side(struct tally_side *side, const struct tally_side *from)
{
    histogram_add(side->grants, from->grants);
    side->refused += from->refused;
}

void tally_add(struct tally *tally, const struct tally *from)
{
    for (int kind = 0; kind < REQUEST_KINDS; kind++)
        histogram_add(&tally->kinds[kind], &from->kinds[kind]);
    histogram_add(tally->rounds, from->rounds);
    tally_add_side(&tally->readers, &from->readers);
    tally_add_side(&tally->writers, &from->writers);
    for (int outcome = 0; outcome < OUTCOMES; outcome++)
        tally->errors[outcome] += from->errors[outcome];
    tally->refused += from->refused;
    tally->broken += from->broken;
    tally->lost += from->lost;
    tally->connects_failed += from->connects_failed;
    tally->late += from->late;
    tally->skipped += from->skipped;
}
