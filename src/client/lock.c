/*
 * A lock or a slot of a semaphore, and the connection that it is acquired by.
 *
 * The connection is the caller's until the lock is held, the renewer's while it is, and the
 * caller's again to release it. After that it is kept for the next time, unless the server may
 * think of it otherwise than we do: then closing it sets both right.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/client.h"
#include "client/connection.h"
#include "client/speech.h"
#include "os/clock.h"

static const uint64_t ns_per_s = 1000000000;
static const uint64_t ns_per_ms = 1000000;
static const uint64_t ms_per_s = 1000;

static const double ratio_usual = 0.5;

enum {
    /* A grant whose answer took longer than this part of its lease is of an age that nobody knows.
     */
    PROMPT_PART = 10
};

struct dflockd_lock {
    struct dflockd_client *client;
    struct dflockd_lock_options options;
    struct lease lease;
    struct dflockd_connection *connection; /* the caller's; NULL: there is none, or it is held */
    size_t server;                         /* that it is to */
    bool queued;
    int bell; /* an eventfd: cancel rings it */
    char key[DFLOCKD_KEY_MAX + 1];
};

void dflockd_lock_options_init(struct dflockd_lock_options *options)
{
    *options = (struct dflockd_lock_options){.renew = true, .renew_ratio = ratio_usual};
}

/* The command about a lock, or the one about semaphores that is the same. */
static enum dflockd_command command_of(const struct dflockd_lock *lock,
                                       enum dflockd_command command)
{
    int offset = lock->options.limit > 0 ? DFLOCKD_SEMAPHORE_ACQUIRE - DFLOCKD_ACQUIRE : 0;

    return (enum dflockd_command)((int)command + offset);
}

static struct dflockd_request request_of(const struct dflockd_lock *lock,
                                         enum dflockd_command command)
{
    return (struct dflockd_request){
        .command = command_of(lock, command),
        .key = lock->key,
        .lease_s = lock->options.lease_s,
        .limit = lock->options.limit,
    };
}

/* ---- beginning and end ---- */

static void tell_lost(void *owner, enum dflockd_status why)
{
    struct dflockd_lock *lock = owner;

    lock->options.lost(lock->options.context, lock, why);
}

static bool valid(const char *key, const struct dflockd_lock_options *options)
{
    const struct dflockd_request request = {
        .command = options->limit > 0 ? DFLOCKD_SEMAPHORE_ACQUIRE : DFLOCKD_ACQUIRE,
        .key = key,
        .lease_s = options->lease_s,
        .limit = options->limit,
    };

    return speech_valid(&request) && options->renew_ratio > 0 && options->renew_ratio < 1;
}

enum dflockd_status dflockd_lock_new(struct dflockd_lock **lock, struct dflockd_client *client,
                                     const char *key, const struct dflockd_lock_options *options)
{
    struct dflockd_lock_options usual;
    struct dflockd_lock *made;

    *lock = NULL;
    dflockd_lock_options_init(&usual);
    if (!options)
        options = &usual;
    if (!valid(key, options))
        return DFLOCKD_STATUS_INVALID;
    made = calloc(1, sizeof(*made));
    if (!made)
        return DFLOCKD_STATUS_NO_MEMORY;
    made->client = client;
    made->options = *options;
    snprintf(made->key, sizeof(made->key), "%s", key);
    made->lease.terms = (struct lease_terms){
        .key = made->key,
        .renewal = command_of(made, DFLOCKD_RENEW),
        .lease_s = options->lease_s,
        .renew = options->renew,
        .ratio = options->renew_ratio,
        .lost = options->lost ? tell_lost : NULL,
        .owner = made,
    };
    made->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->bell >= 0 && renewer_admit(&client->renewer)) {
        *lock = made;
        return DFLOCKD_STATUS_DONE;
    }
    if (made->bell >= 0)
        close(made->bell);
    free(made);
    return DFLOCKD_STATUS_NO_MEMORY;
}

