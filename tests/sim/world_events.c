/*
 * Applies each kind of event.
 */
#include <string.h>

#include "base/time_units.h"
#include "compare.h"
#include "server/connection_id.h"
#include "session_model.h"
#include "world.h"

/* ---- clients ---- */

/* Returns the pending effect for this client, or NULL. */
static const struct model_effect *pending_effect(const struct world *world, uint64_t client)
{
    const struct model_mailbox *mailbox = &world->model.mailboxes[connection_id_worker(client)];

    for (uint32_t i = 0; i < mailbox->count; i++) {
        const struct model_effect *effect =
            &mailbox->effects[(mailbox->first + i) & (MODEL_EFFECTS - 1)];

        if (effect->client == client)
            return effect;
    }
    return NULL;
}

/* Marks the worker as awake. */
static struct driver_worker *wake_worker(struct world *world, uint32_t number)
{
    struct sim_worker *sleeper = &world->workers[number];
    struct driver_worker *worker = &world->driver.workers[number];

    if (sleeper->asleep)
        stripes_awake(world->driver.stripes, number);
    sleeper->asleep = false;
    /* With limited output memory, the pool keeps no spares, so that each allocation can fail. */
    if (sleeper->output_memory.one_in > 0 && worker->output_pool.count == 0) {
        pool_free(&worker->output_pool);
        output_pool_init(&worker->output_pool, &sleeper->output_memory.memory);
    }
    return worker;
}

static void open_peer(struct world *world, struct sim_peer *peer)
{
    const struct driver_worker *worker = wake_worker(world, peer->driven.worker);

    if (peer->driven.state != PEER_GONE || worker->context.draining)
        return;
    if (peer->driven.session.claims.connection_id &&
        pending_effect(world, peer->driven.session.claims.connection_id))
        world_count(world, COVERAGE_REUSED);
    driver_connect(&world->driver, &peer->driven, peer->number);
    peer->slow = false;
    peer->compared = 0;
    peer->length = 0;
    peer->name = NULL;
    session_model_start(&peer->session_model, world->policy.auth);
    model_open(&world->model, peer->number, peer->driven.session.claims.connection_id);
}

static void count_held(struct world *world, const struct sim_peer *peer)
{
    const struct model *model = &world->model;
    const struct model_client *client = &model->clients[peer->number];
    bool holds = false;
    bool queued = false;
    bool unreported = false;

    for (uint32_t i = 0; i < client->enqueued_count; i++) {
        int claim = client->enqueued[i].claim;

        queued |= claim != MODEL_NO_CLAIM && model->claims[claim].state == MODEL_WAITS;
        unreported |= claim != MODEL_NO_CLAIM && model->claims[claim].unreported;
    }
    for (uint32_t i = 0; i < model->claim_count && !holds; i++)
        holds = model->claims[i].state == MODEL_HOLDS &&
                model->claims[i].client == peer->driven.session.claims.connection_id;
    if (queued)
        world_count(world, COVERAGE_GONE_QUEUED);
    if (unreported)
        world_count(world, COVERAGE_GONE_UNREPORTED);
    if (holds)
        world_count(world, COVERAGE_GONE_HOLDING);
    if (!holds && client->enqueued_count == 0 && peer->session_model.state == SESSION_MODEL_READY &&
        peer->driven.end == peer->driven.start)
        world_count(world, COVERAGE_GONE_SILENT);
}

static void count_gone(struct world *world, const struct sim_peer *peer)
{
    const struct model_effect *effect =
        pending_effect(world, peer->driven.session.claims.connection_id);

    count_held(world, peer);
    if (peer->session_model.state == SESSION_MODEL_AUTH)
        world_count(world, COVERAGE_GONE_AUTH);
    else if (peer->session_model.state == SESSION_MODEL_ENDED)
        world_count(world, COVERAGE_GONE_BY_SERVER);
    else if (peer->driven.session.state == SESSION_SKIPPING)
        world_count(world, COVERAGE_GONE_SKIPPING);
    else if (peer->session_model.state == SESSION_MODEL_STATS ||
             peer->session_model.state == SESSION_MODEL_STATS_WAITING)
        world_count(world, COVERAGE_GONE_STATS);
    else if (peer->session_model.state == SESSION_MODEL_READY &&
             peer->driven.end > peer->driven.start)
        world_count(world, COVERAGE_GONE_MID_REQUEST);
    if (peer->session_model.state != SESSION_MODEL_BLOCKED)
        return;
    if (effect && effect->outcome == DFLOCKD_OK)
        world_count(world, COVERAGE_GONE_GRANT_ON_WAY);
    else if (effect)
        world_count(world, COVERAGE_GONE_EFFECT_ON_WAY);
    else if (peer->session_model.blocked_in_wait)
        world_count(world, COVERAGE_GONE_BLOCKED_W);
    else
        world_count(world, COVERAGE_GONE_BLOCKED_L);
}

