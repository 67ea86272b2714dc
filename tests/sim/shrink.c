/*
 * Each attempt runs in its own process, which may end in any way and frees its memory.
 */
#include "shrink.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "run.h"

enum {
    ATTEMPT_SECONDS = 3, /* a longer one hangs, which is also a failure */
    CHECK_EACH_BELOW = 2000
};

static time_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

_Noreturn static void attempt_child(const struct trace *trace, int to)
{
    static struct result result;
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

    dup2(nowhere, STDERR_FILENO);
    run_trace(trace, ATTEMPT_SECONDS, &result);
    if (result.failed && write(to, &result.events, sizeof(result.events)) < 0)
        _exit(1);
    _exit(0);
}

/* Returns how many events are needed to fail; 0: it does not fail. */
static uint32_t run_attempt(const struct trace *trace)
{
    uint32_t events = 0;
    int ends[2];
    pid_t child;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return 0;
    fflush(NULL);
    child = fork();
    if (child == 0)
        attempt_child(trace, ends[1]);
    close(ends[1]);
    if (child < 0 || read(ends[0], &events, sizeof(events)) != sizeof(events))
        events = 0;
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    return events;
}

static void copy_without(struct trace *to, const struct trace *from, uint32_t start,
                         uint32_t length)
{
    to->policy = from->policy;
    to->count = 0;
    for (uint32_t i = 0; i < from->count; i++) {
        if (i < start || i >= start + length)
            trace_add(to, &from->events[i]);
    }
}

/* Removes each unneeded piece of `length` events. Returns whether there was one. */
static bool remove_pieces(struct trace *trace, struct trace *shorter, uint32_t length, time_t end_s)
{
    bool any = false;

    /* Start at the end: later events are the least likely to be needed. */
    for (uint32_t end = trace->count; end > 0 && now_s() < end_s;) {
        uint32_t start = end > length ? end - length : 0;
        uint32_t needed;

        copy_without(shorter, trace, start, end - start);
        needed = run_attempt(shorter);
        if (needed > 0 || (shorter->count == 0 && start == 0 && run_attempt(shorter) > 0)) {
            shorter->count = needed < shorter->count ? needed : shorter->count;
            trace_copy(trace, shorter);
            any = true;
        }
        end = start < trace->count ? start : trace->count;
    }
    return any;
}

void shrink(struct trace *trace, uint32_t seconds)
{
    time_t end_s = now_s() + (time_t)seconds;
    struct trace shorter;
    uint32_t length = trace->count / 2;

    trace_init(&shorter);
    while (length > 0 && now_s() < end_s) {
        bool any;

        if (trace->count < CHECK_EACH_BELOW && trace->policy.check_every > 1) {
            uint32_t every = trace->policy.check_every;

            trace->policy.check_every = 1;
            if (run_attempt(trace) == 0)
                trace->policy.check_every = every;
        }
        any = remove_pieces(trace, &shorter, length, end_s);
        if (length > 1 || !any)
            length = length > trace->count && trace->count > 0 ? trace->count / 2 : length / 2;
    }
    trace_free(&shorter);
}
