/*
 * What each kind of event does to the world.
 */
#include <string.h>

#include "base/time_units.h"
#include "compare.h"
#include "os/mailbox.h"
#include "server/connection_id.h"
#include "talk.h"
#include "world.h"

/* ---- clients ---- */

/* Has an answer for this client in a mailbox, and which. */
static const struct model_news *news_for(const struct world *world, uint64_t client)
{
    const struct model_mailbox *mailbox = &world->model.mailboxes[connection_id_worker(client)];

    for (uint32_t i = 0; i < mailbox->count; i++) {
        const struct model_news *news = &mailbox->news[(mailbox->first + i) & (MODEL_NEWS - 1)];

        if (news->client == client)
            return news;
    }
    return NULL;
}

/* A worker that does something is awake. */
static struct sim_worker *wake(struct world *world, uint32_t number)
{
    struct sim_worker *worker = &world->workers[number];

    if (worker->asleep)
        stripes_awake(world->stripes, number);
    worker->asleep = false;
    /* Where output may be short, it is asked for each time: the pool keeps nothing. */
    if (worker->output_memory.one_in > 0 && worker->output_pool.count == 0) {
        pool_free(&worker->output_pool);
        output_pool_init(&worker->output_pool, &worker->output_memory.memory);
    }
    return worker;
}

static void open_peer(struct world *world, struct peer *peer)
{
    struct sim_worker *worker = wake(world, peer->worker);

    if (peer->place != PEER_EMPTY || worker->host.draining)
        return;
    if (peer->id && news_for(world, peer->id))
        world_count(world, COVERAGE_REUSED);
    peer->place = PEER_OPEN;
    peer->want = SESSION_WANT_INPUT;
    peer->ended = false;
    peer->slow = false;
    peer->heard = 0;
    peer->id = connection_id_make(++world->connections_made, peer->worker, peer->slot);
    peer->length = 0;
    peer->delivered = 0;
    peer->consumed = 0;
    memset(&peer->output, 0, sizeof(peer->output));
    talk_start(&peer->talk, world->policy.auth);
    model_open(&world->model, peer->number, peer->id);
    session_start(&peer->session, &worker->host, peer->id);
    world->connections++;
}

static void count_held(struct world *world, const struct peer *peer)
{
    const struct model *model = &world->model;
    const struct model_client *client = &model->clients[peer->number];
    bool holds = false;
    bool queued = false;
    bool untold = false;

    for (uint32_t i = 0; i < client->enqueued_count; i++) {
        int claim = client->enqueued[i].claim;

        queued |= claim != MODEL_NOBODY && model->claims[claim].state == MODEL_WAITS;
        untold |= claim != MODEL_NOBODY && model->claims[claim].untold;
    }
    for (uint32_t i = 0; i < model->claim_count && !holds; i++)
        holds = model->claims[i].state == MODEL_HOLDS && model->claims[i].client == peer->id;
    if (queued)
        world_count(world, COVERAGE_GONE_QUEUED);
    if (untold)
        world_count(world, COVERAGE_GONE_UNTOLD);
    if (holds)
        world_count(world, COVERAGE_GONE_HOLDING);
    if (!holds && client->enqueued_count == 0 && peer->talk.state == TALK_READY &&
        peer->delivered == peer->consumed)
        world_count(world, COVERAGE_GONE_SILENT);
}

static void count_gone(struct world *world, const struct peer *peer)
{
    const struct model_news *news = news_for(world, peer->id);

    count_held(world, peer);
    if (peer->talk.state == TALK_AUTH)
        world_count(world, COVERAGE_GONE_AUTH);
    else if (peer->talk.state == TALK_OVER)
        world_count(world, COVERAGE_GONE_BY_SERVER);
    else if (peer->session.state == SESSION_SKIPPING)
        world_count(world, COVERAGE_GONE_SKIPPING);
    else if (peer->talk.state == TALK_STATS || peer->talk.state == TALK_STATS_WAITING)
        world_count(world, COVERAGE_GONE_STATS);
    else if (peer->talk.state == TALK_READY && peer->delivered > peer->consumed)
        world_count(world, COVERAGE_GONE_MID_REQUEST);
    if (peer->talk.state != TALK_BLOCKED)
        return;
    if (news && news->outcome == DFLOCKD_OK)
        world_count(world, COVERAGE_GONE_GRANT_ON_WAY);
    else if (news)
        world_count(world, COVERAGE_GONE_NEWS_ON_WAY);
    else if (peer->talk.blocked_in_wait)
        world_count(world, COVERAGE_GONE_BLOCKED_W);
    else
        world_count(world, COVERAGE_GONE_BLOCKED_L);
}

