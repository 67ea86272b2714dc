/*
 * The clients of the witness. Each acts at random on one claim at a time and reports to the
 * judge. One thread, one epoll set.
 */
#ifndef WITNESS_CLIENT_H
#define WITNESS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/judge.h"

/* State shared by all clients. */
struct witness {
    struct judge *judge;
    const char *name; /* of the run; prefix of the keys */
    uint32_t locks;   /* keys 0 to locks - 1; semaphores follow */
    uint32_t semaphores;
    uint64_t shared_in_1000;   /* requests for locks */
    bool two_phase;            /* also use `e` and `w` */
    bool moves;                /* clients also take holds of others by `own` */
    uint64_t lease_s;          /* of most claims */
    uint64_t run_out_in_10000; /* claims with a short lease that expires */
    uint64_t hold_max_us;      /* longest hold that does not end at once */
    uint64_t pause_max_us;
    uint64_t revoke_max_us; /* an administrator's pause between revocations */
    bool drains;            /* the server may drain: refusals and closed connections are valid */
    bool ending;            /* no new claims; holders release */
    uint16_t port;
    int epoll;
    uint64_t chance; /* state of the random numbers */
    uint64_t now_ns;
    struct client **clients;
    uint64_t client_count;
    uint32_t losses; /* connections that the server or the kernel closed */

    uint32_t busy;     /* clients with a claim */
    uint64_t vanished; /* connections closed or reset with a claim */
    uint64_t run_out;  /* leases left to run out */
    uint64_t refusals; /* leases that expired */
    uint64_t cut;      /* connections that the server closed with a request pending */
    uint64_t resets;   /* of these, reset ones */
    uint64_t expired;  /* waits with the reply `error_lease_expired` */
    uint64_t moved;    /* holds taken by `own` */
    uint64_t shared;   /* grants to shared claims */
};

struct client;

/* Returns NULL if memory is short. The client connects in the first call of client_due. */
struct client *client_new(struct witness *witness);

/* Closes and frees a client in any state. */
void client_free(struct client *client);

/* Handles a readable or writable socket. */
void client_ready(struct client *client);

/* Does the actions that are due at witness->now_ns. */
void client_due(struct client *client);

/* Returns the number of holders that the key's limit allows. */
uint32_t witness_limit(const struct witness *witness, uint32_t key);

uint64_t witness_random(struct witness *witness, uint64_t below);

uint64_t witness_clock_ns(void);

#endif
