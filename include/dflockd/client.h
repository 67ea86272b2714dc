/*
 * libdflockd: locks and semaphores of dflockd servers for programs in C.
 *
 * Two layers. A connection sends requests and receives replies. It waits only in the calls that say
 * so, and fits into any event loop. Its only thread is one that looks a host name up. A lock is for
 * programs that just want to hold something: it has a connection of its own, and a thread of its
 * client renews it.
 *
 * State belongs to a client or a connection. Only a count is global: at most 64 host names are
 * looked up at a time, further ones wait. No signal is raised (SIGPIPE) and none disturbs a call
 * (EINTR); all threads of the library block all signals. Text that is handed in is copied, unless
 * said otherwise. Times are milliseconds, but those of the protocol are whole seconds.
 *
 * A connection is for one thread at a time, a client for any number of them, and of a lock each
 * function says so. Nothing of this survives a fork(2): the child opens its own.
 */
#ifndef DFLOCKD_CLIENT_H
#define DFLOCKD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/protocol.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* Bytes of a text that says what went wrong, with its end. */
#define DFLOCKD_PROBLEM_MAX 512

/* What came of a call, and its text (dflockd_status_text). */
#define DFLOCKD_STATUSES(X)                                                             \
    X(DONE, "done")                                                                     \
    X(WAITING, "queued: another one holds it")                                          \
    X(TIMED_OUT, "not granted within the time-out")                                     \
    X(CANCELLED, "cancelled")                                                           \
    X(NOT_HELD, "not held by this token, or not any more")                              \
    X(LOST, "the lease was lost")                                                       \
    X(ALREADY, "held or enqueued already")                                              \
    X(NOT_ENQUEUED, "not enqueued")                                                     \
    X(LIMIT_MISMATCH, "the semaphore has another limit")                                \
    X(MAX_LOCKS, "the server knows as many keys as it may (--max-locks)")               \
    X(MAX_WAITERS, "as many wait for the key as may (--max-waiters)")                   \
    X(DRAINING, "the server is being stopped")                                          \
    X(REFUSED, "the server refused the authentication")                                 \
    X(UNREACHABLE, "no connection to the server")                                       \
    X(DISCONNECTED, "the connection to the server was lost")                            \
    X(UNTRUSTED, "the TLS of the server, or its certificate, is not what it should be") \
    X(STRANGE_ANSWER, "the server answered what the protocol does not know")            \
    X(FAILED, "the server could not serve the request")                                 \
    X(INVALID, "an argument is out of its range")                                       \
    X(NO_MEMORY, "out of memory, or of descriptors")                                    \
    X(AGAIN, "nothing yet: call again when the descriptor is ready")                    \
    X(NO_REPLY, "the server did not reply in time")

enum dflockd_status {
#define X(name, text) DFLOCKD_STATUS_##name,
    DFLOCKD_STATUSES(X)
#undef X
    DFLOCKD_STATUS_COUNT
};

/* Static text in plain words, for any value. */
const char *dflockd_status_text(enum dflockd_status status);

/* ---- which servers, and how ---- */

/* Chooses the server for a key: a number below `server_count`. Called by whoever acquires. */
typedef size_t dflockd_shard_function(void *context, const char *key, size_t server_count);

/*
 * dflockd_options_init sets the defaults, which are told here. Everything but `shard_context` and
 * what it points to is borrowed until the call returns that the options are given to.
 */
struct dflockd_options {
    /*
     * "host:port", "host" (port 6388), "[::1]:6388" or "unix:/path". None, which is the default, is
     * 127.0.0.1:6388.
     */
    const char *const *servers;
    size_t server_count;
    dflockd_shard_function *shard; /* NULL: dflockd_shard, as the published clients do */
    void *shard_context;
    const char *auth_token; /* NULL: none */
    bool tls;
    const char *tls_ca_file;     /* PEM; NULL: whom the system trusts */
    const char *tls_certificate; /* PEM, with tls_key, where the server asks for one; NULL: none */
    const char *tls_key;
    /* Whom the certificate must name. NULL: the host's name, of a Unix socket "localhost". */
    const char *tls_server_name;
    bool tls_insecure; /* any certificate will do */
    /* For the look-up of the host, connecting, the TLS handshake and auth together; default 10,000.
     */
    uint32_t connect_timeout_ms;
    /* For a reply, beside the time that a request lets the server wait for other holders; default
     * 5,000. */
    uint32_t reply_timeout_ms;
    /* DFLOCKD_PROBLEM_MAX bytes that an open which fails writes its reason to; NULL: none. */
    char *problem;
};