static void step_disconnect(struct world *world, struct sim_peer *peer, uint32_t steps)
{
    if (peer->driven.state != PEER_LEAVING || steps == 0)
        return;
    wake_worker(world, peer->driven.worker);
    if (!session_model_disconnect(world, peer, steps))
        world_count(world, COVERAGE_PARTIAL_DISCONNECT);
}

static void close_peer(struct world *world, struct sim_peer *peer)
{
    if (peer->driven.output.failed)
        world_count(world, COVERAGE_MEMORY_OUTPUT);
    count_gone(world, peer);
    session_model_read_output(world, peer);
    peer->driven.state = PEER_LEAVING;
    peer->session_model.count = 0;
}

/* Acts on the session's want. */
static void act_on_want(struct world *world, struct sim_peer *peer)
{
    enum peer_action action = driver_next_action(&peer->driven);

    if (action == PEER_END_INPUT)
        session_model_end_input(world, peer);
    if (action != PEER_STAY)
        close_peer(world, peer);
}

static void deliver_bytes(struct world *world, struct sim_peer *peer, uint32_t bytes)
{
    uint32_t rest = peer->length - (uint32_t)peer->driven.end;

    if (peer->driven.state != PEER_OPEN || bytes == 0 || rest == 0)
        return;
    wake_worker(world, peer->driven.worker);
    if (bytes < rest)
        world_count(world, COVERAGE_SPLIT);
    peer->driven.end += bytes < rest ? bytes : rest;
    if (peer->driven.want != SESSION_WANT_INPUT)
        return;
    session_model_read(world, peer);
    act_on_want(world, peer);
}

static void run_turn(struct world *world, struct sim_peer *peer)
{
    if (peer->driven.state != PEER_OPEN || !driver_can_continue(&peer->driven))
        return;
    wake_worker(world, peer->driven.worker);
    if (peer->session_model.show_left && world->driver.steps < SESSION_SHOW_MIN)
        world->driver.steps = SESSION_SHOW_MIN;
    session_model_read(world, peer);
    world->driver.steps = world->policy.steps;
    act_on_want(world, peer);
}

static void change_pace(struct world *world, struct sim_peer *peer, bool slow)
{
    if (peer->driven.state != PEER_OPEN)
        return;
    wake_worker(world, peer->driven.worker);
    peer->slow = slow;
    if (slow)
        return;
    session_model_read_output(world, peer);
    if (peer->driven.want != SESSION_WANT_ROOM)
        return;
    session_model_read(world, peer);
    act_on_want(world, peer);
}

static void end_input(struct world *world, struct sim_peer *peer)
{
    if (peer->driven.state != PEER_OPEN || peer->driven.input_ended)
        return;
    wake_worker(world, peer->driven.worker);
    peer->driven.input_ended = true;
    /* Pending effects are first. */
    deliver_bytes(world, peer, EVENT_ALL);
    if (peer->driven.state == PEER_OPEN)
        act_on_want(world, peer);
}

static void fail_input(struct world *world, struct sim_peer *peer)
{
    if (peer->driven.state != PEER_OPEN || peer->driven.want != SESSION_WANT_INPUT)
        return;
    wake_worker(world, peer->driven.worker);
    session_model_fail(world, peer);
    close_peer(world, peer);
}

/* ---- requests ---- */

static void set_token(struct sim_request *request, const struct model_claim *claim, uint64_t salt)
{
    request->fence = claim->fence;
    request->salt = claim->salt ^ salt;
}

/*
 * Chooses the token of a claim that holds `key` for `client` (0: any). Returns false if there is
 * none.
 */
