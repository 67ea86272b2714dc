#include "bench/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *codec_request_name(enum request_kind kind)
{
    static const char *const names[] = {
#define X(name, word, step) word,
        CODEC_REQUESTS(X)
#undef X
    };

    return names[kind];
}

enum request_step codec_step(enum request_kind kind)
{
    static const enum request_step steps[] = {
#define X(name, word, step) step,
        CODEC_REQUESTS(X)
#undef X
    };

    return steps[kind];
}

const char *codec_outcome_name(int outcome)
{
    static const char *const names[] = {
#define X(name, word) word,
        DFLOCKD_OUTCOMES(X)
#undef X
            "unknown",
    };

    return names[outcome];
}

/* ---- requests ---- */

static void codec_set_template(struct codec *codec, enum request_kind kind, const char *head,
                               const char *middle, const char *tail)
{
    struct request_template *request_template = &codec->templates[kind];

    request_template->head_length =
        (uint8_t)snprintf(request_template->head, sizeof(request_template->head), "%s", head);
    request_template->middle_length =
        (uint8_t)snprintf(request_template->middle, sizeof(request_template->middle), "%s", middle);
    request_template->has_key = true;
    if (tail) {
        request_template->tail_length =
            (uint8_t)snprintf(request_template->tail, sizeof(request_template->tail), "%s", tail);
        request_template->has_token = true;
    }
}

static void codec_set_dflockd(struct codec *codec, const struct settings *settings)
{
    char text[96];

    snprintf(text, sizeof(text), "\n%" PRIu64 " %" PRIu64 "\n", settings->timeout_s,
             settings->lease_s);
    codec_set_template(codec, REQUEST_ACQUIRE, "l\n", text, NULL);
    codec_set_template(codec, REQUEST_SHARED_ACQUIRE, "rl\n", text, NULL);
    snprintf(text, sizeof(text), "\n0 %" PRIu64 "\n", settings->lease_s);
    codec_set_template(codec, REQUEST_TRY, "l\n", text, NULL);
    snprintf(text, sizeof(text), "\n%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", settings->timeout_s,
             settings->limit, settings->lease_s);
    codec_set_template(codec, REQUEST_SEMAPHORE_ACQUIRE, "sl\n", text, NULL);
    snprintf(text, sizeof(text), "\n%" PRIu64 "\n", settings->lease_s);
    codec_set_template(codec, REQUEST_ENQUEUE, "e\n", text, NULL);
    codec_set_template(codec, REQUEST_SHARED_ENQUEUE, "re\n", text, NULL);
    snprintf(text, sizeof(text), "\n%" PRIu64 "\n", settings->timeout_s);
    codec_set_template(codec, REQUEST_WAIT, "w\n", text, NULL);
    codec_set_template(codec, REQUEST_SHARED_WAIT, "w\n", text, NULL);
    snprintf(text, sizeof(text), " %" PRIu64 "\n", settings->lease_s);
    codec_set_template(codec, REQUEST_RENEW, "n\n", "\n", text);
    codec_set_template(codec, REQUEST_RELEASE, "r\n", "\n", "\n");
    codec_set_template(codec, REQUEST_SHARED_RELEASE, "r\n", "\n", "\n");
    codec_set_template(codec, REQUEST_SEMAPHORE_RELEASE, "sr\n", "\n", "\n");
    codec_set_template(codec, REQUEST_PING, "ping\n", "_\n\n", NULL);
    codec->templates[REQUEST_PING].has_key = false;
}

static void codec_set_redis(struct codec *codec, const struct settings *settings)
{
    struct random random = {.state = settings->seed};
    char text[96];

    snprintf(text, sizeof(text), " %016" PRIx64 "%016" PRIx64 " NX PX %" PRIu64 "\r\n",
             random_bits(&random), random_bits(&random), settings->lease_s * 1000);
    codec_set_template(codec, REQUEST_ACQUIRE, "SET ", text, NULL);
    codec_set_template(codec, REQUEST_TRY, "SET ", text, NULL);
    codec_set_template(codec, REQUEST_RELEASE, "DEL ", "\r\n", NULL);
}

