/*
 * libdflockd: locks and semaphores of dflockd servers for C programs.
 *
 * The library has two layers. A connection sends requests and receives replies. It fits into any
 * event loop, and waits only in the functions that say so. Its only thread looks up a host name.
 * A lock acquires, renews and releases. A thread of its client renews it. The locks of a client
 * share connections.
 *
 * State belongs to a client or a connection; only one count is global: the library looks up at most
 * 64 host names at a time, and further look-ups wait. The library raises no SIGPIPE, handles EINTR,
 * and blocks all signals in its threads.
 *
 * The library copies the text that it is given, unless a comment says otherwise. Names end in their
 * unit: `_ms` or `_s`.
 *
 * Later versions of the library add functions, statuses, and members of structures. A program that
 * was compiled before still works with them:
 * - An options structure starts with its size, which its init function sets. The library uses
 *   defaults for members that the program does not have. It refuses a structure without a size, and
 *   one with a member that it does not know unless that is 0.
 * - A request has reserved members, which must be 0. Set all members that a program does not name
 *   to 0: with `= {0}`, or with an initializer that names members.
 * - A reply has reserved members, which the library sets to 0.
 *
 * One thread at a time may use a connection. Any threads may use a client. Each function of a lock
 * says which threads may call it. After fork(2) the child must open its own clients and
 * connections.
 */
#ifndef DFLOCKD_CLIENT_H
#define DFLOCKD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/protocol.h"
#include "dflockd/version.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* Returns the version of the library that the program runs with, such as "0.1.0". DFLOCKD_VERSION
 * is the one that it was compiled with. */
const char *dflockd_version(void);

/* Bytes of an error text, with its terminating 0. */
#define DFLOCKD_PROBLEM_MAX 512

/* The results of calls, and their texts (dflockd_status_text). */
#define DFLOCKD_STATUSES(X)                                                                     \
    X(DONE, "done")                                                                             \
    X(WAITING, "queued: another client holds it")                                               \
    X(TIMED_OUT, "not granted before the timeout")                                              \
    X(CANCELLED, "cancelled")                                                                   \
    X(NOT_HELD, "not held by this token")                                                       \
    X(LOST, "the lease was lost")                                                               \
    X(ALREADY, "already held or queued")                                                        \
    X(NOT_ENQUEUED, "not enqueued")                                                             \
    X(LIMIT_MISMATCH, "the semaphore has another limit")                                        \
    X(MAX_LOCKS, "limit reached: --max-locks, --max-claims or --max-claims-per-connection")     \
    X(MAX_WAITERS, "limit reached: --max-waiters, --max-claims or --max-claims-per-connection") \
    X(DRAINING, "the server is being stopped")                                                  \
    X(REFUSED, "the server refused the authentication")                                         \
    X(UNREACHABLE, "cannot connect to the server")                                              \
    X(DISCONNECTED, "the connection to the server was lost")                                    \
    X(UNTRUSTED, "the server's TLS or certificate is not acceptable")                           \
    X(STRANGE_ANSWER, "the server sent an invalid reply")                                       \
    X(FAILED, "the server could not serve the request")                                         \
    X(UNSUPPORTED, "the server does not support this request")                                  \
    X(INVALID, "an argument is out of range")                                                   \
    X(NO_MEMORY, "out of memory or descriptors")                                                \
    X(AGAIN, "no reply yet: call again when the descriptor is ready")                           \
    X(NO_REPLY, "the server did not reply in time")

enum dflockd_status {
#define X(name, text) DFLOCKD_STATUS_##name,
    DFLOCKD_STATUSES(X)
#undef X
    DFLOCKD_STATUS_COUNT
};

/* Returns static text, for any value. */
const char *dflockd_status_text(enum dflockd_status status);

/* ---- options ---- */

/* Returns the number of the server for a key, below `server_count`. The thread that acquires calls
 * it. */
typedef size_t dflockd_shard_function(void *context, const char *key, size_t server_count);

/*
 * Set the defaults with dflockd_options_init. A function uses the memory that its options point to
 * only until it returns. It keeps only `shard_context`.
 */
