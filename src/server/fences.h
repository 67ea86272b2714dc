/*
 * The supply of fences of a process: handed out one after the other, and none at or above a
 * ceiling, which whoever stores it for the next process raises from time to time.
 *
 * A waiter must be granted later, when nobody can be refused any more. So whoever is let into a
 * queue, or granted at once, is promised a fence first: a promise is refused where the fences below
 * the ceiling are all handed out or promised; a grant uses one, a waiter that leaves gives its own
 * back. May be used from any thread.
 */
#ifndef SERVER_FENCES_H
#define SERVER_FENCES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FENCES_UNLIMITED UINT64_MAX

/* Invariant: next <= promised <= ceiling, where fences are promised at all. */
struct fences {
    _Atomic uint64_t next;     /* the one to be handed out next */
    _Atomic uint64_t promised; /* `next` and the promises that are open */
    _Atomic uint64_t ceiling;
    _Atomic uint64_t low; /* once `promised` has come so far, more should be reserved */
    atomic_bool asked;    /* somebody has seen that */
};

/*
 * Fences from `first` on and below `ceiling`. With FENCES_UNLIMITED nothing need be promised;
 * fences_take is all there is.
 */
void fences_init(struct fences *fences, uint64_t first, uint64_t ceiling);

/* False where there is none left, and nothing was promised. */
bool fences_promise(struct fences *fences);

void fences_return(struct fences *fences);

/* The next fence, which was promised. */
uint64_t fences_take(struct fences *fences);

/* Whether half of what was added last is in use. */
bool fences_are_low(const struct fences *fences);

/* As fences_are_low, but true only once, until fences_raise: whoever gets it asks for more. */
bool fences_request(struct fences *fences);

/* Whether somebody has asked, or would now. */
bool fences_requested(const struct fences *fences);

/* Whether no promise could be made now. */
bool fences_are_exhausted(const struct fences *fences);

uint64_t fences_ceiling(const struct fences *fences);

/* `ceiling` is stored for good: fences below it may be handed out. By one thread at a time. */
void fences_raise(struct fences *fences, uint64_t ceiling);

/* The promises that are open: a waiter has one each. Exact while nobody else is at work. */
uint64_t fences_open(const struct fences *fences);

#endif
