#include "client/shared.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "client/claim_text.h"
#include "client/connection.h"
#include "os/clock.h"

static const char no_token[] = "00000000000000000000000000000000";

static struct shared *shared_of(struct claim_channel *channel)
{
    return CONTAINER_OF(channel, struct shared, channel);
}

static struct claim *shared_claim_of(struct list_link *link)
{
    return CONTAINER_OF(link, struct claim, channel_link);
}

static struct extensions *shared_extensions(const struct shared *shared)
{
    return &shared->servers->extensions[shared->server];
}

/* ---- requests ---- */

/* Returns whether the connection has the request. The claim is that of the reply. */
static bool shared_add_request(struct shared *shared, struct claim *claim, bool release,
                               const struct dflockd_request *request)
{
    if (shared->state != SHARED_READY || shared->count == SHARED_PENDING_MAX)
        return false;
    shared->unsent = true;
    if (dflockd_connection_send(shared->connection, request) != DFLOCKD_STATUS_DONE)
        return false;
    shared->requests[(shared->first + shared->count++) % SHARED_PENDING_MAX] =
        (struct shared_request){.claim = claim, .release = release};
    return true;
}

static struct dflockd_request shared_release_request(const struct claim *claim)
{
    struct dflockd_request request = claim_request(claim, DFLOCKD_RELEASE);

    request.token = claim->moved_token;
    return request;
}

static struct shared_request shared_take_request(struct shared *shared)
{
    struct shared_request request = shared->requests[shared->first];

    shared->first = (shared->first + 1) % SHARED_PENDING_MAX;
    shared->count--;
    return request;
}

/* The replies to the claim's requests go to nobody. */
static void shared_forget_requests(struct shared *shared, const struct claim *claim)
{
    for (uint32_t i = 0; i < shared->count; i++) {
        struct shared_request *request =
            &shared->requests[(shared->first + i) % SHARED_PENDING_MAX];

        if (request->claim == claim)
            request->claim = NULL;
    }
}

static bool shared_send(struct claim_channel *channel, struct claim *claim,
                        const struct dflockd_request *request)
{
    return shared_add_request(shared_of(channel), claim, false, request);
}

/* ---- the connection ---- */

static bool shared_is_idle(const struct shared *shared)
{
    return list_empty(&shared->users) && list_empty(&shared->waiting) && shared->count == 0;
}

static void shared_set_idle_deadline(struct shared *shared)
{
    if (shared->state == SHARED_READY)
        shared->due_ns = clock_boottime_ns() + SHARED_IDLE_MS * NS_PER_MS;
}

static void shared_drop_connection(struct shared *shared)
{
    dflockd_connection_close(shared->connection);
    shared->connection = NULL;
    shared->state = SHARED_CLOSED;
    shared->due_ns = clock_boottime_ns() + SHARED_RETRY_MS * NS_PER_MS;
}

/* Returns AGAIN, or why it failed, with `problem`. */
static enum dflockd_status shared_connect(struct shared *shared, char *problem)
{
    const struct dflockd_request request = {
        .command = DFLOCKD_RELEASE,
        .key = "dflockd-probe",
        .token = no_token,
    };
    uint64_t timeout_ms =
        (uint64_t)shared->servers->connect_timeout_ms + shared->servers->reply_timeout_ms;
    enum dflockd_status status;

    shared->due_ns = clock_boottime_ns() + SHARED_RETRY_MS * NS_PER_MS;
    status = connection_open(&shared->connection, shared->servers, shared->server, true, problem);
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    shared->connection_number++;
    shared->state = SHARED_PROBING;
    shared->unsent = true;
    shared->due_ns = clock_boottime_ns() + timeout_ms * NS_PER_MS;
    status = dflockd_connection_send(shared->connection, &request);
    if (status == DFLOCKD_STATUS_DONE)
        return DFLOCKD_STATUS_AGAIN;
    snprintf(problem, DFLOCKD_PROBLEM_MAX, "%s", dflockd_connection_problem(shared->connection));
    shared_drop_connection(shared);
    return status;
}

