/*
 * Connections: requests and replies in an event loop of the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <sys/un.h>

#include "harness.h"

enum {
    PIPELINED = 5000,
    LONG_KEYS = 3000, /* their requests are fewer bytes than a connection buffers */
    CONNECTIONS = 8,
    BACKLOG_MAX = 16,
    FULL_MS = 500,
    STEPS_MAX = 50 /* in FULL_MS; an event loop that spins takes thousands */
};

struct fixture {
    struct served served;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    server_start(&f->served, FLAGS("--max-locks=100000"));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    server_kill(&f->served);
    free(f);
    return 0;
}

/* Waits like an event loop. */
static void wait_for_events(struct dflockd_connection *connection)
{
    struct pollfd watched = {.fd = dflockd_connection_descriptor(connection),
                             .events = dflockd_connection_events(connection)};
    int timeout = dflockd_connection_timeout(connection);

    assert_true(watched.fd >= 0 && watched.events != 0);
    assert_true(poll(&watched, 1, timeout >= 0 ? timeout : WAIT_MS) > 0);
}

static enum dflockd_status receive_reply(struct dflockd_connection *connection,
                                         struct dflockd_reply *reply)
{
    enum dflockd_status status;

    while ((status = dflockd_connection_receive(connection, reply)) == DFLOCKD_STATUS_AGAIN)
        wait_for_events(connection);
    return status;
}

static void replies_come_in_the_order_of_requests(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_reply reply;
    uint64_t fence = 0;
    char key[32];

    for (int i = 0; i < PIPELINED; i++) {
        struct dflockd_request request = {
            .command = DFLOCKD_ACQUIRE, .key = key, .lease_s = (uint64_t)(i + 1)};

        snprintf(key, sizeof(key), "key-%d", i);
        assert_done(dflockd_connection_send(connection, &request));
    }
    for (int i = 0; i < PIPELINED; i++) {
        assert_done(receive_reply(connection, &reply));
        assert_done(reply.status);
        assert_int_equal(reply.outcome, DFLOCKD_OK);
        assert_int_equal(reply.lease_s, i + 1);
        assert_true(reply.fence > fence);
        fence = reply.fence;
    }
    assert_status(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_AGAIN);
    assert_string_equal(dflockd_connection_problem(connection), "");
    dflockd_connection_close(connection);
}

static void one_loop_serves_many_connections(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connections[CONNECTIONS];
    struct pollfd watched[CONNECTIONS];
    struct dflockd_request acquire = {.command = DFLOCKD_ACQUIRE, .key = "key", .timeout_s = 30};
    struct dflockd_reply reply;
    uint64_t fence = 0;
    int served = 0;

    for (int i = 0; i < CONNECTIONS; i++) {
        connections[i] = connect_to(f->served.address);
        assert_done(dflockd_connection_send(connections[i], &acquire));
    }
    while (served < CONNECTIONS) {
        for (int i = 0; i < CONNECTIONS; i++) {
            watched[i].fd = dflockd_connection_descriptor(connections[i]);
            watched[i].events = dflockd_connection_events(connections[i]);
        }
        assert_true(poll(watched, CONNECTIONS, WAIT_MS) > 0);
        for (int i = 0; i < CONNECTIONS; i++) {
            struct dflockd_request release = {
                .command = DFLOCKD_RELEASE, .key = "key", .token = reply.token};

            if (!watched[i].revents ||
                dflockd_connection_receive(connections[i], &reply) != DFLOCKD_STATUS_DONE)
                continue;
            assert_done(reply.status);
            if (reply.token[0] == '\0') {
                served++;
                continue;
            }
            assert_true(reply.fence > fence);
            fence = reply.fence;
            assert_done(dflockd_connection_send(connections[i], &release));
        }
    }
    for (int i = 0; i < CONNECTIONS; i++)
        dflockd_connection_close(connections[i]);
}

