/*
 * The simulated process: the real stripes, sessions and mailboxes of some workers, a clock that is
 * moved by hand, clients, and the model beside it. One thread does it all.
 *
 * Ties in time: the clock shows each instant's last six digits once in a million, and no wait is
 * as long as a lease, modulo three seconds (generator.c); so a lease and a wait never end at the
 * same nanosecond, and what the model could not know does not happen.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "coverage.h"
#include "event.h"
#include "keys.h"
#include "model.h"
#include "scarce_memory.h"
#include "server/session.h"
#include "wording.h"

enum {
    WIRE_MAX = 4096,    /* bytes that a client said and that were not served */
    ASKED_MAX = 32,     /* requests of them */
    SAID_MAX = 1 << 18, /* bytes that a session says in one go */
    STALE_MAX = 64,
    FAILURE_MAX = 2048
};

enum talk_state {
    TALK_AUTH,
    TALK_READY,
    TALK_BLOCKED,
    TALK_STATS_WAITING, /* for others to have read theirs */
    TALK_STATS,
    TALK_OVER
};

/* A `stats` under way, as its client gets it. */
struct stats_text {
    char *bytes;
    uint32_t length;
    uint32_t capacity;
    uint32_t turns;
    uint64_t step; /* of the model, when it began */
    uint64_t connections;
    uint64_t from_ns[MODEL_STRIPES];
};

/* What the model knows of a session. */
struct talk {
    uint8_t state; /* enum talk_state */
    bool authenticated;
    bool blocked_in_wait;
    uint8_t blocked_stripe;
    bool watching;
    bool walking; /* counts among the walks of the world */
    bool full;    /* stopped until the peer reads */
    uint8_t watched_stripe;
    uint64_t stripes;    /* a bit for each where it asked for something */
    uint32_t served_end; /* of the last request that was served, in `wire` */
    uint32_t first;
    uint32_t count;
    struct asked asked[ASKED_MAX];
    struct stats_text stats;
};

enum peer_place {
    PEER_EMPTY,
    PEER_OPEN,
    PEER_CLOSING /* gone; what it had is being taken away */
};

struct peer {
    uint8_t place; /* enum peer_place */
    uint8_t want;  /* enum session_want */
    bool ended;    /* it says nothing any more */
    bool slow;     /* it does not read what it is told */
    uint8_t worker;
    uint32_t number; /* of the peer, from 0 */
    uint32_t slot;
    uint64_t id;
    uint32_t length;    /* of what it said */
    uint32_t delivered; /* of that came */
    uint32_t consumed;  /* of that was served */
    size_t heard;       /* bytes of its output that were compared, and that it did not read */
    struct session session;
    struct output output;
    struct talk talk;
    uint8_t wire[WIRE_MAX];
};

struct sim_worker {
    struct session_context host;
    struct pool output_pool;
    struct scarce_memory output_memory;
    bool asleep;
    uint64_t until_ns; /* when it wakes by itself; 0: as if it never had slept */
};

struct token {
    uint64_t fence;
    uint64_t salt;
    uint16_t key;
};

struct world {
    struct policy policy;
    struct key_names names;
    struct scarce_memory memory;
    struct stripes *stripes;
    struct secret secret;
    uint32_t stripe_count;
    uint64_t clock_ns;
    uint32_t ticks;
    uint64_t connections_made;
    _Atomic uint64_t connections;
    uint32_t walks;    /* of sessions that are making statistics */
    uint64_t woken;    /* workers that were to be woken since they slept */
    uint64_t wakes;    /* in this event */
    bool keeper_woken; /* since there were more fences */
    struct sim_worker workers[SIM_WORKERS_MAX];
    struct token stale[STALE_MAX];
    uint32_t stale_count;
    struct coverage coverage;
    uint64_t event; /* how many were applied */
    const char *doing;
    sigjmp_buf *escape;
    char failure[FAILURE_MAX];
    size_t said_before; /* bytes of the output that were there already */
    uint32_t said_length;
    uint32_t said_at;
    char said[SAID_MAX];
    struct model model;
    struct peer peers[SIM_CLIENTS_MAX];
};

/* A world ready for events; jumps to `escape` with `failure` set when anything is not as it must.
 */
struct world *world_create(const struct policy *policy, sigjmp_buf *escape);

/* Ends what is left and sees that nothing is. */
void world_finish(struct world *world);

/* After world_finish. */
void world_destroy(struct world *world);

/* Applies an event, or skips it where it makes no sense, and compares what can be seen. */
void world_apply(struct world *world, const struct event *event);

_Noreturn void world_fail(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline struct sim_worker *worker_of(struct world *world, const struct peer *peer)
{
    return &world->workers[peer->worker];
}

static inline uint32_t stripe_home(const struct world *world, uint32_t stripe)
{
    return stripe % world->policy.workers;
}

static inline void world_count(struct world *world, enum coverage_kind kind)
{
    world->coverage.counts[kind]++;
}

/* Calls `stripe` in the model, with the clock of `worker`. */
void world_enter(struct world *world, const struct sim_worker *worker, uint32_t stripe);

#endif
