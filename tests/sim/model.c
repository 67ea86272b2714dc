/*
 * Calls and their consequences. model_time.c handles deadlines.
 */
#include "model.h"

#include <assert.h>
#include <string.h>

#include "base/time_units.h"
#include "server/connection_id.h"

static struct model_result plain_result(int outcome)
{
    return (struct model_result){.outcome = outcome, .claim = MODEL_NO_CLAIM};
}

static struct model_key *key_of(struct model *model, int claim)
{
    return &model->keys[model->claims[claim].key];
}

static void note_change(struct model *model, struct model_key *key)
{
    key->changed = model->step;
}

bool model_idle(const struct model_key *key)
{
    return key->holders == 0 && key->waiters == 0;
}

/* ---- arrays ---- */

static void array_remove(uint16_t *array, uint32_t *count, int value)
{
    uint32_t at = 0;

    while (array[at] != value)
        at++;
    assert(at < *count);
    --*count;
    memmove(array + at, array + at + 1, (*count - at) * sizeof(*array));
}

static int claim_new(struct model *model, uint32_t slot, const struct model_request *request)
{
    int claim =
        model->free_count > 0 ? model->free[--model->free_count] : (int)model->claim_count++;

    assert(claim < MODEL_CLAIMS);
    model->claims[claim] = (struct model_claim){
        .state = MODEL_WAITS,
        .key = (uint16_t)request->key,
        .exclusive = !key_is_semaphore(request->key) && !request->shared,
        .slot = (uint16_t)slot,
        .client = model->clients[slot].id,
        .deadline_ns = MODEL_NEVER,
        .since_ns = model->now_ns,
        .turn = ++model->turn,
        .lease_s = request->lease_s,
    };
    return claim;
}

/* Returns the first claim of a client in a stripe, or MODEL_NO_CLAIM. */
static int first_claim(const struct model *model, uint32_t stripe, uint64_t client)
{
    struct model_cursor cursor = {0};
    int first = MODEL_NO_CLAIM;
    int claim;

    while ((claim = model_next_claim(model, stripe, &cursor)) != MODEL_NO_CLAIM) {
        const struct model_claim *candidate = &model->claims[claim];

        if (candidate->client == client &&
            (first == MODEL_NO_CLAIM || candidate->place < model->claims[first].place))
            first = claim;
    }
    return first;
}

static bool has_claim(const struct model *model, uint32_t stripe, uint64_t client)
{
    return first_claim(model, stripe, client) != MODEL_NO_CLAIM;
}

static void place_first(struct model *model, int claim)
{
    model->claims[claim].place = -(int64_t)++model->turn;
}

static void place_last(struct model *model, int claim)
{
    model->claims[claim].place = (int64_t)++model->turn;
}

/* Ends the client's last request in the stripe. A claim granted by it is then an ordinary hold. */
static void unblock_claim(struct model *model, uint32_t slot, uint32_t stripe)
{
    int claim = first_claim(model, stripe, model->clients[slot].id);

    if (claim == MODEL_NO_CLAIM || !model->claims[claim].blocked)
        return;
    model->claims[claim].blocked = false;
    place_last(model, claim);
}

/* Posts the idle effect if the client has lost its last claim in a watched stripe. */
static void post_idle(struct model *model, uint32_t slot, uint32_t stripe)
{
    struct model_client *client = &model->clients[slot];

    if (!(client->watched >> stripe & 1) || has_claim(model, stripe, client->id))
        return;
    client->watched &= ~(1ull << stripe);
    model_post(model, client->id, MODEL_IDLE, MODEL_NO_CLAIM);
}

static void claim_free(struct model *model, int claim)
{
    struct model_claim *gone = &model->claims[claim];
    struct model_client *client = &model->clients[gone->slot];
    uint32_t stripe = model->keys[gone->key].stripe;

    if (client->id == gone->client && client->blocked == claim)
        client->blocked = MODEL_NO_CLAIM;
    gone->state = MODEL_FREE;
    gone->turn = 0;
    model->free[model->free_count++] = (uint16_t)claim;
    if (client->id == gone->client)
        post_idle(model, gone->slot, stripe);
}

