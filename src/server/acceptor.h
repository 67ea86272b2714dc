/*
 * Accepts a worker's connections, within the limits on their number.
 *
 * Each worker accepts from a TCP listener of its own. Listeners that all workers share belong to
 * worker 0, which hands their connections to the workers in turn. If every worker accepted from
 * them, the kernel would give nearly all connections to the worker that asked first.
 *
 *   state      event                 next       action
 *   IDLE       acceptor_request      ACCEPTING  request accepts
 *   ACCEPTING  request ended         IDLE       pause if the error may last
 *   ACCEPTING  completions dropped   IDLE       cancel the request
 *   IDLE       listener closes       CLOSED     close the socket
 *   ACCEPTING  listener closes       CLOSING    cancel the request, close the socket
 *   CLOSING    request ended         CLOSED
 *   CLOSING    completions dropped   CLOSED     cancel the request
 */
#ifndef SERVER_ACCEPTOR_H
#define SERVER_ACCEPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "os/ring.h"
#include "server/connections.h"
#include "server/ip_limits.h"
#include "server/listeners.h"

enum acceptor_state {
    ACCEPTOR_IDLE, /* open, and no request is in the ring */
    ACCEPTOR_ACCEPTING,
    ACCEPTOR_CLOSING,
    ACCEPTOR_CLOSED
};

struct acceptor_options {
    struct ring *ring;
    struct connections *connections; /* of this worker */
    const struct listeners *listeners;
    struct ip_limits *ip_limits; /* NULL: no limit for an address */
    _Atomic uint64_t *open;      /* connections of the process */
    uint64_t connections_max;    /* of the process; 0: no limit */
    const int *rings;            /* the descriptor of each worker's ring */
    uint32_t workers;
    uint32_t worker; /* this one */
};

struct acceptor {
    struct acceptor_options options;
    struct listener listeners[LISTENERS_MAX];
    enum acceptor_state states[LISTENERS_MAX]; /* of the listeners */
    uint32_t count;
    uint32_t next_worker; /* gets the next connection of a shared listener */
    bool draining;
    uint64_t tag;      /* of the first listener; those of others follow */
    uint64_t retry_ns; /* no request before; UINT64_MAX: no pause */
    uint64_t warned_ns;
};

/* Starts with all listeners of the worker IDLE. `tag`: see struct acceptor. */
void acceptor_init(struct acceptor *acceptor, const struct acceptor_options *options, uint64_t tag);

/* Requests connections from IDLE listeners, unless accepting pauses. For each turn. */
void acceptor_request(struct acceptor *acceptor, uint64_t now_ns);

/* Handles the completion of a request on the listener with this index. */
void acceptor_completion(struct acceptor *acceptor, uint64_t now_ns, uint32_t index,
                         const struct completion *completion);

/* Opens a connection on `descriptor`, or closes it if a limit is reached. `local`: see listener. */
void acceptor_admit(struct acceptor *acceptor, uint64_t now_ns, int descriptor, bool local);

/* A descriptor has become free: ends a pause. */
void acceptor_end_pause(struct acceptor *acceptor, uint64_t now_ns);

/* Returns when a pause ends. UINT64_MAX: there is none. */
uint64_t acceptor_deadline(const struct acceptor *acceptor);

/*
 * Draining begins. No new connection can begin on the worker's own listeners; those in their queues
 * are still accepted. Closes passed listeners: connections in their queues belong to the next
 * server. From now on no connection is handed to another worker, which may have ended.
 */
void acceptor_begin_drain(struct acceptor *acceptor);

/* Closes all listeners. */
void acceptor_close(struct acceptor *acceptor);

/* Returns whether all listeners are CLOSED. */
bool acceptor_is_closed(const struct acceptor *acceptor);

/* Handles the loss of completions: gives up all requests. Later ones have tags from `tag` on. */
void acceptor_lose(struct acceptor *acceptor, uint64_t tag);

#endif
