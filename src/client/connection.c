#include "client/connection.h"

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

#include "base/time_units.h"
#include "client/buffer.h"
#include "client/codec.h"
#include "client/connector.h"
#include "client/options.h"
#include "os/clock.h"

enum {
    READ_BYTES = 4096,
    TEXT_MAX = 1 << 28,           /* bytes of a reply to `stats` */
    REQUESTS_BYTES_MAX = 1 << 20, /* unsent bytes; send returns AGAIN beyond that */
    PENDING_MAX = 1 << 16,
    PENDING_MIN = 8,
    /* A peer that vanished without a FIN is noticed after about half a minute. */
    KEEPALIVE_IDLE_S = 15,
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_COUNT = 3,
    /* Keep-alive does not probe while sent bytes are not acknowledged. The kernel of a slow server
     * acknowledges them. */
    UNACKNOWLEDGED_MS = 30000
};

/*
 * stage          | event                              | next stage
 * ---------------+------------------------------------+------------------------------------------
 * CONNECTING     | the connector has a socket         | TLS_HANDSHAKE, AUTHENTICATING or READY:
 *                |                                    | the first one that the options ask for
 * TLS_HANDSHAKE  | the handshake is complete          | AUTHENTICATING or READY
 * AUTHENTICATING | the server replies ok to `auth`    | READY
 * before READY   | deadline                           | BROKEN
 * all            | error, invalid reply, end of input | BROKEN
 *
 * In BROKEN nothing is sent or read. Replies that were read before can still be received.
 */
enum stage {
    STAGE_CONNECTING,
    STAGE_TLS_HANDSHAKE,
    STAGE_AUTHENTICATING,
    STAGE_READY,
    STAGE_BROKEN
};

/* The commands of pending requests, first in first out: a ring buffer. */
struct pending {
    uint8_t *commands;
    uint32_t first;
    uint32_t count;
    uint32_t capacity; /* a power of two */
};

/* What it takes to connect again without the probe, until its reply. */
struct introduction {
    struct address address;
    uint32_t connect_timeout_ms;
    struct buffer auth; /* the request; empty: there is none */
};

struct dflockd_connection {
    enum stage stage;
    enum dflockd_status failure; /* in STAGE_BROKEN */
    int descriptor;              /* of the connector while there is one; -1: none */
    pid_t process;               /* that opened it */
    bool write_closed;           /* the peer accepts no more bytes; it may have sent a reason */
    bool read_closed;            /* the peer has ended TLS */
    bool auth_pending;           /* the first pending request is `auth` */
    uint32_t introductions;      /* the next pending requests: the probe, then `name` */
    bool name_refused;           /* by `error`, and no reply has followed */
    bool blames_probe;           /* for the end of the first connection; no reply has followed */
    struct introduction *introduction; /* NULL: no probe is pending */
    size_t name_length;          /* bytes of the request, if it waits for the reply to the probe */
    struct connector *connector; /* in STAGE_CONNECTING, else NULL */
    uint64_t deadline_ns;        /* of all stages before STAGE_READY */
    struct tls *tls;             /* NULL: none */
    char *server_name;           /* borrowed by `tls` */
    struct pending pending;
    struct buffer requests;
    size_t sendable; /* bytes at the front of `requests` that do not wait for the probe */
    struct buffer encrypted;
    struct buffer input;
    size_t scanned;                   /* bytes at the front of the input without a newline */
    size_t taken;                     /* bytes at the front of the input that the caller received */
    dflockd_text_function *take_text; /* NULL: the input stores texts */
    void *take_context;
    bool passing;                  /* `take_text` has received the beginning of a text */
    size_t passed;                 /* bytes of it */
    struct extensions *extensions; /* of the server: the client's, or `own_extensions` */
    struct extensions own_extensions;
    char text[ADDRESS_TEXT_MAX]; /* the server's address */
    char problem[DFLOCKD_PROBLEM_MAX];
};

/* ---- pending requests ---- */

/* Returns false if out of memory. */
static bool pending_push(struct pending *pending, enum dflockd_command command)
{
    if (pending->count == pending->capacity) {
        uint32_t capacity = pending->capacity ? pending->capacity * 2 : PENDING_MIN;
        uint8_t *commands = malloc(capacity);

        if (!commands)
            return false;
        for (uint32_t i = 0; i < pending->count; i++)
            commands[i] = pending->commands[(pending->first + i) & (pending->capacity - 1)];
        free(pending->commands);
        pending->commands = commands;
        pending->first = 0;
        pending->capacity = capacity;
    }
    pending->commands[(pending->first + pending->count++) & (pending->capacity - 1)] =
        (uint8_t)command;
    return true;
}

