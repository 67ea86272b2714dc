#include "bench/background.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time_units.h"
#include "os/clock.h"

enum {
    KEYS_PER_HOLDER = 100000,
    BATCH = 128,       /* requests sent before their replies are read */
    LEASE_S = 1000000, /* longer than any load */
    RENEW_EVERY_S = 10 /* servers may close a connection after 23 s without a request */
};

/* A connection that holds keys. `renewal` is a request that keeps it from being idle. */
struct holder {
    int descriptor;
    uint32_t renewal_length;
    char word[CODEC_REQUEST_MAX];
};

/* ---- keys that are held ---- */

/* Writes the first two lines of a request. */
static uint8_t *background_write_start(const struct codec *codec, uint8_t *to, char command,
                                       uint32_t key)
{
    *to++ = (uint8_t)command;
    *to++ = '\n';
    return keys_write(codec->keys, to, KEY_HELD, key);
}

static bool background_send_batch(const struct holder *holder, const struct codec *codec,
                                  uint32_t first, uint32_t count)
{
    uint8_t bytes[BATCH * CODEC_REQUEST_MAX];
    uint8_t *end = bytes;

    for (uint32_t i = 0; i < count; i++) {
        end = background_write_start(codec, end, 'l', first + i);
        end += snprintf((char *)end, 32, "\n0 %d\n", LEASE_S);
    }
    return setup_send(holder->descriptor, bytes, (size_t)(end - bytes));
}

static void background_set_renewal(struct holder *holder, const struct codec *codec, uint32_t key,
                                   const struct token *token)
{
    uint8_t *start = (uint8_t *)holder->word;
    uint8_t *end = background_write_start(codec, start, 'n', key);

    end += snprintf((char *)end, CODEC_TOKEN_MAX + 32, "\n%.*s %d\n", token->length, token->text,
                    LEASE_S);
    holder->renewal_length = (uint32_t)(end - start);
}

/* `line` is the reply; NULL: none. */
static void background_explain_refusal(uint32_t key, const char *line, uint32_t length,
                                       char problem[SETUP_PROBLEM_MAX])
{
    static const char max_locks[] = "error_max_locks";
    bool is_max_locks = line && length == strlen(max_locks) && memcmp(line, max_locks, length) == 0;

    snprintf(problem, SETUP_PROBLEM_MAX, "--held: key %" PRIu32 " refused: %.*s%s", key,
             line ? (int)(length < 60 ? length : 60) : 9, line ? line : "no reply",
             is_max_locks ? "; raise the server's --max-locks" : "");
}

/* Acquires `count` keys from number `first` on. */
static bool background_acquire_keys(struct holder *holder, const struct codec *codec,
                                    uint32_t first, uint32_t count, char problem[SETUP_PROBLEM_MAX])
{
    struct setup_input input = {0};

    for (uint32_t done = 0; done < count; done += BATCH) {
        uint32_t batch = count - done < BATCH ? count - done : BATCH;

        if (!background_send_batch(holder, codec, first + done, batch)) {
            snprintf(problem, SETUP_PROBLEM_MAX, "--held: the server closed a connection");
            return false;
        }
        for (uint32_t i = 0; i < batch; i++) {
            struct token token = {0};
            uint32_t length = 0;
            const char *line = setup_read_line(holder->descriptor, &input, &length);

            if (!line || !codec_parse_reply(codec, REQUEST_TRY, line, length, &token).token) {
                background_explain_refusal(first + done + i + 1, line, length, problem);
                return false;
            }
            if (done + i == 0)
                background_set_renewal(holder, codec, first, &token);
        }
    }
    return true;
}

static int background_connect(const struct background *background, uint32_t place,
                              char problem[SETUP_PROBLEM_MAX])
{
    const struct settings *settings = background->settings;

    return setup_connect(&settings->servers[place % settings->server_count], background->codec,
                         problem);
}

static bool background_open_holder(const struct background *background, uint32_t place,
                                   char problem[SETUP_PROBLEM_MAX])
{
    struct holder *holder = &background->holders[place];
    uint64_t left = background->settings->held - (uint64_t)place * KEYS_PER_HOLDER;
    uint32_t count = left < KEYS_PER_HOLDER ? (uint32_t)left : KEYS_PER_HOLDER;

    holder->descriptor = background_connect(background, place, problem);
    if (holder->descriptor < 0)
        return false;
    if (background_acquire_keys(holder, background->codec, place * KEYS_PER_HOLDER, count, problem))
        return true;
    close(holder->descriptor);
    holder->descriptor = -1;
    return false;
}

