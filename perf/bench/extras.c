#include "bench/extras.h"

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
    BATCH = 128,       /* requests sent before their answers are read */
    LEASE_S = 1000000, /* longer than any load */
    WORD_EVERY_S = 10  /* servers may close who says nothing for 23 s */
};

/* A connection that holds keys, `word` of which it renews to be heard. */
struct holder {
    int descriptor;
    uint32_t word_length;
    char word[SPEECH_REQUEST_MAX];
};

/* ---- keys that are held ---- */

/* The first two lines of a request. */
static uint8_t *write_start(const struct speech *speech, uint8_t *to, char command, uint32_t key)
{
    *to++ = (uint8_t)command;
    *to++ = '\n';
    return keys_write(speech->keys, to, KEY_HELD, key);
}

static bool send_batch(const struct holder *holder, const struct speech *speech, uint32_t first,
                       uint32_t count)
{
    uint8_t bytes[BATCH * SPEECH_REQUEST_MAX];
    uint8_t *end = bytes;

    for (uint32_t i = 0; i < count; i++) {
        end = write_start(speech, end, 'l', first + i);
        end += snprintf((char *)end, 32, "\n0 %d\n", LEASE_S);
    }
    return talk_send(holder->descriptor, bytes, (size_t)(end - bytes));
}

static void set_word(struct holder *holder, const struct speech *speech, uint32_t key,
                     const struct token *token)
{
    uint8_t *start = (uint8_t *)holder->word;
    uint8_t *end = write_start(speech, start, 'n', key);

    end += snprintf((char *)end, SPEECH_TOKEN_MAX + 32, "\n%.*s %d\n", token->length, token->text,
                    LEASE_S);
    holder->word_length = (uint32_t)(end - start);
}

/* Takes `count` keys from `first` on. */
static bool take_keys(struct holder *holder, const struct speech *speech, uint32_t first,
                      uint32_t count, char problem[TALK_PROBLEM_MAX])
{
    struct talk_input input = {0};

    for (uint32_t done = 0; done < count; done += BATCH) {
        uint32_t batch = count - done < BATCH ? count - done : BATCH;

        if (!send_batch(holder, speech, first + done, batch)) {
            snprintf(problem, TALK_PROBLEM_MAX, "the server closed a connection of --held");
            return false;
        }
        for (uint32_t i = 0; i < batch; i++) {
            struct token token = {0};
            uint32_t length = 0;
            const char *line = talk_hear(holder->descriptor, &input, &length);

            if (!line || !speech_hear(speech, KIND_TRY, line, length, &token).token) {
                snprintf(problem, TALK_PROBLEM_MAX, "--held: key %" PRIu32 " is refused: %.*s",
                         first + done + i + 1, line ? (int)(length < 60 ? length : 60) : 9,
                         line ? line : "no answer");
                return false;
            }
            if (done + i == 0)
                set_word(holder, speech, first, &token);
        }
    }
    return true;
}

static bool open_holders(struct extras *extras, const struct settings *settings,
                         const struct speech *speech, char problem[TALK_PROBLEM_MAX])
{
    uint64_t left = settings->held;

    extras->holders = calloc(left / KEYS_PER_HOLDER + 1, sizeof(*extras->holders));
    if (!extras->holders) {
        snprintf(problem, TALK_PROBLEM_MAX, "out of memory");
        return false;
    }
    for (uint32_t i = 0; left > 0; i++) {
        uint32_t count = left < KEYS_PER_HOLDER ? (uint32_t)left : KEYS_PER_HOLDER;
        struct holder *holder = &extras->holders[i];

        holder->descriptor =
            talk_open(&settings->addresses[i % settings->address_count], speech, problem);
        if (holder->descriptor < 0)
            return false;
        extras->holder_count++;
        if (!take_keys(holder, speech, i * KEYS_PER_HOLDER, count, problem))
            return false;
        left -= count;
    }
    return true;
}

/* ---- all of them ---- */

uint64_t extras_connections(const struct settings *settings)
{
    return settings->idle + settings->held / KEYS_PER_HOLDER + 1;
}

bool extras_open(struct extras *extras, const struct settings *settings,
                 const struct speech *speech, char problem[TALK_PROBLEM_MAX])
{
    memset(extras, 0, sizeof(*extras));
    extras->next_word_ns = clock_monotonic_ns() + WORD_EVERY_S * NS_PER_S;
    if (!open_holders(extras, settings, speech, problem))
        return false;
    extras->idle = calloc(settings->idle + 1, sizeof(*extras->idle));
    if (!extras->idle) {
        snprintf(problem, TALK_PROBLEM_MAX, "out of memory");
        return false;
    }
    for (uint32_t i = 0; i < settings->idle; i++) {
        extras->idle[i] =
            talk_open(&settings->addresses[i % settings->address_count], speech, problem);
        if (extras->idle[i] < 0)
            return false;
        extras->idle_count++;
    }
    return true;
}

void extras_tend(struct extras *extras, uint64_t now_ns)
{
    char answers[256];

    if (now_ns < extras->next_word_ns)
        return;
    extras->next_word_ns = now_ns + WORD_EVERY_S * NS_PER_S;
    for (uint32_t i = 0; i < extras->holder_count; i++) {
        struct holder *holder = &extras->holders[i];

        talk_send(holder->descriptor, holder->word, holder->word_length);
        /* Those before; nothing depends on them. */
        recv(holder->descriptor, answers, sizeof(answers), MSG_DONTWAIT);
    }
}

uint32_t extras_idle_closed(const struct extras *extras)
{
    uint32_t closed = 0;
    char byte;

    for (uint32_t i = 0; i < extras->idle_count; i++)
        closed += recv(extras->idle[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0;
    return closed;
}

void extras_close(struct extras *extras)
{
    for (uint32_t i = 0; i < extras->idle_count; i++)
        close(extras->idle[i]);
    for (uint32_t i = 0; i < extras->holder_count; i++)
        close(extras->holders[i].descriptor);
    free(extras->idle);
    free(extras->holders);
}