static enum dflockd_command pending_first(const struct pending *pending)
{
    return pending->commands[pending->first];
}

/* Room is left by a command that was dropped. */
static void pending_push_first(struct pending *pending, enum dflockd_command command)
{
    pending->first = (pending->first - 1) & (pending->capacity - 1);
    pending->commands[pending->first] = (uint8_t)command;
    pending->count++;
}

/* Returns whether the next reply may be a text of any length. */
static bool pending_is_text(const struct pending *pending)
{
    return pending->count > 0 &&
           (pending_first(pending) == DFLOCKD_STATS || pending_first(pending) == DFLOCKD_SHOW);
}

static void pending_drop_first(struct pending *pending)
{
    pending->first = (pending->first + 1) & (pending->capacity - 1);
    pending->count--;
}

/* ---- failures ---- */

static void connection_forget_introduction(struct dflockd_connection *connection)
{
    if (connection->introduction)
        buffer_free(&connection->introduction->auth);
    free(connection->introduction);
    connection->introduction = NULL;
}

/* A child of fork(2) has a copy of the descriptor, so close(2) would not tell the peer. */
static void connection_end_socket(const struct dflockd_connection *connection, int descriptor)
{
    if (getpid() == connection->process)
        shutdown(descriptor, SHUT_RDWR);
    close(descriptor);
}

static void connection_close_descriptor(struct dflockd_connection *connection)
{
    if (connection->connector)
        connector_free(connection->connector);
    else if (connection->descriptor >= 0)
        connection_end_socket(connection, connection->descriptor);
    connection_forget_introduction(connection);
    connection->connector = NULL;
    connection->descriptor = -1;
    buffer_free(&connection->requests);
    buffer_free(&connection->encrypted);
}

/* The end of the connection may be the reply to a command that the server does not know. */
static void connection_note_end(struct dflockd_connection *connection)
{
    if (connection->name_refused)
        connection->extensions->survives = KNOWLEDGE_NO;
    else if (connection->pending.count > 0)
        extensions_disconnected(connection->extensions, pending_first(&connection->pending));
}

/* Returns whether the server may have closed the connection because it does not know the probe. */
static bool connection_may_restart(const struct dflockd_connection *connection)
{
    return connection->stage == STAGE_BROKEN && connection->introduction &&
           connection->failure == DFLOCKD_STATUS_DISCONNECTED && !connection->auth_pending;
}

/* Keeps the first reason. Returns the status of the broken connection. */
__attribute__((format(printf, 3, 4))) static enum dflockd_status
connection_break(struct dflockd_connection *connection, enum dflockd_status failure,
                 const char *format, ...)
{
    char reason[TLS_PROBLEM_MAX];
    va_list arguments;

    if (connection->stage == STAGE_BROKEN)
        return connection->failure;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    /* Texts of GnuTLS end with a full stop. */
    if (reason[0] && reason[strlen(reason) - 1] == '.')
        reason[strlen(reason) - 1] = '\0';
    /* The reason may contain bytes of the server, and a program may print it on a terminal. */
    for (char *at = reason; *at; at++) {
        if (*at < ' ' || *at > '~')
            *at = '?';
    }
    snprintf(connection->problem, sizeof(connection->problem), "%.100s: %.*s", connection->text,
             TLS_PROBLEM_MAX, reason);
    if (connection->blames_probe)
        connection->extensions->survives = KNOWLEDGE_NONE; /* it was not the probe */
    else if (failure == DFLOCKD_STATUS_DISCONNECTED)
        connection_note_end(connection);
    /* A connection that was never READY was never connected. */
    if (failure == DFLOCKD_STATUS_DISCONNECTED && connection->stage != STAGE_READY)
        failure = DFLOCKD_STATUS_UNREACHABLE;
    connection->stage = STAGE_BROKEN;
    connection->failure = failure;
    if (!connection_may_restart(connection))
        connection_close_descriptor(connection);
    return failure;
}

static enum dflockd_status connection_break_no_memory(struct dflockd_connection *connection)
{
    return connection_break(connection, DFLOCKD_STATUS_NO_MEMORY, "out of memory");
}

