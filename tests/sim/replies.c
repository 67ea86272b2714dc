/*
 * A token is compared as far as it is known: its fence must be in the grant's range, and a token
 * once seen must stay the same.
 */
#include "replies.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const outcome_words[DFLOCKD_OUTCOME_COUNT] = {
    "ok",
    "acquired",
    "queued",
    "timeout",
    "error",
    "error_auth",
    "error_max_locks",
    "error_max_waiters",
    "error_limit_mismatch",
    "error_not_enqueued",
    "error_already_enqueued",
    "error_lease_expired",
    "error_draining",
};

uint32_t reply_next(const struct world *world)
{
    const char *start = world->replies + world->replies_at;
    uint32_t rest = world->replies_length - world->replies_at;
    const char *end = rest ? memchr(start, '\n', rest) : NULL;

    return end ? (uint32_t)(end - start) + 1 : 0;
}

static void expected_text(const struct expected *expected, char *text, size_t size)
{
    const char *word = outcome_words[expected->outcome];

    if (expected->granted)
        snprintf(text, size, "%s <fence %" PRIx64 " to %" PRIx64 "> %" PRIu64, word,
                 expected->fence_low, expected->fence_high, expected->lease_s);
    else if (expected->renewed)
        snprintf(text, size, "%s %" PRIu64, word, expected->lease_s);
    else
        snprintf(text, size, "%s", word);
}

_Noreturn static void wrong_reply(struct world *world, const struct sim_peer *peer,
                                  const struct expected *expected)
{
    char text[128];
    uint32_t length = reply_next(world);

    expected_text(expected, text, sizeof(text));
    if (length == 0)
        world_fail(world, "client %u: expected \"%s\"; came nothing", peer->number, text);
    world_fail(world, "client %u: expected \"%s\"; came \"%.*s\"", peer->number, text,
               (int)length - 1, world->replies + world->replies_at);
}

static bool read_hex(const char *digits, uint64_t *value)
{
    *value = 0;
    for (int i = 0; i < 16; i++) {
        const char *place = memchr("0123456789abcdef", digits[i], 16);

        if (!place)
            return false;
        *value = *value << 4 | (uint64_t)(place - "0123456789abcdef");
    }
    return true;
}

static void keep_token(struct world *world, uint32_t key, uint64_t fence, uint64_t salt)
{
    struct token *token = &world->stale[world->stale_count % STALE_MAX];

    for (uint32_t i = 0; i < STALE_MAX && i < world->stale_count; i++) {
        if (world->stale[i].salt == salt && world->stale[i].fence != fence)
            world_fail(world, "two tokens with the salt %" PRIx64, salt);
    }
    *token = (struct token){.fence = fence, .salt = salt, .key = (uint16_t)key};
    world->stale_count++;
}

/* Returns whether the line `<word> <token> <lease>` shows a valid grant. */
static bool grant_fits(struct world *world, const struct expected *expected, const char *line,
                       uint32_t length)
{
    char rest[32];
    size_t word = strlen(outcome_words[expected->outcome]) + 1;
    size_t rest_length = (size_t)snprintf(rest, sizeof(rest), " %" PRIu64 "\n", expected->lease_s);
    uint64_t fence;
    uint64_t salt;

    if (length != word + DFLOCKD_TOKEN_LENGTH + rest_length ||
        memcmp(line, outcome_words[expected->outcome], word - 1) != 0 || line[word - 1] != ' ' ||
        memcmp(line + word + DFLOCKD_TOKEN_LENGTH, rest, rest_length) != 0 ||
        !read_hex(line + word, &fence) || !read_hex(line + word + 16, &salt))
        return false;
    if (fence < expected->fence_low || fence > expected->fence_high)
        return false;
    if (expected->claim == MODEL_NO_CLAIM)
        return true;
    if (!model_learn(&world->model, expected->claim, fence, salt))
        return false;
    keep_token(world, world->model.claims[expected->claim].key, fence, salt);
    return true;
}

static bool reply_fits(struct world *world, const struct expected *expected, const char *line,
                       uint32_t length)
{
    char text[128];

    if (expected->granted)
        return grant_fits(world, expected, line, length);
    expected_text(expected, text, sizeof(text));
    return length == strlen(text) + 1 && memcmp(line, text, length - 1) == 0;
}

static void count_reply(struct world *world, const struct expected *expected)
{
    enum coverage_kind kind = COVERAGE_PLAIN_OK;

    switch (expected->outcome) {
    case DFLOCKD_OK:
        if (expected->granted)
            kind = COVERAGE_GRANTED;
        else if (expected->renewed)
            kind = COVERAGE_RENEWED;
        break;
    case DFLOCKD_ACQUIRED:
        kind = COVERAGE_ACQUIRED;
        break;
    case DFLOCKD_QUEUED:
        kind = COVERAGE_QUEUED;
        break;
    case DFLOCKD_ERROR_DRAINING:
        kind = COVERAGE_ERROR_DRAINING;
        break;
    default: /* the others have the same order */
        kind = (enum coverage_kind)(COVERAGE_TIMEOUT + expected->outcome - DFLOCKD_TIMEOUT);
    }
    world_count(world, kind);
}

bool reply_expect(struct world *world, const struct sim_peer *peer, const struct expected *expected)
{
    uint32_t length = reply_next(world);

    if (length == 0 && peer->driven.output.failed)
        return false;
    if (length == 0 || !reply_fits(world, expected, world->replies + world->replies_at, length))
        wrong_reply(world, peer, expected);
    world->replies_at += length;
    count_reply(world, expected);
    return true;
}
