#include "bench/client.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/time_units.h"
#include "os/clock.h"

enum {
    DELAY_MS = 10,
    DELAY_MS_MAX = 1000
};

/* ---- requests of a round ---- */

static enum key_space client_key_space(const struct round *round)
{
    return round->load == LOAD_RENEW ? KEY_KEPT : KEY_CHOSEN;
}

static struct hold *client_hold_of(struct round *round)
{
    return round->load == LOAD_RENEW ? &round->kept : &round->hold;
}

static enum load client_choose_load(struct thread_state *thread)
{
    const struct settings *settings = thread->settings;
    uint32_t chance = random_below(&thread->random, settings->weight_sum);
    uint32_t load = 0;

    while (chance >= settings->weights[load])
        chance -= settings->weights[load++];
    return (enum load)load;
}

/* The requests of a round of each load; those of `renew` differ after the grant. */
static const struct {
    enum request_kind first;
    enum request_kind wait;
    enum request_kind release;
} client_requests[LOAD_COUNT] = {
    [LOAD_LOCK] = {.first = REQUEST_ACQUIRE, .release = REQUEST_RELEASE},
    [LOAD_SEMAPHORE] = {.first = REQUEST_SEMAPHORE_ACQUIRE, .release = REQUEST_SEMAPHORE_RELEASE},
    [LOAD_TRY] = {.first = REQUEST_TRY, .release = REQUEST_RELEASE},
    [LOAD_TWO_PHASE] = {REQUEST_ENQUEUE, REQUEST_WAIT, REQUEST_RELEASE},
    [LOAD_RENEW] = {.first = REQUEST_ACQUIRE, .release = REQUEST_RELEASE},
    [LOAD_PING] = {.first = REQUEST_PING},
    [LOAD_SHARED] = {.first = REQUEST_SHARED_ACQUIRE, .release = REQUEST_SHARED_RELEASE},
    [LOAD_SHARED_TWO_PHASE] = {REQUEST_SHARED_ENQUEUE, REQUEST_SHARED_WAIT, REQUEST_SHARED_RELEASE},
};

static enum request_kind client_first_request(const struct round *round)
{
    return round->load == LOAD_RENEW && round->kept.held ? REQUEST_RENEW
                                                         : client_requests[round->load].first;
}

static void client_begin_round(struct client *client, uint32_t place)
{
    struct thread_state *thread = client->thread;
    struct round *round = &client->rounds[place];
    uint32_t own = client->number * (uint32_t)thread->settings->depth + place;

    round->load = client_choose_load(thread);
    round->kind = client_first_request(round);
    round->over = false;
    round->kept.key = own;
    round->hold.key = keys_draw(thread->codec->keys, &thread->random, own);
}

/* Moves the round to its next request, or ends it. */
static void client_advance_round(struct round *round, const struct reply *reply)
{
    struct hold *hold = client_hold_of(round);

    switch (codec_step(round->kind)) {
    case STEP_ACQUIRE:
        hold->held = reply->token != NULL;
        round->over = !hold->held;
        round->kind =
            round->load == LOAD_RENEW ? REQUEST_RENEW : client_requests[round->load].release;
        break;
    case STEP_ENQUEUE:
        hold->held = reply->token != NULL;
        round->over = !hold->held && reply->outcome != DFLOCKD_QUEUED;
        round->kind = client_requests[round->load].wait;
        break;
    case STEP_WAIT:
        hold->held = reply->token != NULL;
        round->over = !hold->held;
        round->kind = client_requests[round->load].release;
        break;
    case STEP_RENEW:
        hold->held = reply->outcome == DFLOCKD_OK;
        round->over = true;
        break;
    case STEP_RELEASE:
        hold->held = false;
        round->over = true;
        break;
    default:
        round->over = true;
    }
}

/* ---- batches ---- */

/* Sends the next request of each unfinished round. */
static void client_send_batch(struct client *client)
{
    struct thread_state *thread = client->thread;
    uint64_t now_ns = clock_monotonic_ns();
    uint8_t *end = client->request;

    for (uint32_t i = 0; i < thread->settings->depth; i++) {
        struct round *round = &client->rounds[i];
        struct hold *hold = client_hold_of(round);

        round->awaiting_reply = !round->over;
        if (round->over)
            continue;
        hold->losses = client->losses;
        if (thread->checker)
            checker_note_request(thread->checker, hold, round->kind, client_key_space(round),
                                 now_ns);
        end = codec_write_request(thread->codec, end, round->kind, client_key_space(round),
                                  hold->key, &hold->token);
    }
    client->state = CLIENT_WAITING;
    client->replied = 0;
    client->sent_ns = now_ns;
    links_send(&thread->links, client->used, client->request, (uint32_t)(end - client->request));
}

