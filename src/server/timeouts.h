/*
 * Timeouts of one duration, in a list in the order of their start: the first expires first, and
 * starting and stopping cost a few writes.
 */
#ifndef SERVER_TIMEOUTS_H
#define SERVER_TIMEOUTS_H

#include <stdint.h>

#include "base/list.h"

struct timeouts {
    struct list list;
    uint64_t duration_ns; /* 0: none ever expires */
};

struct timeout {
    struct list_link link;
    uint64_t since_ns;
};

static inline void timeouts_init(struct timeouts *timeouts, uint64_t duration_ns)
{
    list_init(&timeouts->list);
    timeouts->duration_ns = duration_ns;
}

static inline bool timeout_runs(const struct timeout *timeout)
{
    return list_linked(&timeout->link);
}

static inline void timeout_stop(struct timeout *timeout)
{
    if (timeout_runs(timeout))
        list_remove(&timeout->link);
}

/* Starts `timeout`; stops it first if it runs, in any list. */
static inline void timeout_start(struct timeouts *timeouts, struct timeout *timeout,
                                 uint64_t now_ns)
{
    timeout_stop(timeout);
    timeout->since_ns = now_ns;
    list_push_back(&timeouts->list, &timeout->link);
}

/* Returns when the first one expires; UINT64_MAX: never. */
static inline uint64_t timeouts_deadline(const struct timeouts *timeouts)
{
    const struct list_link *link = list_first(&timeouts->list);

    if (!link || timeouts->duration_ns == 0)
        return UINT64_MAX;
    return CONTAINER_OF(link, struct timeout, link)->since_ns + timeouts->duration_ns;
}

/* Stops and returns the first one if it has expired, else returns NULL. */
static inline struct timeout *timeouts_take(struct timeouts *timeouts, uint64_t now_ns)
{
    struct timeout *timeout;

    if (timeouts_deadline(timeouts) > now_ns)
        return NULL;
    timeout = CONTAINER_OF(list_first(&timeouts->list), struct timeout, link);
    timeout_stop(timeout);
    return timeout;
}

#endif