/* Returns the time `milliseconds` from now; UINT64_MAX instead of an overflow. */
static uint64_t connection_deadline(uint64_t milliseconds)
{
    uint64_t now_ns = clock_monotonic_ns();

    if (milliseconds > (UINT64_MAX - now_ns) / NS_PER_MS)
        return UINT64_MAX;
    return now_ns + milliseconds * NS_PER_MS;
}

/* Returns AGAIN, or UNREACHABLE if the connection is not READY at its deadline. */
static enum dflockd_status connection_check_deadline(struct dflockd_connection *connection)
{
    if (connection->stage == STAGE_BROKEN)
        return connection->failure;
    if (connection->stage == STAGE_READY || clock_monotonic_ns() < connection->deadline_ns)
        return DFLOCKD_STATUS_AGAIN;
    return connection_break(connection, DFLOCKD_STATUS_UNREACHABLE, "%s: timed out",
                            connection->stage == STAGE_TLS_HANDSHAKE ? "TLS handshake"
                                                                     : "authentication");
}

/* ---- sending ---- */

/* A tls_sender. */
static bool connection_add_encrypted(void *receiver, const uint8_t *bytes, size_t length)
{
    struct dflockd_connection *connection = receiver;

    return buffer_add(&connection->encrypted, bytes, length);
}

/* Returns the bytes of the requests that can be sent now. */
static size_t connection_sendable(const struct dflockd_connection *connection)
{
    size_t length = buffer_length(&connection->requests);

    return length < connection->sendable ? length : connection->sendable;
}

static void connection_drop_sent(struct dflockd_connection *connection, size_t length)
{
    buffer_drop(&connection->requests, length);
    if (connection->sendable != SIZE_MAX)
        connection->sendable -= length;
}

static bool connection_can_encrypt(const struct dflockd_connection *connection)
{
    return connection->tls && tls_ready(connection->tls) && connection_sendable(connection) > 0;
}

/* Returns the bytes that wait for the socket. */
static size_t connection_output(const struct dflockd_connection *connection)
{
    return connection->tls ? buffer_length(&connection->encrypted)
                           : connection_sendable(connection);
}

static enum dflockd_status connection_flush(struct dflockd_connection *connection)
{
    struct buffer *requests = &connection->requests;
    struct buffer *output = connection->tls ? &connection->encrypted : requests;

    if (connection_can_encrypt(connection)) {
        size_t length = connection_sendable(connection);

        if (!tls_write(connection->tls, buffer_first(requests), length))
            return connection_break_no_memory(connection);
        connection_drop_sent(connection, length);
    }
    while (connection_output(connection) > 0 && !connection->write_closed) {
        ssize_t sent = send(connection->descriptor, buffer_first(output),
                            connection_output(connection), MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent >= 0 && output == requests)
            connection_drop_sent(connection, (size_t)sent);
        else if (sent >= 0)
            buffer_drop(output, (size_t)sent);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            connection->write_closed = true; /* connection_read reports the reason */
    }
    /* Requests that wait for the reply to the probe stay, see connection_restart. */
    if (connection->write_closed && output == requests)
        connection_drop_sent(connection, connection_sendable(connection));
    else if (connection->write_closed)
        buffer_drop(output, buffer_length(output));
    return DFLOCKD_STATUS_DONE;
}

/* ---- reading ---- */

/* Enters the stage after CONNECTING or TLS_HANDSHAKE. */
static void connection_begin_auth(struct dflockd_connection *connection)
{
    connection->stage = connection->auth_pending ? STAGE_AUTHENTICATING : STAGE_READY;
}

/* Decrypts received bytes to the input, and continues the handshake. */
static enum dflockd_status connection_decrypt(struct dflockd_connection *connection,
                                              const uint8_t *bytes, size_t length)
{
    enum tls_result result;

    tls_give(connection->tls, bytes, length);
    do {
        uint8_t *to = buffer_room(&connection->input, READ_BYTES);
        size_t count = 0;

        if (!to)
            return connection_break_no_memory(connection);
        result = tls_read(connection->tls, to, READ_BYTES, &count);
        if (result == TLS_BYTES)
            buffer_added(&connection->input, count);
    } while (result == TLS_BYTES);
    if (connection->stage == STAGE_TLS_HANDSHAKE && tls_ready(connection->tls))
        connection_begin_auth(connection);
    if (result == TLS_BROKEN) {
        if (tls_short_of_memory(connection->tls))
            return connection_break_no_memory(connection);
        connection_flush(connection); /* sends the alert */
        return connection_break(connection, DFLOCKD_STATUS_UNTRUSTED, "TLS: %s",
                                tls_problem(connection->tls));
    }
    connection->read_closed = result == TLS_ENDED;
    return connection_flush(connection);
}

