/*
 * Log lines on events of peers, at most LOG_LIMIT_PER_SECOND a second for each kind of event. A
 * line after suppressed ones has their number as `suppressed`. Revocations are always logged.
 */
#ifndef SERVER_LOG_EVENTS_H
#define SERVER_LOG_EVENTS_H

#include <stdint.h>

struct lock_key;
struct session_context;
struct session_revocation;

/* Messages and reasons: log_events.c. tools/dist/fail2ban/dflockd.conf matches the first one. */
enum log_event {
    LOG_EVENT_AUTH_FAILED,
    LOG_EVENT_MAX_CONNECTIONS,
    LOG_EVENT_MAX_CONNECTIONS_PER_IP,
    LOG_EVENT_NO_ROOM, /* for a new connection */
    LOG_EVENT_INVALID_REQUEST,
    LOG_EVENT_LINE_TOO_LONG,
    LOG_EVENT_REQUEST_LATE,
    LOG_EVENT_BACKLOG_FULL,
    LOG_EVENT_REPLIES_NOT_READ,
    LOG_EVENT_TLS_FAILED,
    LOG_EVENT_BUFFERS_SHORT, /* for an open connection */
    LOG_EVENT_NO_RIGHTS,
    LOG_EVENT_MAX_LOCKS,
    LOG_EVENT_MAX_WAITERS,
    LOG_EVENT_MAX_CLAIMS,
    LOG_EVENT_MAX_CLAIMS_PER_CONNECTION,
    LOG_EVENT_LEASE_EXPIRED,
    LOG_EVENTS
};

/* The peer that an event is about. */
struct log_peer {
    int descriptor;      /* of the socket, if `address` is NULL */
    const char *address; /* NULL: not known */
    uint64_t connection; /* the number in its id; 0: none yet */
};

/*
 * Logs a line at WARN. With `reason` NULL, uses the reason of the event. LOG_EVENT_BUFFERS_SHORT
 * has `reason` as a detail.
 */
void log_event_of_peer(enum log_event event, uint64_t now_ns, const struct log_peer *peer,
                       const char *reason);

/* Returns how often log_event_of_peer was called for `event`, with suppressed lines. */
uint64_t log_event_count(enum log_event event);

/* Logs at WARN that an administrator revoked a grant. */
void log_event_revoked(const struct session_context *context,
                       const struct session_revocation *revocation);

/* Logs at INFO that a lease on `key` expired. */
void log_event_lease_expired(uint64_t now_ns, uint64_t connection_id, const struct lock_key *key);

#endif
