/*
 * The lock table against a model of it, by random events: each answer, each effect, each deadline,
 * and at intervals all that a walk shows. A seed is printed that replays a run (SEED, EVENTS).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "seeded.h"
#include "table_fixture.h"
#include "table_model.h"

enum {
    EVENTS_DEFAULT = 200000, /* of all runs together */
    VIEWS_EVERY = 8,
    LEASE_MAX_S = 400,
    STALE_MAX = 64
};

struct run {
    struct fixture fixture;
    struct model model;
    struct seeded seeded;
    uint64_t event;
    const char *what; /* of the event */
    uint64_t client_ids[MODEL_CLIENTS];
    uint64_t client_next;
    bool pending[MODEL_CLIENTS];  /* a request has no answer that its client saw */
    bool answered[MODEL_CLIENTS]; /* the effect is out */
    uint64_t fence_before;
    struct lock_token stale[STALE_MAX]; /* tokens that were held once, or are still */
    struct {
        uint64_t turn;
        uint64_t fence;
    } newest[MODEL_KEYS]; /* the latest grant whose fence is known */
    bool seen[MODEL_KEYS];
};

static const char *const key_names[MODEL_KEYS / 2] = {"a", "b", "a rather long key", "c"};

#define EXPECT(run, condition)                                                             \
    do {                                                                                   \
        if (!(condition))                                                                  \
            fail_msg("event %llu (%s): %s", (unsigned long long)(run)->event, (run)->what, \
                     #condition);                                                          \
    } while (0)

static uint32_t below(struct run *run, uint32_t bound)
{
    return seeded_below(&run->seeded, bound);
}

static struct lock_key key_of(const struct run *run, int key)
{
    return fixture_key(&run->fixture, key % 2 ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK,
                       key_names[key / 2]);
}

static int client_of(const struct run *run, uint64_t id)
{
    for (int client = 0; client < MODEL_CLIENTS; client++) {
        if (run->client_ids[client] == id)
            return client;
    }
    return MODEL_NOBODY;
}

/* Locks have one slot; semaphores mostly agree on their limit. */
static uint32_t some_limit(struct run *run, int key)
{
    if (key % 2 == 0)
        return 1;
    return below(run, 10) ? (uint32_t)(key / 2 + 1) : 1 + below(run, 4);
}

/* A lease that no claim has, so that no two deadlines fall together. */
static uint64_t some_lease(struct run *run)
{
    for (;;) {
        uint64_t lease_s = 1 + below(run, below(run, 4) ? 40 : LEASE_MAX_S);
        bool taken = false;

        for (int i = 0; i < MODEL_CLAIMS; i++)
            taken |=
                run->model.claims[i].state != MODEL_FREE && run->model.claims[i].lease_s == lease_s;
        if (!taken)
            return lease_s;
    }
}

static uint64_t some_wait(struct run *run)
{
    return below(run, 4) ? 1 + below(run, 30) : 0;
}

/* ---- comparing ---- */

/* A grant shows its token: it must be of the event that granted it, and in the key's order. */
static void compare_grant(struct run *run, int claim_index, const struct lock_answer *answer)
{
    struct model_claim *claim = &run->model.claims[claim_index];
    uint64_t fence = answer->token.fence;

    EXPECT(run, answer->token.salt == fixture_salt(fence));
    EXPECT(run, answer->lease_s == claim->lease_s);
    EXPECT(run, answer->deadline_ns == claim->deadline_ns);
    if (claim->granted_now) {
        claim->fence_least = run->fence_before + 1;
        claim->fence_most = run->fixture.fence_last;
    }
    EXPECT(run, fence >= claim->fence_least && fence <= claim->fence_most);
    EXPECT(run, claim->fence == 0 || claim->fence == fence);
    claim->fence = fence;
    EXPECT(run, (claim->turn >= run->newest[claim->key].turn) ==
                    (fence >= run->newest[claim->key].fence));
    if (claim->turn > run->newest[claim->key].turn) {
        run->newest[claim->key].turn = claim->turn;
        run->newest[claim->key].fence = fence;
    }
    run->stale[below(run, STALE_MAX)] = answer->token;
}

static void compare_answer(struct run *run, const struct model_answer *expected,
                           const struct lock_answer *answer)
{
    EXPECT(run, answer->outcome == expected->outcome);
    if (answer->outcome == DFLOCKD_OK || answer->outcome == DFLOCKD_ACQUIRED)
        compare_grant(run, expected->claim, answer);
}

static void compare_effects(struct run *run)
{
    uint32_t expected = 0;

    for (uint32_t i = 0; i < run->fixture.effect_count; i++) {
        const struct fixture_effect *effect = &run->fixture.effects[i];
        int client = client_of(run, effect->connection_id);

        EXPECT(run, client != MODEL_NOBODY);
        EXPECT(run, run->pending[client] && !run->answered[client]);
        EXPECT(run, run->model.effects[client].out);
        EXPECT(run, run->model.effects[client].outcome == effect->answer.outcome);
        if (effect->answer.outcome == DFLOCKD_OK)
            compare_grant(run, run->model.effects[client].claim, &effect->answer);
        run->answered[client] = true;
    }
    for (int client = 0; client < MODEL_CLIENTS; client++)
        expected += run->model.effects[client].out;
    EXPECT(run, expected == run->fixture.effect_count);
}

/* A client waits, or one of its leases is not over yet, or it holds nothing. */
static void compare_holding(struct run *run, int client)
{
    uint64_t until_ns =
        fixture_holds_until(&run->fixture.table, run->fixture.now_ns, run->client_ids[client]);
    bool waits = false;
    bool holds = false;
    bool until_is_one = false;

    for (int i = 0; i < MODEL_CLAIMS; i++) {
        const struct model_claim *claim = &run->model.claims[i];

        if (claim->state == MODEL_FREE || claim->client != client)
            continue;
        waits |= claim->state == MODEL_WAITS;
        if (claim->state == MODEL_HOLDS && claim->deadline_ns > run->fixture.now_ns) {
            holds = true;
            until_is_one |= claim->deadline_ns == until_ns;
        }
    }
    if (waits)
        EXPECT(run, until_ns == UINT64_MAX);
    else if (holds)
        EXPECT(run, until_is_one);
    else
        EXPECT(run, until_ns == 0);
}

static int granted_last(const struct model *model, int key)
{
    int last = MODEL_NOBODY;

    for (int i = 0; i < MODEL_CLAIMS; i++) {
        const struct model_claim *claim = &model->claims[i];

        if (claim->state == MODEL_HOLDS && claim->key == key &&
            (last == MODEL_NOBODY || claim->turn > model->claims[last].turn))
            last = i;
    }
    return last;
}

static void compare_view(void *context, const struct lock_view *view)
{
    struct run *run = context;
    uint64_t now_ns = run->fixture.now_ns;
    int owner;
    int key = view->kind == LOCK_KIND_SEMAPHORE;

    while (key < MODEL_KEYS && (strlen(key_names[key / 2]) != view->key_length ||
                                memcmp(key_names[key / 2], view->key, view->key_length) != 0))
        key += 2;
    EXPECT(run, key < MODEL_KEYS && run->model.keys[key].exists && !run->seen[key]);
    run->seen[key] = true;
    EXPECT(run, view->limit == run->model.keys[key].limit);
    EXPECT(run, view->holders == model_count(&run->model, key, MODEL_HOLDS));
    EXPECT(run, view->waiters == model_count(&run->model, key, MODEL_WAITS));
    if (view->holders == 0) {
        EXPECT(run, view->idle_ns == now_ns - run->model.keys[key].idle_since_ns);
        EXPECT(run, view->owner == 0 && view->lease_ns == 0);
        return;
    }
    EXPECT(run, view->idle_ns == 0);
    owner = granted_last(&run->model, key);
    if (view->limit == 1 || view->owner != 0) {
        uint64_t deadline_ns = run->model.claims[owner].deadline_ns;
        int client = run->model.claims[owner].client;

        EXPECT(run, client == MODEL_GONE || view->owner == run->client_ids[client]);
        EXPECT(run, view->lease_ns == (deadline_ns > now_ns ? deadline_ns - now_ns : 0));
    }
}

static void compare_views(struct run *run)
{
    uint64_t position = 0;

    memset(run->seen, 0, sizeof(run->seen));
    do
        position = table_walk(&run->fixture.table, run->fixture.now_ns, (struct lock_walk){0},
                              position, compare_view, run);
    while (position);
    for (int key = 0; key < MODEL_KEYS; key++)
        EXPECT(run, run->seen[key] == run->model.keys[key].exists);
}

/* An event of the model and one of the table lie behind us. */
static void compare(struct run *run)
{
    compare_effects(run);
    EXPECT(run, run->model.grants == run->fixture.fence_last - run->fence_before);
    for (int i = 0; i < MODEL_CLAIMS; i++) {
        struct model_claim *claim = &run->model.claims[i];

        if (claim->granted_now && claim->state == MODEL_HOLDS) {
            claim->fence_least = run->fence_before + 1;
            claim->fence_most = run->fixture.fence_last;
        }
    }
    EXPECT(run, table_deadline(&run->fixture.table) == model_deadline(&run->model));
    EXPECT(run, atomic_load(&run->fixture.budget.used) == model_states(&run->model));
    fixture_check(&run->fixture);
    compare_holding(run, (int)(run->event % MODEL_CLIENTS));
    if (run->event % VIEWS_EVERY == 0)
        compare_views(run);
}

/* ---- events ---- */

static void begin(struct run *run, const char *what)
{
    run->event++;
    run->what = what;
    run->fixture.now_ns++;
    run->fixture.effect_count = 0;
    run->fence_before = run->fixture.fence_last;
    model_begin_event(&run->model, run->fixture.now_ns);
}

static void note_pending(struct run *run, int client, int outcome)
{
    run->pending[client] = outcome == LOCK_PENDING;
    run->answered[client] = false;
}

static void event_acquire(struct run *run, int client, int key)
{
    struct lock_key named = key_of(run, key);
    uint32_t limit = some_limit(run, key);
    uint64_t wait_s = some_wait(run);
    uint64_t lease_s = some_lease(run);
    struct model_answer expected;
    struct lock_answer answer;

    if (run->pending[client])
        return;
    begin(run, "acquire");
    expected = model_acquire(&run->model, client, key, limit, wait_s, lease_s);
    answer =
        apply_to_table(&run->fixture.table, run->fixture.now_ns,
                       acquire_request(run->client_ids[client], &named, limit, wait_s, lease_s));
    note_pending(run, client, answer.outcome);
    compare_answer(run, &expected, &answer);
    compare(run);
}

static void event_enqueue(struct run *run, int client, int key)
{
    struct lock_key named = key_of(run, key);
    uint32_t limit = some_limit(run, key);
    uint64_t lease_s = some_lease(run);
    struct model_answer expected;
    struct lock_answer answer;

    if (run->pending[client])
        return;
    begin(run, "enqueue");
    expected = model_enqueue(&run->model, client, key, limit, lease_s);
    answer = apply_to_table(&run->fixture.table, run->fixture.now_ns,
                            enqueue_request(run->client_ids[client], &named, limit, lease_s));
    compare_answer(run, &expected, &answer);
    compare(run);
}

static void event_wait(struct run *run, int client, int key)
{
    uint64_t wait_s = some_wait(run);
    struct lock_key named;
    struct model_answer expected;
    struct lock_answer answer;

    if (run->pending[client])
        return;
    /* Mostly for something that is enqueued. */
    for (int tries = 0; tries < MODEL_KEYS && below(run, 8) &&
                        run->model.enqueued[client][key].state == MODEL_NONE;
         tries++)
        key = (key + 1) % MODEL_KEYS;
    named = key_of(run, key);
    begin(run, "wait");
    expected = model_wait(&run->model, client, key, wait_s);
    answer = apply_to_table(&run->fixture.table, run->fixture.now_ns,
                            wait_request(run->client_ids[client], &named, wait_s));
    note_pending(run, client, answer.outcome);
    compare_answer(run, &expected, &answer);
    compare(run);
}

/* A token: mostly one that is held, with its key; else an old one, another key, a wrong salt. */
static struct lock_token some_token(struct run *run, int *key)
{
    struct lock_token token = run->stale[below(run, STALE_MAX)];

    if (below(run, 8)) {
        int from = (int)below(run, MODEL_CLAIMS);

        for (int i = 0; i < MODEL_CLAIMS; i++) {
            const struct model_claim *claim = &run->model.claims[(from + i) % MODEL_CLAIMS];

            if (claim->state == MODEL_HOLDS && claim->fence) {
                token = (struct lock_token){claim->fence, fixture_salt(claim->fence)};
                *key = claim->key;
                break;
            }
        }
    }
    if (below(run, 20) == 0)
        *key = (int)below(run, MODEL_KEYS);
    if (below(run, 20) == 0)
        token.salt ^= UINT64_C(1) << below(run, 64);
    return token;
}

/* The fence as the model takes it: with a wrong salt it is nobody's. */
static uint64_t valid_fence(struct lock_token token)
{
    return token.fence && token.salt == fixture_salt(token.fence) ? token.fence : UINT64_MAX;
}

static void event_release(struct run *run, int client, int key)
{
    struct lock_token token = some_token(run, &key);
    struct lock_key named = key_of(run, key);
    int expected;

    (void)client;
    begin(run, "release");
    expected = model_release(&run->model, key, valid_fence(token));
    EXPECT(run,
           apply_to_table(&run->fixture.table, run->fixture.now_ns, release_request(&named, token))
                   .outcome == expected);
    compare(run);
}

static void event_renew(struct run *run, int client, int key)
{
    struct lock_token token = some_token(run, &key);
    struct lock_key named = key_of(run, key);
    uint64_t lease_s = 1 + below(run, LEASE_MAX_S);
    int expected;
    struct lock_answer answer;

    (void)client;
    begin(run, "renew");
    expected = model_renew(&run->model, key, valid_fence(token), lease_s);
    answer = apply_to_table(&run->fixture.table, run->fixture.now_ns,
                            renew_request(&named, token, lease_s));
    EXPECT(run, answer.outcome == expected);
    EXPECT(run, answer.lease_s == (expected == DFLOCKD_OK ? lease_s : 0));
    compare(run);
}

static void event_own(struct run *run, int client, int key)
{
    struct lock_token token = some_token(run, &key);
    struct lock_key named = key_of(run, key);
    int expected;

    if (run->pending[client])
        return;
    begin(run, "own");
    expected = model_own(&run->model, client, key, valid_fence(token));
    EXPECT(run, apply_to_table(&run->fixture.table, run->fixture.now_ns,
                               own_request(run->client_ids[client], &named, token))
                        .outcome == expected);
    compare(run);
}

/* The client sees the effect that is out. */
static void event_deliver(struct run *run, int client, int key)
{
    (void)key;
    for (int i = 0; i < MODEL_CLIENTS; i++, client = (client + 1) % MODEL_CLIENTS) {
        if (run->answered[client])
            run->pending[client] = run->answered[client] = false;
        if (below(run, 2))
            return;
    }
}

static void event_cancel(struct run *run, int client, int key)
{
    bool expected;

    (void)key;
    begin(run, "cancel");
    expected = model_cancel(&run->model, client);
    EXPECT(run, table_cancel(&run->fixture.table, run->client_ids[client]) == expected);
    if (expected)
        run->pending[client] = false;
    compare(run);
}

/* What a gone client still holds is nobody's: its place is taken by another. */
static void event_disconnect(struct run *run, int client, int key)
{
    uint64_t id = run->client_ids[client];

    (void)key;
    begin(run, "disconnect");
    model_disconnect(&run->model, client, run->pending[client]);
    fixture_disconnect(&run->fixture, id, run->pending[client], 1 + below(run, 4));
    for (int i = 0; i < MODEL_CLAIMS; i++) {
        if (run->model.claims[i].client == client)
            run->model.claims[i].client = MODEL_GONE;
    }
    run->model.blocked[client] = MODEL_NOBODY;
    run->client_ids[client] = run->client_next++;
    run->pending[client] = run->answered[client] = false;
    compare(run);
}

static void event_expire(struct run *run, int client, int key)
{
    (void)client;
    (void)key;
    begin(run, "expire");
    model_expire(&run->model);
    fixture_expire(&run->fixture, 1 + below(run, 5));
    compare(run);
}

static void pass_time(struct run *run)
{
    static const uint32_t at_most_s[] = {0, 0, 0, 0, 0, 0, 1, 3, 8, 90};
    uint32_t most_s = at_most_s[below(run, sizeof(at_most_s) / sizeof(at_most_s[0]))];

    if (most_s)
        run->fixture.now_ns += (1 + below(run, most_s)) * FIXTURE_SECOND;
}

static void one_event(struct run *run)
{
    static const struct {
        uint32_t weight;
        void (*play)(struct run *run, int client, int key);
    } events[] = {
        {26, event_acquire}, {16, event_enqueue}, {16, event_wait},  {20, event_release},
        {8, event_renew},    {14, event_deliver}, {2, event_cancel}, {3, event_disconnect},
        {12, event_expire},  {6, event_own},
    };
    int client = (int)below(run, MODEL_CLIENTS);
    int key = (int)below(run, MODEL_KEYS);
    uint32_t draw = below(run, 123);
    uint32_t i = 0;

    pass_time(run);
    /* Mostly what is due happens before anything else does. */
    if (below(run, 4))
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

    memset(&run, 0, sizeof(run));
    run.seeded.state = seed;
    fixture_start(&run.fixture, &surroundings->rules);
    run.fixture.hash_mask = surroundings->hash_mask;
    model_init(&run.model);
    run.model.states_max = run.fixture.budget.max;
    run.model.waiters_max = run.fixture.table.policy.waiters_max;
    run.model.gc_max_idle_ns = run.fixture.table.policy.gc_max_idle_ns;
    run.model.gc_interval_ns = run.fixture.table.policy.gc_interval_ns;
    run.model.release_on_disconnect = run.fixture.table.policy.release_on_disconnect;
    for (int client = 0; client < MODEL_CLIENTS; client++)
        run.client_ids[client] = ++run.client_next;
    run.client_next++;
    while (run.event < events)
        one_event(&run);
    fixture_end(&run.fixture);
}

static void the_table_does_what_the_model_does(void **state)
{
    const size_t count = sizeof(all_surroundings) / sizeof(all_surroundings[0]);
    struct seeded seeded;

    (void)state;
    seeded_init(&seeded, "the_table_does_what_the_model_does");
    for (size_t i = 0; i < count; i++) {
        print_message("# %s\n", all_surroundings[i].name);
        run_in(&all_surroundings[i], seeded_next(&seeded), events_wanted() / count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_does_what_the_model_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
