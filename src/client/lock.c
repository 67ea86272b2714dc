/*
 * A lock or a slot of a semaphore. The renewer owns its claim while the lock is held; otherwise the
 * caller owns it. The lock keeps its connection, unless server and client may differ about what it
 * holds: then closing it makes the server release.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/time_units.h"
#include "client/claim.h"
#include "client/client.h"
#include "client/codec.h"
#include "client/connection.h"

static const double lock_default_ratio = 0.5;

struct dflockd_lock {
    struct dflockd_client *client;
    struct dflockd_lock_options options;
    struct renewer_entry entry;
    size_t server; /* number of the server of the claim's connection */
    bool queued;
    int cancel_fd; /* an eventfd that cancel makes readable */
    char key[DFLOCKD_KEY_MAX + 1];
};

void dflockd_lock_options_init(struct dflockd_lock_options *options)
{
    *options = (struct dflockd_lock_options){.renew = true, .renew_ratio = lock_default_ratio};
}

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

    return connection_open(connection, &lock->client->servers, lock->server, problem);
}

static bool lock_is_valid(const char *key, const struct dflockd_lock_options *options)
{
    const struct dflockd_request request = {
        .command = options->limit > 0 ? DFLOCKD_SEMAPHORE_ACQUIRE : DFLOCKD_ACQUIRE,
        .key = key,
        .lease_s = options->lease_s,
        .limit = options->limit,
    };

    return codec_request_is_valid(&request) && options->renew_ratio > 0 && options->renew_ratio < 1;
}

enum dflockd_status dflockd_lock_new(struct dflockd_lock **lock, struct dflockd_client *client,
                                     const char *key, const struct dflockd_lock_options *options)
{
    struct dflockd_lock_options defaults;
    struct dflockd_lock *made;

    *lock = NULL;
    dflockd_lock_options_init(&defaults);
    if (!options)
        options = &defaults;
    if (!lock_is_valid(key, options))
        return DFLOCKD_STATUS_INVALID;
    made = calloc(1, sizeof(*made));
    if (!made)
        return DFLOCKD_STATUS_NO_MEMORY;
    made->client = client;
    made->options = *options;
    snprintf(made->key, sizeof(made->key), "%s", key);
    claim_init(&made->entry.claim, &(struct claim_terms){
                                       .key = made->key,
                                       .limit = options->limit,
                                       .lease_s = options->lease_s,
                                       .mode = options->renew ? LEASE_RENEWED : LEASE_FIXED,
                                       .renew_ratio = options->renew_ratio,
                                       .connect_timeout_ms = client->servers.connect_timeout_ms,
                                       .reply_timeout_ms = client->servers.reply_timeout_ms,
                                       .connect = lock_connect,
                                       .owner = made,
                                   });
    made->entry.lost_callback = options->lost ? lock_call_back : NULL;
    made->entry.owner = made;
    made->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->cancel_fd >= 0 && renewer_reserve(&client->renewer)) {
        *lock = made;
        return DFLOCKD_STATUS_DONE;
    }
    if (made->cancel_fd >= 0)
        close(made->cancel_fd);
    free(made);
    return DFLOCKD_STATUS_NO_MEMORY;
}

void dflockd_lock_free(struct dflockd_lock *lock)
{
    if (!lock)
        return;
    dflockd_lock_release(lock);
    renewer_reset(&lock->client->renewer, &lock->entry);
    renewer_unreserve(&lock->client->renewer);
    claim_close(&lock->entry.claim);
    close(lock->cancel_fd);
    free(lock);
}

/* ---- acquiring ---- */

/* Resets dflockd_lock_cancel. Returns whether it had been called. */
static bool lock_take_cancel(const struct dflockd_lock *lock)
{
    uint64_t count;

    return read(lock->cancel_fd, &count, sizeof(count)) > 0;
}

/* Called for each request, because a shard function of the program may change its mind. Returns
 * false if it returns an invalid number. */
static bool lock_choose_server(struct dflockd_lock *lock)
{
    size_t server = dflockd_client_server(lock->client, lock->key);

    if (server >= lock->client->servers.count)
        return false;
    if (lock->server != server)
        claim_close(&lock->entry.claim);
    lock->server = server;
    lock->entry.claim.server = lock->client->servers.addresses[server].text;
    return true;
}

