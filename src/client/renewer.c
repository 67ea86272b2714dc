#include "client/renewer.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/time_units.h"
#include "os/clock.h"

/* Wakes the thread at the next deadline, or now if callbacks are due or it must end. */
static void renewer_set_timer(struct renewer *renewer)
{
    bool calls_back = !list_empty(&renewer->losses) && !renewer->in_callback;

    watcher_set_timer(&renewer->watcher, renewer->ending || calls_back);
}

/* ---- one entry ---- */

static struct server_connections *renewer_server_of(struct renewer *renewer,
                                                    struct renewer_entry *entry)
{
    return &renewer->servers[entry->server];
}

static struct renewer_entry *renewer_entry_of(struct claim *claim)
{
    return CONTAINER_OF(claim, struct renewer_entry, claim);
}

static struct watch_wish renewer_wish(const struct renewer_entry *entry)
{
    return (struct watch_wish){
        .descriptor = claim_descriptor(&entry->claim),
        .events = claim_events(&entry->claim),
        .connection_number = entry->claim.connection_number,
        .due_ns = claim_due_ns(&entry->claim),
    };
}

static void renewer_unwatch(struct renewer *renewer, struct renewer_entry *entry)
{
    watcher_remove(&renewer->watcher, &entry->watch, claim_descriptor(&entry->claim));
    renewer_server_of(renewer, entry)->apart -= entry->counted;
    entry->counted = false;
    entry->kept = false;
    pthread_cond_broadcast(&renewer->changed);
}

static void renewer_copy_problem(struct renewer_entry *entry)
{
    memcpy(entry->problem, entry->claim.problem, sizeof(entry->problem));
}

static void renewer_lose(struct renewer *renewer, struct renewer_entry *entry)
{
    renewer_unwatch(renewer, entry);
    shared_leave(&renewer_server_of(renewer, entry)->shared, &entry->claim);
    renewer_copy_problem(entry);
    entry->lost = true;
    entry->why = entry->claim.lease.why;
    if (entry->lost_callback)
        list_push_back(&renewer->losses, &entry->loss);
}

static void renewer_free_connection(struct renewer *renewer, struct renewer_entry *entry)
{
    watcher_forget(&renewer->watcher, claim_descriptor(&entry->claim));
    pool_give(&renewer_server_of(renewer, entry)->pool, claim_take_connection(&entry->claim));
}

/* Drives a kept claim, and updates its watch. */
static void renewer_serve_entry(struct renewer *renewer, struct renewer_entry *entry)
{
    struct claim *claim = &entry->claim;
    uint64_t answered = claim->lease.renewals_answered;
    struct watch_wish wish;

    if (claim_step(claim) == LEASE_LOST) {
        renewer_lose(renewer, entry);
        return;
    }
    shared_move(&renewer_server_of(renewer, entry)->shared, claim);
    if (claim->place == CLAIM_SHARED && claim->connection)
        renewer_free_connection(renewer, entry);
    renewer_copy_problem(entry);
    wish = renewer_wish(entry);
    watcher_update(&renewer->watcher, &entry->watch, &wish);
    if (claim->lease.renewals_answered != answered)
        pthread_cond_broadcast(&renewer->changed);
}

/* ---- the shared connection of a server ---- */

/* Serves each claim of the list once. Claims may leave the list meanwhile. */
static void renewer_serve_list(struct renewer *renewer, struct list *list)
{
    uint32_t count = 0;
    struct list_link *link;

    for (link = list->head.next; link != &list->head; link = link->next)
        count++;
    while (count-- > 0 && (link = list_first(list))) {
        struct claim *claim = CONTAINER_OF(link, struct claim, channel_link);

        list_remove(link);
        list_push_back(list, link);
        if (renewer_entry_of(claim)->kept)
            renewer_serve_entry(renewer, renewer_entry_of(claim));
    }
}

static void renewer_serve_shared(struct renewer *renewer, struct server_connections *server)
{
    struct shared *shared = &server->shared;
    enum shared_event event;
    struct claim *claim;

    if (server->serving)
        return;
    server->serving = true;
    while ((event = shared_next(shared, &claim)) != SHARED_NOTHING || shared->unsent) {
        if (event == SHARED_CHANGED) {
            renewer_serve_list(renewer, &shared->users);
            renewer_serve_list(renewer, &shared->waiting);
        }
        if (claim && renewer_entry_of(claim)->kept)
            renewer_serve_entry(renewer, renewer_entry_of(claim));
        if (event != SHARED_NOTHING)
            pthread_cond_broadcast(&renewer->changed);
    }
    server->serving = false;
    server_connections_watch(server, &renewer->watcher);
}

