#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/time_units.h"

enum {
    RETRY_MS = 20,         /* after a failed connect */
    LONG_WAIT_S = 20,      /* for a grant that will come */
    SHORT_LEASE_S = 1,     /* of leases that expire */
    AFTER_LEASE_MS = 1000, /* idle time after the lease, so that the next grant shows its end */
    TRIES_TO_MOVE = 8,     /* clients that a client asks for a hold */
    LINE_MAX_BYTES = 256,

    /* Chances in 1000. */
    VANISH_WAITING = 30,
    VANISH_HOLDING = 20,
    RENEW = 60,
    MOVE = 100,
    TRY = 150,
    SHORT_WAIT = 100,
    RELEASE_AT_ONCE = 800
};

enum client_state {
    CLIENT_CLOSED,
    CLIENT_CONNECTING,
    CLIENT_IDLE,
    CLIENT_ACQUIRING, /* `l` is sent */
    CLIENT_ENQUEUING, /* `e` is sent */
    CLIENT_QUEUED,
    CLIENT_WAITING, /* `w` is sent */
    CLIENT_HOLDING,
    CLIENT_RENEWING, /* also `w` after a grant from `e` */
    CLIENT_RELEASING,
    CLIENT_TAKING, /* `own` is sent */
    CLIENT_GIVING  /* another client takes the hold */
};

struct client {
    struct witness *witness;
    struct judge_claim *claim;
    int descriptor;
    enum client_state state;
    uint32_t key;
    uint32_t losses;      /* before this connection */
    struct client *other; /* that takes or gives the hold; else NULL */
    bool shared;
    bool runs_out;
    uint64_t act_ns;  /* time of the next action; 0: a reply is pending */
    uint64_t lost_ns; /* time to vanish during a wait; 0: never */
    uint64_t lease_s;
    uint64_t held_until_ns; /* of an expiring claim: the lease has ended by then */
    uint64_t sent_ns;       /* of `own` */
    char token[33];
    uint32_t line_length;
    char line[LINE_MAX_BYTES];
};

uint64_t witness_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* SplitMix64. */
uint64_t witness_random(struct witness *witness, uint64_t below)
{
    uint64_t bits = witness->chance += 0x9e3779b97f4a7c15ull;

    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9ull;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebull;
    return below ? (bits ^ bits >> 31) % below : 0;
}

static bool has_chance(struct witness *witness, uint64_t in_1000)
{
    return witness_random(witness, 1000) < in_1000;
}

/* Returns a time up to `max_us` from now. */
static uint64_t time_within(struct witness *witness, uint64_t max_us)
{
    return witness->now_ns + 1 + witness_random(witness, max_us * 1000);
}

/* ---- connection ---- */

static void set_state(struct client *client, enum client_state state)
{
    struct witness *witness = client->witness;
    bool was_busy = client->state > CLIENT_IDLE;

    client->state = state;
    client->act_ns = 0;
    if (was_busy != (state > CLIENT_IDLE))
        witness->busy += was_busy ? -1u : 1u;
}

static void drop_claim(struct client *client)
{
    if (client->claim)
        judge_dropped(client->witness->judge, client->claim, witness_clock_ns());
    client->claim = NULL;
}

/* Ends the state in which a hold moves between two clients. */
static void end_move(struct client *client)
{
    struct client *other = client->other;

    if (!other)
        return;
    client->other = NULL;
    other->other = NULL;
    if (other->state == CLIENT_GIVING) {
        set_state(other, CLIENT_IDLE);
        other->act_ns = time_within(client->witness, client->witness->pause_max_us);
    }
}

