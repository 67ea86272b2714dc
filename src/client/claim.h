/*
 * A claim on a key: a lease (lease.h) and its connection. It sends the requests of the lease, gives
 * it the replies, and reconnects. The library's threads and the event loop of dflockctl drive
 * claims.
 *
 * One thread at a time may use a claim. Only claim_await and claim_release wait. A claim uses only
 * public functions of connections, so that dflockctl can link this object.
 */
#ifndef CLIENT_CLAIM_H
#define CLIENT_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "client/lease.h"
#include "dflockd/client.h"

/* Opens a connection to the server of the key. Returns DONE and sets `*connection`, which the claim
 * then owns. Otherwise returns another status and writes the reason to `problem`. */
typedef enum dflockd_status claim_connect_function(void *owner,
                                                   struct dflockd_connection **connection,
                                                   char problem[DFLOCKD_PROBLEM_MAX]);

/*
 * Where the grant of a claim is. W is the claim's own connection, C the channel that it shares.
 *
 *   place   event                next    owner at the server  lease       action
 *   ------  -------------------  ------  -------------------  ----------  ----------------------
 *   APART   claim_move           MOVING  W                    HELD        own on C
 *   MOVING  ok                   SHARED  C                    stays       W has nothing any more
 *   MOVING  refused, W is open   APART   W                    HELD        renew on W
 *   MOVING  refused, W has ended SHARED  none                 LOST
 *   MOVING  W ends               MOVING  W, C or none         UNVERIFIED  the reply to own decides
 *   MOVING  C ends               MOVING  W, C or none         LOST        close W
 *   SHARED  C ends               SHARED  C or none            UNVERIFIED  join C again
 *   SHARED  C ends, own pending  SHARED  C, another or none   LOST
 *   MOVING, release              APART   none                 NONE        release on C
 *   SHARED
 *
 * The lease is HELD only while the owner at the server is a connection that is open here. All `own`
 * after the move go over one channel after the other, and none is left without a reply when the
 * next one is sent (lease.h).
 */
enum claim_place {
    CLAIM_APART,
    CLAIM_MOVING,
    CLAIM_SHARED
};

struct claim;

/* A connection that carries the requests of many claims (shared.h). */
struct claim_channel {
    /* Adds a request. Returns false if it must wait. claim_channel_reply follows. */
    bool (*send)(struct claim_channel *channel, struct claim *claim,
                 const struct dflockd_request *request);
    /* Drops the replies to earlier requests, and connects. Returns DONE, AGAIN (lease_connected or
     * claim_channel_ended follows), or why that failed. */
    enum dflockd_status (*join)(struct claim_channel *channel, struct claim *claim);
};

/* The texts must live as long as the claim. */
struct claim_terms {
    const char *key;
    uint32_t limit;   /* slots of a semaphore; 0: a lock */
    bool shared;      /* a shared lock, not with `limit` */
    uint64_t lease_s; /* 0: the server's default */
    enum lease_mode mode;
    double renew_ratio;
    uint32_t connect_timeout_ms;
    uint32_t reply_timeout_ms;
    bool probe; /* send a probe before the first request, see `probed` */
    claim_connect_function *connect;
    void *owner;
};

struct claim {
    struct claim_terms terms;
    struct lease lease;
    const char *server;                    /* for messages; set it before claim_ask */
    struct dflockd_connection *connection; /* NULL: none */
    uint64_t connection_number;            /* counts the connections that were opened */
    bool probed;                           /* a server has replied to a probe since claim_ask */
    char problem[DFLOCKD_PROBLEM_MAX];     /* why it is not HELD, or "" */

    /* Private. */
    enum dflockd_command command; /* ACQUIRE, ENQUEUE or WAIT: the request for the grant */
    uint64_t until_ns;            /* end of that request's timeout */
    uint64_t wait_ns; /* after which the claim ends that request itself, from when the connection is
                         ready; 0: the server ends it */
    bool reused;      /* that request used a connection that was idle before */
    bool probing;     /* the first pending request is a probe */
    uint64_t demand_s; /* lease of the demanded renewal; 0: as the terms say */
    uint64_t retry_ns; /* when to send a request that the channel did not take */

