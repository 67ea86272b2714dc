/*
 * The model's deadlines.
 */
#include "model.h"

#include <assert.h>

#include "base/time_units.h"

uint64_t model_collection(const struct model *model, uint32_t key_number)
{
    const struct model_key *key = &model->keys[key_number];
    uint64_t interval_ns = model->policy.gc_interval_s * NS_PER_S;
    uint64_t due_ns = key->idle_since_ns + model->policy.gc_idle_s * NS_PER_S;
    uint64_t over_ns = due_ns % interval_ns;

    if (!key->exists || !model_idle(key))
        return MODEL_NEVER;
    if (model->policy.gc_idle_s == 0)
        return due_ns;
    return over_ns ? due_ns - over_ns + interval_ns : due_ns;
}

/* Returns the claim of a stripe with the first deadline, or MODEL_NO_CLAIM. */
static int first_due(struct model *model, uint32_t stripe)
{
    struct model_cursor cursor = {0};
    int first = MODEL_NO_CLAIM;
    int claim;

    model->earliest_ns[stripe] = MODEL_NEVER;
    while ((claim = model_next_claim(model, stripe, &cursor)) != MODEL_NO_CLAIM) {
        if (model->claims[claim].deadline_ns < model->earliest_ns[stripe]) {
            model->earliest_ns[stripe] = model->claims[claim].deadline_ns;
            first = claim;
        }
    }
    return first;
}

/* Returns the key of a stripe to collect first, or MODEL_NO_CLAIM. */
static int first_collected(const struct model *model, uint32_t stripe)
{
    int first = MODEL_NO_CLAIM;

    for (uint32_t i = 0; i < model->stripe_keys[stripe]; i++) {
        uint32_t key = model->keys_of[stripe][i];

        if (model_collection(model, key) != MODEL_NEVER &&
            (first == MODEL_NO_CLAIM || model->keys[key].idle_turn < model->keys[first].idle_turn))
            first = (int)key;
    }
    return first;
}

uint64_t model_deadline(struct model *model, uint32_t stripe)
{
    int key = first_collected(model, stripe);
    uint64_t collection_ns =
        key == MODEL_NO_CLAIM ? MODEL_NEVER : model_collection(model, (uint32_t)key);

    first_due(model, stripe);
    if (model->earliest_ns[stripe] < collection_ns)
        collection_ns = model->earliest_ns[stripe];
    if (model_paused(model, stripe) && model->grant_from_ns < collection_ns)
        return model->grant_from_ns;
    return collection_ns;
}

static void settle_effects(struct model *model, uint64_t fence_low, uint64_t fence_high)
{
    for (uint32_t worker = 0; worker < model->policy.workers; worker++) {
        struct model_mailbox *mailbox = &model->mailboxes[worker];

        for (uint32_t i = 0; i < mailbox->count; i++) {
            struct model_effect *effect =
                &mailbox->effects[(mailbox->first + i) & (MODEL_EFFECTS - 1)];

            if (effect->group != model->group)
                continue;
            if (model->group_steps < 2) {
                effect->group = 0;
            } else if (effect->outcome == DFLOCKD_OK && model->granted_count > 1) {
                effect->fence_low = fence_low;
                effect->fence_high = fence_high;
            }
        }
    }
}

/* The order of the steps of a group is unknown, so each grant may have any of their fences. */
void model_group_end(struct model *model)
{
    uint64_t low = MODEL_NEVER;
    uint64_t high = 0;

    if (model->group_steps > 1 && model->granted_count > 1) {
        model->ties++;
        low = model->claims[model->granted[0]].fence_low;
        high = model->claims[model->granted[model->granted_count - 1]].fence_low;
        for (uint32_t i = 0; i < model->granted_count; i++) {
            model->claims[model->granted[i]].fence_low = low;
            model->claims[model->granted[i]].fence_high = high;
        }
    }
    if (model->group)
        settle_effects(model, low, high);
    model->granted_count = 0;
    model->group_steps = 0;
    model->group = 0;
}

void model_group_begin(struct model *model)
{
    model_group_end(model);
    model->group = ++model->groups;
}

/*
 * Steps with one deadline are a group. Claims that are due for a grant come in between, in an order
 * that is known.
 */