void dflockd_lock_free(struct dflockd_lock *lock)
{
    if (!lock)
        return;
    dflockd_lock_release(lock);
    renewer_reset(&lock->client->renewer, &lock->lease);
    renewer_dismiss(&lock->client->renewer);
    dflockd_connection_close(lock->connection);
    close(lock->bell);
    free(lock);
}

/* ---- the connection ---- */

/* With the reason, which is `otherwise` where it is not broken. */
static void drop(struct dflockd_lock *lock, const char *otherwise)
{
    const char *problem;

    if (!lock->connection)
        return;
    problem = dflockd_connection_problem(lock->connection);
    renewer_blame(&lock->client->renewer, &lock->lease, problem[0] ? problem : otherwise, false);
    dflockd_connection_close(lock->connection);
    lock->connection = NULL;
}

static enum dflockd_status connect_to_server(struct dflockd_lock *lock)
{
    struct dflockd_client *client = lock->client;
    size_t server = dflockd_client_server(client, lock->key);
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    enum dflockd_status status;

    if (server >= client->servers.count)
        return DFLOCKD_STATUS_INVALID;
    if (lock->connection && lock->server != server)
        drop(lock, "");
    if (lock->connection)
        return DFLOCKD_STATUS_DONE;
    status = connection_open(&lock->connection, &client->servers, server, problem);
    lock->server = server;
    if (status != DFLOCKD_STATUS_DONE)
        renewer_blame(&client->renewer, &lock->lease, problem, false);
    return status;
}

/* Takes back what cancel did; whether it did. */
static bool hear_bell(const struct dflockd_lock *lock)
{
    uint64_t rings;

    return read(lock->bell, &rings, sizeof(rings)) > 0;
}

/* Whether, after such an answer, the server has nothing of ours on the connection but what it says.
 */
static bool is_clear(enum dflockd_status status)
{
    switch (status) {
    case DFLOCKD_STATUS_DONE:
    case DFLOCKD_STATUS_WAITING:
    case DFLOCKD_STATUS_TIMED_OUT:
    case DFLOCKD_STATUS_LIMIT_MISMATCH:
    case DFLOCKD_STATUS_MAX_LOCKS:
    case DFLOCKD_STATUS_MAX_WAITERS:
        return true;
    default:
        return false;
    }
}

/* One request on the connection: the status of its answer, or why there is none. */
static enum dflockd_status ask(struct dflockd_lock *lock, const struct dflockd_request *request,
                               struct dflockd_reply *reply)
{
    uint64_t patience_ms = request->timeout_s * ms_per_s + lock->client->servers.connect_timeout_ms;
    enum dflockd_status status = dflockd_connection_send(lock->connection, request);

    if (status == DFLOCKD_STATUS_DONE)
        status =
            connection_await(lock->connection, reply, connection_deadline(patience_ms), lock->bell);
    if (status == DFLOCKD_STATUS_DONE)
        status = reply->status;
    if (status == DFLOCKD_STATUS_CANCELLED)
        hear_bell(lock);
    if (!is_clear(status))
        drop(lock, dflockd_status_text(status));
    return status == DFLOCKD_STATUS_AGAIN ? DFLOCKD_STATUS_DISCONNECTED : status;
}

/*
 * As `ask`, connecting before. The server closes a connection that is not used, and says `error`;
 * which may cross our request. So on one that was used before, another try is due.
 */
static enum dflockd_status ask_anew(struct dflockd_lock *lock,
                                    const struct dflockd_request *request,
                                    struct dflockd_reply *reply, uint64_t *asked_ns)
{
    bool used;
    enum dflockd_status status;

    do {
        used = lock->connection != NULL;
        status = connect_to_server(lock);
        *asked_ns = clock_boottime_ns();
        if (status == DFLOCKD_STATUS_DONE)
            status = ask(lock, request, reply);
    } while (used && (status == DFLOCKD_STATUS_FAILED || status == DFLOCKD_STATUS_DISCONNECTED));
    return status;
}

/* ---- to be held ---- */

static enum dflockd_status begin(struct dflockd_lock *lock, const struct dflockd_request *request)
{
    struct renewer *renewer = &lock->client->renewer;