struct dflockd_options {
    size_t size; /* set by dflockd_options_init */
    /* "host:port", "host" (port 6388), "[::1]:6388" or "unix:/path". Default: 127.0.0.1:6388. */
    const char *const *servers;
    size_t server_count;
    dflockd_shard_function *shard; /* NULL, the default: dflockd_shard */
    void *shard_context;
    const char *auth_token; /* NULL, the default: no authentication */
    bool tls;
    const char *tls_ca_file;     /* PEM; NULL, the default: the authorities of the system */
    const char *tls_certificate; /* PEM, with tls_key, for servers that ask for a certificate */
    const char *tls_key;
    /* The name that the server's certificate must contain. NULL, the default: the host, or
     * "localhost" for a Unix socket. */
    const char *tls_server_name;
    bool tls_insecure; /* accept any certificate */
    /*
     * The name of the connections, which the server shows: up to 128 bytes of printable UTF-8.
     * NULL, the default: `user@host program`. "": none. The first connection to a server finds out
     * whether the server knows names, which takes one round trip.
     */
    const char *name;
    /* For name look-up, connecting, TLS handshake and authentication together. Default: 10,000. */
    uint32_t connect_timeout_ms;
    /* For a reply. A request that waits for other holders adds its own timeout. Default: 5,000. */
    uint32_t reply_timeout_ms;
    /* DFLOCKD_PROBLEM_MAX bytes, to which an open that fails writes the reason. NULL: none. */
    char *problem;
};

/* `size` is that of the structure in the program. */
void dflockd_options_init_sized(struct dflockd_options *options, size_t size);

static inline void dflockd_options_init(struct dflockd_options *options)
{
    dflockd_options_init_sized(options, sizeof(*options));
}

/*
 * Returns the CRC-32 (IEEE) of the key's bytes modulo `server_count`, which must not be 0. All
 * published clients use this function.
 */
size_t dflockd_shard(const char *key, size_t server_count);

/* ---- connections, for event loops ---- */

struct dflockd_connection;

/* A request. The library ignores members that the command does not take, and copies the texts. */
struct dflockd_request {
    enum dflockd_command command;
    const char *key;    /* NULL if the command takes none */
    uint64_t timeout_s; /* ACQUIRE, ACQUIRE_SHARED, WAIT */
    uint64_t lease_s;   /* ACQUIRE, ENQUEUE, RENEW, also shared; 0: the server's default */
    uint32_t limit;     /* SEMAPHORE_ACQUIRE, SEMAPHORE_ENQUEUE */
    bool semaphore;     /* OWN, SHOW, REVOKE: the key is of a semaphore */
    const char *token;  /* RELEASE, RENEW, OWN: of the grant; AUTH: the secret */
    const char *text;   /* NAME: the name of the connection */
    uint64_t fence;     /* REVOKE: of the grant */
    uint64_t reserved[2];
};

struct dflockd_reply {
    /*
     * Any command: DONE, FAILED or DRAINING.
     * RELEASE, RENEW, OWN: also NOT_HELD.
     * SHOW, REVOKE: NOT_HELD instead of FAILED, also if the server does not know the command.
     * NAME: UNSUPPORTED instead of FAILED.
     * ACQUIRE, ENQUEUE, WAIT: also WAITING (queued), TIMED_OUT, LOST, ALREADY, NOT_ENQUEUED,
     * LIMIT_MISMATCH, MAX_LOCKS or MAX_WAITERS.
     * ACQUIRE_SHARED, ENQUEUE_SHARED: as those, but UNSUPPORTED instead of FAILED.
     */
    enum dflockd_status status;
    enum dflockd_outcome outcome;         /* first word of the reply */
    char token[DFLOCKD_TOKEN_LENGTH + 1]; /* of a grant, else empty */
    uint64_t fence;                       /* of a grant, else 0 */
    uint64_t lease_s;                     /* of a grant or a renewal, else 0 */
    /*
     * STATS, SHOW: JSON with a terminating 0, valid until the next call for the connection. Else,
     * and for a connection that streams texts, NULL.
     */
    const char *text;
    size_t text_length;
    uint64_t reserved[4];
};

/* Receives the next `length` bytes of a text; `part` has no terminating 0. */
typedef void dflockd_text_function(void *context, const char *part, size_t length);

/*
 * Starts to connect to server number `server` of the options, and returns at once. A thread of the
 * library looks up a host name. Closing the connection, or its timeout, abandons the look-up.
 *
 * Returns DONE and sets `*connection`, which the caller must close. Otherwise sets it to NULL and
 * returns INVALID, NO_MEMORY, UNREACHABLE, or UNTRUSTED (a TLS file cannot be used).
 * dflockd_connection_receive returns later failures.
 */
enum dflockd_status dflockd_connection_open(struct dflockd_connection **connection,
                                            const struct dflockd_options *options, size_t server);

/*
 * Returns the descriptor that the event loop must watch, and the events of poll(2) to watch it for:
 * POLLIN, POLLOUT or both. Each call for the connection can change both. A new descriptor always
 * has a new number, so the loop can compare numbers. Use it only to wait: it is not always a
 * socket. Returns -1 and 0 if the connection is broken.
 */
