/*
 * The thread of a client that keeps its leases: it renews them in time, and notices at once when
 * one is lost.
 *
 * A lease that is kept belongs to the renewer, and so does the connection that it came by: nobody
 * else sends or receives on it until it was taken back. One mutex guards the renewer and all leases
 * that it ever kept; nothing waits while it is held, and no callback is called.
 *
 * Time is CLOCK_BOOTTIME: the server's clock goes on while this machine sleeps, and a lease that
 * ended meanwhile must be over here as soon as it wakes. The thread waits for one timer, which is
 * also how others wake it, and for the connections.
 */
#ifndef CLIENT_RENEWER_H
#define CLIENT_RENEWER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "dflockd/client.h"

/* What its owner asks of a lease; stays as it is. */
struct lease_terms {
    const char *key;
    enum dflockd_command renewal; /* RENEW or SEMAPHORE_RENEW */
    uint64_t lease_s;             /* to be asked for; 0: the server's default */
    bool renew;
    double ratio;
    /* Called by the thread, once for each loss, without the mutex. */
    void (*lost)(void *owner, enum dflockd_status why);
    void *owner;
};

enum lease_state {
    LEASE_NONE,
    LEASE_KEPT,
    LEASE_LOST
};

/* A renewal that somebody waits for. */
enum lease_demand {
    DEMAND_NONE,
    DEMAND_MADE,
    DEMAND_SENT
};

/* All 0, but for its terms, is one that was never kept. The mutex of the renewer guards the rest.
 */
struct lease {
    struct lease_terms terms;
    enum lease_state state;
    struct heap_node due;
    struct list_link telling; /* while its owner is to be told */
    struct dflockd_connection *connection;
    uint32_t watched; /* events of epoll */
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    uint64_t fence;
    uint64_t end_ns;
    uint64_t renew_ns; /* when it is to be renewed */
    uint64_t asked_ns; /* when the renewal was sent whose answer is to come; 0: none */
    uint64_t renewals; /* so many were asked for */
    uint64_t demand_s;
    enum lease_demand demand;
    enum dflockd_status why; /* it was lost */
    char problem[DFLOCKD_PROBLEM_MAX];
};

struct renewer {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    bool ending;
    int events; /* epoll: the timer and the connections of all that is kept */
    int timer;
    uint32_t admitted; /* leases that there is room for */
    struct heap dues;
    struct list losses;    /* whose owners are to be told */
    struct lease *telling; /* whose owner is being told */
};

/* Starts no thread yet. False: no memory, or no descriptors. */
bool renewer_open(struct renewer *renewer);

/* Nothing may be kept. */
void renewer_close(struct renewer *renewer);

/* Makes room for one lease more, or one less. False: no memory. */
bool renewer_admit(struct renewer *renewer);
void renewer_dismiss(struct renewer *renewer);

/* Starts the thread, unless it runs. False: there is none to be had. */
bool renewer_start(struct renewer *renewer);

/*
 * Keeps what `grant` gave, counted from `since_ns`, on a connection on which nothing is under way.
 * DONE, NO_MEMORY, or what broke the connection, which stays with the caller then.
 */
enum dflockd_status renewer_keep(struct renewer *renewer, struct lease *lease,
                                 struct dflockd_connection *connection,
                                 const struct dflockd_reply *grant, uint64_t since_ns);

/*
 * Takes a lease back with its connection, which goes to the caller, and copies its token. How many
 * answers to renewals will still come is `*stale`. NULL where it is not held any more.
 */
struct dflockd_connection *renewer_take(struct renewer *renewer, struct lease *lease,
                                        char token[DFLOCKD_TOKEN_LENGTH + 1], uint32_t *stale);

/* Has it renewed by `lease_s` at once, and waits for the answer: DONE, NOT_HELD (it never was),
 * LOST. */
enum dflockd_status renewer_renew(struct renewer *renewer, struct lease *lease, uint64_t lease_s);

/*
 * Makes it one that was never kept, once nobody is being told of its loss any more. False: it is
 * held. Not for the thread itself.
 */
bool renewer_reset(struct renewer *renewer, struct lease *lease);

/* Notes what broke its connection while that was not the renewer's, and whether it was lost so. */
void renewer_blame(struct renewer *renewer, struct lease *lease, const char *problem, bool lost);

/* What is known of a lease at one moment; what is over by the clock is lost, seen by the thread or
 * not. */
struct lease_view {
    uint64_t left_ns; /* 0: it is not held, and neither token nor fence is set */
    uint64_t fence;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    bool lost;
};

void renewer_view(struct renewer *renewer, const struct lease *lease, struct lease_view *view);

/* What last broke its connection, or "". */
void renewer_problem(struct renewer *renewer, const struct lease *lease,
                     char problem[DFLOCKD_PROBLEM_MAX]);

#endif
