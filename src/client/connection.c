#include "client/connection.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/buffer.h"
#include "client/speech.h"
#include "os/clock.h"

enum {
    READ_BYTES = 4096,
    TEXT_MAX = 1 << 28,           /* bytes of an answer to `stats` */
    REQUESTS_BYTES_MAX = 1 << 20, /* that are not sent yet, beyond which none is taken */
    UNDER_WAY_MAX = 1 << 16,
    UNDER_WAY_MIN = 8,
    /* A peer that is gone without a word is noticed after about half a minute. */
    KEEPALIVE_IDLE_S = 15,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_COUNT = 3
};

static const uint64_t ns_per_ms = 1000000;

enum stage {
    STAGE_CONNECTING,
    STAGE_SHAKING,   /* the handshake of TLS */
    STAGE_ADMITTING, /* the secret is under way */
    STAGE_TALKING,
    STAGE_BROKEN
};

/* Commands whose answers are to come, first in first out: a ring. */
struct under_way {
    uint8_t *commands;
    uint32_t first;
    uint32_t count;
    uint32_t capacity; /* a power of two */
};

struct dflockd_connection {
    enum stage stage;
    enum dflockd_status broken; /* why, once it is */
    int descriptor;
    bool deaf;                       /* the peer takes no more bytes; it may have said why */
    bool ended;                      /* the peer said that it sends no more */
    struct address_choices *choices; /* while connecting, else NULL */
    uint32_t choice;                 /* the next one */
    uint64_t choice_deadline_ns;     /* of the one that is tried */
    uint64_t deadline_ns;            /* of all that comes before STAGE_TALKING */
    struct tls *tls;                 /* NULL: none */
    char *server_name;               /* GnuTLS looks at it during the handshake */
    bool admitting;                  /* the secret is the first request */
    struct under_way under_way;
    struct buffer requests;
    struct buffer sealed;
    struct buffer input;
    size_t scanned;              /* bytes at the front of the input that hold no end of a line */
    size_t taken;                /* bytes at the front of the input that were handed out */
    char text[ADDRESS_TEXT_MAX]; /* the server's address */
    char problem[DFLOCKD_PROBLEM_MAX];
};

/* ---- the end ---- */

static void hang_up(struct dflockd_connection *connection)
{
    if (connection->descriptor >= 0)
        close(connection->descriptor);
    connection->descriptor = -1;
    free(connection->choices);
    connection->choices = NULL;
    buffer_free(&connection->requests);
    buffer_free(&connection->sealed);
}

/* Only the first reason counts. What was answered before it can still be received. */
__attribute__((format(printf, 3, 4))) static enum dflockd_status
break_off(struct dflockd_connection *connection, enum dflockd_status why, const char *format, ...)
{
    char reason[TLS_PROBLEM_MAX];
    va_list arguments;

    if (connection->stage == STAGE_BROKEN)
        return connection->broken;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    /* What a server says may end up on a terminal. */
    for (char *at = reason; *at; at++) {
        if (*at < ' ' || *at > '~')
            *at = '?';
    }
    snprintf(connection->problem, sizeof(connection->problem), "%.100s: %.*s", connection->text,
             TLS_PROBLEM_MAX, reason);
    /* Until it is admitted, there was no connection. */
    if (why == DFLOCKD_STATUS_DISCONNECTED && connection->stage != STAGE_TALKING)
        why = DFLOCKD_STATUS_UNREACHABLE;
    connection->stage = STAGE_BROKEN;
    connection->broken = why;
    hang_up(connection);
    return why;
}

static enum dflockd_status no_memory(struct dflockd_connection *connection)
{
    return break_off(connection, DFLOCKD_STATUS_NO_MEMORY, "out of memory");
}

/* ---- out ---- */

/* The bytes that are for the socket. */
static struct buffer *output(struct dflockd_connection *connection)
{
    return connection->tls ? &connection->sealed : &connection->requests;
}