    if (!speech_valid(request))
        return DFLOCKD_STATUS_INVALID;
    if (lock->queued || !renewer_reset(renewer, &lock->lease))
        return DFLOCKD_STATUS_ALREADY;
    if (hear_bell(lock))
        return DFLOCKD_STATUS_CANCELLED;
    return renewer_start(renewer) ? DFLOCKD_STATUS_DONE : DFLOCKD_STATUS_NO_MEMORY;
}

/* Renews what was granted some time ago; it counts from `*asked_ns` then. Not to be cancelled. */
static enum dflockd_status confirm(struct dflockd_lock *lock, struct dflockd_reply *grant,
                                   uint64_t *asked_ns)
{
    struct dflockd_request request = request_of(lock, DFLOCKD_RENEW);
    struct dflockd_reply reply;
    enum dflockd_status status;

    request.token = grant->token;
    *asked_ns = clock_boottime_ns();
    status = dflockd_connection_send(lock->connection, &request);
    if (status == DFLOCKD_STATUS_DONE)
        status = connection_await(lock->connection, &reply,
                                  connection_deadline(grant->lease_s * ms_per_s), -1);
    if (status == DFLOCKD_STATUS_DONE)
        status = reply.status;
    if (status == DFLOCKD_STATUS_DONE)
        grant->lease_s = reply.lease_s;
    if (status == DFLOCKD_STATUS_NOT_HELD || status == DFLOCKD_STATUS_AGAIN)
        status = DFLOCKD_STATUS_LOST;
    return status;
}

/* What an answer to acquire, enqueue or wait comes to: the renewer takes over what was granted. */
static enum dflockd_status conclude(struct dflockd_lock *lock, enum dflockd_status status,
                                    struct dflockd_reply *reply, uint64_t asked_ns)
{
    lock->queued = status == DFLOCKD_STATUS_WAITING;
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    if (clock_boottime_ns() - asked_ns > reply->lease_s * ns_per_s / PROMPT_PART)
        status = confirm(lock, reply, &asked_ns);
    if (status == DFLOCKD_STATUS_DONE)
        status =
            renewer_keep(&lock->client->renewer, &lock->lease, lock->connection, reply, asked_ns);
    if (status == DFLOCKD_STATUS_DONE)
        lock->connection = NULL;
    else
        drop(lock, dflockd_status_text(status));
    explicit_bzero(reply->token, sizeof(reply->token));
    return status;
}

static enum dflockd_status acquire(struct dflockd_lock *lock, const struct dflockd_request *request)
{
    struct dflockd_reply reply;
    uint64_t asked_ns = 0;
    enum dflockd_status status = begin(lock, request);

    if (status != DFLOCKD_STATUS_DONE)
        return status;
    status = ask_anew(lock, request, &reply, &asked_ns);
    return conclude(lock, status, &reply, asked_ns);
}

enum dflockd_status dflockd_lock_acquire(struct dflockd_lock *lock, uint64_t timeout_s)
{
    struct dflockd_request request = request_of(lock, DFLOCKD_ACQUIRE);

    request.timeout_s = timeout_s;
    return acquire(lock, &request);
}

enum dflockd_status dflockd_lock_try(struct dflockd_lock *lock)
{
    return dflockd_lock_acquire(lock, 0);
}

enum dflockd_status dflockd_lock_enqueue(struct dflockd_lock *lock)
{
    struct dflockd_request request = request_of(lock, DFLOCKD_ENQUEUE);

    return acquire(lock, &request);
}

enum dflockd_status dflockd_lock_wait(struct dflockd_lock *lock, uint64_t timeout_s)
{
    struct dflockd_request request = request_of(lock, DFLOCKD_WAIT);
    struct dflockd_reply reply;
    uint64_t asked_ns;

    request.timeout_s = timeout_s;
    if (!speech_valid(&request))
        return DFLOCKD_STATUS_INVALID;
    if (!lock->queued)
        return dflockd_lock_held(lock) ? DFLOCKD_STATUS_DONE : DFLOCKD_STATUS_NOT_ENQUEUED;
    if (hear_bell(lock)) {
        lock->queued = false;
        drop(lock, "");
        return DFLOCKD_STATUS_CANCELLED;
    }
    asked_ns = clock_boottime_ns();
    return conclude(lock, ask(lock, &request, &reply), &reply, asked_ns);
}