static bool client_in_window(const struct client *client)
{
    const struct thread_state *thread = client->thread;
    uint64_t at_ns = thread->settings->rate ? client->began_ns : thread->links.now_ns;

    return at_ns >= thread->window_start_ns && at_ns < thread->window_end_ns;
}

static void client_become_free(struct client *client)
{
    struct thread_state *thread = client->thread;

    client->state = CLIENT_FREE;
    client->rounds_done += thread->settings->depth;
    thread->busy--;
    list_push_back(&thread->free, &client->link);
}

static void client_finish_batch(struct client *client)
{
    struct thread_state *thread = client->thread;

    if (thread->settings->new_connection)
        links_drop(&thread->links, client->used);
    client_become_free(client);
}

/* Called when all pending requests have their replies. */
static void client_step(struct client *client)
{
    struct thread_state *thread = client->thread;
    bool releases = false;
    bool over = true;

    for (uint32_t i = 0; i < thread->settings->depth; i++) {
        const struct round *round = &client->rounds[i];

        over = over && round->over;
        releases = releases || (!round->over && codec_step(round->kind) == STEP_RELEASE);
    }
    if (over) {
        client_finish_batch(client);
    } else if (releases && thread->settings->hold_us > 0) {
        client->state = CLIENT_HOLDING;
        client->due_ns = thread->links.now_ns + thread->settings->hold_us * 1000;
        list_push_back(&thread->holding, &client->link);
    } else {
        client_send_batch(client);
    }
}

void client_release_holds(struct client *client)
{
    assert(client->state == CLIENT_HOLDING);
    list_remove(&client->link);
    client_send_batch(client);
}

/* ---- connections ---- */

static bool client_was_refused(const struct link *link, int error)
{
    return error && !link->received && error != ECONNRESET && error != EPIPE;
}

static void client_lose_hold(struct client *client, struct hold *hold)
{
    struct thread_state *thread = client->thread;

    if (thread->checker)
        checker_note_loss(thread->checker, hold, thread->links.now_ns);
    /* Redis deletes a key whatever its value, so a late release could end another hold. */
    hold->lost = (hold->held || hold->lost) && !thread->codec->redis;
    hold->held = false;
}

static void client_lose_holds(struct client *client)
{
    for (uint32_t i = 0; i < client->thread->settings->depth; i++) {
        client_lose_hold(client, &client->rounds[i].hold);
        client_lose_hold(client, &client->rounds[i].kept);
    }
}

/* A server that closes connections without a reply is not restarting. */
static bool client_is_turned_away(const struct client *client)
{
    return !client->replied_ever && client->closed_early > 1;
}

static bool client_has_given_up(const struct client *client)
{
    uint64_t reconnect_ms = client->thread->settings->reconnect_ms;

    return (client->thread->links.now_ns - client->lost_ns) / NS_PER_MS >= reconnect_ms;
}

static void client_delay(struct client *client)
{
    struct thread_state *thread = client->thread;
    uint32_t delay = client->failures > CLIENT_DELAYS ? CLIENT_DELAYS - 1 : client->failures - 1;
    uint64_t delay_ms = (uint64_t)DELAY_MS << delay;

    if (delay_ms > DELAY_MS_MAX)
        delay_ms = DELAY_MS_MAX;
    client->state = CLIENT_DELAYED;
    client->due_ns = thread->links.now_ns + delay_ms * NS_PER_MS;
    thread->delay_count++;
    list_push_back(&thread->delayed[delay], &client->link);
}

void client_end_delay(struct client *client)
{
    struct thread_state *thread = client->thread;

    assert(client->state == CLIENT_DELAYED);
    list_remove(&client->link);
    thread->delay_count--;
    client->state = CLIENT_FREE;
    list_push_back(&thread->free, &client->link);
}

/* Ends the rounds of a lost connection. Rounds without a schedule count from their first request.
 */
static void client_lose_rounds(struct client *client, bool refused)
{
    struct thread_state *thread = client->thread;
    bool begun = !refused && (client->state == CLIENT_WAITING || client->state == CLIENT_HOLDING);
    uint32_t lost = 0;

    for (uint32_t i = 0; i < thread->settings->depth; i++) {
        lost += !begun || !client->rounds[i].over;
        client->rounds[i].over = true;
    }
    if (begun)
        client->rounds_done += thread->settings->depth;
    if ((begun || thread->settings->rate) && client_in_window(client))
        tally_lost_rounds(&thread->tally, lost);
}

/* `refused`: the connection was never open. */
static void client_lose_batch(struct client *client, bool refused)
{
    struct thread_state *thread = client->thread;

    client_lose_rounds(client, refused);
    client_lose_holds(client);
    client->closed_early += !refused;
    if (client->state == CLIENT_HOLDING)
        list_remove(&client->link);
    thread->busy--;
    if (client->failures++ == 0)
        client->lost_ns = thread->links.now_ns;
    if (!client_is_turned_away(client) && !client_has_given_up(client)) {
        client_delay(client);
        return;
    }
    client->state = CLIENT_DEAD;
    thread->dead++;
    thread->given_up += !client_is_turned_away(client);
}