static void set_deadline(struct model *model, int claim, uint64_t seconds)
{
    struct model_key *key = key_of(model, claim);
    uint64_t deadline_ns = model->now_ns + seconds * NS_PER_S;

    model->claims[claim].deadline_ns = deadline_ns;
    if (deadline_ns < model->earliest_ns[key->stripe])
        model->earliest_ns[key->stripe] = deadline_ns;
    note_change(model, key);
}

/* ---- enqueued states ---- */

struct model_enqueued *model_enqueued(struct model *model, uint32_t slot, uint32_t key)
{
    struct model_client *client = &model->clients[slot];

    for (uint32_t i = 0; i < client->enqueued_count; i++) {
        if (client->enqueued[i].key == key)
            return &client->enqueued[i];
    }
    return NULL;
}

/* Returns the enqueued state of `claim`, or NULL. */
static struct model_enqueued *enqueued_of(struct model *model, int claim)
{
    const struct model_claim *about = &model->claims[claim];
    struct model_enqueued *enqueued;

    if (model->clients[about->slot].id != about->client)
        return NULL;
    enqueued = model_enqueued(model, about->slot, about->key);
    return enqueued && enqueued->claim == claim ? enqueued : NULL;
}

static void end_enqueued(struct model *model, uint32_t slot, struct model_enqueued *enqueued)
{
    struct model_client *client = &model->clients[slot];
    uint32_t at = (uint32_t)(enqueued - client->enqueued);

    client->enqueued_count--;
    memmove(enqueued, enqueued + 1, (client->enqueued_count - at) * sizeof(*enqueued));
}

/* Forgets the oldest lost lease on a key. Returns false if there is none. */
bool model_forget_lost(struct model *model, uint32_t key)
{
    struct model_enqueued *first = NULL;
    uint32_t slot_of_first = 0;

    for (uint32_t slot = 0; slot < model->policy.clients; slot++) {
        struct model_enqueued *enqueued = model_enqueued(model, slot, key);

        if (enqueued && enqueued->claim == MODEL_NO_CLAIM &&
            (!first || enqueued->lost < first->lost)) {
            first = enqueued;
            slot_of_first = slot;
        }
    }
    if (!first)
        return false;
    model->forgotten++;
    end_enqueued(model, slot_of_first, first);
    return true;
}

uint32_t model_lost_count(struct model *model, uint32_t key)
{
    uint32_t count = 0;

    for (uint32_t slot = 0; slot < model->policy.clients; slot++) {
        const struct model_enqueued *enqueued = model_enqueued(model, slot, key);

        count += enqueued && enqueued->claim == MODEL_NO_CLAIM;
    }
    return count;
}

void model_collect(struct model *model, struct model_key *key)
{
    while (model_forget_lost(model, (uint32_t)(key - model->keys)))
        continue;
    key->exists = false;
    note_change(model, key);
    model->states--;
    model->collections++;
}

static void settle_key(struct model *model, struct model_key *key)
{
    if (!model_idle(key))
        return;
    key->idle_since_ns = model->now_ns;
    key->idle_turn = ++model->turn;
    note_change(model, key);
    if (model->policy.gc_idle_s == 0 && model_lost_count(model, (uint32_t)(key - model->keys)) == 0)
        model_collect(model, key);
}

static void end_two_phase(struct model *model, int claim)
{
    struct model_enqueued *enqueued = enqueued_of(model, claim);

    if (enqueued)
        end_enqueued(model, model->claims[claim].slot, enqueued);
}

/* ---- claims ---- */

void model_post(struct model *model, uint64_t client, int outcome, int claim)
{
    struct model_mailbox *mailbox = &model->mailboxes[connection_id_worker(client)];
    struct model_effect *effect =
        &mailbox->effects[(mailbox->first + mailbox->count++) & (MODEL_EFFECTS - 1)];

    assert(mailbox->count <= MODEL_EFFECTS);
    *effect = (struct model_effect){
        .client = client,
        .outcome = outcome,
        .claim = claim,
        .group = model->group,
        .revocations = model->revocations,
    };
    if (claim == MODEL_NO_CLAIM)
        return;
    effect->turn = model->claims[claim].turn;
    effect->lease_s = model->claims[claim].lease_s;
    effect->deadline_ns = model->claims[claim].deadline_ns;
    effect->fence_low = model->claims[claim].fence_low;
    effect->fence_high = model->claims[claim].fence_high;
}

