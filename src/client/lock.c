/*
 * A lock or a slot of a semaphore. The renewer owns its claim while the lock is held; otherwise the
 * caller owns it. The lock keeps its connection, unless server and client may differ about what it
 * holds: then closing it makes the server release.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"
#include "client/claim.h"
#include "client/client.h"
#include "client/codec.h"
#include "client/connection.h"
#include "client/lock.h"
#include "client/options.h"

struct dflockd_lock {
    struct dflockd_client *client;
    struct dflockd_lock_options options;
    struct renewer_entry entry;
    bool queued;
    struct cancel cancel;
    char key[DFLOCKD_KEY_MAX + 1];
};

/* ---- beginning and end ---- */

static void lock_call_back(void *owner, enum dflockd_status why)
{
    struct dflockd_lock *lock = owner;

    lock->options.lost(lock->options.context, lock, why);
}

static enum dflockd_status lock_connect(void *owner, struct dflockd_connection **connection,
                                        char problem[DFLOCKD_PROBLEM_MAX])
{
    struct dflockd_lock *lock = owner;

    return connection_open(connection, &lock->client->servers, lock->entry.server, false, problem);
}

static bool lock_is_valid(const char *key, const struct dflockd_lock_options *options)
{
    const struct dflockd_request request = {
        .command = options->limit > 0 ? DFLOCKD_SEMAPHORE_ACQUIRE : DFLOCKD_ACQUIRE,
        .key = key,
        .lease_s = options->lease_s,
        .limit = options->limit,
    };

    return codec_request_is_valid(&request) && !(options->shared && options->limit > 0) &&
           options->renew_ratio > 0 && options->renew_ratio < 1;
}

enum dflockd_status dflockd_lock_new(struct dflockd_lock **lock, struct dflockd_client *client,
                                     const char *key, const struct dflockd_lock_options *options)
{
    struct dflockd_lock_options known;
    struct dflockd_lock *made;

    *lock = NULL;
    dflockd_lock_options_init(&known);
    if ((options && !options_copy_lock(&known, options)) || !lock_is_valid(key, &known))
        return DFLOCKD_STATUS_INVALID;
    made = calloc(1, sizeof(*made));
    if (!made)
        return DFLOCKD_STATUS_NO_MEMORY;
    made->client = client;
    made->options = known;
    snprintf(made->key, sizeof(made->key), "%s", key);
    claim_init(&made->entry.claim, &(struct claim_terms){
                                       .key = made->key,
                                       .limit = known.limit,
                                       .shared = known.shared,
                                       .lease_s = known.lease_s,
                                       .mode = known.renew ? LEASE_RENEWED : LEASE_FIXED,
                                       .renew_ratio = known.renew_ratio,
                                       .connect_timeout_ms = client->servers.connect_timeout_ms,
                                       .reply_timeout_ms = client->servers.reply_timeout_ms,
                                       .connect = lock_connect,
                                       .owner = made,
                                   });
    made->entry.lost_callback = known.lost ? lock_call_back : NULL;
    made->entry.owner = made;
    if (!renewer_reserve(&client->renewer)) {
        free(made);
        return DFLOCKD_STATUS_NO_MEMORY;
    }
    cancel_init(&made->cancel);
    *lock = made;
    return DFLOCKD_STATUS_DONE;
}

void dflockd_lock_free(struct dflockd_lock *lock)
{
    if (!lock)
        return;
    dflockd_lock_release(lock);
    renewer_reset(&lock->client->renewer, &lock->entry);
    renewer_unreserve(&lock->client->renewer);
    claim_close(&lock->entry.claim);
    cancel_free(&lock->cancel);
    free(lock);
}

/* ---- acquiring ---- */

bool lock_timeout_ns(int64_t timeout_ms, uint64_t *timeout_ns)
{
    if (timeout_ms > DFLOCKD_SECONDS_MAX * 1000)
        return false;
    *timeout_ns =
        timeout_ms < 0 ? DFLOCKD_SECONDS_MAX * NS_PER_S : (uint64_t)timeout_ms * NS_PER_MS;
    return true;
}

/* Called for each request, because a shard function of the program may change its mind. Returns
 * false if it returns an invalid number. */
static bool lock_choose_server(struct dflockd_lock *lock)
{
    size_t server = dflockd_client_server(lock->client, lock->key);

    if (server >= lock->client->servers.count)
        return false;
    lock->entry.server = server;
    lock->entry.claim.server = lock->client->servers.addresses[server].text;
    return true;
}

/* Sends the request for the grant and waits. The renewer keeps a granted claim. */
static enum dflockd_status lock_ask(struct dflockd_lock *lock, struct cancel_call *call,
                                    enum dflockd_command command, uint64_t timeout_ns)
{
    struct renewer *renewer = &lock->client->renewer;
    struct claim *claim = &lock->entry.claim;
    enum dflockd_status status;

    claim_ask(claim, command, timeout_ns);
    status = claim_await(claim, call->descriptor);
    lock->queued = status == DFLOCKD_STATUS_WAITING;
    if (status == DFLOCKD_STATUS_DONE)
        status = renewer_keep(renewer, &lock->entry);
    if (status == DFLOCKD_STATUS_DONE)
        return status;
    if (status == DFLOCKD_STATUS_NO_MEMORY)
        claim_close(claim); /* it may be granted, but nobody would renew it */
    if (!lock->queued)
        renewer_return_connection(renewer, &lock->entry);
    renewer_publish(renewer, &lock->entry, false);
    return status;
}

