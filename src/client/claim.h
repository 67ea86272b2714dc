/*
 * A claim on a key: a lease (lease.h) and the connection by which it is kept. It sends what the
 * lease asks for, feeds it the replies, and connects again after a lost connection. The threads of
 * the library and the loop of dflockctl both drive claims.
 *
 * A claim is for one thread at a time. Only claim_await and claim_release wait. It uses the public
 * functions of connections alone, so that a program on the library can link this object too.
 */
#ifndef CLIENT_CLAIM_H
#define CLIENT_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "client/lease.h"
#include "dflockd/client.h"

/* Opens a connection to the server of the key. Returns DONE and sets `*connection`, which then
 * belongs to the claim; or a status, and writes the reason to `problem`. */
typedef enum dflockd_status claim_connect_function(void *owner,
                                                   struct dflockd_connection **connection,
                                                   char problem[DFLOCKD_PROBLEM_MAX]);

/* Borrowed texts live as long as the claim. */
struct claim_terms {
    const char *key;
    uint32_t limit;   /* slots of a semaphore; 0: a lock */
    uint64_t lease_s; /* that requests ask for; 0: the server's default */
    enum lease_mode mode;
    double renew_ratio;
    uint32_t connect_timeout_ms;
    uint32_t reply_timeout_ms;
    bool probe; /* find out by a request more whether a lock server answers; see `probed` */
    claim_connect_function *connect;
    void *owner;
};

struct claim {
    struct claim_terms terms;
    struct lease lease;
    const char *server;                    /* address for messages; set it before claim_ask */
    struct dflockd_connection *connection; /* NULL: none */
    uint64_t connection_number;            /* counts the connections that were opened */
    bool probed;                           /* a server answered a probe since claim_ask */
    char problem[DFLOCKD_PROBLEM_MAX];     /* why it is not held, or not verified; or "" */

    /* Private. */
    enum dflockd_command command; /* ACQUIRE, ENQUEUE or WAIT: the request for the grant */
    uint64_t until_ns;            /* when the time-out of that request ends */
    bool reused;                  /* it went over a connection that had been idle before */
    bool probing;                 /* a probe is pending on the connection, before all else */
    uint64_t demand_s;            /* lease of the renewal that was demanded; 0: as the terms say */
};

void claim_init(struct claim *claim, const struct claim_terms *terms);

/*
 * Sends a request for the grant: ACQUIRE, ENQUEUE, or WAIT of a claim that is QUEUED. Connects if
 * there is no connection. The lease is WAITING then, or NONE with the reason in `lease.why`.
 */
void claim_ask(struct claim *claim, enum dflockd_command command, uint64_t timeout_s);

/* Receives, sends and connects as far as it can without waiting. Returns the lease's state. */
enum lease_state claim_step(struct claim *claim);

/* Watch this descriptor for these events of poll(2), and call claim_step when one of them comes, or
 * at claim_due_ns of clock_boottime_ns at the latest. -1: nothing to watch; UINT64_MAX: never. */
int claim_descriptor(const struct claim *claim);
short claim_events(const struct claim *claim);
uint64_t claim_due_ns(const struct claim *claim);

/*
 * Waits until the request for the grant is answered and, if need be, the grant is confirmed, or
 * until `cancel_fd` can be read (-1: none). Returns DONE (HELD), WAITING (QUEUED), CANCELLED, or
 * why it is not held. After CANCELLED the claim has no connection, so that the server cancels too.
 */
enum dflockd_status claim_await(struct claim *claim, int cancel_fd);

/* Renews by `lease_s` seconds (0: as the terms say) as soon as it can. As lease_demand. */
uint64_t claim_demand(struct claim *claim, uint64_t lease_s);

/*
 * Releases what is HELD or UNVERIFIED, and waits for the reply. Returns DONE; LOST: the server says
 * that it was not held any more; or why that is not known: NO_REPLY, or what broke the connection.
 */
enum dflockd_status claim_release(struct claim *claim);

/* Closes the connection, by which the server cancels and releases; the lease is NONE or LOST. */
void claim_close(struct claim *claim);

#endif
