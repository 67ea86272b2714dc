/*
 * Connections beside the load: idle ones, and holders of keys. They are opened before the load
 * and stay open during it. Functions for the main thread.
 */
#ifndef BENCH_BACKGROUND_H
#define BENCH_BACKGROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/codec.h"
#include "bench/settings.h"
#include "bench/setup.h"

struct background {
    const struct settings *settings;
    const struct codec *codec;
    int *idle; /* -1: not connected */
    uint32_t idle_count;
    struct holder *holders;
    uint32_t holder_count;
    uint64_t next_renewal_ns; /* of the holders, so that no server closes them as idle */
    uint32_t idle_lost;       /* idle connections that were opened again */
    bool incomplete;          /* some connections could not be opened again */
};

/* Returns the number of connections that the settings ask for. */
uint64_t background_connection_count(const struct settings *settings);

/*
 * Opens the connections. Returns false and sets `problem` on failure; the caller must then call
 * background_close, too.
 */
bool background_open(struct background *background, const struct settings *settings,
                     const struct codec *codec, char problem[SETUP_PROBLEM_MAX]);

/* Renews one key of each holder from time to time. Call it about once a second. */
void background_renew(struct background *background, uint64_t now_ns);

/* Opens closed connections again, and acquires their keys. Stops at the first failure. */
void background_repair(struct background *background);

/* Returns how many times the server closed an idle connection. */
uint32_t background_count_closed(const struct background *background);

void background_close(struct background *background);

#endif
