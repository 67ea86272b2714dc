/*
 * A lock table as in a busy server: other clients hold many keys under leases that do not end. Time
 * is virtual and randomness comes from a counter, so every run does the same.
 */
#ifndef STEPS_SCENE_H
#define STEPS_SCENE_H

#include <stdbool.h>
#include <stdint.h>

#include "lock/table.h"

enum {
    SCENE_KEY_BYTES = 20,
    SCENE_CHUNK = 1000, /* targets at a time, unless a step needs more */
    SCENE_LEASE_S = 33, /* of the clients of steps */
    SCENE_STEP_NS = 500 /* that each call adds to the time */
};

/* A lease that ends after those of all other clients. */
#define SCENE_RENEWED_S 4000000000ull

/* A key that a step uses, its client, and the token if it is held. */
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
    uint64_t *held_fences; /* of the keys that other clients hold */
    uint64_t next_held;    /* the next of them to use */
    struct target *targets;
    uint64_t target_capacity;
    uint64_t own_targets; /* the first ones, which are already made */
    uint64_t claims_each; /* of a client that disconnects */
    /* The last effect, and the number of effects. */
    uint64_t effects;
    uint64_t granted_client;
    struct lock_token granted_token;
};

/* Other clients hold `held` keys; there is room for `targets`. Exits if memory is short. */
void scene_open(struct scene *scene, uint64_t held, uint64_t targets);

void scene_close(struct scene *scene);

/* Makes `count` targets that no other client holds, with a client each: the same each time. */
void scene_aim_at_own(struct scene *scene, uint64_t count);

/*
 * Makes `count` targets that other clients hold (`held` at most), far apart in memory, with their
 * tokens. Uses other keys than the last time if there are enough.
 */
void scene_aim_at_held(struct scene *scene, uint64_t count);

/* Other clients acquire the released targets again. */
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

/* Exits unless `right`: a step that fails measures nothing. */
void scene_expect(bool right, const char *what);

#endif
