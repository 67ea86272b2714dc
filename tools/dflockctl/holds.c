#include "dflockctl/holds.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/status.h"
#include "dflockctl/text.h"

static int holds_compare(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* Returns the keys in the order of the settings, as "A', 'B". */
static char *holds_show(const struct settings *settings)
{
    static const char between[] = "', '";
    char *all = new_memory(1, 1);
    size_t length = 0;

    for (size_t i = 0; i < settings->word_count; i++) {
        const char *key = settings->words[i];
        char *shown = text_shown(key, strlen(key), true);
        size_t more = strlen(shown);

        all = realloc(all, length + sizeof(between) + more);
        if (!all)
            die_of_memory();
        if (i > 0) {
            memcpy(all + length, between, sizeof(between) - 1);
            length += sizeof(between) - 1;
        }
        memcpy(all + length, shown, more + 1);
        length += more;
        free(shown);
    }
    return all;
}

static void holds_request_next(struct holds *holds)
{
    hold_begin(&holds->each[holds->requested], holds->settings, holds->keys[holds->requested],
               holds->deadline_ns);
    holds->requested++;
}

void holds_begin(struct holds *holds, const struct settings *settings)
{
    memset(holds, 0, sizeof(*holds));
    holds->settings = settings;
    holds->count = settings->word_count;
    holds->each = new_memory(holds->count, sizeof(*holds->each));
    holds->shown = holds_show(settings);
    holds->deadline_ns = hold_deadline_ns(settings);
    memcpy(holds->keys, settings->words, holds->count * sizeof(holds->keys[0]));
    qsort(holds->keys, holds->count, sizeof(holds->keys[0]), holds_compare);
    holds_request_next(holds);
}

size_t holds_watch(const struct holds *holds, struct pollfd *watched)
{
    for (size_t i = 0; i < holds->requested; i++) {
        watched[i] = hold_watched(&holds->each[i]);
        if (holds->each[i].state == HOLD_OVER)
            watched[i].fd = -1;
    }
    return holds->requested;
}

int64_t holds_next_ms(const struct holds *holds)
{
    int64_t next_ms = LOOP_NEVER;

    for (size_t i = 0; i < holds->requested; i++) {
        int64_t each_ms = hold_next_ms(&holds->each[i]);

        if (each_ms < next_ms)
            next_ms = each_ms;
    }
    return next_ms;
}

/* Steps all that are requested: also after a loss, so that the others stay held until the command
 * has ended. Returns the worst state. */
static enum hold_state holds_step_each(struct holds *holds)
{
    enum hold_state state = HOLD_HELD;
    bool over = false;

    for (size_t i = 0; i < holds->requested; i++) {
        switch (hold_step(&holds->each[i])) {
        case HOLD_OVER:
            if (!holds->failed)
                holds->failed = &holds->each[i];
            over = true;
            break;
        case HOLD_WAITING:
            state = HOLD_WAITING;
            break;
        case HOLD_UNVERIFIED:
            if (state == HOLD_HELD)
                state = HOLD_UNVERIFIED;
            break;
        case HOLD_HELD:
            break;
        }
    }
    return over ? HOLD_OVER : state;
}

enum hold_state holds_step(struct holds *holds)
{
    enum hold_state state;

    while ((state = holds_step_each(holds)) == HOLD_HELD && holds->requested < holds->count)
        holds_request_next(holds);
    /* An unverified lock may be another client's: no command begins. */
    if (state == HOLD_UNVERIFIED && holds->state == HOLD_WAITING)
        state = HOLD_WAITING;
    holds->state = state;
    return state;
}

const struct hold *holds_find(const struct holds *holds, const char *key)
{
    size_t i = 0;

    while (strcmp(holds->keys[i], key) != 0)
        i++;
    return &holds->each[i];
}

int holds_report_refused(const struct holds *holds)
{
    const struct hold *failed = holds->failed;
    char *shown;

    if (!*failed->grant.token)
        return hold_report_refused(failed);
    shown = text_shown(failed->key, strlen(failed->key), true);
    status_report("lost '%s' while waiting for other keys: %s", shown, failed->problem);
    free(shown);
    return STATUS_LOST;
}

void holds_release_begin(struct holds *holds)
{
    for (size_t i = 0; i < holds->requested; i++)
        hold_release_begin(&holds->each[i]);
}

bool holds_release_step(struct holds *holds)
{
    bool over = true;

    for (size_t i = 0; i < holds->requested; i++)
        over = hold_release_step(&holds->each[i]) && over;
    return over;
}

int64_t holds_release_ms(const struct holds *holds)
{
    int64_t next_ms = LOOP_NEVER;

    for (size_t i = 0; i < holds->requested; i++) {
        int64_t each_ms = hold_release_ms(&holds->each[i]);

        if (each_ms < next_ms)
            next_ms = each_ms;
    }
    return next_ms;
}

void holds_release(struct holds *holds, struct loop *loop)
{
    int signal = 0;

    holds_release_begin(holds);
    while (!holds_release_step(holds) && signal != SIGINT && signal != SIGTERM) {
        struct pollfd watched[SETTINGS_WORDS_MAX];
        size_t count = holds_watch(holds, watched);
        struct signalfd_siginfo info;

        signal = loop_wait(loop, watched, count, holds_release_ms(holds), &info);
    }
    holds_close(holds);
}

/* Returns false if the lock may have been lost before `event`. */
static bool holds_report_one(const struct hold *hold, const char *event)
{
    char *shown = text_shown(hold->key, strlen(hold->key), true);
    bool kept = true;

    switch (hold->result) {
    case HOLD_GIVEN_BACK:
        break;
    case HOLD_UNCONFIRMED:
        status_report("'%s' was held until %s, but the server did not confirm the release; the "
                      "lease ends within %" PRIu64 " s",
                      shown, event, hold->grant.lease_s);
        break;
    case HOLD_EXPIRED:
        status_report("'%s' was held until %s; its lease ended before the server replied to the "
                      "release",
                      shown, event);
        break;
    case HOLD_LOST:
    case HOLD_DOUBTFUL:
        status_report("'%s' %s lost before %s: %s", shown,
                      hold->result == HOLD_LOST ? "was" : "may have been", event, hold->problem);
        kept = false;
        break;
    }
    free(shown);
    return kept;
}

bool holds_report_released(const struct holds *holds, const char *event)
{
    bool kept = true;

    for (size_t i = 0; i < holds->requested; i++)
        kept = holds_report_one(&holds->each[i], event) && kept;
    return kept;
}

void holds_close(struct holds *holds)
{
    for (size_t i = 0; i < holds->requested; i++)
        hold_close(&holds->each[i]);
    holds->state = HOLD_OVER;
}

void holds_free(struct holds *holds)
{
    holds_close(holds);
    free(holds->each);
    free(holds->shown);
    memset(holds, 0, sizeof(*holds));
}
