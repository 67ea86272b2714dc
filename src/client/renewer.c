#include "client/renewer.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/time_units.h"
#include "os/clock.h"
#include "os/system_memory.h"

enum {
    RENEWER_TIMER = 0,      /* its number in events; numbers of watches begin with 1 */
    RENEWER_EVENTS_MAX = 64 /* of one turn */
};

/* ---- the timer ---- */

/* Wakes the thread at the next deadline, or now if callbacks are due or it must end. */
static void renewer_set_timer(struct renewer *renewer)
{
    uint64_t at_ns = heap_top_key(&renewer->deadlines);
    struct itimerspec spec = {0};

    if (renewer->ending || !list_empty(&renewer->losses))
        at_ns = 0;
    if (at_ns != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(at_ns / NS_PER_S);
        /* A time of 0 would stop the timer. */
        spec.it_value.tv_nsec = (long)(at_ns % NS_PER_S) | (at_ns == 0);
    }
    timerfd_settime(renewer->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* ---- one entry ---- */

static bool renewer_register(const struct renewer *renewer, const struct renewer_entry *entry)
{
    struct epoll_event event = {.events = entry->watched_events, .data.u64 = entry->watch.hash};

    return entry->watched_descriptor < 0 ||
           epoll_ctl(renewer->events, EPOLL_CTL_ADD, entry->watched_descriptor, &event) == 0;
}

/*
 * Makes epoll watch the claim's descriptor. Returns false if that fails. The kernel removes a
 * closed descriptor from epoll. The next connection may have the same descriptor number.
 */
static bool renewer_watch(struct renewer *renewer, struct renewer_entry *entry)
{
    const struct claim *claim = &entry->claim;
    int descriptor = claim_descriptor(claim);
    short wanted = claim_events(claim);
    struct epoll_event event = {.data.u64 = entry->watch.hash};
    bool watched = entry->watched_connection == claim->connection_number &&
                   entry->watched_descriptor == descriptor;

    event.events = (wanted & POLLIN ? EPOLLIN : 0) | (wanted & POLLOUT ? EPOLLOUT : 0);
    if (watched && entry->watched_events == event.events)
        return true;
    entry->watched_connection = claim->connection_number;
    entry->watched_descriptor = descriptor;
    entry->watched_events = event.events;
    if (watched)
        return descriptor < 0 || epoll_ctl(renewer->events, EPOLL_CTL_MOD, descriptor, &event) == 0;
    map_remove(&renewer->watches, &entry->watch);
    map_insert(&renewer->watches, &entry->watch, ++renewer->watch_number);
    return renewer_register(renewer, entry);
}

static int renewer_create_events(int timer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = RENEWER_TIMER};
    int events = epoll_create1(EPOLL_CLOEXEC);

    if (events >= 0 && epoll_ctl(events, EPOLL_CTL_ADD, timer, &event) < 0) {
        close(events);
        events = -1;
    }
    return events;
}

static void renewer_register_again(void *context, struct map_link *link)
{
    renewer_register(context, CONTAINER_OF(link, struct renewer_entry, watch));
}

/*
 * The kernel does not remove a closed descriptor that a child of fork(2) still has. Old connections
 * then still report events. Only a new epoll ends that.
 */
static void renewer_forget_closed(struct renewer *renewer)
{
    int events = renewer_create_events(renewer->timer);
    uint64_t position = 0;

    if (events < 0)
        return;
    close(renewer->events);
    renewer->events = events;
    do
        position = map_walk(&renewer->watches, position, renewer_register_again, renewer);
    while (position != 0);
}

static void renewer_unwatch(struct renewer *renewer, struct renewer_entry *entry)
{
    int descriptor = claim_descriptor(&entry->claim);

    heap_remove(&renewer->deadlines, &entry->due);
    map_remove(&renewer->watches, &entry->watch);
    if (descriptor >= 0)
        epoll_ctl(renewer->events, EPOLL_CTL_DEL, descriptor, NULL);
    entry->watched_descriptor = -1;
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
    renewer_copy_problem(entry);
    entry->lost = true;
    entry->why = entry->claim.lease.why;
    if (entry->lost_callback)
        list_push_back(&renewer->losses, &entry->loss);
}

/* Drives a kept claim, and updates its deadline and its watch. */
static void renewer_serve(struct renewer *renewer, struct renewer_entry *entry)
{
    uint64_t answered = entry->claim.lease.renewals_answered;

    if (claim_step(&entry->claim) == LEASE_LOST) {
        renewer_lose(renewer, entry);
        return;
    }
    renewer_copy_problem(entry);
    heap_update(&renewer->deadlines, &entry->due, claim_due_ns(&entry->claim));
    /* If epoll cannot watch the connection, the claim's deadline wakes the thread. */
    renewer_watch(renewer, entry);
    if (entry->claim.lease.renewals_answered != answered)
        pthread_cond_broadcast(&renewer->changed);
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

    while (heap_top_key(&renewer->deadlines) <= now_ns)
        renewer_serve(renewer,
                      CONTAINER_OF(heap_top(&renewer->deadlines), struct renewer_entry, due));
}

/* Ignores the timer's event: each turn serves all deadlines. */
static void renewer_serve_events(struct renewer *renewer)
{
    struct epoll_event events[RENEWER_EVENTS_MAX];
    int count = epoll_wait(renewer->events, events, RENEWER_EVENTS_MAX, 0);
    bool stale = false;

    for (int i = 0; i < count; i++) {
        uint64_t number = events[i].data.u64;
        struct map_link *link = map_find(&renewer->watches, number);

        if (link)
            renewer_serve(renewer, CONTAINER_OF(link, struct renewer_entry, watch));
        else
            stale |= number != RENEWER_TIMER;
    }
    if (stale)
        renewer_forget_closed(renewer);
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
static void renewer_wait(struct renewer *renewer)
{
    struct pollfd ready = {.fd = renewer->events, .events = POLLIN};

    pthread_mutex_unlock(&renewer->mutex);
    poll(&ready, 1, -1);
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
        renewer_wait(renewer);
        renewer_serve_events(renewer);
    }
    pthread_mutex_unlock(&renewer->mutex);
    return NULL;
}

/* ---- beginning and end ---- */

bool renewer_open(struct renewer *renewer)
{
    *renewer = (struct renewer){
        .events = -1,
        .timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK),
    };
    pthread_mutex_init(&renewer->mutex, NULL);
    pthread_cond_init(&renewer->changed, NULL);
    heap_init(&renewer->deadlines, &system_memory);
    map_init(&renewer->watches, &system_memory);
    list_init(&renewer->losses);
    if (renewer->timer >= 0)
        renewer->events = renewer_create_events(renewer->timer);
    if (renewer->events >= 0 && map_reserve(&renewer->watches))
        return true;
    renewer_close(renewer);
    return false;
}

