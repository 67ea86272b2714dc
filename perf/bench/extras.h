/*
 * Connections beside the load: idle ones, and ones that hold keys. They are made before it and
 * stay through it.
 */
#ifndef BENCH_EXTRAS_H
#define BENCH_EXTRAS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/settings.h"
#include "bench/speech.h"
#include "bench/talk.h"

struct extras {
    int *idle;
    uint32_t idle_count;
    struct holder *holders;
    uint32_t holder_count;
    uint64_t next_word_ns; /* when holders say something, so that no server takes them for idle */
};

/* How many there will be. */
uint64_t extras_connections(const struct settings *settings);

/* False where `problem` says why not all is there; extras_close is due all the same. */
bool extras_open(struct extras *extras, const struct settings *settings,
                 const struct speech *speech, char problem[TALK_PROBLEM_MAX]);

/* To be called every second or so: has the holders say something, from time to time. */
void extras_tend(struct extras *extras, uint64_t now_ns);

/* How many idle connections the server has closed. */
uint32_t extras_idle_closed(const struct extras *extras);

void extras_close(struct extras *extras);

#endif
