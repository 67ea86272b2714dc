/*
 * The connections of one worker: their slots, the list of those with work, their deadlines.
 *
 * In a turn of the worker, completions, effects and timeouts change connections and queue them.
 * Then queued connections advance, as far as the budget of the turn permits; see server/turn.h.
 */
#ifndef SERVER_CONNECTIONS_H
#define SERVER_CONNECTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/connection.h"
#include "server/evictor.h"
#include "server/slots.h"

/* Tags in the ring below this are the worker's. */
enum {
    CONNECTIONS_TAG_MIN = TRANSPORT_TAG_MIN
};

struct connections_options {
    struct memory memory;
    struct budget *buffers; /* of the process: memory for input and replies */
    struct ring *ring;
    uint32_t buffer_count; /* receive buffers of the ring */
    struct session_context session;
    struct tls_place *tls; /* NULL: no TLS */
    uint32_t worker;
    uint32_t workers;            /* of the process */
    _Atomic uint64_t *next_id;   /* of the process: connections so far */
    _Atomic uint64_t *open;      /* of the process: connections now */
    struct ip_limits *ip_limits; /* NULL: there are none */
    uint64_t read_timeout_ns;
    uint64_t write_timeout_ns; /* 0: none */
};

struct connections {
    struct connection_context context;
    struct memory memory;
    struct mailbox *mailbox;
    struct pool pool;
    struct slots slots;
    uint32_t swept; /* slots whose connections know of the drain; UINT32_MAX: there is none */
    uint32_t round; /* connections that LATER has yet to advance in this turn */
    _Atomic uint64_t *next_id;
    struct evictor evictor;
    uint64_t other_workers; /* a bit for each */
    uint32_t worker;
    uint32_t buffer_count;
    bool evicting; /* the evictor needs another turn */
};

/* Allocates nothing. */
void connections_init(struct connections *connections, const struct connections_options *options);

/* No connection may be left. */
void connections_free(struct connections *connections);

uint64_t connections_count(const struct connections *connections);

/*
 * Takes over the socket `descriptor` and its entry in the IP limits (or IP_LIMITS_NONE). Returns
 * false if memory or slots are short: the caller keeps both.
 */
bool connections_open(struct connections *connections, int descriptor, uint32_t ip_limit);

/* What a turn does besides; each function gets `context`. */
struct connections_hooks {
    /* Processes a completion whose tag is below CONNECTIONS_TAG_MIN. */
    void (*complete)(void *context, const struct completion *completion);
    void (*expire)(void *context); /* processes deadlines that are not of connections or locks */
    void (*flush)(void *context);  /* submits the ring's requests and wakes other workers */
    void *context;
};

/*
 * Does a turn's phases, see server/turn.h, once the ring has collected completions and now_ns is
 * set. Returns true if the next turn must not wait.
 */
bool connections_turn(struct connections *connections, const struct connections_hooks *hooks);

/* Returns when the next timeout expires; UINT64_MAX: never. */
uint64_t connections_deadline(const struct connections *connections);

/*
 * The server drains: serves only clients that hold locks from now on. Blocked requests end in this
 * and the following turns.
 */
void connections_drain(struct connections *connections);

/*
 * The second phase of draining: closes each connection, later ones too, as soon as its client holds
 * no lease and all its requests have replies. Ends incomplete TLS handshakes.
 */
void connections_dismiss(struct connections *connections);

/* Returns the number of connections whose clients hold a lease. Asks the stripes for each. */
uint64_t connections_count_holders(const struct connections *connections);

/* Aborts all connections, in this and the following turns. */
void connections_abort(struct connections *connections);

/*
 * The kernel dropped completions: bytes of a request, or the failure of a send, may be missing, and
 * a client could take the reply to one request for the reply to another. Ends all connections. Must
 * be called before another completion is processed.
 */
void connections_lose(struct connections *connections);

#endif
