/*
 * What several locks at once (locks.c) need of a lock.
 */
#ifndef CLIENT_LOCK_H
#define CLIENT_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "client/cancel.h"
#include "dflockd/client.h"

/* Sets a timeout of the public functions in nanoseconds. Returns false if it is out of range. */
bool lock_timeout_ns(int64_t timeout_ms, uint64_t *timeout_ns);

/* As dflockd_lock_acquire, within a call that has begun for the lock. */
enum dflockd_status lock_acquire(struct dflockd_lock *lock, struct cancel_call *call,
                                 uint64_t timeout_ns);

struct cancel *lock_cancel(struct dflockd_lock *lock);

bool lock_is_semaphore(const struct dflockd_lock *lock);

#endif