static bool held_token(const struct world *world, uint32_t key, uint64_t client, uint64_t salt,
                       struct sim_request *request)
{
    const struct model_key *of = &world->model.keys[key];

    for (uint32_t i = 0; i < of->holders; i++) {
        const struct model_claim *claim = &world->model.claims[of->holding[i]];

        if (claim->known && (client == 0 || claim->client == client)) {
            set_token(request, claim, salt);
            return true;
        }
    }
    return false;
}

static void choose_token(const struct world *world, const struct sim_peer *peer,
                         const struct event *event, struct sim_request *request)
{
    uint32_t stale = world->stale_count < STALE_MAX ? world->stale_count : STALE_MAX;
    const struct token *old = &world->stale[stale ? event->wait % stale : 0];

    if (event->token == TOKEN_OWN &&
        held_token(world, event->key, peer->driven.session.claims.connection_id, 0, request))
        return;
    if (event->token <= TOKEN_HELD && held_token(world, event->key, 0, 0, request))
        return;
    if (event->token == TOKEN_SALTED && held_token(world, event->key, 0, 1, request))
        return;
    for (uint32_t key = 0; event->token == TOKEN_STRANGE && key < world->model.key_count; key++) {
        if (key != event->key && held_token(world, key, 0, 0, request))
            return;
    }
    request->fence = old->fence;
    request->salt = old->salt;
}

/* Chooses the fence of a grant that its client does not know, of a holder or of an earlier one. */
static void choose_fence(const struct world *world, const struct event *event,
                         struct sim_request *request)
{
    const struct model_key *of = &world->model.keys[event->key];
    uint64_t fence;

    if (event->token == TOKEN_STALE)
        return;
    for (uint32_t i = 0; i < of->holders; i++) {
        int claim = of->holding[(event->wait + i) % of->holders];

        if (!model_fence(&world->model, claim, &fence))
            continue;
        request->fence = fence;
        if (event->token != TOKEN_OWN || !world->model.claims[claim].known)
            return;
    }
}

/* Returns a flaw that makes this request invalid. */
static uint8_t choose_flaw(const struct event *event)
{
    if (event->op == DFLOCKD_AUTH)
        return event->flaw == FLAW_LONG_ARG ? FLAW_COMMAND : event->flaw;
    if (sim_request_is_keyless(event->op) && event->flaw && event->flaw < FLAW_LONG_COMMAND)
        return FLAW_COMMAND;
    return event->flaw;
}

static void send_request(struct world *world, struct sim_peer *peer, const struct event *event)
{
    struct sim_request request = {
        .op = event->op,
        .flaw = choose_flaw(event),
        .style = event->style,
        .administrator = world->policy.administrators && event->wait % 2,
        .name = event->wait % SIM_NAMES,
        .key = event->key,
        .wait_s = event->wait,
        .limit = key_is_semaphore(event->key) ? event->limit : 1,
        .lease_s = event->lease,
    };

    if (peer->driven.state != PEER_OPEN || peer->driven.input_ended ||
        peer->session_model.count == REQUESTS_MAX || peer->length + SIM_REQUEST_MAX > WIRE_MAX ||
        event->key >= world->model.key_count)
        return;
    if (peer->session_model.count > 0)
        world_count(world, COVERAGE_PIPELINED);
    if (peer->session_model.state == SESSION_MODEL_BLOCKED)
        world_count(world, COVERAGE_BEHIND_BLOCKED);
    choose_token(world, peer, event, &request);
    if (event->op == DFLOCKD_REVOKE && event->token != TOKEN_STRANGE)
        choose_fence(world, event, &request);
    peer->length += sim_request_write((char *)peer->wire + peer->length, &request, &world->names);
    request.end = peer->length;
    session_model_add_request(peer, &request);
    deliver_bytes(world, peer, event->number);
}

static void watch_peer(struct world *world, struct sim_peer *peer)
{
    if (peer->driven.state != PEER_OPEN)
        return;
    wake_worker(world, peer->driven.worker);
    session_model_watch(world, peer);
}

/* ---- workers ---- */

