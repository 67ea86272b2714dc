/*
 * The descriptors and deadlines that the client's thread waits for.
 */
#ifndef CLIENT_WATCHER_H
#define CLIENT_WATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/map.h"

enum {
    WATCHER_EVENTS_MAX = 64 /* of one turn */
};

/* What a watch waits for. */
struct watch_wish {
    int descriptor; /* -1: none */
    short events;   /* of poll(2) */
    uint64_t connection_number;
    uint64_t due_ns; /* UINT64_MAX: never */
};

struct watch {
    bool is_shared; /* its owner: a shared connection, or an entry of the renewer */

    /* Private. */
    struct heap_node due;
    struct map_link link; /* events have its hash, which changes with the connection */
    uint64_t connection_number;
    int descriptor;
    uint32_t events;
};

struct watcher {
    int events; /* epoll: the timer and the descriptors of all watches */
    int timer;
    uint32_t reserved; /* watches that the heap has room for */
    struct heap deadlines;
    struct map watches;
    uint64_t number; /* the last hash */
};

/* Returns false if out of memory or descriptors. */
bool watcher_open(struct watcher *watcher);
void watcher_close(struct watcher *watcher);

/* Reserve memory for one more watch, or free that of one. Returns false if out of memory. */
bool watcher_reserve(struct watcher *watcher);
void watcher_unreserve(struct watcher *watcher);

/* Adds a watch. Returns false if epoll cannot watch the descriptor, and does not add it. */
bool watcher_add(struct watcher *watcher, struct watch *watch, const struct watch_wish *wish);

/* Changes what a watch waits for. If epoll cannot watch it, only its deadline wakes the thread. */
void watcher_update(struct watcher *watcher, struct watch *watch, const struct watch_wish *wish);

/* `descriptor` is the open one that is watched, or -1. */
void watcher_remove(struct watcher *watcher, struct watch *watch, int descriptor);

/* Ends the events of a descriptor that stays open although the watch gets another one. */
void watcher_forget(struct watcher *watcher, int descriptor);

/* Sets the timer to the next deadline; `now`: the thread must wake at once. */
void watcher_set_timer(struct watcher *watcher, bool now);

/* Returns the next watch whose deadline has passed at `now_ns`, or NULL. */
struct watch *watcher_overdue(const struct watcher *watcher, uint64_t now_ns);

/* Returns the numbers of up to WATCHER_EVENTS_MAX watches that have events, without waiting. */
uint32_t watcher_take_events(struct watcher *watcher, uint64_t numbers[WATCHER_EVENTS_MAX]);

/* Returns the watch with this number, or NULL: it was removed, or has another connection. */
struct watch *watcher_find(const struct watcher *watcher, uint64_t number);

#endif
