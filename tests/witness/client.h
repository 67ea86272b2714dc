/*
 * The clients of the witness: connections that do what chance tells them, one claim at a time, and
 * tell the judge about it. One thread, one epoll set.
 */
#ifndef WITNESS_CLIENT_H
#define WITNESS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/judge.h"

/* What all clients share. */
struct world {
    struct judge *judge;
    const char *name; /* of the run: keys begin with it */
    uint32_t locks;   /* keys 0 to locks - 1; semaphores follow */
    uint32_t semaphores;
    bool two_phase;            /* also enqueue and wait */
    uint64_t lease_s;          /* of most claims */
    uint64_t run_out_in_10000; /* claims with a short lease that is left to run out */
    uint64_t hold_max_us;      /* holds that aren't given back at once last up to this */
    uint64_t pause_max_us;
    bool drains; /* the server may end: refusals, and the end of a connection, are right then */
    bool ending; /* no new claims; everybody gives back */
    uint16_t port;
    int epoll;
    uint64_t chance; /* state of the random numbers */
    uint64_t now_ns;

    uint32_t busy;     /* clients with a claim */
    uint64_t vanished; /* connections closed or reset with a claim */
    uint64_t run_out;  /* leases left to run out */
    uint64_t refusals; /* error_draining */
    uint64_t cut;      /* connections that the server ended with a request unanswered */
    uint64_t resets;   /* those that it reset */
    uint64_t expired;  /* waits answered `error_lease_expired` */
};

struct client;

/* NULL when memory is short. Connects at the first call of client_due. */
struct client *client_new(struct world *world);

/* Closes it, whatever it does. */
void client_free(struct client *client);

/* Its socket is readable or writable. */
void client_ready(struct client *client);

/* Does what is due at world->now_ns. */
void client_due(struct client *client);

uint64_t world_random(struct world *world, uint64_t below);

uint64_t world_clock(void);

#endif
