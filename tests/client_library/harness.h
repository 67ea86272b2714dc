/*
 * Real servers for the tests of the library, a wire to one that a test can cut, and shorthands.
 * Include it after cmocka.h.
 */
#ifndef TESTS_CLIENT_LIBRARY_HARNESS_H
#define TESTS_CLIENT_LIBRARY_HARNESS_H

#include <dflockd/client.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define assert_status(actual, expected) \
    assert_string_equal(dflockd_status_text(actual), dflockd_status_text(expected))
#define assert_done(actual) assert_status(actual, DFLOCKD_STATUS_DONE)

enum {
    ARGUMENTS_MAX = 16,
    LOG_MAX = 4096,
    START_MS = 20000,
    WAIT_MS = 20000
};

static inline int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline void sleep_ms(int64_t milliseconds)
{
    int64_t end = now_ms() + milliseconds;

    for (int64_t left = milliseconds; left > 0; left = end - now_ms())
        poll(NULL, 0, (int)left);
}

/* ---- a server ---- */

struct served {
    pid_t pid;
    int port;
    int log;
    char address[64];
};

/* Reads the port from the log. Returns false until it is there. */
static inline bool server_listens(struct served *served)
{
    char text[LOG_MAX] = "";
    const char *at;

    if (pread(served->log, text, sizeof(text) - 1, 0) < 0)
        return false;
    at = strstr(text, "listening");
    at = at ? strstr(at, "addr=127.0.0.1:") : NULL;
    if (!at || !strchr(at, '\n'))
        return false;
    served->port = atoi(at + strlen("addr=127.0.0.1:"));
    return true;
}