static void close_connection(struct client *client, bool reset)
{
    struct linger linger = {.l_onoff = 1};

    end_move(client);
    drop_claim(client);
    if (client->descriptor >= 0) {
        if (reset)
            setsockopt(client->descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        close(client->descriptor);
    }
    client->descriptor = -1;
    client->line_length = 0;
    client->lost_ns = 0;
    set_state(client, CLIENT_CLOSED);
    client->act_ns = client->witness->now_ns + RETRY_MS * NS_PER_MS;
}

static void disconnect_client(struct client *client)
{
    client->witness->vanished++;
    close_connection(client, witness_random(client->witness, 2));
}

/* Reports a reply outside the protocol. */
static void report_violation(struct client *client, const char *what)
{
    char text[LINE_MAX_BYTES + 32];

    snprintf(text, sizeof(text), "in state %d: %s", client->state, what);
    judge_report(client->witness->judge, JUDGE_SERVICE, text);
    close_connection(client, true);
}

static void start_connecting(struct client *client)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(client->witness->port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    int one = 1;

    if (client->witness->ending) {
        client->act_ns = 0;
        return;
    }
    client->losses = client->witness->losses;
    client->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(client->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(client->descriptor, (struct sockaddr *)&address, sizeof(address)) < 0 &&
        errno != EINPROGRESS) {
        close_connection(client, false);
        return;
    }
    epoll_ctl(client->witness->epoll, EPOLL_CTL_ADD, client->descriptor, &event);
    set_state(client, CLIENT_CONNECTING);
}

static void finish_connecting(struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    int error = 0;
    socklen_t length = sizeof(error);

    getsockopt(client->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        if (!client->witness->drains && error != EADDRNOTAVAIL)
            report_violation(client, strerror(error));
        else
            close_connection(client, false);
        return;
    }
    epoll_ctl(client->witness->epoll, EPOLL_CTL_MOD, client->descriptor, &event);
    set_state(client, CLIENT_IDLE);
    client->act_ns = time_within(client->witness, client->witness->pause_max_us);
}

/* ---- requests ---- */

__attribute__((format(printf, 3, 4))) static void
send_request(struct client *client, const char *command, const char *format, ...)
{
    struct witness *witness = client->witness;
    bool semaphore = client->key >= witness->locks;
    bool acquires = *command == 'l' || *command == 'e';
    char request[LINE_MAX_BYTES];
    va_list arguments;
    int length = snprintf(request, sizeof(request), "%s%s\n%s-%" PRIu32 "\n",
                          *command == 'o'              ? ""
                          : semaphore                  ? "s"
                          : client->shared && acquires ? "r"
                                                       : "",
                          command, witness->name, client->key);

    va_start(arguments, format);
    length += vsnprintf(request + length, sizeof(request) - (size_t)length, format, arguments);
    va_end(arguments);
    request[length++] = '\n';
    /* The client notices a closed connection when it reads. */
    send(client->descriptor, request, (size_t)length, MSG_NOSIGNAL);
}

uint32_t witness_limit(const struct witness *witness, uint32_t key)
{
    return key < witness->locks ? 1 : key - witness->locks + 2;
}

/* Returns "<limit> " for a semaphore, else "". */
static const char *limit_text(const struct client *client, char text[16])
{
    text[0] = 0;
    if (client->key >= client->witness->locks)
        snprintf(text, 16, "%" PRIu32 " ", witness_limit(client->witness, client->key));
    return text;
}

static uint64_t random_timeout_s(struct witness *witness)
{
    if (has_chance(witness, TRY))
        return 0;
    return has_chance(witness, SHORT_WAIT) ? 1 : LONG_WAIT_S;
}

/* Decides whether and when the client vanishes during the wait. */
static void plan_vanishing(struct client *client)
{
    struct witness *witness = client->witness;

    client->lost_ns = has_chance(witness, VANISH_WAITING) ? time_within(witness, 20000) : 0;
}

/* Takes over the hold of another client by `own`. Returns false if it finds none. */
static bool start_taking(struct client *client)
{
    struct witness *witness = client->witness;
    struct client *other = NULL;

    for (int i = 0; i < TRIES_TO_MOVE; i++) {
        other = witness->clients[witness_random(witness, witness->client_count)];
        if (other->state == CLIENT_HOLDING && !other->runs_out && other->losses == client->losses)
            break;
        other = NULL;
    }
    if (!other)
        return false;
    client->claim = other->claim;
    client->key = other->key;
    client->shared = other->shared;
    client->runs_out = false;
    client->lease_s = other->lease_s;
    client->held_until_ns = other->held_until_ns;
    memcpy(client->token, other->token, sizeof(client->token));
    other->claim = NULL;
    client->other = other;
    other->other = client;
    /* The other connection stays open until the reply: its end would release the hold. */
    set_state(other, CLIENT_GIVING);
    set_state(client, CLIENT_TAKING);
    client->sent_ns = witness_clock_ns();
    send_request(client, "own", "%s %s", client->key < witness->locks ? "l" : "s", client->token);
    return true;
}

static void start_claim(struct client *client)
{
    struct witness *witness = client->witness;
    uint64_t now_ns = witness_clock_ns();
    char limit[16];

    client->key = (uint32_t)witness_random(witness, witness->locks + witness->semaphores);
    client->runs_out = witness_random(witness, 10000) < witness->run_out_in_10000;
    client->lease_s = client->runs_out ? SHORT_LEASE_S : witness->lease_s;
    client->shared = client->key < witness->locks && has_chance(witness, witness->shared_in_1000);
    client->claim = judge_requested(witness->judge, client->key, now_ns);
    if (!client->claim)
        abort();
    judge_set_losses(client->claim, client->losses);
    if (client->shared)
        judge_set_shared(client->claim);
    plan_vanishing(client);
    if (witness->two_phase && witness_random(witness, 2)) {
        set_state(client, CLIENT_ENQUEUING);
        send_request(client, "e", "%s%" PRIu64, limit_text(client, limit), client->lease_s);
    } else {
        uint64_t timeout_s = random_timeout_s(witness);

        set_state(client, CLIENT_ACQUIRING);
        judge_waiting(witness->judge, client->claim, timeout_s * NS_PER_S, now_ns);
        send_request(client, "l", "%" PRIu64 " %s%" PRIu64, timeout_s, limit_text(client, limit),
                     client->lease_s);
    }
}

static void start_waiting(struct client *client)
{
    uint64_t timeout_s = random_timeout_s(client->witness);

    set_state(client, CLIENT_WAITING);
    judge_waiting(client->witness->judge, client->claim, timeout_s * NS_PER_S, witness_clock_ns());
    send_request(client, "w", "%" PRIu64, timeout_s);
}

static void send_release(struct client *client)
{
    set_state(client, CLIENT_RELEASING);
    judge_releasing(client->witness->judge, client->claim, witness_clock_ns());
    send_request(client, "r", "%s", client->token);
}

static void send_renewal(struct client *client)
{
    set_state(client, CLIENT_RENEWING);
    judge_renewing(client->witness->judge, client->claim, witness_clock_ns());
    send_request(client, "n", "%s %" PRIu64, client->token, client->lease_s);
}

/* Decides what the holder does. */
static void start_holding(struct client *client)
{
    struct witness *witness = client->witness;

    set_state(client, CLIENT_HOLDING);
    if (client->runs_out && !witness->ending)
        client->act_ns = client->held_until_ns;
    else if (witness->ending || has_chance(witness, RELEASE_AT_ONCE))
        send_release(client);
    else
        client->act_ns = time_within(witness, witness->hold_max_us);
}

static void end_holding(struct client *client)
{
    struct witness *witness = client->witness;

    witness->run_out += client->runs_out;
    if (client->runs_out || witness->ending)
        send_release(client);
    else if (has_chance(witness, VANISH_HOLDING))
        disconnect_client(client);
    else if (has_chance(witness, RENEW))
        send_renewal(client);
    else
        send_release(client);
}

void client_due(struct client *client)
{
    struct witness *witness = client->witness;

    if (client->lost_ns && client->lost_ns <= witness->now_ns && !witness->ending) {
        disconnect_client(client);
        return;
    }
    if (witness->ending && client->state == CLIENT_HOLDING)
        client->act_ns = witness->now_ns;
    if (!client->act_ns || client->act_ns > witness->now_ns)
        return;
    switch (client->state) {
    case CLIENT_CLOSED:
        start_connecting(client);
        break;
    case CLIENT_IDLE:
        client->act_ns = 0;
        if (!witness->ending &&
            !(witness->moves && has_chance(witness, MOVE) && start_taking(client)))
            start_claim(client);
        break;
    case CLIENT_QUEUED:
        start_waiting(client);
        break;
    case CLIENT_HOLDING:
        end_holding(client);
        break;
    default:
        break;
    }
}

/* ---- replies ---- */

static void end_claim(struct client *client)
{
    struct witness *witness = client->witness;

    client->claim = NULL;
    client->lost_ns = 0;
    set_state(client, CLIENT_IDLE);
    client->act_ns = time_within(witness, witness->pause_max_us);
}

/* Parses "<token> <lease>". Returns false for anything else. */
static bool read_grant(struct client *client, const char *text, uint64_t *fence)
{
    char rest[LINE_MAX_BYTES];
    char token[33];
    uint64_t lease_s;

    if (sscanf(text, "%32[0-9a-f] %" SCNu64 "%s", token, &lease_s, rest) != 2 ||
        strlen(token) != 32 || lease_s != client->lease_s)
        return false;
    memcpy(client->token, token, sizeof(token));
    token[16] = 0;
    *fence = strtoull(token, NULL, 16);
    return true;
}

static void handle_grant(struct client *client, const char *text)
{
    uint64_t now_ns = witness_clock_ns();
    uint64_t lease_ns = client->lease_s * NS_PER_S;
    uint64_t fence;

    if (!read_grant(client, text, &fence)) {
        report_violation(client, text);
        return;
    }
    judge_granted(client->witness->judge, client->claim, fence, lease_ns, now_ns);
    client->witness->shared += client->shared;
    client->held_until_ns = now_ns + lease_ns + AFTER_LEASE_MS * NS_PER_MS;
    client->lost_ns = 0;
    /* A grant from `e` can also be waited for: this restarts its lease. */
    if (client->state == CLIENT_ENQUEUING && witness_random(client->witness, 2)) {
        set_state(client, CLIENT_RENEWING);
        judge_renewing(client->witness->judge, client->claim, witness_clock_ns());
        send_request(client, "w", "%d", LONG_WAIT_S);
        return;
    }
    start_holding(client);
}

/*
 * Returns whether the reply says that the lease expired. The server remembers this only as long
 * as the key exists, and the tested servers collect idle keys at once.
 */
static bool lease_is_lost(const char *line)
{
    return !strcmp(line, "error_lease_expired") || !strcmp(line, "error_not_enqueued");
}

/* Returns whether a reply without a grant is a valid end of the claim. */
static bool ends_claim(struct client *client, const char *line)
{
    struct judge *judge = client->witness->judge;

    if (!strcmp(line, "timeout")) {
        judge_timed_out(judge, client->claim, witness_clock_ns());
        return true;
    }
    if (!lease_is_lost(line))
        return false;
    client->witness->expired++;
    judge_expired(judge, client->claim, client->lease_s * NS_PER_S, witness_clock_ns());
    return true;
}

static void handle_renewal(struct client *client, const char *line)
{
    struct judge *judge = client->witness->judge;
    uint64_t now_ns = witness_clock_ns();
    uint64_t lease_s;
    char token[33];
    char rest[2];

    if (sscanf(line, "ok %32[0-9a-f] %" SCNu64 "%1s", token, &lease_s, rest) == 2 &&
        !strcmp(token, client->token) && lease_s == client->lease_s) {
        judge_renewed(judge, client->claim, lease_s * NS_PER_S, now_ns);
    } else if (sscanf(line, "ok %" SCNu64 "%1s", &lease_s, rest) == 1 &&
               lease_s == client->lease_s) {
        judge_renewed(judge, client->claim, lease_s * NS_PER_S, now_ns);
    } else if (!strcmp(line, "error") || lease_is_lost(line)) {
        judge_renewed(judge, client->claim, 0, now_ns);
        judge_dropped(judge, client->claim, now_ns);
        end_claim(client);
        return;
    } else {
        report_violation(client, line);
        return;
    }
    client->held_until_ns = now_ns + (lease_s * 1000 + AFTER_LEASE_MS) * NS_PER_MS;
    start_holding(client);
}

/* The other client's hold is this one's now, or it has ended. */
static void handle_move(struct client *client, const char *line)
{
    struct judge *judge = client->witness->judge;
    uint64_t now_ns = witness_clock_ns();
    bool accepted = !strcmp(line, "ok");

    if (!accepted && strcmp(line, "error") != 0) {
        report_violation(client, line);
        return;
    }
    end_move(client);
    judge_moved(judge, client->claim, accepted, client->sent_ns, now_ns);
    if (accepted) {
        client->witness->moved++;
        start_holding(client);
    } else {
        judge_dropped(judge, client->claim, now_ns);
        end_claim(client);
    }
}

static void handle_line(struct client *client, const char *line)
{
    struct witness *witness = client->witness;

    if (witness->drains && !strcmp(line, "error_draining") && client->state > CLIENT_IDLE) {
        witness->refusals++;
        close_connection(client, false);
        return;
    }
    switch (client->state) {
    case CLIENT_ACQUIRING:
    case CLIENT_WAITING:
        if (!strncmp(line, "ok ", 3))
            handle_grant(client, line + 3);
        else if (ends_claim(client, line))
            end_claim(client);
        else
            report_violation(client, line);
        break;
    case CLIENT_ENQUEUING:
        if (!strncmp(line, "acquired ", 9)) {
            handle_grant(client, line + 9);
        } else if (!strcmp(line, "queued")) {
            judge_queued(witness->judge, client->claim);
            set_state(client, CLIENT_QUEUED);
            /* The grant of a short lease may expire before the client waits for it. */
            client->act_ns = time_within(witness, client->runs_out           ? 2000000
                                                  : has_chance(witness, 100) ? 20000
                                                                             : 500);
        } else {
            report_violation(client, line);
        }
        break;
    case CLIENT_RENEWING:
        handle_renewal(client, line);
        break;
    case CLIENT_RELEASING:
        if (strcmp(line, "ok") != 0 && strcmp(line, "error") != 0) {
            report_violation(client, line);
            break;
        }
        judge_released(witness->judge, client->claim, !strcmp(line, "ok"), witness_clock_ns());
        end_claim(client);
        break;
    case CLIENT_TAKING:
        handle_move(client, line);
        break;
    default:
        report_violation(client, line);
    }
}

/* The server or the kernel has closed the connection. */
static void handle_closed(struct client *client, bool reset)
{
    struct witness *witness = client->witness;

    if (!witness->drains) {
        report_violation(client,
                         reset ? "the connection was reset" : "the server closed the connection");
        return;
    }
    if (client->state > CLIENT_IDLE && client->state != CLIENT_QUEUED &&
        client->state != CLIENT_HOLDING && client->state != CLIENT_GIVING)
        witness->cut++;
    witness->resets += reset;
    witness->losses++;
    close_connection(client, false);
}

void client_ready(struct client *client)
{
    ssize_t length;
    char *end;

    if (client->state == CLIENT_CONNECTING) {
        finish_connecting(client);
        return;
    }
    if (client->descriptor < 0)
        return;
    length = recv(client->descriptor, client->line + client->line_length,
                  LINE_MAX_BYTES - 1 - client->line_length, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        handle_closed(client, length < 0);
        return;
    }
    client->line_length += (uint32_t)length;
    client->line[client->line_length] = 0;
    end = strchr(client->line, '\n');
    /* Only one reply can be pending. */
    if (end && end[1]) {
        report_violation(client, client->line);
    } else if (end) {
        *end = 0;
        client->line_length = 0;
        handle_line(client, client->line);
    } else if (client->line_length == LINE_MAX_BYTES - 1) {
        report_violation(client, client->line);
    }
}

struct client *client_new(struct witness *witness)
{
    struct client *client = calloc(1, sizeof(*client));

    if (client) {
        client->witness = witness;
        client->descriptor = -1;
        client->act_ns = time_within(witness, 20000);
    }
    return client;
}

void client_free(struct client *client)
{
    close_connection(client, false);
    free(client);
}