static bool take_sealed(void *receiver, const uint8_t *bytes, size_t length)
{
    struct dflockd_connection *connection = receiver;

    return buffer_add(&connection->sealed, bytes, length);
}

static bool may_seal(const struct dflockd_connection *connection)
{
    return connection->tls && tls_ready(connection->tls) &&
           buffer_length(&connection->requests) > 0;
}

static enum dflockd_status flush(struct dflockd_connection *connection)
{
    struct buffer *bytes = output(connection);

    if (may_seal(connection)) {
        struct buffer *requests = &connection->requests;

        if (!tls_write(connection->tls, buffer_first(requests), buffer_length(requests)))
            return no_memory(connection);
        buffer_drop(requests, buffer_length(requests));
    }
    while (buffer_length(bytes) > 0 && !connection->deaf) {
        ssize_t sent = send(connection->descriptor, buffer_first(bytes), buffer_length(bytes),
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent >= 0)
            buffer_drop(bytes, (size_t)sent);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            connection->deaf = true; /* reading tells how it ended */
    }
    if (connection->deaf)
        buffer_drop(bytes, buffer_length(bytes));
    return DFLOCKD_STATUS_DONE;
}

/* ---- in ---- */

/* Plain bytes of what the socket gave. */
static enum dflockd_status unseal(struct dflockd_connection *connection, const uint8_t *bytes,
                                  size_t length)
{
    enum tls_result result;

    tls_give(connection->tls, bytes, length);
    do {
        uint8_t *to = buffer_room(&connection->input, READ_BYTES);
        size_t count = 0;

        if (!to)
            return no_memory(connection);
        result = tls_read(connection->tls, to, READ_BYTES, &count);
        if (result == TLS_BYTES)
            buffer_added(&connection->input, count);
    } while (result == TLS_BYTES);
    if (connection->stage == STAGE_SHAKING && tls_ready(connection->tls))
        connection->stage = connection->admitting ? STAGE_ADMITTING : STAGE_TALKING;
    if (result == TLS_BROKEN) {
        if (tls_short_of_memory(connection->tls))
            return no_memory(connection);
        flush(connection); /* it was told why */
        return break_off(connection, DFLOCKD_STATUS_UNTRUSTED, "TLS: %s",
                         tls_problem(connection->tls));
    }
    connection->ended = result == TLS_ENDED;
    return flush(connection);
}

/* Reads once. DONE, AGAIN, or what broke it. */
static enum dflockd_status fill(struct dflockd_connection *connection)
{
    uint8_t sealed[TLS_RECORD_MAX];
    uint8_t *to = sealed;
    size_t room = sizeof(sealed);
    ssize_t length;