void client_handle_closed(struct link *link, int error)
{
    struct client *client = link->owner;
    struct thread_state *thread = client->thread;
    bool refused = client_was_refused(link, error);

    if (thread->checker)
        thread->checker->losses++;
    if (refused) {
        thread->tally.connects_failed++;
        thread->connect_error = error;
    } else {
        tally_lost(&thread->tally);
    }
    if (client->state == CLIENT_FREE)
        client_lose_holds(client);
    /* A link that is not in use connects again in its turn. */
    else if (client->state != CLIENT_DEAD && client->state != CLIENT_DELAYED &&
             client->used == link)
        client_lose_batch(client, refused);
}

bool client_connect(struct client *client, char problem[SETUP_PROBLEM_MAX])
{
    struct thread_state *thread = client->thread;

    /* Over TLS, the first batch authenticates. */
    if (thread->settings->new_connection ||
        (thread->links.tls_context && thread->codec->auth_request))
        return true;
    for (uint32_t i = 0; i < thread->settings->connections; i++) {
        int descriptor = setup_connect(client->server, thread->codec, problem);

        if (descriptor < 0)
            return false;
        links_adopt(&thread->links, &client->links[i], descriptor, client->server);
    }
    return true;
}

/* ---- starts ---- */

/* Returns the next hold of a lost connection, and sets `*round`; NULL: there is none. */
static struct hold *client_find_lost_hold(struct client *client, struct round **round)
{
    for (uint32_t i = 0; i < client->thread->settings->depth; i++) {
        *round = &client->rounds[i];
        if ((*round)->kept.lost)
            return &(*round)->kept;
        if ((*round)->hold.lost)
            return &(*round)->hold;
    }
    return NULL;
}

/*
 * Releases the next hold of a lost connection, or begins the rounds. Without auto-release, nobody
 * else would get the key before the end of the lease.
 */
static void client_recover(struct client *client)
{
    struct thread_state *thread = client->thread;
    struct round *round;
    struct hold *hold = client_find_lost_hold(client, &round);
    enum request_kind kind = REQUEST_RELEASE;
    enum key_space space = KEY_KEPT;
    uint8_t *end;

    if (!hold) {
        for (uint32_t i = 0; i < thread->settings->depth; i++)
            client_begin_round(client, i);
        if (!thread->settings->rate && client->state == CLIENT_RECOVERING)
            client->began_ns = clock_monotonic_ns();
        client_send_batch(client);
        return;
    }
    if (hold == &round->hold) {
        space = KEY_CHOSEN;
        kind = client_requests[round->load].release;
    }
    client->state = CLIENT_RECOVERING;
    client->recovered = hold;
    if (thread->checker)
        checker_note_request(thread->checker, hold, kind, space, thread->links.now_ns);
    end = codec_write_request(thread->codec, client->request, kind, space, hold->key, &hold->token);
    links_send(&thread->links, client->used, client->request, (uint32_t)(end - client->request));
}

/* With auto-release or after a restart, the server refuses the release. */
static void client_handle_recovery_reply(struct client *client, const char *line, uint32_t length)
{
    struct thread_state *thread = client->thread;
    struct hold *hold = client->recovered;
    struct reply reply =
        codec_parse_reply(thread->codec, REQUEST_RELEASE, line, length, &hold->token);

    if (thread->checker)
        checker_note_reply(thread->checker, hold, REQUEST_RELEASE, &reply, thread->links.now_ns);
    hold->lost = false;
    client_recover(client);
}

static void client_open_link(struct client *client)
{
    struct thread_state *thread = client->thread;
    const struct codec *codec = thread->codec;
    int descriptor = server_start_connecting(client->server, client->failures);

    if (descriptor < 0) {
        thread->tally.connects_failed++;
        thread->connect_error = -descriptor;
        client_lose_batch(client, true);
        return;
    }
    client->losses = thread->checker ? thread->checker->losses : 0;
    links_adopt(&thread->links, client->used, descriptor, client->server);
    if (codec->auth_request) {
        client->state = CLIENT_AUTHENTICATING;
        client->sent_ns = clock_monotonic_ns();
        links_send(&thread->links, client->used, (const uint8_t *)codec->auth_request,
                   codec->auth_length);
    } else {
        client_recover(client);
    }
}

void client_start(struct client *client, uint64_t began_ns)
{
    struct thread_state *thread = client->thread;

    assert(client->state == CLIENT_FREE);
    list_remove(&client->link);
    thread->busy++;
    client->used = &client->links[client->turn];
    client->turn = (client->turn + 1) % (uint32_t)thread->settings->connections;
    client->began_ns = began_ns;
    client->state = CLIENT_WAITING;
    if (client->used->descriptor >= 0)
        client_recover(client);
    else
        client_open_link(client);
}

