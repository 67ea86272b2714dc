/*
 * One run of a world, drawn from a seed and recorded as a trace, or replayed from a trace.
 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include "coverage.h"
#include "event.h"
#include "world.h"

struct result {
    bool failed;
    uint32_t events; /* applied, including the failed one */
    char text[FAILURE_MAX];
    struct coverage coverage;
};

/* Draws `events` events into `trace`, whose policy is set, and applies them. */
void run_drawn(struct trace *trace, uint32_t events, struct result *result);

/* Applies the events of `trace`. Exceeding `seconds` is a failure. */
void run_trace(const struct trace *trace, uint32_t seconds, struct result *result);

#endif