static void each_command_has_its_reply(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_reply grant;
    struct dflockd_reply reply;
    struct dflockd_request request = {.command = DFLOCKD_SEMAPHORE_ENQUEUE, .key = "k", .limit = 2};

    assert_done(dflockd_connection_ask(connection, &request, &grant, WAIT_MS));
    assert_done(grant.status);
    assert_int_equal(grant.outcome, DFLOCKD_ACQUIRED);
    assert_int_equal(grant.lease_s, 33);
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_status(reply.status, DFLOCKD_STATUS_ALREADY);
    request = (struct dflockd_request){
        .command = DFLOCKD_SEMAPHORE_RENEW, .key = "k", .token = grant.token, .lease_s = 77};
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_done(reply.status);
    assert_int_equal(reply.lease_s, 77);
    request.command = DFLOCKD_SEMAPHORE_RELEASE;
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_done(reply.status);
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_status(reply.status, DFLOCKD_STATUS_NOT_HELD);
    request.command = DFLOCKD_SEMAPHORE_WAIT;
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_status(reply.status, DFLOCKD_STATUS_NOT_ENQUEUED);
    request.command = DFLOCKD_PING;
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_done(reply.status);
    request.command = DFLOCKD_AUTH;
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_status(reply.status, DFLOCKD_STATUS_FAILED);
    dflockd_connection_close(connection);
}

/* `own` moves a grant to the new connection of a client. */
static void a_lock_owned_by_another_connection_outlives_the_first(void **state)
{
    static const bool kinds[] = {false, true};
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        struct dflockd_connection *first = connect_to(f->served.address);
        struct dflockd_connection *second = connect_to(f->served.address);
        struct dflockd_request acquire = {
            .command = kinds[i] ? DFLOCKD_SEMAPHORE_ACQUIRE : DFLOCKD_ACQUIRE,
            .key = "owned",
            .limit = 1,
        };
        struct dflockd_request own = {
            .command = DFLOCKD_OWN, .key = "owned", .semaphore = kinds[i]};
        struct dflockd_reply grant;
        struct dflockd_reply reply;

        assert_done(dflockd_connection_ask(first, &acquire, &grant, WAIT_MS));
        assert_done(grant.status);
        own.token = grant.token;
        assert_done(dflockd_connection_ask(second, &own, &reply, WAIT_MS));
        assert_done(reply.status);
        own.semaphore = !kinds[i];
        assert_done(dflockd_connection_ask(second, &own, &reply, WAIT_MS));
        assert_status(reply.status, DFLOCKD_STATUS_NOT_HELD);
        dflockd_connection_close(first);
        acquire.timeout_s = 1;
        assert_done(dflockd_connection_ask(second, &acquire, &reply, WAIT_MS));
        assert_status(reply.status, DFLOCKD_STATUS_TIMED_OUT);
        dflockd_connection_close(second);
    }
}

/* Acquires locks with long keys. */
static void acquire_long_keys(struct dflockd_connection *connection)
{
    struct dflockd_reply reply;
    char key[DFLOCKD_KEY_MAX + 1];

    for (int i = 0; i < LONG_KEYS; i++) {
        struct dflockd_request acquire = {.command = DFLOCKD_ACQUIRE, .key = key};

        snprintf(key, sizeof(key), "%0*d", DFLOCKD_KEY_MAX, i);
        assert_done(dflockd_connection_send(connection, &acquire));
    }
    for (int i = 0; i < LONG_KEYS; i++)
        assert_done(receive_reply(connection, &reply));
}

