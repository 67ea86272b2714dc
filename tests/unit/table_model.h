/*
 * What a lock table must do, told in the plainest way: arrays that are searched, no record shared
 * with src/lock. It answers as the table does, and for a grant says which claim was granted; the
 * token itself it learns from the table. No two deadlines may be equal.
 */
#ifndef TESTS_UNIT_TABLE_MODEL_H
#define TESTS_UNIT_TABLE_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dflockd/protocol.h"

enum {
    MODEL_CLIENTS = 12,
    MODEL_GONE = MODEL_CLIENTS, /* stands for all that left something behind */
    MODEL_KEYS = 8,
    MODEL_CLAIMS = 512,
    MODEL_PENDING = DFLOCKD_OUTCOME_COUNT,
    MODEL_NOBODY = -1
};

#define MODEL_NEVER  UINT64_MAX
#define MODEL_SECOND UINT64_C(1000000000)

enum model_state {
    MODEL_FREE, /* no claim */
    MODEL_WAITS,
    MODEL_HOLDS
};

struct model_claim {
    enum model_state state;
    int client;
    int key;
    uint64_t lease_s;
    uint64_t deadline_ns; /* of the lease, or of the wait; MODEL_NEVER: nobody waits yet */
    uint64_t turn;        /* of coming, then of the grant: counts up */
    bool untold;
    bool granted_now; /* in this event */
    uint64_t fence;   /* 0: not known yet */
    uint64_t fence_least;
    uint64_t fence_most;
};

struct model_key {
    bool exists;
    uint32_t limit;
    uint64_t idle_since_ns;
};

enum model_enqueued {
    MODEL_NONE,
    MODEL_ENQUEUED,
    MODEL_LOST
};

struct model_enqueuing {
    enum model_enqueued state;
    int claim;
};

struct model_effect {
    bool out;
    int outcome;
    int claim;
};

struct model {
    struct model_claim claims[MODEL_CLAIMS];
    struct model_key keys[MODEL_KEYS];
    struct model_enqueuing enqueued[MODEL_CLIENTS + 1][MODEL_KEYS];
    int blocked[MODEL_CLIENTS + 1];             /* the claim that the pending request is about */
    struct model_effect effects[MODEL_CLIENTS]; /* of this event */
    uint64_t turn;
    uint64_t grants; /* in this event */
    uint64_t now_ns;
    uint64_t states_max;
    uint64_t waiters_max;
    uint64_t gc_max_idle_ns;
    uint64_t gc_interval_ns;
    bool release_on_disconnect;
};

struct model_answer {
    int outcome;
    int claim; /* of a grant */
};

static inline void model_init(struct model *model)
{
    memset(model, 0, sizeof(*model));
    for (int client = 0; client <= MODEL_CLIENTS; client++)
        model->blocked[client] = MODEL_NOBODY;
}

static inline void model_begin_event(struct model *model, uint64_t now_ns)
{
    model->now_ns = now_ns;
    model->grants = 0;
    memset(model->effects, 0, sizeof(model->effects));
    for (int i = 0; i < MODEL_CLAIMS; i++)
        model->claims[i].granted_now = false;
}

static inline uint32_t model_count(const struct model *model, int key, enum model_state state)
{
    uint32_t count = 0;

    for (int i = 0; i < MODEL_CLAIMS; i++)
        count += model->claims[i].state == state && model->claims[i].key == key;
    return count;
}

static inline bool model_idle(const struct model *model, int key)
{
    return model->keys[key].exists && model_count(model, key, MODEL_WAITS) == 0 &&
           model_count(model, key, MODEL_HOLDS) == 0;
}

static inline void model_forget_enqueued(struct model *model, int client, int key)
{
    model->enqueued[client][key].state = MODEL_NONE;
}

/* The key goes, and with it all memory of leases on it that were lost. */
static inline void model_collect(struct model *model, int key)
{
    model->keys[key].exists = false;
    for (int client = 0; client < MODEL_CLIENTS; client++)
        model_forget_enqueued(model, client, key);
}

