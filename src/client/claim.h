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

#include "client/lease.h"
#include "dflockd/client.h"

/* Opens a connection to the server of the key. Returns DONE and sets `*connection`, which the claim
 * then owns. Otherwise returns another status and writes the reason to `problem`. */
typedef enum dflockd_status claim_connect_function(void *owner,
                                                   struct dflockd_connection **connection,
                                                   char problem[DFLOCKD_PROBLEM_MAX]);

/* The texts must live as long as the claim. */
struct claim_terms {
    const char *key;
    uint32_t limit;   /* slots of a semaphore; 0: a lock */
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

/* Closes the connection, so that the server cancels and releases. The lease is NONE or LOST. */
void claim_close(struct claim *claim);

#endif