static void grant_claim(struct model *model, int claim)
{
    struct model_key *key = key_of(model, claim);
    struct model_claim *granted = &model->claims[claim];

    granted->state = MODEL_HOLDS;
    granted->since_ns = model->now_ns;
    granted->turn = ++model->turn;
    granted->fence_low = model->policy.fence_first + model->grants++;
    granted->fence_high = granted->fence_low;
    assert(key->holders < MODEL_HOLDERS);
    key->holding[key->holders++] = (uint16_t)claim;
    set_deadline(model, claim, granted->lease_s);
    if (model->group && model->granted_count < MODEL_GRANTED)
        model->granted[model->granted_count++] = (uint16_t)claim;
}

/* Returns whether one more claim can hold beside the holders. */
static bool has_slots(const struct model *model, const struct model_key *key, bool exclusive)
{
    bool semaphore = key_is_semaphore((uint32_t)(key - model->keys));

    if (!key->exists || key->holders == 0)
        return true;
    if (semaphore)
        return key->holders < key->limit;
    return !exclusive && !model->claims[key->holding[0]].exclusive;
}

static bool can_grant(const struct model *model, const struct model_key *key)
{
    return key->waiters > 0 && !model_paused(model, key->stripe) &&
           has_slots(model, key, model->claims[key->waiting[0]].exclusive);
}

/* If more than `most` waiters can be granted, the next one is due now. */
static void hand_over(struct model *model, struct model_key *key, uint32_t most)
{
    while (can_grant(model, key)) {
        int claim = key->waiting[0];
        const struct model_claim *first = &model->claims[claim];
        const struct model_client *client = &model->clients[first->slot];

        if (most-- == 0) {
            model->claims[claim].deadline_ns = ++model->dues[key->stripe];
            model->earliest_ns[key->stripe] = 0;
            return;
        }
        array_remove(key->waiting, &key->waiters, claim);
        grant_claim(model, claim);
        model->handed_over++;
        assert(client->id == first->client); /* a disconnected client waits for nothing */
        if (client->blocked == claim) {
            end_two_phase(model, claim);
            model_post(model, first->client, DFLOCKD_OK, claim);
        } else {
            model->claims[claim].unreported = true;
        }
    }
    settle_key(model, key);
}

void model_leave(struct model *model, int claim)
{
    struct model_key *key = key_of(model, claim);
    bool behind = model->claims[claim].state == MODEL_WAITS && key->waiting[0] != claim;

    end_two_phase(model, claim);
    if (model->claims[claim].state == MODEL_WAITS)
        array_remove(key->waiting, &key->waiters, claim);
    else
        array_remove(key->holding, &key->holders, claim);
    claim_free(model, claim);
    note_change(model, key);
    if (!behind)
        hand_over(model, key, MODEL_GRANTS_MAX);
}

void model_stop_granting(struct model *model)
{
    model->paused = UINT64_MAX;
    model->grant_from_ns = MODEL_NEVER;
}

void model_resume(struct model *model, uint32_t stripe)
{
    model->paused &= ~(1ull << stripe);
    for (uint32_t i = 0; i < model->stripe_keys[stripe]; i++) {
        struct model_key *key = &model->keys[model->keys_of[stripe][i]];
        uint32_t waiters = key->waiters;

        if (can_grant(model, key))
            hand_over(model, key, UINT32_MAX);
        model->resumed += waiters - key->waiters;
        model->dues[stripe] += waiters - key->waiters; /* each was due once */
    }
}

