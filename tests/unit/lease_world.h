/*
 * A server with one lock, and the network between it and clients, under a virtual clock: a model
 * for tests of leases that shares no code with the server.
 *
 * The server grants in the order of requests, ends leases, and releases the grant of a connection
 * whose end it sees. It can pause, drain, and restart with or without memory of its grants.
 * Messages of one connection and direction stay in order, and each takes a random time. A
 * connection can end for its two sides at different moments, or lose all messages without an end.
 */
#ifndef TESTS_UNIT_LEASE_WORLD_H
#define TESTS_UNIT_LEASE_WORLD_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dflockd/client.h"
#include "seeded.h"

enum {
    WORLD_LINKS = 48,
    WORLD_PIPE = 16, /* messages on their way in one direction */
    WORLD_NO_LINK = -1,
    WORLD_LEASE_MAX_S = 8
};

static const uint64_t world_never = UINT64_MAX;
static const uint64_t world_s = 1000000000;
static const uint64_t world_ms = 1000000;

enum message_kind {
    MESSAGE_ACQUIRE,
    MESSAGE_ENQUEUE,
    MESSAGE_WAIT,
    MESSAGE_RENEW,
    MESSAGE_OWN,
    MESSAGE_RELEASE
};

/* A request, or the reply to one. */
struct message {
    enum message_kind kind;
    enum dflockd_status status; /* of a reply */
    uint64_t token;             /* the number of a grant; 0: none */
    uint64_t lease_s;
    uint64_t wait_ns;
    uint64_t arrival_ns;
};

struct pipe {
    struct message messages[WORLD_PIPE];
    uint32_t count;
    uint64_t last_ns; /* arrival of the last message */
};

/* Where a connection stands at the server. */
enum place {
    PLACE_NONE,
    PLACE_ENQUEUED, /* in the queue, and no request is pending */
    PLACE_WAITING,  /* in the queue, and a request is pending */
    PLACE_GRANTED   /* enqueued and granted, and its client does not know yet */
};

struct link {
    struct pipe to_server;
    struct pipe to_client;
    uint64_t client_end_ns; /* when the client can see its end */
    uint64_t server_end_ns; /* when the server can see it */
    bool silent;            /* messages that are sent are lost */
    bool refusing;          /* the server reads nothing more from it */
    bool closed;            /* the server has seen its end */
    enum place place;
    uint64_t order; /* in the queue */
    uint64_t place_token;
    uint64_t place_lease_s;
    uint64_t wait_end_ns;
};

enum own_support {
    OWN_KNOWN,
    OWN_ERROR, /* a server that does not know the command answers `error` */
    OWN_CLOSE  /* or closes the connection */
};

enum restart_kind {
    RESTART_REMEMBERS, /* the grant stays */
    RESTART_FORGETS,   /* it is gone, and each client can see the end of its connection by then */
    RESTART_DELAYS     /* it is gone, and nothing is granted for the longest lease */
};

struct world {
    struct seeded seeded;
    uint64_t now_ns;
    uint64_t delay_max_ns;
    bool auto_release;
    enum own_support own;

    struct link links[WORLD_LINKS];
    int link_count;

    /* The grant; token 0: none. */
    uint64_t token;
    uint64_t end_ns;
    int owner;     /* a link */
    bool reserved; /* by nobody: RESTART_DELAYS */
    uint64_t last_token;
    uint64_t last_order;

    uint64_t paused_until_ns;
    uint64_t down_until_ns;
    uint64_t drained_ns; /* when draining ends with a restart; never: it does not drain */
    enum restart_kind restart;
};

static inline uint64_t world_below(struct world *world, uint64_t bound)
{
    return bound ? seeded_next(&world->seeded) % bound : 0;
}

static inline bool world_chance(struct world *world, uint32_t one_in)
{
    return one_in && seeded_below(&world->seeded, one_in) == 0;
}