/* Removes the matching effect from the model's mailbox. */
static struct model_effect remove_effect(struct world *world, uint32_t worker, uint64_t client)
{
    struct model_mailbox *mailbox = &world->model.mailboxes[worker];
    struct model_effect *first = &mailbox->effects[mailbox->first & (MODEL_EFFECTS - 1)];
    struct model_effect taken;
    uint64_t group = first->group;

    for (uint32_t i = 0; i < mailbox->count; i++) {
        struct model_effect *effect = &mailbox->effects[(mailbox->first + i) & (MODEL_EFFECTS - 1)];

        if (effect->client != client)
            continue;
        if (i > 0 && (group == 0 || effect->group != group))
            break;
        taken = *effect;
        /* Earlier effects keep their order. */
        for (; i > 0; i--)
            mailbox->effects[(mailbox->first + i) & (MODEL_EFFECTS - 1)] =
                mailbox->effects[(mailbox->first + i - 1) & (MODEL_EFFECTS - 1)];
        mailbox->first++;
        mailbox->count--;
        return taken;
    }
    world_fail(world, "worker %u: expected effect for connection %llu; came some for %llu", worker,
               (unsigned long long)connection_id_number(first->client),
               (unsigned long long)connection_id_number(client));
}

static void compare_effect(struct world *world, const struct stripes_effect *message,
                           const struct model_effect *effect)
{
    const struct lock_answer *answer = &message->answer;
    struct model_claim *claim =
        effect->claim == MODEL_NO_CLAIM ? NULL : &world->model.claims[effect->claim];

    if (answer->outcome != effect->outcome)
        world_fail(world, "connection %llu: expected effect %d; came %d",
                   (unsigned long long)connection_id_number(effect->client), effect->outcome,
                   answer->outcome);
    if (effect->outcome != DFLOCKD_OK)
        return;
    if (answer->lease_s != effect->lease_s || answer->deadline_ns != effect->deadline_ns ||
        answer->token.fence < effect->fence_low || answer->token.fence > effect->fence_high)
        world_fail(world,
                   "connection %llu: expected a grant of %llu s until %llu, fence %llx; "
                   "came %llu s until %llu, fence %llx",
                   (unsigned long long)connection_id_number(effect->client),
                   (unsigned long long)effect->lease_s, (unsigned long long)effect->deadline_ns,
                   (unsigned long long)effect->fence_low, (unsigned long long)answer->lease_s,
                   (unsigned long long)answer->deadline_ns,
                   (unsigned long long)answer->token.fence);
    if (claim && claim->turn == effect->turn &&
        !model_learn(&world->model, effect->claim, answer->token.fence, answer->token.salt))
        world_fail(world, "connection %llu: another token than before",
                   (unsigned long long)connection_id_number(effect->client));
}

static void take_effect(struct world *world, uint32_t worker, const struct stripes_effect *message)
{
    struct model_effect effect = remove_effect(world, worker, message->connection_id);
    struct sim_peer *peer = &world->peers[driver_index_of(&world->driver, message)];

    compare_effect(world, message, &effect);
    if (!driver_is_for(message, &peer->driven)) {
        world_count(world,
                    effect.outcome == DFLOCKD_OK ? COVERAGE_LOST_GRANT : COVERAGE_LOST_EFFECT);
        return;
    }
    if (effect.outcome == MODEL_IDLE) {
        world_count(world, COVERAGE_IDLE);
        claims_notice(&peer->driven.session.claims);
        peer->session_model.watching = false;
        session_model_watch(world, peer);
        return;
    }
    session_model_effect(world, peer, &message->answer, &effect);
    act_on_want(world, peer);
}

static void take_effects(struct world *world, uint32_t worker, uint32_t most)
{
    wake_worker(world, worker);
    for (uint32_t left = world->model.mailboxes[worker].count; left > 0 && most > 0;
         left--, most--) {
        struct stripes_effect message;

        if (!driver_take_effect(&world->driver, worker, &message))
            world_fail(world, "worker %u: expected effect; came none", worker);
        take_effect(world, worker, &message);
        wake_worker(world, worker);
    }
}

