#include "client/claim.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "client/claim_text.h"
#include "os/clock.h"

enum {
    CLAIM_RETRY_MS = 10
};

void claim_init(struct claim *claim, const struct claim_terms *terms)
{
    const struct lease_terms lease_terms = {
        .mode = terms->mode,
        .renew_ratio = terms->renew_ratio,
        .connect_timeout_ns = terms->connect_timeout_ms * NS_PER_MS,
        .reply_timeout_ns = terms->reply_timeout_ms * NS_PER_MS,
    };

    *claim = (struct claim){.terms = *terms};
    lease_init(&claim->lease, &lease_terms);
}

/* ---- requests ---- */

static void claim_drop_connection(struct claim *claim)
{
    claim->probing = false;
    dflockd_connection_close(claim->connection);
    claim->connection = NULL;
}

static enum dflockd_status claim_connect(struct claim *claim)
{
    claim_drop_connection(claim);
    claim->connection_number++;
    return claim->terms.connect(claim->terms.owner, &claim->connection, claim->problem);
}

/*
 * Sends a request that changes nothing and to which every server replies: the release of a lock by
 * a token that no grant has. A peer that replies is a lock server. If the connection ends before,
 * this says nothing about the grant: a proxy accepts connections even if its server is down.
 */
static enum dflockd_status claim_probe(struct claim *claim)
{
    const struct dflockd_request request = {
        .command = DFLOCKD_RELEASE,
        .key = claim->terms.key,
        .token = "00000000000000000000000000000000",
    };

    claim->probing = true;
    return dflockd_connection_send(claim->connection, &request);
}

/* Sends the request for the grant with the rest of its timeout. Connects if there is no
 * connection. */
static enum dflockd_status claim_send_ask(struct claim *claim, uint64_t now_ns)
{
    struct dflockd_request request = claim_request(claim, claim->command);
    uint64_t left_ns = now_ns < claim->until_ns ? claim->until_ns - now_ns : 0;
    enum dflockd_status status = DFLOCKD_STATUS_DONE;

    request.timeout_s = (left_ns + NS_PER_S - 1) / NS_PER_S;
    claim->wait_ns = left_ns % NS_PER_S ? left_ns : 0;
    if (!claim->connection) {
        status = claim_connect(claim);
        if (status == DFLOCKD_STATUS_DONE && claim->terms.probe)
            status = claim_probe(claim);
    }
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_connection_send(claim->connection, &request);
    return status;
}

/* Returns whether the server closed an idle connection while the request was on its way. */
static bool claim_was_idle(const struct claim *claim, enum dflockd_status status)
{
    return claim->lease.state == LEASE_WAITING && claim->reused &&
           (status == DFLOCKD_STATUS_FAILED || status == DFLOCKD_STATUS_UNSUPPORTED ||
            status == DFLOCKD_STATUS_DISCONNECTED);
}

/* Drops the connection. Sends a request again if the server closed an idle connection. */
static void claim_disconnected(struct claim *claim, enum dflockd_status why)
{
    bool again = claim_was_idle(claim, why);
    uint64_t now_ns = clock_boottime_ns();

    claim_note_problem(claim, why);
    claim_drop_connection(claim);
    if (claim->place == CLAIM_MOVING) {
        lease_doubt(&claim->lease, why);
        return;
    }
    if (again) {
        claim->reused = false;
        lease_ask_again(&claim->lease, claim->terms.connect_timeout_ms * NS_PER_MS, now_ns);
        why = claim_send_ask(claim, now_ns);
        if (why == DFLOCKD_STATUS_DONE) {
            claim->problem[0] = '\0';
            return;
        }
        claim_note_problem(claim, why);
        claim_drop_connection(claim);
    }
    lease_disconnected(&claim->lease, why, clock_boottime_ns());
}

