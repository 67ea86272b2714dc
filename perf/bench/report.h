/*
 * Prints a result as text, JSON, CSV, or HdrHistogram's text.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "bench/result.h"

void report_text(const struct result *result, FILE *file);

/* One object on one line. */
void report_json(const struct result *result, FILE *file);

/* A line of names and a line of values. */
void report_csv(const struct result *result, FILE *file);

/*
 * Writes the distribution of request latencies, and closes `file`. Returns false and sets errno on
 * failure.
 */
bool report_hdr(const struct result *result, FILE *file);

#endif