bool codec_init(struct codec *codec, const struct settings *settings, const struct keys *keys)
{
    const char *token = settings->auth_token;

    memset(codec, 0, sizeof(*codec));
    codec->keys = keys;
    codec->redis = settings->redis;
    if (codec->redis)
        codec_set_redis(codec, settings);
    else
        codec_set_dflockd(codec, settings);
    if (token) {
        int length = asprintf(&codec->auth_request, "auth\n_\n%s\n", token);

        if (length < 0) {
            codec->auth_request = NULL;
            return false;
        }
        codec->auth_length = (uint32_t)length;
    }
    return true;
}

void codec_free(struct codec *codec)
{
    free(codec->auth_request);
    codec->auth_request = NULL;
}

static uint8_t *codec_put(uint8_t *to, const char *bytes, uint32_t length)
{
    memcpy(to, bytes, length);
    return to + length;
}

uint8_t *codec_write_request(const struct codec *codec, uint8_t *to, enum request_kind kind,
                             enum key_space space, uint32_t key, const struct token *token)
{
    const struct request_template *request_template = &codec->templates[kind];

    to = codec_put(to, request_template->head, request_template->head_length);
    if (request_template->has_key)
        to = keys_write(codec->keys, to, space, key);
    to = codec_put(to, request_template->middle, request_template->middle_length);
    if (request_template->has_token) {
        to = codec_put(to, token->text, token->length);
        to = codec_put(to, request_template->tail, request_template->tail_length);
    }
    return to;
}

/* ---- replies ---- */

static int codec_parse_outcome(const char *word, size_t length)
{
    int outcome = 0;

    while (outcome < OUTCOME_UNKNOWN && (strlen(codec_outcome_name(outcome)) != length ||
                                         memcmp(codec_outcome_name(outcome), word, length) != 0))
        outcome++;
    return outcome;
}

static struct reply codec_parse_redis_reply(const char *line, uint32_t length)
{
    struct reply reply = {.outcome = OUTCOME_UNKNOWN};

    if (length >= 2) {
        if (memcmp(line, "+O", 2) == 0 || memcmp(line, ":1", 2) == 0)
            reply.outcome = DFLOCKD_OK;
        else if (memcmp(line, "$-", 2) == 0)
            reply.outcome = DFLOCKD_TIMEOUT;
        else if (line[0] == '-' || memcmp(line, ":0", 2) == 0)
            reply.outcome = DFLOCKD_ERROR;
    }
    return reply;
}

static bool codec_is_grant(enum request_kind kind)
{
    return codec_step(kind) <= STEP_WAIT;
}

static uint64_t codec_parse_number(const char *at, const char *end)
{
    uint64_t number = 0;

    for (; at < end && *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    return number;
}

struct reply codec_parse_reply(const struct codec *codec, enum request_kind kind, const char *line,
                               uint32_t length, struct token *token)
{
    const char *end = line + length;
    const char *blank = memchr(line, ' ', length);
    struct reply reply = {0};

    if (codec->redis) {
        reply = codec_parse_redis_reply(line, length);
        token->length = 0;
        if (codec_is_grant(kind) && reply.outcome == DFLOCKD_OK)
            reply.token = token;
        return reply;
    }
    reply.outcome = codec_parse_outcome(line, blank ? (size_t)(blank - line) : length);
    if (reply.outcome > DFLOCKD_ACQUIRED)
        return reply;
    if (codec_is_grant(kind)) {
        const char *text = blank ? blank + 1 : end;

        blank = memchr(text, ' ', (size_t)(end - text));
        if (!blank || blank - text > CODEC_TOKEN_MAX || blank == text) {
            reply.outcome = OUTCOME_UNKNOWN;
            return reply;
        }
        token->length = (uint8_t)(blank - text);
        memcpy(token->text, text, token->length);
        reply.token = token;
    }
    reply.lease_s = blank ? codec_parse_number(blank + 1, end) : 0;
    return reply;
}