int dflockd_connection_descriptor(const struct dflockd_connection *connection);
short dflockd_connection_events(const struct dflockd_connection *connection);

/*
 * Returns the timeout for poll(2): milliseconds until the caller must receive even if the
 * descriptor is not ready, because a deadline of connecting passes. Returns -1 if there is none.
 */
int dflockd_connection_timeout(const struct dflockd_connection *connection);

/*
 * Adds a request to the pending ones; replies come in the same order. Sends nothing yet: the next
 * dflockd_connection_receive does. Returns DONE, INVALID, NO_MEMORY, AGAIN (too many requests are
 * pending: receive first), or the error that broke the connection.
 */
enum dflockd_status dflockd_connection_send(struct dflockd_connection *connection,
                                            const struct dflockd_request *request);

/*
 * Connects, sends and receives as far as possible without waiting, then takes the next reply.
 * Returns DONE and sets `*reply`, AGAIN, or the error that broke the connection: UNREACHABLE,
 * DISCONNECTED, UNTRUSTED, REFUSED, STRANGE_ANSWER, NO_MEMORY. A broken connection stays broken.
 */
enum dflockd_status dflockd_connection_receive(struct dflockd_connection *connection,
                                               struct dflockd_reply *reply);

/*
 * From now on, dflockd_connection_receive calls `take` with each part of the text of a STATS or
 * SHOW reply that arrives, and stores no text. The text is complete when receive returns DONE.
 * `take` must not use the connection. Call this only while neither is pending. If `take` is NULL,
 * later texts are stored.
 */
void dflockd_connection_stream_text(struct dflockd_connection *connection,
                                    dflockd_text_function *take, void *context);

/*
 * Sends a request and waits up to `timeout_ms` for its reply; negative: without limit. Returns as
 * send and receive do. INVALID also if another request is pending. AGAIN after the timeout: the
 * request is still pending, and a later receive takes its reply.
 */
enum dflockd_status dflockd_connection_ask(struct dflockd_connection *connection,
                                           const struct dflockd_request *request,
                                           struct dflockd_reply *reply, int64_t timeout_ms);

/* Closes the connection. The server then releases what the connection acquired, unless it runs with
 * --no-auto-release-on-disconnect. Does nothing if it is NULL. */
void dflockd_connection_close(struct dflockd_connection *connection);

/* Returns the error that broke the connection as text, with the server's address; "" if it is not
 * broken. The text lives as long as the connection. */
const char *dflockd_connection_problem(const struct dflockd_connection *connection);

/* ---- clients and locks ---- */

struct dflockd_client;
struct dflockd_lock;

/*
 * Opens a client, without a thread or a connection. Returns DONE and sets `*client`, which the
 * caller must close. Otherwise sets it to NULL and returns INVALID, NO_MEMORY, or UNTRUSTED (a TLS
 * file cannot be used). Any thread may call this and all functions of a client.
 */
enum dflockd_status dflockd_client_open(struct dflockd_client **client,
                                        const struct dflockd_options *options);

/* Closes a client. All its locks must be freed before. Does nothing if it is NULL. */
void dflockd_client_close(struct dflockd_client *client);

/* Set the defaults with dflockd_lock_options_init. */
struct dflockd_lock_options {
    size_t size;      /* set by dflockd_lock_options_init */
    uint32_t limit;   /* slots of a semaphore; 0, the default: a lock */
    uint64_t lease_s; /* 0, the default: the server's default */
    bool renew;       /* renew in the background; default true */
    bool shared;      /* a shared lock; default false: an exclusive one. Not with `limit`. */
    /* Fraction of the lease after which it is renewed, between 0 and 1; default 0.5. Random jitter
     * makes the renewal up to a tenth earlier. */
    double renew_ratio;
    /*
     * The client's thread calls this once for each loss. `why` is NOT_HELD (the server does not
     * know the grant), LOST (the lease ended without a renewal), or the error that broke
     * the connection for good. It must return soon, because no lock is renewed meanwhile. It may
     * call dflockd_lock_release and the functions for any thread, and no others. NULL: no call.
     */
    void (*lost)(void *context, struct dflockd_lock *lock, enum dflockd_status why);
    void *context;
};

void dflockd_lock_options_init_sized(struct dflockd_lock_options *options, size_t size);

static inline void dflockd_lock_options_init(struct dflockd_lock_options *options)
{
    dflockd_lock_options_init_sized(options, sizeof(*options));
}

