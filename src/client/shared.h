/*
 * The shared connection of a client to one server. It owns the grants of many claims there; their
 * renewals, `own` and releases go over it. Nothing else does: a draining server would close it.
 * Replies come in order, so a ring of the pending requests maps them to claims.
 *
 * Programs with few locks do not need it. The first SHARED_APART_MAX claims keep their connections,
 * and the shared one opens for the next. A released connection returns to the pool (pool.h).
 *
 *   state   event                                  next     action
 *   ------  -------------------------------------  ------- ----------------------------------------
 *   CLOSED  a claim must move or join              PROBING  connect, release no grant
 *   PROBING a reply                                READY    move and join
 *   PROBING a reply, and an unknown command ends   CLOSED   the server does not know `own`
 *           a connection (extensions.h)
 *   PROBING end, deadline                          CLOSED
 *   READY   end                                    CLOSED   claim_channel_ended
 *   READY   nothing to own for SHARED_IDLE_MS      CLOSED   close, before the server does
 *
 * Servers that know `own` and others may both reply `error` to an unknown token. So one claim moves
 * first. If its `own` is refused, no other claim moves.
 *
 * The renewer's mutex guards all of it.
 */
#ifndef CLIENT_SHARED_H
#define CLIENT_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "client/claim.h"
#include "client/servers.h"
#include "dflockd/client.h"

enum {
    SHARED_APART_MAX = 4, /* kept claims of a server with their own connections */
    /* Less than the requests that a connection takes (connection.c). */
    SHARED_PENDING_MAX = 2048,
    SHARED_IDLE_MS = 1000,
    SHARED_RETRY_MS = 1000
};

enum shared_state {
    SHARED_CLOSED,
    SHARED_PROBING,
    SHARED_READY
};

struct shared_request {
    struct claim *claim; /* NULL: it has left */
    bool release;
};

struct shared {
    struct claim_channel channel;
    const struct servers *servers;
    size_t server;
    struct list users;   /* claims that are MOVING or SHARED */
    struct list waiting; /* claims that are APART and must move */
    bool unsent;         /* requests were added since the last shared_next */

    /* Private. */
    enum shared_state state;
    struct dflockd_connection *connection; /* NULL: CLOSED */
    uint64_t connection_number;            /* counts the connections that were opened */
    uint64_t due_ns; /* PROBING: its deadline; READY: of an idle close; CLOSED: of the next try */
    uint32_t first;
    uint32_t count;
    struct shared_request requests[SHARED_PENDING_MAX];
};

enum shared_event {
    SHARED_NOTHING,
    SHARED_REPLIED,
    SHARED_CHANGED /* it became ready, or ended: serve all users and waiting claims */
};

/* `servers` must live as long as `shared`. */
void shared_init(struct shared *shared, const struct servers *servers, size_t server);

/* Closes the connection. No claim may be left. */
void shared_close(struct shared *shared);

/* Makes a claim that is HELD and APART wait for its move, unless the server does not know `own`. */
void shared_add(struct shared *shared, struct claim *claim);

/* Moves a waiting claim as soon as possible; connects if needed. */
void shared_move(struct shared *shared, struct claim *claim);

/* The claim is APART afterwards. Drops its pending replies. If its grant may still be owned here,
 * releases it. */
void shared_leave(struct shared *shared, struct claim *claim);

/*
 * Sends the release of a claim. Returns false if it is APART or the connection is not ready. Else
 * `claim->releasing` becomes false, and `release_status` is set, when the reply comes or the
 * connection ends. Call shared_leave then.
 */
bool shared_release(struct shared *shared, struct claim *claim);

/* Sends and receives without waiting. Call it until it returns SHARED_NOTHING. Sets `*claim` to the
 * one that must be served because a reply to it came; NULL: none. */
enum shared_event shared_next(struct shared *shared, struct claim **claim);

/* As the same functions of claim.h. */
int shared_descriptor(const struct shared *shared);
short shared_events(const struct shared *shared);
uint64_t shared_due_ns(const struct shared *shared);

#endif