static void step_disconnect(struct world *world, struct peer *peer, uint32_t steps)
{
    if (peer->place != PEER_CLOSING || steps == 0)
        return;
    wake(world, peer->worker);
    if (!talk_disconnect(world, peer, steps)) {
        world_count(world, COVERAGE_PARTIAL_DISCONNECT);
        return;
    }
    peer->place = PEER_EMPTY;
    world->connections--;
}

static void close_peer(struct world *world, struct peer *peer)
{
    if (peer->output.failed)
        world_count(world, COVERAGE_MEMORY_OUTPUT);
    count_gone(world, peer);
    talk_hear(world, peer);
    peer->place = PEER_CLOSING;
    peer->talk.count = 0;
}

/* What follows from what the session wants. */
static void heed(struct world *world, struct peer *peer)
{
    if (peer->want == SESSION_WANT_INPUT && peer->ended && peer->delivered == peer->length)
        talk_end(world, peer);
    else if (peer->want != SESSION_WANT_CLOSE &&
             !(peer->want == SESSION_WANT_EFFECT && peer->ended))
        return;
    close_peer(world, peer);
}

static void deliver(struct world *world, struct peer *peer, uint32_t bytes)
{
    uint32_t rest = peer->length - peer->delivered;

    if (peer->place != PEER_OPEN || bytes == 0 || rest == 0)
        return;
    wake(world, peer->worker);
    if (bytes < rest)
        world_count(world, COVERAGE_SPLIT);
    peer->delivered += bytes < rest ? bytes : rest;
    if (peer->want != SESSION_WANT_INPUT)
        return;
    talk_read(world, peer);
    heed(world, peer);
}

static void turn(struct world *world, struct peer *peer)
{
    if (peer->place != PEER_OPEN ||
        (peer->want != SESSION_WANT_TURN && peer->want != SESSION_WANT_WALK))
        return;
    wake(world, peer->worker);
    talk_read(world, peer);
    heed(world, peer);
}

static void change_pace(struct world *world, struct peer *peer, bool slow)
{
    if (peer->place != PEER_OPEN)
        return;
    wake(world, peer->worker);
    peer->slow = slow;
    if (slow)
        return;
    talk_hear(world, peer);
    if (peer->want != SESSION_WANT_ROOM)
        return;
    talk_read(world, peer);
    heed(world, peer);
}

static void end_input(struct world *world, struct peer *peer)
{
    if (peer->place != PEER_OPEN || peer->ended)
        return;
    wake(world, peer->worker);
    peer->ended = true;
    /* What is on its way comes first. */
    deliver(world, peer, EVENT_ALL);
    if (peer->place == PEER_OPEN)
        heed(world, peer);
}

static void fail_input(struct world *world, struct peer *peer)
{
    if (peer->place != PEER_OPEN || peer->want != SESSION_WANT_INPUT)
        return;
    wake(world, peer->worker);
    talk_fail(world, peer);
    close_peer(world, peer);
}

/* ---- requests ---- */

static void set_token(struct asked *asked, const struct model_claim *claim, uint64_t salt)
{
    asked->fence = claim->fence;
    asked->salt = claim->salt ^ salt;
}

/* The token of a claim that holds `key` for `client` (0: for anybody); false when there is none. */
static bool held_token(const struct world *world, uint32_t key, uint64_t client, uint64_t salt,
                       struct asked *asked)
{
    const struct model_key *of = &world->model.keys[key];