static void renewer_serve(struct renewer *renewer, struct renewer_entry *entry)
{
    struct server_connections *server = renewer_server_of(renewer, entry);

    renewer_serve_entry(renewer, entry);
    renewer_serve_shared(renewer, server);
}

static void renewer_serve_watch(struct renewer *renewer, struct watch *watch)
{
    if (watch->is_shared)
        renewer_serve_shared(renewer, CONTAINER_OF(watch, struct server_connections, watch));
    else
        renewer_serve(renewer, CONTAINER_OF(watch, struct renewer_entry, watch));
}

/* Makes a lease LOST that has ended, although the thread has not run yet. */
static void renewer_expire(struct renewer *renewer, struct renewer_entry *entry, uint64_t now_ns)
{
    if (!entry->kept || now_ns < entry->claim.lease.end_ns)
        return;
    renewer_serve(renewer, entry);
    renewer_set_timer(renewer);
}

/* ---- the thread ---- */

static void renewer_serve_deadlines(struct renewer *renewer)
{
    uint64_t now_ns = clock_boottime_ns();
    struct watch *watch;

    while ((watch = watcher_overdue(&renewer->watcher, now_ns)))
        renewer_serve_watch(renewer, watch);
}

static void renewer_serve_events(struct renewer *renewer)
{
    uint64_t numbers[WATCHER_EVENTS_MAX];
    uint32_t count = watcher_take_events(&renewer->watcher, numbers);

    for (uint32_t i = 0; i < count; i++) {
        struct watch *watch = watcher_find(&renewer->watcher, numbers[i]);

        if (watch)
            renewer_serve_watch(renewer, watch);
    }
}

static void renewer_call_back(struct renewer *renewer)
{
    struct list_link *link;

    while ((link = list_first(&renewer->losses))) {
        struct renewer_entry *entry = CONTAINER_OF(link, struct renewer_entry, loss);
        enum dflockd_status why = entry->why;

        list_remove(link);
        renewer->in_callback = entry;
        pthread_mutex_unlock(&renewer->mutex);
        entry->lost_callback(entry->owner, why);
        pthread_mutex_lock(&renewer->mutex);
        renewer->in_callback = NULL;
        pthread_cond_broadcast(&renewer->changed);
    }
}

/*
 * Waits without the mutex, but reads events with it: another thread may have taken a claim
 * meanwhile.
 */
static void renewer_wait(struct renewer *renewer, int timeout_ms)
{
    struct pollfd ready = {.fd = renewer->watcher.events, .events = POLLIN};

    pthread_mutex_unlock(&renewer->mutex);
    poll(&ready, 1, timeout_ms);
    pthread_mutex_lock(&renewer->mutex);
}

static void *renewer_run(void *argument)
{
    struct renewer *renewer = argument;

    pthread_mutex_lock(&renewer->mutex);
    while (!renewer->ending) {
        renewer_serve_deadlines(renewer);
        renewer_call_back(renewer);
        renewer_set_timer(renewer);
        renewer_wait(renewer, -1);
        renewer_serve_events(renewer);
    }
    pthread_mutex_unlock(&renewer->mutex);
    return NULL;
}

/* ---- beginning and end ---- */

static bool renewer_open_servers(struct renewer *renewer, const struct servers *servers)
{
    renewer->servers = calloc(servers->count, sizeof(*renewer->servers));
    if (!renewer->servers)
        return false;
    while (renewer->server_count < servers->count) {
        size_t server = renewer->server_count;

        if (!server_connections_open(&renewer->servers[server], &renewer->watcher, servers, server))
            return false;
        renewer->server_count++;
    }
    return true;
}