/* Reads once. Returns DONE, AGAIN, or why the connection is broken. */
static enum dflockd_status connection_read(struct dflockd_connection *connection)
{
    uint8_t encrypted[TLS_RECORD_MAX];
    uint8_t *to = encrypted;
    size_t room = sizeof(encrypted);
    ssize_t length;

    if (!connection->tls) {
        room = READ_BYTES;
        to = buffer_room(&connection->input, room);
        if (!to)
            return connection_break_no_memory(connection);
    }
    do
        length = connection->read_closed ? 0 : recv(connection->descriptor, to, room, MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    if (length < 0 && errno == EAGAIN)
        return DFLOCKD_STATUS_AGAIN;
    if (length < 0)
        return connection_break(connection, DFLOCKD_STATUS_DISCONNECTED, "%s", strerror(errno));
    if (length == 0)
        return connection_break(connection, DFLOCKD_STATUS_DISCONNECTED,
                                "the server closed the connection");
    if (connection->tls)
        return connection_decrypt(connection, to, (size_t)length);
    buffer_added(&connection->input, (size_t)length);
    return DFLOCKD_STATUS_DONE;
}

/* ---- connecting ---- */

static void connection_enable_keepalive(int descriptor)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS},
    };

    /* These fail for a Unix socket, which does not need them. */
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        setsockopt(descriptor, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

/* Returns DONE once the socket is connected, AGAIN, or why the connection is broken. */
static enum dflockd_status connection_connect(struct dflockd_connection *connection)
{
    struct connector *connector = connection->connector;
    enum dflockd_status status = connector_step(connector);

    connection->descriptor = connector_descriptor(connector);
    if (status == DFLOCKD_STATUS_AGAIN)
        return status;
    if (status != DFLOCKD_STATUS_DONE)
        return connection_break(connection, status, "%s", connector_problem(connector));
    connection->descriptor = connector_take_socket(connector);
    connection->connector = NULL;
    connector_free(connector);
    connection_enable_keepalive(connection->descriptor);
    if (connection->tls) {
        connection->stage = STAGE_TLS_HANDSHAKE;
        return connection_decrypt(connection, NULL, 0);
    }
    connection_begin_auth(connection);
    return DFLOCKD_STATUS_DONE;
}

static bool connection_init_tls(struct dflockd_connection *connection,
                                const struct servers *servers, const struct address *address)
{
    const char *name = servers->tls_server_name;

    connection->server_name = strdup(name ? name : address_tls_name(address));
    if (!connection->server_name)
        return false;
    connection->tls =
        tls_call(servers->tls, connection->server_name, connection_add_encrypted, connection);
    return connection->tls != NULL;
}

static void connection_drop_input(struct dflockd_connection *connection)
{
    buffer_free(&connection->input);
    connection->scanned = 0;
    connection->taken = 0;
}

/* Returns false if out of memory. */
static bool connection_keep_introduction(struct dflockd_connection *connection,
                                         const struct servers *servers,
                                         const struct address *address)
{
    const struct buffer *requests = &connection->requests;
    struct introduction *introduction = calloc(1, sizeof(*introduction));

    connection->introduction = introduction;
    if (!introduction)
        return false;
    introduction->address = *address;
    introduction->connect_timeout_ms = servers->connect_timeout_ms;
    return buffer_add(&introduction->auth, buffer_first(requests), buffer_length(requests));
}

/*
 * Connects again without probe and `name`: the server replied `error` to the probe, or closed the
 * connection, or both. Nothing else was sent. The old socket is closed last, so that the new one
 * has another number. Returns DONE, AGAIN, or why the connection is broken.
 */
static enum dflockd_status connection_restart(struct dflockd_connection *connection)
{
    struct introduction *introduction = connection->introduction;
    struct buffer unsent = connection->requests;
    struct tls *tls = connection->tls;
    int descriptor = connection->descriptor;
    enum dflockd_status status;

    connection->introduction = NULL;
    connection->descriptor = -1;
    connection->stage = STAGE_CONNECTING;
    connection->extensions->survives = KNOWLEDGE_NO;
    if (connection->sendable != SIZE_MAX)
        buffer_drop(&unsent, connection->sendable + connection->name_length);
    for (; connection->introductions > 0; connection->introductions--)
        pending_drop_first(&connection->pending);
    connection->requests = introduction->auth;
    connection->auth_pending = buffer_length(&connection->requests) > 0;
    if (connection->auth_pending)
        pending_push_first(&connection->pending, DFLOCKD_AUTH);
    connection->sendable = SIZE_MAX;
    connection->write_closed = false;
    connection->read_closed = false;
    buffer_free(&connection->encrypted);
    connection_drop_input(connection);
    connection->deadline_ns = connection_deadline(introduction->connect_timeout_ms);
    connection->connector = connector_new(&introduction->address, connection->deadline_ns);
    if (tls) {
        connection->tls = tls_call(tls_context_of(tls), connection->server_name,
                                   connection_add_encrypted, connection);
        tls_free(tls);
    }
    if (connection->connector && !tls == !connection->tls &&
        buffer_add(&connection->requests, buffer_first(&unsent), buffer_length(&unsent)))
        status = connection_connect(connection);
    else
        status = connection_break_no_memory(connection);
    buffer_free(&unsent);
    free(introduction);
    connection_end_socket(connection, descriptor);
    return status;
}

/*
 * Requests the probe if the answer is not known, and then `name` if there is one. All after the
 * probe waits for its reply, so that the server drops none of it. Returns false if out of memory.
 */
static bool connection_introduce(struct dflockd_connection *connection,
                                 const struct servers *servers, const struct address *address,
                                 bool probe)
{
    const struct extensions *extensions = connection->extensions;
    const struct dflockd_request name = {.command = DFLOCKD_NAME, .text = servers->name};
    const struct dflockd_request first = extensions_probe();
    enum knowledge survives = extensions->survives;
    bool names = servers->name && survives != KNOWLEDGE_NO && extensions->name != KNOWLEDGE_NO;

    if (survives == KNOWLEDGE_NONE && (names || probe)) {
        if (!connection_keep_introduction(connection, servers, address) ||
            dflockd_connection_send(connection, &first) != DFLOCKD_STATUS_DONE)
            return false;
        connection->sendable = buffer_length(&connection->requests);
        connection->introductions++;
    }
    if (names) {
        size_t before = buffer_length(&connection->requests);

        if (dflockd_connection_send(connection, &name) != DFLOCKD_STATUS_DONE)
            return false;
        connection->name_length = buffer_length(&connection->requests) - before;
        connection->introductions++;
    }
    return true;
}

/* Returns DONE, or why the connection is broken. */
static enum dflockd_status connection_start(struct dflockd_connection *connection,
                                            const struct servers *servers,
                                            const struct address *address, bool probe)
{
    const struct dflockd_request auth = {.command = DFLOCKD_AUTH, .token = servers->auth_token};
    enum dflockd_status status;

    connection->deadline_ns = connection_deadline(servers->connect_timeout_ms);
    connection->connector = connector_new(address, connection->deadline_ns);
    if (!connection->connector)
        return connection_break_no_memory(connection);
    if (servers->tls && !connection_init_tls(connection, servers, address))
        return connection_break_no_memory(connection);
    if (servers->auth_token) {
        status = dflockd_connection_send(connection, &auth);
        if (status != DFLOCKD_STATUS_DONE)
            return connection_break_no_memory(connection);
        connection->auth_pending = true;
    }
    if (!connection_introduce(connection, servers, address, probe))
        return connection_break_no_memory(connection);
    status = connection_connect(connection);
    return status == DFLOCKD_STATUS_AGAIN ? DFLOCKD_STATUS_DONE : status;
}

enum dflockd_status connection_open(struct dflockd_connection **connection,
                                    const struct servers *servers, size_t server, bool probe,
                                    char *problem)
{
    struct dflockd_connection *made = calloc(1, sizeof(*made));
    enum dflockd_status status;

    *connection = NULL;
    if (!made)
        return DFLOCKD_STATUS_NO_MEMORY;
    made->descriptor = -1;
    made->process = getpid();
    made->sendable = SIZE_MAX;
    made->extensions = servers->extensions ? &servers->extensions[server] : &made->own_extensions;
    snprintf(made->text, sizeof(made->text), "%s", servers->addresses[server].text);
    status = connection_start(made, servers, &servers->addresses[server], probe);
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
    struct dflockd_options known;
    struct servers servers;
    enum dflockd_status status;

    *connection = NULL;
    if (!options_copy(&known, options))
        return DFLOCKD_STATUS_INVALID;
    status = servers_init(&servers, &known);
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    status = DFLOCKD_STATUS_INVALID;
    if (server < servers.count)
        status = connection_open(connection, &servers, server, false, known.problem);
    servers_free(&servers);
    return status;
}

void dflockd_connection_close(struct dflockd_connection *connection)
{
    if (!connection)
        return;
    if (connection->tls && connection->stage != STAGE_CONNECTING &&
        connection->stage != STAGE_BROKEN) {
        tls_end(connection->tls);
        connection_flush(connection);
    }
    connection_close_descriptor(connection);
    tls_free(connection->tls);
    free(connection->server_name);
    free(connection->pending.commands);
    buffer_free(&connection->input);
    free(connection);
}

/* ---- for the event loop ---- */

int dflockd_connection_descriptor(const struct dflockd_connection *connection)
{
    return connection->descriptor;
}

short dflockd_connection_events(const struct dflockd_connection *connection)
{
    bool has_output = connection_can_encrypt(connection) || connection_output(connection) > 0;

    if (connection->stage == STAGE_BROKEN)
        return 0;
    if (connection->stage == STAGE_CONNECTING)
        return connector_events(connection->connector);
    return has_output && !connection->write_closed ? POLLIN | POLLOUT : POLLIN;
}

static int connection_poll_timeout(uint64_t milliseconds)
{
    return milliseconds < INT_MAX ? (int)milliseconds : INT_MAX;
}

int dflockd_connection_timeout(const struct dflockd_connection *connection)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t due_ns = connection->deadline_ns;

    if (connection->stage == STAGE_READY || connection->stage == STAGE_BROKEN)
        return -1;
    if (connection->stage == STAGE_CONNECTING)
        due_ns = connector_due_ns(connection->connector);
    if (now_ns >= due_ns)
        return 0;
    /* Rounded up, so that the deadline has passed when poll(2) returns. */
    return connection_poll_timeout((due_ns - now_ns) / NS_PER_MS + 1);
}

