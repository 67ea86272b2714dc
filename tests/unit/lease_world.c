#include "lease_world.h"

#include <assert.h>
#include <string.h>

uint64_t world_below(struct world *world, uint64_t bound)
{
    return bound ? seeded_next(&world->seeded) % bound : 0;
}

bool world_chance(struct world *world, uint32_t one_in)
{
    return one_in && seeded_below(&world->seeded, one_in) == 0;
}

uint64_t world_min(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

uint64_t world_max(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

uint64_t world_delay(struct world *world)
{
    return world->now_ns + 1 + world_below(world, world->delay_max_ns);
}

void world_init(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->seeded.state = seed;
    world->now_ns = 1000 * NS_PER_S;
    world->owner = WORLD_NO_LINK;
    world->drained_ns = WORLD_NEVER;
}

/* ---- messages ---- */

static void world_pipe_put(struct world *world, struct pipe *pipe, struct message message)
{
    assert(pipe->count < WORLD_PIPE);
    pipe->last_ns = world_max(pipe->last_ns, world_delay(world));
    message.arrival_ns = pipe->last_ns;
    pipe->messages[pipe->count++] = message;
}

struct message world_pipe_take(struct pipe *pipe)
{
    struct message first = pipe->messages[0];

    pipe->count--;
    memmove(pipe->messages, pipe->messages + 1, pipe->count * sizeof(first));
    return first;
}

uint64_t world_pipe_ready_ns(const struct pipe *pipe, uint64_t end_ns)
{
    return pipe->count && pipe->messages[0].arrival_ns <= end_ns ? pipe->messages[0].arrival_ns
                                                                 : WORLD_NEVER;
}

static void world_link_reply(struct world *world, struct link *link, struct message message)
{
    if (!link->silent)
        world_pipe_put(world, &link->to_client, message);
}

/* The server closes the connection after its replies. */
static void world_link_refuse(struct world *world, struct link *link)
{
    link->refusing = true;
    link->client_end_ns =
        world_min(link->client_end_ns, world_max(link->to_client.last_ns, world_delay(world)));
    link->server_end_ns = world_min(link->server_end_ns, link->client_end_ns);
}

/* ---- the client's side of a connection ---- */

int world_connect(struct world *world)
{
    int number = world->link_count;

    if (number == WORLD_LINKS || world->now_ns < world->down_until_ns ||
        world->drained_ns != WORLD_NEVER)
        return WORLD_NO_LINK;
    world->link_count++;
    world->links[number] = (struct link){
        .client_end_ns = WORLD_NEVER,
        .server_end_ns = WORLD_NEVER,
    };
    return number;
}

void world_send(struct world *world, int number, struct message message)
{
    struct link *link = &world->links[number];

    if (link->silent || link->client_end_ns <= world->now_ns)
        return;
    if (link->closed) /* the peer resets it */
        link->client_end_ns = world_min(link->client_end_ns, world_delay(world));
    else if (!link->refusing)
        world_pipe_put(world, &link->to_server, message);
}

void world_close(struct world *world, int number)
{
    struct link *link = &world->links[number];

    if (link->client_end_ns <= world->now_ns)
        return;
    link->client_end_ns = world->now_ns;
    if (!link->silent)
        link->server_end_ns =
            world_min(link->server_end_ns, world_max(link->to_server.last_ns, world_delay(world)));
}

uint64_t world_readable_ns(const struct world *world, int number)
{
    const struct link *link = &world->links[number];

    return world_min(world_pipe_ready_ns(&link->to_client, link->client_end_ns),
                     link->client_end_ns);
}

/* ---- the server ---- */

static void world_server_grant(struct world *world, int number, uint64_t lease_s)
{
    world->token = ++world->last_token;
    world->end_ns = world->now_ns + lease_s * NS_PER_S;
    world->owner = number;
    world->reserved = false;
}

static void world_server_release(struct world *world)
{
    world->token = 0;
    world->owner = WORLD_NO_LINK;
    world->reserved = false;
}

static int world_server_first_in_queue(const struct world *world)
{
    int first = WORLD_NO_LINK;

    for (int i = 0; i < world->link_count; i++) {
        const struct link *link = &world->links[i];

        if ((link->place == PLACE_ENQUEUED || link->place == PLACE_WAITING) &&
            (first == WORLD_NO_LINK || link->order < world->links[first].order))
            first = i;
    }
    return first;
}

static void world_server_grant_next(struct world *world)
{
    int number = world_server_first_in_queue(world);
    struct link *link;

    if (world->token || number == WORLD_NO_LINK || world->drained_ns != WORLD_NEVER)
        return;
    link = &world->links[number];
    world_server_grant(world, number, link->place_lease_s);
    link->place_token = world->token;
    if (link->place == PLACE_ENQUEUED) {
        link->place = PLACE_GRANTED;
        return;
    }
    link->place = PLACE_NONE;
    world_link_reply(world, link,
                     (struct message){.kind = MESSAGE_ACQUIRE,
                                      .status = DFLOCKD_STATUS_DONE,
                                      .token = world->token,
                                      .lease_s = link->place_lease_s});
}

/* Enqueues a connection, and grants at once if the queue is empty. */
static void world_server_queue(struct world *world, struct link *link,
                               const struct message *request)
{
    struct message reply = {.kind = request->kind, .status = DFLOCKD_STATUS_WAITING};

    link->place = request->kind == MESSAGE_ACQUIRE ? PLACE_WAITING : PLACE_ENQUEUED;
    link->order = ++world->last_order;
    link->place_lease_s = request->lease_s;
    link->wait_end_ns = world->now_ns + request->wait_ns;
    world_server_grant_next(world);
    if (link->place == PLACE_GRANTED) {
        reply.status = DFLOCKD_STATUS_DONE;
        reply.token = link->place_token;
        reply.lease_s = request->lease_s;
        link->place = PLACE_NONE;
    }
    if (link->place == PLACE_ENQUEUED || reply.token)
        world_link_reply(world, link, reply);
}

static void world_server_wait(struct world *world, struct link *link, const struct message *request)
{
    struct message reply = {.kind = MESSAGE_WAIT, .status = DFLOCKD_STATUS_NOT_ENQUEUED};

    if (link->place == PLACE_ENQUEUED) {
        link->place = PLACE_WAITING;
        link->wait_end_ns = world->now_ns + request->wait_ns;
        return;
    }
    if (link->place == PLACE_GRANTED && link->place_token == world->token) {
        world->end_ns = world->now_ns + link->place_lease_s * NS_PER_S;
        reply.status = DFLOCKD_STATUS_DONE;
        reply.token = link->place_token;
        reply.lease_s = link->place_lease_s;
    } else if (link->place == PLACE_GRANTED) {
        reply.status = DFLOCKD_STATUS_LOST;
    }
    link->place = PLACE_NONE;
    world_link_reply(world, link, reply);
}

/* Requests that name a token. */
static void world_server_use_token(struct world *world, int number, const struct message *request)
{
    struct link *link = &world->links[number];
    struct message reply = {.kind = request->kind, .status = DFLOCKD_STATUS_NOT_HELD};

    if (request->kind == MESSAGE_OWN && world->own == OWN_CLOSE) {
        world_link_refuse(world, link);
        return;
    }
    if (request->kind == MESSAGE_OWN && world->own == OWN_ERROR)
        reply.status = DFLOCKD_STATUS_FAILED;
    else if (request->token == world->token && !world->reserved)
        reply.status = DFLOCKD_STATUS_DONE;
    if (reply.status == DFLOCKD_STATUS_DONE && request->kind == MESSAGE_OWN) {
        world->owner = number;
    } else if (reply.status == DFLOCKD_STATUS_DONE && request->kind == MESSAGE_RENEW) {
        reply.lease_s = request->lease_s;
        world->end_ns = world->now_ns + request->lease_s * NS_PER_S;
    } else if (reply.status == DFLOCKD_STATUS_DONE) {
        world_server_release(world);
    }
    world_link_reply(world, link, reply);
    world_server_grant_next(world);
}

static void world_server_request(struct world *world, int number, const struct message *request)
{
    struct link *link = &world->links[number];
    bool holders_only = world->drained_ns != WORLD_NEVER;

    if (holders_only && request->kind != MESSAGE_RENEW && request->kind != MESSAGE_RELEASE) {
        world_link_reply(
            world, link,
            (struct message){.kind = request->kind, .status = DFLOCKD_STATUS_DRAINING});
        world_link_refuse(world, link);
        return;
    }
    switch (request->kind) {
    case MESSAGE_ACQUIRE:
    case MESSAGE_ENQUEUE:
        world_server_queue(world, link, request);
        break;
    case MESSAGE_WAIT:
        world_server_wait(world, link, request);
        break;
    case MESSAGE_RENEW:
    case MESSAGE_OWN:
    case MESSAGE_RELEASE:
        world_server_use_token(world, number, request);
        break;
    }
}

/* Returns when the server must serve the connection. */
static uint64_t world_server_link_due_ns(const struct link *link)
{
    uint64_t due_ns = link->closed ? WORLD_NEVER : link->server_end_ns;

    if (link->place == PLACE_WAITING)
        due_ns = world_min(due_ns, link->wait_end_ns);
    else if (!link->closed && !link->refusing)
        due_ns = world_min(due_ns, world_pipe_ready_ns(&link->to_server, link->server_end_ns));
    return due_ns;
}

static void world_server_serve(struct world *world, int number)
{
    struct link *link = &world->links[number];

    while (!link->closed && !link->refusing && link->place != PLACE_WAITING &&
           world_pipe_ready_ns(&link->to_server, link->server_end_ns) <= world->now_ns) {
        struct message request = world_pipe_take(&link->to_server);

        world_server_request(world, number, &request);
    }
    if (!link->closed && link->server_end_ns <= world->now_ns) {
        link->closed = true;
        link->place = PLACE_NONE;
        if (world->owner == number && world->auto_release)
            world_server_release(world);
        if (world->owner == number)
            world->owner = WORLD_NO_LINK;
    }
    if (link->place == PLACE_WAITING && link->wait_end_ns <= world->now_ns) {
        link->place = PLACE_NONE;
        world_link_reply(
            world, link,
            (struct message){.kind = MESSAGE_ACQUIRE, .status = DFLOCKD_STATUS_TIMED_OUT});
    }
}

void world_server_restart(struct world *world, uint64_t down_ns)
{
    bool forgets = world->restart == RESTART_FORGETS;

    world->drained_ns = WORLD_NEVER;
    world->down_until_ns = world->now_ns + down_ns;
    for (int i = 0; i < world->link_count; i++) {
        struct link *link = &world->links[i];

        link->place = PLACE_NONE;
        link->closed = true;
        if (forgets)
            link->client_end_ns = world_min(link->client_end_ns, world->now_ns);
        else if (!link->silent && world_chance(world, 2))
            link->client_end_ns = world_min(link->client_end_ns, world_delay(world));
    }
    world->owner = WORLD_NO_LINK;
    if (world->restart == RESTART_REMEMBERS)
        return;
    world_server_release(world);
    if (world->restart == RESTART_DELAYS) {
        world_server_grant(world, WORLD_NO_LINK, WORLD_LEASE_MAX_S);
        world->end_ns += down_ns;
        world->reserved = true;
    }
}

void world_server_drain(struct world *world, uint64_t drained_ns)
{
    world->drained_ns = drained_ns;
    for (int i = 0; i < world->link_count; i++) {
        struct link *link = &world->links[i];

        if (link->place == PLACE_WAITING)
            world_link_reply(
                world, link,
                (struct message){.kind = MESSAGE_ACQUIRE, .status = DFLOCKD_STATUS_DRAINING});
        if (link->place == PLACE_WAITING || link->place == PLACE_ENQUEUED)
            link->place = PLACE_NONE;
    }
}

uint64_t world_server_due_ns(const struct world *world)
{
    uint64_t due_ns = world_min(world->token ? world->end_ns : WORLD_NEVER, world->drained_ns);

    for (int i = 0; i < world->link_count; i++)
        due_ns = world_min(due_ns, world_server_link_due_ns(&world->links[i]));
    return world_max(due_ns, world_max(world->paused_until_ns, world->down_until_ns));
}

void world_server_step(struct world *world)
{
    int first = (int)world_below(world, (uint64_t)world->link_count + 1);

    if (world->drained_ns <= world->now_ns) {
        world_server_restart(world, world_below(world, 2 * NS_PER_S));
        return;
    }
    if (world->token && world->end_ns <= world->now_ns)
        world_server_release(world);
    for (int i = 0; i < world->link_count; i++)
        world_server_serve(world, (first + i) % world->link_count);
    world_server_grant_next(world);
}
