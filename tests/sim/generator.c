/*
 * Waits are multiples of three seconds and leases are not. So a lease and a wait that start at
 * one instant do not end at one, where the order would be undefined.
 */
#include "generator.h"

#include <string.h>

enum {
    TRIES = 6,
    NEWS_MANY = 256,
    HOLDERS_MAX = 200 /* of a key, before only exclusive ones are requested */
};

static uint32_t random_below(struct generator *generator, uint32_t bound)
{
    return seeded_below(&generator->seeded, bound);
}

static bool one_in(struct generator *generator, uint32_t bound)
{
    return random_below(generator, bound) == 0;
}

void generator_init(struct generator *generator, uint64_t seed, uint32_t events)
{
    memset(generator, 0, sizeof(*generator));
    generator->seeded.state = ~seed;
    if (one_in(generator, 3))
        generator->drain_left = events / (2 + random_below(generator, 20));
    generator->time_rate = 20 + random_below(generator, 120);
    generator->turn_rate = 20 + random_below(generator, 150);
    generator->effect_rate = 20 + random_below(generator, 250);
    generator->death_rate = 5 + random_below(generator, 60);
    generator->pace = random_below(generator, 3);
    generator->enqueuing = random_below(generator, 4) ? 16 : 50;
}

/* ---- time and workers ---- */

static uint32_t random_milliseconds(struct generator *generator)
{
    uint32_t chance = random_below(generator, 1000);

    if (chance < 750)
        return 1 + random_below(generator, generator->pace == 0 ? 5 : 50);
    if (chance < 950)
        return 1 + random_below(generator, generator->pace == 0 ? 100 : 2000);
    if (chance < 997 || generator->pace < 2)
        return 1 + random_below(generator, generator->pace == 0 ? 2000 : 45000);
    return 1 + random_below(generator, 5 * 3600 * 1000);
}

static uint32_t random_steps(struct generator *generator)
{
    return one_in(generator, 3) ? EVENT_ALL : 1 + random_below(generator, 5);
}

static struct event random_memory(struct generator *generator)
{
    static const uint16_t choices[] = {MEMORY_NEVER, MEMORY_NEVER, MEMORY_TABLE, MEMORY_OUTPUT};
    struct event event = {.kind = EVENT_MEMORY};

    event.key = choices[random_below(generator, 4)];
    event.number = event.key == MEMORY_OUTPUT ? 10 + random_below(generator, 60)
                                              : 2 + random_below(generator, 10);
    event.who = (uint16_t)random_below(generator, 60000);
    return event;
}

/* Returns no event if none of that kind applies now. */
static struct event random_worker_event(struct generator *generator, const struct world *world)
{
    struct event event = {.who = (uint16_t)random_below(generator, world->policy.workers)};
    uint32_t chance = random_below(generator, 1000);
    uint32_t effect = world->model.mailboxes[event.who].count;

    if (chance < generator->time_rate) {
        event.kind = EVENT_ADVANCE;
        event.who = 0;
        event.number = random_milliseconds(generator);
        return event;
    }
    chance -= generator->time_rate;
    if (chance < generator->turn_rate) {
        event.kind = EVENT_WORKER;
        event.number = random_steps(generator);
        return event;
    }
    chance -= generator->turn_rate;
    if (chance < generator->effect_rate || effect > NEWS_MANY) {
        event.kind = effect ? EVENT_EFFECTS : EVENT_NONE;
        event.number = random_steps(generator);
        return event;
    }
    if (one_in(generator, 60))
        event.kind = one_in(generator, 3) ? EVENT_EDGE : EVENT_SLEEP;
    return event;
}

/* ---- requests ---- */

static uint16_t random_key(struct generator *generator, const struct world *world)
{
    uint32_t names = random_below(generator, 10) < 7 ? world->policy.hot : world->policy.names;

    return (uint16_t)(random_below(generator, names) * 2 + random_below(generator, 2));
}

