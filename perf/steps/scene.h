/*
 * A lock table as a server has it after a while: many keys held by others under leases that do not
 * end, and room for those who work on it now. Time is virtual, chance comes from a counter, so that
 * the same calls do the same on every run.
 */
#ifndef STEPS_SCENE_H
#define STEPS_SCENE_H

#include <stdbool.h>
#include <stdint.h>

#include "lock/table.h"

enum {
    SCENE_KEY_BYTES = 20,
    SCENE_CHUNK = 1000, /* targets at a time, where a step does not want more */
    SCENE_LEASE_S = 33, /* of those who work */
    SCENE_STEP_NS = 500 /* what the clock goes on with each call */
};

/* Of a lease that ends after all that others hold. */
#define SCENE_RENEWED_S 4000000000ull

/* A key that a step works on, who works on it, and the token where it is held. */
struct target {
    struct lock_key key;
    uint8_t bytes[SCENE_KEY_BYTES];
    uint64_t client;
    uint64_t number; /* of a held key */
    struct lock_token token;
};

struct scene {
    struct table table;
    struct lock_budget budget;
    uint64_t now_ns;
    uint64_t fence;
    uint64_t held_count;
    uint64_t *held_fences; /* of the keys held by others */
    uint64_t next_held;    /* where the next walk over them begins */
    struct target *targets;
    uint64_t target_capacity;
    uint64_t own_targets; /* of the first ones, which need not be made again */
    uint64_t claims_each; /* of a client that leaves */
    /* What the last effect told, and of how many effects there have been. */
    uint64_t effects;
    uint64_t granted_client;
    struct lock_token granted_token;
};

/* Others hold `held` keys; targets have room for `targets`. Ends the program without memory. */
void scene_open(struct scene *scene, uint64_t held, uint64_t targets);

void scene_close(struct scene *scene);

/* Makes targets of `count` keys of nobody else's, the same ones each time, a client for each. */
void scene_aim_at_own(struct scene *scene, uint64_t count);

/*
 * Makes targets of `count` keys held by others, at most as many as there are, far apart, with their
 * tokens; others than last time where there are enough.
 */
void scene_aim_at_held(struct scene *scene, uint64_t count);

/* Has others hold the targets again, which they were released from. */
void scene_hold_again(struct scene *scene, uint64_t count);

static inline uint64_t scene_clock(struct scene *scene)
{
    return scene->now_ns += SCENE_STEP_NS;
}

/* A request of the target's client for the target's key, with the target's token. */
struct lock_answer scene_apply(struct scene *scene, enum dflockd_command command,
                               const struct target *target, uint64_t wait_s, uint64_t lease_s);

/* As scene_apply, for another connection. */
struct lock_answer scene_apply_for(struct scene *scene, enum dflockd_command command,
                                   uint64_t connection_id, const struct target *target,
                                   uint64_t wait_s, uint64_t lease_s);

/* Ends the program unless `right`: a step that does not do what it is named for measures nothing.
 */
void scene_expect(bool right, const char *what);

#endif
