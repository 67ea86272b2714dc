/*
 * --check: reports the load's requests and replies to the judge. The judge allocates memory for
 * each claim, so the load has a checker only with --check.
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
    uint32_t chosen_count; /* keys of rounds; as many semaphores follow, then the kept keys */
    uint64_t timeout_ns;
    uint32_t losses; /* of connections */
};

/* The grant or claim of a round on its key. */
struct hold {
    struct token token;
    struct judge_claim *claim; /* with a checker, from the request on */
    uint32_t key;
    uint32_t losses; /* of connections before the one of this claim was opened */
    bool held;
    bool lost; /* held when the connection was lost; to be released by token */
};

/* Returns false if memory is short. */
bool checker_init(struct checker *checker, const struct settings *settings, const struct keys *keys,
                  uint32_t own_count);
void checker_free(struct checker *checker);

/* Call before a request is sent. */
void checker_note_request(struct checker *checker, struct hold *hold, enum request_kind kind,
                          enum key_space space, uint64_t now_ns);

/* Call after its reply, with `hold` as it was before. */
void checker_note_reply(struct checker *checker, struct hold *hold, enum request_kind kind,
                        const struct reply *reply, uint64_t now_ns);

/* Call when the connection is lost. A claim that holds lasts until its release by token. */
void checker_note_loss(struct checker *checker, struct hold *hold, uint64_t now_ns);

/* Call when the claim ends without a reply to its release. */
void checker_drop(struct checker *checker, struct hold *hold, uint64_t now_ns);

/* Returns the number of violations of all rules. */
uint64_t checker_violations(const struct checker *checker);

#endif
