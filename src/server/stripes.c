#include "server/stripes.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "os/entropy.h"
#include "server/connection_id.h"

enum {
    STRIPES_PER_WORKER = 8, /* two workers rarely want the same one */
    /* Each pool of each of many tables keeps a spare chunk. */
    STRIPE_CHUNK_BYTES = 4096
};

struct stripe {
    _Alignas(CACHE_LINE_BYTES) pthread_mutex_t mutex;
    _Atomic uint64_t deadline_ns; /* of the table; written under the mutex */
    uint64_t now_ns;              /* the latest time of any call */
    uint64_t wake;                /* workers that this call must wake */
    struct stripes *stripes;
    uint32_t home;
    struct table table;
    struct entropy entropy;
};

/* What one worker publishes, on a cache line of its own. */
struct sleeper {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t until_ns; /* 0 while awake */
    struct mailbox mailbox;
};

struct stripes {
    struct memory memory;
    uint8_t hash_key[crypto_shorthash_KEYBYTES];
    uint32_t stripe_count;
    uint32_t stripe_shift; /* of a hash, to its stripe; 64: there is one stripe */
    uint32_t worker_count;
    uint32_t entrant_count; /* workers, and front ends behind them */
    struct stripe *stripe;
    struct sleeper *sleeper;
    _Atomic uint32_t walks; /* a bit for the number of each walk that runs */
    void (*lease_expired)(uint64_t now_ns, uint64_t connection_id, const struct lock_key *key);
    /* Written under the mutex of the grant's stripe. Not on the line that each request reads. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t lost_grants;
    /* Grants and new keys write these: on cache lines apart from the members that requests read. */
    _Alignas(CACHE_LINE_BYTES) struct fences fences;
    _Alignas(CACHE_LINE_BYTES) struct lock_budget budget;
};

static void stripe_take_token(void *context, struct lock_token *token)
{
    struct stripe *stripe = context;

    token->fence = fences_take(&stripe->stripes->fences);
    token->salt = entropy_next(&stripe->entropy);
}

static bool stripe_promise_fence(void *context)
{
    struct stripe *stripe = context;
    struct fences *fences = &stripe->stripes->fences;
    bool promised = fences_promise(fences);

    if (fences_request(fences))
        stripe->wake |= 1ull << STRIPES_FENCE_WORKER;
    return promised;
}

static void stripe_return_fence(void *context)
{
    struct stripe *stripe = context;

    fences_return(&stripe->stripes->fences);
}

static void stripe_post_effect(void *context, uint64_t connection_id,
                               const struct lock_answer *answer)
{
    struct stripe *stripe = context;
    uint32_t worker = connection_id_worker(connection_id);
    struct stripes_effect effect = {.connection_id = connection_id, .answer = *answer};

    effect.answer.lost_grants = atomic_load(&stripe->stripes->lost_grants);
    if (mailbox_post(&stripe->stripes->sleeper[worker].mailbox, &effect))
        stripe->wake |= 1ull << worker;
}

/* Before the next grants, so that their effects carry the new count. */
static void stripe_count_lost(struct stripe *stripe)
{
    atomic_fetch_add(&stripe->stripes->lost_grants, 1);
}

static void stripe_report_expiry(void *context, uint64_t connection_id, const struct lock_key *key)
{
    struct stripe *stripe = context;

    stripe_count_lost(stripe);
    if (stripe->stripes->lease_expired)
        stripe->stripes->lease_expired(stripe->now_ns, connection_id, key);
}

/* A single worker takes no mutex: the atomic writes would drain its store buffer. */
static bool stripes_single_worker(const struct stripes *stripes)
{
    return stripes->worker_count == 1;
}

static void stripe_lock(struct stripe *stripe)
{
    if (!stripes_single_worker(stripe->stripes))
        pthread_mutex_lock(&stripe->mutex);
}

static void stripe_unlock(struct stripe *stripe)
{
    if (!stripes_single_worker(stripe->stripes))
        pthread_mutex_unlock(&stripe->mutex);
}