static uint8_t random_lease(struct generator *generator)
{
    uint32_t lease_s = 1 + random_below(generator, one_in(generator, 3) ? 5 : 40);

    if (one_in(generator, 5))
        return 0;
    return (uint8_t)(lease_s % 3 ? lease_s : lease_s + 1);
}

static uint8_t random_wait(struct generator *generator)
{
    return (uint8_t)(one_in(generator, 9) ? 0u : 3 * random_below(generator, 11));
}

static uint8_t random_limit(struct generator *generator, uint16_t key)
{
    return (uint8_t)(one_in(generator, 25) ? 1 + random_below(generator, 5) : 1u + key / 2 % 5);
}

/* Returns a key that the peer holds with a known token, or -1. */
static int held_key(struct generator *generator, const struct world *world,
                    const struct sim_peer *peer)
{
    const struct model *model = &world->model;
    uint32_t start = model->claim_count ? random_below(generator, model->claim_count) : 0;

    for (uint32_t i = 0; i < model->claim_count; i++) {
        const struct model_claim *claim = &model->claims[(start + i) % model->claim_count];

        if (claim->state == MODEL_HOLDS && claim->known &&
            claim->client == peer->driven.session.claims.connection_id)
            return claim->key;
    }
    return -1;
}

static int enqueued_key(struct generator *generator, const struct world *world,
                        const struct sim_peer *peer)
{
    const struct model_client *client = &world->model.clients[peer->number];

    if (client->enqueued_count == 0)
        return -1;
    return client->enqueued[random_below(generator, client->enqueued_count)].key;
}

static uint8_t for_key(struct generator *generator, const struct world *world, uint8_t operation,
                       uint16_t key)
{
    bool readers = world->model.keys[key].holders < HOLDERS_MAX && one_in(generator, 2);

    if (operation == DFLOCKD_OWN)
        return operation;
    if (!key_is_semaphore(key) && readers && operation == DFLOCKD_ACQUIRE)
        return DFLOCKD_ACQUIRE_SHARED;
    if (!key_is_semaphore(key) && readers && operation == DFLOCKD_ENQUEUE)
        return DFLOCKD_ENQUEUE_SHARED;
    return key_is_semaphore(key) ? (uint8_t)(operation + DFLOCKD_SEMAPHORE_ACQUIRE) : operation;
}

/* Chooses an operation that probably applies to the key. */
static void choose_operation(struct generator *generator, const struct world *world,
                             const struct sim_peer *peer, struct event *event)
{
    uint32_t chance = random_below(generator, 100);
    uint8_t operation = DFLOCKD_ACQUIRE;
    int key = -1;

    if (chance < 28) {
        operation = one_in(generator, 4) ? DFLOCKD_RENEW : DFLOCKD_RELEASE;
        if (one_in(generator, 6))
            operation = DFLOCKD_OWN;
        key = held_key(generator, world, peer);
        event->token =
            one_in(generator, 12) ? (uint8_t)random_below(generator, TOKEN_CHOICES) : TOKEN_OWN;
        if (key < 0 && !one_in(generator, 8))
            operation = DFLOCKD_ACQUIRE;
    } else if (chance < 46 - generator->enqueuing / 4) {
        operation = DFLOCKD_WAIT;
        key = enqueued_key(generator, world, peer);
        if (key < 0 && !one_in(generator, 20))
            operation = DFLOCKD_ENQUEUE;
    } else if (chance < 46 + generator->enqueuing) {
        operation = DFLOCKD_ENQUEUE;
    }
    if (key < 0 || one_in(generator, 40))
        key = random_key(generator, world);
    event->key = (uint16_t)key;
    if (operation == DFLOCKD_OWN && event->token == TOKEN_OWN && !one_in(generator, 3))
        event->token = TOKEN_HELD;
    event->op = for_key(generator, world, operation, event->key);
    event->wait =
        operation == DFLOCKD_RELEASE || operation == DFLOCKD_RENEW || operation == DFLOCKD_OWN
            ? (uint8_t)random_below(generator, STALE_MAX)
            : random_wait(generator);
    event->lease = random_lease(generator);
    event->limit = random_limit(generator, event->key);
}