static enum dflockd_status lock_begin(struct dflockd_lock *lock, struct cancel_call *call,
                                      enum dflockd_command command, uint64_t timeout_ns)
{
    struct renewer *renewer = &lock->client->renewer;

    if (lock->queued || !renewer_reset(renewer, &lock->entry))
        return DFLOCKD_STATUS_ALREADY;
    if (call->cancelled)
        return DFLOCKD_STATUS_CANCELLED;
    if (!renewer_start(renewer))
        return DFLOCKD_STATUS_NO_MEMORY;
    if (!lock_choose_server(lock))
        return DFLOCKD_STATUS_INVALID;
    renewer_lend_connection(renewer, &lock->entry);
    return lock_ask(lock, call, command, timeout_ns);
}

static enum dflockd_status lock_continue(struct dflockd_lock *lock, struct cancel_call *call,
                                         uint64_t timeout_ns)
{
    if (!lock->queued)
        return dflockd_lock_held(lock) ? DFLOCKD_STATUS_DONE : DFLOCKD_STATUS_NOT_ENQUEUED;
    if (call->cancelled) {
        lock->queued = false;
        claim_close(&lock->entry.claim);
        return DFLOCKD_STATUS_CANCELLED;
    }
    return lock_ask(lock, call, DFLOCKD_WAIT, timeout_ns);
}

/* A call that other threads can cancel. */
static enum dflockd_status lock_call(struct dflockd_lock *lock, enum dflockd_command command,
                                     int64_t timeout_ms)
{
    struct cancel_call call;
    enum dflockd_status status;
    uint64_t timeout_ns;

    if (!lock_timeout_ns(timeout_ms, &timeout_ns))
        return DFLOCKD_STATUS_INVALID;
    if (!cancel_open_call(&call))
        return DFLOCKD_STATUS_NO_MEMORY;
    cancel_begin(&lock->cancel, &call);
    status = command == DFLOCKD_WAIT ? lock_continue(lock, &call, timeout_ns)
                                     : lock_begin(lock, &call, command, timeout_ns);
    cancel_end(&lock->cancel, status == DFLOCKD_STATUS_CANCELLED);
    cancel_close_call(&call);
    return status;
}

enum dflockd_status lock_acquire(struct dflockd_lock *lock, struct cancel_call *call,
                                 uint64_t timeout_ns)
{
    return lock_begin(lock, call, DFLOCKD_ACQUIRE, timeout_ns);
}

enum dflockd_status dflockd_lock_acquire(struct dflockd_lock *lock, int64_t timeout_ms)
{
    return lock_call(lock, DFLOCKD_ACQUIRE, timeout_ms);
}

enum dflockd_status dflockd_lock_try(struct dflockd_lock *lock)
{
    return lock_call(lock, DFLOCKD_ACQUIRE, 0);
}

enum dflockd_status dflockd_lock_enqueue(struct dflockd_lock *lock)
{
    return lock_call(lock, DFLOCKD_ENQUEUE, 0);
}

enum dflockd_status dflockd_lock_wait(struct dflockd_lock *lock, int64_t timeout_ms)
{
    return lock_call(lock, DFLOCKD_WAIT, timeout_ms);
}

/* ---- while it is held ---- */

enum dflockd_status dflockd_lock_renew(struct dflockd_lock *lock, uint64_t lease_s)
{
    if (lease_s > DFLOCKD_SECONDS_MAX)
        return DFLOCKD_STATUS_INVALID;
    return renewer_renew(&lock->client->renewer, &lock->entry, lease_s);
}

enum dflockd_status dflockd_lock_release(struct dflockd_lock *lock)
{
    if (!lock->queued)
        return renewer_release(&lock->client->renewer, &lock->entry);
    lock->queued = false;
    claim_close(&lock->entry.claim);
    return DFLOCKD_STATUS_NOT_HELD;
}

bool dflockd_lock_clear_cancel(struct dflockd_lock *lock)
{
    return cancel_clear(&lock->cancel);
}

/* ---- for several locks ---- */

struct cancel *lock_cancel(struct dflockd_lock *lock)
{
    return &lock->cancel;
}

bool lock_is_semaphore(const struct dflockd_lock *lock)
{
    return lock->options.limit > 0;
}

/* ---- from any thread ---- */

void dflockd_lock_cancel(struct dflockd_lock *lock)
{
    cancel_request(&lock->cancel);
}

static struct renewer_view lock_view(struct dflockd_lock *lock)
{
    struct renewer_view view;

    renewer_view(&lock->client->renewer, &lock->entry, &view);
    return view;
}

bool dflockd_lock_held(struct dflockd_lock *lock)
{
    return lock_view(lock).left_ns > 0;
}

bool dflockd_lock_lost(struct dflockd_lock *lock)
{
    return lock_view(lock).lost;
}

uint64_t dflockd_lock_fence(struct dflockd_lock *lock)
{
    return lock_view(lock).fence;
}

int64_t dflockd_lock_lease_ms(struct dflockd_lock *lock)
{
    return (int64_t)(lock_view(lock).left_ns / NS_PER_MS);
}

bool dflockd_lock_token(struct dflockd_lock *lock, char token[DFLOCKD_TOKEN_LENGTH + 1])
{
    struct renewer_view view = lock_view(lock);

    memcpy(token, view.token, sizeof(view.token));
    return view.left_ns > 0;
}

void dflockd_lock_problem(struct dflockd_lock *lock, char problem[DFLOCKD_PROBLEM_MAX])
{
    renewer_problem(&lock->client->renewer, &lock->entry, problem);
}

const char *dflockd_lock_key(const struct dflockd_lock *lock)
{
    return lock->key;
}
