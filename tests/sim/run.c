/*
 * A failed assertion in the server is a failure like any other: its signal is caught.
 */
#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "generator.h"

enum {
    RUN_SECONDS = 60 /* one that takes longer hangs */
};

/* Handles the signals of failed assertions, invalid accesses and timeouts. */
static sigjmp_buf escape;
static volatile sig_atomic_t caught;

static void on_signal(int signal)
{
    caught = signal;
    siglongjmp(escape, 1);
}

static void catch_signals(void (*handler)(int))
{
    struct sigaction action = {.sa_flags = SA_NODEFER};

    action.sa_handler = handler;
    sigaction(SIGABRT, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
}

static void note_failure(const struct world *world, struct result *result)
{
    result->failed = true;
    if (caught)
        snprintf(result->text, sizeof(result->text), "%s: the process got a signal: %s",
                 world ? world->activity : "creation", strsignal(caught));
    else
        memcpy(result->text, world->failure, sizeof(result->text));
}

/* A failed world is not freed: its mutexes may be locked and its records wrong. */
static void run_events(const struct trace *given, struct trace *drawn, uint32_t events,
                       uint32_t seconds, struct result *result)
{
    const struct policy *policy = given ? &given->policy : &drawn->policy;
    struct world *volatile world = NULL;
    struct generator generator;

    memset(result, 0, sizeof(*result));
    generator_init(&generator, policy->seed, events);
    caught = 0;
    if (sigsetjmp(escape, 1) != 0) {
        alarm(0);
        catch_signals(SIG_DFL);
        note_failure(world, result);
        return;
    }
    catch_signals(on_signal);
    alarm(seconds);
    world = world_create(policy, &escape);
    while (result->events < events) {
        struct event event = given ? given->events[result->events]
                                   : generator_next(&generator, world, events - result->events);

        if (drawn)
            trace_add(drawn, &event);
        result->events++;
        world_apply(world, &event);
    }
    world_finish(world);
    alarm(0);
    catch_signals(SIG_DFL);
    result->coverage = world->coverage;
    world_destroy(world);
}

void run_drawn(struct trace *trace, uint32_t events, struct result *result)
{
    trace->count = 0;
    run_events(NULL, trace, events, RUN_SECONDS, result);
}

void run_trace(const struct trace *trace, uint32_t seconds, struct result *result)
{
    run_events(trace, NULL, trace->count, seconds, result);
}