    if (!connection->tls) {
        room = READ_BYTES;
        to = buffer_room(&connection->input, room);
        if (!to)
            return no_memory(connection);
    }
    do
        length = connection->ended ? 0 : recv(connection->descriptor, to, room, MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    if (length < 0 && errno == EAGAIN)
        return DFLOCKD_STATUS_AGAIN;
    if (length < 0)
        return break_off(connection, DFLOCKD_STATUS_DISCONNECTED, "%s", strerror(errno));
    if (length == 0)
        return break_off(connection, DFLOCKD_STATUS_DISCONNECTED, "the server closed it");
    if (connection->tls)
        return unseal(connection, to, (size_t)length);
    buffer_added(&connection->input, (size_t)length);
    return DFLOCKD_STATUS_DONE;
}

/* ---- connecting ---- */

static bool begin_choice(struct dflockd_connection *connection, int *error)
{
    const struct address_choice *choice = &connection->choices->at[connection->choice];
    uint64_t now_ns = clock_monotonic_ns();
    uint32_t left = connection->choices->count - connection->choice++;
    int old = connection->descriptor;
    int one = 1;
    int made = socket(choice->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    *error = errno;
    /* After the new one is made, whose number is another one therefore. */
    if (old >= 0)
        close(old);
    connection->descriptor = made;
    if (made < 0)
        return false;
    if (choice->socket.ss_family != AF_UNIX)
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connection->choice_deadline_ns = connection->deadline_ns;
    if (connection->deadline_ns > now_ns)
        connection->choice_deadline_ns = now_ns + (connection->deadline_ns - now_ns) / left;
    if (connect(made, (const struct sockaddr *)&choice->socket, choice->length) == 0)
        return true;
    *error = errno;
    return errno == EINPROGRESS || errno == EINTR;
}

/* Begins with the next choice; `error` is what became of the last one. */
static enum dflockd_status try_next(struct dflockd_connection *connection, int error)
{
    while (connection->choice < connection->choices->count) {
        if (begin_choice(connection, &error))
            return DFLOCKD_STATUS_DONE;
    }
    if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
        return break_off(connection, DFLOCKD_STATUS_NO_MEMORY, "%s", strerror(error));
    return break_off(connection, DFLOCKD_STATUS_UNREACHABLE, "%s", strerror(error));
}

static void keep_alive(int descriptor)
{
    static const struct {
        int level;
        int name;
        int value;
    } wanted[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
    };

    /* A Unix socket takes none of these, and needs none. */
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        setsockopt(descriptor, wanted[i].level, wanted[i].name, &wanted[i].value, sizeof(int));
}

/* DONE once the socket is connected, AGAIN, or what broke it. */
static enum dflockd_status go_on_connecting(struct dflockd_connection *connection)
{
    struct pollfd ready = {.fd = connection->descriptor, .events = POLLOUT};
    socklen_t length = sizeof(int);
    int error = 0;

    if (poll(&ready, 1, 0) == 1) {
        getsockopt(connection->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error == 0) {
            free(connection->choices);
            connection->choices = NULL;
            keep_alive(connection->descriptor);
            connection->stage = connection->tls         ? STAGE_SHAKING
                                : connection->admitting ? STAGE_ADMITTING
                                                        : STAGE_TALKING;
            return connection->tls ? unseal(connection, NULL, 0) : DFLOCKD_STATUS_DONE;
        }
    } else if (clock_monotonic_ns() < connection->choice_deadline_ns) {
        return DFLOCKD_STATUS_AGAIN;
    } else {
        error = ETIMEDOUT;
    }
    if (try_next(connection, error) != DFLOCKD_STATUS_DONE)
        return connection->broken;
    return DFLOCKD_STATUS_AGAIN;
}

static bool name_server(struct dflockd_connection *connection, const struct servers *servers,
                        const struct address *address)
{
    const char *name = servers->tls_server_name;

    if (!name)
        name = address->local ? "localhost" : address->host;
    connection->server_name = strdup(name);
    if (!connection->server_name)
        return false;
    connection->tls = tls_call(servers->tls, connection->server_name, take_sealed, connection);
    return connection->tls != NULL;
}

static enum dflockd_status begin(struct dflockd_connection *connection,
                                 const struct servers *servers, const struct address *address)
{
    const struct dflockd_request auth = {.command = DFLOCKD_AUTH, .token = servers->auth_token};
    enum dflockd_status status;
    const char *why;

    connection->choices = malloc(sizeof(*connection->choices));
    if (!connection->choices || (servers->tls && !name_server(connection, servers, address)))
        return no_memory(connection);
    why = address_resolve(address, connection->choices);
    if (why)
        return break_off(connection, DFLOCKD_STATUS_UNREACHABLE, "%s", why);
    connection->deadline_ns = connection_deadline(servers->connect_timeout_ms);
    status = try_next(connection, 0);
    if (status == DFLOCKD_STATUS_DONE && servers->auth_token) {
        status = dflockd_connection_send(connection, &auth);
        connection->admitting = true;
    }
    return status;
}

enum dflockd_status connection_open(struct dflockd_connection **connection,
                                    const struct servers *servers, size_t server, char *problem)
{
    struct dflockd_connection *made = calloc(1, sizeof(*made));
    enum dflockd_status status;

    *connection = NULL;
    if (!made)
        return DFLOCKD_STATUS_NO_MEMORY;
    made->descriptor = -1;
    snprintf(made->text, sizeof(made->text), "%s", servers->addresses[server].text);
    status = begin(made, servers, &servers->addresses[server]);
    if (status == DFLOCKD_STATUS_DONE) {
        *connection = made;
        return status;
    }
    if (problem)
        snprintf(problem, DFLOCKD_PROBLEM_MAX, "%s", made->problem);
    dflockd_connection_close(made);
    return status;
}

enum dflockd_status dflockd_connection_open(struct dflockd_connection **connection,
                                            const struct dflockd_options *options, size_t server)
{
    struct servers servers;
    enum dflockd_status status;

    *connection = NULL;
    status = servers_init(&servers, options);
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    status = DFLOCKD_STATUS_INVALID;
    if (server < servers.count)
        status = connection_open(connection, &servers, server, options->problem);
    servers_free(&servers);
    return status;
}

void dflockd_connection_close(struct dflockd_connection *connection)
{
    if (!connection)
        return;
    if (connection->tls && connection->stage != STAGE_BROKEN) {
        tls_end(connection->tls);
        flush(connection);
    }
    hang_up(connection);
    tls_free(connection->tls);
    free(connection->server_name);
    free(connection->under_way.commands);
    buffer_free(&connection->input);
    free(connection);
}

/* ---- what to watch ---- */

int dflockd_connection_descriptor(const struct dflockd_connection *connection)
{
    return connection->descriptor;
}

short dflockd_connection_events(const struct dflockd_connection *connection)
{
    bool sends = may_seal(connection);

    if (connection->stage == STAGE_BROKEN)
        return 0;
    if (connection->stage == STAGE_CONNECTING)
        return POLLOUT;
    sends |= buffer_length(connection->tls ? &connection->sealed : &connection->requests) > 0;
    return (short)(POLLIN | (sends && !connection->deaf ? POLLOUT : 0));
}

static int for_poll(uint64_t milliseconds)
{
    return milliseconds < INT_MAX ? (int)milliseconds : INT_MAX;
}

int dflockd_connection_timeout(const struct dflockd_connection *connection)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t until_ns = connection->deadline_ns;

    if (connection->stage >= STAGE_TALKING)
        return -1;
    if (connection->stage == STAGE_CONNECTING)
        until_ns = connection->choice_deadline_ns;
    if (now_ns >= until_ns)
        return 0;
    /* One more, so that it is over then. */
    return for_poll((until_ns - now_ns) / ns_per_ms + 1);
}

const char *dflockd_connection_problem(const struct dflockd_connection *connection)
{
    return connection->problem;
}

/* ---- requests ---- */

static bool note(struct under_way *under_way, enum dflockd_command command)
{
    if (under_way->count == under_way->capacity) {
        uint32_t capacity = under_way->capacity ? under_way->capacity * 2 : UNDER_WAY_MIN;
        uint8_t *commands = malloc(capacity);

        if (!commands)
            return false;
        for (uint32_t i = 0; i < under_way->count; i++)
            commands[i] = under_way->commands[(under_way->first + i) & (under_way->capacity - 1)];
        free(under_way->commands);
        under_way->commands = commands;
        under_way->first = 0;
        under_way->capacity = capacity;
    }
    under_way->commands[(under_way->first + under_way->count++) & (under_way->capacity - 1)] =
        (uint8_t)command;
    return true;
}

static enum dflockd_command first_under_way(const struct under_way *under_way)
{
    return under_way->commands[under_way->first];
}

static void answered(struct under_way *under_way)
{
    under_way->first = (under_way->first + 1) & (under_way->capacity - 1);
    under_way->count--;
}

enum dflockd_status dflockd_connection_send(struct dflockd_connection *connection,
                                            const struct dflockd_request *request)
{
    struct buffer *requests = &connection->requests;
    uint8_t *to;

    if (!speech_valid(request))
        return DFLOCKD_STATUS_INVALID;
    if (connection->stage == STAGE_BROKEN)
        return connection->broken;
    if (connection->under_way.count == UNDER_WAY_MAX ||
        buffer_length(requests) >= REQUESTS_BYTES_MAX)
        return DFLOCKD_STATUS_AGAIN;
    to = buffer_room(requests, speech_room(request));
    if (!to || !note(&connection->under_way, request->command))
        return DFLOCKD_STATUS_NO_MEMORY;
    buffer_added(requests, speech_ask(to, request));
    return DFLOCKD_STATUS_DONE;
}

/* ---- answers ---- */

/* The next line, with a 0 in place of its newline. AGAIN, or STRANGE_ANSWER where it is too long.
 */
static enum dflockd_status next_line(struct dflockd_connection *connection, char **line,
                                     size_t *length)
{
    struct buffer *input = &connection->input;
    struct under_way *under_way = &connection->under_way;
    bool text = under_way->count > 0 && first_under_way(under_way) == DFLOCKD_STATS;
    size_t most = text ? TEXT_MAX : DFLOCKD_ANSWER_MAX;
    uint8_t *end = NULL;

    buffer_drop(input, connection->taken);
    connection->taken = 0;
    if (connection->scanned < buffer_length(input))
        end = memchr(buffer_first(input) + connection->scanned, '\n',
                     buffer_length(input) - connection->scanned);
    connection->scanned = buffer_length(input);
    if (end) {
        *line = (char *)buffer_first(input);
        *length = (size_t)(end - buffer_first(input));
        *end = '\0';
        connection->taken = *length + 1;
        connection->scanned = 0;
    }
    if ((end ? *length : connection->scanned) > most)
        return break_off(connection, DFLOCKD_STATUS_STRANGE_ANSWER, "an answer is too long");
    return end ? DFLOCKD_STATUS_DONE : DFLOCKD_STATUS_AGAIN;
}

/* A server that is tired of a connection says so before it closes it. */
static enum dflockd_status unasked(struct dflockd_connection *connection, const char *line,
                                   size_t length)
{
    enum dflockd_outcome outcome = speech_outcome(line, length);

    if (outcome == DFLOCKD_ERROR || outcome == DFLOCKD_ERROR_AUTH ||
        outcome == DFLOCKD_ERROR_DRAINING)
        return break_off(connection, DFLOCKD_STATUS_DISCONNECTED, "the server closed it, with '%s'",
                         line);
    return break_off(connection, DFLOCKD_STATUS_STRANGE_ANSWER,
                     "an answer that nothing was asked for: '%.60s'", line);
}

/* The answer in a line. AGAIN where it was that to our secret. */
static enum dflockd_status hear(struct dflockd_connection *connection, struct dflockd_reply *reply,
                                const char *line, size_t length)
{
    enum dflockd_command command;

    if (connection->under_way.count == 0)
        return unasked(connection, line, length);
    command = first_under_way(&connection->under_way);
    answered(&connection->under_way);
    if (!speech_hear(reply, command, line, length))
        return break_off(connection, DFLOCKD_STATUS_STRANGE_ANSWER, "'%.60s' is no answer to that",
                         line);
    if (reply->status == DFLOCKD_STATUS_REFUSED)
        return break_off(connection, reply->status, "%s", dflockd_status_text(reply->status));
    if (!connection->admitting)
        return DFLOCKD_STATUS_DONE;
    if (reply->status == DFLOCKD_STATUS_DRAINING)
        return break_off(connection, DFLOCKD_STATUS_UNREACHABLE, "%s",
                         dflockd_status_text(reply->status));
    if (reply->status != DFLOCKD_STATUS_DONE)
        return break_off(connection, DFLOCKD_STATUS_REFUSED, "the server asks for no secret");
    connection->admitting = false;
    connection->stage = STAGE_TALKING;
    return DFLOCKD_STATUS_AGAIN;
}

/* AGAIN, unless connecting has taken too long. */
static enum dflockd_status nothing_yet(struct dflockd_connection *connection)
{
    if (connection->stage >= STAGE_TALKING || clock_monotonic_ns() < connection->deadline_ns)
        return DFLOCKD_STATUS_AGAIN;
    return break_off(connection, DFLOCKD_STATUS_UNREACHABLE, "%s", strerror(ETIMEDOUT));
}

static void forget_input(struct dflockd_connection *connection)
{
    buffer_free(&connection->input);
    connection->scanned = 0;
    connection->taken = 0;
}

enum dflockd_status dflockd_connection_receive(struct dflockd_connection *connection,
                                               struct dflockd_reply *reply)
{
    enum dflockd_status status;
    char *line = NULL;
    size_t length = 0;