static void stats_of_any_length_are_received(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_request request = {.command = DFLOCKD_STATS};
    struct dflockd_reply reply;

    acquire_long_keys(connection);
    assert_done(dflockd_connection_send(connection, &request));
    assert_done(receive_reply(connection, &reply));
    assert_true(reply.text_length > (size_t)LONG_KEYS * DFLOCKD_KEY_MAX);
    assert_int_equal(strlen(reply.text), reply.text_length);
    assert_int_equal(reply.text[0], '{');
    assert_int_equal(reply.text[reply.text_length - 1], '}');
    request.command = DFLOCKD_PING;
    assert_done(dflockd_connection_ask(connection, &request, &reply, WAIT_MS));
    assert_null(reply.text);
    dflockd_connection_close(connection);
}

struct streamed {
    size_t length;
    size_t parts;
    char first;
    char last;
};

static void add_part(void *context, const char *part, size_t length)
{
    struct streamed *streamed = context;

    assert_true(length > 0);
    if (streamed->parts++ == 0)
        streamed->first = part[0];
    streamed->last = part[length - 1];
    streamed->length += length;
}

/* Replies before and after a text are complete, also in the same packet. */
static void a_text_is_streamed_in_parts(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_request requests[] = {
        {.command = DFLOCKD_PING}, {.command = DFLOCKD_STATS}, {.command = DFLOCKD_PING}};
    struct dflockd_reply reply;

    acquire_long_keys(connection);
    for (int round = 0; round < 2; round++) {
        struct streamed streamed = {0};

        dflockd_connection_stream_text(connection, add_part, &streamed);
        for (int i = 0; i < 3; i++)
            assert_done(dflockd_connection_send(connection, &requests[i]));
        assert_done(receive_reply(connection, &reply));
        assert_int_equal(streamed.parts, 0);
        assert_done(receive_reply(connection, &reply));
        assert_done(reply.status);
        assert_null(reply.text);
        assert_int_equal(reply.text_length, streamed.length);
        assert_true(streamed.length > (size_t)LONG_KEYS * DFLOCKD_KEY_MAX);
        assert_true(streamed.parts > 1);
        assert_int_equal(streamed.first, '{');
        assert_int_equal(streamed.last, '}');
        assert_done(receive_reply(connection, &reply));
        assert_int_equal(reply.text_length, 0);
    }
    dflockd_connection_stream_text(connection, NULL, NULL);
    assert_done(dflockd_connection_ask(connection, &requests[1], &reply, WAIT_MS));
    assert_int_equal(reply.text[0], '{');
    dflockd_connection_close(connection);
}

static void a_reply_after_the_timeout_is_received_later(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *holder = connect_to(f->served.address);
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_request request = {.command = DFLOCKD_ACQUIRE, .key = "key", .timeout_s = 60};
    struct dflockd_reply reply;

    assert_done(dflockd_connection_ask(holder, &request, &reply, WAIT_MS));
    assert_status(dflockd_connection_ask(connection, &request, &reply, 100), DFLOCKD_STATUS_AGAIN);
    assert_status(dflockd_connection_ask(connection, &request, &reply, 100),
                  DFLOCKD_STATUS_INVALID);
    dflockd_connection_close(holder);
    assert_done(receive_reply(connection, &reply));
    assert_done(reply.status);
    assert_true(reply.fence > 0);
    dflockd_connection_close(connection);
}

