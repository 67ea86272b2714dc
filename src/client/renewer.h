/*
 * The thread of a client. It drives the claims that are held (claim.h) and the shared connections
 * (shared.h), renews the leases in time and reports each loss.
 *
 * The renewer owns a kept claim with its connection. No other thread uses the claim until
 * renewer_take. One mutex guards the renewer and the kept claims. Nothing waits with the mutex
 * locked and no callback is called with it.
 *
 * Time is CLOCK_BOOTTIME, because the server's clock runs while this machine sleeps. A lease that
 * ended meanwhile must be over as soon as the machine wakes. The thread waits for one timer, by
 * which other threads wake it too, and for the connections (watcher.h).
 */
#ifndef CLIENT_RENEWER_H
#define CLIENT_RENEWER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "client/claim.h"
#include "client/server_connections.h"
#include "client/servers.h"
#include "client/watcher.h"
#include "dflockd/client.h"

/* Before the first renewer_keep, all members are 0 except `claim`, `lost_callback` and `owner`. */
struct renewer_entry {
    struct claim claim; /* the renewer owns it while `kept` */
    size_t server;      /* of its connection; set it before renewer_keep */
    /* The thread calls it once for each loss, without the mutex. NULL: no call. */
    void (*lost_callback)(void *owner, enum dflockd_status why);
    void *owner;

    /* Private, guarded by the mutex. */
    bool kept;
    bool counted; /* in `apart` of its server */
    bool lost;    /* until renewer_reset */
    enum dflockd_status why;
    char problem[DFLOCKD_PROBLEM_MAX];
    struct watch watch;
    struct list_link loss; /* in `losses` until its callback is called */
};

struct renewer {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    bool ending;
    struct watcher watcher;
    struct server_connections *servers; /* as many as `server_count` */
    size_t server_count;
    struct list losses;                /* entries whose callbacks must be called */
    struct renewer_entry *in_callback; /* the entry whose callback runs; NULL: none */
};

/* Opens a renewer, without a thread. `servers` must live longer. Returns false if out of memory or
 * descriptors. */
bool renewer_open(struct renewer *renewer, const struct servers *servers);

/* Ends the thread. No claim may be kept. */
void renewer_close(struct renewer *renewer);

/* Reserve memory for one more entry, or free that of one. Returns false if out of memory. Idle
 * connections close with the last entry. */
bool renewer_reserve(struct renewer *renewer);
void renewer_unreserve(struct renewer *renewer);

/* Starts the thread unless it runs. Returns false if no thread can be created. */
bool renewer_start(struct renewer *renewer);

/* Keeps a claim that is HELD. Returns DONE, or NO_MEMORY and does not keep it. */
enum dflockd_status renewer_keep(struct renewer *renewer, struct renewer_entry *entry);

/* Releases a claim that is kept, and waits for the reply. Returns as claim_release, or NOT_HELD or
 * LOST if it is not kept. A callback may call this. */
enum dflockd_status renewer_release(struct renewer *renewer, struct renewer_entry *entry);

/* Gives the claim an idle connection to its server, if there is one. Takes the connection of a
 * claim that is over, for the next claims. The claim must not be kept. */
void renewer_lend_connection(struct renewer *renewer, struct renewer_entry *entry);
void renewer_return_connection(struct renewer *renewer, struct renewer_entry *entry);

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