static void group_step(struct model *model, uint64_t deadline_ns, uint32_t stripe,
                       uint64_t *last_ns)
{
    bool due = deadline_ns <= model->dues[stripe];

    if (!model->group || (!due && deadline_ns != *last_ns))
        model_group_begin(model);
    if (!due) {
        *last_ns = deadline_ns;
        model->group_steps++;
    }
}

/* Returns whether the end of the pause comes next, before the deadline of `claim`. */
static bool ends_pause(const struct model *model, uint32_t stripe, int claim)
{
    return model_paused(model, stripe) && model->grant_from_ns <= model->now_ns &&
           (claim == MODEL_NO_CLAIM || model->claims[claim].deadline_ns > model->grant_from_ns);
}

void model_expire(struct model *model, uint32_t stripe, uint32_t *steps)
{
    uint64_t last_ns = MODEL_NEVER;

    for (; *steps > 0; --*steps) {
        int claim =
            model->earliest_ns[stripe] <= model->now_ns ? first_due(model, stripe) : MODEL_NO_CLAIM;
        int key;

        if (ends_pause(model, stripe, claim)) {
            model_group_begin(model);
            model->group_steps = 2; /* the order of the keys is unknown */
            model_resume(model, stripe);
            continue;
        }
        if (claim != MODEL_NO_CLAIM && model->claims[claim].deadline_ns <= model->now_ns) {
            group_step(model, model->claims[claim].deadline_ns, stripe, &last_ns);
            if (model->claims[claim].state == MODEL_HOLDS)
                model_lease_ends(model, claim);
            else
                model_wait_ends(model, claim);
            continue;
        }
        key = first_collected(model, stripe);
        if (key == MODEL_NO_CLAIM || model_collection(model, (uint32_t)key) > model->now_ns)
            break;
        if (!model_forget_lost(model, (uint32_t)key))
            model_collect(model, &model->keys[key]);
    }
    model_group_end(model);
}

static bool deadlines_tie(const struct model *model, uint32_t stripe, uint64_t now_ns)
{
    struct model_cursor cursor = {0};
    int claim;

    while ((claim = model_next_claim(model, stripe, &cursor)) != MODEL_NO_CLAIM) {
        struct model_cursor behind = cursor;
        int other;

        if (model->claims[claim].deadline_ns > now_ns)
            continue;
        while ((other = model_next_claim(model, stripe, &behind)) != MODEL_NO_CLAIM) {
            if (model->claims[other].deadline_ns == model->claims[claim].deadline_ns)
                return true;
        }
    }
    return false;
}

bool model_order_unknown(const struct model *model, uint32_t slot, uint32_t stripe)
{
    uint64_t client = model->clients[slot].id;
    struct model_cursor cursor = {0};
    int claim;

    while ((claim = model_next_claim(model, stripe, &cursor)) != MODEL_NO_CLAIM) {
        const struct model_claim *granted = &model->claims[claim];
        struct model_cursor behind = cursor;
        int other;

        if (granted->client != client || granted->fence_low == granted->fence_high)
            continue;
        while ((other = model_next_claim(model, stripe, &behind)) != MODEL_NO_CLAIM) {
            if (model->claims[other].client == client &&
                model->claims[other].fence_low == granted->fence_low)
                return true;
        }
    }
    return false;
}

bool model_ambiguous(struct model *model, uint32_t stripe, uint64_t now_ns)
{
    if (now_ns < model->stripe_ns[stripe])
        now_ns = model->stripe_ns[stripe];
    if (model->earliest_ns[stripe] <= now_ns && deadlines_tie(model, stripe, now_ns))
        return true;
    if (model_paused(model, stripe) && model->grant_from_ns <= now_ns)
        return true;
    for (uint32_t i = 0; i < model->stripe_keys[stripe]; i++) {
        uint32_t key = model->keys_of[stripe][i];

        if (model_collection(model, key) == MODEL_NEVER)
            continue;
        if (model_lost_count(model, key) > 1)
            return true;
        for (uint32_t j = 0; j < i; j++) {
            uint32_t other = model->keys_of[stripe][j];

            if (model_collection(model, other) != MODEL_NEVER &&
                model->keys[other].idle_since_ns == model->keys[key].idle_since_ns)
                return true;
        }
    }
    return false;
}
