/*
 * What is said to a server and heard from it: requests to bytes and answers to outcomes, of
 * dflockd's protocol or of Redis'.
 */
#ifndef BENCH_CODEC_H
#define BENCH_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/keys.h"
#include "bench/settings.h"
#include "dflockd/protocol.h"

/* Kinds of requests, and their names in the results. */
#define CODEC_REQUESTS(X)                     \
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

enum request_kind {
#define X(name, word) REQUEST_##name,
    CODEC_REQUESTS(X)
#undef X
    REQUEST_KINDS
};

enum {
    CODEC_TOKEN_MAX = 64,
    CODEC_REQUEST_MAX = 512, /* of a request but `auth` */
    CODEC_LINE_MAX = 128,    /* what is longer in an reply is of no interest */
    /* An reply that the protocol does not know, beside enum dflockd_outcome. */
    OUTCOME_UNKNOWN = DFLOCKD_OUTCOME_COUNT,
    OUTCOMES
};

/* How one kind of request is written: head, key, middle, token, tail. */
struct request_template {
    char head[8];
    char middle[96];
    char tail[32];
    uint8_t head_length;
    uint8_t middle_length;
    uint8_t tail_length;
    bool has_key;
    bool has_token;
};

struct codec {
    const struct keys *keys;
    struct request_template templates[REQUEST_KINDS];
    bool redis;
    char *auth_request; /* NULL: none is wanted */
    uint32_t auth_length;
};

struct token {
    uint8_t length; /* 0: none */
    char text[CODEC_TOKEN_MAX];
};

struct reply {
    int outcome;         /* enum dflockd_outcome or OUTCOME_UNKNOWN */
    struct token *token; /* of a grant; NULL where there is none */
    uint64_t lease_s;    /* of a grant or renewal */
};

/* False when memory is short. */
bool codec_init(struct codec *codec, const struct settings *settings, const struct keys *keys);

void codec_free(struct codec *codec);

/*
 * Writes a request of any kind but `auth`, at most CODEC_REQUEST_MAX bytes, at `to` and returns
 * its end. `token` may be NULL where the kind has none.
 */
uint8_t *codec_write_request(const struct codec *codec, uint8_t *to, enum request_kind kind,
                             enum key_space space, uint32_t key, const struct token *token);

/* What a line, without its newline, answers to a request; a grant's token goes to `token`. */
struct reply codec_parse_reply(const struct codec *codec, enum request_kind kind, const char *line,
                               uint32_t length, struct token *token);

const char *codec_request_name(enum request_kind kind);

const char *codec_outcome_name(int outcome);

#endif
