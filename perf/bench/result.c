#include "bench/result.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

bool result_init(struct result *result, const struct settings *settings)
{
    memset(result, 0, sizeof(*result));
    result->settings = settings;
    result->server_cpu_ns = -1;
    result->server_memory_bytes = -1;
    result->requests = calloc(1, sizeof(*result->requests));
    return result->requests && tally_init(&result->total);
}

void result_free(struct result *result)
{
    free(result->requests);
    tally_free(&result->total);
}

void result_finish(struct result *result)
{
    for (int kind = 0; kind < REQUEST_KINDS; kind++)
        histogram_add(result->requests, &result->total.kinds[kind]);
}

double result_per_second(const struct result *result, uint64_t count)
{
    return result->seconds > 0 ? (double)count / result->seconds : 0;
}

double result_server_cpu_us(const struct result *result)
{
    if (result->server_cpu_ns < 0 || result->requests->count == 0)
        return -1;
    return (double)result->server_cpu_ns / 1000 / (double)result->requests->count;
}

uint64_t result_errors(const struct result *result)
{
    uint64_t sum = 0;

    for (int outcome = 0; outcome < OUTCOMES; outcome++)
        sum += result->total.errors[outcome];
    return sum;
}

uint64_t result_failed(const struct result *result)
{
    return result->total.refused + result->total.broken;
}

bool result_mostly_failed(const struct result *result)
{
    return result_failed(result) * 2 > result->total.rounds->count + result->total.broken;
}

const char *result_signal_name(const struct result *result)
{
    return result->signal == SIGINT ? "SIGINT" : result->signal == SIGTERM ? "SIGTERM" : NULL;
}