    *reply = (struct dflockd_reply){0};
    for (;;) {
        if (connection->stage == STAGE_CONNECTING) {
            status = go_on_connecting(connection);
            if (status != DFLOCKD_STATUS_DONE)
                return status;
        }
        if (connection->stage != STAGE_BROKEN)
            flush(connection);
        status = next_line(connection, &line, &length);
        if (status == DFLOCKD_STATUS_DONE) {
            status = hear(connection, reply, line, length);
            if (status == DFLOCKD_STATUS_AGAIN)
                continue;
            if (status != DFLOCKD_STATUS_DONE)
                forget_input(connection);
            return status;
        }
        if (connection->stage == STAGE_BROKEN)
            return connection->broken;
        if (fill(connection) == DFLOCKD_STATUS_AGAIN)
            return nothing_yet(connection);
    }
}

/* ---- waiting ---- */

uint64_t connection_deadline(uint64_t milliseconds)
{
    uint64_t now_ns = clock_monotonic_ns();

    if (milliseconds > (UINT64_MAX - now_ns) / ns_per_ms)
        return UINT64_MAX;
    return now_ns + milliseconds * ns_per_ms;
}

/* For poll(2): whatever comes first, the deadline or the connection's own time. */
static int patience(const struct dflockd_connection *connection, uint64_t now_ns,
                    uint64_t deadline_ns)
{
    int timeout = dflockd_connection_timeout(connection);
    uint64_t left_ms = (deadline_ns - now_ns) / ns_per_ms + 1;

    if (deadline_ns == UINT64_MAX || (timeout >= 0 && (uint64_t)timeout < left_ms))
        return timeout;
    return for_poll(left_ms);
}

enum dflockd_status connection_await(struct dflockd_connection *connection,
                                     struct dflockd_reply *reply, uint64_t deadline_ns, int bell)
{
    for (;;) {
        enum dflockd_status status = dflockd_connection_receive(connection, reply);
        struct pollfd watched[] = {
            {.fd = bell, .events = POLLIN},
            {.fd = connection->descriptor, .events = dflockd_connection_events(connection)},
        };
        uint64_t now_ns = clock_monotonic_ns();

        if (status != DFLOCKD_STATUS_AGAIN || now_ns >= deadline_ns)
            return status;
        /* Interrupted or not, the next turn looks. */
        if (poll(watched, 2, patience(connection, now_ns, deadline_ns)) > 0 && watched[0].revents)
            return DFLOCKD_STATUS_CANCELLED;
    }
}

enum dflockd_status dflockd_connection_ask(struct dflockd_connection *connection,
                                           const struct dflockd_request *request,
                                           struct dflockd_reply *reply, int64_t timeout_ms)
{
    uint64_t deadline_ns = UINT64_MAX;
    enum dflockd_status status;

    *reply = (struct dflockd_reply){0};
    if (connection->under_way.count > (connection->admitting ? 1 : 0))
        return DFLOCKD_STATUS_INVALID;
    if (timeout_ms >= 0)
        deadline_ns = connection_deadline((uint64_t)timeout_ms);
    status = dflockd_connection_send(connection, request);
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    return connection_await(connection, reply, deadline_ns, -1);
}
