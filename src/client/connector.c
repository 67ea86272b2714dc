#include "client/connector.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/time_units.h"
#include "client/lookup.h"
#include "os/clock.h"

/*
 * state           | event                                  | next state
 * ----------------+----------------------------------------+----------------------------------
 * STARTING        | the host is a path or a number         | CONNECTING
 * STARTING        | the host is a name                     | LOOKING_UP
 * LOOKING_UP      | the name has socket addresses          | CONNECTING
 * LOOKING_UP      | the name has none; deadline            | FAILED
 * CONNECTING      | the socket is connected                | CONNECTED
 * CONNECTING      | error; deadline of the socket address  | CONNECTING to the next, or FAILED
 * STARTING        | LOOKUP_THREADS_MAX threads are running | LOOKUP_DELAYED
 * LOOKUP_DELAYED  | end of the delay                       | LOOKING_UP, or LOOKUP_DELAYED again
 * LOOKUP_DELAYED  | deadline                               | FAILED
 * CONNECTING      | the backlog of a Unix socket is full   | CONNECT_DELAYED
 * CONNECT_DELAYED | end of the delay                       | CONNECTING, or CONNECT_DELAYED again
 * CONNECT_DELAYED | deadline                               | FAILED
 */
enum connector_state {
    CONNECTOR_STARTING,
    CONNECTOR_LOOKUP_DELAYED,
    CONNECTOR_LOOKING_UP,
    CONNECTOR_CONNECT_DELAYED,
    CONNECTOR_CONNECTING,
    CONNECTOR_CONNECTED,
    CONNECTOR_FAILED
};

enum {
    DELAY_MIN_MS = 10, /* doubled with each delay */
    DELAY_MAX_MS = 100
};

struct connector {
    enum connector_state state;
    enum dflockd_status failure; /* in CONNECTOR_FAILED */
    int descriptor;              /* the eventfd, the timerfd or the socket; -1: none */
    int retired;                 /* closed at the end of the step; -1: none */
    struct lookup *lookup;       /* in CONNECTOR_LOOKING_UP, else NULL */
    uint64_t deadline_ns;
    uint64_t choice_deadline_ns; /* of the current socket address */
    uint64_t retry_ns;           /* end of the delay */
    uint64_t delay_ms;
    uint32_t choice; /* index of the current socket address */
    struct address_choices choices;
    struct address address;
    char problem[CONNECTOR_PROBLEM_MAX];
};

struct connector *connector_new(const struct address *address, uint64_t deadline_ns)
{
    struct connector *connector = calloc(1, sizeof(*connector));

    if (!connector)
        return NULL;
    connector->descriptor = -1;
    connector->retired = -1;
    connector->deadline_ns = deadline_ns;
    connector->address = *address;
    return connector;
}

/* ---- the descriptor ---- */