static void an_invalid_request_is_refused(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    const struct dflockd_request bad[] = {
        {.command = DFLOCKD_COMMAND_COUNT},
        {.command = DFLOCKD_ACQUIRE},
        {.command = DFLOCKD_ACQUIRE, .key = "a b"},
        {.command = DFLOCKD_ACQUIRE, .key = "k", .timeout_s = (uint64_t)DFLOCKD_SECONDS_MAX + 1},
        {.command = DFLOCKD_ACQUIRE, .key = "k", .lease_s = (uint64_t)DFLOCKD_SECONDS_MAX + 1},
        {.command = DFLOCKD_SEMAPHORE_ACQUIRE, .key = "k"},
        {.command = DFLOCKD_SEMAPHORE_ENQUEUE, .key = "k", .limit = DFLOCKD_LIMIT_MAX + 1},
        {.command = DFLOCKD_RELEASE, .key = "k"},
        {.command = DFLOCKD_OWN, .key = "k"},
        {.command = DFLOCKD_OWN, .key = "k", .token = "0123"},
        {.command = DFLOCKD_RELEASE, .key = "k", .token = "0123"},
        {.command = DFLOCKD_RENEW, .key = "k", .token = "0123456789ABCDEF0123456789ABCDEF"},
        {.command = DFLOCKD_AUTH},
        {.command = DFLOCKD_AUTH, .token = "two\nlines"},
    };
    struct dflockd_request ping = {.command = DFLOCKD_PING};
    struct dflockd_reply reply;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_status(dflockd_connection_send(connection, &bad[i]), DFLOCKD_STATUS_INVALID);
    assert_done(dflockd_connection_ask(connection, &ping, &reply, WAIT_MS));
    assert_done(reply.status);
    dflockd_connection_close(connection);
}

static void pending_requests_have_a_limit(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_request ping = {.command = DFLOCKD_PING};
    struct dflockd_reply reply;
    enum dflockd_status status;
    int sent = 0;

    while ((status = dflockd_connection_send(connection, &ping)) == DFLOCKD_STATUS_DONE)
        assert_true(++sent < 1 << 20);
    assert_status(status, DFLOCKD_STATUS_AGAIN);
    for (int received = 0; received < sent; received++)
        assert_done(receive_reply(connection, &reply));
    assert_done(dflockd_connection_ask(connection, &ping, &reply, WAIT_MS));
    dflockd_connection_close(connection);
}

static void a_broken_connection_stays_broken_and_keeps_its_problem(void **state)
{
    struct fixture *f = *state;
    struct dflockd_connection *connection = connect_to(f->served.address);
    struct dflockd_request ping = {.command = DFLOCKD_PING};
    struct dflockd_reply reply;

    assert_done(dflockd_connection_ask(connection, &ping, &reply, WAIT_MS));
    server_kill(&f->served);
    dflockd_connection_send(connection, &ping);
    assert_status(receive_reply(connection, &reply), DFLOCKD_STATUS_DISCONNECTED);
    assert_status(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_DISCONNECTED);
    assert_status(dflockd_connection_send(connection, &ping), DFLOCKD_STATUS_DISCONNECTED);
    assert_non_null(strstr(dflockd_connection_problem(connection), f->served.address));
    assert_int_equal(dflockd_connection_descriptor(connection), -1);
    assert_int_equal(dflockd_connection_events(connection), 0);
    dflockd_connection_close(connection);
}

static void a_dead_path_is_detected(void **state)
{
    struct fixture *f = *state;
    struct dflockd_options options;
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
    const char *address = f->served.address;
    int64_t begun = now_ms();

    server_signal(&f->served, SIGSTOP);
    dflockd_options_init(&options);
    options.servers = &address;
    options.server_count = 1;
    options.auth_token = "secret";
    options.connect_timeout_ms = 300;
    assert_done(dflockd_connection_open(&connection, &options, 0));
    while (dflockd_connection_receive(connection, &reply) == DFLOCKD_STATUS_AGAIN) {
        struct pollfd watched = {.fd = dflockd_connection_descriptor(connection),
                                 .events = dflockd_connection_events(connection)};
        int timeout = dflockd_connection_timeout(connection);

        assert_in_range(timeout, 0, 301);
        poll(&watched, 1, timeout);
    }
    assert_in_range(now_ms() - begun, 300, 5000);
    assert_status(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_UNREACHABLE);
    dflockd_connection_close(connection);
}

/* ---- a Unix socket with a full backlog ---- */

struct full_socket {
    char folder[32];
    char path[64];
    char address[80];
    int listener;
    int waiting[BACKLOG_MAX]; /* connections in the backlog */
    int accepted[BACKLOG_MAX];
    int waiting_count;
    int accepted_count;
};