void renewer_close(struct renewer *renewer)
{
    assert(heap_top_key(&renewer->deadlines) == UINT64_MAX);
    if (renewer->started) {
        pthread_mutex_lock(&renewer->mutex);
        renewer->ending = true;
        renewer_set_timer(renewer);
        pthread_mutex_unlock(&renewer->mutex);
        pthread_join(renewer->thread, NULL);
    }
    if (renewer->events >= 0)
        close(renewer->events);
    if (renewer->timer >= 0)
        close(renewer->timer);
    heap_free(&renewer->deadlines);
    map_free(&renewer->watches);
    pthread_cond_destroy(&renewer->changed);
    pthread_mutex_destroy(&renewer->mutex);
}

bool renewer_reserve(struct renewer *renewer)
{
    bool reserved;

    pthread_mutex_lock(&renewer->mutex);
    reserved = heap_reserve(&renewer->deadlines, renewer->reserved + 1);
    if (reserved)
        renewer->reserved++;
    pthread_mutex_unlock(&renewer->mutex);
    return reserved;
}

void renewer_unreserve(struct renewer *renewer)
{
    pthread_mutex_lock(&renewer->mutex);
    renewer->reserved--;
    heap_trim(&renewer->deadlines, renewer->reserved);
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

/* ---- for the owners of claims ---- */

enum dflockd_status renewer_keep(struct renewer *renewer, struct renewer_entry *entry)
{
    enum dflockd_status status = DFLOCKD_STATUS_NO_MEMORY;

    pthread_mutex_lock(&renewer->mutex);
    assert(renewer->started && !entry->kept && !entry->lost);
    entry->watched_descriptor = -1;
    map_insert(&renewer->watches, &entry->watch, ++renewer->watch_number);
    if (!renewer_watch(renewer, entry)) {
        map_remove(&renewer->watches, &entry->watch);
    } else {
        status = DFLOCKD_STATUS_DONE;
        entry->kept = true;
        heap_insert(&renewer->deadlines, &entry->due, claim_due_ns(&entry->claim));
        renewer_serve(renewer, entry); /* no event reports bytes that came with the grant */
        renewer_set_timer(renewer);
    }
    pthread_mutex_unlock(&renewer->mutex);
    return status;
}

bool renewer_take(struct renewer *renewer, struct renewer_entry *entry)
{
    bool taken;

    pthread_mutex_lock(&renewer->mutex);
    renewer_expire(renewer, entry, clock_boottime_ns());
    taken = entry->kept;
    if (taken)
        renewer_unwatch(renewer, entry);
    pthread_mutex_unlock(&renewer->mutex);
    return taken;
}

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
