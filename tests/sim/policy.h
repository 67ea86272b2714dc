/*
 * Constants of a run, drawn from a seed: the server's options and the size of the world.
 */
#ifndef TESTS_SIM_POLICY_H
#define TESTS_SIM_POLICY_H

#include <stdint.h>
#include <stdio.h>

#include "base/time_units.h"
#include "fields.h"

enum {
    SIM_WORKERS_MAX = 4,
    SIM_CLIENTS_MAX = 512
};

struct policy {
    uint64_t seed; /* of the run and its kernel randomness */
    uint64_t start_ns;
    uint64_t fence_first;
    uint32_t fences; /* initially available; 0: unlimited */
    uint32_t workers;
    uint32_t clients;
    uint32_t names; /* of keys, each for a lock and a semaphore */
    uint32_t hot;   /* the most frequent ones, which come first */
    uint32_t states_max;
    uint32_t waiters_max;
    uint32_t claims_max;      /* 0: no limit */
    uint32_t claims_batch;    /* see struct lock_budget */
    uint32_t claims_max_each; /* of a connection; 0: no limit */
    uint32_t gc_idle_s;
    uint32_t gc_interval_s;
    uint32_t default_lease_s;
    uint32_t auto_release;
    uint32_t grant_after_s; /* from start_ns; 0: no pause */
    uint32_t auth;
    uint32_t administrators; /* have a secret */
    uint32_t check_every;    /* events between two checks of all invariants */
    uint32_t steps;          /* of a session in one call, see session_context */
};

/* `workers` or `clients` 0: drawn from the seed. */
void policy_draw(struct policy *policy, uint64_t seed, uint32_t workers, uint32_t clients);

/* Returns when a paused run begins to grant, or 0. */
static inline uint64_t policy_grant_from_ns(const struct policy *policy)
{
    return policy->grant_after_s ? policy->start_ns + policy->grant_after_s * NS_PER_S : 0;
}

/* Writes a line that starts with "policy". */
void policy_print(FILE *to, const struct policy *policy);
bool policy_parse(struct policy *policy, char *fields);

#endif