/* The deadline of a waiting claim has passed. */
void model_wait_ends(struct model *model, int claim)
{
    struct model_key *key = key_of(model, claim);
    uint64_t client = model->claims[claim].client;

    if (model->claims[claim].deadline_ns <= model->dues[key->stripe]) {
        note_change(model, key);
        model->claims[claim].deadline_ns = MODEL_NEVER;
        hand_over(model, key, 1);
        return;
    }
    model_leave(model, claim);
    model_post(model, client, DFLOCKD_TIMEOUT, MODEL_NO_CLAIM);
}

bool model_may_own(const struct model *model, const struct model_key *key, uint32_t place)
{
    for (uint32_t i = 0; i < key->holders; i++) {
        if (model->claims[key->holding[i]].fence_low >
            model->claims[key->holding[place]].fence_high)
            return false;
    }
    return true;
}

/* Ends a grant. A `w` that may ask for it must report that. */
static void lose_grant(struct model *model, int claim)
{
    struct model_enqueued *enqueued = enqueued_of(model, claim);

    if (enqueued) {
        enqueued->claim = MODEL_NO_CLAIM;
        enqueued->place = model->claims[claim].place;
        enqueued->lost = ++model->turn;
    }
    model_leave(model, claim);
}

void model_lease_ends(struct model *model, int claim)
{
    model->leases_ended++;
    lose_grant(model, claim);
}

static bool is_lease_over(const struct model *model, int claim)
{
    return model->claims[claim].deadline_ns <= model->now_ns;
}

/* Returns the claim that the token holds on `key`. Ends it if its lease is over. */
static int find_holder(struct model *model, uint32_t key, uint64_t fence, uint64_t salt)
{
    const struct model_key *of = &model->keys[key];

    for (uint32_t i = 0; i < of->holders; i++) {
        int claim = of->holding[i];
        const struct model_claim *holds = &model->claims[claim];

        if (!holds->known || holds->fence != fence || holds->salt != salt)
            continue;
        if (!is_lease_over(model, claim))
            return claim;
        model_lease_ends(model, claim);
        return MODEL_NO_CLAIM;
    }
    return MODEL_NO_CLAIM;
}

bool model_fence(const struct model *model, int claim, uint64_t *fence)
{
    const struct model_claim *held = &model->claims[claim];

    *fence = held->known ? held->fence : held->fence_low;
    return held->known || held->fence_low == held->fence_high;
}

/* ---- calls ---- */

/* Returns whether one more claim could be granted after all waiters. */
static bool fence_left(struct model *model)
{
    uint64_t wanted = model->grants;

    if (model->policy.fences == 0)
        return true;
    for (uint32_t i = 0; i < model->key_count; i++)
        wanted += model->keys[i].waiters;
    model->fences_called |= wanted + 1 >= model->fences_are_low;
    return wanted < model->fences;
}

void model_add_fences(struct model *model, uint32_t count)
{
    model->fences_are_low = model->fences + count / 2;
    model->fences += count;
    model->fences_called = false;
}

/* Returns the claims of a stripe, and its lost leases that no `w` has asked for. */
static uint32_t claims_in(const struct model *model, uint32_t stripe)
{
    uint32_t claims = 0;

    for (uint32_t i = 0; i < model->stripe_keys[stripe]; i++) {
        const struct model_key *key = &model->keys[model->keys_of[stripe][i]];

        claims += key->holders + key->waiters;
    }
    for (uint32_t slot = 0; slot < model->policy.clients; slot++) {
        const struct model_client *client = &model->clients[slot];

        for (uint32_t i = 0; i < client->enqueued_count; i++)
            claims += client->enqueued[i].claim == MODEL_NO_CLAIM &&
                      model->keys[client->enqueued[i].key].stripe == stripe;
    }
    return claims;
}

/* Returns whether a stripe may have one more claim. Its room grows by a batch if it is full. */
static bool claims_left(struct model *model, uint32_t stripe)
{
    uint32_t batch = model->policy.claims_batch;
    uint32_t left = model->policy.claims_max;
    uint32_t here = 0;

    if (model->policy.claims_max == 0)
        return true;
    for (uint32_t i = 0; i < model->stripe_count; i++) {
        uint32_t claims = claims_in(model, i);

        /* Batches were returned as claims ended. */
        while (model->claims_room[i] - claims > 2 * (batch - 1))
            model->claims_room[i] -= batch;
        left -= model->claims_room[i];
        if (i == stripe)
            here = claims;
    }
    if (here == model->claims_room[stripe])
        model->claims_room[stripe] += left < batch ? left : batch;
    return here < model->claims_room[stripe];
}