    for (uint32_t i = 0; i < of->holders; i++) {
        const struct model_claim *claim = &world->model.claims[of->holding[i]];

        if (claim->known && (client == 0 || claim->client == client)) {
            set_token(asked, claim, salt);
            return true;
        }
    }
    return false;
}

static void choose_token(const struct world *world, const struct peer *peer,
                         const struct event *event, struct asked *asked)
{
    uint32_t stale = world->stale_count < STALE_MAX ? world->stale_count : STALE_MAX;
    const struct token *old = &world->stale[stale ? event->wait % stale : 0];

    if (event->token == TOKEN_OWN && held_token(world, event->key, peer->id, 0, asked))
        return;
    if (event->token <= TOKEN_HELD && held_token(world, event->key, 0, 0, asked))
        return;
    if (event->token == TOKEN_SALTED && held_token(world, event->key, 0, 1, asked))
        return;
    for (uint32_t key = 0; event->token == TOKEN_STRANGE && key < world->model.key_count; key++) {
        if (key != event->key && held_token(world, key, 0, 0, asked))
            return;
    }
    asked->fence = old->fence;
    asked->salt = old->salt;
}

/* A flaw that makes this request wrong. */
static uint8_t flaw_for(const struct event *event)
{
    if (event->op == DFLOCKD_AUTH)
        return event->flaw == FLAW_LONG_ARG ? FLAW_COMMAND : event->flaw;
    if (asked_keyless(event->op) && event->flaw && event->flaw < FLAW_LONG_COMMAND)
        return FLAW_COMMAND;
    return event->flaw;
}

static void send_request(struct world *world, struct peer *peer, const struct event *event)
{
    struct asked asked = {
        .op = event->op,
        .flaw = flaw_for(event),
        .style = event->style,
        .key = event->key,
        .wait_s = event->wait,
        .limit = key_is_semaphore(event->key) ? event->limit : 1,
        .lease_s = event->lease,
    };

    if (peer->place != PEER_OPEN || peer->ended || peer->talk.count == ASKED_MAX ||
        peer->length + WORDING_MAX > WIRE_MAX || event->key >= world->model.key_count)
        return;
    if (peer->talk.count > 0)
        world_count(world, COVERAGE_PIPELINED);
    if (peer->talk.state == TALK_BLOCKED)
        world_count(world, COVERAGE_BEHIND_BLOCKED);
    choose_token(world, peer, event, &asked);
    peer->length += wording_write((char *)peer->wire + peer->length, &asked, &world->names);
    asked.end = peer->length;
    talk_ask(peer, &asked);
    deliver(world, peer, event->number);
}

static void watch(struct world *world, struct peer *peer)
{
    if (peer->place != PEER_OPEN)
        return;
    wake(world, peer->worker);
    talk_watch(world, peer);
}

/* ---- workers ---- */

/* Takes the news that the message must be out of the model's mailbox. */
static struct model_news take_news(struct world *world, uint32_t worker, uint64_t client)
{
    struct model_mailbox *mailbox = &world->model.mailboxes[worker];
    struct model_news *first = &mailbox->news[mailbox->first & (MODEL_NEWS - 1)];
    struct model_news taken;
    uint64_t group = first->group;

    for (uint32_t i = 0; i < mailbox->count; i++) {
        struct model_news *news = &mailbox->news[(mailbox->first + i) & (MODEL_NEWS - 1)];

        if (news->client != client)
            continue;
        if (i > 0 && (group == 0 || news->group != group))
            break;
        taken = *news;
        /* Those before it keep their order. */
        for (; i > 0; i--)
            mailbox->news[(mailbox->first + i) & (MODEL_NEWS - 1)] =
                mailbox->news[(mailbox->first + i - 1) & (MODEL_NEWS - 1)];
        mailbox->first++;
        mailbox->count--;
        return taken;
    }
    world_fail(world, "worker %u: expected news for connection %llu; came some for %llu", worker,
               (unsigned long long)connection_id_number(first->client),
               (unsigned long long)connection_id_number(client));
}