void dflockd_options_init(struct dflockd_options *options);

/*
 * CRC-32 (IEEE) of the key's bytes modulo `server_count`, which is not 0: the choice of the
 * published clients.
 */
size_t dflockd_shard(const char *key, size_t server_count);

/* ---- connections: no thread, any event loop ---- */

struct dflockd_connection;

/* A request; what its command does not take is ignored. Borrowed until the call returns. */
struct dflockd_request {
    enum dflockd_command command;
    const char *key;    /* NULL where the command takes none */
    uint64_t timeout_s; /* ACQUIRE, WAIT and those of semaphores */
    uint64_t lease_s; /* ACQUIRE, ENQUEUE, RENEW and those of semaphores; 0: the server's default */
    uint32_t limit;   /* SEMAPHORE_ACQUIRE, SEMAPHORE_ENQUEUE */
    bool semaphore;   /* OWN: whether the token is of a semaphore and not of a lock */
    /* RELEASE, RENEW, those of semaphores and OWN: of the grant; AUTH: the secret */
    const char *token;
};

struct dflockd_reply {
    /*
     * DONE, or of a grant WAITING (queued), TIMED_OUT, LOST, ALREADY, NOT_ENQUEUED, LIMIT_MISMATCH,
     * MAX_LOCKS or MAX_WAITERS, of RELEASE, RENEW or OWN NOT_HELD, of any FAILED or DRAINING.
     */
    enum dflockd_status status;
    enum dflockd_outcome outcome;         /* the word that the server said */
    char token[DFLOCKD_TOKEN_LENGTH + 1]; /* of a grant, else empty */
    uint64_t fence;                       /* of a grant, else 0 */
    uint64_t lease_s;                     /* of a grant or a renewal, else 0 */
    /* STATS: JSON with a 0 behind it, borrowed until the next call about the connection; or NULL.
     */
    const char *text;
    size_t text_length;
};

/*
 * Starts to connect to server number `server` of the options, and returns at once. The look-up of a
 * host name, TLS and authentication are parts of connecting. A thread of the library looks the name
 * up, and a connection that is closed or times out abandons it.
 *
 * Returns DONE and sets `*connection`, to be closed by the caller. Otherwise sets it to NULL and
 * returns INVALID, NO_MEMORY, UNREACHABLE, or UNTRUSTED (a file of TLS cannot be used). What fails
 * later, dflockd_connection_receive returns.
 */
enum dflockd_status dflockd_connection_open(struct dflockd_connection **connection,
                                            const struct dflockd_options *options, size_t server);

/*
 * The descriptor that the event loop must watch, and the events of poll(2) to watch it for: POLLIN,
 * POLLOUT or both. It is a socket only once the connection tries to reach an address: use it for
 * nothing else. Both may change with each call about the connection. A descriptor that replaces
 * another one has another number. Returns -1 and 0 once the connection is broken.
 */
int dflockd_connection_descriptor(const struct dflockd_connection *connection);
short dflockd_connection_events(const struct dflockd_connection *connection);

/*
 * The timeout for poll(2): milliseconds after which the caller must receive although the descriptor
 * is not ready, because a deadline of connecting passes. Returns -1 if there is none.
 */
int dflockd_connection_timeout(const struct dflockd_connection *connection);

/*
 * Adds a request to those under way; answers come in the same order. Nothing is sent yet: receive
 * does that, at once or when the event loop says so. DONE, INVALID, NO_MEMORY, AGAIN (too many are
 * under way: receive first), or what broke the connection.
 */
