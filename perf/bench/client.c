#include "bench/client.h"

#include <assert.h>
#include <string.h>

#include "os/clock.h"

/* ---- what a round asks ---- */

static enum key_space space_of(const struct round *round)
{
    return round->load == LOAD_RENEW ? KEY_KEPT : KEY_CHOSEN;
}

static struct hold *hold_of(struct round *round)
{
    return round->load == LOAD_RENEW ? &round->kept : &round->hold;
}

static enum load choose_load(struct crew *crew)
{
    const struct settings *settings = crew->settings;
    uint32_t chance = random_below(&crew->random, settings->weight_sum);
    uint32_t load = 0;

    while (chance >= settings->weights[load])
        chance -= settings->weights[load++];
    return (enum load)load;
}

static enum kind first_kind(const struct round *round)
{
    switch (round->load) {
    case LOAD_SEMAPHORE:
        return KIND_SEMAPHORE_ACQUIRE;
    case LOAD_TRY:
        return KIND_TRY;
    case LOAD_TWO_PHASE:
        return KIND_ENQUEUE;
    case LOAD_RENEW:
        return round->kept.held ? KIND_RENEW : KIND_ACQUIRE;
    case LOAD_PING:
        return KIND_PING;
    default:
        return KIND_ACQUIRE;
    }
}

static void begin_round(struct client *client, uint32_t place)
{
    struct crew *crew = client->crew;
    struct round *round = &client->rounds[place];
    uint32_t own = client->number * (uint32_t)crew->settings->depth + place;

    round->load = choose_load(crew);
    round->kind = first_kind(round);
    round->over = false;
    round->kept.key = own;
    round->hold.key = keys_draw(crew->speech->keys, &crew->random, own);
}

/* After an answer: the next kind of request, or the round is over. */
static void advance(struct round *round, const struct answer *answer)
{
    struct hold *hold = hold_of(round);

    switch (round->kind) {
    case KIND_ACQUIRE:
    case KIND_TRY:
    case KIND_SEMAPHORE_ACQUIRE:
        hold->held = answer->token != NULL;
        round->over = !hold->held;
        if (round->load == LOAD_RENEW)
            round->kind = KIND_RENEW;
        else
            round->kind =
                round->kind == KIND_SEMAPHORE_ACQUIRE ? KIND_SEMAPHORE_RELEASE : KIND_RELEASE;
        break;
    case KIND_ENQUEUE:
        hold->held = answer->token != NULL;
        round->over = !hold->held && answer->outcome != DFLOCKD_QUEUED;
        round->kind = KIND_WAIT;
        break;
    case KIND_WAIT:
        hold->held = answer->token != NULL;
        round->over = !hold->held;
        round->kind = KIND_RELEASE;
        break;
    case KIND_RENEW:
        hold->held = answer->outcome == DFLOCKD_OK;
        round->over = true;
        break;
    case KIND_RELEASE:
    case KIND_SEMAPHORE_RELEASE:
        hold->held = false;
        round->over = true;
        break;
    default:
        round->over = true;
    }
}

/* ---- a batch ---- */

/* Sends the next request of each round that is not over. */
static void ask(struct client *client)
{
    struct crew *crew = client->crew;
    uint64_t now_ns = clock_monotonic_ns();
    uint8_t *end = client->request;

    for (uint32_t i = 0; i < crew->settings->depth; i++) {
        struct round *round = &client->rounds[i];
        struct hold *hold = hold_of(round);

        round->asking = !round->over;
        if (round->over)
            continue;
        if (crew->watch)
            watch_asks(crew->watch, hold, round->kind, space_of(round), now_ns);
        end = speech_ask(crew->speech, end, round->kind, space_of(round), hold->key, &hold->token);
    }
    client->state = CLIENT_ASKING;
    client->answered = 0;
    client->asked_ns = now_ns;
    links_send(&crew->links, client->used, client->request, (uint32_t)(end - client->request));
}

static bool within_window(const struct client *client)
{
    const struct crew *crew = client->crew;
    uint64_t at_ns = crew->settings->rate ? client->began_ns : crew->links.now_ns;

    return at_ns >= crew->window_start_ns && at_ns < crew->window_end_ns;
}

static void become_free(struct client *client)
{
    struct crew *crew = client->crew;

    client->state = CLIENT_FREE;
    client->rounds_done += crew->settings->depth;
    crew->busy--;
    list_push_back(&crew->free, &client->link);
}

static void finish(struct client *client)
{
    struct crew *crew = client->crew;

    if (crew->settings->new_connection)
        links_drop(&crew->links, client->used);
    become_free(client);
}

/* All that was asked is answered. */
static void step(struct client *client)
{
    struct crew *crew = client->crew;
    bool releases = false;
    bool over = true;

    for (uint32_t i = 0; i < crew->settings->depth; i++) {
        const struct round *round = &client->rounds[i];

        over = over && round->over;
        releases = releases || (!round->over && (round->kind == KIND_RELEASE ||
                                                 round->kind == KIND_SEMAPHORE_RELEASE));
    }
    if (over) {
        finish(client);
    } else if (releases && crew->settings->hold_us > 0) {
        client->state = CLIENT_HOLDING;
        client->due_ns = crew->links.now_ns + crew->settings->hold_us * 1000;
        list_push_back(&crew->holding, &client->link);
    } else {
        ask(client);
    }
}

void client_go_on(struct client *client)
{
    assert(client->state == CLIENT_HOLDING);
    list_remove(&client->link);
    ask(client);
}

/* ---- its connections ---- */

