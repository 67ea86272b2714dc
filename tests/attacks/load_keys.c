/* One client holds very many keys; another one enqueues for all of them, or reads `stats`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attacks/crowd.h"
#include "attacks/loads.h"
#include "attacks/stage.h"

enum {
    STATS_KEY_MIN = 50
}; /* bytes of a key in the reply */

static size_t make_key(char text[REQUEST_MAX], const struct crowd *crowd,
                       const struct member *member, uint32_t index)
{
    (void)crowd;
    (void)member;
    return (size_t)snprintf(text, REQUEST_MAX, "l\nk%u\n0 3600\n", index);
}

static const struct script KEYS = {make_key, is_ok};

static size_t make_enqueue(char text[REQUEST_MAX], const struct crowd *crowd,
                           const struct member *member, uint32_t index)
{
    (void)crowd;
    (void)member;
    return (size_t)snprintf(text, REQUEST_MAX, "e\nk%u\n3600\n", index);
}

static bool is_queued(const struct crowd *crowd, const struct member *member, uint32_t index,
                      const char *line)
{
    (void)crowd;
    (void)member;
    (void)index;
    return strcmp(line, "queued") == 0;
}

static const struct script ENQUEUES = {make_enqueue, is_queued};

static size_t make_stats(char text[REQUEST_MAX], const struct crowd *crowd,
                         const struct member *member, uint32_t index)
{
    (void)crowd;
    (void)member;
    (void)index;
    return (size_t)snprintf(text, REQUEST_MAX, "stats\n_\n\n");
}

static bool is_stats(const struct crowd *crowd, const struct member *member, uint32_t index,
                     const char *line)
{
    (void)index;
    return strncmp(line, "ok {\"connections\":", 18) == 0 &&
           member->line_length > crowd->settings->claims * STATS_KEY_MIN;
}

static const struct script STATS = {make_stats, is_stats};

static struct crowd hold_keys(const struct settings *settings, struct result *result)
{
    struct crowd holder = crowd_create(settings, result, 1);

    crowd_connect(&holder);
    crowd_exchange(&holder, &KEYS, ALL_REPLIED, settings->claims);
    return holder;
}

void attack_drain(const struct settings *settings, struct result *result)
{
    struct crowd holder = hold_keys(settings, result);
    struct crowd waiter = crowd_create(settings, result, 1);
    uint64_t begin_ns;

    crowd_connect(&waiter);
    crowd_exchange(&waiter, &ENQUEUES, ALL_REPLIED, settings->claims);
    stage_open(settings, "renew");
    begin_ns = clock_ns();
    stage_begin();
    kill((pid_t)settings->pid, SIGTERM);
    crowd_exchange(&waiter, &ENQUEUES, ALL_CLOSED, 0);
    result->seconds = seconds_since(begin_ns);
    stage_close(settings, result);
    crowd_free(&waiter);
    if (holder.closed > 0)
        result_fail(result, "closed", "the holder of all keys");
    crowd_free(&holder);
}

void attack_stats(const struct settings *settings, struct result *result)
{
    struct crowd holder = hold_keys(settings, result);
    struct crowd readers = crowd_create(settings, result, settings->connections - settings->silent);
    struct crowd silent = crowd_create(settings, result, settings->silent);
    uint64_t begin_ns;

    crowd_connect(&readers);
    crowd_connect(&silent);
    stage_open(settings, "");
    begin_ns = clock_ns();
    stage_begin();
    for (uint32_t i = 0; i < silent.count; i++)
        if (send(silent.members[i].fd, "stats\n_\n\n", 9, MSG_NOSIGNAL) != 9)
            result_fail(result, "send", "stats");
    crowd_exchange(&readers, &STATS, ALL_REPLIED, 1);
    result->seconds = seconds_since(begin_ns);
    if (readers.closed > 0)
        result_fail(result, "closed", "a reader of stats");
    stage_close(settings, result);
    crowd_free(&silent);
    crowd_free(&readers);
    crowd_free(&holder);
}