bool renewer_open(struct renewer *renewer, const struct servers *servers)
{
    pthread_condattr_t monotonic;

    *renewer = (struct renewer){.started = false};
    pthread_mutex_init(&renewer->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&renewer->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    list_init(&renewer->losses);
    if (watcher_open(&renewer->watcher) && renewer_open_servers(renewer, servers))
        return true;
    renewer_close(renewer);
    return false;
}

void renewer_close(struct renewer *renewer)
{
    if (renewer->started) {
        pthread_mutex_lock(&renewer->mutex);
        renewer->ending = true;
        renewer_set_timer(renewer);
        pthread_mutex_unlock(&renewer->mutex);
        pthread_join(renewer->thread, NULL);
    }
    for (size_t i = 0; i < renewer->server_count; i++)
        server_connections_close(&renewer->servers[i], &renewer->watcher);
    assert(renewer->watcher.deadlines.count == 0);
    free(renewer->servers);
    watcher_close(&renewer->watcher);
    pthread_cond_destroy(&renewer->changed);
    pthread_mutex_destroy(&renewer->mutex);
}

bool renewer_reserve(struct renewer *renewer)
{
    bool reserved;

    pthread_mutex_lock(&renewer->mutex);
    reserved = watcher_reserve(&renewer->watcher);
    pthread_mutex_unlock(&renewer->mutex);
    return reserved;
}

void renewer_unreserve(struct renewer *renewer)
{
    pthread_mutex_lock(&renewer->mutex);
    watcher_unreserve(&renewer->watcher);
    /* Without entries, only the servers have watches. */
    if (renewer->watcher.reserved == renewer->server_count) {
        for (size_t i = 0; i < renewer->server_count; i++)
            pool_close(&renewer->servers[i].pool);
    }
    pthread_mutex_unlock(&renewer->mutex);
}

/* The thread blocks all signals: the program's own threads handle them. */
bool renewer_start(struct renewer *renewer)
{
    sigset_t all;
    sigset_t before;
    bool started;

    pthread_mutex_lock(&renewer->mutex);
    if (!renewer->started) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        renewer->started = pthread_create(&renewer->thread, NULL, renewer_run, renewer) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    started = renewer->started;
    pthread_mutex_unlock(&renewer->mutex);
    return started;
}

/* ---- keeping ---- */

enum dflockd_status renewer_keep(struct renewer *renewer, struct renewer_entry *entry)
{
    enum dflockd_status status = DFLOCKD_STATUS_NO_MEMORY;
    struct watch_wish wish = renewer_wish(entry);

    pthread_mutex_lock(&renewer->mutex);
    assert(renewer->started && !entry->kept && !entry->lost);
    if (watcher_add(&renewer->watcher, &entry->watch, &wish)) {
        status = DFLOCKD_STATUS_DONE;
        entry->kept = true;
        entry->counted = server_connections_place(renewer_server_of(renewer, entry), &entry->claim);
        renewer_serve(renewer, entry); /* no event reports bytes that came with the grant */
        renewer_set_timer(renewer);
    }
    pthread_mutex_unlock(&renewer->mutex);
    return status;
}

void renewer_lend_connection(struct renewer *renewer, struct renewer_entry *entry)
{
    pthread_mutex_lock(&renewer->mutex);
    assert(!entry->kept && !entry->claim.connection);
    claim_give_connection(&entry->claim, pool_take(&renewer_server_of(renewer, entry)->pool));
    pthread_mutex_unlock(&renewer->mutex);
}

void renewer_return_connection(struct renewer *renewer, struct renewer_entry *entry)
{
    pthread_mutex_lock(&renewer->mutex);
    assert(!entry->kept);
    pool_give(&renewer_server_of(renewer, entry)->pool, claim_take_connection(&entry->claim));
    pthread_mutex_unlock(&renewer->mutex);
}

/* ---- release ---- */

/* Waits for a change, at most until `until_ns` of clock_monotonic_ns. A callback runs on the
 * thread, so it does the thread's work meanwhile. */
static void renewer_await_change(struct renewer *renewer, uint64_t until_ns)
{
    uint64_t now_ns = clock_monotonic_ns();
    const struct timespec until = {
        .tv_sec = (time_t)(until_ns / NS_PER_S),
        .tv_nsec = (long)(until_ns % NS_PER_S),
    };

    if (!pthread_equal(pthread_self(), renewer->thread)) {
        pthread_cond_timedwait(&renewer->changed, &renewer->mutex, &until);
        return;
    }
    renewer_serve_deadlines(renewer);
    renewer_set_timer(renewer);
    renewer_wait(renewer, until_ns > now_ns ? (int)((until_ns - now_ns) / NS_PER_MS) + 1 : 0);
    renewer_serve_events(renewer);
}

static void renewer_await_release(struct renewer *renewer, struct renewer_entry *entry)
{
    struct server_connections *server = renewer_server_of(renewer, entry);
    uint64_t until_ns = clock_monotonic_ns() + entry->claim.terms.reply_timeout_ms * NS_PER_MS;

    renewer_serve_shared(renewer, server);
    renewer_set_timer(renewer);
    while (entry->claim.releasing && clock_monotonic_ns() < until_ns)
        renewer_await_change(renewer, until_ns);
    if (entry->claim.releasing)
        entry->claim.release_status = DFLOCKD_STATUS_NO_REPLY;
}

enum dflockd_status renewer_release(struct renewer *renewer, struct renewer_entry *entry)
{
    struct server_connections *server = renewer_server_of(renewer, entry);
    enum dflockd_status status;
    bool is_shared;

    pthread_mutex_lock(&renewer->mutex);
    renewer_expire(renewer, entry, clock_boottime_ns());
    if (!entry->kept) {
        status = entry->lost ? DFLOCKD_STATUS_LOST : DFLOCKD_STATUS_NOT_HELD;
        pthread_mutex_unlock(&renewer->mutex);
        return status;
    }
    renewer_unwatch(renewer, entry);
    is_shared = shared_release(&server->shared, &entry->claim);
    if (is_shared)
        renewer_await_release(renewer, entry);
    shared_leave(&server->shared, &entry->claim);
    renewer_serve_shared(renewer, server);
    renewer_set_timer(renewer);
    pthread_mutex_unlock(&renewer->mutex);
    status = is_shared ? claim_finish_release(&entry->claim) : claim_release(&entry->claim);
    renewer_return_connection(renewer, entry);
    if (status != DFLOCKD_STATUS_DONE)
        renewer_publish(renewer, entry, status == DFLOCKD_STATUS_LOST);
    return status;
}

/* ---- for the owners of claims ---- */

enum dflockd_status renewer_renew(struct renewer *renewer, struct renewer_entry *entry,
                                  uint64_t lease_s)
{
    enum dflockd_status status;

    pthread_mutex_lock(&renewer->mutex);
    renewer_expire(renewer, entry, clock_boottime_ns());
    if (entry->kept) {
        uint64_t number = claim_demand(&entry->claim, lease_s);

        renewer_serve(renewer, entry);
        renewer_set_timer(renewer);
        while (entry->kept && entry->claim.lease.renewals_answered < number)
            pthread_cond_wait(&renewer->changed, &renewer->mutex);
    }
    status = entry->kept   ? DFLOCKD_STATUS_DONE
             : entry->lost ? DFLOCKD_STATUS_LOST
                           : DFLOCKD_STATUS_NOT_HELD;
    pthread_mutex_unlock(&renewer->mutex);
    return status;
}

bool renewer_reset(struct renewer *renewer, struct renewer_entry *entry)
{
    bool kept;

    pthread_mutex_lock(&renewer->mutex);
    renewer_expire(renewer, entry, clock_boottime_ns());
    kept = entry->kept;
    if (!kept) {
        while (list_linked(&entry->loss) || renewer->in_callback == entry)
            pthread_cond_wait(&renewer->changed, &renewer->mutex);
        entry->lost = false;
        entry->problem[0] = '\0';
    }
    pthread_mutex_unlock(&renewer->mutex);
    return !kept;
}

void renewer_publish(struct renewer *renewer, struct renewer_entry *entry, bool lost)
{
    pthread_mutex_lock(&renewer->mutex);
    assert(!entry->kept);
    renewer_copy_problem(entry);
    entry->lost = lost;
    pthread_mutex_unlock(&renewer->mutex);
}

void renewer_view(struct renewer *renewer, struct renewer_entry *entry, struct renewer_view *view)
{
    uint64_t now_ns;

    *view = (struct renewer_view){0};
    pthread_mutex_lock(&renewer->mutex);
    now_ns = clock_boottime_ns();
    renewer_expire(renewer, entry, now_ns);
    if (entry->kept)
        view->left_ns = lease_left_ns(&entry->claim.lease, now_ns);
    if (view->left_ns > 0) {
        view->fence = entry->claim.lease.fence;
        memcpy(view->token, entry->claim.lease.token, sizeof(view->token));
    }
    view->lost = entry->lost;
    pthread_mutex_unlock(&renewer->mutex);
}

void renewer_problem(struct renewer *renewer, const struct renewer_entry *entry,
                     char problem[DFLOCKD_PROBLEM_MAX])
{
    pthread_mutex_lock(&renewer->mutex);
    memcpy(problem, entry->problem, sizeof(entry->problem));
    pthread_mutex_unlock(&renewer->mutex);
}