const char *dflockd_connection_problem(const struct dflockd_connection *connection)
{
    return connection->problem;
}

/* ---- requests ---- */

enum dflockd_status dflockd_connection_send(struct dflockd_connection *connection,
                                            const struct dflockd_request *request)
{
    struct buffer *requests = &connection->requests;
    uint8_t *to;

    if (!codec_request_is_valid(request))
        return DFLOCKD_STATUS_INVALID;
    if (connection->stage == STAGE_BROKEN)
        return connection->failure;
    if (connection->pending.count == PENDING_MAX || buffer_length(requests) >= REQUESTS_BYTES_MAX)
        return DFLOCKD_STATUS_AGAIN;
    to = buffer_room(requests, codec_request_size_max(request));
    if (!to || !pending_push(&connection->pending, request->command))
        return DFLOCKD_STATUS_NO_MEMORY;
    buffer_added(requests, codec_encode_request(to, request));
    return DFLOCKD_STATUS_DONE;
}

/* ---- replies ---- */

/*
 * Takes the next line, with a 0 in place of its newline. Returns DONE, AGAIN if the input holds no
 * whole line, or STRANGE_ANSWER if the line is too long.
 */
static enum dflockd_status connection_take_line(struct dflockd_connection *connection, char **line,
                                                size_t *length)
{
    struct buffer *input = &connection->input;
    struct pending *pending = &connection->pending;
    size_t length_max = pending_is_text(pending) ? TEXT_MAX : DFLOCKD_ANSWER_MAX;
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
    if ((end ? *length : connection->scanned) > length_max)
        return connection_break(connection, DFLOCKD_STATUS_STRANGE_ANSWER, "a reply is too long");
    return end ? DFLOCKD_STATUS_DONE : DFLOCKD_STATUS_AGAIN;
}