/* ---- while it is held ---- */

enum dflockd_status dflockd_lock_renew(struct dflockd_lock *lock, uint64_t lease_s)
{
    if (lease_s > DFLOCKD_SECONDS_MAX)
        return DFLOCKD_STATUS_INVALID;
    return renewer_renew(&lock->client->renewer, &lock->lease, lease_s);
}

/* The answers to renewals that were under way come before the one to the release. */
static enum dflockd_status hear_release(struct dflockd_lock *lock, uint32_t stale)
{
    uint64_t deadline_ns = connection_deadline(lock->client->servers.connect_timeout_ms);
    struct dflockd_reply reply;
    enum dflockd_status status;

    do
        status = connection_await(lock->connection, &reply, deadline_ns, -1);
    while (status == DFLOCKD_STATUS_DONE && stale-- > 0);
    return status == DFLOCKD_STATUS_DONE ? reply.status : status;
}

enum dflockd_status dflockd_lock_release(struct dflockd_lock *lock)
{
    struct renewer *renewer = &lock->client->renewer;
    struct dflockd_request request = request_of(lock, DFLOCKD_RELEASE);
    struct dflockd_connection *connection;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    enum dflockd_status status;
    uint32_t stale;

    if (lock->queued) {
        lock->queued = false;
        drop(lock, "");
        return DFLOCKD_STATUS_NOT_HELD;
    }
    connection = renewer_take(renewer, &lock->lease, token, &stale);
    if (!connection)
        return dflockd_lock_lost(lock) ? DFLOCKD_STATUS_LOST : DFLOCKD_STATUS_NOT_HELD;
    lock->connection = connection;
    request.token = token;
    status = dflockd_connection_send(connection, &request);
    if (status == DFLOCKD_STATUS_DONE)
        status = hear_release(lock, stale);
    explicit_bzero(token, sizeof(token));
    if (status == DFLOCKD_STATUS_DONE)
        return status;
    if (status == DFLOCKD_STATUS_NOT_HELD)
        status = DFLOCKD_STATUS_LOST;
    drop(lock, dflockd_status_text(status));
    if (status == DFLOCKD_STATUS_LOST)
        renewer_blame(renewer, &lock->lease, "", true);
    return status == DFLOCKD_STATUS_AGAIN ? DFLOCKD_STATUS_DISCONNECTED : status;
}

/* ---- from any thread ---- */

void dflockd_lock_cancel(struct dflockd_lock *lock)
{
    uint64_t once = 1;

    while (write(lock->bell, &once, sizeof(once)) < 0 && errno == EINTR)
        continue;
}

static struct lease_view view_of(struct dflockd_lock *lock)
{
    struct lease_view view;

    renewer_view(&lock->client->renewer, &lock->lease, &view);
    return view;
}

bool dflockd_lock_held(struct dflockd_lock *lock)
{
    return view_of(lock).left_ns > 0;
}

bool dflockd_lock_lost(struct dflockd_lock *lock)
{
    return view_of(lock).lost;
}

uint64_t dflockd_lock_fence(struct dflockd_lock *lock)
{
    return view_of(lock).fence;
}

int64_t dflockd_lock_lease_ms(struct dflockd_lock *lock)
{
    return (int64_t)(view_of(lock).left_ns / ns_per_ms);
}

bool dflockd_lock_token(struct dflockd_lock *lock, char token[DFLOCKD_TOKEN_LENGTH + 1])
{
    struct lease_view view = view_of(lock);

    memcpy(token, view.token, sizeof(view.token));
    return view.left_ns > 0;
}

void dflockd_lock_problem(struct dflockd_lock *lock, char problem[DFLOCKD_PROBLEM_MAX])
{
    renewer_problem(&lock->client->renewer, &lock->lease, problem);
}

const char *dflockd_lock_key(const struct dflockd_lock *lock)
{
    return lock->key;
}