/* `flags` ends with NULL. */
static inline void server_start(struct served *served, const char *const *flags)
{
    const char *program = getenv("DFLOCKD");
    const char *arguments[ARGUMENTS_MAX] = {program ? program : "build/dflockd", "--port", "0"};
    char path[] = "/tmp/dflockd-log-XXXXXX";
    int64_t end = now_ms() + START_MS;
    size_t count = 3;

    while (*flags && count < ARGUMENTS_MAX - 1)
        arguments[count++] = *flags++;
    served->log = mkstemp(path);
    assert_true(served->log >= 0);
    unlink(path);
    served->pid = fork();
    assert_true(served->pid >= 0);
    if (served->pid == 0) {
        dup2(served->log, STDERR_FILENO);
        execv(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    while (!server_listens(served)) {
        assert_true(now_ms() < end);
        assert_int_equal(waitpid(served->pid, NULL, WNOHANG), 0);
        sleep_ms(5);
    }
    snprintf(served->address, sizeof(served->address), "127.0.0.1:%d", served->port);
}

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline void server_signal(const struct served *served, int number)
{
    int status;

    assert_int_equal(kill(served->pid, number), 0);
    if (number == SIGSTOP)
        waitpid(served->pid, &status, WUNTRACED); /* returns when all threads have stopped */
}

static inline void server_kill(struct served *served)
{
    if (served->pid <= 0)
        return;
    kill(served->pid, SIGKILL);
    waitpid(served->pid, NULL, 0);
    close(served->log);
    served->pid = 0;
}

/* ---- a wire ---- */

enum wire_cut {
    WIRE_CUT_NONE,
    WIRE_CUT_SERVER, /* the server sees the end 200 ms before the client */
    WIRE_CUT_CLIENT  /* the server does not see the end until wire_end_half */
};

/* Forwards one connection after the other from its own port to a server's. */
struct wire {
    pthread_t thread;
    int listener;
    int server_port;
    int stop[2];
    _Atomic(enum wire_cut) cut; /* ends the connection; NONE after that */
    int half;                   /* the server's side after WIRE_CUT_CLIENT; -1: none */
    atomic_int accepted;        /* connections so far */
    char address[64];
};

static inline struct sockaddr_in wire_local(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline bool wire_carry(int from, int to)
{
    char bytes[4096];
    ssize_t length = recv(from, bytes, sizeof(bytes), 0);

    return length > 0 && send(to, bytes, (size_t)length, MSG_NOSIGNAL) == length;
}

static inline void *wire_run(void *argument)
{
    struct wire *wire = argument;

    for (;;) {
        struct sockaddr_in there = wire_local(wire->server_port);
        struct pollfd watched[3] = {
            {.fd = wire->stop[0], .events = POLLIN},
            {.fd = wire->listener, .events = POLLIN},
            {.fd = -1},
        };

        poll(watched, 2, -1);
        if (watched[0].revents)
            return NULL;
        watched[1].fd = accept4(wire->listener, NULL, NULL, SOCK_CLOEXEC);
        wire->accepted++;
        watched[2] =
            (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .events = POLLIN};
        if (connect(watched[2].fd, (struct sockaddr *)&there, sizeof(there)) == 0) {
            while (poll(watched, 3, 10) >= 0 && !watched[0].revents && !wire->cut) {
                if (watched[1].revents && !wire_carry(watched[1].fd, watched[2].fd))
                    break;
                if (watched[2].revents && !wire_carry(watched[2].fd, watched[1].fd))
                    break;
            }
        }
        if (wire->cut == WIRE_CUT_CLIENT) {
            wire->half = watched[2].fd;
        } else {
            close(watched[2].fd);
            if (wire->cut == WIRE_CUT_SERVER)
                poll(NULL, 0, 200);
        }
        wire->cut = WIRE_CUT_NONE;
        close(watched[1].fd);
    }
}

static inline void wire_open(struct wire *wire, const struct served *served)
{
    struct sockaddr_in here = wire_local(0);
    socklen_t length = sizeof(here);

    memset(wire, 0, sizeof(*wire));
    wire->server_port = served->port;
    wire->half = -1;
    wire->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(wire->listener, (struct sockaddr *)&here, length), 0);
    assert_int_equal(listen(wire->listener, 8), 0);
    assert_int_equal(getsockname(wire->listener, (struct sockaddr *)&here, &length), 0);
    snprintf(wire->address, sizeof(wire->address), "127.0.0.1:%d", ntohs(here.sin_port));
    assert_int_equal(pipe2(wire->stop, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&wire->thread, NULL, wire_run, wire), 0);
}

/* Makes the server see the end after WIRE_CUT_CLIENT. */
static inline void wire_end_half(struct wire *wire)
{
    close(wire->half);
    wire->half = -1;
}

static inline void wire_close(struct wire *wire)
{
    assert_int_equal(write(wire->stop[1], "", 1), 1);
    pthread_join(wire->thread, NULL);
    if (wire->half >= 0)
        wire_end_half(wire);
    close(wire->listener);
    close(wire->stop[0]);
    close(wire->stop[1]);
}

/* ---- shorthands ---- */

/* `name` and `secret` are as in the options. */
static inline struct dflockd_client *open_client_as(const char *address, const char *name,
                                                    const char *secret)
{
    struct dflockd_options options;
    struct dflockd_client *client;

    dflockd_options_init(&options);
    options.servers = &address;
    options.server_count = 1;
    options.name = name;
    options.auth_token = secret;
    assert_done(dflockd_client_open(&client, &options));
    return client;
}

static inline struct dflockd_client *open_client(const char *address)
{
    return open_client_as(address, NULL, NULL);
}

static inline struct dflockd_lock *new_lock(struct dflockd_client *client, const char *key,
                                            const struct dflockd_lock_options *options)
{
    struct dflockd_lock *lock;

    assert_done(dflockd_lock_new(&lock, client, key, options));
    return lock;
}

/* `name` is as in the options. */
static inline struct dflockd_connection *connect_as(const char *address, const char *name)
{
    struct dflockd_options options;
    struct dflockd_connection *connection;

    dflockd_options_init(&options);
    options.servers = &address;
    options.server_count = 1;
    options.name = name;
    assert_done(dflockd_connection_open(&connection, &options, 0));
    return connection;
}

static inline struct dflockd_connection *connect_to(const char *address)
{
    return connect_as(address, NULL);
}

/* Returns the status of the reply to a request on a new connection. */
static inline enum dflockd_status ask_once(const char *address,
                                           const struct dflockd_request *request)
{
    struct dflockd_connection *connection = connect_to(address);
    struct dflockd_reply reply;
    enum dflockd_status status = dflockd_connection_ask(connection, request, &reply, WAIT_MS);

    dflockd_connection_close(connection);
    return status == DFLOCKD_STATUS_DONE ? reply.status : status;
}

/* Returns whether another client can acquire the lock at once. */
static inline bool is_free(const char *address, const char *key)
{
    struct dflockd_request request = {.command = DFLOCKD_ACQUIRE, .key = key};

    return ask_once(address, &request) == DFLOCKD_STATUS_DONE;
}

/* Returns whether the stats of the first server contain the text. */
static inline bool stats_hold(struct dflockd_client *client, const char *text)
{
    char *json;
    bool found;

    assert_done(dflockd_client_stats(client, 0, &json));
    found = strstr(json, text) != NULL;
    free(json);
    return found;
}

#define eventually(condition)                        \
    do {                                             \
        int64_t eventually_end = now_ms() + WAIT_MS; \
        while (!(condition)) {                       \
            assert_true(now_ms() < eventually_end);  \
            sleep_ms(5);                             \
        }                                            \
    } while (0)

#endif
