#include "bench/client.h"

#include <assert.h>
#include <string.h>

#include "os/clock.h"

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

static enum request_kind client_first_request(const struct round *round)
{
    switch (round->load) {
    case LOAD_SEMAPHORE:
        return REQUEST_SEMAPHORE_ACQUIRE;
    case LOAD_TRY:
        return REQUEST_TRY;
    case LOAD_TWO_PHASE:
        return REQUEST_ENQUEUE;
    case LOAD_RENEW:
        return round->kept.held ? REQUEST_RENEW : REQUEST_ACQUIRE;
    case LOAD_PING:
        return REQUEST_PING;
    default:
        return REQUEST_ACQUIRE;
    }
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

    switch (round->kind) {
    case REQUEST_ACQUIRE:
    case REQUEST_TRY:
    case REQUEST_SEMAPHORE_ACQUIRE:
        hold->held = reply->token != NULL;
        round->over = !hold->held;
        if (round->load == LOAD_RENEW)
            round->kind = REQUEST_RENEW;
        else
            round->kind = round->kind == REQUEST_SEMAPHORE_ACQUIRE ? REQUEST_SEMAPHORE_RELEASE
                                                                   : REQUEST_RELEASE;
        break;
    case REQUEST_ENQUEUE:
        hold->held = reply->token != NULL;
        round->over = !hold->held && reply->outcome != DFLOCKD_QUEUED;
        round->kind = REQUEST_WAIT;
        break;
    case REQUEST_WAIT:
        hold->held = reply->token != NULL;
        round->over = !hold->held;
        round->kind = REQUEST_RELEASE;
        break;
    case REQUEST_RENEW:
        hold->held = reply->outcome == DFLOCKD_OK;
        round->over = true;
        break;
    case REQUEST_RELEASE:
    case REQUEST_SEMAPHORE_RELEASE:
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
        releases = releases || (!round->over && (round->kind == REQUEST_RELEASE ||
                                                 round->kind == REQUEST_SEMAPHORE_RELEASE));
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

/* Drops the holds that end with a connection. */
static void client_drop_holds(struct client *client)
{
    struct thread_state *thread = client->thread;

    for (uint32_t i = 0; i < thread->settings->depth; i++) {
        struct round *round = &client->rounds[i];

        round->hold.held = false;
        round->kept.held = false;
        if (thread->checker) {
            checker_note_loss(thread->checker, &round->hold, thread->links.now_ns);
            checker_note_loss(thread->checker, &round->kept, thread->links.now_ns);
        }
    }
}

/* Gives up after two connections in a row without a reply. */
static void client_lose_batch(struct client *client)
{
    struct thread_state *thread = client->thread;

    client_drop_holds(client);
    if (client->state == CLIENT_HOLDING)
        list_remove(&client->link);
    if (!client->lost_before) {
        thread->tally.lost++;
        client->lost_before = true;
        client_become_free(client);
        return;
    }
    client->state = CLIENT_DEAD;
    thread->busy--;
    thread->dead++;
}

void client_handle_closed(struct link *link)
{
    struct client *client = link->owner;

    if (client->state == CLIENT_DEAD)
        return;
    if (client->state != CLIENT_FREE && client->used == link) {
        client_lose_batch(client);
        return;
    }
    /* A link that is not in use connects again in its turn. */
    client->thread->tally.lost++;
    if (client->state == CLIENT_FREE)
        client_drop_holds(client);
}

bool client_connect(struct client *client, char problem[SETUP_PROBLEM_MAX])
{
    struct thread_state *thread = client->thread;

    if (thread->settings->new_connection)
        return true;
    for (uint32_t i = 0; i < thread->settings->connections; i++) {
        int descriptor = setup_connect(client->server, thread->codec, problem);

        if (descriptor < 0)
            return false;
        links_adopt(&thread->links, &client->links[i], descriptor, client->server);
    }
    return true;
}

void client_start(struct client *client, uint64_t began_ns)
{
    struct thread_state *thread = client->thread;
    const struct codec *codec = thread->codec;
    struct link *link = &client->links[client->turn];
    int descriptor;

    assert(client->state == CLIENT_FREE);
    list_remove(&client->link);
    thread->busy++;
    client->turn = (client->turn + 1) % (uint32_t)thread->settings->connections;
    client->used = link;
    client->began_ns = began_ns;
    client->state = CLIENT_WAITING;
    for (uint32_t i = 0; i < thread->settings->depth; i++)
        client_begin_round(client, i);
    if (link->descriptor >= 0) {
        client_send_batch(client);
        return;
    }
    descriptor = server_start_connecting(client->server);
    if (descriptor < 0) {
        thread->connect_error = -descriptor;
        client_lose_batch(client);
        return;
    }
    links_adopt(&thread->links, link, descriptor, client->server);
    if (codec->auth_request) {
        client->state = CLIENT_AUTHENTICATING;
        client->sent_ns = clock_monotonic_ns();
        links_send(&thread->links, link, (const uint8_t *)codec->auth_request, codec->auth_length);
    } else {
        client_send_batch(client);
    }
}

/* ---- replies ---- */

/* With --rate, the latency of a batch's first requests counts from their due start. */
static uint64_t client_latency_ns(const struct client *client, enum request_kind kind)
{
    const struct thread_state *thread = client->thread;
    bool first =
        kind != REQUEST_RELEASE && kind != REQUEST_SEMAPHORE_RELEASE && kind != REQUEST_WAIT;
    uint64_t since_ns = thread->settings->rate && first ? client->began_ns : client->sent_ns;

    return thread->links.now_ns > since_ns ? thread->links.now_ns - since_ns : 0;
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
        client_send_batch(client);
        return;
    }
    links_drop(&thread->links, client->used);
    client_lose_batch(client);
}

static void client_handle_reply(struct client *client, struct round *round, const char *line,
                                uint32_t length)
{
    struct thread_state *thread = client->thread;
    struct hold *hold = client_hold_of(round);
    enum request_kind kind = round->kind;
    struct reply reply = codec_parse_reply(thread->codec, kind, line, length, &hold->token);

    if (thread->checker)
        checker_note_reply(thread->checker, hold, kind, &reply, thread->links.now_ns);
    client_advance_round(round, &reply);
    round->awaiting_reply = false;
    if (!client_in_window(client))
        return;
    tally_reply(&thread->tally, kind, reply.outcome, client_latency_ns(client, kind));
    if (round->over)
        tally_round(&thread->tally, thread->links.now_ns - client->began_ns);
}

void client_handle_line(struct link *link, const char *line, uint32_t length)
{
    struct client *client = link->owner;
    uint32_t depth = (uint32_t)client->thread->settings->depth;

    if (length > 0 && line[length - 1] == '\r')
        length--;
    client->lost_before = false;
    if (client->state == CLIENT_AUTHENTICATING) {
        client_handle_auth_reply(client, line, length);
        return;
    }
    /* Ignore lines without a request: usually the server's last line before it closes. */
    if (client->state != CLIENT_WAITING || link != client->used)
        return;
    while (!client->rounds[client->replied].awaiting_reply)
        client->replied++;
    client_handle_reply(client, &client->rounds[client->replied], line, length);
    while (client->replied < depth && !client->rounds[client->replied].awaiting_reply)
        client->replied++;
    if (client->replied == depth)
        client_step(client);
}