void claim_ask(struct claim *claim, enum dflockd_command command, uint64_t timeout_ns)
{
    uint64_t now_ns = clock_boottime_ns();
    uint64_t wait_ns = timeout_ns;
    enum dflockd_status status;

    claim->problem[0] = '\0';
    claim->command = command;
    claim->reused = claim->connection && command != DFLOCKD_WAIT;
    claim->until_ns = now_ns + wait_ns;
    claim->demand_s = 0;
    claim->probed = false;
    if (!claim->connection)
        wait_ns += claim->terms.connect_timeout_ms * NS_PER_MS;
    lease_ask(&claim->lease, wait_ns, now_ns);
    status = claim_send_ask(claim, now_ns);
    if (status != DFLOCKD_STATUS_DONE)
        claim_disconnected(claim, status);
}

/* ---- replies ---- */

/* Returns whether the server has replied, and the connection holds nothing there. */
static bool claim_is_clear(const struct claim *claim)
{
    enum dflockd_status why = claim->lease.why;

    if (!claim->lease.replied)
        return false;
    return why == DFLOCKD_STATUS_TIMED_OUT || why == DFLOCKD_STATUS_LIMIT_MISMATCH ||
           why == DFLOCKD_STATUS_MAX_LOCKS || why == DFLOCKD_STATUS_MAX_WAITERS;
}

static void claim_take_reply(struct claim *claim, struct dflockd_reply *reply)
{
    uint64_t answered = claim->lease.renewals_answered;

    if (claim->probing) {
        claim->probing = false;
        claim->probed = true;
        if (reply->status == DFLOCKD_STATUS_DRAINING)
            claim_disconnected(claim, reply->status);
        else
            lease_connected(&claim->lease);
        return;
    }
    if (claim_was_idle(claim, reply->status)) {
        claim_disconnected(claim, reply->status);
        return;
    }
    lease_reply(&claim->lease, reply, clock_boottime_ns());
    if (claim->lease.demanded > answered && claim->lease.demanded <= claim->lease.renewals_answered)
        claim->demand_s = 0;
    if (claim->lease.state == LEASE_HELD)
        claim->problem[0] = '\0';
    explicit_bzero(reply->token, sizeof(reply->token));
}

/* Returns whether a reply is pending, or the connection must stay open. */
static bool claim_receives(const struct claim *claim)
{
    return claim->connection && claim->lease.state != LEASE_NONE &&
           claim->lease.state != LEASE_QUEUED && claim->lease.state != LEASE_LOST;
}

static void claim_receive(struct claim *claim)
{
    while (claim_receives(claim)) {
        struct dflockd_reply reply;
        enum dflockd_status status = dflockd_connection_receive(claim->connection, &reply);

        if (status == DFLOCKD_STATUS_AGAIN)
            return;
        if (status == DFLOCKD_STATUS_DONE)
            claim_take_reply(claim, &reply);
        else
            claim_disconnected(claim, status);
    }
}

/* As claim_act, over the channel. The channel sends later than it takes a request. */
static bool claim_act_shared(struct claim *claim, enum lease_action action)
{
    const struct dflockd_request request = claim_action_request(claim, action);
    uint64_t now_ns = clock_boottime_ns();
    enum dflockd_status status;

    if (action != LEASE_CONNECT) {
        if (!claim->channel->send(claim->channel, claim, &request)) {
            claim->retry_ns = now_ns + CLAIM_RETRY_MS * NS_PER_MS;
            return false;
        }
        lease_sent(&claim->lease, now_ns);
        return true;
    }
    lease_sent(&claim->lease, now_ns);
    status = claim->channel->join(claim->channel, claim);
    if (status == DFLOCKD_STATUS_DONE)
        lease_connected(&claim->lease);
    else if (status != DFLOCKD_STATUS_AGAIN)
        claim_disconnected(claim, status);
    return true;
}

/* Returns false if the action must wait. */
static bool claim_act(struct claim *claim, enum lease_action action)
{
    const struct dflockd_request request = claim_action_request(claim, action);
    enum dflockd_status status;

    if (claim->place != CLAIM_APART)
        return claim_act_shared(claim, action);
    lease_sent(&claim->lease, clock_boottime_ns());
    if (action == LEASE_CONNECT)
        status = claim_connect(claim);
    else
        status = dflockd_connection_send(claim->connection, &request);
    if (status == DFLOCKD_STATUS_DONE && action == LEASE_CONNECT)
        status = claim_probe(claim);
    if (status != DFLOCKD_STATUS_DONE)
        claim_disconnected(claim, status);
    return true;
}