/* Returns the key of a grant that is on its way to its client, or -1. */
static int key_on_way(struct generator *generator, const struct world *world)
{
    const struct model_mailbox *mailbox =
        &world->model.mailboxes[random_below(generator, world->policy.workers)];

    for (uint32_t i = 0; i < mailbox->count; i++) {
        const struct model_effect *effect =
            &mailbox->effects[(mailbox->first + i) & (MODEL_EFFECTS - 1)];

        if (effect->outcome == DFLOCKD_OK && model_holds(&world->model, effect))
            return world->model.claims[effect->claim].key;
    }
    return -1;
}

/* Returns the key of some holder, or -1. */
static int key_of_holder(struct generator *generator, const struct world *world)
{
    const struct model *model = &world->model;
    uint32_t start = random_below(generator, model->claim_count + 1);

    for (uint32_t i = 0; i < model->claim_count; i++) {
        const struct model_claim *claim = &model->claims[(start + i) % model->claim_count];

        if (claim->state == MODEL_HOLDS)
            return claim->key;
    }
    return -1;
}

/* Returns a key whose first waiter is due for a grant, else the one with most claims. */
static int key_to_show(const struct world *world)
{
    const struct model *model = &world->model;
    int most = 0;

    for (uint32_t i = 0; i < model->key_count; i++) {
        const struct model_key *key = &model->keys[i];

        if (key->waiters > 0 &&
            model->claims[key->waiting[0]].deadline_ns <= model->dues[key->stripe])
            return (int)i;
        if (key->holders + key->waiters > model->keys[most].holders + model->keys[most].waiters)
            most = (int)i;
    }
    return most;
}

static uint16_t key_to_look_at(struct generator *generator, const struct world *world, uint8_t op)
{
    int key = -1;

    if (one_in(generator, 2))
        key = op == DFLOCKD_SHOW ? key_to_show(world) : key_on_way(generator, world);
    if (key < 0 && op == DFLOCKD_REVOKE && !one_in(generator, 8))
        key = key_of_holder(generator, world);
    return key < 0 ? random_key(generator, world) : (uint16_t)key;
}

/* Makes a request of a client that looks on, or of an administrator. */
static void choose_look(struct generator *generator, const struct world *world,
                        const struct sim_peer *peer, struct event *event)
{
    bool becomes = world->policy.administrators && !peer->session_model.administrator;

    event->op = one_in(generator, 3) ? DFLOCKD_SHOW : DFLOCKD_REVOKE;
    event->token = (uint8_t)random_below(generator, TOKEN_CHOICES);
    event->wait = (uint8_t)random_below(generator, 256);
    event->key = key_to_look_at(generator, world, event->op);
    if (event->op == DFLOCKD_REVOKE && becomes && !one_in(generator, 3)) {
        event->op = DFLOCKD_AUTH;
        event->wait = 1;
    } else if (one_in(generator, 6)) {
        event->op = DFLOCKD_NAME;
    }
}

static struct event random_request(struct generator *generator, const struct world *world,
                                   const struct sim_peer *peer)
{
    struct event event = {.kind = EVENT_SEND, .who = (uint16_t)peer->number};
    uint32_t chance = random_below(generator, 1000);

    choose_operation(generator, world, peer, &event);
    if (peer->session_model.state == SESSION_MODEL_AUTH && !one_in(generator, 10))
        event.op = DFLOCKD_AUTH;
    else if (chance < (peer->slow ? 700u : 8u))
        event.op = DFLOCKD_STATS;
    else if (chance < 16)
        event.op = DFLOCKD_PING;
    else if (chance < 18)
        event.op = DFLOCKD_AUTH;
    else if (chance < 80)
        choose_look(generator, world, peer, &event);
    if (one_in(generator, 40))
        event.flaw =
            (uint8_t)random_below(generator, one_in(generator, 4) ? FLAWS : FLAW_LONG_COMMAND);
    if (one_in(generator, 12))
        event.style = (uint8_t)random_below(generator, STYLES);
    chance = random_below(generator, 100);
    event.number = EVENT_ALL;
    if (chance < 12)
        event.number = 0;
    else if (chance < 24)
        event.number = 1 + random_below(generator, 60);
    if (event.flaw >= FLAW_LONG_COMMAND && one_in(generator, 2))
        event.number = 200 + random_below(generator, 150);
    return event;
}