/*
 * Each worker reads the clock once per turn, so calls can come with an earlier time than the last
 * one. `*now_ns` becomes the latest time: the table's time must not go back.
 */
static struct stripe *stripe_enter(struct stripes *stripes, uint32_t index, uint64_t *now_ns)
{
    struct stripe *stripe = &stripes->stripe[index];

    stripe_lock(stripe);
    if (*now_ns > stripe->now_ns)
        stripe->now_ns = *now_ns;
    else
        *now_ns = stripe->now_ns;
    return stripe;
}

/*
 * The home worker first publishes the end of its sleep, then reads the deadlines. Here the deadline
 * is published first, then the end of the sleep read. So one of the two sees the other.
 */
static void stripe_leave(struct stripe *stripe, uint64_t *wake)
{
    uint64_t deadline_ns = table_deadline(&stripe->table);

    if (deadline_ns != atomic_load_explicit(&stripe->deadline_ns, memory_order_relaxed)) {
        atomic_store(&stripe->deadline_ns, deadline_ns);
        if (deadline_ns < atomic_load(&stripe->stripes->sleeper[stripe->home].until_ns))
            *wake |= 1ull << stripe->home;
    }
    *wake |= stripe->wake;
    stripe->wake = 0;
    stripe_unlock(stripe);
}

struct mailbox *stripes_mailbox(struct stripes *stripes, uint32_t worker)
{
    return &stripes->sleeper[worker].mailbox;
}

struct fences *stripes_fences(struct stripes *stripes)
{
    return &stripes->fences;
}

struct lock_key stripes_key(const struct stripes *stripes, enum lock_kind kind, struct slice bytes)
{
    uint64_t hash;

    static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash gives 64 bits");
    crypto_shorthash((uint8_t *)&hash, bytes.bytes, bytes.length, stripes->hash_key);
    if (kind == LOCK_KIND_SEMAPHORE)
        hash = ~hash;
    return (struct lock_key){
        .bytes = bytes.bytes, .length = bytes.length, .kind = kind, .hash = hash};
}

uint32_t stripes_index(const struct stripes *stripes, const struct lock_key *key)
{
    return stripes->stripe_shift < 64 ? (uint32_t)(key->hash >> stripes->stripe_shift) : 0;
}

struct lock_answer stripes_apply(struct stripes *stripes, uint64_t now_ns,
                                 const struct lock_request *request, uint64_t *wake)
{
    struct stripe *stripe = stripe_enter(stripes, stripes_index(stripes, &request->key), &now_ns);
    struct lock_answer answer = table_apply(&stripe->table, now_ns, request);

    stripe_leave(stripe, wake);
    return answer;
}

bool stripes_show(struct stripes *stripes, uint64_t now_ns, const struct lock_key *key,
                  struct lock_details *details)
{
    struct stripe *stripe = stripe_enter(stripes, stripes_index(stripes, key), &now_ns);
    bool known = table_show(&stripe->table, now_ns, key, details);

    stripe_unlock(stripe);
    return known;
}

bool stripes_revoke(struct stripes *stripes, uint64_t now_ns, const struct lock_key *key,
                    uint64_t fence, uint64_t *connection_id, uint64_t *wake)
{
    struct stripe *stripe = stripe_enter(stripes, stripes_index(stripes, key), &now_ns);
    bool revoked;

    stripe_count_lost(stripe);
    revoked = table_revoke(&stripe->table, now_ns, key, fence, connection_id);
    stripe_leave(stripe, wake);
    return revoked;
}

bool stripes_grant_is_lost(struct stripes *stripes, const struct lock_answer *grant, uint32_t index)
{
    struct stripe *stripe = &stripes->stripe[index];
    bool known;

    if (atomic_load(&stripes->lost_grants) == grant->lost_grants)
        return false;
    stripe_lock(stripe);
    known = table_knows_token(&stripe->table, grant->token);
    stripe_unlock(stripe);
    return !known;
}

