/*
 * The text of /metrics, in the Prometheus text format 0.0.4. Its length and cost do not grow with
 * keys, claims or connections. The manual page dflockd-metrics(7) lists all metrics.
 */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/memory.h"
#include "server/metrics_worker.h"
#include "server/shutdown.h"
#include "server/stripes.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* A growing text. */
struct metrics_text {
    const struct memory *memory;
    char *bytes;
    size_t length;
    size_t capacity;
    bool failed; /* memory was short: the text is not complete */
};

void metrics_text_init(struct metrics_text *text, const struct memory *memory);
void metrics_text_free(struct metrics_text *text);

enum metrics_type {
    METRICS_COUNTER,
    METRICS_GAUGE,
    METRICS_HISTOGRAM,
    METRICS_SUMMARY
};

/* Starts a metric: its HELP and TYPE. `help` has no backslash and no line break. */
void metrics_start(struct metrics_text *text, enum metrics_type type, const char *name,
                   const char *help);

/*
 * Write a sample of the metric `name`, with the value in seconds in metrics_seconds. `labels` is
 * the text between the braces, or NULL: no labels. `name` has the suffix, such as _sum, if any.
 */
void metrics_value(struct metrics_text *text, const char *name, const char *labels, uint64_t value);
void metrics_seconds(struct metrics_text *text, const char *name, const char *labels, uint64_t ns);

/* Where the numbers come from. All pointers are borrowed. */
struct metrics_sources {
    struct stripes *stripes;
    const struct metrics_worker *workers;
    uint32_t worker_count;
    const struct budget *buffers;
    const _Atomic uint64_t *connections; /* open now, of all front ends */
    uint64_t connections_max;            /* 0: no limit */
    const struct shutdown_shared *shutdown;
    uint64_t uptime_ns;
};

/*
 * Appends all metrics of the server but those of a front end. For any thread; with a single worker
 * the caller is inside the gate (server/gate.h), because the stripes have no mutexes then. On
 * shortage of memory sets text->failed.
 */
void metrics_write(struct metrics_text *text, const struct metrics_sources *sources);

#endif
