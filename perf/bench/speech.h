/*
 * What is said to a server and heard from it: requests to bytes and answers to outcomes, of
 * dflockd's protocol or of Redis'.
 */
#ifndef BENCH_SPEECH_H
#define BENCH_SPEECH_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/keys.h"
#include "bench/settings.h"
#include "dflockd/protocol.h"

/* Kinds of requests, and their names in the results. */
#define SPEECH_KINDS(X)                       \
    X(ACQUIRE, "acquire")                     \
    X(TRY, "try")                             \
    X(SEMAPHORE_ACQUIRE, "semaphore_acquire") \
    X(ENQUEUE, "enqueue")                     \
    X(WAIT, "wait")                           \
    X(RENEW, "renew")                         \
    X(RELEASE, "release")                     \
    X(SEMAPHORE_RELEASE, "semaphore_release") \
    X(PING, "ping")                           \
    X(AUTH, "auth")

enum kind {
#define X(name, word) KIND_##name,
    SPEECH_KINDS(X)
#undef X
    KIND_COUNT
};

enum {
    SPEECH_TOKEN_MAX = 64,
    SPEECH_REQUEST_MAX = 512, /* of a request but `auth` */
    SPEECH_LINE_MAX = 128,    /* what is longer in an answer is of no interest */
    /* An answer that the protocol does not know, beside enum dflockd_outcome. */
    OUTCOME_UNKNOWN = DFLOCKD_OUTCOME_COUNT,
    OUTCOMES
};

/* How one kind of request is written: head, key, middle, token, tail. */
struct phrase {
    char head[8];
    char middle[96];
    char tail[32];
    uint8_t head_length;
    uint8_t middle_length;
    uint8_t tail_length;
    bool has_key;
    bool has_token;
};

struct speech {
    const struct keys *keys;
    struct phrase phrases[KIND_COUNT];
    bool redis;
    char *auth_request; /* NULL: none is wanted */
    uint32_t auth_length;
};

struct token {
    uint8_t length; /* 0: none */
    char text[SPEECH_TOKEN_MAX];
};

struct answer {
    int outcome;         /* enum dflockd_outcome or OUTCOME_UNKNOWN */
    struct token *token; /* of a grant; NULL where there is none */
    uint64_t lease_s;    /* of a grant or renewal */
};

/* False when memory is short. */
bool speech_init(struct speech *speech, const struct settings *settings, const struct keys *keys);

void speech_free(struct speech *speech);

/*
 * Writes a request of any kind but `auth`, at most SPEECH_REQUEST_MAX bytes, at `to` and returns
 * its end. `token` may be NULL where the kind has none.
 */
uint8_t *speech_ask(const struct speech *speech, uint8_t *to, enum kind kind, enum key_space space,
                    uint32_t key, const struct token *token);

/* What a line, without its newline, answers to a request; a grant's token goes to `token`. */
struct answer speech_hear(const struct speech *speech, enum kind kind, const char *line,
                          uint32_t length, struct token *token);

const char *speech_kind_name(enum kind kind);

const char *speech_outcome_name(int outcome);

#endif
