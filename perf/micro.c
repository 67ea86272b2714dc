/*
 * Measures each step of lock table, parser and replies without kernel and network, with tables of
 * different sizes.
 *
 *   micro [--step NAME] [--size N] [--size-max N] [--milliseconds N] [--json]
 *   micro --step NAME [--size N] --count N
 *   micro --list
 *
 * A figure is the median of several rounds; the second is the minimum, which has the least noise.
 * With --count, runs a step that many times without measuring, for a profiler (perf/instructions).
 */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/flags.h"
#include "base/time_units.h"
#include "dflockd/version.h"
#include "steps/steps.h"

enum {
    ROUNDS = 9,
    SIZE_LIMIT = 100000000
};

struct settings {
    const char *step;
    uint64_t size; /* 0: all */
    uint64_t size_max;
    uint64_t count; /* 0: by time */
    uint64_t milliseconds;
    bool json;
    bool list;
};

#define FLAGS_STRUCT struct settings

static const struct flag table[] = {
    TEXT_FLAG("step", NULL, step, NULL, "Only the step of this name"),
    NUMBER_FLAG("size", NULL, NULL, size, 1, SIZE_LIMIT, NULL,
                "Only this size: keys held by others, waiters, or claims of the client"),
    NUMBER_FLAG("size-max", NULL, NULL, size_max, 1, SIZE_LIMIT, "1000000",
                "The largest size; 10000000 keys take 2.5 GB"),
    NUMBER_FLAG("count", NULL, NULL, count, 0, SIZE_LIMIT, "0",
                "Run the step this many times without measuring"),
    NUMBER_FLAG("milliseconds", NULL, NULL, milliseconds, 1, 10000, "10",
                "Milliseconds of each round"),
    BOOLEAN_FLAG("json", NULL, json, NULL, "Print one JSON array"),
    BOOLEAN_FLAG("list", NULL, list, NULL, "Print the steps: name, unit of the size, description"),
    HELP_FLAGS,
    VERSION_FLAG("Print the version and exit"),
};

static const struct flags flags = {.table = table, .count = sizeof(table) / sizeof(table[0])};

struct figure {
    double median_ns;
    double least_ns;
};

static struct scene scene;
static uint64_t scene_held = UINT64_MAX; /* of the open scene; UINT64_MAX: no scene is open */

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- measuring ---- */

/* Steps of one size share a scene, because a large one takes seconds to make. */
static void scene_for(const struct step *step, uint64_t size)
{
    uint64_t held = steps_held(step, size);
    uint64_t chunk = steps_chunk(step, size);

    if (scene_held == held && chunk <= scene.target_capacity)
        return;
    if (scene_held != UINT64_MAX)
        scene_close(&scene);
    scene_open(&scene, held, chunk);
    scene_held = held;
}

/* Runs the step `count` times. Returns the nanoseconds. */
static uint64_t do_chunk(const struct step *step, uint64_t count)
{
    uint64_t begin_ns;
    uint64_t took_ns;

    if (step->prepare)
        step->prepare(&scene, count);
    begin_ns = clock_ns();
    steps_run(step, &scene, count);
    took_ns = clock_ns() - begin_ns;
    if (step->restore)
        step->restore(&scene, count);
    return took_ns;
}

static double do_round(const struct step *step, uint64_t chunk, uint64_t milliseconds)
{
    uint64_t took_ns = 0;
    uint64_t done = 0;

    while (took_ns < milliseconds * NS_PER_MS) {
        took_ns += do_chunk(step, chunk);
        done += chunk;
    }
    return (double)took_ns / (double)done;
}

static int compare(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;

    return (difference > 0) - (difference < 0);
}

static struct figure measure(const struct step *step, uint64_t size, uint64_t milliseconds)
{
    double rounds[ROUNDS];
    uint64_t chunk = steps_chunk(step, size);

    scene_for(step, size);
    if (step->begin)
        step->begin(&scene, size);
    do_round(step, chunk, milliseconds);
    for (int i = 0; i < ROUNDS; i++)
        rounds[i] = do_round(step, chunk, milliseconds);
    if (step->end)
        step->end(&scene, size);
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    return (struct figure){.median_ns = rounds[ROUNDS / 2], .least_ns = rounds[0]};
}

/* ---- reporting ---- */