static void expire_deadlines(struct world *world, uint32_t number, uint32_t steps)
{
    struct driver_worker *worker = wake_worker(world, number);
    struct model *model = &world->model;
    uint64_t now_ns = worker->context.now_ns;
    uint64_t paused = model->paused;
    uint32_t stripes = 0;
    uint32_t expected;

    for (uint32_t i = number; i < world->stripe_count; i += world->policy.workers, stripes++) {
        if (model_ambiguous(model, i, now_ns))
            steps = EVENT_ALL;
    }
    expected = steps;
    stripes_expire(world->driver.stripes, now_ns, number, &steps, &worker->context.wake);
    for (uint32_t i = number; i < world->stripe_count; i += world->policy.workers, stripes--) {
        uint32_t share = expected / stripes;

        if (model_deadline(model, i) > now_ns)
            continue;
        model_enter(model, i, now_ns);
        /* Uses a later clock that another caller has set. */
        now_ns = model->now_ns;
        expected -= share;
        model_expire(model, i, &share);
        expected += share;
    }
    /* The end of a pause takes a step for each bucket of the table. */
    if (model->paused == paused && steps != expected)
        world_fail(world, "worker %u: expected %u steps to be left; %u are", number, expected,
                   steps);
}

/* Returns whether the work due at `deadline_ns` in `stripe` grants something. */
static bool grants_at(const struct model *model, uint32_t stripe, uint64_t deadline_ns)
{
    struct model_cursor cursor = {0};
    int claim;

    while ((claim = model_next_claim(model, stripe, &cursor)) != MODEL_NO_CLAIM) {
        const struct model_claim *due = &model->claims[claim];

        if (due->deadline_ns == deadline_ns && due->state == MODEL_HOLDS &&
            model->keys[due->key].waiters > 0)
            return true;
    }
    return false;
}

static uint64_t earliest_deadline(struct world *world, uint32_t worker)
{
    uint64_t earliest_ns = MODEL_NEVER;

    for (uint32_t i = worker; i < world->stripe_count; i += world->policy.workers) {
        uint64_t deadline_ns = model_deadline(&world->model, i);

        earliest_ns = deadline_ns < earliest_ns ? deadline_ns : earliest_ns;
    }
    return earliest_ns;
}

/*
 * Only if nothing starts at that nanosecond: it could end together with the work of this
 * deadline. Afterwards all clocks are later.
 */
static void reach_deadline(struct world *world, uint32_t number)
{
    uint64_t deadline_ns = earliest_deadline(world, number);

    if (deadline_ns == MODEL_NEVER || deadline_ns <= world->clock_ns + 1)
        return;
    for (uint32_t i = number; i < world->stripe_count; i += world->policy.workers) {
        if (grants_at(&world->model, i, deadline_ns))
            return;
    }
    world_count(world, COVERAGE_EDGES);
    for (int before = 1; before >= 0; before--) {
        world->clock_ns = deadline_ns - (uint64_t)before;
        world->driver.workers[number].context.now_ns = world->clock_ns;
        expire_deadlines(world, number, EVENT_ALL);
        compare_touched(world);
    }
    world_set_clock(world, world->clock_ns, 1);
    for (uint32_t i = 0; i < world->policy.workers; i++)
        world->driver.workers[i].context.now_ns = world->clock_ns;
}

static void set_memory_limit(struct world *world, const struct event *event)
{
    uint32_t table = event->key == MEMORY_TABLE ? event->number : 0;
    uint32_t output = event->key == MEMORY_OUTPUT ? event->number : 0;

    scarce_memory_fail(&world->memory, table, event->who);
    for (uint32_t i = 0; i < world->policy.workers; i++)
        scarce_memory_fail(&world->workers[i].output_memory, output, event->who + i);
}

static void add_fences(struct world *world, uint32_t count)
{
    if (world->policy.fences == 0)
        return;
    world->fence_store_woken = false;
    model_add_fences(&world->model, count);
    fences_raise(stripes_fences(world->driver.stripes),
                 world->policy.fence_first + world->model.fences);
}

static void drain_worker(struct world *world, uint32_t number)
{
    struct driver_worker *worker = wake_worker(world, number);

    for (uint32_t i = 0; i < world->stripe_count; i++)
        world_enter(world, worker, i);
    model_stop_granting(&world->model);
    stripes_stop_granting(world->driver.stripes, worker->context.now_ns, &worker->context.wake);
    worker->context.draining = true;
    for (uint32_t i = number; i < world->policy.clients; i += world->policy.workers) {
        struct sim_peer *peer = &world->peers[i];

        if (peer->driven.state != PEER_OPEN)
            continue;
        wake_worker(world, number);
        session_model_drain(world, peer);
        act_on_want(world, peer);
    }
}

