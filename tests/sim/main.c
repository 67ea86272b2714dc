/*
 * Simulation: the real tables, stripes and sessions against a model, by random events.
 *
 *   sim [seed=N] [events=N] [clients=N] [workers=1..4] [run=N]
 *   sim replay=FILE
 *
 * Prints TAP. Reads SEED and EVENTS from the environment, too. The default seed is the time. A
 * failure prints the expected and the actual output, and a trace for `replay`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "run.h"
#include "shrink.h"

enum {
    EVENTS_DEFAULT = 1000000,
    EVENTS_FOR_COVERAGE = 5000000, /* this many events must cover everything */
    RUN_EVENTS_DEFAULT = 20000,
    SHRINK_SECONDS = 15,
    REPLAY_SECONDS = 60
};

struct arguments {
    uint64_t seed;
    uint64_t events;
    uint32_t clients;
    uint32_t workers;
    uint32_t run_events;
    const char *replay;
};

static uint64_t clock_seed(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *given = getenv(name);

    return given ? strtoull(given, NULL, 0) : otherwise;
}

/* Returns the text after `name=` in the argument, or NULL. */
static const char *value_of(const char *argument, const char *name)
{
    size_t length = strlen(name);

    return strncmp(argument, name, length) == 0 && argument[length] == '=' ? argument + length + 1
                                                                           : NULL;
}

static bool read_argument(struct arguments *arguments, const char *argument)
{
    const char *value;

    if ((value = value_of(argument, "seed")))
        arguments->seed = strtoull(value, NULL, 0);
    else if ((value = value_of(argument, "events")))
        arguments->events = strtoull(value, NULL, 0);
    else if ((value = value_of(argument, "clients")))
        arguments->clients = (uint32_t)strtoul(value, NULL, 0);
    else if ((value = value_of(argument, "workers")))
        arguments->workers = (uint32_t)strtoul(value, NULL, 0);
    else if ((value = value_of(argument, "run")))
        arguments->run_events = (uint32_t)strtoul(value, NULL, 0);
    else if ((value = value_of(argument, "replay")))
        arguments->replay = value;
    else
        return false;
    return arguments->clients <= SIM_CLIENTS_MAX && arguments->workers <= SIM_WORKERS_MAX &&
           arguments->run_events > 0;
}

static void print_comment(const char *text)
{
    printf("# %s\n", text);
}

static int report_failure(struct trace *trace, const struct result *result)
{
    static struct result again;
    uint32_t length = trace->count;

    printf("not ok 1 - seed %llu, event %u of the run\n", (unsigned long long)trace->policy.seed,
           result->events);
    print_comment(result->text);
    fflush(stdout);
    trace->count = result->events < trace->count ? result->events : trace->count;
    shrink(trace, SHRINK_SECONDS);
    run_trace(trace, REPLAY_SECONDS, &again);
    printf("# shrunk from %u to %u events, where the failure is:\n", length, trace->count);
    print_comment(again.failed ? again.text : "gone; please repeat the run with its seed");
    printf("# the trace, for replay=FILE:\n");
    trace_print(stdout, trace);
    return 1;
}

static int replay_file(const char *path)
{
    static struct result result;
    struct trace trace;

    trace_init(&trace);
    if (!trace_read(&trace, path))
        return 2;
    run_trace(&trace, REPLAY_SECONDS, &result);
    if (result.failed) {
        printf("not ok 1 - %s, event %u\n", path, result.events);
        print_comment(result.text);
    } else {
        printf("ok 1 - the %u events of %s agree with the model\n", trace.count, path);
    }
    trace_free(&trace);
    return result.failed;
}

static int report_success(const struct arguments *arguments, uint64_t runs,
                          const struct coverage *coverage)
{
    const char *missing = coverage_missing(coverage);

    coverage_print(stdout, coverage);
    if (missing && arguments->events >= EVENTS_FOR_COVERAGE && !arguments->clients &&
        !arguments->workers) {
        printf("not ok 1 - never seen: %s\n", missing);
        return 1;
    }
    printf("ok 1 - %llu events of %llu runs, seeds %llu to %llu, agree with the model\n",
           (unsigned long long)arguments->events, (unsigned long long)runs,
           (unsigned long long)arguments->seed, (unsigned long long)(arguments->seed + runs - 1));
    return 0;
}

static int run_simulation(const struct arguments *arguments)
{
    static struct result result;
    struct coverage coverage = {0};
    struct trace trace;
    uint64_t left = arguments->events;
    uint64_t runs = 0;

    trace_init(&trace);
    while (left > 0) {
        uint32_t events = left < arguments->run_events ? (uint32_t)left : arguments->run_events;

        policy_draw(&trace.policy, arguments->seed + runs, arguments->workers, arguments->clients);
        run_drawn(&trace, events, &result);
        if (result.failed)
            return report_failure(&trace, &result);
        coverage_add(&coverage, &result.coverage);
        left -= events;
        runs++;
    }
    trace_free(&trace);
    return report_success(arguments, runs, &coverage);
}

int main(int count, char **words)
{
    struct arguments arguments = {
        .seed = from_environment("SEED", clock_seed()),
        .events = from_environment("EVENTS", EVENTS_DEFAULT),
        .run_events = RUN_EVENTS_DEFAULT,
    };

    for (int i = 1; i < count; i++) {
        if (!read_argument(&arguments, words[i])) {
            fprintf(stderr,
                    "usage: sim [seed=N] [events=N] [clients=1..%d] [workers=1..%d] [run=N] "
                    "[replay=FILE]\n",
                    SIM_CLIENTS_MAX, SIM_WORKERS_MAX);
            return 2;
        }
    }
    return arguments.replay ? replay_file(arguments.replay) : run_simulation(&arguments);
}