static void connector_close(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

/*
 * The caller's event loop may still watch the descriptor of the last step. That one stays open
 * until the end of this step, so that a new descriptor has another number.
 */
static void connector_replace_descriptor(struct connector *connector, int made)
{
    if (connector->retired < 0)
        connector->retired = connector->descriptor;
    else
        connector_close(&connector->descriptor);
    connector->descriptor = made;
}

/* Call it before closing the descriptor: the thread of the look-up writes to it. */
static void connector_end_lookup(struct connector *connector)
{
    lookup_free(connector->lookup);
    connector->lookup = NULL;
}

void connector_free(struct connector *connector)
{
    if (!connector)
        return;
    connector_end_lookup(connector);
    connector_close(&connector->descriptor);
    connector_close(&connector->retired);
    free(connector);
}

/* ---- failures ---- */

static enum dflockd_status connector_fail(struct connector *connector, enum dflockd_status failure,
                                          const char *reason)
{
    connector_end_lookup(connector);
    connector_close(&connector->descriptor);
    connector->state = CONNECTOR_FAILED;
    connector->failure = failure;
    snprintf(connector->problem, sizeof(connector->problem), "%s", reason);
    return failure;
}

static enum dflockd_status connector_fail_with(struct connector *connector, int error)
{
    bool is_exhausted = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;

    return connector_fail(connector,
                          is_exhausted ? DFLOCKD_STATUS_NO_MEMORY : DFLOCKD_STATUS_UNREACHABLE,
                          strerror(error));
}

static enum dflockd_status connector_fail_lookup(struct connector *connector,
                                                 enum dflockd_status failure, const char *reason)
{
    char text[CONNECTOR_PROBLEM_MAX];

    snprintf(text, sizeof(text), "cannot resolve the host: %s", reason);
    return connector_fail(connector, failure, text);
}

/* ---- delays ---- */

/* Enters the state `delayed`, in which a timerfd is readable at the end of the delay. */
static enum dflockd_status connector_delay(struct connector *connector,
                                           enum connector_state delayed)
{
    struct itimerspec timer = {0};
    uint64_t delay_ns;

    if (connector->state != delayed) {
        int made = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

        if (made < 0)
            return connector_fail_with(connector, errno);
        connector_replace_descriptor(connector, made);
        connector->delay_ms = DELAY_MIN_MS;
        connector->state = delayed;
    }
    delay_ns = connector->delay_ms * NS_PER_MS;
    connector->retry_ns = clock_monotonic_ns() + delay_ns;
    timer.it_value.tv_sec = (time_t)(delay_ns / NS_PER_S);
    timer.it_value.tv_nsec = (long)(delay_ns % NS_PER_S);
    /* This also makes the descriptor not readable. */
    timerfd_settime(connector->descriptor, 0, &timer, NULL);
    connector->delay_ms *= 2;
    if (connector->delay_ms > DELAY_MAX_MS)
        connector->delay_ms = DELAY_MAX_MS;
    return DFLOCKD_STATUS_AGAIN;
}

static bool connector_is_delayed(const struct connector *connector)
{
    return connector->state == CONNECTOR_LOOKUP_DELAYED ||
           connector->state == CONNECTOR_CONNECT_DELAYED;
}

/* ---- connecting ---- */

/* The remaining socket addresses share the rest of the time equally. */
static void connector_set_choice_deadline(struct connector *connector)
{
    uint64_t now_ns = clock_monotonic_ns();
    uint32_t remaining = connector->choices.count - connector->choice;

    connector->choice_deadline_ns = connector->deadline_ns;
    if (connector->deadline_ns > now_ns)
        connector->choice_deadline_ns = now_ns + (connector->deadline_ns - now_ns) / remaining;
}

/* Returns 0 if the socket connects or is connected, else errno and changes nothing. */
static int connector_try_choice(struct connector *connector)
{
    const struct address_choice *choice = &connector->choices.at[connector->choice];
    int made = socket(choice->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    int error = 0;

    if (made < 0)
        return errno;
    if (choice->socket.ss_family != AF_UNIX)
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(made, (const struct sockaddr *)&choice->socket, choice->length) != 0)
        error = errno;
    if (error && error != EINPROGRESS && error != EINTR) {
        close(made);
        return error;
    }
    connector_replace_descriptor(connector, made);
    return 0;
}

/*
 * Tries the current socket address and those after it. If the backlog of a listener is full, TCP
 * sends its SYN again later. A Unix socket returns EAGAIN, so the connector tries again later.
 */
static enum dflockd_status connector_connect(struct connector *connector)
{
    int error = 0;

    for (; connector->choice < connector->choices.count; connector->choice++) {
        error = connector_try_choice(connector);
        if (error == 0) {
            connector_set_choice_deadline(connector);
            connector->state = CONNECTOR_CONNECTING;
            return DFLOCKD_STATUS_DONE;
        }
        if (error == EAGAIN && connector->address.is_unix)
            return connector_delay(connector, CONNECTOR_CONNECT_DELAYED);
    }
    return connector_fail_with(connector, error);
}

static enum dflockd_status connector_check_socket(struct connector *connector)
{
    struct pollfd watched = {.fd = connector->descriptor, .events = POLLOUT};
    socklen_t length = sizeof(int);
    int error = ETIMEDOUT;

    if (poll(&watched, 1, 0) == 1)
        getsockopt(connector->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    else if (clock_monotonic_ns() < connector->choice_deadline_ns)
        return DFLOCKD_STATUS_AGAIN;
    if (error == 0) {
        connector->state = CONNECTOR_CONNECTED;
        return DFLOCKD_STATUS_DONE;
    }
    if (++connector->choice == connector->choices.count)
        return connector_fail_with(connector, error);
    return connector_connect(connector);
}

/* ---- looking up ---- */

static enum dflockd_status connector_look_up(struct connector *connector)
{
    enum dflockd_status status;
    int made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (made < 0)
        return connector_fail_with(connector, errno);
    status = lookup_start(&connector->lookup, &connector->address, made);
    if (status == DFLOCKD_STATUS_DONE) {
        connector_replace_descriptor(connector, made);
        connector->state = CONNECTOR_LOOKING_UP;
        /* A later step takes the result, so that the first step never fails by it. */
        return DFLOCKD_STATUS_AGAIN;
    }
    close(made);
    if (status == DFLOCKD_STATUS_AGAIN)
        return connector_delay(connector, CONNECTOR_LOOKUP_DELAYED);
    return connector_fail_lookup(connector, status, "cannot start a thread");
}

static enum dflockd_status connector_check_lookup(struct connector *connector)
{
    const char *reason = "timed out";
    enum dflockd_status status = lookup_take(connector->lookup, &connector->choices, &reason);

    if (status == DFLOCKD_STATUS_DONE) {
        connector_end_lookup(connector);
        return connector_connect(connector);
    }
    if (status != DFLOCKD_STATUS_AGAIN)
        return connector_fail_lookup(connector, status, reason);
    if (clock_monotonic_ns() < connector->deadline_ns)
        return status;
    return connector_fail_lookup(connector, DFLOCKD_STATUS_UNREACHABLE, reason);
}

/* A path or a number needs no look-up. */
static enum dflockd_status connector_start(struct connector *connector)
{
    int error = address_resolve(&connector->address, true, &connector->choices);

    if (error == EAI_NONAME)
        return connector_look_up(connector);
    if (error == EAI_MEMORY)
        return connector_fail_with(connector, ENOMEM);
    if (error)
        return connector_fail_lookup(connector, DFLOCKD_STATUS_UNREACHABLE, gai_strerror(error));
    return connector_connect(connector);
}

/* ---- steps ---- */

static enum dflockd_status connector_check_delay(struct connector *connector)
{
    bool is_lookup = connector->state == CONNECTOR_LOOKUP_DELAYED;
    uint64_t now_ns = clock_monotonic_ns();

    if (now_ns >= connector->deadline_ns) {
        if (is_lookup)
            return connector_fail_lookup(connector, DFLOCKD_STATUS_UNREACHABLE,
                                         "timed out behind other look-ups");
        return connector_fail(connector, DFLOCKD_STATUS_UNREACHABLE,
                              "the backlog of the socket is full: timed out");
    }
    if (now_ns < connector->retry_ns)
        return DFLOCKD_STATUS_AGAIN;
    return is_lookup ? connector_look_up(connector) : connector_connect(connector);
}

/* Returns DONE after a change of the state, AGAIN if there was no event, or the failure. */
static enum dflockd_status connector_advance(struct connector *connector)
{
    switch (connector->state) {
    case CONNECTOR_STARTING:
        return connector_start(connector);
    case CONNECTOR_LOOKUP_DELAYED:
    case CONNECTOR_CONNECT_DELAYED:
        return connector_check_delay(connector);
    case CONNECTOR_LOOKING_UP:
        return connector_check_lookup(connector);
    case CONNECTOR_CONNECTING:
        return connector_check_socket(connector);
    case CONNECTOR_CONNECTED:
        return DFLOCKD_STATUS_DONE;
    case CONNECTOR_FAILED:
        break;
    }
    return connector->failure;
}

enum dflockd_status connector_step(struct connector *connector)
{
    enum dflockd_status status;

    do
        status = connector_advance(connector);
    while (status == DFLOCKD_STATUS_DONE && connector->state != CONNECTOR_CONNECTED);
    connector_close(&connector->retired);
    return status;
}

/* ---- for the caller ---- */

int connector_take_socket(struct connector *connector)
{
    int descriptor = connector->descriptor;

    connector->descriptor = -1;
    return descriptor;
}

int connector_descriptor(const struct connector *connector)
{
    return connector->descriptor;
}

short connector_events(const struct connector *connector)
{
    return connector->state == CONNECTOR_CONNECTING ? POLLOUT : POLLIN;
}

uint64_t connector_due_ns(const struct connector *connector)
{
    if (connector->state == CONNECTOR_CONNECTING)
        return connector->choice_deadline_ns;
    if (connector_is_delayed(connector) && connector->retry_ns < connector->deadline_ns)
        return connector->retry_ns;
    return connector->deadline_ns;
}

const char *connector_problem(const struct connector *connector)
{
    return connector->problem;
}