    /* Private to the channel. */
    enum claim_place place;
    struct claim_channel *channel; /* NULL if APART */
    struct list_link channel_link;
    char moved_token[DFLOCKD_TOKEN_LENGTH + 1]; /* of the grant that the channel may own, or "" */
    bool releasing;                             /* the channel owes the reply to a release */
    enum dflockd_status release_status;
};

void claim_init(struct claim *claim, const struct claim_terms *terms);

/*
 * Sends a request for the grant: ACQUIRE, ENQUEUE, or WAIT if the claim is QUEUED. Connects if
 * there is no connection. Afterwards the lease is WAITING, or NONE with the reason in `lease.why`.
 *
 * The protocol has whole seconds. If the timeout is not whole, the claim closes the connection at
 * its end, before the server would end the wait.
 */
void claim_ask(struct claim *claim, enum dflockd_command command, uint64_t timeout_ns);

/* Receives, sends and connects as far as possible without waiting. Returns the lease's state. */
enum lease_state claim_step(struct claim *claim);

/* Return the descriptor (-1: none), its events for poll(2), and a time of clock_boottime_ns
 * (UINT64_MAX: never). Call claim_step when the descriptor is ready, and at that time. */
int claim_descriptor(const struct claim *claim);
short claim_events(const struct claim *claim);
uint64_t claim_due_ns(const struct claim *claim);

/*
 * Waits until the claim is HELD or QUEUED, the request has failed, or `cancel_fd` (-1: none) is
 * readable. Returns DONE (HELD), WAITING (QUEUED), CANCELLED, or why it is not held. CANCELLED
 * closes the connection, so that the server cancels too.
 */
enum dflockd_status claim_await(struct claim *claim, int cancel_fd);

/* Renews by `lease_s` seconds (0: as the terms say) at once. Returns as lease_demand. */
uint64_t claim_demand(struct claim *claim, uint64_t lease_s);

/*
 * Releases a claim that is HELD or UNVERIFIED, and waits for the reply. Returns DONE, LOST (it was
 * no longer held), or, if the result is unknown, NO_REPLY or what broke the connection.
 */
enum dflockd_status claim_release(struct claim *claim);

/* Give the claim a connection that is idle, or take one that holds nothing (NULL: none). */
static inline void claim_give_connection(struct claim *claim, struct dflockd_connection *connection)
{
    claim->connection = connection;
    claim->connection_number++;
}

static inline struct dflockd_connection *claim_take_connection(struct claim *claim)
{
    struct dflockd_connection *connection = claim->connection;

    claim->connection = NULL;
    return connection;
}

/* ---- for a channel ---- */

/* Starts to move a claim that is HELD. Returns false if it cannot move now. */
bool claim_move(struct claim *claim, struct claim_channel *channel);

/* The channel received a reply, or has ended. Once it is connected again, call lease_connected. */
void claim_channel_reply(struct claim *claim, struct dflockd_reply *reply);
void claim_channel_ended(struct claim *claim, enum dflockd_status why, const char *problem);

/* The claim is APART. If the channel had no reply to its release, releases over another connection,
 * and waits. Returns as claim_release. */
enum dflockd_status claim_finish_release(struct claim *claim);

/* A release in an event loop. The token is wiped at its end. */
struct claim_release {
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    enum dflockd_status sent; /* DONE, or why the request was not sent */
    uint32_t stale;           /* replies to earlier requests that come first */
    bool again;               /* the first connection has ended, and a second one is used */
};

/*
 * As claim_release, without waiting. `token` is for a grant that the lease does not know; NULL: the
 * lease's. Then call claim_release_step at once, and when claim_descriptor is ready. That returns
 * AGAIN if the reply is pending, otherwise as claim_release. The caller limits the time, and calls
 * claim_release_end if it ends before.
 */
void claim_release_begin(struct claim *claim, struct claim_release *release, const char *token);
enum dflockd_status claim_release_step(struct claim *claim, struct claim_release *release);
enum dflockd_status claim_release_end(struct claim *claim, struct claim_release *release,
                                      enum dflockd_status why);

/* Closes the connection, so that the server cancels and releases. The lease is NONE or LOST. */
void claim_close(struct claim *claim);

#endif
