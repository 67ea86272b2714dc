#include "bench/speech.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *speech_kind_name(enum kind kind)
{
    static const char *const names[] = {
#define X(name, word) word,
        SPEECH_KINDS(X)
#undef X
    };

    return names[kind];
}

const char *speech_outcome_name(int outcome)
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

static void set_phrase(struct speech *speech, enum kind kind, const char *head, const char *middle,
                       const char *tail)
{
    struct phrase *phrase = &speech->phrases[kind];

    phrase->head_length = (uint8_t)snprintf(phrase->head, sizeof(phrase->head), "%s", head);
    phrase->middle_length = (uint8_t)snprintf(phrase->middle, sizeof(phrase->middle), "%s", middle);
    phrase->has_key = true;
    if (tail) {
        phrase->tail_length = (uint8_t)snprintf(phrase->tail, sizeof(phrase->tail), "%s", tail);
        phrase->has_token = true;
    }
}

static void set_dflockd(struct speech *speech, const struct settings *settings)
{
    char text[96];

    snprintf(text, sizeof(text), "\n%" PRIu64 " %" PRIu64 "\n", settings->timeout_s,
             settings->lease_s);
    set_phrase(speech, KIND_ACQUIRE, "l\n", text, NULL);
    snprintf(text, sizeof(text), "\n0 %" PRIu64 "\n", settings->lease_s);
    set_phrase(speech, KIND_TRY, "l\n", text, NULL);
    snprintf(text, sizeof(text), "\n%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", settings->timeout_s,
             settings->limit, settings->lease_s);
    set_phrase(speech, KIND_SEMAPHORE_ACQUIRE, "sl\n", text, NULL);
    snprintf(text, sizeof(text), "\n%" PRIu64 "\n", settings->lease_s);
    set_phrase(speech, KIND_ENQUEUE, "e\n", text, NULL);
    snprintf(text, sizeof(text), "\n%" PRIu64 "\n", settings->timeout_s);
    set_phrase(speech, KIND_WAIT, "w\n", text, NULL);
    snprintf(text, sizeof(text), " %" PRIu64 "\n", settings->lease_s);
    set_phrase(speech, KIND_RENEW, "n\n", "\n", text);
    set_phrase(speech, KIND_RELEASE, "r\n", "\n", "\n");
    set_phrase(speech, KIND_SEMAPHORE_RELEASE, "sr\n", "\n", "\n");
    set_phrase(speech, KIND_PING, "ping\n", "_\n\n", NULL);
    speech->phrases[KIND_PING].has_key = false;
}

static void set_redis(struct speech *speech, const struct settings *settings)
{
    struct random random = {.state = settings->seed};
    char text[96];

    snprintf(text, sizeof(text), " %016" PRIx64 "%016" PRIx64 " NX PX %" PRIu64 "\r\n",
             random_bits(&random), random_bits(&random), settings->lease_s * 1000);
    set_phrase(speech, KIND_ACQUIRE, "SET ", text, NULL);
    set_phrase(speech, KIND_TRY, "SET ", text, NULL);
    set_phrase(speech, KIND_RELEASE, "DEL ", "\r\n", NULL);
}

bool speech_init(struct speech *speech, const struct settings *settings, const struct keys *keys)
{
    const char *token = settings->auth_token;

    memset(speech, 0, sizeof(*speech));
    speech->keys = keys;
    speech->redis = settings->redis;
    if (speech->redis)
        set_redis(speech, settings);
    else
        set_dflockd(speech, settings);
    if (token) {
        int length = asprintf(&speech->auth_request, "auth\n_\n%s\n", token);

        if (length < 0) {
            speech->auth_request = NULL;
            return false;
        }
        speech->auth_length = (uint32_t)length;
    }
    return true;
}

void speech_free(struct speech *speech)
{
    free(speech->auth_request);
    speech->auth_request = NULL;
}

static uint8_t *put(uint8_t *to, const char *bytes, uint32_t length)
{
    memcpy(to, bytes, length);
    return to + length;
}

uint8_t *speech_ask(const struct speech *speech, uint8_t *to, enum kind kind, enum key_space space,
                    uint32_t key, const struct token *token)
{
    const struct phrase *phrase = &speech->phrases[kind];

    to = put(to, phrase->head, phrase->head_length);
    if (phrase->has_key)
        to = keys_write(speech->keys, to, space, key);
    to = put(to, phrase->middle, phrase->middle_length);
    if (phrase->has_token) {
        to = put(to, token->text, token->length);
        to = put(to, phrase->tail, phrase->tail_length);
    }
    return to;
}

/* ---- answers ---- */

static int outcome_of(const char *word, size_t length)
{
    int outcome = 0;

    while (outcome < OUTCOME_UNKNOWN && (strlen(speech_outcome_name(outcome)) != length ||
                                         memcmp(speech_outcome_name(outcome), word, length) != 0))
        outcome++;
    return outcome;
}

static struct answer hear_redis(const char *line, uint32_t length)
{
    struct answer answer = {.outcome = OUTCOME_UNKNOWN};

    if (length >= 2) {
        if (memcmp(line, "+O", 2) == 0 || memcmp(line, ":1", 2) == 0)
            answer.outcome = DFLOCKD_OK;
        else if (memcmp(line, "$-", 2) == 0)
            answer.outcome = DFLOCKD_TIMEOUT;
        else if (line[0] == '-' || memcmp(line, ":0", 2) == 0)
            answer.outcome = DFLOCKD_ERROR;
    }
    return answer;
}

static bool is_grant(enum kind kind)
{
    return kind <= KIND_WAIT;
}

static uint64_t number_at(const char *at, const char *end)
{
    uint64_t number = 0;

    for (; at < end && *at >= '0' && *at <= '9'; at++)
        number = number * 10 + (uint64_t)(*at - '0');
    return number;
}

struct answer speech_hear(const struct speech *speech, enum kind kind, const char *line,
                          uint32_t length, struct token *token)
{
    const char *end = line + length;
    const char *blank = memchr(line, ' ', length);
    struct answer answer = {0};

    if (speech->redis) {
        answer = hear_redis(line, length);
        token->length = 0;
        if (is_grant(kind) && answer.outcome == DFLOCKD_OK)
            answer.token = token;
        return answer;
    }
    answer.outcome = outcome_of(line, blank ? (size_t)(blank - line) : length);
    if (answer.outcome > DFLOCKD_ACQUIRED)
        return answer;
    if (is_grant(kind)) {
        const char *text = blank ? blank + 1 : end;

        blank = memchr(text, ' ', (size_t)(end - text));
        if (!blank || blank - text > SPEECH_TOKEN_MAX || blank == text) {
            answer.outcome = OUTCOME_UNKNOWN;
            return answer;
        }
        token->length = (uint8_t)(blank - text);
        memcpy(token->text, text, token->length);
        answer.token = token;
    }
    answer.lease_s = blank ? number_at(blank + 1, end) : 0;
    return answer;
}