static void full_socket_open(struct full_socket *full)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};

    memset(full, 0, sizeof(*full));
    snprintf(full->folder, sizeof(full->folder), "/tmp/dflockd-full-XXXXXX");
    assert_non_null(mkdtemp(full->folder));
    snprintf(full->path, sizeof(full->path), "%s/socket", full->folder);
    snprintf(full->address, sizeof(full->address), "unix:%s", full->path);
    snprintf(here.sun_path, sizeof(here.sun_path), "%s", full->path);
    full->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(full->listener, (struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(listen(full->listener, 0), 0);
    for (;;) {
        int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

        assert_true(full->waiting_count < BACKLOG_MAX);
        full->waiting[full->waiting_count++] = made;
        if (connect(made, (struct sockaddr *)&here, sizeof(here)) != 0)
            break;
    }
    assert_int_equal(errno, EAGAIN);
}

/* Accepts all connections, and replies ok to each request. */
static void full_socket_serve(struct full_socket *full)
{
    char bytes[64];
    int made;

    while (full->accepted_count < BACKLOG_MAX && (made = accept(full->listener, NULL, NULL)) >= 0)
        full->accepted[full->accepted_count++] = made;
    for (int i = 0; i < full->accepted_count; i++) {
        if (recv(full->accepted[i], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
            assert_int_equal(send(full->accepted[i], "ok\n", 3, MSG_NOSIGNAL), 3);
    }
}

static void full_socket_close(struct full_socket *full)
{
    for (int i = 0; i < full->waiting_count; i++)
        close(full->waiting[i]);
    for (int i = 0; i < full->accepted_count; i++)
        close(full->accepted[i]);
    close(full->listener);
    unlink(full->path);
    rmdir(full->folder);
}

static void a_full_backlog_is_retried_without_spinning(void **state)
{
    const struct dflockd_request ping = {.command = DFLOCKD_PING};
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
    struct full_socket full;
    int64_t end = now_ms() + FULL_MS;
    int steps = 0;

    (void)state;
    full_socket_open(&full);
    connection = connect_as(full.address, "");
    assert_done(dflockd_connection_send(connection, &ping));
    while (now_ms() < end) {
        assert_status(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_AGAIN);
        wait_for_events(connection);
        assert_true(++steps < STEPS_MAX);
    }
    while (dflockd_connection_receive(connection, &reply) == DFLOCKD_STATUS_AGAIN) {
        assert_true(now_ms() < end + WAIT_MS);
        sleep_ms(5);
        full_socket_serve(&full);
    }
    assert_string_equal(dflockd_connection_problem(connection), "");
    assert_done(reply.status);
    dflockd_connection_close(connection);
    full_socket_close(&full);
}

static void a_backlog_that_stays_full_ends_with_the_connect_timeout(void **state)
{
    const struct dflockd_request ping = {.command = DFLOCKD_PING};
    struct dflockd_options options;
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
    struct full_socket full;
    const char *address = full.address;
    int64_t begin = now_ms();

    (void)state;
    full_socket_open(&full);
    dflockd_options_init(&options);
    options.servers = &address;
    options.server_count = 1;
    options.connect_timeout_ms = 300;
    assert_done(dflockd_connection_open(&connection, &options, 0));
    assert_status(dflockd_connection_ask(connection, &ping, &reply, WAIT_MS),
                  DFLOCKD_STATUS_UNREACHABLE);
    assert_in_range(now_ms() - begin, 300, WAIT_MS);
    assert_non_null(strstr(dflockd_connection_problem(connection),
                           "the backlog of the socket is full: timed out"));
    dflockd_connection_close(connection);
    full_socket_close(&full);
}

/* ---- signals ---- */

/* On a Unix socket the first write to a closed peer would raise SIGPIPE and end the test. */
static void a_closed_server_raises_no_signal(void **state)
{
    struct dflockd_request ping = {.command = DFLOCKD_PING};
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
    struct served served;
    char folder[] = "/tmp/dflockd-path-XXXXXX";
    char path[64];
    char address[80];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/socket", folder);
    snprintf(address, sizeof(address), "unix:%s", path);
    server_start(&served, FLAGS("--unix-socket", path));
    connection = connect_to(address);
    assert_done(dflockd_connection_ask(connection, &ping, &reply, WAIT_MS));
    server_kill(&served);
    sleep_ms(200);
    assert_done(dflockd_connection_send(connection, &ping));
    assert_status(receive_reply(connection, &reply), DFLOCKD_STATUS_DISCONNECTED);
    dflockd_connection_close(connection);
    unlink(path);
    rmdir(folder);
}

static atomic_int interruptions;

static void ignore_signal(int number)
{
    (void)number;
    interruptions++;
}

static void *interrupt_all_the_time(void *argument)
{
    const pthread_t *thread = argument;

    for (int i = 0; i < 100; i++) {
        pthread_kill(*thread, SIGUSR1);
        sleep_ms(5);
    }
    return NULL;
}

static void signals_interrupt_no_call(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *client = open_client(f->served.address);
    struct dflockd_lock *lock = new_lock(client, "key", NULL);
    struct dflockd_connection *holder = connect_to(f->served.address);
    struct dflockd_request request = {.command = DFLOCKD_ACQUIRE, .key = "key"};
    struct sigaction action = {.sa_handler = ignore_signal};
    struct dflockd_reply reply;
    pthread_t self = pthread_self();
    pthread_t thread;

    sigaction(SIGUSR1, &action, NULL);
    assert_done(dflockd_connection_ask(holder, &request, &reply, WAIT_MS));
    pthread_create(&thread, NULL, interrupt_all_the_time, &self);
    assert_status(dflockd_lock_acquire(lock, 1000), DFLOCKD_STATUS_TIMED_OUT);
    pthread_join(thread, NULL);
    assert_true(interruptions > 10);
    dflockd_connection_close(holder);
    dflockd_lock_free(lock);
    dflockd_client_close(client);
}

/* The kernel delivers the signal to the program's thread, because all others block it. */
static void a_clients_thread_blocks_all_signals(void **state)
{
    struct fixture *f = *state;
    struct dflockd_client *client = open_client(f->served.address);
    struct dflockd_lock *lock = new_lock(client, "key", NULL);
    sigset_t all;
    sigset_t before;
    sigset_t pending;

    assert_done(dflockd_lock_acquire(lock, 0));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    kill(getpid(), SIGUSR2);
    sleep_ms(100);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGUSR2));
    signal(SIGUSR2, SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    dflockd_lock_free(lock);
    dflockd_client_close(client);
}

/* ---- options ---- */

static void invalid_options_are_refused_with_a_reason(void **state)
{
    const char *addresses[] = {"",        ":1",   "host:",  "host:0", "host:65536",
                               "host:1x", "[::1", "[::1]x", "unix:",  NULL};
    struct dflockd_options options;
    struct dflockd_client *client;
    char problem[DFLOCKD_PROBLEM_MAX];

    (void)state;
    dflockd_options_init(&options);
    options.problem = problem;
    options.server_count = 1;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        options.servers = &addresses[i];
        problem[0] = '\0';
        assert_status(dflockd_client_open(&client, &options), DFLOCKD_STATUS_INVALID);
        assert_null(client);
        assert_non_null(strstr(problem, "is not host:port"));
    }
    options.server_count = 0;
    options.tls_ca_file = "/nowhere";
    assert_status(dflockd_client_open(&client, &options), DFLOCKD_STATUS_INVALID);
    options.tls = true;
    assert_status(dflockd_client_open(&client, &options), DFLOCKD_STATUS_UNTRUSTED);
    assert_non_null(strstr(problem, "/nowhere"));
    dflockd_options_init(&options);
    options.auth_token = "";
    assert_status(dflockd_client_open(&client, &options), DFLOCKD_STATUS_INVALID);
    dflockd_options_init(&options);
    options.connect_timeout_ms = 0;
    assert_status(dflockd_client_open(&client, &options), DFLOCKD_STATUS_INVALID);
    dflockd_options_init(&options);
    options.tls = true;
    options.tls_key = "/nowhere";
    assert_status(dflockd_client_open(&client, &options), DFLOCKD_STATUS_INVALID);
}

static void every_form_of_a_host_is_accepted(void **state)
{
    struct fixture *f = *state;
    const char *hosts[] = {"127.0.0.1", "localhost", "[127.0.0.1]", "[::ffff:127.0.0.1]"};
    struct dflockd_request ping = {.command = DFLOCKD_PING};
    char address[64];

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        snprintf(address, sizeof(address), "%s:%d", hosts[i], f->served.port);
        assert_done(ask_once(address, &ping));
    }
}

