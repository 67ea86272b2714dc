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
    RETRY_MS = 20,         /* after a connection could not be made */
    LONG_WAIT_S = 20,      /* for a grant that is to come */
    SHORT_LEASE_S = 1,     /* of those that are to run out */
    AFTER_LEASE_MS = 1000, /* it asks for nothing, so that the next one's grant tells of the end */
    LINE_MAX_BYTES = 256,

    /* Chances in 1000. */
    VANISH_WAITING = 30,
    VANISH_HOLDING = 20,
    RENEW = 60,
    TRY = 150,
    SHORT_WAIT = 100,
    RELEASE_AT_ONCE = 800
};

enum client_state {
    CLIENT_CLOSED,
    CLIENT_CONNECTING,
    CLIENT_IDLE,
    CLIENT_ASKING,    /* `l` is sent */
    CLIENT_ENQUEUING, /* `e` is sent */
    CLIENT_QUEUED,
    CLIENT_WAITING, /* `w` is sent */
    CLIENT_HOLDING,
    CLIENT_RENEWING, /* also by `w` of a grant that `e` got at once */
    CLIENT_RELEASING
};

struct client {
    struct world *world;
    struct judge_claim *claim;
    int descriptor;
    enum client_state state;
    uint32_t key;
    bool runs_out;
    uint64_t act_ns;  /* when it goes on by itself; 0: it waits for an answer */
    uint64_t lost_ns; /* when it vanishes, in the middle of a wait; 0: it doesn't */
    uint64_t lease_s;
    uint64_t held_until_ns; /* for those that run out: the lease is over by then */
    char token[33];
    uint32_t line_length;
    char line[LINE_MAX_BYTES];
};

uint64_t world_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* SplitMix64. */
uint64_t world_random(struct world *world, uint64_t below)
{
    uint64_t bits = world->chance += 0x9e3779b97f4a7c15ull;

    bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9ull;
    bits = (bits ^ bits >> 27) * 0x94d049bb133111ebull;
    return below ? (bits ^ bits >> 31) % below : 0;
}

static bool happens(struct world *world, uint64_t in_1000)
{
    return world_random(world, 1000) < in_1000;
}

/* In up to `max_us` from now. */
static uint64_t soon(struct world *world, uint64_t max_us)
{
    return world->now_ns + 1 + world_random(world, max_us * 1000);
}

/* ---- its connection ---- */

static void set_state(struct client *client, enum client_state state)
{
    struct world *world = client->world;
    bool was_busy = client->state > CLIENT_IDLE;

    client->state = state;
    client->act_ns = 0;
    if (was_busy != (state > CLIENT_IDLE))
        world->busy += was_busy ? -1u : 1u;
}

static void drop_claim(struct client *client)
{
    if (client->claim)
        judge_dropped(client->world->judge, client->claim, world_clock());
    client->claim = NULL;
}

static void close_connection(struct client *client, bool reset)
{
    struct linger linger = {.l_onoff = 1};

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
    client->act_ns = client->world->now_ns + RETRY_MS * NS_PER_MS;
}

static void vanish(struct client *client)
{
    client->world->vanished++;
    close_connection(client, world_random(client->world, 2));
}

/* The server did something that no right server does. */
static void accuse(struct client *client, const char *what)
{
    char text[LINE_MAX_BYTES + 32];

    snprintf(text, sizeof(text), "in state %d: %s", client->state, what);
    judge_report(client->world->judge, JUDGE_SERVICE, text);
    close_connection(client, true);
}

static void start_connecting(struct client *client)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(client->world->port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    int one = 1;

    if (client->world->ending) {
        client->act_ns = 0;
        return;
    }
    client->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(client->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(client->descriptor, (struct sockaddr *)&address, sizeof(address)) < 0 &&
        errno != EINPROGRESS) {
        close_connection(client, false);
        return;
    }
    epoll_ctl(client->world->epoll, EPOLL_CTL_ADD, client->descriptor, &event);
    set_state(client, CLIENT_CONNECTING);
}

static void connected(struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    int error = 0;
    socklen_t length = sizeof(error);

    getsockopt(client->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        if (!client->world->drains && error != EADDRNOTAVAIL)
            accuse(client, strerror(error));
        else
            close_connection(client, false);
        return;
    }
    epoll_ctl(client->world->epoll, EPOLL_CTL_MOD, client->descriptor, &event);
    set_state(client, CLIENT_IDLE);
    client->act_ns = soon(client->world, client->world->pause_max_us);
}

/* ---- what it asks ---- */

__attribute__((format(printf, 3, 4))) static void ask(struct client *client, const char *command,
                                                      const char *format, ...)
{
    struct world *world = client->world;
    bool semaphore = client->key >= world->locks;
    char request[LINE_MAX_BYTES];
    va_list arguments;
    int length = snprintf(request, sizeof(request), "%s%s\n%s-%" PRIu32 "\n", semaphore ? "s" : "",
                          command, world->name, client->key);

    va_start(arguments, format);
    length += vsnprintf(request + length, sizeof(request) - (size_t)length, format, arguments);
    va_end(arguments);
    request[length++] = '\n';
    /* A connection that the server has ended is noticed when it is read. */
    send(client->descriptor, request, (size_t)length, MSG_NOSIGNAL);
}

