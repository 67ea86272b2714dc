#include "client/renewer.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "os/clock.h"

enum {
    EVENTS_AT_ONCE = 64
};

static const uint64_t ns_per_s = 1000000000;

/* Of the time until a renewal, how much at most the jitter takes away. */
static const double jitter_most = 0.1;

static void *allocate(void *context, size_t size, size_t alignment)
{
    void *block;

    (void)context;
    return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

static void release(void *context, void *block, size_t size)
{
    (void)context;
    (void)size;
    free(block);
}

static const struct memory memory = {.allocate = allocate, .release = release};

static struct lease *lease_due(struct heap_node *node)
{
    return CONTAINER_OF(node, struct lease, due);
}

/* ---- the timer ---- */

/* Wakes the thread when something is due; at once, where somebody is to be told, or it is to end.
 */
static void set_timer(struct renewer *renewer)
{
    uint64_t at_ns = heap_top_key(&renewer->dues);
    struct itimerspec spec = {0};

    if (renewer->ending || !list_empty(&renewer->losses))
        at_ns = 0;
    if (at_ns != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(at_ns / ns_per_s);
        /* 0 would be never. */
        spec.it_value.tv_nsec = (long)(at_ns % ns_per_s) | (at_ns == 0);
    }
    timerfd_settime(renewer->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Uniform in 0 to 1. The fence is another one for each grant of a server, so leases that were
 * granted together are not renewed together. */
static double jitter(const struct lease *lease)
{
    uint64_t bits = lease->fence + lease->renewals * UINT64_C(0x9e3779b97f4a7c15);

    bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
    return (double)((bits ^ bits >> 31) >> 11) / (double)(UINT64_C(1) << 53);
}

/* It was granted or renewed: asked for at `since_ns`, for `lease_s`. */
static void count_from(struct lease *lease, uint64_t since_ns, uint64_t lease_s)
{
    double ratio = lease->terms.ratio * (1 - jitter_most * jitter(lease));

    lease->end_ns = since_ns + lease_s * ns_per_s;
    lease->renew_ns = since_ns + (uint64_t)((double)lease_s * (double)ns_per_s * ratio);
}

static uint64_t due_ns(const struct lease *lease)
{
    if (lease->asked_ns > 0)
        return lease->end_ns;
    if (lease->demand == DEMAND_MADE)
        return 0;
    return lease->terms.renew ? lease->renew_ns : lease->end_ns;
}

/* ---- one lease ---- */

static void note_problem(struct lease *lease, const char *problem)
{
    snprintf(lease->problem, sizeof(lease->problem), "%s", problem);
}

/* The caller has the connection to itself from then on. */
static void let_go(struct renewer *renewer, struct lease *lease, enum lease_state state)
{
    int descriptor = dflockd_connection_descriptor(lease->connection);

    heap_remove(&renewer->dues, &lease->due);
    if (descriptor >= 0)
        epoll_ctl(renewer->events, EPOLL_CTL_DEL, descriptor, NULL);
    explicit_bzero(lease->token, sizeof(lease->token));
    lease->connection = NULL;
    lease->fence = 0;
    lease->asked_ns = 0;
    lease->demand = DEMAND_NONE;
    lease->state = state;
    pthread_cond_broadcast(&renewer->changed);
}

/*
 * Closed in any case: a server that still thinks it is held releases it then, and a connection
 * whose state there is unclear is not used again.
 */
static void lose(struct renewer *renewer, struct lease *lease, enum dflockd_status why)
{
    struct dflockd_connection *connection = lease->connection;

    note_problem(lease, dflockd_connection_problem(connection));
    let_go(renewer, lease, LEASE_LOST);
    dflockd_connection_close(connection);
    lease->why = why;
    if (lease->terms.lost)
        list_push_back(&renewer->losses, &lease->telling);
}

/* Has the kernel watch what the connection waits for. */
static void watch(struct renewer *renewer, struct lease *lease)
{
    bool sends = dflockd_connection_events(lease->connection) & POLLOUT;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = lease};

    if (sends)
        event.events |= EPOLLOUT;
    if (event.events == lease->watched)
        return;
    lease->watched = event.events;
    epoll_ctl(renewer->events, EPOLL_CTL_MOD, dflockd_connection_descriptor(lease->connection),
              &event);
}

static void renewed(struct renewer *renewer, struct lease *lease, uint64_t lease_s)
{
    count_from(lease, lease->asked_ns, lease_s);
    lease->asked_ns = 0;
    if (lease->demand == DEMAND_SENT) {
        lease->demand = DEMAND_NONE;
        pthread_cond_broadcast(&renewer->changed);
    }
}

/* Goes on with its connection. */
static void serve(struct renewer *renewer, struct lease *lease)
{
    struct dflockd_reply reply;
    enum dflockd_status status;

    while ((status = dflockd_connection_receive(lease->connection, &reply)) ==
           DFLOCKD_STATUS_DONE) {
        if (reply.status != DFLOCKD_STATUS_DONE) {
            lose(renewer, lease, reply.status);
            return;
        }
        renewed(renewer, lease, reply.lease_s);
    }
    if (status != DFLOCKD_STATUS_AGAIN) {
        lose(renewer, lease, status);
        return;
    }
    heap_update(&renewer->dues, &lease->due, due_ns(lease));
    watch(renewer, lease);
}

static void ask_for_renewal(struct renewer *renewer, struct lease *lease, uint64_t now_ns)
{
    struct dflockd_request request = {
        .command = lease->terms.renewal,
        .key = lease->terms.key,
        .token = lease->token,
        .lease_s = lease->terms.lease_s,
    };
    enum dflockd_status status;

    if (lease->demand == DEMAND_MADE) {
        lease->demand = DEMAND_SENT;
        request.lease_s = lease->demand_s;
    }
    lease->asked_ns = now_ns;
    lease->renewals++;
    status = dflockd_connection_send(lease->connection, &request);
    if (status == DFLOCKD_STATUS_DONE)
        serve(renewer, lease);
    else
        lose(renewer, lease, status);
}

/* Notices that it is over, for whoever comes before the thread. */
static void expire(struct renewer *renewer, struct lease *lease, uint64_t now_ns)
{
    if (lease->state != LEASE_KEPT || now_ns < lease->end_ns)
        return;
    lose(renewer, lease, DFLOCKD_STATUS_LOST);
    set_timer(renewer);
}

/* ---- the thread ---- */

static void serve_due(struct renewer *renewer)
{
    uint64_t now_ns = clock_boottime_ns();

    while (heap_top_key(&renewer->dues) <= now_ns) {
        struct lease *lease = lease_due(heap_top(&renewer->dues));

        if (now_ns >= lease->end_ns)
            lose(renewer, lease, DFLOCKD_STATUS_LOST);
        else
            ask_for_renewal(renewer, lease, now_ns);
    }
}

/* The timer's event says nothing more: all that is due is served in any case. */
static void serve_events(struct renewer *renewer)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(renewer->events, events, EVENTS_AT_ONCE, 0);

    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr)
            serve(renewer, events[i].data.ptr);
    }
}

