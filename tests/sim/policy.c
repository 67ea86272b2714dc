/*
 * Small and large, strict and lax servers, chosen so that limits are often reached.
 */
#include "policy.h"

#include <string.h>

#include "keys.h"
#include "seeded.h"

static const struct field policy_fields[] = {
    FIELD(struct policy, seed),
    FIELD(struct policy, start_ns),
    FIELD(struct policy, fence_first),
    FIELD(struct policy, workers),
    FIELD(struct policy, clients),
    FIELD(struct policy, names),
    FIELD(struct policy, hot),
    FIELD(struct policy, states_max),
    FIELD(struct policy, waiters_max),
    FIELD(struct policy, gc_idle_s),
    FIELD(struct policy, gc_interval_s),
    FIELD(struct policy, default_lease_s),
    FIELD(struct policy, auto_release),
    FIELD(struct policy, auth),
    FIELD(struct policy, check_every),
    FIELD(struct policy, fences),
    FIELD(struct policy, claims_max),
    FIELD(struct policy, claims_batch),
    FIELD(struct policy, claims_max_each),
    FIELD(struct policy, steps),
    FIELD(struct policy, grant_after_s),
    FIELD(struct policy, administrators),
};

enum {
    POLICY_FIELDS = sizeof(policy_fields) / sizeof(policy_fields[0])
};

void policy_draw(struct policy *policy, uint64_t seed, uint32_t workers, uint32_t clients)
{
    static const uint32_t idle_s[] = {0, 0, 1, 7, 60};
    static const uint32_t steps[] = {1, 2, 5, 64, 70, 300, UINT32_MAX};
    struct seeded seeded = {.state = seed};

    memset(policy, 0, sizeof(*policy));
    policy->seed = seed;
    policy->start_ns = seeded_next(&seeded) >> 16;
    policy->fence_first = seeded_next(&seeded) >> 4;
    policy->workers = 1 + seeded_below(&seeded, SIM_WORKERS_MAX);
    policy->clients =
        seeded_below(&seeded, 3) ? 20 + seeded_below(&seeded, 180) : 2 + seeded_below(&seeded, 20);
    if (seeded_below(&seeded, 8) == 0)
        policy->clients = 200 + seeded_below(&seeded, SIM_CLIENTS_MAX - 200);
    policy->names = 3 + seeded_below(&seeded, KEY_NAMES_MAX - 2);
    policy->hot = 1 + seeded_below(&seeded, policy->names < 6 ? policy->names : 6);
    policy->states_max =
        seeded_below(&seeded, 3) ? 1024 : 1 + seeded_below(&seeded, policy->names * 2);
    policy->waiters_max = seeded_below(&seeded, 4) ? 0 : 1 + seeded_below(&seeded, 6);
    policy->gc_idle_s = idle_s[seeded_below(&seeded, 5)];
    policy->gc_interval_s = 1 + seeded_below(&seeded, 10);
    policy->default_lease_s = 34; /* no multiple of three, see generator.c */
    policy->auto_release = seeded_below(&seeded, 3) > 0;
    policy->auth = seeded_below(&seeded, 4) == 0;
    policy->check_every = 256 + seeded_below(&seeded, 512);
    policy->fences = seeded_below(&seeded, 3) ? 0 : 1 + seeded_below(&seeded, 300);
    policy->claims_max = seeded_below(&seeded, 3) ? 0 : 1 + seeded_below(&seeded, 200);
    policy->claims_batch = seeded_below(&seeded, 2) ? 1 : 1 + seeded_below(&seeded, 6);
    policy->claims_max_each = seeded_below(&seeded, 3) ? 0 : 1 + seeded_below(&seeded, 8);
    policy->steps = steps[seeded_below(&seeded, 7)];
    policy->grant_after_s = seeded_below(&seeded, 4) ? 0 : 1 + seeded_below(&seeded, 100);
    policy->administrators = seeded_below(&seeded, 4) == 0;
    if (workers)
        policy->workers = workers;
    if (clients)
        policy->clients = clients;
}

void policy_print(FILE *to, const struct policy *policy)
{
    fprintf(to, "policy");
    fields_print(to, policy_fields, POLICY_FIELDS, policy);
    fprintf(to, "\n");
}

bool policy_parse(struct policy *policy, char *fields)
{
    memset(policy, 0, sizeof(*policy));
    return fields_parse(fields, policy_fields, POLICY_FIELDS, policy) && policy->workers >= 1 &&
           policy->workers <= SIM_WORKERS_MAX && policy->clients >= 1 &&
           policy->clients <= SIM_CLIENTS_MAX && policy->names >= 1 &&
           policy->names <= KEY_NAMES_MAX && policy->gc_interval_s >= 1 &&
           policy->check_every >= 1 && policy->steps >= 1;
}