void dflockd_connection_stream_text(struct dflockd_connection *connection,
                                    dflockd_text_function *take, void *context)
{
    connection->take_text = take;
    connection->take_context = context;
}

/* Returns whether the input starts with a text to pass on. */
static bool connection_has_text(const struct dflockd_connection *connection)
{
    static const char start[] = "ok ";
    const uint8_t *first = buffer_first(&connection->input) + connection->taken;
    size_t length = buffer_length(&connection->input) - connection->taken;

    return connection->take_text && pending_is_text(&connection->pending) &&
           length >= sizeof(start) && memcmp(first, start, sizeof(start) - 1) == 0 &&
           first[sizeof(start) - 1] != '\n';
}

/* Passes on what has arrived of a text. Returns true and sets `*reply` at its end. */
static bool connection_pass_text(struct dflockd_connection *connection, struct dflockd_reply *reply)
{
    struct buffer *input = &connection->input;
    const uint8_t *end;
    size_t length;

    if (!connection->passing) {
        if (!connection_has_text(connection))
            return false;
        buffer_drop(input, connection->taken + strlen("ok "));
        connection->taken = 0;
        connection->scanned = 0;
        connection->passing = true;
        connection->passed = 0;
    }
    length = buffer_length(input);
    if (length == 0)
        return false;
    end = memchr(buffer_first(input), '\n', length);
    if (end)
        length = (size_t)(end - buffer_first(input));
    if (length > 0)
        connection->take_text(connection->take_context, (const char *)buffer_first(input), length);
    connection->passed += length;
    buffer_drop(input, length + (end != NULL));
    if (!end)
        return false;
    connection->passing = false;
    pending_drop_first(&connection->pending);
    *reply = (struct dflockd_reply){.outcome = DFLOCKD_OK, .text_length = connection->passed};
    return true;
}