static void compare_news(struct world *world, const struct stripes_effect *message,
                         const struct model_news *news)
{
    const struct lock_answer *answer = &message->answer;
    struct model_claim *claim =
        news->claim == MODEL_NOBODY ? NULL : &world->model.claims[news->claim];

    if (answer->outcome != news->outcome)
        world_fail(world, "connection %llu: expected news %d; came %d",
                   (unsigned long long)connection_id_number(news->client), news->outcome,
                   answer->outcome);
    if (news->outcome != DFLOCKD_OK)
        return;
    if (answer->lease_s != news->lease_s || answer->deadline_ns != news->deadline_ns ||
        answer->token.fence < news->fence_low || answer->token.fence > news->fence_high)
        world_fail(world,
                   "connection %llu: expected a grant of %llu s until %llu, fence %llx; "
                   "came %llu s until %llu, fence %llx",
                   (unsigned long long)connection_id_number(news->client),
                   (unsigned long long)news->lease_s, (unsigned long long)news->deadline_ns,
                   (unsigned long long)news->fence_low, (unsigned long long)answer->lease_s,
                   (unsigned long long)answer->deadline_ns,
                   (unsigned long long)answer->token.fence);
    if (claim && claim->turn == news->turn &&
        !model_learn(&world->model, news->claim, answer->token.fence, answer->token.salt))
        world_fail(world, "connection %llu: another token than before",
                   (unsigned long long)connection_id_number(news->client));
}

static void take_effect(struct world *world, uint32_t worker, const struct stripes_effect *message)
{
    struct model_news news = take_news(world, worker, message->connection_id);
    struct peer *peer =
        &world->peers[connection_id_slot(message->connection_id) * world->policy.workers + worker];

    compare_news(world, message, &news);
    if (peer->place != PEER_OPEN || peer->id != message->connection_id) {
        world_count(world, news.outcome == DFLOCKD_OK ? COVERAGE_LOST_GRANT : COVERAGE_LOST_NEWS);
        return;
    }
    if (news.outcome == MODEL_IDLE) {
        world_count(world, COVERAGE_IDLE);
        talk_watch(world, peer);
        return;
    }
    talk_effect(world, peer, &message->answer, &news);
    heed(world, peer);
}

static void take_effects(struct world *world, uint32_t worker, uint32_t most)
{
    struct mailbox *mailbox = stripes_mailbox(world->stripes, worker);

    wake(world, worker);
    for (uint32_t left = world->model.mailboxes[worker].count; left > 0 && most > 0;
         left--, most--) {
        struct stripes_effect message;

        if (mailbox_take(mailbox, &message, 1) != 1)
            world_fail(world, "worker %u: expected news; came none", worker);
        take_effect(world, worker, &message);
        wake(world, worker);
    }
}

static void expire(struct world *world, uint32_t number, uint32_t steps)
{
    struct sim_worker *worker = wake(world, number);
    struct model *model = &world->model;
    uint64_t now_ns = worker->host.now_ns;

    for (uint32_t i = number; i < world->stripe_count; i += world->policy.workers) {
        if (model_ambiguous(model, i, now_ns))
            steps = EVENT_ALL;
    }
    stripes_expire(world->stripes, now_ns, number, steps, &worker->host.wake);
    for (uint32_t i = number; i < world->stripe_count; i += world->policy.workers) {
        if (model_deadline(model, i) > now_ns)
            continue;
        model_enter(model, i, now_ns);
        /* A later clock that somebody else had there is used from then on. */
        now_ns = model->now_ns;
        model_expire(model, i, steps);
    }
}

/* Its last six digits are those of no other instant for a long time. */
static void advance(struct world *world, uint32_t milliseconds)
{
    uint64_t whole = world->clock_ns / NS_PER_MS + (milliseconds ? milliseconds : 1);

    world->ticks = (world->ticks + 1) % 1000000;
    world->clock_ns = whole * NS_PER_MS + world->ticks;
}