/* Like a ring's alarm, it stays set until it expires, even if it is no longer needed. */
static void fall_asleep(struct world *world, uint32_t number)
{
    struct sim_worker *worker = &world->workers[number];
    uint64_t alarm_ns = worker->until_ns > world->clock_ns ? worker->until_ns : MODEL_NEVER;
    uint64_t until_ns = earliest_deadline(world, number);

    wake_worker(world, number);
    until_ns = alarm_ns < until_ns ? alarm_ns : until_ns;
    worker->until_ns = stripes_sleep(world->driver.stripes, number, alarm_ns);
    worker->asleep = world->policy.workers > 1;
    world->woken &= ~(1ull << number);
    if (worker->until_ns != until_ns)
        world_fail(world, "worker %u: expected to sleep until %llu; came %llu", number,
                   (unsigned long long)until_ns, (unsigned long long)worker->until_ns);
}

/* ---- events ---- */

static void apply_to_peer(struct world *world, struct sim_peer *peer, const struct event *event)
{
    switch (event->kind) {
    case EVENT_OPEN:
        open_peer(world, peer);
        break;
    case EVENT_SEND:
        send_request(world, peer, event);
        break;
    case EVENT_READ:
        deliver_bytes(world, peer, event->number);
        break;
    case EVENT_TURN:
        run_turn(world, peer);
        break;
    case EVENT_END:
        end_input(world, peer);
        break;
    case EVENT_VANISH:
        if (peer->driven.state == PEER_OPEN)
            close_peer(world, peer);
        step_disconnect(world, peer, event->number);
        break;
    case EVENT_FAIL:
        fail_input(world, peer);
        break;
    case EVENT_STEP:
        step_disconnect(world, peer, event->number);
        break;
    case EVENT_SLOW:
        change_pace(world, peer, event->number > 0);
        break;
    default:
        watch_peer(world, peer);
    }
}

static void apply_to_worker(struct world *world, const struct event *event)
{
    uint32_t number = event->who;

    switch (event->kind) {
    case EVENT_EFFECTS:
        take_effects(world, number, event->number);
        break;
    case EVENT_WORKER:
        world->driver.workers[number].context.now_ns = world->clock_ns;
        expire_deadlines(world, number, event->number);
        break;
    case EVENT_EDGE:
        reach_deadline(world, number);
        break;
    case EVENT_DRAIN:
        drain_worker(world, number);
        break;
    default:
        fall_asleep(world, number);
    }
}

static bool is_of_worker(const struct event *event)
{
    return event->kind == EVENT_EFFECTS || event->kind == EVENT_WORKER ||
           event->kind == EVENT_EDGE || event->kind == EVENT_DRAIN || event->kind == EVENT_SLEEP;
}

static void compare_worlds(struct world *world, uint64_t empty_before)
{
    for (uint32_t i = 0; i < world->policy.workers; i++) {
        world->wakes |= world->driver.workers[i].context.wake;
        world->driver.workers[i].context.wake = 0;
    }
    compare_touched(world);
    compare_wakes(world, empty_before);
    world->model.touched = 0;
    world->wakes = 0;
    if (++world->event % world->policy.check_every == 0)
        compare_all(world);
}

void world_apply(struct world *world, const struct event *event)
{
    uint64_t empty_before = 0;

    for (uint32_t i = 0; i < world->policy.workers; i++)
        empty_before |= (uint64_t)(world->model.mailboxes[i].count == 0) << i;
    world->activity = "applying the event";
    if (event->kind == EVENT_ADVANCE)
        world_set_clock(world, world->clock_ns, event->number);
    else if (event->kind == EVENT_MEMORY)
        set_memory_limit(world, event);
    else if (event->kind == EVENT_FENCES)
        add_fences(world, event->number);
    else if (is_of_worker(event) && event->who < world->policy.workers)
        apply_to_worker(world, event);
    else if (!is_of_worker(event) && event->who < world->policy.clients)
        apply_to_peer(world, &world->peers[event->who], event);
    world->activity = "comparing after the event";
    compare_worlds(world, empty_before);
}