uint32_t model_claims(const struct model *model, uint32_t slot)
{
    uint32_t claims = 0;

    for (uint32_t i = 0; i < model->claim_count; i++)
        claims += model->claims[i].state != MODEL_FREE &&
                  model->claims[i].client == model->clients[slot].id;
    return claims;
}

/* Returns whether a client may have one more claim. */
static bool claims_left_for(const struct model *model, uint32_t slot)
{
    uint32_t max = model->policy.claims_max_each;

    return max == 0 || model_claims(model, slot) < max;
}

void model_short_of_memory(struct model *model, uint32_t slot, uint32_t key)
{
    if (claims_left_for(model, slot))
        claims_left(model, model->keys[key].stripe);
}

static struct model_result has_room(struct model *model, uint32_t slot,
                                    const struct model_request *request, bool may_wait,
                                    bool replaces_lost)
{
    struct model_key *key = &model->keys[request->key];
    bool exclusive = !key_is_semaphore(request->key) && !request->shared;
    struct model_result answer = {.lease_s = request->lease_s};
    bool full;

    if (key->exists && key->limit != request->limit)
        return plain_result(DFLOCKD_ERROR_LIMIT_MISMATCH);
    if (key->exists && can_grant(model, key))
        hand_over(model, key, MODEL_GRANTS_MAX);
    full = model_paused(model, key->stripe) ||
           (key->exists && (key->waiters > 0 || !has_slots(model, key, exclusive)));
    if (full && model->policy.waiters_max && key->waiters >= model->policy.waiters_max)
        return plain_result(DFLOCKD_ERROR_MAX_WAITERS);
    if (full && !may_wait)
        return plain_result(DFLOCKD_TIMEOUT);
    if (!claims_left_for(model, slot)) {
        model->claims_refused_each++;
        return plain_result(full ? DFLOCKD_ERROR_MAX_WAITERS : DFLOCKD_ERROR_MAX_LOCKS);
    }
    if (!replaces_lost && !claims_left(model, key->stripe)) {
        model->claims_refused++;
        return plain_result(full ? DFLOCKD_ERROR_MAX_WAITERS : DFLOCKD_ERROR_MAX_LOCKS);
    }
    if (!key->exists && model->states >= model->policy.states_max)
        return plain_result(DFLOCKD_ERROR_MAX_LOCKS);
    if (!fence_left(model)) {
        model->without_fence++;
        return plain_result(DFLOCKD_ERROR);
    }
    unblock_claim(model, slot, key->stripe);
    if (!key->exists) {
        key->exists = true;
        key->created = model->step;
        key->limit = request->limit;
        model->states++;
    }
    answer.claim = claim_new(model, slot, request);
    note_change(model, key);
    if (full) {
        assert(key->waiters < MODEL_WAITERS);
        key->waiting[key->waiters++] = (uint16_t)answer.claim;
        answer.outcome = MODEL_PENDING;
    } else {
        grant_claim(model, answer.claim);
        place_last(model, answer.claim);
        answer.outcome = DFLOCKD_OK;
    }
    return answer;
}

static void block_client(struct model *model, uint32_t slot, int claim, uint64_t wait_s)
{
    unblock_claim(model, slot, key_of(model, claim)->stripe);
    place_first(model, claim);
    model->claims[claim].blocked = true;
    model->clients[slot].blocked = claim;
    set_deadline(model, claim, wait_s);
}

struct model_result model_acquire(struct model *model, uint32_t slot,
                                  const struct model_request *request)
{
    struct model_result answer = has_room(model, slot, request, request->wait_s > 0, false);

    if (answer.outcome == MODEL_PENDING)
        block_client(model, slot, answer.claim, request->wait_s);
    return answer;
}