static enum dflockd_status shared_join(struct claim_channel *channel, struct claim *claim)
{
    struct shared *shared = shared_of(channel);

    shared_forget_requests(shared, claim);
    if (shared->state == SHARED_READY)
        return DFLOCKD_STATUS_DONE;
    return shared->state == SHARED_PROBING ? DFLOCKD_STATUS_AGAIN
                                           : shared_connect(shared, claim->problem);
}

/* Nothing moves any more. */
static void shared_refuse(struct shared *shared)
{
    struct list_link *link;

    shared_extensions(shared)->own = KNOWLEDGE_NO;
    while ((link = list_first(&shared->waiting)))
        list_remove(link);
}

/* Ends the connection for all claims. */
static void shared_end(struct shared *shared, enum dflockd_status why)
{
    char problem[DFLOCKD_PROBLEM_MAX];

    snprintf(problem, sizeof(problem), "%s", dflockd_connection_problem(shared->connection));
    if (problem[0] == '\0')
        snprintf(problem, sizeof(problem), "%.320s: %s",
                 shared->servers->addresses[shared->server].text, dflockd_status_text(why));
    shared_drop_connection(shared);
    while (shared->count > 0) {
        struct shared_request request = shared_take_request(shared);

        if (request.claim && request.release) {
            request.claim->releasing = false;
            request.claim->release_status = DFLOCKD_STATUS_DISCONNECTED;
        }
    }
    for (struct list_link *link = shared->users.head.next; link != &shared->users.head;
         link = link->next) {
        if (!shared_claim_of(link)->releasing)
            claim_channel_ended(shared_claim_of(link), why, problem);
    }
}

/* ---- beginning and end ---- */

void shared_init(struct shared *shared, const struct servers *servers, size_t server)
{
    shared->channel = (struct claim_channel){.send = shared_send, .join = shared_join};
    shared->servers = servers;
    shared->server = server;
    list_init(&shared->users);
    list_init(&shared->waiting);
}

void shared_close(struct shared *shared)
{
    assert(list_empty(&shared->users) && list_empty(&shared->waiting));
    dflockd_connection_close(shared->connection);
    shared->connection = NULL;
}

/* ---- claims ---- */

void shared_add(struct shared *shared, struct claim *claim)
{
    if (shared_extensions(shared)->own != KNOWLEDGE_NO)
        list_push_back(&shared->waiting, &claim->channel_link);
}

void shared_move(struct shared *shared, struct claim *claim)
{
    char problem[DFLOCKD_PROBLEM_MAX];

    if (claim->place != CLAIM_APART || !list_linked(&claim->channel_link))
        return;
    if (shared->state == SHARED_CLOSED && clock_boottime_ns() >= shared->due_ns)
        shared_connect(shared, problem);
    if (shared_extensions(shared)->own == KNOWLEDGE_NONE && !list_empty(&shared->users))
        return;
    if (!claim_move(claim, &shared->channel))
        return;
    list_remove(&claim->channel_link);
    list_push_back(&shared->users, &claim->channel_link);
}

static void shared_remove(struct shared *shared, struct claim *claim)
{
    list_remove(&claim->channel_link);
    shared_set_idle_deadline(shared);
}

void shared_leave(struct shared *shared, struct claim *claim)
{
    const struct dflockd_request release = shared_release_request(claim);

    if (claim->place == CLAIM_APART) {
        if (list_linked(&claim->channel_link))
            list_remove(&claim->channel_link);
        return;
    }
    shared_forget_requests(shared, claim);
    if (claim->lease.state == LEASE_LOST) {
        shared_add_request(shared, NULL, false, &release);
        explicit_bzero(claim->moved_token, sizeof(claim->moved_token));
    }
    shared_remove(shared, claim);
    claim->place = CLAIM_APART;
    claim->channel = NULL;
    claim->releasing = false;
}

bool shared_release(struct shared *shared, struct claim *claim)
{
    const struct dflockd_request release = shared_release_request(claim);

    if (claim->place == CLAIM_APART || !shared_add_request(shared, claim, true, &release))
        return false;
    lease_release(&claim->lease);
    claim->releasing = true;
    return true;
}