/* Sends the request for the grant and waits. The renewer keeps a granted claim. */
static enum dflockd_status lock_ask(struct dflockd_lock *lock, enum dflockd_command command,
                                    uint64_t timeout_s)
{
    struct renewer *renewer = &lock->client->renewer;
    struct claim *claim = &lock->entry.claim;
    enum dflockd_status status;

    claim_ask(claim, command, timeout_s * NS_PER_S);
    status = claim_await(claim, lock->cancel_fd);
    lock->queued = status == DFLOCKD_STATUS_WAITING;
    if (status == DFLOCKD_STATUS_DONE)
        status = renewer_keep(renewer, &lock->entry);
    if (status == DFLOCKD_STATUS_DONE)
        return status;
    if (status == DFLOCKD_STATUS_CANCELLED)
        lock_take_cancel(lock);
    if (status == DFLOCKD_STATUS_NO_MEMORY)
        claim_close(claim); /* it may be granted, but nobody would renew it */
    renewer_publish(renewer, &lock->entry, false);
    return status;
}

static enum dflockd_status lock_begin(struct dflockd_lock *lock, enum dflockd_command command,
                                      uint64_t timeout_s)
{
    struct renewer *renewer = &lock->client->renewer;

    if (timeout_s > DFLOCKD_SECONDS_MAX)
        return DFLOCKD_STATUS_INVALID;
    if (lock->queued || !renewer_reset(renewer, &lock->entry))
        return DFLOCKD_STATUS_ALREADY;
    if (lock_take_cancel(lock))
        return DFLOCKD_STATUS_CANCELLED;
    if (!renewer_start(renewer))
        return DFLOCKD_STATUS_NO_MEMORY;
    if (!lock_choose_server(lock))
        return DFLOCKD_STATUS_INVALID;
    return lock_ask(lock, command, timeout_s);
}

enum dflockd_status dflockd_lock_acquire(struct dflockd_lock *lock, uint64_t timeout_s)
{
    return lock_begin(lock, DFLOCKD_ACQUIRE, timeout_s);
}

enum dflockd_status dflockd_lock_try(struct dflockd_lock *lock)
{
    return dflockd_lock_acquire(lock, 0);
}

enum dflockd_status dflockd_lock_enqueue(struct dflockd_lock *lock)
{
    return lock_begin(lock, DFLOCKD_ENQUEUE, 0);
}

enum dflockd_status dflockd_lock_wait(struct dflockd_lock *lock, uint64_t timeout_s)
{
    if (timeout_s > DFLOCKD_SECONDS_MAX)
        return DFLOCKD_STATUS_INVALID;
    if (!lock->queued)
        return dflockd_lock_held(lock) ? DFLOCKD_STATUS_DONE : DFLOCKD_STATUS_NOT_ENQUEUED;
    if (lock_take_cancel(lock)) {
        lock->queued = false;
        claim_close(&lock->entry.claim);
        return DFLOCKD_STATUS_CANCELLED;
    }
    return lock_ask(lock, DFLOCKD_WAIT, timeout_s);
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
    struct renewer *renewer = &lock->client->renewer;
    struct claim *claim = &lock->entry.claim;
    enum dflockd_status status;

    if (lock->queued) {
        lock->queued = false;
        claim_close(claim);
        return DFLOCKD_STATUS_NOT_HELD;
    }
    if (!renewer_take(renewer, &lock->entry))
        return dflockd_lock_lost(lock) ? DFLOCKD_STATUS_LOST : DFLOCKD_STATUS_NOT_HELD;
    status = claim_release(claim);
    if (status != DFLOCKD_STATUS_DONE)
        renewer_publish(renewer, &lock->entry, status == DFLOCKD_STATUS_LOST);
    return status;
}

/* ---- from any thread ---- */

void dflockd_lock_cancel(struct dflockd_lock *lock)
{
    uint64_t once = 1;

    while (write(lock->cancel_fd, &once, sizeof(once)) < 0 && errno == EINTR)
        continue;
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