static void report(const struct settings *settings, const struct step *step, uint64_t size)
{
    static bool reported;
    struct figure figure = measure(step, size, settings->milliseconds);
    char size_text[32] = "";

    if (settings->json) {
        printf("%s\n{\"step\": \"%s\", \"size\": %" PRIu64
               ", \"size_of\": \"%s\", \"ns\": %.2f, \"least_ns\": %.2f}",
               reported ? "," : "[", step->name, size, steps_size_name(step->size_of),
               figure.median_ns, figure.least_ns);
    } else {
        if (!reported)
            printf("%-14s %17s %10s %10s  %s\n", "step", "beside", "ns", "least", "what");
        if (step->size_of != SIZE_NONE)
            snprintf(size_text, sizeof(size_text), "%" PRIu64 " %s", size,
                     steps_size_name(step->size_of));
        printf("%-14s %17s %10.1f %10.1f  %s\n", step->name, size_text, figure.median_ns,
               figure.least_ns, step->what);
    }
    fflush(stdout);
    reported = true;
}

/* Reports powers of ten from `least` to `most`, or only the size of --size. */
static void report_sizes(const struct settings *settings, const struct step *step, uint64_t least,
                         uint64_t most)
{
    if (settings->size) {
        report(settings, step, settings->size);
        return;
    }
    for (uint64_t size = least; size <= most && size <= settings->size_max; size *= 10)
        report(settings, step, size);
}

static bool wanted(const struct settings *settings, const struct step *step)
{
    return !settings->step || strcmp(settings->step, step->name) == 0;
}

/* Size by size, so that steps of one size share a scene; then the steps with other units. */
static void report_all(const struct settings *settings)
{
    const struct step *step;
    uint64_t least = settings->size ? settings->size : 1000;
    uint64_t most = settings->size ? settings->size : settings->size_max;

    for (uint64_t size = least; size <= most; size *= 10) {
        for (uint32_t i = 0; (step = steps_at(i)); i++) {
            if (wanted(settings, step) && step->size_of == SIZE_KEYS)
                report(settings, step, size);
        }
    }
    for (uint32_t i = 0; (step = steps_at(i)); i++) {
        if (!wanted(settings, step) || step->size_of == SIZE_KEYS)
            continue;
        if (step->size_of == SIZE_NONE)
            report(settings, step, 0);
        else
            report_sizes(settings, step, step->size_of == SIZE_CLAIMS ? 1 : 10, 100000);
    }
    if (settings->json)
        printf("\n]\n");
}

static void do_count(const struct settings *settings, const struct step *step)
{
    uint64_t size = settings->size ? settings->size : 1000;
    uint64_t chunk = steps_chunk(step, size);

    scene_for(step, size);
    if (step->begin)
        step->begin(&scene, size);
    for (uint64_t left = settings->count; left > 0; left -= chunk) {
        if (chunk > left)
            chunk = left;
        do_chunk(step, chunk);
    }
    if (step->end)
        step->end(&scene, size);
}

static const struct step *find(const char *name)
{
    const struct step *step;

    for (uint32_t i = 0; (step = steps_at(i)); i++) {
        if (strcmp(step->name, name) == 0)
            return step;
    }
    return NULL;
}

static void list(void)
{
    const struct step *step;

    for (uint32_t i = 0; (step = steps_at(i)); i++)
        printf("%s\t%s\t%s\n", step->name, steps_size_name(step->size_of), step->what);
}

static int wrong(const char *problem)
{
    fprintf(stderr, "micro: %s\n", problem);
    return 2;
}

int main(int count, char **arguments)
{
    struct settings settings = {.step = NULL};
    struct flags_reading reading;

    switch (flags_read(&reading, &flags, &settings, count, arguments)) {
    case FLAGS_HELP:
        printf("Usage: micro [flags]\n\nWhat each step of the lock table, the parser and the "
               "replies takes.\n\n");
        flags_print(&flags);
        return EXIT_SUCCESS;
    case FLAGS_VERSION:
        printf("micro %s\n", DFLOCKD_VERSION);
        return EXIT_SUCCESS;
    case FLAGS_WRONG:
        return wrong(reading.problem);
    case FLAGS_RUN:
        break;
    }
    if (settings.step && !find(settings.step))
        return wrong("there is no step of this name");
    if (settings.count && !settings.step)
        return wrong("--count wants --step");
    if (sodium_init() < 0)
        return wrong("libsodium can't be used on this machine");
    if (settings.list)
        list();
    else if (settings.count)
        do_count(&settings, find(settings.step));
    else
        report_all(&settings);
    if (scene_held != UINT64_MAX)
        scene_close(&scene);
    return EXIT_SUCCESS;
}
