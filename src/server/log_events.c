#include "server/log_events.h"

#include <stdatomic.h>
#include <stdio.h>

#include "os/sockets.h"
#include "server/connection_id.h"
#include "server/log.h"
#include "server/log_limit.h"
#include "server/peers.h"
#include "server/session.h"
#include "wire/hex.h"

enum {
    LOG_EVENTS_NUMBER_MAX = 24 /* bytes of a 64-bit number as text */
};

struct event_text {
    const char *message;
    const char *reason;
    const char *detail; /* not NULL: the caller's reason is a detail, or else this */
};

static const struct event_text texts[LOG_EVENTS] = {
    [LOG_EVENT_AUTH_FAILED] = {"authentication failed", NULL, NULL},
    [LOG_EVENT_MAX_CONNECTIONS] = {"connection refused", "--max-connections reached", NULL},
    [LOG_EVENT_MAX_CONNECTIONS_PER_IP] = {"connection refused", "--max-connections-per-ip reached",
                                          NULL},
    [LOG_EVENT_NO_ROOM] = {"connection refused", "no memory (--max-buffered-mib) or no slot left",
                           NULL},
    [LOG_EVENT_INVALID_REQUEST] = {"protocol error", "invalid request", NULL},
    [LOG_EVENT_LINE_TOO_LONG] = {"protocol error", "line too long", NULL},
    [LOG_EVENT_REQUEST_LATE] = {"protocol error", "request not complete within --read-timeout",
                                NULL},
    [LOG_EVENT_BACKLOG_FULL] = {"protocol error", "over 64 KiB behind a request that waits", NULL},
    [LOG_EVENT_REPLIES_NOT_READ] = {"protocol error", "replies not read within --write-timeout",
                                    NULL},
    [LOG_EVENT_TLS_FAILED] = {"TLS failed", NULL, NULL},
    [LOG_EVENT_NO_RIGHTS] = {"request refused",
                             "revoke from a connection without the administrator's secret", NULL},
    [LOG_EVENT_MAX_LOCKS] = {"request refused", "--max-locks reached", NULL},
    [LOG_EVENT_MAX_WAITERS] = {"request refused", "--max-waiters reached", NULL},
    [LOG_EVENT_MAX_CLAIMS] = {"request refused", "--max-claims reached", NULL},
    [LOG_EVENT_MAX_CLAIMS_PER_CONNECTION] = {"request refused",
                                             "--max-claims-per-connection reached", NULL},
    [LOG_EVENT_BUFFERS_SHORT] = {"connection closed", "--max-buffered-mib reached",
                                 "closed to free memory"},
};

static struct log_limit limits[LOG_EVENTS];
static _Atomic uint64_t counts[LOG_EVENTS];

static void log_events_write_number(char text[LOG_EVENTS_NUMBER_MAX], uint64_t number)
{
    snprintf(text, LOG_EVENTS_NUMBER_MAX, "%llu", (unsigned long long)number);
}

void log_event_of_peer(enum log_event event, uint64_t now_ns, const struct log_peer *peer,
                       const char *reason)
{
    char address[SOCKETS_PEER_TEXT_MAX];
    char connection[LOG_EVENTS_NUMBER_MAX];
    char count[LOG_EVENTS_NUMBER_MAX];
    const struct event_text *text = &texts[event];
    const char *pairs[8] = {NULL};
    uint64_t suppressed;
    int used = 0;

    atomic_fetch_add_explicit(&counts[event], 1, memory_order_relaxed);
    if (!log_limit_admit(&limits[event], now_ns, &suppressed))
        return;
    if (!peer->address)
        sockets_describe_peer(peer->descriptor, address);
    if (peer->connection) {
        log_events_write_number(connection, peer->connection);
        pairs[used++] = "conn";
        pairs[used++] = connection;
    }
    pairs[used++] = "reason";
    pairs[used++] = reason && !text->detail ? reason : text->reason;
    if (text->detail) {
        pairs[used++] = "detail";
        pairs[used++] = reason ? reason : text->detail;
    }
    if (suppressed) {
        log_events_write_number(count, suppressed);
        pairs[used++] = "suppressed";
        pairs[used++] = count;
    }
    /* The first NULL key ends the line. */
    log_line(LOG_WARN, text->message, "addr", peer->address ? peer->address : address, pairs[0],
             pairs[1], pairs[2], pairs[3], pairs[4], pairs[5], pairs[6], pairs[7], NULL);
}

uint64_t log_event_count(enum log_event event)
{
    return atomic_load_explicit(&counts[event], memory_order_relaxed);
}

static const char *log_events_kind(const struct lock_key *key)
{
    return key->kind == LOCK_KIND_SEMAPHORE ? "semaphore" : "lock";
}

void log_event_revoked(const struct session_context *context,
                       const struct session_revocation *revocation)
{
    const struct lock_key *key = &revocation->key;
    char fence[HEX_DIGITS + 1] = {0};
    char holder_number[LOG_EVENTS_NUMBER_MAX];
    char number[LOG_EVENTS_NUMBER_MAX];
    struct peer_description holder;
    struct peer_description administrator;

    hex_put((uint8_t *)fence, revocation->fence);
    log_events_write_number(holder_number, connection_id_number(revocation->holder));
    log_events_write_number(number, connection_id_number(revocation->administrator));
    peers_describe(context->peers, revocation->holder, &holder);
    peers_describe(context->peers, revocation->administrator, &administrator);
    log_line_bytes(LOG_WARN, "grant revoked", "key", key->bytes, key->length, "kind",
                   log_events_kind(key), "fence", fence, "holder_conn", holder_number,
                   "holder_addr", holder.address, "conn", number, "addr", administrator.address,
                   "holder_name", holder.name, "name", administrator.name, NULL);
}

void log_event_lease_expired(uint64_t now_ns, uint64_t connection_id, const struct lock_key *key)
{
    char connection[LOG_EVENTS_NUMBER_MAX];
    char count[LOG_EVENTS_NUMBER_MAX];
    uint64_t suppressed;

    if (!log_limit_admit(&limits[LOG_EVENT_LEASE_EXPIRED], now_ns, &suppressed))
        return;
    log_events_write_number(connection, connection_id_number(connection_id));
    log_events_write_number(count, suppressed);
    log_line_bytes(LOG_INFO, "lease expired", "key", key->bytes, key->length, "kind",
                   log_events_kind(key), "conn", connection, suppressed ? "suppressed" : NULL,
                   count, NULL);
}