bool stripes_cancel(struct stripes *stripes, uint64_t now_ns, uint64_t connection_id,
                    uint32_t index, uint64_t *wake)
{
    struct stripe *stripe = stripe_enter(stripes, index, &now_ns);
    bool cancelled = table_cancel(&stripe->table, now_ns, connection_id);

    stripe_leave(stripe, wake);
    return cancelled;
}

void stripes_stop_granting(struct stripes *stripes, uint64_t now_ns, uint64_t *wake)
{
    for (uint32_t i = 0; i < stripes->stripe_count; i++) {
        uint64_t stripe_ns = now_ns;
        struct stripe *stripe = stripe_enter(stripes, i, &stripe_ns);

        table_stop_granting(&stripe->table);
        stripe_leave(stripe, wake);
    }
}

bool stripes_leave_queues(struct stripes *stripes, uint64_t now_ns, uint64_t connection_id,
                          uint32_t index, uint32_t *steps, uint64_t *wake)
{
    struct stripe *stripe = stripe_enter(stripes, index, &now_ns);
    bool done = table_leave_queues(&stripe->table, now_ns, connection_id, steps);

    stripe_leave(stripe, wake);
    return done;
}

bool stripes_disconnect(struct stripes *stripes, uint64_t now_ns, uint64_t connection_id,
                        uint32_t index, bool pending, uint32_t *steps, uint64_t *wake)
{
    struct stripe *stripe = stripe_enter(stripes, index, &now_ns);
    bool done = table_disconnect(&stripe->table, now_ns, connection_id, pending, steps);

    stripe_leave(stripe, wake);
    return done;
}

bool stripes_watch(struct stripes *stripes, uint64_t connection_id, uint32_t index)
{
    struct stripe *stripe = &stripes->stripe[index];
    bool holds;

    stripe_lock(stripe);
    holds = table_watch(&stripe->table, connection_id);
    stripe_unlock(stripe);
    return holds;
}

bool stripes_unwatch(struct stripes *stripes, uint64_t connection_id, uint32_t index)
{
    struct stripe *stripe = &stripes->stripe[index];
    bool watched;

    stripe_lock(stripe);
    watched = table_unwatch(&stripe->table, connection_id);
    stripe_unlock(stripe);
    return watched;
}

bool stripes_holds(struct stripes *stripes, uint64_t connection_id, uint32_t index)
{
    struct stripe *stripe = &stripes->stripe[index];
    bool holds;

    stripe_lock(stripe);
    holds = table_holds(&stripe->table, connection_id);
    stripe_unlock(stripe);
    return holds;
}

uint32_t stripes_claims(struct stripes *stripes, uint64_t connection_id, uint32_t index)
{
    struct stripe *stripe = &stripes->stripe[index];
    uint32_t claims;

    stripe_lock(stripe);
    claims = table_claims(&stripe->table, connection_id);
    stripe_unlock(stripe);
    return claims;
}

bool stripes_walk_begin(struct stripes *stripes, struct lock_walk *walk)
{
    for (uint8_t number = 0; number < TABLE_WALKS_MAX; number++) {
        uint32_t bit = 1u << number;

        if (!(atomic_fetch_or(&stripes->walks, bit) & bit)) {
            *walk = (struct lock_walk){.number = number, .first_pass = true};
            return true;
        }
    }
    return false;
}

void stripes_walk_end(struct stripes *stripes, struct lock_walk walk)
{
    atomic_fetch_and(&stripes->walks, ~(1u << walk.number));
}

bool stripes_walk(struct stripes *stripes, uint64_t now_ns, struct lock_walk walk, uint32_t *index,
                  uint64_t *position, uint32_t *steps,
                  void (*show)(void *context, const struct lock_view *view), void *context)
{
    struct stripe *stripe = stripe_enter(stripes, *index, &now_ns);

    while (*steps > 0) {
        --*steps;
        *position = table_walk(&stripe->table, now_ns, walk, *position, show, context);
        if (*position == 0) {
            ++*index;
            break;
        }
    }
    stripe_unlock(stripe);
    return *index < stripes->stripe_count;
}

