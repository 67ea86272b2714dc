/*
 * The simulated process: the real stripes, sessions and mailboxes of some workers, a manual
 * clock, clients, and the model. It has one thread.
 *
 * Times do not tie: the clock repeats an instant's last six digits once in a million, and modulo
 * three seconds no wait equals a lease (generator.c). So a lease and a wait never end at the
 * same nanosecond, where the model could not know the order.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "coverage.h"
#include "event.h"
#include "keys.h"
#include "model.h"
#include "scarce_memory.h"
#include "session_driver.h"
#include "sim_request.h"

enum {
    WIRE_MAX = 4096,       /* bytes sent and not yet served */
    REQUESTS_MAX = 32,     /* of the unserved requests */
    REPLIES_MAX = 1 << 18, /* bytes of output per turn */
    STALE_MAX = 64,
    FAILURE_MAX = 2048
};

enum session_model_state {
    SESSION_MODEL_AUTH,
    SESSION_MODEL_READY,
    SESSION_MODEL_BLOCKED,
    SESSION_MODEL_STATS_WAITING, /* until others have read theirs */
    SESSION_MODEL_STATS,
    SESSION_MODEL_ENDED
};

/* A pending `stats` reply. */
struct stats_text {
    char *bytes;
    uint32_t length;
    uint32_t capacity;
    uint32_t turns;
    uint64_t step; /* of the model at the start */
    uint64_t connections;
    uint64_t from_ns[MODEL_STRIPES];
};

/* The model of a session. */
struct session_model {
    uint8_t state; /* enum session_model_state */
    bool authenticated;
    bool administrator;
    bool blocked_in_wait;
    uint8_t blocked_stripe;
    bool watching;
    bool walking; /* counts in world->walks */
    bool full;    /* stopped until the peer reads */
    /* Of the last reading: */
    bool out_of_steps;
    bool show_left;        /* it left `show` for a turn with more steps */
    bool walked;           /* it wrote statistics */
    uint32_t steps;        /* for requests, stripes whose claims were counted, claims shown */
    uint32_t overdrawn;    /* beyond those that it had */
    uint32_t claims_bound; /* the client has at most so many claims */
    uint8_t watched_stripe;
    uint64_t stripes;    /* bits of the stripes of its requests */
    uint32_t served_end; /* end of the last served request in `wire` */
    uint32_t first;
    uint32_t count;
    struct sim_request request[REQUESTS_MAX];
    struct stats_text stats;
};

struct sim_peer {
    struct peer driven;
    bool slow;                   /* it does not read */
    uint32_t number;             /* of the peer, from 0 */
    uint32_t length;             /* bytes sent; `driven.end` of these are received */
    size_t compared;             /* output bytes compared but not read */
    const struct sim_name *name; /* NULL: none */
    struct session_model session_model;
    uint8_t wire[WIRE_MAX];
};

struct sim_worker {
    struct scarce_memory output_memory;
    bool asleep;
    uint64_t until_ns; /* end of its sleep; 0: awake */
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
    struct driver driver;
    uint32_t stripe_count;
    uint64_t clock_ns;
    uint32_t ticks;
    uint32_t walks;         /* running `stats` */
    uint64_t revoked;       /* grants, as the log must have them */
    uint64_t woken;         /* workers to wake since they fell asleep */
    uint64_t wakes;         /* in this event */
    bool fence_store_woken; /* since the last addition of fences */
    struct sim_worker workers[SIM_WORKERS_MAX];
    struct token stale[STALE_MAX];
    uint32_t stale_count;
    struct coverage coverage;
    uint64_t event; /* number of applied events */
    const char *activity;
    sigjmp_buf *escape;
    char failure[FAILURE_MAX];
    size_t replies_start; /* output bytes from earlier turns */
    uint32_t replies_length;
    uint32_t replies_at;
    char replies[REPLIES_MAX];
    struct model model;
    struct sim_peer peers[SIM_CLIENTS_MAX];
};

/* Returns a world ready for events. Jumps to `escape` with `failure` set on any mismatch. */
struct world *world_create(const struct policy *policy, sigjmp_buf *escape);

/* Ends everything and checks that no state is left. */
void world_finish(struct world *world);

/* After world_finish. */
void world_destroy(struct world *world);

/* Applies an event, or skips it if it does not apply, and compares what is visible. */
void world_apply(struct world *world, const struct event *event);

_Noreturn void world_fail(struct world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline struct driver_worker *worker_of(struct world *world, const struct sim_peer *peer)
{
    return driver_worker_of(&world->driver, &peer->driven);
}

static inline uint32_t stripe_home(const struct world *world, uint32_t stripe)
{
    return stripe % world->policy.workers;
}

static inline void world_count(struct world *world, enum coverage_kind kind)
{
    world->coverage.counts[kind]++;
}

/* Prepares the model for a call on `stripe` with the clock of `worker`. */
/*
 * Sets the clock to a time after `ns`, in the next millisecond or `milliseconds` later. The last
 * six digits repeat after a long time only.
 */
void world_set_clock(struct world *world, uint64_t ns, uint32_t milliseconds);

void world_enter(struct world *world, const struct driver_worker *worker, uint32_t stripe);

#endif
