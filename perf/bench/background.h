/*
 * Connections beside the load: idle ones, and ones that hold keys. They are made before it and
 * stay through it.
 */
#ifndef BENCH_BACKGROUND_H
#define BENCH_BACKGROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/codec.h"
#include "bench/settings.h"
#include "bench/setup.h"

struct background {
    int *idle;
    uint32_t idle_count;
    struct holder *holders;
    uint32_t holder_count;
    uint64_t
        next_renewal_ns; /* when holders say something, so that no server takes them for idle */
};

/* How many there will be. */
uint64_t background_connection_count(const struct settings *settings);

/* False where `problem` says why not all is there; background_close is due all the same. */
bool background_open(struct background *background, const struct settings *settings,
                     const struct codec *codec, char problem[SETUP_PROBLEM_MAX]);

/* To be called every second or so: has the holders say something, from time to time. */
void background_renew(struct background *background, uint64_t now_ns);

/* How many idle connections the server has closed. */
uint32_t background_count_closed(const struct background *background);

void background_close(struct background *background);

#endif