static uint32_t limit_of(const struct world *world, uint32_t key)
{
    return key < world->locks ? 1 : key - world->locks + 2;
}

/* "<limit> " where a semaphore's request names it. */
static const char *limit_text(const struct client *client, char text[16])
{
    text[0] = 0;
    if (client->key >= client->world->locks)
        snprintf(text, 16, "%" PRIu32 " ", limit_of(client->world, client->key));
    return text;
}

static uint64_t some_timeout_s(struct world *world)
{
    if (happens(world, TRY))
        return 0;
    return happens(world, SHORT_WAIT) ? 1 : LONG_WAIT_S;
}

/* A client that is to vanish while it waits does so before long. */
static void plan_vanishing(struct client *client)
{
    struct world *world = client->world;

    client->lost_ns = happens(world, VANISH_WAITING) ? soon(world, 20000) : 0;
}

static void start_claim(struct client *client)
{
    struct world *world = client->world;
    uint64_t now_ns = world_clock();
    char limit[16];

    client->key = (uint32_t)world_random(world, world->locks + world->semaphores);
    client->runs_out = world_random(world, 10000) < world->run_out_in_10000;
    client->lease_s = client->runs_out ? SHORT_LEASE_S : world->lease_s;
    client->claim = judge_requested(world->judge, client->key, now_ns);
    if (!client->claim)
        abort();
    plan_vanishing(client);
    if (world->two_phase && world_random(world, 2)) {
        set_state(client, CLIENT_ENQUEUING);
        ask(client, "e", "%s%" PRIu64, limit_text(client, limit), client->lease_s);
    } else {
        uint64_t timeout_s = some_timeout_s(world);

        set_state(client, CLIENT_ASKING);
        judge_waiting(world->judge, client->claim, timeout_s * NS_PER_S, now_ns);
        ask(client, "l", "%" PRIu64 " %s%" PRIu64, timeout_s, limit_text(client, limit),
            client->lease_s);
    }
}

static void start_waiting(struct client *client)
{
    uint64_t timeout_s = some_timeout_s(client->world);

    set_state(client, CLIENT_WAITING);
    judge_waiting(client->world->judge, client->claim, timeout_s * NS_PER_S, world_clock());
    ask(client, "w", "%" PRIu64, timeout_s);
}

static void release(struct client *client)
{
    set_state(client, CLIENT_RELEASING);
    judge_releasing(client->world->judge, client->claim, world_clock());
    ask(client, "r", "%s", client->token);
}

static void renew(struct client *client)
{
    set_state(client, CLIENT_RENEWING);
    judge_renewing(client->world->judge, client->claim, world_clock());
    ask(client, "n", "%s %" PRIu64, client->token, client->lease_s);
}

/* It holds: what it does with that. */
static void decide(struct client *client)
{
    struct world *world = client->world;

    set_state(client, CLIENT_HOLDING);
    if (client->runs_out && !world->ending)
        client->act_ns = client->held_until_ns;
    else if (world->ending || happens(world, RELEASE_AT_ONCE))
        release(client);
    else
        client->act_ns = soon(world, world->hold_max_us);
}

static void go_on_holding(struct client *client)
{
    struct world *world = client->world;

    world->run_out += client->runs_out;
    if (client->runs_out || world->ending)
        release(client);
    else if (happens(world, VANISH_HOLDING))
        vanish(client);
    else if (happens(world, RENEW))
        renew(client);
    else
        release(client);
}

void client_due(struct client *client)
{
    struct world *world = client->world;

    if (client->lost_ns && client->lost_ns <= world->now_ns && !world->ending) {
        vanish(client);
        return;
    }
    if (world->ending && client->state == CLIENT_HOLDING)
        client->act_ns = world->now_ns;
    if (!client->act_ns || client->act_ns > world->now_ns)
        return;
    switch (client->state) {
    case CLIENT_CLOSED:
        start_connecting(client);
        break;
    case CLIENT_IDLE:
        client->act_ns = 0;
        if (!world->ending)
            start_claim(client);
        break;
    case CLIENT_QUEUED:
        start_waiting(client);
        break;
    case CLIENT_HOLDING:
        go_on_holding(client);
        break;
    default:
        break;
    }
}

/* ---- what it hears ---- */

static void claim_over(struct client *client)
{
    struct world *world = client->world;

    client->claim = NULL;
    client->lost_ns = 0;
    set_state(client, CLIENT_IDLE);
    client->act_ns = soon(world, world->pause_max_us);
}

/* Reads "<token> <lease>"; false where it is anything else. */
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