/* Returns how many stripes have their home at `worker`. */
static uint32_t stripes_of(const struct stripes *stripes, uint32_t worker)
{
    return (stripes->stripe_count - worker + stripes->worker_count - 1) / stripes->worker_count;
}

void stripes_expire(struct stripes *stripes, uint64_t now_ns, uint32_t worker, uint32_t *steps,
                    uint64_t *wake)
{
    uint32_t left = stripes_of(stripes, worker);

    for (uint32_t i = worker; i < stripes->stripe_count; i += stripes->worker_count, left--) {
        if (atomic_load_explicit(&stripes->stripe[i].deadline_ns, memory_order_relaxed) <= now_ns) {
            struct stripe *stripe = stripe_enter(stripes, i, &now_ns);
            uint32_t share = *steps / left;

            *steps -= share;
            table_expire(&stripe->table, now_ns, &share);
            *steps += share;
            stripe_leave(stripe, wake);
        }
    }
}

/* The earliest deadline of the worker's stripes, `until_ns` at most. */
static uint64_t stripes_earliest_deadline(struct stripes *stripes, uint32_t worker,
                                          uint64_t until_ns)
{
    for (uint32_t i = worker; i < stripes->stripe_count; i += stripes->worker_count) {
        uint64_t deadline_ns = atomic_load(&stripes->stripe[i].deadline_ns);

        if (deadline_ns < until_ns)
            until_ns = deadline_ns;
    }
    return until_ns;
}

uint64_t stripes_sleep(struct stripes *stripes, uint32_t worker, uint64_t until_ns)
{
    until_ns = stripes_earliest_deadline(stripes, worker, until_ns);
    /* No other thread can make a deadline earlier. */
    if (stripes->entrant_count == 1)
        return until_ns;
    for (;;) {
        uint64_t again_ns;

        atomic_store(&stripes->sleeper[worker].until_ns, until_ns);
        again_ns = stripes_earliest_deadline(stripes, worker, until_ns);
        if (again_ns == until_ns)
            return until_ns;
        until_ns = again_ns;
    }
}

void stripes_awake(struct stripes *stripes, uint32_t worker)
{
    if (stripes->entrant_count > 1)
        atomic_store_explicit(&stripes->sleeper[worker].until_ns, 0, memory_order_relaxed);
}

void stripes_counters(struct stripes *stripes, struct lock_counters *sum)
{
    *sum = (struct lock_counters){0};
    for (uint32_t i = 0; i < stripes->stripe_count; i++) {
        struct stripe *stripe = &stripes->stripe[i];

        stripe_lock(stripe);
        lock_counters_add(sum, &stripe->table.counters);
        stripe_unlock(stripe);
    }
}

uint64_t stripes_keys(const struct stripes *stripes)
{
    return atomic_load_explicit(&stripes->budget.used, memory_order_relaxed);
}

uint64_t stripes_keys_max(const struct stripes *stripes)
{
    return stripes->budget.max;
}

bool stripes_check(struct stripes *stripes, const char **problem)
{
    bool limited = fences_ceiling(&stripes->fences) != FENCES_UNLIMITED;
    uint64_t promises = 0;
    uint64_t room = 0;
    uint64_t now_ns = 0;

    for (uint32_t i = 0; i < stripes->stripe_count; i++) {
        struct stripe *stripe = stripe_enter(stripes, i, &now_ns);
        bool fine = table_check(&stripe->table, problem);

        promises += stripe->table.promises;
        room += stripe->table.claims_room;
        stripe_unlock(stripe);
        if (!fine)
            return false;
    }
    if (limited && fences_outstanding(&stripes->fences) != promises) {
        *problem = "the open promises of fences do not match the waiters";
        return false;
    }
    if (stripes->budget.claims_max && room != atomic_load(&stripes->budget.claims_used)) {
        *problem = "the room of all stripes for claims does not match the budget";
        return false;
    }
    return true;
}

static uint32_t stripes_count_for(uint32_t workers)
{
    uint32_t count = 1;

    while (workers > 1 && count < workers * STRIPES_PER_WORKER && count < STRIPES_MAX)
        count *= 2;
    return count;
}