static void tell(struct renewer *renewer)
{
    struct list_link *link;

    while ((link = list_first(&renewer->losses))) {
        struct lease *lease = CONTAINER_OF(link, struct lease, telling);
        enum dflockd_status why = lease->why;

        list_remove(link);
        renewer->telling = lease;
        pthread_mutex_unlock(&renewer->mutex);
        lease->terms.lost(lease->terms.owner, why);
        pthread_mutex_lock(&renewer->mutex);
        renewer->telling = NULL;
        pthread_cond_broadcast(&renewer->changed);
    }
}

/*
 * Waits without the mutex, and asks for the events only with it: a lease that another thread took
 * back meanwhile is in none of them.
 */
static void wait_for_events(struct renewer *renewer)
{
    struct pollfd ready = {.fd = renewer->events, .events = POLLIN};

    pthread_mutex_unlock(&renewer->mutex);
    poll(&ready, 1, -1);
    pthread_mutex_lock(&renewer->mutex);
}

static void *run(void *argument)
{
    struct renewer *renewer = argument;

    pthread_mutex_lock(&renewer->mutex);
    while (!renewer->ending) {
        serve_due(renewer);
        tell(renewer);
        set_timer(renewer);
        wait_for_events(renewer);
        serve_events(renewer);
    }
    pthread_mutex_unlock(&renewer->mutex);
    return NULL;
}

