/*
 * The io_uring of one worker. Requests are queued; one system call per turn submits them and waits
 * for completions. The kernel receives into buffers that were registered beforehand.
 *
 * A ring belongs to the thread that opened it. Every call that queues a request always succeeds;
 * its completion reports the request's error. Errors are negative errno.
 *
 * If the kernel refuses a system call (memory is short, for example), the ring reports the error,
 * sleeps for some milliseconds and tries again: it neither gives up nor spins.
 */
#ifndef OS_RING_H
#define OS_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RING_HAND_TAGS = 1 << 16
};

struct ring;

struct ring_options {
    uint32_t submissions;  /* queued requests; a power of two */
    uint32_t completions;  /* room for completions; a power of two */
    uint32_t buffers;      /* receive buffers; a power of two, at most 32768 */
    uint32_t buffer_bytes; /* of one */
    /* Called before each such sleep, in the ring's thread. May be NULL. */
    void (*report)(void *context, int error);
    void *context;
};

/* The end of a request, or one of its results if `more` is set. */
struct completion {
    uint64_t tag;   /* of the request; 0: of no interest */
    int32_t result; /* negative errno, or what the operation returns */
    bool more;
    const uint8_t *bytes; /* `result` received bytes, or NULL */
    uint16_t buffer;      /* if `bytes` is set, the caller returns it by ring_return_buffer */
};

/* Returns 0 and sets `*opened`, or -errno if the kernel refuses; see ring_explain. */
int ring_open(struct ring **opened, const struct ring_options *options);

void ring_close(struct ring *ring);

/* Returns one sentence on the cause of `error`, a result of ring_open, and the remedy. */
const char *ring_explain(int error);

/* Returns the descriptor by which other rings reach this one (ring_poke, ring_hand). */
int ring_descriptor(const struct ring *ring);

/* Accepts until a completion without `more`. Each result is a descriptor. */
void ring_accept(struct ring *ring, int listener, uint64_t tag);

/*
 * Receives into the registered buffers until a completion without `more`; -ENOBUFS if all are in
 * use.
 */
void ring_receive(struct ring *ring, int descriptor, uint64_t tag);

/*
 * Sends without waiting. If the socket takes all bytes, there is no completion. Otherwise one comes
 * within the next turn, with the number of bytes taken, -EAGAIN or another error. See ring_settled
 * for when the lack of a completion means success.
 */
void ring_send_now(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                   uint64_t tag);

/* Sends when the socket has room. The result is the number of bytes taken. */
void ring_send(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
               uint64_t tag);

/* Completes once, when one of the poll(2) `events` is pending. */
void ring_watch(struct ring *ring, int descriptor, uint32_t events, uint64_t tag);

/*
 * Writes to a file at `offset`. The result is the number of bytes written. A kernel thread may do
 * this, so `descriptor` must stay open and `bytes` unchanged until the completion.
 */
void ring_write(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                uint64_t offset, uint64_t tag);

/* Syncs a file to disk; the result is 0. Otherwise as ring_write. */
void ring_sync(struct ring *ring, int descriptor, uint64_t tag);

/* Cancels the requests with `tag`. Each completes, with -ECANCELED if it was pending. */
void ring_cancel_tag(struct ring *ring, uint64_t tag);

/*
 * Cancels all requests on `descriptor`. Also completes with `tag`; the result is the number of
 * cancelled requests. 0: the ring has no request on `descriptor`, and no completion of one follows.
 * The kernel looks at all requests of the ring.
 */
void ring_cancel_counted(struct ring *ring, int descriptor, uint64_t tag);

/* Closes `descriptor`. There is no completion. */
void ring_close_descriptor(struct ring *ring, int descriptor);

/*
 * Posts a completion with `tag` to the ring with the descriptor `target`. On failure, this ring
 * gets a completion with `failure_tag` and the error.
 */
void ring_poke(struct ring *ring, int target, uint64_t tag, uint64_t failure_tag);

/*
 * Hands `descriptor` over to another ring of this process, as the result of a completion with
 * `tag`, which is below RING_HAND_TAGS. If that fails, this ring gets the completion.
 */
void ring_hand(struct ring *ring, int target, int descriptor, uint64_t tag);

/* Submits the queued requests. Completions of requests come with the next turn. */
void ring_submit(struct ring *ring);

/*
 * Submits the queued requests and waits for a completion, until `until_ns` of the monotonic clock
 * at the latest (UINT64_MAX: without limit; 0: does not wait). May return earlier.
 *
 * Returns false if the kernel had no memory for completions and dropped some since the last turn.
 * The ring recovers its own state: the alarm and the receive buffers. The caller must recover all
 * state that depends on a completion before it calls ring_next.
 */
bool ring_turn(struct ring *ring, uint64_t until_ns);

/*
 * Returns when the ring's alarm, set by an earlier turn, ends a turn. UINT64_MAX: no alarm is set.
 */
uint64_t ring_alarm(const struct ring *ring);

/* Sets the next completion of this turn. Returns false if there is none. */
bool ring_next(struct ring *ring, struct completion *completion);

/*
 * Returns the tag of the completion `count` places after the next one, or 0 if there is none yet.
 */
uint64_t ring_ahead(const struct ring *ring, uint32_t count);

void ring_return_buffer(struct ring *ring, uint16_t buffer);

/*
 * Returns whether the last turn submitted all requests, and ring_next returns every completion so
 * far. Then each send without a completion has succeeded once ring_next returns false.
 */
bool ring_settled(const struct ring *ring);

#endif