static bool background_open_holders(struct background *background, char problem[SETUP_PROBLEM_MAX])
{
    uint64_t count = (background->settings->held + KEYS_PER_HOLDER - 1) / KEYS_PER_HOLDER;

    background->holders = calloc(count + 1, sizeof(*background->holders));
    if (!background->holders) {
        snprintf(problem, SETUP_PROBLEM_MAX, "out of memory");
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!background_open_holder(background, i, problem))
            return false;
        background->holder_count++;
    }
    return true;
}

/* ---- all of them ---- */

uint64_t background_connection_count(const struct settings *settings)
{
    return settings->idle + settings->held / KEYS_PER_HOLDER + 1;
}

bool background_open(struct background *background, const struct settings *settings,
                     const struct codec *codec, char problem[SETUP_PROBLEM_MAX])
{
    memset(background, 0, sizeof(*background));
    background->settings = settings;
    background->codec = codec;
    background->next_renewal_ns = clock_monotonic_ns() + RENEW_EVERY_S * NS_PER_S;
    if (!background_open_holders(background, problem))
        return false;
    background->idle = calloc(settings->idle + 1, sizeof(*background->idle));
    if (!background->idle) {
        snprintf(problem, SETUP_PROBLEM_MAX, "out of memory");
        return false;
    }
    for (uint32_t i = 0; i < settings->idle; i++) {
        background->idle[i] = background_connect(background, i, problem);
        if (background->idle[i] < 0)
            return false;
        background->idle_count++;
    }
    return true;
}

void background_renew(struct background *background, uint64_t now_ns)
{
    char answers[256];

    if (now_ns < background->next_renewal_ns)
        return;
    background->next_renewal_ns = now_ns + RENEW_EVERY_S * NS_PER_S;
    for (uint32_t i = 0; i < background->holder_count; i++) {
        struct holder *holder = &background->holders[i];

        if (holder->descriptor < 0)
            continue;
        setup_send(holder->descriptor, holder->word, holder->renewal_length);
        /* Discards the replies to earlier renewals. */
        recv(holder->descriptor, answers, sizeof(answers), MSG_DONTWAIT);
    }
}

/* An idle connection receives nothing but the end, or a last line before it. */
static bool background_is_idle_closed(int descriptor)
{
    char byte;

    return descriptor < 0 || recv(descriptor, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0 ||
           errno != EAGAIN;
}

/* Discards the replies to renewals. */
static bool background_is_holder_closed(int descriptor)
{
    char replies[256];
    ssize_t count;

    if (descriptor < 0)
        return true;
    do
        count = recv(descriptor, replies, sizeof(replies), MSG_DONTWAIT);
    while (count > 0);
    return count == 0 || errno != EAGAIN;
}

static void background_close_one(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

void background_repair(struct background *background)
{
    char problem[SETUP_PROBLEM_MAX];

    background->incomplete = true;
    for (uint32_t i = 0; i < background->holder_count; i++) {
        if (!background_is_holder_closed(background->holders[i].descriptor))
            continue;
        background_close_one(&background->holders[i].descriptor);
        if (!background_open_holder(background, i, problem))
            return;
    }
    for (uint32_t i = 0; i < background->idle_count; i++) {
        if (!background_is_idle_closed(background->idle[i]))
            continue;
        background->idle_lost += background->idle[i] >= 0;
        background_close_one(&background->idle[i]);
        background->idle[i] = background_connect(background, i, problem);
        if (background->idle[i] < 0)
            return;
    }
    background->incomplete = false;
}

uint32_t background_count_closed(const struct background *background)
{
    uint32_t closed = background->idle_lost;

    for (uint32_t i = 0; i < background->idle_count; i++)
        closed += background->idle[i] >= 0 && background_is_idle_closed(background->idle[i]);
    return closed;
}

void background_close(struct background *background)
{
    for (uint32_t i = 0; i < background->idle_count; i++)
        background_close_one(&background->idle[i]);
    for (uint32_t i = 0; i < background->holder_count; i++)
        background_close_one(&background->holders[i].descriptor);
    free(background->idle);
    free(background->holders);
}
