/*
 * The dflockd wire protocol: limits, commands and replies. A request is three lines,
 * `command\nkey\narg\n`; a reply is one line.
 */
#ifndef DFLOCKD_PROTOCOL_H
#define DFLOCKD_PROTOCOL_H

#define DFLOCKD_PORT 6388

/* Bytes of a line without its '\n', with a '\r'. The arg line of `auth` may be longer. */
#define DFLOCKD_LINE_MAX      256
#define DFLOCKD_AUTH_LINE_MAX 65536

/* Bytes of a key: 1 to this many, without spaces, tabs, '\r' and '\n'. */
#define DFLOCKD_KEY_MAX 256

/* The longest timeout and lease in seconds. In nanoseconds they fit into int64_t. */
#define DFLOCKD_SECONDS_MAX 9223372036

/* Slots of a semaphore: 1 to this many. */
#define DFLOCKD_LIMIT_MAX 1048576

/*
 * A token is 32 lower-case hex digits: 16 of the fence, unsigned and big-endian, and 16 random
 * ones. The fence rises with every grant of a server.
 */
#define DFLOCKD_TOKEN_LENGTH 32

/* Bytes of the name of a connection: 1 to this many, printable UTF-8. */
#define DFLOCKD_NAME_MAX 128

/* The longest reply except those of `stats` and `show`: "acquired ", a token, a space, a lease,
 * '\n'. */
#define DFLOCKD_ANSWER_MAX (9 + DFLOCKD_TOKEN_LENGTH + 1 + 10 + 1)

/*
 * The commands and their words on the wire. Those of semaphores begin with an `s`. `own` is for
 * both, and has the kind in its arg, as `show` and `revoke` do. Shared holders of a lock release,
 * renew and wait as others.
 */
#define DFLOCKD_COMMANDS(X)    \
    X(ACQUIRE, "l")            \
    X(RELEASE, "r")            \
    X(RENEW, "n")              \
    X(ENQUEUE, "e")            \
    X(WAIT, "w")               \
    X(SEMAPHORE_ACQUIRE, "sl") \
    X(SEMAPHORE_RELEASE, "sr") \
    X(SEMAPHORE_RENEW, "sn")   \
    X(SEMAPHORE_ENQUEUE, "se") \
    X(SEMAPHORE_WAIT, "sw")    \
    X(PING, "ping")            \
    X(STATS, "stats")          \
    X(AUTH, "auth")            \
    X(OWN, "own")              \
    X(ACQUIRE_SHARED, "rl")    \
    X(ENQUEUE_SHARED, "re")    \
    X(NAME, "name")            \
    X(SHOW, "show")            \
    X(REVOKE, "revoke")

enum dflockd_command {
#define X(name, word) DFLOCKD_##name,
    DFLOCKD_COMMANDS(X)
#undef X
    DFLOCKD_COMMAND_COUNT
};

/* The outcomes of a request, and the first words of their replies. */
#define DFLOCKD_OUTCOMES(X)                             \
    X(OK, "ok")                                         \
    X(ACQUIRED, "acquired")                             \
    X(QUEUED, "queued")                                 \
    X(TIMEOUT, "timeout")                               \
    X(ERROR, "error")                                   \
    X(ERROR_AUTH, "error_auth")                         \
    X(ERROR_MAX_LOCKS, "error_max_locks")               \
    X(ERROR_MAX_WAITERS, "error_max_waiters")           \
    X(ERROR_LIMIT_MISMATCH, "error_limit_mismatch")     \
    X(ERROR_NOT_ENQUEUED, "error_not_enqueued")         \
    X(ERROR_ALREADY_ENQUEUED, "error_already_enqueued") \
    X(ERROR_LEASE_EXPIRED, "error_lease_expired")       \
    X(ERROR_DRAINING, "error_draining")

enum dflockd_outcome {
#define X(name, word) DFLOCKD_##name,
    DFLOCKD_OUTCOMES(X)
#undef X
    DFLOCKD_OUTCOME_COUNT
};

#endif
