/*
 * How a result is told: to people, as JSON, as CSV, and as HdrHistogram's text.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "bench/result.h"

void report_text(const struct result *result, FILE *file);

/* One object on one line. */
void report_json(const struct result *result, FILE *file);

/* A line of names and one of values. */
void report_csv(const struct result *result, FILE *file);

/* Writes the distribution of the latency of requests to a new file; false: errno says why not. */
bool report_hdr(const struct result *result, const char *path);

#endif
