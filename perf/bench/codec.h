/*
 * Formats requests and parses replies, in dflockd's protocol or Redis'.
 */
#ifndef BENCH_CODEC_H
#define BENCH_CODEC_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/keys.h"
#include "bench/settings.h"
#include "dflockd/protocol.h"

/* The kinds of requests, their names in reports, and their steps of a round. */
#define CODEC_REQUESTS(X)                                   \
    X(ACQUIRE, "acquire", STEP_ACQUIRE)                     \
    X(TRY, "try", STEP_ACQUIRE)                             \
    X(SEMAPHORE_ACQUIRE, "semaphore_acquire", STEP_ACQUIRE) \
    X(SHARED_ACQUIRE, "shared_acquire", STEP_ACQUIRE)       \
    X(ENQUEUE, "enqueue", STEP_ENQUEUE)                     \
    X(SHARED_ENQUEUE, "shared_enqueue", STEP_ENQUEUE)       \
    X(WAIT, "wait", STEP_WAIT)                              \
    X(SHARED_WAIT, "shared_wait", STEP_WAIT)                \
    X(RENEW, "renew", STEP_RENEW)                           \
    X(RELEASE, "release", STEP_RELEASE)                     \
    X(SEMAPHORE_RELEASE, "semaphore_release", STEP_RELEASE) \
    X(SHARED_RELEASE, "shared_release", STEP_RELEASE)       \
    X(PING, "ping", STEP_OTHER)                             \
    X(AUTH, "auth", STEP_OTHER)

enum request_kind {
#define X(name, word, step) REQUEST_##name,
    CODEC_REQUESTS(X)
#undef X
    REQUEST_KINDS
};

enum request_step {
    STEP_ACQUIRE,
    STEP_ENQUEUE,
    STEP_WAIT,
    STEP_RENEW,
    STEP_RELEASE,
    STEP_OTHER
};

enum {
    CODEC_TOKEN_MAX = 64,
    CODEC_REQUEST_MAX = 512, /* of a request except `auth` */
    CODEC_LINE_MAX = 128,    /* the rest of a longer reply is ignored */
    /* A reply outside the protocol, beside enum dflockd_outcome. */
    OUTCOME_UNKNOWN = DFLOCKD_OUTCOME_COUNT,
    OUTCOMES
};

/* The parts of a request: head, key, middle, token, tail. */
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
    char *auth_request; /* NULL: the server needs none */
    uint32_t auth_length;
};

struct token {
    uint8_t length; /* 0: no token */
    char text[CODEC_TOKEN_MAX];
};

struct reply {
    int outcome;         /* enum dflockd_outcome or OUTCOME_UNKNOWN */
    struct token *token; /* of a grant, else NULL */
    uint64_t lease_s;    /* of a grant or renewal */
};

/* Returns false if memory is short. */
bool codec_init(struct codec *codec, const struct settings *settings, const struct keys *keys);

void codec_free(struct codec *codec);

/*
 * Writes a request of any kind except `auth` to `to`, at most CODEC_REQUEST_MAX bytes. Returns
 * its end. `token` may be NULL if the kind has no token.
 */
uint8_t *codec_write_request(const struct codec *codec, uint8_t *to, enum request_kind kind,
                             enum key_space space, uint32_t key, const struct token *token);

/* Parses a reply line without its newline. The token of a grant is stored in `token`. */
struct reply codec_parse_reply(const struct codec *codec, enum request_kind kind, const char *line,
                               uint32_t length, struct token *token);

const char *codec_request_name(enum request_kind kind);

enum request_step codec_step(enum request_kind kind);

const char *codec_outcome_name(int outcome);

#endif
