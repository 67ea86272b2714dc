/*
 * The lock table against the simulation's model, by random events: each answer, effect and
 * deadline, and at intervals the views of a walk. Prints a seed that replays a run (SEED, EVENTS).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "../sim/model.h"
#include "base/time_units.h"
#include "seeded.h"
#include "server/connection_id.h"
#include "table_fixture.h"

enum {
    EVENTS_DEFAULT = 200000, /* of all runs together */
    VIEWS_EVERY = 8,
    LEASE_MAX_S = 400,
    STALE_MAX = 64,
    CLIENTS = 12,
    KEYS = 8
};

struct run {
    struct fixture fixture;
    struct model model;
    struct seeded seeded;
    uint64_t event;
    const char *what;                   /* the kind of the event */
    uint64_t ids;                       /* of connections so far */
    bool pending[CLIENTS];              /* the client has not received the answer to a request */
    bool answered[CLIENTS];             /* the effect with that answer was sent */
    struct lock_token stale[STALE_MAX]; /* of current and former holders */
    bool seen[KEYS];
};

static const char *const key_names[KEYS / 2] = {"a", "b", "a rather long key", "c"};

#define EXPECT(run, condition)                                                             \
    do {                                                                                   \
        if (!(condition))                                                                  \
            fail_msg("event %llu (%s): %s", (unsigned long long)(run)->event, (run)->what, \
                     #condition);                                                          \
    } while (0)

static uint32_t random_below(struct run *run, uint32_t bound)
{
    return seeded_below(&run->seeded, bound);
}

static struct lock_key key_of(const struct run *run, int key)
{
    return fixture_key(&run->fixture, key % 2 ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK,
                       key_names[key / 2]);
}

static uint64_t id_of(const struct run *run, int client)
{
    return run->model.clients[client].id;
}

/* Locks have one slot. The requests for a semaphore mostly have the same limit. */
static bool random_shared(struct run *run, int key)
{
    return key % 2 == 0 && random_below(run, 5) < 3;
}

static uint32_t random_limit(struct run *run, int key)
{
    if (key % 2 == 0)
        return 1;
    return random_below(run, 10) ? (uint32_t)(key / 2 + 1) : 1 + random_below(run, 4);
}

/* A lease that no other claim has, so that deadlines differ. */
static uint64_t random_lease(struct run *run)
{
    for (;;) {
        uint64_t lease_s = 1 + random_below(run, random_below(run, 4) ? 40 : LEASE_MAX_S);
        bool taken = false;

        for (uint32_t i = 0; i < run->model.claim_count; i++)
            taken |=
                run->model.claims[i].state != MODEL_FREE && run->model.claims[i].lease_s == lease_s;
        if (!taken)
            return lease_s;
    }
}

static uint64_t random_wait(struct run *run)
{
    return random_below(run, 4) ? 1 + random_below(run, 30) : 0;
}

/* ---- comparing ---- */

static void compare_token(struct run *run, uint64_t fence, const struct lock_answer *answer)
{
    EXPECT(run, answer->token.fence == fence);
    EXPECT(run, answer->token.salt == fixture_salt(fence));
    run->stale[random_below(run, STALE_MAX)] = answer->token;
}

static void compare_answer(struct run *run, const struct model_result *expected,
                           const struct lock_answer *answer)
{
    const struct model_claim *claim;

    EXPECT(run, answer->outcome == expected->outcome);
    if (answer->outcome != DFLOCKD_OK && answer->outcome != DFLOCKD_ACQUIRED)
        return;
    claim = &run->model.claims[expected->claim];
    compare_token(run, claim->fence_low, answer);
    EXPECT(run, answer->lease_s == expected->lease_s && answer->lease_s == claim->lease_s);
    EXPECT(run, answer->deadline_ns == claim->deadline_ns);
    EXPECT(run, model_learn(&run->model, expected->claim, answer->token.fence, answer->token.salt));
}

static void compare_effect(struct run *run, const struct fixture_effect *effect)
{
    struct model_mailbox *mailbox = &run->model.mailboxes[0];
    const struct model_effect *news = &mailbox->effects[mailbox->first];
    uint32_t client = connection_id_slot(effect->connection_id);

    EXPECT(run, mailbox->count > 0);
    mailbox->first = (mailbox->first + 1) & (MODEL_EFFECTS - 1);
    mailbox->count--;
    EXPECT(run, news->client == effect->connection_id);
    EXPECT(run, news->outcome == effect->answer.outcome);
    EXPECT(run, id_of(run, (int)client) == effect->connection_id);
    EXPECT(run, run->pending[client] && !run->answered[client]);
    run->answered[client] = true;
    if (news->outcome != DFLOCKD_OK)
        return;
    compare_token(run, news->fence_low, &effect->answer);
    EXPECT(run, effect->answer.lease_s == news->lease_s);
    EXPECT(run, effect->answer.deadline_ns == news->deadline_ns);
    if (run->model.claims[news->claim].turn == news->turn)
        EXPECT(run, model_learn(&run->model, news->claim, effect->answer.token.fence,
                                effect->answer.token.salt));
}

static void compare_effects(struct run *run)
{
    for (uint32_t i = 0; i < run->fixture.effect_count; i++)
        compare_effect(run, &run->fixture.effects[i]);
    EXPECT(run, run->model.mailboxes[0].count == 0);
}

/* A client waits, or has a lease that is not over, or holds nothing. */
static void compare_holding(struct run *run, int client)
{
    uint64_t until_ns =
        fixture_holds_until(&run->fixture.table, run->fixture.now_ns, id_of(run, client));
    bool waits = false;
    bool leased = false;
    bool holds = false;
    bool until_is_one = false;

    for (uint32_t i = 0; i < run->model.claim_count; i++) {
        const struct model_claim *claim = &run->model.claims[i];

        if (claim->state == MODEL_FREE || claim->client != id_of(run, client))
            continue;
        waits |= claim->state == MODEL_WAITS;
        leased |= claim->state == MODEL_HOLDS;
        if (claim->state == MODEL_HOLDS && claim->deadline_ns > run->fixture.now_ns) {
            holds = true;
            until_is_one |= claim->deadline_ns == until_ns;
        }
    }
    EXPECT(run, table_holds(&run->fixture.table, id_of(run, client)) == leased);
    if (waits)
        EXPECT(run, until_ns == UINT64_MAX);
    else if (holds)
        EXPECT(run, until_is_one);
    else
        EXPECT(run, until_ns == 0);
}

static void compare_view(void *context, const struct lock_view *view)
{
    struct run *run = context;
    uint64_t now_ns = run->fixture.now_ns;
    const struct model_key *expected;
    const struct model_claim *owner;
    int key = view->kind == LOCK_KIND_SEMAPHORE;

    while (key < KEYS && (strlen(key_names[key / 2]) != view->key_length ||
                          memcmp(key_names[key / 2], view->key, view->key_length) != 0))
        key += 2;
    EXPECT(run, key < KEYS && run->model.keys[key].exists && !run->seen[key]);
    expected = &run->model.keys[key];
    run->seen[key] = true;
    EXPECT(run, view->limit == expected->limit);
    EXPECT(run, view->holders == expected->holders);
    EXPECT(run, view->waiters == expected->waiters);
    EXPECT(run, view->idle_ns == (view->holders ? 0 : now_ns - expected->idle_since_ns));
    if (expected->holders == 0) {
        EXPECT(run, view->owner == 0 && view->lease_ns == 0);
        return;
    }
    owner = &run->model.claims[expected->holding[expected->holders - 1]];
    EXPECT(run, view->owner == owner->client);
    EXPECT(run, view->lease_ns == (owner->deadline_ns > now_ns ? owner->deadline_ns - now_ns : 0));
}

static void compare_views(struct run *run)
{
    uint64_t position = 0;

    memset(run->seen, 0, sizeof(run->seen));
    do
        position = table_walk(&run->fixture.table, run->fixture.now_ns, (struct lock_walk){0},
                              position, compare_view, run);
    while (position);
    for (int key = 0; key < KEYS; key++)
        EXPECT(run, run->seen[key] == run->model.keys[key].exists);
}

/* Compares the table and the model after an event. */
static void compare_with_model(struct run *run)
{
    compare_effects(run);
    EXPECT(run, run->model.grants == run->fixture.fence_last);
    EXPECT(run, table_deadline(&run->fixture.table) == model_deadline(&run->model, 0));
    EXPECT(run, atomic_load(&run->fixture.budget.used) == run->model.states);
    fixture_check(&run->fixture);
    compare_holding(run, (int)(run->event % CLIENTS));
    if (run->event % VIEWS_EVERY == 0)
        compare_views(run);
}

/* ---- events ---- */

static void begin_event(struct run *run, const char *what)
{
    run->event++;
    run->what = what;
    run->fixture.now_ns++;
    run->fixture.effect_count = 0;
    model_enter(&run->model, 0, run->fixture.now_ns);
}

static void note_pending(struct run *run, int client, int outcome)
{
    run->pending[client] = outcome == LOCK_PENDING;
    run->answered[client] = false;
}

static void event_acquire(struct run *run, int client, int key)
{
    struct lock_key named = key_of(run, key);
    uint32_t limit = random_limit(run, key);
    uint64_t wait_s = random_wait(run);
    uint64_t lease_s = random_lease(run);
    bool shared = random_shared(run, key);
    struct lock_request request;
    struct model_result expected;
    struct lock_answer answer;

    if (run->pending[client])
        return;
    begin_event(run, "acquire");
    request = acquire_request(id_of(run, client), &named, limit, wait_s, lease_s);
    if (shared)
        request.command = DFLOCKD_ACQUIRE_SHARED;
    expected =
        model_acquire(&run->model, (uint32_t)client,
                      &(struct model_request){(uint32_t)key, limit, shared, wait_s, lease_s});
    answer = apply_to_table(&run->fixture.table, run->fixture.now_ns, request);
    note_pending(run, client, answer.outcome);
    compare_answer(run, &expected, &answer);
    compare_with_model(run);
}

static void event_enqueue(struct run *run, int client, int key)
{
    struct lock_key named = key_of(run, key);
    uint32_t limit = random_limit(run, key);
    uint64_t lease_s = random_lease(run);
    bool shared = random_shared(run, key);
    struct lock_request request;
    struct model_result expected;
    struct lock_answer answer;

    if (run->pending[client])
        return;
    begin_event(run, "enqueue");
    request = enqueue_request(id_of(run, client), &named, limit, lease_s);
    if (shared)
        request.command = DFLOCKD_ENQUEUE_SHARED;
    expected = model_enqueue(&run->model, (uint32_t)client,
                             &(struct model_request){(uint32_t)key, limit, shared, 0, lease_s});
    answer = apply_to_table(&run->fixture.table, run->fixture.now_ns, request);
    compare_answer(run, &expected, &answer);
    compare_with_model(run);
}

static void event_wait(struct run *run, int client, int key)
{
    uint64_t wait_s = random_wait(run);
    struct lock_key named;
    struct model_result expected;
    struct lock_answer answer;

    if (run->pending[client])
        return;
    /* Mostly for a key that the client has enqueued. */
    for (int tries = 0; tries < KEYS && random_below(run, 8) &&
                        !model_enqueued(&run->model, (uint32_t)client, (uint32_t)key);
         tries++)
        key = (key + 1) % KEYS;
    named = key_of(run, key);
    begin_event(run, "wait");
    expected = model_wait(&run->model, (uint32_t)client, (uint32_t)key, wait_s);
    answer = apply_to_table(&run->fixture.table, run->fixture.now_ns,
                            wait_request(id_of(run, client), &named, wait_s));
    note_pending(run, client, answer.outcome);
    compare_answer(run, &expected, &answer);
    compare_with_model(run);
}

/* Mostly the token of a holder and its key; else an old token, another key, or a wrong salt. */
static struct lock_token random_token(struct run *run, int *key)
{
    struct lock_token token = run->stale[random_below(run, STALE_MAX)];

    if (run->model.claim_count > 0 && random_below(run, 8)) {
        uint32_t from = random_below(run, run->model.claim_count);

        for (uint32_t i = 0; i < run->model.claim_count; i++) {
            const struct model_claim *claim =
                &run->model.claims[(from + i) % run->model.claim_count];

            if (claim->state == MODEL_HOLDS && claim->known) {
                token = (struct lock_token){claim->fence, claim->salt};
                *key = claim->key;
                break;
            }
        }
    }
    if (random_below(run, 20) == 0)
        *key = (int)random_below(run, KEYS);
    if (random_below(run, 20) == 0)
        token.salt ^= UINT64_C(1) << random_below(run, 64);
    return token;
}

static void event_release(struct run *run, int client, int key)
{
    struct lock_token token = random_token(run, &key);
    struct lock_key named = key_of(run, key);
    struct model_result expected;

    (void)client;
    begin_event(run, "release");
    expected = model_release(&run->model, (uint32_t)key, token.fence, token.salt);
    EXPECT(run,
           apply_to_table(&run->fixture.table, run->fixture.now_ns, release_request(&named, token))
                   .outcome == expected.outcome);
    compare_with_model(run);
}

static void event_renew(struct run *run, int client, int key)
{
    struct lock_token token = random_token(run, &key);
    struct lock_key named = key_of(run, key);
    uint64_t lease_s = 1 + random_below(run, LEASE_MAX_S);
    struct model_result expected;
    struct lock_answer answer;

    (void)client;
    begin_event(run, "renew");
    expected = model_renew(&run->model, (uint32_t)key, token.fence, token.salt, lease_s);
    answer = apply_to_table(&run->fixture.table, run->fixture.now_ns,
                            renew_request(&named, token, lease_s));
    EXPECT(run, answer.outcome == expected.outcome);
    EXPECT(run, answer.lease_s == (expected.outcome == DFLOCKD_OK ? lease_s : 0));
    compare_with_model(run);
}

static void event_own(struct run *run, int client, int key)
{
    struct lock_token token = random_token(run, &key);
    struct lock_key named = key_of(run, key);
    struct model_result expected;

    if (run->pending[client])
        return;
    begin_event(run, "own");
    expected = model_own(&run->model, (uint32_t)client, (uint32_t)key, token.fence, token.salt);
    EXPECT(run, apply_to_table(&run->fixture.table, run->fixture.now_ns,
                               own_request(id_of(run, client), &named, token))
                        .outcome == expected.outcome);
    compare_with_model(run);
}

/* The client receives the pending effect. */
static void event_deliver(struct run *run, int client, int key)
{
    (void)key;
    for (int i = 0; i < CLIENTS; i++, client = (client + 1) % CLIENTS) {
        if (run->answered[client])
            run->pending[client] = run->answered[client] = false;
        if (random_below(run, 2))
            return;
    }
}

static void event_cancel(struct run *run, int client, int key)
{
    bool expected;

    (void)key;
    begin_event(run, "cancel");
    expected = model_cancel(&run->model, (uint32_t)client);
    EXPECT(run,
           table_cancel(&run->fixture.table, run->fixture.now_ns, id_of(run, client)) == expected);
    if (expected)
        run->pending[client] = false;
    compare_with_model(run);
}

static void open_client(struct run *run, int client)
{
    uint32_t slot = (uint32_t)client;

    model_open(&run->model, slot, connection_id_make(++run->ids, 0, slot));
    run->pending[client] = run->answered[client] = false;
}

static void event_disconnect(struct run *run, int client, int key)
{
    (void)key;
    begin_event(run, "disconnect");
    model_disconnect(&run->model, (uint32_t)client, 0, run->pending[client],
                     &(uint32_t){UINT32_MAX});
    fixture_disconnect(&run->fixture, id_of(run, client), run->pending[client],
                       1 + random_below(run, 4));
    open_client(run, client);
    compare_with_model(run);
}

static void event_expire(struct run *run, int client, int key)
{
    (void)client;
    (void)key;
    begin_event(run, "expire");
    model_expire(&run->model, 0, &(uint32_t){UINT32_MAX});
    fixture_expire(&run->fixture, 1 + random_below(run, 5));
    compare_with_model(run);
}

static void pass_time(struct run *run)
{
    static const uint32_t at_most_s[] = {0, 0, 0, 0, 0, 0, 1, 3, 8, 90};
    uint32_t most_s = at_most_s[random_below(run, sizeof(at_most_s) / sizeof(at_most_s[0]))];

    if (most_s)
        run->fixture.now_ns += (1 + random_below(run, most_s)) * FIXTURE_SECOND;
}

static void run_event(struct run *run)
{
    static const struct {
        uint32_t weight;
        void (*play)(struct run *run, int client, int key);
    } events[] = {
        {26, event_acquire}, {16, event_enqueue}, {16, event_wait},  {20, event_release},
        {8, event_renew},    {14, event_deliver}, {2, event_cancel}, {3, event_disconnect},
        {12, event_expire},  {6, event_own},
    };
    int client = (int)random_below(run, CLIENTS);
    int key = (int)random_below(run, KEYS);
    uint32_t draw = random_below(run, 123);
    uint32_t i = 0;

    pass_time(run);
    /* Mostly expired deadlines are processed first. */
    if (random_below(run, 4))
        event_expire(run, client, key);
    while (draw >= events[i].weight)
        draw -= events[i++].weight;
    events[i].play(run, client, key);
}

struct surroundings {
    const char *name;
    struct rules rules;
    uint64_t hash_mask;
};

static const struct surroundings all_surroundings[] = {
    {"as the server's defaults", {.states_max = 0}, UINT64_MAX},
    {"all hashes equal", {.gc_max_idle_s = 3, .gc_interval_s = 2}, 0},
    {"states go at once", {.collect_at_once = true}, UINT64_MAX},
    {"few states", {.states_max = 3, .gc_max_idle_s = 5, .gc_interval_s = 1}, 1},
    {"few states that go at once", {.states_max = 4, .collect_at_once = true}, 3},
    {"few waiters", {.waiters_max = 2}, UINT64_MAX},
    {"few claims", {.claims_max = 9}, UINT64_MAX},
    {"few claims in batches",
     {.claims_max = 20, .claims_batch = 4, .gc_max_idle_s = 3},
     UINT64_MAX},
    {"nothing is released on disconnect", {.keep_on_disconnect = true}, UINT64_MAX},
    {"all of it",
     {.states_max = 3, .waiters_max = 1, .gc_max_idle_s = 2, .keep_on_disconnect = true},
     0},
};

static uint64_t events_wanted(void)
{
    const char *given = getenv("EVENTS");

    return given ? strtoull(given, NULL, 10) : EVENTS_DEFAULT;
}

static void run_in(const struct surroundings *surroundings, uint64_t seed, uint64_t events)
{
    static struct run run;
    const struct lock_policy *policy;

    memset(&run, 0, sizeof(run));
    run.seeded.state = seed;
    fixture_start(&run.fixture, &surroundings->rules);
    run.fixture.hash_mask = surroundings->hash_mask;
    policy = &run.fixture.table.policy;
    model_init(&run.model,
               &(struct policy){.fence_first = 1,
                                .workers = 1,
                                .clients = CLIENTS,
                                .names = KEYS / 2,
                                .states_max = (uint32_t)run.fixture.budget.max,
                                .waiters_max = (uint32_t)policy->waiters_max,
                                .claims_max = (uint32_t)run.fixture.budget.claims_max,
                                .claims_batch = run.fixture.budget.claims_batch,
                                .gc_idle_s = (uint32_t)(policy->gc_max_idle_ns / NS_PER_S),
                                .gc_interval_s = (uint32_t)(policy->gc_interval_ns / NS_PER_S),
                                .auto_release = policy->release_on_disconnect},
               1, (const uint32_t[KEYS]){0});
    for (int client = 0; client < CLIENTS; client++)
        open_client(&run, client);
    while (run.event < events)
        run_event(&run);
    fixture_end(&run.fixture);
}

static void the_table_agrees_with_the_model(void **state)
{
    const size_t count = sizeof(all_surroundings) / sizeof(all_surroundings[0]);
    struct seeded seeded;

    (void)state;
    seeded_init(&seeded, "the_table_agrees_with_the_model");
    for (size_t i = 0; i < count; i++) {
        print_message("# %s\n", all_surroundings[i].name);
        run_in(&all_surroundings[i], seeded_next(&seeded), events_wanted() / count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_agrees_with_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