/* ---- replies ---- */

/* The server has replied to the first request. */
static enum shared_event shared_connected(struct shared *shared)
{
    if (shared_extensions(shared)->survives == KNOWLEDGE_NO) {
        shared_refuse(shared);
        shared_end(shared, DFLOCKD_STATUS_DISCONNECTED);
        return SHARED_CHANGED;
    }
    shared->state = SHARED_READY;
    shared_set_idle_deadline(shared);
    for (struct list_link *link = shared->users.head.next; link != &shared->users.head;
         link = link->next)
        lease_connected(&shared_claim_of(link)->lease);
    return SHARED_CHANGED;
}

static enum shared_event shared_take_reply(struct shared *shared, struct claim **claim,
                                           struct dflockd_reply *reply)
{
    struct shared_request request = shared_take_request(shared);
    bool moving;

    *claim = request.claim;
    if (!request.claim)
        return SHARED_REPLIED;
    if (request.release) {
        request.claim->releasing = false;
        request.claim->release_status = reply->status;
        return SHARED_REPLIED;
    }
    /* The reply to an earlier request of a claim that is being released. */
    if (request.claim->releasing)
        return SHARED_REPLIED;
    moving = request.claim->place == CLAIM_MOVING;
    claim_channel_reply(request.claim, reply);
    if (request.claim->place == CLAIM_APART)
        shared_remove(shared, request.claim);
    if (!moving || shared_extensions(shared)->own != KNOWLEDGE_NONE)
        return SHARED_REPLIED;
    if (request.claim->place == CLAIM_APART)
        shared_refuse(shared);
    else
        shared_extensions(shared)->own = KNOWLEDGE_YES;
    return SHARED_CHANGED;
}

/* Returns when PROBING fails, or when an idle connection is closed. */
static uint64_t shared_deadline_ns(const struct shared *shared)
{
    if (shared->state == SHARED_PROBING ||
        (shared->state == SHARED_READY && shared_is_idle(shared)))
        return shared->due_ns;
    return UINT64_MAX;
}

enum shared_event shared_next(struct shared *shared, struct claim **claim)
{
    for (;;) {
        struct dflockd_reply reply;
        enum dflockd_status status;

        *claim = NULL;
        shared->unsent = false;
        if (!shared->connection)
            return SHARED_NOTHING;
        status = dflockd_connection_receive(shared->connection, &reply);
        if (status == DFLOCKD_STATUS_DONE && shared->state == SHARED_PROBING)
            return shared_connected(shared);
        if (status == DFLOCKD_STATUS_DONE)
            return shared_take_reply(shared, claim, &reply);
        if (status == DFLOCKD_STATUS_AGAIN && clock_boottime_ns() >= shared_deadline_ns(shared)) {
            if (shared->state == SHARED_READY) {
                shared_drop_connection(shared);
                return SHARED_NOTHING;
            }
            status = DFLOCKD_STATUS_UNREACHABLE;
        }
        if (status == DFLOCKD_STATUS_AGAIN)
            return SHARED_NOTHING;
        shared_end(shared, status);
        return SHARED_CHANGED;
    }
}

/* ---- waiting ---- */

int shared_descriptor(const struct shared *shared)
{
    return shared->connection ? dflockd_connection_descriptor(shared->connection) : -1;
}

short shared_events(const struct shared *shared)
{
    return shared->connection ? dflockd_connection_events(shared->connection) : 0;
}

uint64_t shared_due_ns(const struct shared *shared)
{
    int timeout_ms = shared->connection ? dflockd_connection_timeout(shared->connection) : -1;
    uint64_t due_ns = shared_deadline_ns(shared);

    if (timeout_ms >= 0) {
        uint64_t connection_ns = clock_boottime_ns() + (uint64_t)timeout_ms * NS_PER_MS;

        due_ns = connection_ns < due_ns ? connection_ns : due_ns;
    }
    return due_ns;
}
