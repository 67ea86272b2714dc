/*
 * The io_uring of one worker: requests are queued, and one system call a turn submits them all and
 * waits for completions. Received bytes come in buffers registered with the kernel beforehand.
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
    /* Called before each such sleep, in the ring's thread; NULL: nobody wants to know. */
    void (*report)(void *context, int error);
    void *context;
};

/* A request's end, or one of many where `more` says that others follow. */
struct completion {
    uint64_t tag;   /* as the request was given; 0: of no interest */
    int32_t result; /* negative errno, or what the operation returns */
    bool more;
    const uint8_t *bytes; /* what was received, `result` bytes, or NULL */
    uint16_t buffer;      /* to be given back by ring_return_buffer, where `bytes` is set */
};

/* -errno where the kernel refuses; see ring_explain. */
int ring_open(struct ring **opened, const struct ring_options *options);

void ring_close(struct ring *ring);

/* One clear sentence on why `error` came from ring_open and what to do about it. */
const char *ring_explain(int error);

/* By what other threads' rings reach this one (ring_poke). */
int ring_descriptor(const struct ring *ring);

/* Accepts again and again, as long as completions say `more`: each result is a descriptor. */
void ring_accept(struct ring *ring, int listener, uint64_t tag);

/* Receives again and again, into the registered buffers; ends with -ENOBUFS when all are in use. */
void ring_receive(struct ring *ring, int descriptor, uint64_t tag);

/*
 * Sends what the socket takes at once, all of it in the normal case, and then completes *silently*
 * within the next turn. Otherwise a completion tells how much was taken, fewer bytes than given,
 * or -EAGAIN, or another error. `ring_settled` says when silence means success.
 */
void ring_send_now(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                   uint64_t tag);

/* Sends when the socket has room; the completion tells how much. */
void ring_send(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
               uint64_t tag);

/* One completion when any of the poll(2) `events` is there. */
void ring_watch(struct ring *ring, int descriptor, uint32_t events, uint64_t tag);

/*
 * Writes to a file at `offset`; the completion tells how much. A thread of the kernel may do it,
 * which looks the descriptor up late: it must stay open, and `bytes` as they are, until then.
 */
void ring_write(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                uint64_t offset, uint64_t tag);

/* What was written to a file goes to the disk; 0 when it is there. The rest as ring_write. */
void ring_sync(struct ring *ring, int descriptor, uint64_t tag);

/* Ends all requests on `descriptor`, each with its completion, -ECANCELED if nothing else. */
void ring_cancel(struct ring *ring, int descriptor);

/*
 * As ring_cancel, and a completion with `tag` says how many requests there were. 0: the ring has no
 * request on `descriptor` any more, and no further completion of one comes.
 */
void ring_cancel_counted(struct ring *ring, int descriptor, uint64_t tag);

/* Ends the requests with `tag`. */
void ring_cancel_tag(struct ring *ring, uint64_t tag);

/* Closes `descriptor`. Completes silently. */
void ring_close_descriptor(struct ring *ring, int descriptor);

/*
 * A completion with `tag` in the ring that `target` (ring_descriptor) stands for. If that fails, a
 * completion with `failure_tag` and the error comes in this ring.
 */
void ring_poke(struct ring *ring, int target, uint64_t tag, uint64_t failure_tag);

/*
 * Hands `descriptor` over to another ring of this process: there it is the result of a completion
 * with `tag`, which is below RING_HAND_TAGS. If that ring can't take it, the completion comes in
 * this ring.
 */
void ring_hand(struct ring *ring, int target, int descriptor, uint64_t tag);

/*
 * Submits all that is queued and waits for a completion, at the latest until the monotonic clock
 * shows `until_ns` (UINT64_MAX: without limit, 0: not at all). It may come back earlier.
 *
 * Returns false if the kernel dropped completions, of any requests, since the last turn, because it
 * had no memory to keep them. The ring recovers its own state: the alarm and the receive buffers.
 * The caller must recover all state that hangs on a completion before it calls ring_next.
 */
bool ring_turn(struct ring *ring, uint64_t until_ns);

/*
 * When the ring ends a turn on its own for what an earlier turn was given as its end; UINT64_MAX:
 * never.
 */
uint64_t ring_alarm(const struct ring *ring);

/* The next completion of this turn; false when all were seen. */
bool ring_next(struct ring *ring, struct completion *completion);

/*
 * The tag of the completion that comes `count` after the next one, where it is there and ring_next
 * will show it; else 0.
 */
uint64_t ring_ahead(const struct ring *ring, uint32_t count);

void ring_return_buffer(struct ring *ring, uint16_t buffer);

/*
 * Whether all that was queued before the last turn was submitted, and every completion so far is
 * among those that ring_next shows: what was silent until they are all seen, succeeded.
 */
bool ring_settled(const struct ring *ring);

#endif