static inline uint64_t world_min(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static inline uint64_t world_max(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

static inline uint64_t world_delay(struct world *world)
{
    return world->now_ns + 1 + world_below(world, world->delay_max_ns);
}

static inline void world_init(struct world *world, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->seeded.state = seed;
    world->now_ns = 1000 * world_s;
    world->owner = WORLD_NO_LINK;
    world->drained_ns = world_never;
}

/* ---- messages ---- */

static inline void pipe_put(struct world *world, struct pipe *pipe, struct message message)
{
    assert(pipe->count < WORLD_PIPE);
    pipe->last_ns = world_max(pipe->last_ns, world_delay(world));
    message.arrival_ns = pipe->last_ns;
    pipe->messages[pipe->count++] = message;
}

static inline struct message pipe_take(struct pipe *pipe)
{
    struct message first = pipe->messages[0];

    pipe->count--;
    memmove(pipe->messages, pipe->messages + 1, pipe->count * sizeof(first));
    return first;
}

/* When the first message arrives, if it does before the receiver sees the end. */
static inline uint64_t pipe_ready_ns(const struct pipe *pipe, uint64_t end_ns)
{
    return pipe->count && pipe->messages[0].arrival_ns <= end_ns ? pipe->messages[0].arrival_ns
                                                                 : world_never;
}

static inline void link_reply(struct world *world, struct link *link, struct message message)
{
    if (!link->silent)
        pipe_put(world, &link->to_client, message);
}

/* The server closes it after the replies that it sent. */
static inline void link_refuse(struct world *world, struct link *link)
{
    link->refusing = true;
    link->client_end_ns =
        world_min(link->client_end_ns, world_max(link->to_client.last_ns, world_delay(world)));
    link->server_end_ns = world_min(link->server_end_ns, link->client_end_ns);
}

/* ---- the client's side of a connection ---- */

/* A new connection, or WORLD_NO_LINK. */
static inline int world_connect(struct world *world)
{
    int number = world->link_count;

    if (number == WORLD_LINKS || world->now_ns < world->down_until_ns ||
        world->drained_ns != world_never)
        return WORLD_NO_LINK;
    world->link_count++;
    world->links[number] = (struct link){
        .client_end_ns = world_never,
        .server_end_ns = world_never,
    };
    return number;
}

static inline void world_send(struct world *world, int number, struct message message)
{
    struct link *link = &world->links[number];

    if (link->silent || link->client_end_ns <= world->now_ns)
        return;
    if (link->closed) /* the peer resets it */
        link->client_end_ns = world_min(link->client_end_ns, world_delay(world));
    else if (!link->refusing)
        pipe_put(world, &link->to_server, message);
}

/*
 * The client closes it. The server sees that after the messages, or never if they are lost; if the
 * connection had ended for the client before, nothing is sent.
 */
static inline void world_close(struct world *world, int number)
{
    struct link *link = &world->links[number];

    if (link->client_end_ns <= world->now_ns)
        return;
    link->client_end_ns = world->now_ns;
    if (!link->silent)
        link->server_end_ns =
            world_min(link->server_end_ns, world_max(link->to_server.last_ns, world_delay(world)));
}

/* When the client can read from it. */
static inline uint64_t world_readable_ns(const struct world *world, int number)
{
    const struct link *link = &world->links[number];

    return world_min(pipe_ready_ns(&link->to_client, link->client_end_ns), link->client_end_ns);
}

/* ---- the server ---- */

static inline void server_grant(struct world *world, int number, uint64_t lease_s)
{
    world->token = ++world->last_token;
    world->end_ns = world->now_ns + lease_s * world_s;
    world->owner = number;
    world->reserved = false;
}

static inline void server_release(struct world *world)
{
    world->token = 0;
    world->owner = WORLD_NO_LINK;
    world->reserved = false;
}

static inline int server_first_in_queue(const struct world *world)
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

static inline void server_grant_next(struct world *world)
{
    int number = server_first_in_queue(world);
    struct link *link;

    if (world->token || number == WORLD_NO_LINK || world->drained_ns != world_never)
        return;
    link = &world->links[number];
    server_grant(world, number, link->place_lease_s);
    link->place_token = world->token;
    if (link->place == PLACE_ENQUEUED) {
        link->place = PLACE_GRANTED;
        return;
    }
    link->place = PLACE_NONE;
    link_reply(world, link,
               (struct message){.kind = MESSAGE_ACQUIRE,
                                .status = DFLOCKD_STATUS_DONE,
                                .token = world->token,
                                .lease_s = link->place_lease_s});
}

/* A place in the queue, granted at once if nobody else has one. */
static inline void server_queue(struct world *world, struct link *link,
                                const struct message *request)
{
    struct message reply = {.kind = request->kind, .status = DFLOCKD_STATUS_WAITING};

    link->place = request->kind == MESSAGE_ACQUIRE ? PLACE_WAITING : PLACE_ENQUEUED;
    link->order = ++world->last_order;
    link->place_lease_s = request->lease_s;
    link->wait_end_ns = world->now_ns + request->wait_ns;
    server_grant_next(world);
    if (link->place == PLACE_GRANTED) {
        reply.status = DFLOCKD_STATUS_DONE;
        reply.token = link->place_token;
        reply.lease_s = request->lease_s;
        link->place = PLACE_NONE;
    }
    if (link->place == PLACE_ENQUEUED || reply.token)
        link_reply(world, link, reply);
}

static inline void server_wait(struct world *world, struct link *link,
                               const struct message *request)
{
    struct message reply = {.kind = MESSAGE_WAIT, .status = DFLOCKD_STATUS_NOT_ENQUEUED};

    if (link->place == PLACE_ENQUEUED) {
        link->place = PLACE_WAITING;
        link->wait_end_ns = world->now_ns + request->wait_ns;
        return;
    }
    if (link->place == PLACE_GRANTED && link->place_token == world->token) {
        world->end_ns = world->now_ns + link->place_lease_s * world_s;
        reply.status = DFLOCKD_STATUS_DONE;
        reply.token = link->place_token;
        reply.lease_s = link->place_lease_s;
    } else if (link->place == PLACE_GRANTED) {
        reply.status = DFLOCKD_STATUS_LOST;
    }
    link->place = PLACE_NONE;
    link_reply(world, link, reply);
}

/* Requests that name a token. */
static inline void server_use_token(struct world *world, int number, const struct message *request)
{
    struct link *link = &world->links[number];
    struct message reply = {.kind = request->kind, .status = DFLOCKD_STATUS_NOT_HELD};

    if (request->kind == MESSAGE_OWN && world->own == OWN_CLOSE) {
        link_refuse(world, link);
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
        world->end_ns = world->now_ns + request->lease_s * world_s;
    } else if (reply.status == DFLOCKD_STATUS_DONE) {
        server_release(world);
    }
    link_reply(world, link, reply);
    server_grant_next(world);
}

static inline void server_request(struct world *world, int number, const struct message *request)
{
    struct link *link = &world->links[number];
    bool holders_only = world->drained_ns != world_never;

    if (holders_only && request->kind != MESSAGE_RENEW && request->kind != MESSAGE_RELEASE) {
        link_reply(world, link,
                   (struct message){.kind = request->kind, .status = DFLOCKD_STATUS_DRAINING});
        link_refuse(world, link);
        return;
    }
    switch (request->kind) {
    case MESSAGE_ACQUIRE:
    case MESSAGE_ENQUEUE:
        server_queue(world, link, request);
        break;
    case MESSAGE_WAIT:
        server_wait(world, link, request);
        break;
    case MESSAGE_RENEW:
    case MESSAGE_OWN:
    case MESSAGE_RELEASE:
        server_use_token(world, number, request);
        break;
    }
}

/* When the server next has something to do with the connection. */
static inline uint64_t server_link_due_ns(const struct link *link)
{
    uint64_t due_ns = link->closed ? world_never : link->server_end_ns;

    if (link->place == PLACE_WAITING)
        due_ns = world_min(due_ns, link->wait_end_ns);
    else if (!link->closed && !link->refusing)
        due_ns = world_min(due_ns, pipe_ready_ns(&link->to_server, link->server_end_ns));
    return due_ns;
}

static inline void server_serve(struct world *world, int number)
{
    struct link *link = &world->links[number];

    while (!link->closed && !link->refusing && link->place != PLACE_WAITING &&
           pipe_ready_ns(&link->to_server, link->server_end_ns) <= world->now_ns) {
        struct message request = pipe_take(&link->to_server);

        server_request(world, number, &request);
    }
    if (!link->closed && link->server_end_ns <= world->now_ns) {
        link->closed = true;
        link->place = PLACE_NONE;
        if (world->owner == number && world->auto_release)
            server_release(world);
        if (world->owner == number)
            world->owner = WORLD_NO_LINK;
    }
    if (link->place == PLACE_WAITING && link->wait_end_ns <= world->now_ns) {
        link->place = PLACE_NONE;
        link_reply(world, link,
                   (struct message){.kind = MESSAGE_ACQUIRE, .status = DFLOCKD_STATUS_TIMED_OUT});
    }
}

static inline void server_restart(struct world *world, uint64_t down_ns)
{
    bool forgets = world->restart == RESTART_FORGETS;

    world->drained_ns = world_never;
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
    server_release(world);
    if (world->restart == RESTART_DELAYS) {
        server_grant(world, WORLD_NO_LINK, WORLD_LEASE_MAX_S);
        world->end_ns += down_ns;
        world->reserved = true;
    }
}

/* Waiters are refused, and holders may finish. */
static inline void server_drain(struct world *world, uint64_t drained_ns)
{
    world->drained_ns = drained_ns;
    for (int i = 0; i < world->link_count; i++) {
        struct link *link = &world->links[i];

        if (link->place == PLACE_WAITING)
            link_reply(
                world, link,
                (struct message){.kind = MESSAGE_ACQUIRE, .status = DFLOCKD_STATUS_DRAINING});
        if (link->place == PLACE_WAITING || link->place == PLACE_ENQUEUED)
            link->place = PLACE_NONE;
    }
}

/* When the server next has something to do. */
static inline uint64_t server_due_ns(const struct world *world)
{
    uint64_t due_ns = world_min(world->token ? world->end_ns : world_never, world->drained_ns);

    for (int i = 0; i < world->link_count; i++)
        due_ns = world_min(due_ns, server_link_due_ns(&world->links[i]));
    return world_max(due_ns, world_max(world->paused_until_ns, world->down_until_ns));
}

static inline void server_step(struct world *world)
{
    int first = (int)world_below(world, (uint64_t)world->link_count + 1);

    if (world->drained_ns <= world->now_ns) {
        server_restart(world, world_below(world, 2 * world_s));
        return;
    }
    if (world->token && world->end_ns <= world->now_ns)
        server_release(world);
    for (int i = 0; i < world->link_count; i++)
        server_serve(world, (first + i) % world->link_count);
    server_grant_next(world);
}

#endif