static inline void model_settle(struct model *model, int key)
{
    if (!model_idle(model, key))
        return;
    model->keys[key].idle_since_ns = model->now_ns;
    if (model->gc_max_idle_ns == 0)
        model_collect(model, key);
}

static inline bool model_two_phase(const struct model *model, int claim)
{
    const struct model_enqueuing *enqueued =
        &model->enqueued[model->claims[claim].client][model->claims[claim].key];

    return enqueued->state == MODEL_ENQUEUED && enqueued->claim == claim;
}

static inline void model_grant(struct model *model, int claim)
{
    struct model_claim *granted = &model->claims[claim];

    granted->state = MODEL_HOLDS;
    granted->turn = ++model->turn;
    granted->deadline_ns = model->now_ns + granted->lease_s * MODEL_SECOND;
    granted->granted_now = true;
    granted->fence = 0;
    model->grants++;
}

static inline int model_first_waiting(const struct model *model, int key)
{
    int first = MODEL_NOBODY;

    for (int i = 0; i < MODEL_CLAIMS; i++) {
        const struct model_claim *claim = &model->claims[i];

        if (claim->state == MODEL_WAITS && claim->key == key &&
            (first == MODEL_NOBODY || claim->turn < model->claims[first].turn))
            first = i;
    }
    return first;
}

static inline void model_effect(struct model *model, int client, int outcome, int claim)
{
    model->effects[client] = (struct model_effect){.out = true, .outcome = outcome, .claim = claim};
}

static inline void model_hand_over(struct model *model, int key)
{
    int next;

    while (model_count(model, key, MODEL_HOLDS) < model->keys[key].limit &&
           (next = model_first_waiting(model, key)) != MODEL_NOBODY) {
        int client = model->claims[next].client;

        model_grant(model, next);
        if (model->blocked[client] == next) {
            if (model_two_phase(model, next))
                model_forget_enqueued(model, client, key);
            model_effect(model, client, DFLOCKD_OK, next);
        } else {
            model->claims[next].untold = true;
        }
    }
    model_settle(model, key);
}

/* A claim ends, and with it the enqueued state that is about it. */
static inline void model_leave(struct model *model, int claim)
{
    int client = model->claims[claim].client;
    int key = model->claims[claim].key;

    if (model_two_phase(model, claim))
        model_forget_enqueued(model, client, key);
    if (model->blocked[client] == claim)
        model->blocked[client] = MODEL_NOBODY;
    model->claims[claim].state = MODEL_FREE;
    model_hand_over(model, key);
}

static inline void model_lease_ends(struct model *model, int claim)
{
    if (model_two_phase(model, claim))
        model->enqueued[model->claims[claim].client][model->claims[claim].key].state = MODEL_LOST;
    model_leave(model, claim);
}

static inline bool model_over(const struct model *model, int claim)
{
    return model->claims[claim].deadline_ns <= model->now_ns;
}

static inline uint64_t model_states(const struct model *model)
{
    uint64_t count = 0;

    for (int key = 0; key < MODEL_KEYS; key++)
        count += model->keys[key].exists;
    return count;
}

static inline struct model_answer model_admit(struct model *model, int client, int key,
                                              uint32_t limit, uint64_t lease_s, bool may_wait)
{
    struct model_key *resource = &model->keys[key];
    bool full = resource->exists && model_count(model, key, MODEL_HOLDS) == resource->limit;
    int claim = 0;

    if (resource->exists && resource->limit != limit)
        return (struct model_answer){.outcome = DFLOCKD_ERROR_LIMIT_MISMATCH};
    if (full && model->waiters_max && model_count(model, key, MODEL_WAITS) >= model->waiters_max)
        return (struct model_answer){.outcome = DFLOCKD_ERROR_MAX_WAITERS};
    if (full && !may_wait)
        return (struct model_answer){.outcome = DFLOCKD_TIMEOUT};
    if (!resource->exists && model_states(model) >= model->states_max)
        return (struct model_answer){.outcome = DFLOCKD_ERROR_MAX_LOCKS};
    while (model->claims[claim].state != MODEL_FREE)
        claim++;
    model->claims[claim] = (struct model_claim){
        .state = MODEL_WAITS,
        .client = client,
        .key = key,
        .lease_s = lease_s,
        .deadline_ns = MODEL_NEVER,
        .turn = ++model->turn,
    };
    if (!resource->exists)
        *resource = (struct model_key){.exists = true, .limit = limit};
    if (full)
        return (struct model_answer){.outcome = MODEL_PENDING, .claim = claim};
    model_grant(model, claim);
    return (struct model_answer){.outcome = DFLOCKD_OK, .claim = claim};
}

