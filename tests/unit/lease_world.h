/*
 * A model of a server with one lock and of the network to its clients, under a virtual clock. It
 * shares no code with the server.
 *
 * The server grants in the order of requests, ends leases, and releases a grant when it sees the
 * end of its connection. It can pause, drain, and restart with or without its grants. The messages
 * of one connection and direction stay in order, and each takes a random time. The two sides can
 * see the end of a connection at different moments. A connection can also lose all messages without
 * an end.
 */
#ifndef TESTS_UNIT_LEASE_WORLD_H
#define TESTS_UNIT_LEASE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/time_units.h"
#include "dflockd/client.h"
#include "seeded.h"

enum {
    WORLD_LINKS = 48,
    WORLD_PIPE = 64, /* messages on their way in one direction */
    WORLD_NO_LINK = -1,
    WORLD_LEASE_MAX_S = 8
};

#define WORLD_NEVER UINT64_MAX

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

/* The state of a connection at the server. */
enum place {
    PLACE_NONE,
    PLACE_ENQUEUED, /* in the queue, and no request is pending */
    PLACE_WAITING,  /* in the queue, and a request is pending */
    PLACE_GRANTED   /* enqueued and granted; its client does not know yet */
};

struct link {
    struct pipe to_server;
    struct pipe to_client;
    uint64_t client_end_ns; /* when the client can see the end */
    uint64_t server_end_ns; /* when the server can see the end */
    bool silent;            /* the network drops all messages */
    bool refusing;          /* the server reads no more requests */
    bool closed;            /* the server has seen the end */
    enum place place;
    uint64_t order; /* in the queue */
    uint64_t place_token;
    uint64_t place_lease_s;
    uint64_t wait_end_ns;
};

enum own_support {
    OWN_KNOWN,
    OWN_ERROR, /* unknown: the server replies `error` */
    OWN_CLOSE  /* unknown: the server closes the connection */
};

enum restart_kind {
    RESTART_REMEMBERS, /* the server keeps the grant */
    RESTART_FORGETS,   /* it forgets the grant, and each client sees the end at once */
    RESTART_DELAYS     /* it forgets the grant, and grants nothing for the longest lease */
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
    bool reserved; /* no client has the grant: RESTART_DELAYS */
    uint64_t last_token;
    uint64_t last_order;

    uint64_t paused_until_ns;
    uint64_t down_until_ns;
    uint64_t drained_ns; /* when draining ends with a restart; WORLD_NEVER: not draining */
    enum restart_kind restart;
};

uint64_t world_below(struct world *world, uint64_t bound);

bool world_chance(struct world *world, uint32_t one_in);

uint64_t world_min(uint64_t left, uint64_t right);

uint64_t world_max(uint64_t left, uint64_t right);

uint64_t world_delay(struct world *world);

void world_init(struct world *world, uint64_t seed);

struct message world_pipe_take(struct pipe *pipe);

/* Returns when the first message arrives; WORLD_NEVER if the receiver sees the end before. */
uint64_t world_pipe_ready_ns(const struct pipe *pipe, uint64_t end_ns);

/* Returns a new connection, or WORLD_NO_LINK. */
int world_connect(struct world *world);

void world_send(struct world *world, int number, struct message message);

/*
 * The client closes a connection. The server sees that after all messages, or never if the network
 * drops them. Does nothing if the client had seen the end before.
 */
void world_close(struct world *world, int number);

/* Returns when the client can read from a connection. */
uint64_t world_readable_ns(const struct world *world, int number);

void world_server_restart(struct world *world, uint64_t down_ns);

/* The server refuses waiters and serves holders. */
void world_server_drain(struct world *world, uint64_t drained_ns);

/* Returns when the server must run. */
uint64_t world_server_due_ns(const struct world *world);

void world_server_step(struct world *world);

#endif