enum dflockd_status dflockd_connection_send(struct dflockd_connection *connection,
                                            const struct dflockd_request *request);

/*
 * Goes on with connecting, sending and receiving as far as it can without waiting, then takes the
 * next answer. DONE with `*reply`, AGAIN, or what broke the connection: UNREACHABLE, DISCONNECTED,
 * UNTRUSTED, REFUSED, STRANGE_ANSWER, NO_MEMORY. A broken connection stays so.
 */
enum dflockd_status dflockd_connection_receive(struct dflockd_connection *connection,
                                               struct dflockd_reply *reply);

/*
 * Both at once for who may wait: sends, then waits up to `timeout_ms` (negative: for ever) for the
 * answer. As send and receive, but AGAIN: not answered in time; it is still under way, and the next
 * receive brings it. INVALID too where another one is under way.
 */
enum dflockd_status dflockd_connection_ask(struct dflockd_connection *connection,
                                           const struct dflockd_request *request,
                                           struct dflockd_reply *reply, int64_t timeout_ms);

/* Closes it; the server releases what was acquired on it, unless it was told not to. NULL is fine.
 */
void dflockd_connection_close(struct dflockd_connection *connection);

/* What broke the connection, in words with the server's address; "" while nothing has. Borrowed
 * until the connection is closed. */
const char *dflockd_connection_problem(const struct dflockd_connection *connection);

/* ---- clients and locks: held and renewed ---- */

struct dflockd_client;
struct dflockd_lock;

/*
 * Starts nothing and connects to nobody yet. DONE with `*client` to be closed by the caller, or
 * NULL there and INVALID, NO_MEMORY, UNTRUSTED (a file of TLS cannot be used). Thread-safe, as all
 * that follows about clients.
 */
enum dflockd_status dflockd_client_open(struct dflockd_client **client,
                                        const struct dflockd_options *options);

/* Every lock of it must have been freed. NULL is fine. */
void dflockd_client_close(struct dflockd_client *client);

/* How a lock is held. dflockd_lock_options_init sets the defaults. */
struct dflockd_lock_options {
    uint32_t limit;   /* slots of a semaphore; default 0: a lock */
    uint64_t lease_s; /* default 0: the server's */
    bool renew;       /* in the background; default true */
    /* Of the lease at which it is renewed, between 0 and 1; default 0.5. Jitter makes it earlier by
     * up to a tenth, never later. */
    double renew_ratio;
    /*
     * The client's thread calls it once for each loss, with the reason: NOT_HELD (the server does
     * not know the grant any more), LOST (the lease ended without a renewal), or what broke the
     * connection for good. It must return soon, since no lock is renewed meanwhile. It may cancel,
     * release and ask questions, and no more. NULL: no call.
     */
    void (*lost)(void *context, struct dflockd_lock *lock, enum dflockd_status why);
    void *context;
};

void dflockd_lock_options_init(struct dflockd_lock_options *options);

/*
 * A lock or semaphore slot, not held yet. `options` may be NULL. DONE with `*lock` to be freed by
 * the caller, or NULL there and INVALID, NO_MEMORY. Thread-safe.
 */
enum dflockd_status dflockd_lock_new(struct dflockd_lock **lock, struct dflockd_client *client,
                                     const char *key, const struct dflockd_lock_options *options);

/*
 * Releases the lock, or leaves the queue; waits for that as dflockd_lock_release does. No other
 * call about the lock may be pending or follow. Its callback is not called after it. NULL is fine.
 */
void dflockd_lock_free(struct dflockd_lock *lock);