/* A connection stays after the lease only if both sides know that it holds nothing. */
static void claim_settle(struct claim *claim)
{
    bool over = claim->lease.state == LEASE_NONE || claim->lease.state == LEASE_LOST;

    if (!over || !claim->connection || claim_is_clear(claim))
        return;
    if (claim->lease.why != DFLOCKD_STATUS_TIMED_OUT)
        claim_note_problem(claim, claim->lease.why);
    claim_drop_connection(claim);
}

static void claim_begin_wait(struct claim *claim)
{
    if (claim->wait_ns == 0 || !claim->connection ||
        dflockd_connection_timeout(claim->connection) >= 0)
        return;
    lease_end_wait(&claim->lease, clock_boottime_ns() + claim->wait_ns);
    claim->wait_ns = 0;
}

enum lease_state claim_step(struct claim *claim)
{
    enum lease_action action;

    claim_receive(claim);
    claim_begin_wait(claim);
    claim->retry_ns = 0;
    while ((action = lease_next(&claim->lease, clock_boottime_ns())) != LEASE_DO_NOTHING &&
           claim_act(claim, action))
        claim_receive(claim);
    claim_settle(claim);
    return claim->lease.state;
}

/* ---- waiting ---- */

int claim_descriptor(const struct claim *claim)
{
    return claim->connection ? dflockd_connection_descriptor(claim->connection) : -1;
}

short claim_events(const struct claim *claim)
{
    return claim->connection ? dflockd_connection_events(claim->connection) : 0;
}