static inline void model_block(struct model *model, int client, int claim, uint64_t wait_s)
{
    model->blocked[client] = claim;
    model->claims[claim].deadline_ns = model->now_ns + wait_s * MODEL_SECOND;
}

static inline struct model_answer model_acquire(struct model *model, int client, int key,
                                                uint32_t limit, uint64_t wait_s, uint64_t lease_s)
{
    struct model_answer answer = model_admit(model, client, key, limit, lease_s, wait_s > 0);

    if (answer.outcome == MODEL_PENDING)
        model_block(model, client, answer.claim, wait_s);
    return answer;
}

static inline struct model_answer model_enqueue(struct model *model, int client, int key,
                                                uint32_t limit, uint64_t lease_s)
{
    struct model_enqueuing *enqueued = &model->enqueued[client][key];
    struct model_answer answer = {.outcome = DFLOCKD_ERROR_ALREADY_ENQUEUED};

    if (enqueued->state == MODEL_ENQUEUED)
        return answer;
    answer = model_admit(model, client, key, limit, lease_s, true);
    if (answer.outcome == DFLOCKD_OK)
        answer.outcome = DFLOCKD_ACQUIRED;
    else if (answer.outcome == MODEL_PENDING)
        answer.outcome = DFLOCKD_QUEUED;
    else
        return answer;
    *enqueued = (struct model_enqueuing){.state = MODEL_ENQUEUED, .claim = answer.claim};
    return answer;
}

static inline struct model_answer model_wait(struct model *model, int client, int key,
                                             uint64_t wait_s)
{
    struct model_enqueuing *enqueued = &model->enqueued[client][key];
    int claim = enqueued->claim;

    if (enqueued->state == MODEL_NONE)
        return (struct model_answer){.outcome = DFLOCKD_ERROR_NOT_ENQUEUED};
    if (enqueued->state == MODEL_ENQUEUED && model->claims[claim].state == MODEL_HOLDS &&
        model_over(model, claim)) {
        model_leave(model, claim);
        return (struct model_answer){.outcome = DFLOCKD_ERROR_LEASE_EXPIRED};
    }
    if (enqueued->state == MODEL_LOST) {
        model_forget_enqueued(model, client, key);
        return (struct model_answer){.outcome = DFLOCKD_ERROR_LEASE_EXPIRED};
    }
    if (model->claims[claim].state == MODEL_HOLDS) {
        model->claims[claim].deadline_ns =
            model->now_ns + model->claims[claim].lease_s * MODEL_SECOND;
        model->claims[claim].untold = false;
        model_forget_enqueued(model, client, key);
        return (struct model_answer){.outcome = DFLOCKD_OK, .claim = claim};
    }
    if (wait_s == 0) {
        model_leave(model, claim);
        return (struct model_answer){.outcome = DFLOCKD_TIMEOUT};
    }
    model_block(model, client, claim, wait_s);
    return (struct model_answer){.outcome = MODEL_PENDING};
}

/* The claim that holds `key` under `fence`, or MODEL_NOBODY; a lease that is over ends. */
static inline int model_holder(struct model *model, int key, uint64_t fence)
{
    for (int i = 0; i < MODEL_CLAIMS; i++) {
        const struct model_claim *claim = &model->claims[i];

        if (claim->state != MODEL_HOLDS || claim->key != key || claim->fence != fence)
            continue;
        if (!model_over(model, i))
            return i;
        model_lease_ends(model, i);
        return MODEL_NOBODY;
    }
    return MODEL_NOBODY;
}

static inline int model_release(struct model *model, int key, uint64_t fence)
{
    int claim = model_holder(model, key, fence);

    if (claim == MODEL_NOBODY)
        return DFLOCKD_ERROR;
    model_leave(model, claim);
    return DFLOCKD_OK;
}