/* ---- clients ---- */

static bool is_full(const struct sim_peer *peer)
{
    return peer->driven.state == PEER_OPEN && peer->driven.want == SESSION_WANT_ROOM;
}

static struct event random_death(struct generator *generator, const struct sim_peer *peer)
{
    struct event event = {.kind = EVENT_VANISH, .who = (uint16_t)peer->number};

    if (one_in(generator, 3))
        event.kind = EVENT_END;
    else if (one_in(generator, 8))
        event.kind = EVENT_FAIL;
    else if (one_in(generator, 2))
        event.number = random_steps(generator);
    return event;
}

/* Returns no event if that client has nothing to do. */
static struct event random_peer_event(struct generator *generator, const struct world *world)
{
    const struct sim_peer *peer = &world->peers[random_below(generator, world->policy.clients)];
    struct event event = {.who = (uint16_t)peer->number};
    bool dies = random_below(generator, 1000) < generator->death_rate ||
                (peer->driven.session.state == SESSION_SKIPPING && one_in(generator, 5));

    if (peer->driven.state == PEER_GONE) {
        event.kind =
            world->driver.workers[peer->driven.worker].context.draining ? EVENT_NONE : EVENT_OPEN;
    } else if (peer->driven.state == PEER_LEAVING) {
        event.kind = EVENT_STEP;
        event.number = random_steps(generator);
    } else if (is_full(peer) && one_in(generator, 3)) {
        event.kind = EVENT_SLOW;
    } else if (dies) {
        event = random_death(generator, peer);
    } else if (one_in(generator, 60)) {
        event.kind = EVENT_WATCH;
    } else if (one_in(generator, peer->slow ? 200 : 1000)) {
        event.kind = EVENT_SLOW;
        event.number = !peer->slow;
    } else if (peer->driven.want == SESSION_WANT_WALK ||
               (peer->driven.want == SESSION_WANT_TURN && !one_in(generator, 8))) {
        event.kind = EVENT_TURN;
    } else if (peer->driven.end < peer->length && one_in(generator, 2)) {
        event.kind = EVENT_READ;
        event.number = one_in(generator, 3) ? 1 + random_below(generator, 40) : EVENT_ALL;
    } else if (peer->driven.want == SESSION_WANT_INPUT || one_in(generator, 30)) {
        event = random_request(generator, world, peer);
    }
    return event;
}

struct event generator_next(struct generator *generator, const struct world *world, uint32_t left)
{
    struct event event = {.kind = EVENT_NONE};

    if (left <= generator->drain_left && generator->drained < world->policy.workers &&
        (generator->drained == 0 || one_in(generator, 50)))
        return (struct event){.kind = EVENT_DRAIN, .who = (uint16_t)generator->drained++};
    if (world->policy.fences && one_in(generator, 150))
        return (struct event){.kind = EVENT_FENCES, .number = random_below(generator, 30)};
    if ((world->event == 0 && one_in(generator, 2)) || one_in(generator, 1500))
        return random_memory(generator);
    for (int i = 0; i < TRIES && event.kind == EVENT_NONE; i++) {
        event = random_worker_event(generator, world);
        if (event.kind == EVENT_NONE)
            event = random_peer_event(generator, world);
    }
    if (event.kind == EVENT_NONE)
        event = (struct event){.kind = EVENT_ADVANCE, .number = 1};
    return event;
}