static bool stripe_init(struct stripes *stripes, uint32_t index, const struct lock_policy *policy)
{
    struct stripe *stripe = &stripes->stripe[index];
    bool limited = fences_ceiling(&stripes->fences) != FENCES_UNLIMITED;
    struct lock_context context = {
        .memory = stripes->memory,
        .chunk_bytes = stripes->worker_count > 1 ? STRIPE_CHUNK_BYTES : POOL_CHUNK_BYTES,
        .token_next = stripe_take_token,
        .fence_promise = limited ? stripe_promise_fence : NULL,
        .fence_return = limited ? stripe_return_fence : NULL,
        .effect = stripe_post_effect,
        .lease_expired = stripe_report_expiry,
        .user_data = stripe,
    };

    entropy_fill(context.secret, sizeof(context.secret));
    stripe->stripes = stripes;
    stripe->home = index % stripes->worker_count;
    /* Adaptive: a request holds it so briefly that spinning is cheaper than a sleep. */
    stripe->mutex = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
    if (!table_init(&stripe->table, &context, policy, &stripes->budget))
        return false;
    atomic_init(&stripe->deadline_ns, table_deadline(&stripe->table));
    return true;
}

static void *stripes_allocate(const struct memory *memory, size_t size)
{
    void *block = memory_allocate(memory, size, CACHE_LINE_BYTES);

    if (block)
        memset(block, 0, size);
    return block;
}

struct stripes *stripes_create(const struct stripes_options *options)
{
    struct stripes *stripes = stripes_allocate(&options->memory, sizeof(*stripes));
    uint32_t count = stripes_count_for(options->workers);

    assert(options->workers >= 1 && options->workers + options->front_ends <= ENTRANTS_MAX);
    if (!stripes)
        return NULL;
    stripes->memory = options->memory;
    stripes->worker_count = options->workers;
    stripes->entrant_count = options->workers + options->front_ends;
    stripes->stripe_shift = 64 - (uint32_t)__builtin_ctz(count);
    lock_budget_init(&stripes->budget, options->states_max, options->claims_max, count);
    if (options->claims_batch)
        stripes->budget.claims_batch = options->claims_batch;
    stripes->lease_expired = options->lease_expired;
    fences_init(&stripes->fences, options->fence_first,
                options->fence_ceiling ? options->fence_ceiling : FENCES_UNLIMITED);
    entropy_fill(stripes->hash_key, sizeof(stripes->hash_key));
    stripes->sleeper =
        stripes_allocate(&stripes->memory, stripes->entrant_count * sizeof(*stripes->sleeper));
    stripes->stripe = stripes_allocate(&stripes->memory, count * sizeof(*stripes->stripe));
    if (!stripes->sleeper || !stripes->stripe) {
        stripes_destroy(stripes);
        return NULL;
    }
    for (uint32_t i = 0; i < stripes->entrant_count; i++)
        mailbox_init(&stripes->sleeper[i].mailbox, &stripes->memory, sizeof(struct stripes_effect));
    for (; stripes->stripe_count < count; stripes->stripe_count++) {
        if (!stripe_init(stripes, stripes->stripe_count, &options->policy)) {
            stripes_destroy(stripes);
            return NULL;
        }
    }
    return stripes;
}

void stripes_destroy(struct stripes *stripes)
{
    struct memory memory = stripes->memory;
    uint32_t allocated = stripes_count_for(stripes->worker_count);

    for (uint32_t i = 0; i < stripes->stripe_count; i++) {
        table_free(&stripes->stripe[i].table);
        pthread_mutex_destroy(&stripes->stripe[i].mutex);
    }
    for (uint32_t i = 0; stripes->stripe && i < stripes->entrant_count; i++)
        mailbox_free(&stripes->sleeper[i].mailbox);
    memory_release(&memory, stripes->stripe, allocated * sizeof(*stripes->stripe));
    memory_release(&memory, stripes->sleeper, stripes->entrant_count * sizeof(*stripes->sleeper));
    memory_release(&memory, stripes, sizeof(*stripes));
}