struct model_result model_enqueue(struct model *model, uint32_t slot,
                                  const struct model_request *request)
{
    struct model_client *client = &model->clients[slot];
    struct model_enqueued *enqueued = model_enqueued(model, slot, request->key);
    struct model_result answer;

    if (enqueued && enqueued->claim != MODEL_NO_CLAIM)
        return plain_result(DFLOCKD_ERROR_ALREADY_ENQUEUED);
    answer = has_room(model, slot, request, true, enqueued);
    if (answer.outcome == DFLOCKD_OK)
        answer.outcome = DFLOCKD_ACQUIRED;
    else if (answer.outcome == MODEL_PENDING)
        answer.outcome = DFLOCKD_QUEUED;
    else
        return answer;
    if (!enqueued) {
        enqueued = &client->enqueued[client->enqueued_count++];
        enqueued->key = (uint16_t)request->key;
    }
    enqueued->claim = answer.claim;
    place_first(model, answer.claim);
    return answer;
}

struct model_result model_wait(struct model *model, uint32_t slot, uint32_t key, uint64_t wait_s)
{
    struct model_enqueued *enqueued = model_enqueued(model, slot, key);
    struct model_claim *waits;
    int claim;

    if (!enqueued)
        return plain_result(DFLOCKD_ERROR_NOT_ENQUEUED);
    claim = enqueued->claim;
    if (claim != MODEL_NO_CLAIM && model->claims[claim].state == MODEL_HOLDS &&
        is_lease_over(model, claim)) {
        model->leases_ended++;
        model_leave(model, claim);
        return plain_result(DFLOCKD_ERROR_LEASE_EXPIRED);
    }
    if (claim == MODEL_NO_CLAIM) {
        end_enqueued(model, slot, enqueued);
        return plain_result(DFLOCKD_ERROR_LEASE_EXPIRED);
    }
    waits = &model->claims[claim];
    if (waits->state == MODEL_WAITS && waits->deadline_ns != MODEL_NEVER)
        hand_over(model, key_of(model, claim), 1);
    if (waits->state == MODEL_HOLDS) {
        waits->unreported = false;
        set_deadline(model, claim, waits->lease_s);
        end_enqueued(model, slot, enqueued);
        place_last(model, claim);
        return (struct model_result){DFLOCKD_OK, claim, waits->lease_s};
    }
    if (wait_s == 0) {
        model_leave(model, claim);
        return plain_result(DFLOCKD_TIMEOUT);
    }
    block_client(model, slot, claim, wait_s);
    return plain_result(MODEL_PENDING);
}

struct model_result model_release(struct model *model, uint32_t key, uint64_t fence, uint64_t salt)
{
    int claim = find_holder(model, key, fence, salt);

    if (claim == MODEL_NO_CLAIM)
        return plain_result(DFLOCKD_ERROR);
    model_leave(model, claim);
    return plain_result(DFLOCKD_OK);
}

struct model_result model_renew(struct model *model, uint32_t key, uint64_t fence, uint64_t salt,
                                uint64_t lease_s)
{
    int claim = find_holder(model, key, fence, salt);

    if (claim == MODEL_NO_CLAIM)
        return plain_result(DFLOCKD_ERROR);
    set_deadline(model, claim, lease_s);
    return (struct model_result){DFLOCKD_OK, MODEL_NO_CLAIM, lease_s};
}

struct model_result model_revoke(struct model *model, uint32_t key, uint64_t fence, int *revoked)
{
    const struct model_key *of = &model->keys[key];
    uint64_t held;

    model->revocations++;
    *revoked = MODEL_NO_CLAIM;
    for (uint32_t i = 0; i < of->holders; i++) {
        int claim = of->holding[i];

        if (!model_fence(model, claim, &held) || held != fence)
            continue;
        if (is_lease_over(model, claim)) {
            model_lease_ends(model, claim);
            break;
        }
        *revoked = claim;
        lose_grant(model, claim);
        return plain_result(DFLOCKD_OK);
    }
    return plain_result(DFLOCKD_ERROR);
}