/* A server that closes an idle connection sends the reason first. */
static enum dflockd_status connection_break_unrequested(struct dflockd_connection *connection,
                                                        const char *line, size_t length)
{
    enum dflockd_outcome outcome = codec_parse_outcome(line, length);

    if (outcome == DFLOCKD_ERROR || outcome == DFLOCKD_ERROR_AUTH ||
        outcome == DFLOCKD_ERROR_DRAINING)
        return connection_break(connection, DFLOCKD_STATUS_DISCONNECTED,
                                "the server closed the connection with '%s'", line);
    return connection_break(connection, DFLOCKD_STATUS_STRANGE_ANSWER,
                            "reply without a request: '%.60s'", line);
}

/* Processes the reply to `auth`. Returns DONE, or why the connection is broken. */
static enum dflockd_status connection_finish_auth(struct dflockd_connection *connection,
                                                  enum dflockd_status status)
{
    if (status == DFLOCKD_STATUS_DRAINING)
        return connection_break(connection, DFLOCKD_STATUS_UNREACHABLE, "%s",
                                dflockd_status_text(status));
    if (status != DFLOCKD_STATUS_DONE)
        return connection_break(connection, DFLOCKD_STATUS_REFUSED,
                                "the server does not use a secret");
    connection->auth_pending = false;
    connection->stage = STAGE_READY;
    return DFLOCKD_STATUS_DONE;
}

/* Processes the reply to the probe. Returns DONE, or why the connection is broken. */
static enum dflockd_status connection_finish_probe(struct dflockd_connection *connection,
                                                   const struct dflockd_reply *reply)
{
    extensions_take_probe(connection->extensions, reply);
    if (reply->status == DFLOCKD_STATUS_DRAINING)
        return connection_break(connection, DFLOCKD_STATUS_UNREACHABLE, "%s",
                                dflockd_status_text(reply->status));
    if (connection->sendable > 0)
        return connection_break(connection, DFLOCKD_STATUS_STRANGE_ANSWER,
                                "reply before the request");
    if (connection->extensions->survives != KNOWLEDGE_YES)
        return connection_restart(connection);
    connection->sendable = SIZE_MAX;
    connection_forget_introduction(connection);
    return DFLOCKD_STATUS_DONE;
}

/* Processes the reply to the probe or to `name`. Returns as connection_finish_probe. */
static enum dflockd_status connection_finish_introduction(struct dflockd_connection *connection,
                                                          enum dflockd_command command,
                                                          const struct dflockd_reply *reply)
{
    connection->introductions--;
    if (command != DFLOCKD_NAME)
        return connection_finish_probe(connection, reply);
    extensions_take_name(connection->extensions, reply);
    connection->name_refused = reply->status == DFLOCKD_STATUS_UNSUPPORTED;
    return DFLOCKD_STATUS_DONE;
}

/* Parses a line. Returns DONE, AGAIN after a reply to a request of the connection itself, or why
 * the connection is broken. */
