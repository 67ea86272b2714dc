/*
 * How other threads cancel a call. A pending call has one eventfd for all its locks. A lock keeps a
 * request to cancel until a call takes it.
 */
#ifndef CLIENT_CANCEL_H
#define CLIENT_CANCEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* One pending call. Only its own thread closes it. */
struct cancel_call {
    int descriptor; /* readable once the call is cancelled */
    atomic_bool cancelled;
};

/* The part of a lock. */
struct cancel {
    pthread_mutex_t mutex;
    bool requested;
    struct cancel_call *call; /* NULL: none is pending */
};

void cancel_init(struct cancel *cancel);
void cancel_free(struct cancel *cancel);

/* Returns false if out of descriptors. */
bool cancel_open_call(struct cancel_call *call);
void cancel_close_call(struct cancel_call *call);

/* The call begins for this lock. A request before now cancels it. */
void cancel_begin(struct cancel *cancel, struct cancel_call *call);

/* The call ends for this lock. If it was cancelled, that takes the request. */
void cancel_end(struct cancel *cancel, bool was_cancelled);

/* For any thread: cancels the pending call, or the next one. */
void cancel_request(struct cancel *cancel);

/* Takes a request. Returns whether there was one. A call that it has cancelled stays cancelled. */
bool cancel_clear(struct cancel *cancel);

#endif
