/*
 * The thread of a client. It drives the claims that are held (claim.h), renews their leases in time
 * and reports each loss.
 *
 * The renewer owns a kept claim with its connection. No other thread uses the claim until
 * renewer_take. One mutex guards the renewer and the kept claims. Nothing waits with the mutex
 * locked and no callback is called with it.
 *
 * Time is CLOCK_BOOTTIME, because the server's clock runs while this machine sleeps. A lease that
 * ended meanwhile must be over as soon as the machine wakes. The thread waits for one timer, by
 * which other threads wake it too, and for the connections.
 */
#ifndef CLIENT_RENEWER_H
#define CLIENT_RENEWER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "client/claim.h"
#include "dflockd/client.h"

/* Before the first renewer_keep, all members are 0 except `claim`, `lost_callback` and `owner`. */
struct renewer_entry {
    struct claim claim; /* the renewer owns it while `kept` */
    /* The thread calls it once for each loss, without the mutex. NULL: no call. */
    void (*lost_callback)(void *owner, enum dflockd_status why);
    void *owner;

    /* Private, guarded by the mutex. */
    bool kept;
    bool lost; /* until renewer_reset */
    enum dflockd_status why;
    char problem[DFLOCKD_PROBLEM_MAX];
    struct heap_node due;
    struct list_link loss; /* in `losses` until its callback is called */
    /* What epoll watches for it. */
    struct map_link watch; /* events have its hash, which changes with the connection */
    uint64_t watched_connection;
    int watched_descriptor;
    uint32_t watched_events;
};

struct renewer {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    bool ending;
    int events; /* epoll: the timer and the connections of all kept claims */
    int timer;
    uint32_t reserved; /* entries that the heap has room for */
    struct heap deadlines;
    struct map watches;                /* the kept entries */
    uint64_t watch_number;             /* the last hash */
    struct list losses;                /* entries whose callbacks must be called */
    struct renewer_entry *in_callback; /* the entry whose callback runs; NULL: none */
};

/* Opens a renewer, without a thread. Returns false if out of memory or descriptors. */
bool renewer_open(struct renewer *renewer);

/* Ends the thread. No claim may be kept. */
void renewer_close(struct renewer *renewer);

/* Reserve memory for one more entry, or free that of one. Returns false if out of memory. */
bool renewer_reserve(struct renewer *renewer);
void renewer_unreserve(struct renewer *renewer);

/* Starts the thread unless it runs. Returns false if no thread can be created. */
bool renewer_start(struct renewer *renewer);

/* Keeps a claim that is HELD. Returns DONE, or NO_MEMORY and does not keep it. */
enum dflockd_status renewer_keep(struct renewer *renewer, struct renewer_entry *entry);

/* Returns the claim to its owner. Returns false if it is not kept. */
bool renewer_take(struct renewer *renewer, struct renewer_entry *entry);

/*
 * Renews by `lease_s` (0: as the claim's terms say) now. Waits for the reply, at most until the
 * lease ends. Returns DONE, LOST, or NOT_HELD (it was never held).
 */
enum dflockd_status renewer_renew(struct renewer *renewer, struct renewer_entry *entry,
                                  uint64_t lease_s);

/*
 * Resets the entry to one that was never kept. Waits for its callback. Returns false if it is kept.
 * A callback must not call this.
 */
bool renewer_reset(struct renewer *renewer, struct renewer_entry *entry);

/* Copies the problem of a claim that is not kept, for renewer_problem, and sets whether it was
 * lost. */
void renewer_publish(struct renewer *renewer, struct renewer_entry *entry, bool lost);

/* The state of a claim at one moment. */
struct renewer_view {
    uint64_t left_ns; /* of its lease; 0: not held, without token and fence */
    uint64_t fence;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    bool lost;
};

/* Sets `*view`. A lease that has ended by the clock becomes LOST. */
void renewer_view(struct renewer *renewer, struct renewer_entry *entry, struct renewer_view *view);

/* Copies why the claim is not held or not verified, or "". */
void renewer_problem(struct renewer *renewer, const struct renewer_entry *entry,
                     char problem[DFLOCKD_PROBLEM_MAX]);

#endif
