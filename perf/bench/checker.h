/*
 * --check: tells the judge of tests/witness what the load asks and hears. Only where it is asked
 * for; the judge allocates for each claim.
 */
#ifndef BENCH_CHECKER_H
#define BENCH_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/codec.h"
#include "bench/judge.h"
#include "bench/keys.h"
#include "bench/settings.h"

struct checker {
    struct judge *judge;
    uint32_t chosen_count; /* keys that rounds are about; as many semaphores follow, then kept */
    uint64_t timeout_ns;
};

/* What a round has of a key. */
struct hold {
    struct token token;
    struct judge_claim *claim; /* with a checker, from when it is asked for */
    uint32_t key;
    bool held;
};

/* False when memory is short. */
bool checker_init(struct checker *checker, const struct settings *settings, const struct keys *keys,
                  uint32_t own_count);
void checker_free(struct checker *checker);

/* A request is about to be sent. */
void checker_note_request(struct checker *checker, struct hold *hold, enum request_kind kind,
                          enum key_space space, uint64_t now_ns);

/* It was replied; `hold` is as it was before. */
void checker_note_reply(struct checker *checker, struct hold *hold, enum request_kind kind,
                        const struct reply *reply, uint64_t now_ns);

/* The connection is gone or about to go. */
void checker_note_loss(struct checker *checker, struct hold *hold, uint64_t now_ns);

/* What was wrong, of all rules. */
uint64_t checker_violations(const struct checker *checker);

#endif
