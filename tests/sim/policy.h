/*
 * What holds for a whole run: the server's options and the size of the world, drawn from a seed.
 */
#ifndef TESTS_SIM_POLICY_H
#define TESTS_SIM_POLICY_H

#include <stdint.h>
#include <stdio.h>

#include "fields.h"

enum {
    SIM_WORKERS_MAX = 4,
    SIM_CLIENTS_MAX = 512
};

struct policy {
    uint64_t seed; /* of the run, also of the kernel's randomness in it */
    uint64_t start_ns;
    uint64_t fence_first;
    uint32_t fences; /* that there are at first; 0: no end of them */
    uint32_t workers;
    uint32_t clients;
    uint32_t names; /* of keys, each for a lock and a semaphore */
    uint32_t hot;   /* the first of them, which are wanted most */
    uint32_t states_max;
    uint32_t waiters_max;
    uint32_t gc_idle_s;
    uint32_t gc_interval_s;
    uint32_t default_lease_s;
    uint32_t auto_release;
    uint32_t auth;
    uint32_t check_every; /* events from one walk through all invariants to the next */
};

/* Zero for `workers` or `clients`: drawn as well. */
void policy_draw(struct policy *policy, uint64_t seed, uint32_t workers, uint32_t clients);

/* As a line that starts with "policy". */
void policy_print(FILE *to, const struct policy *policy);
bool policy_parse(struct policy *policy, char *fields);

#endif
