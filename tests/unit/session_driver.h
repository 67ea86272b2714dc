/*
 * Drives sessions over real stripes, for unit tests, the simulation and the fuzzer. One thread acts
 * for all workers and peers. The test decides when bytes, effects, time and disconnects come, and
 * checks the results. A misuse of the server's interfaces aborts the program.
 *
 * Peer `index` belongs to worker `index % worker_count`, where its slot is `index / worker_count`.
 */
#ifndef TESTS_UNIT_SESSION_DRIVER_H
#define TESTS_UNIT_SESSION_DRIVER_H

#include "server/session.h"

enum {
    DRIVER_WORKERS_MAX = 4
};

struct driver_options {
    struct stripes_options stripes;
    uint32_t workers;     /* with connections; at most as many as the stripes have */
    uint32_t effects_max; /* pending in one mailbox */
    uint64_t default_lease_s;
    uint32_t claims_max; /* of a connection; 0: no limit */
    uint64_t now_ns;
    const char *auth_token;                                 /* NULL: no auth is needed */
    const char *admin_token;                                /* NULL: no administrators */
    const struct memory *output_memory[DRIVER_WORKERS_MAX]; /* outlives the driver */
};

struct driver_worker {
    struct session_context context;
    struct pool output_pool;
    struct metrics_worker metrics;
    uint64_t revocations; /* that the log would have */
};

struct driver {
    struct stripes *stripes;
    struct peers *peers; /* without sockets: each address is "unknown" */
    struct secrets secrets;
    _Atomic uint64_t connections; /* now open, for stats */
    uint64_t connections_made;
    uint32_t steps; /* of a session in one call; initially UINT32_MAX, may be changed */
    uint32_t worker_count;
    struct driver_worker workers[DRIVER_WORKERS_MAX];
};

enum peer_state {
    PEER_GONE,
    PEER_OPEN,
    PEER_LEAVING /* lost; its claims are being removed */
};

/* A session and the client's end of its connection. The test sets the buffers. */
struct peer {
    struct session session;
    struct output output;
    enum peer_state state;
    enum session_want want;
    bool input_ended;
    uint32_t worker;
    uint8_t *input;
    size_t input_max;
    size_t start; /* of the received bytes that the session has not consumed */
    size_t end;
    char *replies; /* read by the client, as text; NULL: dropped */
    size_t replies_max;
    size_t reply_length;
};

/* The connection's next action after its session ran. */
enum peer_action {
    PEER_STAY,
    PEER_END_INPUT, /* call session_input_ended, then close */
    PEER_CLOSE
};

void driver_start(struct driver *driver, const struct driver_options *options);

/* All peers are gone or their outputs are empty. */
void driver_end(struct driver *driver);

/* Opens a session. Connections are numbered from 1. */
void driver_connect(struct driver *driver, struct peer *peer, uint32_t index);

void driver_add_input(struct peer *peer, const void *bytes, size_t length);

/*
 * Calls the session once with all received bytes that it has not consumed. They are in a block of
 * their exact size, so that a sanitizer detects reads beyond it.
 */
struct session_progress driver_read(struct driver *driver, struct peer *peer);

/* Returns whether the session can continue with the same bytes. */
bool driver_can_continue(const struct peer *peer);

enum peer_action driver_next_action(const struct peer *peer);

/* The client reads up to `most` bytes of the output. */
void driver_take_output(struct driver *driver, struct peer *peer, size_t most);

/* Takes the oldest effect of a worker. Returns false if there is none. */
bool driver_take_effect(struct driver *driver, uint32_t worker, struct stripes_effect *effect);

/* Returns the index of the peer that has the slot of an effect. */
uint32_t driver_index_of(const struct driver *driver, const struct stripes_effect *effect);

/* Returns whether `effect` is for the present connection of `peer`, and this is open. */
bool driver_is_for(const struct stripes_effect *effect, const struct peer *peer);

/* The worker of `peer` drains: see session_drain, whose value it returns, and claims_leave_queues.
 */
bool driver_drain(struct driver *driver, struct peer *peer);

/* Does up to `steps` of the disconnect. Returns true if the peer is gone. */
bool driver_disconnect(struct driver *driver, struct peer *peer, uint32_t steps);

static inline struct driver_worker *driver_worker_of(struct driver *driver, const struct peer *peer)
{
    return &driver->workers[peer->worker];
}

#endif
