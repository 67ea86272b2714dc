#include "bench/background.h"

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

static bool background_open_holders(struct background *background, const struct settings *settings,
                                    const struct codec *codec, char problem[SETUP_PROBLEM_MAX])
{
    uint64_t left = settings->held;

    background->holders = calloc(left / KEYS_PER_HOLDER + 1, sizeof(*background->holders));
    if (!background->holders) {
        snprintf(problem, SETUP_PROBLEM_MAX, "out of memory");
        return false;
    }
    for (uint32_t i = 0; left > 0; i++) {
        uint32_t count = left < KEYS_PER_HOLDER ? (uint32_t)left : KEYS_PER_HOLDER;
        struct holder *holder = &background->holders[i];

        holder->descriptor =
            setup_connect(&settings->servers[i % settings->server_count], codec, NULL, problem);
        if (holder->descriptor < 0)
            return false;
        background->holder_count++;
        if (!background_acquire_keys(holder, codec, i * KEYS_PER_HOLDER, count, problem))
            return false;
        left -= count;
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
    background->next_renewal_ns = clock_monotonic_ns() + RENEW_EVERY_S * NS_PER_S;
    if (!background_open_holders(background, settings, codec, problem))
        return false;
    background->idle = calloc(settings->idle + 1, sizeof(*background->idle));
    if (!background->idle) {
        snprintf(problem, SETUP_PROBLEM_MAX, "out of memory");
        return false;
    }
    for (uint32_t i = 0; i < settings->idle; i++) {
        background->idle[i] =
            setup_connect(&settings->servers[i % settings->server_count], codec, NULL, problem);
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

        setup_send(holder->descriptor, holder->word, holder->renewal_length);
        /* Discards the replies to earlier renewals. */
        recv(holder->descriptor, answers, sizeof(answers), MSG_DONTWAIT);
    }
}

uint32_t background_count_closed(const struct background *background)
{
    uint32_t closed = 0;
    char byte;

    for (uint32_t i = 0; i < background->idle_count; i++)
        closed += recv(background->idle[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0;
    return closed;
}

void background_close(struct background *background)
{
    for (uint32_t i = 0; i < background->idle_count; i++)
        close(background->idle[i]);
    for (uint32_t i = 0; i < background->holder_count; i++)
        close(background->holders[i].descriptor);
    free(background->idle);
    free(background->holders);
}
