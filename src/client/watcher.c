#include "client/watcher.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/time_units.h"
#include "os/system_memory.h"

enum {
    WATCHER_TIMER = 0 /* its number in events; numbers of watches begin with 1 */
};

/* ---- epoll ---- */

static int watcher_create_events(int timer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WATCHER_TIMER};
    int events = epoll_create1(EPOLL_CLOEXEC);

    if (events >= 0 && epoll_ctl(events, EPOLL_CTL_ADD, timer, &event) < 0) {
        close(events);
        events = -1;
    }
    return events;
}

static bool watcher_control(const struct watcher *watcher, const struct watch *watch, int operation)
{
    struct epoll_event event = {.events = watch->events, .data.u64 = watch->link.hash};

    return watch->descriptor < 0 ||
           epoll_ctl(watcher->events, operation, watch->descriptor, &event) == 0;
}

static void watcher_register_again(void *context, struct map_link *link)
{
    watcher_control(context, CONTAINER_OF(link, struct watch, link), EPOLL_CTL_ADD);
}

/*
 * The kernel does not remove a closed descriptor that a child of fork(2) still has. Old connections
 * then still report events. Only a new epoll ends that.
 */
static void watcher_forget_closed(struct watcher *watcher)
{
    int events = watcher_create_events(watcher->timer);
    uint64_t position = 0;

    if (events < 0)
        return;
    close(watcher->events);
    watcher->events = events;
    do
        position = map_walk(&watcher->watches, position, watcher_register_again, watcher);
    while (position != 0);
}

/*
 * Makes epoll watch the descriptor. Returns false if that fails. The kernel removes a closed
 * descriptor from epoll. The next connection may have the same descriptor number.
 */
static bool watcher_set(struct watcher *watcher, struct watch *watch, const struct watch_wish *wish)
{
    uint32_t events =
        (wish->events & POLLIN ? EPOLLIN : 0) | (wish->events & POLLOUT ? EPOLLOUT : 0);
    bool same = watch->connection_number == wish->connection_number &&
                watch->descriptor == wish->descriptor;

    if (same && watch->events == events)
        return true;
    watch->connection_number = wish->connection_number;
    watch->descriptor = wish->descriptor;
    watch->events = events;
    if (same)
        return watcher_control(watcher, watch, EPOLL_CTL_MOD);
    map_remove(&watcher->watches, &watch->link);
    map_insert(&watcher->watches, &watch->link, ++watcher->number);
    return watcher_control(watcher, watch, EPOLL_CTL_ADD);
}

/* ---- beginning and end ---- */

bool watcher_open(struct watcher *watcher)
{
    *watcher = (struct watcher){
        .events = -1,
        .timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK),
    };
    heap_init(&watcher->deadlines, &system_memory);
    map_init(&watcher->watches, &system_memory);
    if (watcher->timer >= 0)
        watcher->events = watcher_create_events(watcher->timer);
    return watcher->events >= 0 && map_reserve(&watcher->watches);
}

void watcher_close(struct watcher *watcher)
{
    if (watcher->events >= 0)
        close(watcher->events);
    if (watcher->timer >= 0)
        close(watcher->timer);
    heap_free(&watcher->deadlines);
    map_free(&watcher->watches);
}

bool watcher_reserve(struct watcher *watcher)
{
    if (!heap_reserve(&watcher->deadlines, watcher->reserved + 1))
        return false;
    watcher->reserved++;
    return true;
}

void watcher_unreserve(struct watcher *watcher)
{
    watcher->reserved--;
    heap_trim(&watcher->deadlines, watcher->reserved);
}

/* ---- watches ---- */

bool watcher_add(struct watcher *watcher, struct watch *watch, const struct watch_wish *wish)
{
    watch->descriptor = -1;
    watch->events = 0;
    map_insert(&watcher->watches, &watch->link, ++watcher->number);
    if (!watcher_set(watcher, watch, wish)) {
        map_remove(&watcher->watches, &watch->link);
        return false;
    }
    heap_insert(&watcher->deadlines, &watch->due, wish->due_ns);
    return true;
}

void watcher_update(struct watcher *watcher, struct watch *watch, const struct watch_wish *wish)
{
    heap_update(&watcher->deadlines, &watch->due, wish->due_ns);
    watcher_set(watcher, watch, wish);
}

void watcher_remove(struct watcher *watcher, struct watch *watch, int descriptor)
{
    heap_remove(&watcher->deadlines, &watch->due);
    map_remove(&watcher->watches, &watch->link);
    watcher_forget(watcher, descriptor);
    watch->descriptor = -1;
}

void watcher_forget(struct watcher *watcher, int descriptor)
{
    if (descriptor >= 0)
        epoll_ctl(watcher->events, EPOLL_CTL_DEL, descriptor, NULL);
}

void watcher_set_timer(struct watcher *watcher, bool now)
{
    uint64_t at_ns = now ? 0 : heap_top_key(&watcher->deadlines);
    struct itimerspec spec = {0};

    if (at_ns != UINT64_MAX) {
        spec.it_value.tv_sec = (time_t)(at_ns / NS_PER_S);
        /* A time of 0 would stop the timer. */
        spec.it_value.tv_nsec = (long)(at_ns % NS_PER_S) | (at_ns == 0);
    }
    timerfd_settime(watcher->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

struct watch *watcher_overdue(const struct watcher *watcher, uint64_t now_ns)
{
    if (heap_top_key(&watcher->deadlines) > now_ns)
        return NULL;
    return CONTAINER_OF(heap_top(&watcher->deadlines), struct watch, due);
}

uint32_t watcher_take_events(struct watcher *watcher, uint64_t numbers[WATCHER_EVENTS_MAX])
{
    struct epoll_event events[WATCHER_EVENTS_MAX];
    int taken = epoll_wait(watcher->events, events, WATCHER_EVENTS_MAX, 0);
    uint32_t count = 0;
    bool stale = false;

    for (int i = 0; i < taken; i++) {
        uint64_t number = events[i].data.u64;

        /* Each turn serves all deadlines, so the timer's event needs nothing. */
        if (number == WATCHER_TIMER)
            continue;
        stale |= !watcher_find(watcher, number);
        numbers[count++] = number;
    }
    if (stale)
        watcher_forget_closed(watcher);
    return count;
}

struct watch *watcher_find(const struct watcher *watcher, uint64_t number)
{
    struct map_link *link = map_find(&watcher->watches, number);

    return link ? CONTAINER_OF(link, struct watch, link) : NULL;
}