static enum dflockd_status connection_parse_reply(struct dflockd_connection *connection,
                                                  struct dflockd_reply *reply, const char *line,
                                                  size_t length)
{
    enum dflockd_command command;
    enum dflockd_status status;

    if (connection->pending.count == 0)
        return connection_break_unrequested(connection, line, length);
    command = pending_first(&connection->pending);
    pending_drop_first(&connection->pending);
    if (!codec_parse_reply(reply, command, line, length))
        return connection_break(connection, DFLOCKD_STATUS_STRANGE_ANSWER,
                                "invalid reply to the request: '%.60s'", line);
    if (reply->status == DFLOCKD_STATUS_REFUSED)
        return connection_break(connection, reply->status, "%s",
                                connection->auth_pending ? dflockd_status_text(reply->status)
                                                         : "the server requires a secret");
    connection->blames_probe = false;
    if (connection->auth_pending) {
        status = connection_finish_auth(connection, reply->status);
    } else if (connection->introductions > 0) {
        status = connection_finish_introduction(connection, command, reply);
    } else {
        connection->name_refused = false;
        return DFLOCKD_STATUS_DONE;
    }
    return status == DFLOCKD_STATUS_DONE ? DFLOCKD_STATUS_AGAIN : status;
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
            status = connection_connect(connection);
            if (status != DFLOCKD_STATUS_DONE)
                return status;
        }
        if (connection->stage != STAGE_BROKEN)
            connection_flush(connection);
        if (connection_pass_text(connection, reply))
            return DFLOCKD_STATUS_DONE;
        status = connection_take_line(connection, &line, &length);
        if (status == DFLOCKD_STATUS_DONE) {
            status = connection_parse_reply(connection, reply, line, length);
            if (status == DFLOCKD_STATUS_AGAIN)
                continue;
            if (status != DFLOCKD_STATUS_DONE)
                connection_drop_input(connection);
            return status;
        }
        if (connection_may_restart(connection)) {
            connection->blames_probe = true;
            status = connection_restart(connection);
            if (status != DFLOCKD_STATUS_DONE)
                return status;
            continue;
        }
        if (connection->stage == STAGE_BROKEN)
            return connection->failure;
        if (connection_read(connection) == DFLOCKD_STATUS_AGAIN)
            return connection_check_deadline(connection);
    }
}

/* ---- waiting ---- */

/* Returns the timeout for poll(2): until the deadline or the timeout of the connection. */
static int connection_await_timeout(const struct dflockd_connection *connection, uint64_t now_ns,
                                    uint64_t deadline_ns)
{
    int timeout = dflockd_connection_timeout(connection);
    uint64_t left_ms = (deadline_ns - now_ns) / NS_PER_MS + 1;

    if (deadline_ns == UINT64_MAX || (timeout >= 0 && (uint64_t)timeout < left_ms))
        return timeout;
    return connection_poll_timeout(left_ms);
}

/* Waits for a reply. Returns as dflockd_connection_receive, or AGAIN at the deadline. */
static enum dflockd_status connection_await(struct dflockd_connection *connection,
                                            struct dflockd_reply *reply, uint64_t deadline_ns)
{
    for (;;) {
        enum dflockd_status status = dflockd_connection_receive(connection, reply);
        struct pollfd watched = {
            .fd = connection->descriptor,
            .events = dflockd_connection_events(connection),
        };
        uint64_t now_ns = clock_monotonic_ns();

        if (status != DFLOCKD_STATUS_AGAIN || now_ns >= deadline_ns)
            return status;
        poll(&watched, 1, connection_await_timeout(connection, now_ns, deadline_ns));
    }
}

enum dflockd_status dflockd_connection_ask(struct dflockd_connection *connection,
                                           const struct dflockd_request *request,
                                           struct dflockd_reply *reply, int64_t timeout_ms)
{
    uint64_t deadline_ns = UINT64_MAX;
    enum dflockd_status status;

    *reply = (struct dflockd_reply){0};
    if (connection->pending.count > connection->introductions + connection->auth_pending)
        return DFLOCKD_STATUS_INVALID;
    if (timeout_ms >= 0)
        deadline_ns = connection_deadline((uint64_t)timeout_ms);
    status = dflockd_connection_send(connection, request);
    if (status != DFLOCKD_STATUS_DONE)
        return status;
    return connection_await(connection, reply, deadline_ns);
}