/*
 * Makes a lock or semaphore slot, which is not held yet. `options` may be NULL. Returns DONE with
 * `*lock`, which the caller must free. Otherwise sets it to NULL and returns INVALID or NO_MEMORY.
 *
 * Many clients hold a lock at once if all of them ask for it with `shared`. A client that holds it
 * exclusively excludes all others. The server grants in the order of requests: a shared request
 * never overtakes an exclusive one. A lock that asks exclusively for a key that another lock of the
 * same program holds shared waits for itself.
 */
enum dflockd_status dflockd_lock_new(struct dflockd_lock **lock, struct dflockd_client *client,
                                     const char *key, const struct dflockd_lock_options *options);

/*
 * Releases the lock as dflockd_lock_release does, or leaves the queue, and frees it. No other call
 * for the lock may be pending or follow. Its callback is no longer called. Does nothing if it is
 * NULL.
 */
void dflockd_lock_free(struct dflockd_lock *lock);

/*
 * One thread at a time may call the functions of this section for one lock.
 *
 * Connections: a request for a grant goes over a connection of its own, an idle one if there is
 * one. A client keeps up to 4 idle ones for each server. Its first 4 held locks of a server keep
 * their connections. For the others, the client's thread moves the grant with `own` to one shared
 * connection. The lock stays held meanwhile. At a server without `own`, each held lock keeps its
 * connection.
 *
 * Bounds: a call takes at most its `timeout_ms`, plus the connect timeout if it connects, plus the
 * reply timeout. Confirming a grant may take another reply timeout. After NO_REPLY the lock is not
 * held: the library closes the connection, so that the server releases a grant.
 *
 * Timeouts: negative means without limit; 0 does not wait for other holders. More than
 * 9223372036000 ms is INVALID. The protocol has whole seconds. If a timeout is not whole, the
 * library ends the wait itself at `timeout_ms` after the connection is ready. It closes the
 * connection, so that the server releases a grant that is on its way. A server with
 * --no-auto-release-on-disconnect keeps such a grant until its lease ends, also after a cancel. So
 * such a timeout must be longer than a round trip, or than two on the first connection to a server
 * (see `name`): a shorter one ends before any reply. 0 does not.
 *
 * Leases: a lease counts from when its request was sent, so that it ends here before it ends at the
 * server. If the reply took longer than a tenth of the lease, a renewal confirms the grant before
 * the call returns DONE.
 *
 * Lost connections: the client's thread connects again, with growing delays, and asks the server
 * with `own` and a renewal whether it still knows the grant. Meanwhile the lock is neither held nor
 * lost, because the server may have released it. If both replies are `ok`, the lock is held again
 * with the same token and fence. The lock is lost if one reply is a refusal, if the server does not
 * know `own`, if the connection ends before the reply to `own`, or if the lease ends first.
 *
 * Each call may also return the error that broke the connection (see dflockd_connection_receive),
 * NO_REPLY, INVALID, NO_MEMORY, FAILED or DRAINING. Then the lock is not held.
 */

/* Waits up to `timeout_ms` for a grant. Returns DONE, TIMED_OUT, CANCELLED, ALREADY, LOST (the
 * lease ended before the grant was confirmed), LIMIT_MISMATCH, MAX_LOCKS, MAX_WAITERS, or
 * UNSUPPORTED (the server has no shared locks; the library never acquires an exclusive one then).
 */
enum dflockd_status dflockd_lock_acquire(struct dflockd_lock *lock, int64_t timeout_ms);

/* As dflockd_lock_acquire with a `timeout_ms` of 0. */
enum dflockd_status dflockd_lock_try(struct dflockd_lock *lock);

/* Joins the queue. Returns as dflockd_lock_acquire, DONE if the lock is held at once, or WAITING:
 * call dflockd_lock_wait. */
enum dflockd_status dflockd_lock_enqueue(struct dflockd_lock *lock);

/* Waits up to `timeout_ms` for the grant after dflockd_lock_enqueue, then leaves the queue. Returns
 * as dflockd_lock_acquire, or NOT_ENQUEUED. Returns DONE at once if the lock is held. */
enum dflockd_status dflockd_lock_wait(struct dflockd_lock *lock, int64_t timeout_ms);

/* Renews now by `lease_s` (0: as the options say). Waits for the reply, at most until the lease
 * ends. Returns DONE, NOT_HELD, LOST or INVALID. */
enum dflockd_status dflockd_lock_renew(struct dflockd_lock *lock, uint64_t lease_s);

/*
 * Releases the lock, or leaves the queue. In all cases the lock is neither held nor queued
 * afterwards. Returns DONE, LOST (it was no longer held), or NOT_HELD (it was never held).
 * Returns NO_REPLY or the error that broke the connection if the result is unknown.
 */