/* ---- beginning and end ---- */

bool renewer_open(struct renewer *renewer)
{
    struct epoll_event event = {.events = EPOLLIN};

    *renewer = (struct renewer){
        .events = epoll_create1(EPOLL_CLOEXEC),
        .timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK),
    };
    pthread_mutex_init(&renewer->mutex, NULL);
    pthread_cond_init(&renewer->changed, NULL);
    heap_init(&renewer->dues, &memory);
    list_init(&renewer->losses);
    if (renewer->events >= 0 && renewer->timer >= 0 &&
        epoll_ctl(renewer->events, EPOLL_CTL_ADD, renewer->timer, &event) == 0)
        return true;
    renewer_close(renewer);
    return false;
}

void renewer_close(struct renewer *renewer)
{
    assert(heap_top_key(&renewer->dues) == UINT64_MAX);
    if (renewer->started) {
        pthread_mutex_lock(&renewer->mutex);
        renewer->ending = true;
        set_timer(renewer);
        pthread_mutex_unlock(&renewer->mutex);
        pthread_join(renewer->thread, NULL);
    }
    if (renewer->events >= 0)
        close(renewer->events);
    if (renewer->timer >= 0)
        close(renewer->timer);
    heap_free(&renewer->dues);
    pthread_cond_destroy(&renewer->changed);
    pthread_mutex_destroy(&renewer->mutex);
}

bool renewer_admit(struct renewer *renewer)
{
    bool fine;

    pthread_mutex_lock(&renewer->mutex);
    fine = heap_reserve(&renewer->dues, renewer->admitted + 1);
    if (fine)
        renewer->admitted++;
    pthread_mutex_unlock(&renewer->mutex);
    return fine;
}

void renewer_dismiss(struct renewer *renewer)
{
    pthread_mutex_lock(&renewer->mutex);
    renewer->admitted--;
    heap_trim(&renewer->dues, renewer->admitted);
    pthread_mutex_unlock(&renewer->mutex);
}

/* The program's signals are for its own threads. */
bool renewer_start(struct renewer *renewer)
{
    sigset_t all;
    sigset_t before;
    bool started;

    pthread_mutex_lock(&renewer->mutex);
    if (!renewer->started) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        renewer->started = pthread_create(&renewer->thread, NULL, run, renewer) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    started = renewer->started;
    pthread_mutex_unlock(&renewer->mutex);
    return started;
}

/* ---- for the owners of leases ---- */

static enum dflockd_status keep(struct renewer *renewer, struct lease *lease,
                                struct dflockd_connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = lease};
    int descriptor = dflockd_connection_descriptor(connection);
    struct dflockd_reply none;

    if (descriptor < 0)
        return dflockd_connection_receive(connection, &none);
    if (epoll_ctl(renewer->events, EPOLL_CTL_ADD, descriptor, &event) < 0)
        return DFLOCKD_STATUS_NO_MEMORY;
    lease->watched = event.events;
    return DFLOCKD_STATUS_DONE;
}

enum dflockd_status renewer_keep(struct renewer *renewer, struct lease *lease,
                                 struct dflockd_connection *connection,
                                 const struct dflockd_reply *grant, uint64_t since_ns)
{
    enum dflockd_status status;

    pthread_mutex_lock(&renewer->mutex);
    assert(renewer->started && lease->state == LEASE_NONE);
    status = keep(renewer, lease, connection);
    if (status == DFLOCKD_STATUS_DONE) {
        lease->state = LEASE_KEPT;
        lease->connection = connection;
        memcpy(lease->token, grant->token, sizeof(lease->token));
        lease->fence = grant->fence;
        lease->renewals = 0;
        count_from(lease, since_ns, grant->lease_s);
        heap_insert(&renewer->dues, &lease->due, due_ns(lease));
        serve(renewer, lease); /* what came behind the grant, no event tells of */
        set_timer(renewer);
    }
    pthread_mutex_unlock(&renewer->mutex);
    return status;
}