/* Gives up what went with a connection. */
static void drop_holds(struct client *client)
{
    struct crew *crew = client->crew;

    for (uint32_t i = 0; i < crew->settings->depth; i++) {
        struct round *round = &client->rounds[i];

        round->hold.held = false;
        round->kept.held = false;
        if (crew->watch) {
            watch_drops(crew->watch, &round->hold, crew->links.now_ns);
            watch_drops(crew->watch, &round->kept, crew->links.now_ns);
        }
    }
}

/* Its batch is lost. Whoever gets no answer over two connections in a row gives up. */
static void lose(struct client *client)
{
    struct crew *crew = client->crew;

    drop_holds(client);
    if (client->state == CLIENT_HOLDING)
        list_remove(&client->link);
    if (!client->shaky) {
        crew->tally.lost++;
        client->shaky = true;
        become_free(client);
        return;
    }
    client->state = CLIENT_DEAD;
    crew->busy--;
    crew->dead++;
}

void client_lose(struct link *link)
{
    struct client *client = link->owner;

    if (client->state == CLIENT_DEAD)
        return;
    if (client->state != CLIENT_FREE && client->used == link) {
        lose(client);
        return;
    }
    /* Not in use: it is made again when its turn comes. */
    client->crew->tally.lost++;
    if (client->state == CLIENT_FREE)
        drop_holds(client);
}

bool client_set_up(struct client *client, char problem[TALK_PROBLEM_MAX])
{
    struct crew *crew = client->crew;

    if (crew->settings->new_connection)
        return true;
    for (uint32_t i = 0; i < crew->settings->connections; i++) {
        int descriptor = talk_open(client->address, crew->speech, problem);

        if (descriptor < 0)
            return false;
        links_adopt(&crew->links, &client->links[i], descriptor, client->address);
    }
    return true;
}

void client_start(struct client *client, uint64_t began_ns)
{
    struct crew *crew = client->crew;
    const struct speech *speech = crew->speech;
    struct link *link = &client->links[client->turn];
    int descriptor;

    assert(client->state == CLIENT_FREE);
    list_remove(&client->link);
    crew->busy++;
    client->turn = (client->turn + 1) % (uint32_t)crew->settings->connections;
    client->used = link;
    client->began_ns = began_ns;
    client->state = CLIENT_ASKING;
    for (uint32_t i = 0; i < crew->settings->depth; i++)
        begin_round(client, i);
    if (link->descriptor >= 0) {
        ask(client);
        return;
    }
    descriptor = address_start_connecting(client->address);
    if (descriptor < 0) {
        crew->connect_error = -descriptor;
        lose(client);
        return;
    }
    links_adopt(&crew->links, link, descriptor, client->address);
    if (speech->auth_request) {
        client->state = CLIENT_AUTHENTICATING;
        client->asked_ns = clock_monotonic_ns();
        links_send(&crew->links, link, (const uint8_t *)speech->auth_request, speech->auth_length);
    } else {
        ask(client);
    }
}

/* ---- answers ---- */

/* The latency of what began a batch of --rate counts from when that should have begun. */
static uint64_t latency_of(const struct client *client, enum kind kind)
{
    const struct crew *crew = client->crew;
    bool first = kind != KIND_RELEASE && kind != KIND_SEMAPHORE_RELEASE && kind != KIND_WAIT;
    uint64_t since_ns = crew->settings->rate && first ? client->began_ns : client->asked_ns;

    return crew->links.now_ns > since_ns ? crew->links.now_ns - since_ns : 0;
}

static void hear_auth(struct client *client, const char *line, uint32_t length)
{
    struct crew *crew = client->crew;
    struct token token;
    struct answer answer = speech_hear(crew->speech, KIND_AUTH, line, length, &token);

    if (within_window(client))
        tally_answer(&crew->tally, KIND_AUTH, answer.outcome, latency_of(client, KIND_WAIT));
    if (answer.outcome == DFLOCKD_OK) {
        ask(client);
        return;
    }
    links_drop(&crew->links, client->used);
    lose(client);
}

static void hear_round(struct client *client, struct round *round, const char *line,
                       uint32_t length)
{
    struct crew *crew = client->crew;
    struct hold *hold = hold_of(round);
    enum kind kind = round->kind;
    struct answer answer = speech_hear(crew->speech, kind, line, length, &hold->token);

    if (crew->watch)
        watch_hears(crew->watch, hold, kind, &answer, crew->links.now_ns);
    advance(round, &answer);
    round->asking = false;
    if (!within_window(client))
        return;
    tally_answer(&crew->tally, kind, answer.outcome, latency_of(client, kind));
    if (round->over)
        tally_round(&crew->tally, crew->links.now_ns - client->began_ns);
}

void client_hear(struct link *link, const char *line, uint32_t length)
{
    struct client *client = link->owner;
    uint32_t depth = (uint32_t)client->crew->settings->depth;

    if (length > 0 && line[length - 1] == '\r')
        length--;
    client->shaky = false;
    if (client->state == CLIENT_AUTHENTICATING) {
        hear_auth(client, line, length);
        return;
    }
    /* What nobody asked for is a last word of the server, as a rule, before it closes. */
    if (client->state != CLIENT_ASKING || link != client->used)
        return;
    while (!client->rounds[client->answered].asking)
        client->answered++;
    hear_round(client, &client->rounds[client->answered], line, length);
    while (client->answered < depth && !client->rounds[client->answered].asking)
        client->answered++;
    if (client->answered == depth)
        step(client);
}