/* The server resets the connection before the library has sent the probe. */
static void a_reset_before_the_probe_loses_no_request(void **state)
{
    enum {
        PAUSE_US = 50000
    };
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger reset = {.l_onoff = 1};
    const struct dflockd_request ping = {.command = DFLOCKD_PING};
    socklen_t length = sizeof(here);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct dflockd_connection *connection;
    struct dflockd_options options;
    struct dflockd_reply reply;
    char address[40];
    const char *servers[] = {address};
    char received[64] = "";
    int accepted;

    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(listen(listener, 2), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&here, &length), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(here.sin_port));
    dflockd_options_init(&options);
    options.servers = servers;
    options.server_count = 1;
    options.name = "me";
    assert_int_equal(dflockd_connection_open(&connection, &options, 0), DFLOCKD_STATUS_DONE);
    accepted = accept(listener, NULL, NULL);
    setsockopt(accepted, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(accepted);
    usleep(PAUSE_US);
    assert_int_equal(dflockd_connection_send(connection, &ping), DFLOCKD_STATUS_DONE);
    assert_int_equal(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_AGAIN);
    accepted = accept(listener, NULL, NULL);
    usleep(PAUSE_US);
    assert_int_equal(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_AGAIN);
    assert_int_equal(recv(accepted, received, sizeof(received) - 1, 0), strlen("ping\n_\n\n"));
    assert_int_equal(send(accepted, "ok\n", 3, 0), 3);
    usleep(PAUSE_US);
    assert_int_equal(dflockd_connection_receive(connection, &reply), DFLOCKD_STATUS_DONE);
    assert_int_equal(reply.status, DFLOCKD_STATUS_DONE);
    dflockd_connection_close(connection);
    close(accepted);
    close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replies_come_in_the_order_of_requests),
        TEST(one_loop_serves_many_connections),
        TEST(each_command_has_its_reply),
        TEST(a_lock_owned_by_another_connection_outlives_the_first),
        TEST(stats_of_any_length_are_received),
        TEST(a_text_is_streamed_in_parts),
        TEST(a_reply_after_the_timeout_is_received_later),
        TEST(an_invalid_request_is_refused),
        TEST(pending_requests_have_a_limit),
        TEST(a_broken_connection_stays_broken_and_keeps_its_problem),
        TEST(a_dead_path_is_detected),
        cmocka_unit_test(a_full_backlog_is_retried_without_spinning),
        cmocka_unit_test(a_backlog_that_stays_full_ends_with_the_connect_timeout),
        cmocka_unit_test(a_closed_server_raises_no_signal),
        cmocka_unit_test(a_reset_before_the_probe_loses_no_request),
        TEST(signals_interrupt_no_call),
        TEST(a_clients_thread_blocks_all_signals),
        cmocka_unit_test(invalid_options_are_refused_with_a_reason),
        TEST(every_form_of_a_host_is_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