struct dflockd_connection *renewer_take(struct renewer *renewer, struct lease *lease,
                                        char token[DFLOCKD_TOKEN_LENGTH + 1], uint32_t *stale)
{
    struct dflockd_connection *connection = NULL;

    pthread_mutex_lock(&renewer->mutex);
    expire(renewer, lease, clock_boottime_ns());
    if (lease->state == LEASE_KEPT) {
        connection = lease->connection;
        *stale = lease->asked_ns > 0;
        memcpy(token, lease->token, sizeof(lease->token));
        let_go(renewer, lease, LEASE_NONE);
    }
    pthread_mutex_unlock(&renewer->mutex);
    return connection;
}

enum dflockd_status renewer_renew(struct renewer *renewer, struct lease *lease, uint64_t lease_s)
{
    enum lease_state state;

    pthread_mutex_lock(&renewer->mutex);
    expire(renewer, lease, clock_boottime_ns());
    if (lease->state == LEASE_KEPT) {
        lease->demand = DEMAND_MADE;
        lease->demand_s = lease_s > 0 ? lease_s : lease->terms.lease_s;
        heap_update(&renewer->dues, &lease->due, due_ns(lease));
        set_timer(renewer);
        while (lease->state == LEASE_KEPT && lease->demand != DEMAND_NONE)
            pthread_cond_wait(&renewer->changed, &renewer->mutex);
    }
    state = lease->state;
    pthread_mutex_unlock(&renewer->mutex);
    return state == LEASE_KEPT   ? DFLOCKD_STATUS_DONE
           : state == LEASE_LOST ? DFLOCKD_STATUS_LOST
                                 : DFLOCKD_STATUS_NOT_HELD;
}

bool renewer_reset(struct renewer *renewer, struct lease *lease)
{
    bool held;

    pthread_mutex_lock(&renewer->mutex);
    expire(renewer, lease, clock_boottime_ns());
    held = lease->state == LEASE_KEPT;
    if (!held) {
        while (list_linked(&lease->telling) || renewer->telling == lease)
            pthread_cond_wait(&renewer->changed, &renewer->mutex);
        lease->state = LEASE_NONE;
        lease->problem[0] = '\0';
    }
    pthread_mutex_unlock(&renewer->mutex);
    return !held;
}

void renewer_blame(struct renewer *renewer, struct lease *lease, const char *problem, bool lost)
{
    pthread_mutex_lock(&renewer->mutex);
    note_problem(lease, problem);
    if (lost)
        lease->state = LEASE_LOST;
    pthread_mutex_unlock(&renewer->mutex);
}

void renewer_view(struct renewer *renewer, const struct lease *lease, struct lease_view *view)
{
    uint64_t now_ns;

    *view = (struct lease_view){0};
    pthread_mutex_lock(&renewer->mutex);
    now_ns = clock_boottime_ns();
    if (lease->state == LEASE_KEPT && now_ns < lease->end_ns) {
        view->left_ns = lease->end_ns - now_ns;
        view->fence = lease->fence;
        memcpy(view->token, lease->token, sizeof(view->token));
    } else {
        view->lost = lease->state != LEASE_NONE;
    }
    pthread_mutex_unlock(&renewer->mutex);
}

void renewer_problem(struct renewer *renewer, const struct lease *lease,
                     char problem[DFLOCKD_PROBLEM_MAX])
{
    pthread_mutex_lock(&renewer->mutex);
    memcpy(problem, lease->problem, sizeof(lease->problem));
    pthread_mutex_unlock(&renewer->mutex);
}
