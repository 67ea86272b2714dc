/*
 * Several locks at once. All programs acquire them in the same order, so that two of them cannot
 * wait for each other.
 */
#include <stdlib.h>
#include <string.h>

#include "client/lock.h"
#include "os/clock.h"

struct locks_entry {
    struct dflockd_lock *lock;
    size_t index; /* in the caller's array */
};

/* The order: by the bytes of the key, then locks before semaphores. */
static int locks_compare(const void *left, const void *right)
{
    const struct locks_entry *a = left;
    const struct locks_entry *b = right;
    int order = strcmp(dflockd_lock_key(a->lock), dflockd_lock_key(b->lock));

    if (order != 0)
        return order;
    return lock_is_semaphore(a->lock) - lock_is_semaphore(b->lock);
}

/* Returns sorted entries, which the caller must free, or NULL if out of memory. */
static struct locks_entry *locks_sort(struct dflockd_lock *const *locks, size_t count)
{
    struct locks_entry *entries = calloc(count, sizeof(*entries));

    if (!entries)
        return NULL;
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct locks_entry){.lock = locks[i], .index = i};
    qsort(entries, count, sizeof(*entries), locks_compare);
    return entries;
}

/* Returns the place of the first entry that equals the one before; `count` if there is none. */
static size_t locks_find_twice(const struct locks_entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (locks_compare(&entries[i - 1], &entries[i]) == 0)
            return i;
    }
    return count;
}

/* Returns the place of the first entry that is not held; `count` if all are. */
static size_t locks_find_lost(const struct locks_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!dflockd_lock_held(entries[i].lock))
            return i;
    }
    return count;
}

/* Acquires all, or none. Sets `*place` to that of the entry that failed. */
static enum dflockd_status locks_acquire(const struct locks_entry *entries, size_t count,
                                         struct cancel_call *call, uint64_t timeout_ns,
                                         size_t *place)
{
    uint64_t end_ns = clock_boottime_ns() + timeout_ns;
    enum dflockd_status status = DFLOCKD_STATUS_DONE;
    size_t held = 0;

    while (held < count) {
        uint64_t now_ns = clock_boottime_ns();
        uint64_t left_ns = held == 0 ? timeout_ns : now_ns < end_ns ? end_ns - now_ns : 0;

        status = lock_acquire(entries[held].lock, call, left_ns);
        if (status != DFLOCKD_STATUS_DONE)
            break;
        held++;
    }
    *place = held;
    if (status == DFLOCKD_STATUS_DONE) {
        *place = locks_find_lost(entries, count);
        if (*place == count)
            return status;
        status = DFLOCKD_STATUS_LOST;
    }
    while (held > 0)
        dflockd_lock_release(entries[--held].lock);
    return status;
}

/* One call for all locks, so that a cancel of any of them ends it. */
static enum dflockd_status locks_call(const struct locks_entry *entries, size_t count,
                                      uint64_t timeout_ns, size_t *place)
{
    struct cancel_call call;
    enum dflockd_status status;

    if (!cancel_open_call(&call))
        return DFLOCKD_STATUS_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        cancel_begin(lock_cancel(entries[i].lock), &call);
    status = locks_acquire(entries, count, &call, timeout_ns, place);
    for (size_t i = 0; i < count; i++)
        cancel_end(lock_cancel(entries[i].lock), status == DFLOCKD_STATUS_CANCELLED);
    cancel_close_call(&call);
    return status;
}

enum dflockd_status dflockd_locks_acquire(struct dflockd_lock *const *locks, size_t count,
                                          int64_t timeout_ms, size_t *failed)
{
    enum dflockd_status status = DFLOCKD_STATUS_INVALID;
    size_t place = count;
    struct locks_entry *entries;
    uint64_t timeout_ns;

    if (failed)
        *failed = count;
    if (!lock_timeout_ns(timeout_ms, &timeout_ns))
        return DFLOCKD_STATUS_INVALID;
    if (count == 0)
        return DFLOCKD_STATUS_DONE;
    entries = locks_sort(locks, count);
    if (!entries)
        return DFLOCKD_STATUS_NO_MEMORY;
    place = locks_find_twice(entries, count);
    if (place == count)
        status = locks_call(entries, count, timeout_ns, &place);
    if (failed && place < count)
        *failed = entries[place].index;
    free(entries);
    return status;
}

enum dflockd_status dflockd_locks_release(struct dflockd_lock *const *locks, size_t count)
{
    enum dflockd_status first = DFLOCKD_STATUS_DONE;

    while (count > 0) {
        enum dflockd_status status = dflockd_lock_release(locks[--count]);

        if (first == DFLOCKD_STATUS_DONE)
            first = status;
    }
    return first;
}
