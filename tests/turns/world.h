/*
 * Workers whose connections run in turns over simulated rings, in one thread and in random order.
 * Each turn is checked against the bound of its steps. Time passes only with turns, and while no
 * worker has work.
 *
 * Each worker has a pinger: a client that sends a single ping at random times, and must have its
 * reply within two turns of its worker. A failed check fails the test.
 */
#ifndef TESTS_TURNS_WORLD_H
#define TESTS_TURNS_WORLD_H

#include "memory_counted.h"
#include "seeded.h"
#include "server/connections.h"
#include "server/wakeups.h"
#include "simulated_ring.h"

enum {
    WORLD_WORKERS_MAX = SIMULATED_RINGS_MAX
};

struct pinger {
    int descriptor; /* -1: there is none */
    bool waits;
    uint64_t replies; /* before the ping that waits */
    uint64_t turn;    /* of its worker when it sent the ping */
};

struct turning_worker {
    struct world *world;
    struct connections connections;
    struct wakeups wakeups;
    struct pinger pinger;
    uint64_t turns;
    uint64_t until_ns; /* end of its sleep, unless `busy` */
    bool busy;
};

struct world {
    struct seeded random;
    struct memory_counted memory;
    struct budget buffers;
    struct stripes *stripes;
    struct peers *peers;
    struct metrics_worker metrics[WORLD_WORKERS_MAX];
    _Atomic uint64_t next_id;
    _Atomic uint64_t open;
    uint64_t now_ns;
    uint64_t longest; /* turn, in steps */
    uint64_t pings;
    bool pinging;
    int rings[WORLD_WORKERS_MAX];
    uint32_t worker_count;
    struct turning_worker workers[WORLD_WORKERS_MAX];
};

struct world_setting {
    uint32_t workers;
    uint64_t read_timeout_s; /* 0: none, as the next */
    uint64_t write_timeout_s;
};

void world_start(struct world *world, const struct world_setting *setting);

/* Ends all clients, and checks that nothing is left of them. Prints the longest turn. */
void world_end(struct world *world, const char *test);

/* Opens a connection of worker `number`. Returns the client's descriptor. */
int world_connect(struct world *world, uint32_t number);

/* Sends formatted text. */
void world_send(int client, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Starts to send pings. */
void world_ping(struct world *world);

/* Runs turns while a worker has work, without waiting for deadlines. */
void world_settle(struct world *world);

/* Runs turns until `done` returns true. Fails if all workers sleep forever before. */
void world_run(struct world *world, bool (*done)(void *context), void *context);

/* Lets time pass. */
void world_wait(struct world *world, uint64_t duration_ns);

#endif