/*
 * One thread at a time may make the calls below about one lock; cancel and the questions are for
 * any thread. A lock connects when it first needs to, and keeps the connection for the next time.
 *
 * Bounds: a call returns at the latest after its `timeout_s`, the connect timeout if it has to
 * connect, and the reply timeout, each once. A grant that is confirmed may take another reply
 * timeout. After NO_REPLY the lock is not held: its connection is closed, so that the server
 * releases what it may have granted.
 *
 * Leases: a lease counts from when the request was sent that its reply answers, so that it ends
 * here before it ends at the server. A grant whose reply took longer than a tenth of its lease is
 * confirmed by a renewal before the call returns DONE.
 *
 * Lost connections: the client's thread connects again, with growing delays, and asks the server
 * with `own` and a renewal whether it still knows the grant. Meanwhile the lock is neither held nor
 * lost: the server may have released it. If both are answered `ok`, it is held again, by the same
 * token and fence. It is lost if one of them is refused, if the server does not know `own`, or if
 * the lease ends before.
 *
 * Each call may also return what broke the connection (see dflockd_connection_receive), NO_REPLY,
 * INVALID, NO_MEMORY, FAILED or DRAINING; the lock is not held then.
 */

/* Waits up to `timeout_s` for a grant. Returns DONE, TIMED_OUT, CANCELLED, ALREADY, LOST (the lease
 * ended before the grant was confirmed), LIMIT_MISMATCH, MAX_LOCKS, MAX_WAITERS. */
enum dflockd_status dflockd_lock_acquire(struct dflockd_lock *lock, uint64_t timeout_s);

/* As acquire without waiting for other holders: TIMED_OUT if there is one. */
enum dflockd_status dflockd_lock_try(struct dflockd_lock *lock);

/* Takes a place in the queue. As acquire, but DONE: it is held; WAITING: call dflockd_lock_wait. */
enum dflockd_status dflockd_lock_enqueue(struct dflockd_lock *lock);

/* Waits up to `timeout_s` for the grant, and leaves the queue if it does not come. As acquire, and
 * NOT_ENQUEUED. DONE if enqueue returned that already. */
enum dflockd_status dflockd_lock_wait(struct dflockd_lock *lock, uint64_t timeout_s);

/* Renews at once by `lease_s` (0: as the options say), and waits for the reply, at most until the
 * lease ends. Returns DONE, NOT_HELD, LOST, INVALID. */
enum dflockd_status dflockd_lock_renew(struct dflockd_lock *lock, uint64_t lease_s);

/*
 * Returns DONE; LOST: it was not held any more; NOT_HELD: it never was; or why that is not known:
 * NO_REPLY, or what broke the connection. It is neither held nor queued after it.
 */
enum dflockd_status dflockd_lock_release(struct dflockd_lock *lock);

/* From any thread: a pending acquire, enqueue or wait returns CANCELLED, or else the next one does.
 * The lock is not held then, and has left the queue. */
void dflockd_lock_cancel(struct dflockd_lock *lock);

/* From any thread. Lost stays true until the next acquire, try or enqueue. */
bool dflockd_lock_held(struct dflockd_lock *lock);
bool dflockd_lock_lost(struct dflockd_lock *lock);

/* From any thread. What was granted: 0, 0 and false unless it is held. The milliseconds that are
 * left of the lease are by this machine's clock. */
uint64_t dflockd_lock_fence(struct dflockd_lock *lock);
int64_t dflockd_lock_lease_ms(struct dflockd_lock *lock);
bool dflockd_lock_token(struct dflockd_lock *lock, char token[DFLOCKD_TOKEN_LENGTH + 1]);

/* From any thread. Copies why it is not held, or why its connection was lost, in words with the
 * server's address; "" if nothing failed since the last acquire, try or enqueue began. */
void dflockd_lock_problem(struct dflockd_lock *lock, char problem[DFLOCKD_PROBLEM_MAX]);

/* Lives as long as the lock. */
const char *dflockd_lock_key(const struct dflockd_lock *lock);

/*
 * Each asks server number `server` on a connection of its own, and waits no longer than the connect
 * timeout and the reply timeout. The caller frees the JSON by free(3). Returns DONE, INVALID,
 * NO_MEMORY, FAILED, DRAINING, NO_REPLY, or what broke the connection.
 */
enum dflockd_status dflockd_client_stats(struct dflockd_client *client, size_t server, char **json);
enum dflockd_status dflockd_client_ping(struct dflockd_client *client, size_t server);

/* Which server a key belongs to, by the client's way of sharding. */
size_t dflockd_client_server(struct dflockd_client *client, const char *key);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