/* Whether somebody is granted something when what is due at `deadline_ns` happens in `stripe`. */
static bool hands_over(const struct model *model, uint32_t stripe, uint64_t deadline_ns)
{
    struct model_cursor cursor = {0};
    int claim;

    while ((claim = model_next_claim(model, stripe, &cursor)) != MODEL_NOBODY) {
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
 * Only where nothing begins at that nanosecond: what begins there could end with what began when
 * this deadline was set. Afterwards all clocks are beyond it.
 */
static void edge(struct world *world, uint32_t number)
{
    uint64_t deadline_ns = earliest_deadline(world, number);

    if (deadline_ns == MODEL_NEVER || deadline_ns <= world->clock_ns + 1)
        return;
    for (uint32_t i = number; i < world->stripe_count; i += world->policy.workers) {
        if (hands_over(&world->model, i, deadline_ns))
            return;
    }
    world_count(world, COVERAGE_EDGES);
    for (int before = 1; before >= 0; before--) {
        world->clock_ns = deadline_ns - (uint64_t)before;
        world->workers[number].host.now_ns = world->clock_ns;
        expire(world, number, EVENT_ALL);
        compare_touched(world);
    }
    advance(world, 1);
    for (uint32_t i = 0; i < world->policy.workers; i++)
        world->workers[i].host.now_ns = world->clock_ns;
}

static void scarce(struct world *world, const struct event *event)
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
    world->keeper_woken = false;
    model_add_fences(&world->model, count);
    fences_raise(stripes_fences(world->stripes), world->policy.fence_first + world->model.fences);
}

static void drain(struct world *world, uint32_t number)
{
    struct sim_worker *worker = wake(world, number);

    worker->host.draining = true;
    for (uint32_t i = number; i < world->policy.clients; i += world->policy.workers) {
        struct peer *peer = &world->peers[i];

        if (peer->place != PEER_OPEN)
            continue;
        wake(world, number);
        talk_drain(world, peer);
        heed(world, peer);
    }
}

/* As with a ring's alarm: it stays what it was until it goes off, even where that was given up. */
static void fall_asleep(struct world *world, uint32_t number)
{
    struct sim_worker *worker = wake(world, number);
    uint64_t alarm_ns = worker->until_ns > world->clock_ns ? worker->until_ns : MODEL_NEVER;
    uint64_t until_ns = earliest_deadline(world, number);

    until_ns = alarm_ns < until_ns ? alarm_ns : until_ns;
    worker->until_ns = stripes_sleep(world->stripes, number, alarm_ns);
    worker->asleep = world->policy.workers > 1;
    world->woken &= ~(1ull << number);
    if (worker->until_ns != until_ns)
        world_fail(world, "worker %u: expected to sleep until %llu; came %llu", number,
                   (unsigned long long)until_ns, (unsigned long long)worker->until_ns);
}

/* ---- events ---- */

static void apply_to_peer(struct world *world, struct peer *peer, const struct event *event)
{
    switch (event->kind) {
    case EVENT_OPEN:
        open_peer(world, peer);
        break;
    case EVENT_SEND:
        send_request(world, peer, event);
        break;
    case EVENT_READ:
        deliver(world, peer, event->number);
        break;
    case EVENT_TURN:
        turn(world, peer);
        break;
    case EVENT_END:
        end_input(world, peer);
        break;
    case EVENT_VANISH:
        if (peer->place == PEER_OPEN)
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
        watch(world, peer);
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
        world->workers[number].host.now_ns = world->clock_ns;
        expire(world, number, event->number);
        break;
    case EVENT_EDGE:
        edge(world, number);
        break;
    case EVENT_DRAIN:
        drain(world, number);
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

static void compare(struct world *world, uint64_t empty_before)
{
    for (uint32_t i = 0; i < world->policy.workers; i++) {
        world->wakes |= world->workers[i].host.wake;
        world->workers[i].host.wake = 0;
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
    world->doing = "applying the event";
    if (event->kind == EVENT_ADVANCE)
        advance(world, event->number);
    else if (event->kind == EVENT_MEMORY)
        scarce(world, event);
    else if (event->kind == EVENT_FENCES)
        add_fences(world, event->number);
    else if (is_of_worker(event) && event->who < world->policy.workers)
        apply_to_worker(world, event);
    else if (!is_of_worker(event) && event->who < world->policy.clients)
        apply_to_peer(world, &world->peers[event->who], event);
    world->doing = "comparing after the event";
    compare(world, empty_before);
}