struct model_result model_own(struct model *model, uint32_t slot, uint32_t key, uint64_t fence,
                              uint64_t salt)
{
    int claim = find_holder(model, key, fence, salt);
    struct model_claim *owned = &model->claims[claim == MODEL_NO_CLAIM ? 0 : claim];
    struct model_client *before = &model->clients[owned->slot];
    bool alive = before->id == owned->client;

    if (claim == MODEL_NO_CLAIM)
        return plain_result(DFLOCKD_ERROR);
    if (owned->client == model->clients[slot].id)
        return plain_result(DFLOCKD_OK);
    end_two_phase(model, claim);
    if (alive && before->blocked == claim)
        before->blocked = MODEL_NO_CLAIM;
    note_change(model, &model->keys[key]);
    model->owned++;
    owned->client = model->clients[slot].id;
    owned->blocked = false;
    place_last(model, claim);
    if (alive)
        post_idle(model, owned->slot, model->keys[key].stripe);
    owned->slot = (uint16_t)slot;
    return plain_result(DFLOCKD_OK);
}

bool model_cancel(struct model *model, uint32_t slot)
{
    int claim = model->clients[slot].blocked;

    if (claim == MODEL_NO_CLAIM || model->claims[claim].state != MODEL_WAITS)
        return false;
    model_leave(model, claim);
    return true;
}

/* ---- disconnecting and draining clients ---- */

/* Returns the first lost lease of a client in a stripe, or NULL. */
static struct model_enqueued *first_lost(struct model *model, uint32_t slot, uint32_t stripe)
{
    struct model_client *client = &model->clients[slot];
    struct model_enqueued *first = NULL;

    for (uint32_t i = 0; i < client->enqueued_count; i++) {
        struct model_enqueued *enqueued = &client->enqueued[i];

        if (model->keys[enqueued->key].stripe == stripe && enqueued->claim == MODEL_NO_CLAIM &&
            (!first || enqueued->place < first->place))
            first = enqueued;
    }
    return first;
}

/* Returns the enqueued state of a client in `stripe` that comes first, or NULL. */
static struct model_enqueued *first_enqueued(struct model *model, uint32_t slot, uint32_t stripe)
{
    struct model_client *client = &model->clients[slot];
    struct model_enqueued *first = NULL;
    int64_t least = 0;

    for (uint32_t i = 0; i < client->enqueued_count; i++) {
        struct model_enqueued *enqueued = &client->enqueued[i];
        int64_t place = enqueued->claim == MODEL_NO_CLAIM ? enqueued->place
                                                          : model->claims[enqueued->claim].place;

        if (model->keys[enqueued->key].stripe == stripe && (!first || place < least)) {
            first = enqueued;
            least = place;
        }
    }
    return first;
}

uint32_t model_leave_queues(struct model *model, uint32_t slot, uint32_t stripe)
{
    struct model_enqueued *first;
    uint32_t left = 0;

    for (; (first = first_enqueued(model, slot, stripe)); left++) {
        int claim = first->claim;

        if (claim == MODEL_NO_CLAIM) {
            end_enqueued(model, slot, first);
        } else if (model->claims[claim].state == MODEL_WAITS || model->claims[claim].unreported) {
            model_leave(model, claim);
        } else {
            end_two_phase(model, claim);
            place_last(model, claim);
        }
    }
    return left;
}

/* Removes one claim. Returns false if none must be removed. */
static bool disconnect_step(struct model *model, uint32_t slot, uint32_t stripe, bool pending)
{
    int claim = first_claim(model, stripe, model->clients[slot].id);
    const struct model_claim *first = claim == MODEL_NO_CLAIM ? NULL : &model->claims[claim];
    struct model_enqueued *lost = first_lost(model, slot, stripe);

    if (lost && (!first || lost->place < first->place)) {
        end_enqueued(model, slot, lost);
    } else if (!first) {
        return false;
    } else if (first->state == MODEL_WAITS || model->policy.auto_release || first->unreported ||
               (first->blocked && pending)) {
        model->released_unread += first->state == MODEL_HOLDS && first->blocked && pending;
        model_leave(model, claim);
    } else if (first->blocked) {
        unblock_claim(model, slot, stripe);
    } else if (enqueued_of(model, claim)) {
        end_two_phase(model, claim);
        place_last(model, claim);
    } else {
        return false;
    }
    return true;
}

