/*
 * --check: tells the judge of tests/witness what the load asks and hears. Only where it is asked
 * for; the judge allocates for each claim.
 */
#ifndef BENCH_WATCH_H
#define BENCH_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/keys.h"
#include "bench/settings.h"
#include "bench/speech.h"
#include "witness/judge.h"

struct watch {
    struct judge *judge;
    uint32_t chosen_count; /* keys that rounds are about; as many semaphores follow, then kept */
    uint64_t timeout_ns;
};

/* What a round has of a key. */
struct hold {
    struct token token;
    struct judge_claim *claim; /* with a watch, from when it is asked for */
    uint32_t key;
    bool held;
};

/* False when memory is short. */
bool watch_init(struct watch *watch, const struct settings *settings, const struct keys *keys,
                uint32_t own_count);
void watch_free(struct watch *watch);

/* A request is about to be sent. */
void watch_asks(struct watch *watch, struct hold *hold, enum kind kind, enum key_space space,
                uint64_t now_ns);

/* It was answered; `hold` is as it was before. */
void watch_hears(struct watch *watch, struct hold *hold, enum kind kind,
                 const struct answer *answer, uint64_t now_ns);

/* The connection is gone or about to go. */
void watch_drops(struct watch *watch, struct hold *hold, uint64_t now_ns);

/* What was wrong, of all rules. */
uint64_t watch_violations(const struct watch *watch);

#endif