static void granted(struct client *client, const char *text)
{
    uint64_t now_ns = world_clock();
    uint64_t lease_ns = client->lease_s * NS_PER_S;
    uint64_t fence;

    if (!read_grant(client, text, &fence)) {
        accuse(client, text);
        return;
    }
    judge_granted(client->world->judge, client->claim, fence, lease_ns, now_ns);
    client->held_until_ns = now_ns + lease_ns + AFTER_LEASE_MS * NS_PER_MS;
    client->lost_ns = 0;
    /* What `e` got may be waited for all the same: its lease starts again. */
    if (client->state == CLIENT_ENQUEUING && world_random(client->world, 2)) {
        set_state(client, CLIENT_RENEWING);
        judge_renewing(client->world->judge, client->claim, world_clock());
        ask(client, "w", "%d", LONG_WAIT_S);
        return;
    }
    decide(client);
}

/*
 * Whether the server says that the lease is lost. It remembers that no longer than the key exists;
 * the servers of the trials collect idle keys at once.
 */
static bool lease_is_lost(const char *line)
{
    return !strcmp(line, "error_lease_expired") || !strcmp(line, "error_not_enqueued");
}

/* Whether an answer without a grant ends the claim rightly. */
static bool ends_claim(struct client *client, const char *line)
{
    struct judge *judge = client->world->judge;

    if (!strcmp(line, "timeout")) {
        judge_timed_out(judge, client->claim, world_clock());
        return true;
    }
    if (!lease_is_lost(line))
        return false;
    client->world->expired++;
    judge_dropped(judge, client->claim, world_clock());
    return true;
}

static void renewed(struct client *client, const char *line)
{
    struct judge *judge = client->world->judge;
    uint64_t now_ns = world_clock();
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
        claim_over(client);
        return;
    } else {
        accuse(client, line);
        return;
    }
    client->held_until_ns = now_ns + (lease_s * 1000 + AFTER_LEASE_MS) * NS_PER_MS;
    decide(client);
}

static void heard(struct client *client, const char *line)
{
    struct world *world = client->world;

    if (world->drains && !strcmp(line, "error_draining") && client->state > CLIENT_IDLE) {
        world->refusals++;
        close_connection(client, false);
        return;
    }
    switch (client->state) {
    case CLIENT_ASKING:
    case CLIENT_WAITING:
        if (!strncmp(line, "ok ", 3))
            granted(client, line + 3);
        else if (ends_claim(client, line))
            claim_over(client);
        else
            accuse(client, line);
        break;
    case CLIENT_ENQUEUING:
        if (!strncmp(line, "acquired ", 9)) {
            granted(client, line + 9);
        } else if (!strcmp(line, "queued")) {
            judge_queued(world->judge, client->claim);
            set_state(client, CLIENT_QUEUED);
            /* The grant of a short lease may be over before it is waited for. */
            client->act_ns = soon(world, client->runs_out      ? 2000000
                                         : happens(world, 100) ? 20000
                                                               : 500);
        } else {
            accuse(client, line);
        }
        break;
    case CLIENT_RENEWING:
        renewed(client, line);
        break;
    case CLIENT_RELEASING:
        if (strcmp(line, "ok") != 0 && strcmp(line, "error") != 0) {
            accuse(client, line);
            break;
        }
        judge_released(world->judge, client->claim, !strcmp(line, "ok"), world_clock());
        claim_over(client);
        break;
    default:
        accuse(client, line);
    }
}

/* The server has ended the connection, or the kernel has. */
static void lost(struct client *client, bool reset)
{
    struct world *world = client->world;

    if (!world->drains) {
        accuse(client, reset ? "the connection was reset" : "the server closed the connection");
        return;
    }
    if (client->state > CLIENT_IDLE && client->state != CLIENT_QUEUED &&
        client->state != CLIENT_HOLDING)
        world->cut++;
    world->resets += reset;
    close_connection(client, false);
}

void client_ready(struct client *client)
{
    ssize_t length;
    char *end;

    if (client->state == CLIENT_CONNECTING) {
        connected(client);
        return;
    }
    if (client->descriptor < 0)
        return;
    length = recv(client->descriptor, client->line + client->line_length,
                  LINE_MAX_BYTES - 1 - client->line_length, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        lost(client, length < 0);
        return;
    }
    client->line_length += (uint32_t)length;
    client->line[client->line_length] = 0;
    end = strchr(client->line, '\n');
    /* There is one answer at a time. */
    if (end && end[1]) {
        accuse(client, client->line);
    } else if (end) {
        *end = 0;
        client->line_length = 0;
        heard(client, client->line);
    } else if (client->line_length == LINE_MAX_BYTES - 1) {
        accuse(client, client->line);
    }
}

struct client *client_new(struct world *world)
{
    struct client *client = calloc(1, sizeof(*client));

    if (client) {
        client->world = world;
        client->descriptor = -1;
        client->act_ns = soon(world, 20000);
    }
    return client;
}

void client_free(struct client *client)
{
    close_connection(client, false);
    free(client);
}
