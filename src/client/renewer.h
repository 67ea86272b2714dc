/*
 * The thread of a client: it drives the claims that are held (claim.h), so that their leases are
 * renewed in time and each loss is noticed at once.
 *
 * A claim that is kept belongs to the renewer with its connection: no other thread uses it until it
 * was taken back. One mutex guards the renewer and the kept claims. Nothing waits while it is
 * locked, and no callback is called.
 *
 * Time is CLOCK_BOOTTIME: the server's clock goes on while this machine sleeps, and a lease that
 * ended meanwhile must be over here as soon as it wakes. The thread waits for one timer, by which
 * other threads wake it too, and for the connections.
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

/* Before the first renewer_keep, all is 0 except the claim, the callback and its owner. */
struct renewer_entry {
    struct claim claim; /* the renewer's while `kept`, else its owner's */
    /* Called by the thread, once for each loss, without the mutex. NULL: no call. */
    void (*lost_callback)(void *owner, enum dflockd_status why);
    void *owner;

    /* Private: under the mutex. */
    bool kept;
    bool lost; /* until renewer_reset */
    enum dflockd_status why;
    char problem[DFLOCKD_PROBLEM_MAX];
    struct heap_node due;
    struct list_link loss; /* while its callback is to be called */
    /* What epoll watches for it: which connection of the claim, descriptor and events. */
    struct map_link watch; /* its hash is in the events, and changes with the connection */
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
    uint64_t watch_number;             /* the last hash that was given */
    struct list losses;                /* entries whose callbacks are to be called */
    struct renewer_entry *in_callback; /* whose callback is being called; NULL: none */
};

/* Starts no thread yet. Returns false if memory or descriptors are short. */
bool renewer_open(struct renewer *renewer);

/* No claim may be kept. */
void renewer_close(struct renewer *renewer);

/* Reserves memory for one more entry, or frees that of one. Returns false if memory is short. */
bool renewer_reserve(struct renewer *renewer);
void renewer_unreserve(struct renewer *renewer);

/* Starts the thread unless it runs. Returns false if there is none to be had. */
bool renewer_start(struct renewer *renewer);

/* Keeps a claim that is HELD. Returns DONE, or NO_MEMORY: the claim stays its owner's. */
enum dflockd_status renewer_keep(struct renewer *renewer, struct renewer_entry *entry);

/* Gives the claim back to its owner. Returns false if it is not kept, or not any more. */
bool renewer_take(struct renewer *renewer, struct renewer_entry *entry);

/*
 * Renews by `lease_s` (0: as the claim's terms say) at once, and waits for the reply, at most until
 * the lease is over. Returns DONE, LOST, or NOT_HELD: it was never held.
 */
enum dflockd_status renewer_renew(struct renewer *renewer, struct renewer_entry *entry,
                                  uint64_t lease_s);

/*
 * Makes the entry one that was never kept, after its callback has returned if that is being called.
 * Returns false if it is kept. Not for the thread itself.
 */
bool renewer_reset(struct renewer *renewer, struct renewer_entry *entry);

/* For the owner of a claim that is not kept: copies its problem for renewer_problem, and sets
 * whether it was lost. */
void renewer_publish(struct renewer *renewer, struct renewer_entry *entry, bool lost);

/* What is known of a claim at one moment. */
struct renewer_view {
    uint64_t left_ns; /* of its lease; 0: it is not held, and neither token nor fence is set */
    uint64_t fence;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    bool lost;
};

/* A lease that is over by the clock is lost from then on. */
void renewer_view(struct renewer *renewer, struct renewer_entry *entry, struct renewer_view *view);

/* Copies why it is not held or not verified, or "". */
void renewer_problem(struct renewer *renewer, const struct renewer_entry *entry,
                     char problem[DFLOCKD_PROBLEM_MAX]);

#endif