/* Returns when the timeout of the connection ends, of clock_boottime_ns. */
static uint64_t claim_connection_due_ns(const struct claim *claim)
{
    int timeout_ms = claim->connection ? dflockd_connection_timeout(claim->connection) : -1;

    return timeout_ms < 0 ? UINT64_MAX : clock_boottime_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

uint64_t claim_due_ns(const struct claim *claim)
{
    uint64_t lease_ns = lease_due_ns(&claim->lease);
    uint64_t connection_ns = claim_connection_due_ns(claim);

    if (lease_ns < claim->retry_ns)
        lease_ns = claim->retry_ns;
    return lease_ns < connection_ns ? lease_ns : connection_ns;
}

/* Waits for the connection or `cancel_fd` until `until_ns`. Returns true for `cancel_fd`. */
static bool claim_poll(const struct claim *claim, uint64_t until_ns, int cancel_fd)
{
    struct pollfd watched[] = {
        {.fd = cancel_fd, .events = POLLIN},
        {.fd = claim_descriptor(claim), .events = claim_events(claim)},
    };
    uint64_t now_ns = clock_boottime_ns();
    /* Rounded up, so that `until_ns` has passed when poll(2) returns. */
    uint64_t left_ms = until_ns > now_ns ? (until_ns - now_ns) / NS_PER_MS + 1 : 0;
    int ready = poll(watched, 2, left_ms < INT_MAX ? (int)left_ms : INT_MAX);

    return ready > 0 && watched[0].revents;
}

enum dflockd_status claim_await(struct claim *claim, int cancel_fd)
{
    for (;;) {
        switch (claim_step(claim)) {
        case LEASE_HELD:
            return DFLOCKD_STATUS_DONE;
        case LEASE_QUEUED:
            return DFLOCKD_STATUS_WAITING;
        case LEASE_UNVERIFIED: /* granted and disconnected in the same step */
        case LEASE_NONE:
        case LEASE_LOST: {
            enum dflockd_status why = claim->lease.why;

            if (claim->lease.state != LEASE_NONE)
                claim_close(claim);
            return claim_caller_status(why);
        }
        case LEASE_WAITING:
        case LEASE_CONFIRMING:
            break;
        }
        if (claim_poll(claim, claim_due_ns(claim), cancel_fd)) {
            claim_close(claim);
            return DFLOCKD_STATUS_CANCELLED;
        }
    }
}

uint64_t claim_demand(struct claim *claim, uint64_t lease_s)
{
    claim->demand_s = lease_s;
    return lease_demand(&claim->lease);
}

/* ---- release and end ---- */

/* Waits for the reply to the release, which follows `stale` replies to earlier requests. */
static enum dflockd_status claim_await_release(struct claim *claim, uint32_t stale,
                                               uint64_t until_ns)
{
    for (;;) {
        struct dflockd_reply reply;
        enum dflockd_status status = dflockd_connection_receive(claim->connection, &reply);
        uint64_t due_ns = claim_connection_due_ns(claim);

        if (status == DFLOCKD_STATUS_DONE && stale-- == 0)
            return reply.status;
        if (status == DFLOCKD_STATUS_DONE)
            continue;
        if (status != DFLOCKD_STATUS_AGAIN)
            return status;
        if (clock_boottime_ns() >= until_ns)
            return DFLOCKD_STATUS_NO_REPLY;
        claim_poll(claim, due_ns < until_ns ? due_ns : until_ns, -1);
    }
}

/* Sends the release, and waits for the reply. Connects if there is no connection. */
static enum dflockd_status claim_send_release(struct claim *claim, const char *token,
                                              uint32_t stale)
{
    struct dflockd_request request = claim_request(claim, DFLOCKD_RELEASE);
    uint64_t until_ns = clock_boottime_ns() + claim->terms.reply_timeout_ms * NS_PER_MS;
    enum dflockd_status status = DFLOCKD_STATUS_DONE;

    request.token = token;
    if (!claim->connection)
        status = claim_connect(claim);
    if (status == DFLOCKD_STATUS_DONE && dflockd_connection_timeout(claim->connection) >= 0)
        until_ns += claim->terms.connect_timeout_ms * NS_PER_MS;
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_connection_send(claim->connection, &request);
    if (status == DFLOCKD_STATUS_DONE)
        status = claim_await_release(claim, stale, until_ns);
    if (status != DFLOCKD_STATUS_DONE) {
        claim_note_problem(claim, status);
        claim_drop_connection(claim);
    }
    return status;
}

static uint32_t claim_pending_replies(const struct claim *claim)
{
    enum lease_action pending = claim->lease.pending;

    return (uint32_t)(pending == LEASE_SEND_OWN || pending == LEASE_SEND_RENEW) + claim->probing;
}

/*
 * Any connection can release by the token. If the old connection broke, the server may have
 * released already. Then another reply than `ok` on a new one does not say whether the lock was
 * held.
 */
enum dflockd_status claim_release(struct claim *claim)
{
    uint32_t stale = claim_pending_replies(claim);
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    enum dflockd_status status;

    memcpy(token, claim->lease.token, sizeof(token));
    lease_release(&claim->lease);
    status = claim_send_release(claim, token, stale);
    if (status == DFLOCKD_STATUS_DISCONNECTED &&
        claim_send_release(claim, token, 0) == DFLOCKD_STATUS_DONE)
        status = DFLOCKD_STATUS_DONE;
    explicit_bzero(token, sizeof(token));
    return claim_caller_status(status);
}

/* ---- for a channel ---- */

bool claim_move(struct claim *claim, struct claim_channel *channel)
{
    const struct dflockd_request request = claim_request(claim, DFLOCKD_OWN);
    uint64_t now_ns = clock_boottime_ns();

    if (!claim->connection || !lease_can_move(&claim->lease) ||
        !channel->send(channel, claim, &request))
        return false;
    lease_begin_move(&claim->lease, now_ns);
    claim->place = CLAIM_MOVING;
    claim->channel = channel;
    memcpy(claim->moved_token, claim->lease.token, sizeof(claim->moved_token));
    return true;
}

void claim_channel_reply(struct claim *claim, struct dflockd_reply *reply)
{
    if (claim->place == CLAIM_MOVING && reply->status != DFLOCKD_STATUS_DONE && claim->connection) {
        claim->place = CLAIM_APART;
        claim->channel = NULL;
        lease_end_move(&claim->lease);
        return;
    }
    claim->place = CLAIM_SHARED;
    claim_take_reply(claim, reply);
}

void claim_channel_ended(struct claim *claim, enum dflockd_status why, const char *problem)
{
    snprintf(claim->problem, sizeof(claim->problem), "%s", problem);
    if (claim->lease.pending == LEASE_SEND_OWN)
        lease_lose(&claim->lease, why);
    else
        lease_disconnected(&claim->lease, why, clock_boottime_ns());
}

enum dflockd_status claim_finish_release(struct claim *claim)
{
    enum dflockd_status status = claim->release_status;

    if (status == DFLOCKD_STATUS_NO_REPLY) {
        claim_note_problem(claim, status);
        claim_drop_connection(claim);
    } else if (status == DFLOCKD_STATUS_DISCONNECTED &&
               claim_send_release(claim, claim->moved_token, 0) == DFLOCKD_STATUS_DONE) {
        status = DFLOCKD_STATUS_DONE;
    }
    explicit_bzero(claim->moved_token, sizeof(claim->moved_token));
    return claim_caller_status(status);
}

/* ---- a release in an event loop ---- */

static enum dflockd_status claim_request_release(struct claim *claim, const char *token)
{
    struct dflockd_request request = claim_request(claim, DFLOCKD_RELEASE);
    enum dflockd_status status = DFLOCKD_STATUS_DONE;

    request.token = token;
    if (!claim->connection)
        status = claim_connect(claim);
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_connection_send(claim->connection, &request);
    if (status != DFLOCKD_STATUS_DONE) {
        claim_note_problem(claim, status);
        claim_drop_connection(claim);
    }
    return status;
}

void claim_release_begin(struct claim *claim, struct claim_release *release, const char *token)
{
    *release = (struct claim_release){0};
    if (claim->connection)
        release->stale = claim_pending_replies(claim);
    memcpy(release->token, token ? token : claim->lease.token, sizeof(release->token));
    lease_release(&claim->lease);
    release->sent = claim_request_release(claim, release->token);
}

/* Receives up to the reply to the release. Returns its status, AGAIN, or what ended the
 * connection. */
static enum dflockd_status claim_receive_release(struct claim *claim, struct claim_release *release)
{
    struct dflockd_reply reply;
    enum dflockd_status status;

    if (release->sent != DFLOCKD_STATUS_DONE)
        return release->sent;
    do {
        status = dflockd_connection_receive(claim->connection, &reply);
        if (status != DFLOCKD_STATUS_DONE)
            return status;
    } while (release->stale-- > 0);
    return reply.status;
}

enum dflockd_status claim_release_step(struct claim *claim, struct claim_release *release)
{
    enum dflockd_status status = claim_receive_release(claim, release);

    if (status == DFLOCKD_STATUS_DISCONNECTED && !release->again) {
        release->again = true;
        release->stale = 0;
        claim_note_problem(claim, status);
        claim_drop_connection(claim);
        release->sent = claim_request_release(claim, release->token);
        status = claim_receive_release(claim, release);
    }
    if (status == DFLOCKD_STATUS_AGAIN)
        return status;
    return claim_release_end(claim, release, status);
}

enum dflockd_status claim_release_end(struct claim *claim, struct claim_release *release,
                                      enum dflockd_status why)
{
    if (why != DFLOCKD_STATUS_DONE) {
        claim_note_problem(claim, why);
        claim_drop_connection(claim);
        if (release->again)
            why = DFLOCKD_STATUS_DISCONNECTED;
    }
    explicit_bzero(release->token, sizeof(release->token));
    return claim_caller_status(why);
}

void claim_close(struct claim *claim)
{
    claim_drop_connection(claim);
    lease_release(&claim->lease);
}