enum dflockd_status dflockd_lock_release(struct dflockd_lock *lock);

/*
 * Clears a cancel that no call has taken yet. Returns whether there was one. A cancel that another
 * thread calls at the same time may come before or after. A program that cancels one certain call
 * therefore clears after that call has returned and no thread can cancel it any more.
 */
bool dflockd_lock_clear_cancel(struct dflockd_lock *lock);

/*
 * Acquires several locks and slots of semaphores, or none, within `timeout_ms`. They may belong to
 * several servers. One thread at a time may use them all. The library acquires one after the other
 * in the order of the bytes of their keys, locks before semaphores, so that two programs cannot
 * wait for each other. Two that have the same key and kind are INVALID.
 *
 * Returns DONE if all are held, also if `count` is 0. Otherwise releases in reverse order what it
 * has acquired, and returns as dflockd_lock_acquire, or LOST if one was lost or lost its connection
 * while the call waited for another. Then sets `*failed` to the index of the lock that failed, or
 * to `count` if none did. `failed` may be NULL. dflockd_lock_cancel of any of them cancels the
 * call, and the call takes the cancels of all of them.
 *
 * If one is lost later, its callback is called, and the others stay held: the program decides
 * whether to call dflockd_locks_release.
 */
enum dflockd_status dflockd_locks_acquire(struct dflockd_lock *const *locks, size_t count,
                                          int64_t timeout_ms, size_t *failed);

/* Releases all, from the last to the first, as dflockd_lock_release does. Returns the first status
 * that is not DONE. */
enum dflockd_status dflockd_locks_release(struct dflockd_lock *const *locks, size_t count);

/* ---- for any thread ---- */

/* Makes a pending acquire, enqueue or wait return CANCELLED; if none is pending, the next one. Then
 * the lock is neither held nor queued. A call that has its result already returns that, and the
 * cancel stays for the next one, unless dflockd_lock_clear_cancel clears it. */
void dflockd_lock_cancel(struct dflockd_lock *lock);

/* Return whether the lock is held, and whether it was lost. Lost stays true until the next acquire,
 * try or enqueue. */
bool dflockd_lock_held(struct dflockd_lock *lock);
bool dflockd_lock_lost(struct dflockd_lock *lock);

/* Returns the fence of the grant; 0 if the lock is not held. */
uint64_t dflockd_lock_fence(struct dflockd_lock *lock);

/* Returns the milliseconds left of the lease by this machine's clock; 0 if the lock is not held. */
int64_t dflockd_lock_lease_ms(struct dflockd_lock *lock);

/* Sets `token` and returns true; returns false if the lock is not held. */
bool dflockd_lock_token(struct dflockd_lock *lock, char token[DFLOCKD_TOKEN_LENGTH + 1]);

/* Copies why the lock is not held or why its connection was lost, with the server's address; "" if
 * nothing failed since the last acquire, try or enqueue began. */
void dflockd_lock_problem(struct dflockd_lock *lock, char problem[DFLOCKD_PROBLEM_MAX]);

/* Returns the key, which lives as long as the lock. */
const char *dflockd_lock_key(const struct dflockd_lock *lock);

/*
 * Ask server number `server` on a new connection. Wait at most the connect timeout plus the reply
 * timeout. Return DONE, INVALID, NO_MEMORY, FAILED, DRAINING, NO_REPLY, or what broke the
 * connection. On DONE the caller must free(3) `*json`.
 */
enum dflockd_status dflockd_client_stats(struct dflockd_client *client, size_t server, char **json);
enum dflockd_status dflockd_client_ping(struct dflockd_client *client, size_t server);

/*
 * Sets `*json` to what the server of the key knows about a lock or semaphore: its holders, with
 * fences, names and addresses, and its waiters (dflockd-protocol(7)). Waits and returns as
 * dflockd_client_stats, or NOT_HELD (the server does not know the key), or UNSUPPORTED. On DONE the
 * caller must free(3) `*json`.
 */
enum dflockd_status dflockd_client_show(struct dflockd_client *client, const char *key,
                                        bool semaphore, char **json);

/*
 * Ends a grant, as if its lease were over. The `auth_token` of the client must be the secret of
 * administrators. Waits and returns as dflockd_client_stats, or NOT_HELD (there is no such grant,
 * or the secret is that of ordinary clients), or UNSUPPORTED. The holder finds out when it renews
 * or releases.
 */
enum dflockd_status dflockd_client_revoke(struct dflockd_client *client, const char *key,
                                          bool semaphore, uint64_t fence);

/* Returns the number of the server for a key, by the client's shard function. */
size_t dflockd_client_server(struct dflockd_client *client, const char *key);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