/* ---- replies ---- */

/* With --rate, the latency of a batch's first requests counts from their due start. */
static uint64_t client_latency_ns(const struct client *client, enum request_kind kind)
{
    const struct thread_state *thread = client->thread;
    enum request_step step = codec_step(kind);
    bool first = step != STEP_RELEASE && step != STEP_WAIT;
    uint64_t since_ns = thread->settings->rate && first ? client->began_ns : client->sent_ns;

    return thread->links.now_ns > since_ns ? thread->links.now_ns - since_ns : 0;
}

/* A round that did not want to wait has not failed if others hold the key. */
static bool client_has_failed(const struct settings *settings, enum request_kind kind, int outcome)
{
    bool waited = kind != REQUEST_TRY && settings->timeout_s > 0;

    return outcome > DFLOCKD_QUEUED && (outcome != DFLOCKD_TIMEOUT || waited);
}

static void client_handle_auth_reply(struct client *client, const char *line, uint32_t length)
{
    struct thread_state *thread = client->thread;
    struct token token;
    struct reply reply = codec_parse_reply(thread->codec, REQUEST_AUTH, line, length, &token);

    if (client_in_window(client))
        tally_reply(&thread->tally, REQUEST_AUTH, reply.outcome,
                    client_latency_ns(client, REQUEST_WAIT));
    if (reply.outcome == DFLOCKD_OK) {
        client_recover(client);
        return;
    }
    thread->unauthenticated = reply.outcome == DFLOCKD_ERROR_AUTH;
    links_drop(&thread->links, client->used);
    tally_lost(&thread->tally);
    client_lose_batch(client, false);
}

/* Returns the side of the round among readers and writers, or NULL. */
static struct tally_side *client_side(struct client *client, const struct round *round)
{
    struct thread_state *thread = client->thread;

    if (!thread->settings->shared)
        return NULL;
    switch (round->load) {
    case LOAD_LOCK:
    case LOAD_TRY:
    case LOAD_TWO_PHASE:
        return &thread->tally.writers;
    case LOAD_SHARED:
    case LOAD_SHARED_TWO_PHASE:
        return &thread->tally.readers;
    default:
        return NULL;
    }
}

/* Counts a grant, or a round that ended without one. */
static void client_note_side(struct client *client, const struct round *round, bool held)
{
    struct thread_state *thread = client->thread;
    struct tally_side *side = client_side(client, round);

    if (!side || held)
        return;
    if (round->hold.held)
        histogram_record(side->grants, thread->links.now_ns - client->began_ns);
    else if (round->over)
        side->refused++;
}

static void client_handle_reply(struct client *client, struct round *round, const char *line,
                                uint32_t length)
{
    struct thread_state *thread = client->thread;
    struct hold *hold = client_hold_of(round);
    enum request_kind kind = round->kind;
    bool held = hold->held;
    struct reply reply = codec_parse_reply(thread->codec, kind, line, length, &hold->token);

    if (thread->checker)
        checker_note_reply(thread->checker, hold, kind, &reply, thread->links.now_ns);
    client_advance_round(round, &reply);
    round->awaiting_reply = false;
    thread->unauthenticated = thread->unauthenticated || reply.outcome == DFLOCKD_ERROR_AUTH;
    if (!client_in_window(client))
        return;
    tally_reply(&thread->tally, kind, reply.outcome, client_latency_ns(client, kind));
    if (round->over)
        tally_round(&thread->tally, thread->links.now_ns - client->began_ns,
                    client_has_failed(thread->settings, kind, reply.outcome));
    client_note_side(client, round, held);
}

void client_handle_line(struct link *link, const char *line, uint32_t length)
{
    struct client *client = link->owner;
    uint32_t depth = (uint32_t)client->thread->settings->depth;

    if (length > 0 && line[length - 1] == '\r')
        length--;
    /* Ignore lines without a request: usually the server's last line before it closes. */
    if (link != client->used)
        return;
    if (client->state == CLIENT_AUTHENTICATING) {
        client_handle_auth_reply(client, line, length);
        return;
    }
    if (client->state != CLIENT_WAITING && client->state != CLIENT_RECOVERING)
        return;
    client->failures = 0;
    client->replied_ever = true;
    if (client->state == CLIENT_RECOVERING) {
        client_handle_recovery_reply(client, line, length);
        return;
    }
    while (!client->rounds[client->replied].awaiting_reply)
        client->replied++;
    client_handle_reply(client, &client->rounds[client->replied], line, length);
    while (client->replied < depth && !client->rounds[client->replied].awaiting_reply)
        client->replied++;
    if (client->replied == depth)
        client_step(client);
}