static inline int model_renew(struct model *model, int key, uint64_t fence, uint64_t lease_s)
{
    int claim = model_holder(model, key, fence);

    if (claim == MODEL_NOBODY)
        return DFLOCKD_ERROR;
    model->claims[claim].deadline_ns = model->now_ns + lease_s * MODEL_SECOND;
    return DFLOCKD_OK;
}

/* The claim is the client's from now on, and merely held. */
static inline int model_own(struct model *model, int client, int key, uint64_t fence)
{
    int claim = model_holder(model, key, fence);
    int before;

    if (claim == MODEL_NOBODY)
        return DFLOCKD_ERROR;
    before = model->claims[claim].client;
    if (before == client)
        return DFLOCKD_OK;
    if (model_two_phase(model, claim))
        model_forget_enqueued(model, before, key);
    if (model->blocked[before] == claim)
        model->blocked[before] = MODEL_NOBODY;
    model->claims[claim].client = client;
    return DFLOCKD_OK;
}

static inline bool model_cancel(struct model *model, int client)
{
    int claim = model->blocked[client];

    if (claim == MODEL_NOBODY || model->claims[claim].state != MODEL_WAITS)
        return false;
    model_leave(model, claim);
    return true;
}

static inline void model_disconnect(struct model *model, int client, bool pending)
{
    for (int i = 0; i < MODEL_CLAIMS; i++) {
        if (model->claims[i].state == MODEL_WAITS && model->claims[i].client == client)
            model_leave(model, i);
    }
    if (pending && model->blocked[client] != MODEL_NOBODY)
        model_leave(model, model->blocked[client]);
    for (int i = 0; i < MODEL_CLAIMS; i++) {
        if (model->claims[i].state == MODEL_HOLDS && model->claims[i].client == client &&
            (model->release_on_disconnect || model->claims[i].untold))
            model_leave(model, i);
    }
    for (int key = 0; key < MODEL_KEYS; key++)
        model_forget_enqueued(model, client, key);
}

static inline uint64_t model_collection_ns(const struct model *model, int key)
{
    uint64_t due_ns = model->keys[key].idle_since_ns + model->gc_max_idle_ns;
    uint64_t over_ns = due_ns % model->gc_interval_ns;

    if (!model_idle(model, key))
        return MODEL_NEVER;
    return over_ns ? due_ns - over_ns + model->gc_interval_ns : due_ns;
}

/* The claim whose deadline comes first, or MODEL_NOBODY. */
static inline int model_first_due(const struct model *model)
{
    int first = MODEL_NOBODY;

    for (int i = 0; i < MODEL_CLAIMS; i++) {
        const struct model_claim *claim = &model->claims[i];

        if (claim->state != MODEL_FREE && claim->deadline_ns != MODEL_NEVER &&
            (first == MODEL_NOBODY || claim->deadline_ns < model->claims[first].deadline_ns))
            first = i;
    }
    return first;
}

static inline uint64_t model_deadline(const struct model *model)
{
    int first = model_first_due(model);
    uint64_t deadline_ns = first == MODEL_NOBODY ? MODEL_NEVER : model->claims[first].deadline_ns;

    for (int key = 0; key < MODEL_KEYS; key++) {
        uint64_t collection_ns = model_collection_ns(model, key);

        deadline_ns = collection_ns < deadline_ns ? collection_ns : deadline_ns;
    }
    return deadline_ns;
}

static inline void model_expire(struct model *model)
{
    int due;

    while ((due = model_first_due(model)) != MODEL_NOBODY && model_over(model, due)) {
        int client = model->claims[due].client;

        if (model->claims[due].state == MODEL_HOLDS) {
            model_lease_ends(model, due);
        } else {
            model_leave(model, due);
            model_effect(model, client, DFLOCKD_TIMEOUT, 0);
        }
    }
    for (int key = 0; key < MODEL_KEYS; key++) {
        if (model_collection_ns(model, key) <= model->now_ns)
            model_collect(model, key);
    }
}

#endif
