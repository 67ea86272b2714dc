/*
 * The supply of fences of the process. Fences rise by one, below a ceiling that fence_store.h
 * raises. The grant of a waiter cannot be refused any more. So a claim is promised a fence when it
 * enters the queue or is granted at once. A promise fails if all fences below the ceiling are used
 * or promised. A grant uses the promise; a waiter that leaves returns
 * it. All functions but fences_init may be called from any thread.
 */
#ifndef SERVER_FENCES_H
#define SERVER_FENCES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FENCES_UNLIMITED UINT64_MAX

/* Invariant: next <= promised <= ceiling, unless the ceiling is FENCES_UNLIMITED. */
struct fences {
    _Atomic uint64_t next;     /* the next fence to hand out */
    _Atomic uint64_t promised; /* `next` plus the outstanding promises */
    _Atomic uint64_t ceiling;
    _Atomic uint64_t low;  /* if `promised` has reached it, half of the last range is in use */
    atomic_bool requested; /* a caller has requested more since the ceiling last rose */
};

/*
 * Supplies fences from `first` to below `ceiling`. With FENCES_UNLIMITED, callers may take fences
 * without a promise.
 */
void fences_init(struct fences *fences, uint64_t first, uint64_t ceiling);

/* Promises a fence. Returns false if none is left. */
bool fences_promise(struct fences *fences);

/* Takes back a promise. */
void fences_return(struct fences *fences);

/* Returns the next fence, which must have been promised. */
uint64_t fences_take(struct fences *fences);

/* Returns whether half of the last range is in use. */
bool fences_are_low(const struct fences *fences);

/*
 * Returns true to the first caller that finds the fences low since the last fences_raise. That
 * caller wakes the worker that stores the next range.
 */
bool fences_request(struct fences *fences);

/* Returns whether a range was requested, or fences_request would request one now. */
bool fences_requested(const struct fences *fences);

/* Returns whether no promise can be made now. */
bool fences_are_exhausted(const struct fences *fences);

uint64_t fences_ceiling(const struct fences *fences);

/* Returns how many promises can be made now; FENCES_UNLIMITED if there is no ceiling. */
uint64_t fences_left(const struct fences *fences);

/* Allows fences below `ceiling`, which must be stored already. For one thread at a time. */
void fences_raise(struct fences *fences, uint64_t ceiling);

/* Returns the number of outstanding promises; exact while no other thread uses `fences`. */
uint64_t fences_outstanding(const struct fences *fences);

#endif