bool model_disconnect(struct model *model, uint32_t slot, uint32_t stripe, bool pending,
                      uint32_t *steps)
{
    bool more = true;

    model_unwatch(model, slot, stripe);
    if (model_order_unknown(model, slot, stripe))
        model_group_begin(model);
    while (*steps > 0 && (more = disconnect_step(model, slot, stripe, pending))) {
        model->group_steps++;
        --*steps;
    }
    model_group_end(model);
    if (!more)
        return true;
    return !has_claim(model, stripe, model->clients[slot].id) && !first_lost(model, slot, stripe);
}

bool model_watch(struct model *model, uint32_t slot, uint32_t stripe)
{
    if (!has_claim(model, stripe, model->clients[slot].id))
        return false;
    model->clients[slot].watched |= 1ull << stripe;
    return true;
}

bool model_unwatch(struct model *model, uint32_t slot, uint32_t stripe)
{
    bool watched = model->clients[slot].watched >> stripe & 1;

    model->clients[slot].watched &= ~(1ull << stripe);
    return watched;
}

/* ---- the whole model ---- */

void model_init(struct model *model, const struct policy *policy, uint32_t stripe_count,
                const uint32_t *stripes)
{
    model->policy = *policy;
    model->grant_from_ns = policy_grant_from_ns(policy);
    model->paused = model->grant_from_ns ? UINT64_MAX : 0;
    model_add_fences(model, policy->fences);
    model->stripe_count = stripe_count;
    model->key_count = policy->names * 2;
    for (uint32_t i = 0; i < MODEL_STRIPES; i++)
        model->earliest_ns[i] = MODEL_NEVER;
    for (uint32_t key = 0; key < model->key_count; key++) {
        uint32_t stripe = stripes[key];

        model->keys[key].stripe = (uint8_t)stripe;
        model->keys_of[stripe][model->stripe_keys[stripe]++] = (uint16_t)key;
    }
}

void model_enter(struct model *model, uint32_t stripe, uint64_t now_ns)
{
    if (now_ns > model->stripe_ns[stripe])
        model->stripe_ns[stripe] = now_ns;
    model->now_ns = model->stripe_ns[stripe];
    model->step++;
    model->touched |= 1ull << stripe;
}

void model_open(struct model *model, uint32_t slot, uint64_t id)
{
    model->clients[slot].id = id;
    model->clients[slot].blocked = MODEL_NO_CLAIM;
    model->clients[slot].watched = 0;
    model->clients[slot].enqueued_count = 0;
}

int model_next_claim(const struct model *model, uint32_t stripe, struct model_cursor *cursor)
{
    for (; cursor->key < model->stripe_keys[stripe]; cursor->key++, cursor->place = 0) {
        const struct model_key *key = &model->keys[model->keys_of[stripe][cursor->key]];
        uint32_t place = cursor->place++;

        if (place < key->holders)
            return key->holding[place];
        if (place - key->holders < key->waiters)
            return key->waiting[place - key->holders];
    }
    return MODEL_NO_CLAIM;
}

/* Returns whether another claim was seen with this token. */
static bool token_taken(const struct model *model, int claim, uint64_t fence)
{
    for (uint32_t i = 0; i < model->claim_count; i++) {
        const struct model_claim *other = &model->claims[i];

        if ((int)i != claim && other->state == MODEL_HOLDS && other->known && other->fence == fence)
            return true;
    }
    return false;
}

bool model_learn(struct model *model, int claim, uint64_t fence, uint64_t salt)
{
    struct model_claim *granted = &model->claims[claim];

    if (granted->known)
        return granted->fence == fence && granted->salt == salt;
    if (fence < granted->fence_low || fence > granted->fence_high)
        return false;
    if (granted->fence_low < granted->fence_high && token_taken(model, claim, fence))
        return false;
    granted->known = true;
    granted->fence = fence;
    granted->salt = salt;
    return true;
}
