#include "steps/scene.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/system_memory.h"

enum {
    FIRST_OTHER_CLIENT = 1,
    KEYS_OF_ANOTHER = 10, /* that each other client holds */
    STRIDE = 7919         /* prime to powers of ten: visits every key */
};

/*
 * The leases of other clients end after decades, a second apart, in the order in which steps use
 * them; later leases end after all of these. So each renewal or release finds the lease that ends
 * next, as with clients that renew after half of their lease.
 */
#define HELD_LEASE_S 1000000000ull

#define FIRST_OWN_CLIENT (1ull << 40)

static const uint8_t hash_key[crypto_shorthash_KEYBYTES] = "0123456789abcde";

/* Spreads a counter over 64 bits (SplitMix64). */
static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

void scene_expect(bool right, const char *what)
{
    if (right)
        return;
    fprintf(stderr, "micro: %s\n", what);
    exit(EXIT_FAILURE);
}

static void token_next(void *context, struct lock_token *token)
{
    struct scene *scene = context;

    token->fence = ++scene->fence;
    token->salt = mix(token->fence);
}

static void effect(void *context, uint64_t client, const struct lock_answer *answer)
{
    struct scene *scene = context;

    scene->effects++;
    scene->granted_client = client;
    scene->granted_token = answer->token;
}

/* Without snprintf: far more keys are made than measured. */
static void aim(struct target *target, uint8_t kind, uint64_t number)
{
    uint64_t left = number;

    for (uint32_t i = SCENE_KEY_BYTES - 1; i > 0; i--) {
        target->bytes[i] = (uint8_t)('0' + left % 10);
        left /= 10;
    }
    target->bytes[0] = kind;
    target->number = number;
    target->key = (struct lock_key){.bytes = target->bytes, .length = SCENE_KEY_BYTES};
    crypto_shorthash((uint8_t *)&target->key.hash, target->bytes, SCENE_KEY_BYTES, hash_key);
}

struct lock_answer scene_apply_for(struct scene *scene, enum dflockd_command command,
                                   uint64_t connection_id, const struct target *target,
                                   uint64_t wait_s, uint64_t lease_s)
{
    struct lock_request request = {
        .command = command,
        .connection_id = connection_id,
        .key = target->key,
        .limit = 1,
        .wait_s = wait_s,
        .lease_s = lease_s,
        .token = target->token,
    };

    return table_apply(&scene->table, scene_clock(scene), &request);
}

struct lock_answer scene_apply(struct scene *scene, enum dflockd_command command,
                               const struct target *target, uint64_t wait_s, uint64_t lease_s)
{
    return scene_apply_for(scene, command, target->client, target, wait_s, lease_s);
}

static void hold(struct scene *scene, const struct target *target, uint64_t lease_s)
{
    uint64_t client = FIRST_OTHER_CLIENT + target->number / KEYS_OF_ANOTHER;
    struct lock_answer answer = scene_apply_for(scene, DFLOCKD_ACQUIRE, client, target, 0, lease_s);

    scene_expect(answer.outcome == DFLOCKD_OK, "a key could not be held by others");
    scene->held_fences[target->number] = answer.token.fence;
}

/* Keys are in memory in the order of their numbers; steps use them in another order. */
static void hold_all(struct scene *scene)
{
    uint64_t *ranks = scene->held_fences; /* until fences replace them */

    for (uint64_t i = 0; i < scene->held_count; i++)
        ranks[i * STRIDE % scene->held_count] = i;
    for (uint64_t i = 0; i < scene->held_count; i++) {
        struct target target;

        aim(&target, 'h', i);
        hold(scene, &target, HELD_LEASE_S + ranks[i]);
    }
}

void scene_open(struct scene *scene, uint64_t held, uint64_t targets)
{
    struct lock_policy policy = {
        .gc_max_idle_ns = 1000000000000000, /* nothing is collected meanwhile */
        .gc_interval_ns = 1000000000,
        .release_on_disconnect = true,
    };
    struct lock_context context = {
        .secret = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)},
        .memory = system_memory,
        .token_next = token_next,
        .effect = effect,
        .user_data = scene,
    };

    memset(scene, 0, sizeof(*scene));
    lock_budget_init(&scene->budget, UINT64_MAX, INT32_MAX, 1);
    scene->held_count = held;
    scene->target_capacity = targets > SCENE_CHUNK ? targets : SCENE_CHUNK;
    scene->held_fences = calloc(held + 1, sizeof(*scene->held_fences));
    scene->targets = calloc(scene->target_capacity, sizeof(*scene->targets));
    scene_expect(scene->held_fences && scene->targets &&
                     table_init(&scene->table, &context, &policy, &scene->budget),
                 "out of memory");
    hold_all(scene);
}

void scene_close(struct scene *scene)
{
    /* Far faster than table_free, which searches for clients. */
    for (uint64_t i = 0; i <= scene->held_count / KEYS_OF_ANOTHER; i++)
        table_disconnect(&scene->table, scene->now_ns, FIRST_OTHER_CLIENT + i, false,
                         &(uint32_t){UINT32_MAX});
    table_free(&scene->table);
    free(scene->held_fences);
    free(scene->targets);
}

void scene_aim_at_own(struct scene *scene, uint64_t count)
{
    scene_expect(count <= scene->target_capacity, "more targets than there is room for");
    for (uint64_t i = scene->own_targets; i < count; i++) {
        aim(&scene->targets[i], 'o', i);
        scene->targets[i].client = FIRST_OWN_CLIENT + i;
        scene->own_targets = i + 1;
    }
}

void scene_aim_at_held(struct scene *scene, uint64_t count)
{
    scene_expect(count <= scene->target_capacity && count <= scene->held_count,
                 "more targets than there is room for");
    scene->own_targets = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct target *target = &scene->targets[i];

        aim(target, 'h', scene->next_held);
        target->client = FIRST_OWN_CLIENT + i;
        target->token.fence = scene->held_fences[target->number];
        target->token.salt = mix(target->token.fence);
        scene->next_held = (scene->next_held + STRIDE) % scene->held_count;
    }
}

void scene_hold_again(struct scene *scene, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        hold(scene, &scene->targets[i], SCENE_RENEWED_S);
}
