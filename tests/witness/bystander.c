/*
 * A well-behaved client beside misbehaving ones. It acquires and releases a key of its own on
 * several connections, checks each reply, and measures latencies. With `renew`, it acquires the
 * key once and then renews it. With `tls`, it uses TLS, and accepts any certificate.
 *
 *   bystander PORT [CONNECTIONS=4] [PAUSE_US=1000] [renew] [tls] [pid=SERVER]
 *
 * A line of input restarts the measurement: earlier latencies are dropped, and those of pending
 * requests begin again. At the end of its input it prints JSON: the number of replies, their
 * latencies in microseconds, and the first violation, if any. The status is 0 without violations.
 *
 * With `pid`, it also prints the most CPU time that the server's process has used between a request
 * and its reply. This time of a server with one worker does not depend on other processes.
 */
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/time_units.h"

enum {
    CONNECTIONS_MAX = 64,
    REPLY_TIMEOUT_S = 60,
    SUB_BUCKETS = 64, /* per power of two: latencies are exact to 2 % */
    BUCKETS = 64 * SUB_BUCKETS
};

struct moment {
    uint64_t ns;
    uint64_t cpu_ns; /* of the server's process */
};

static struct {
    pthread_mutex_t mutex;
    uint64_t latencies[BUCKETS]; /* counts */
    uint64_t count;
    uint64_t max_ns;
    uint64_t cpu_max_ns;
    struct moment restart;
    char problem[300];
} seen = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool stopping;
static uint16_t port;
static uint64_t pause_us = 1000;
static bool renews, uses_tls;
static clockid_t server_clock = CLOCK_MONOTONIC;
static bool knows_server;
static gnutls_certificate_credentials_t credentials;

struct connection {
    int fd;
    gnutls_session_t tls; /* NULL: without TLS */
};

static uint64_t read_clock_ns(clockid_t clock)
{
    struct timespec time;

    return clock_gettime(clock, &time) == 0
               ? (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec
               : 0;
}

static struct moment get_moment(void)
{
    return (struct moment){
        .ns = read_clock_ns(CLOCK_MONOTONIC),
        .cpu_ns = knows_server ? read_clock_ns(server_clock) : 0,
    };
}

/* ---- latencies ---- */

static uint32_t bucket_of(uint64_t ns)
{
    uint32_t power = ns < SUB_BUCKETS ? 0 : 58 - (uint32_t)__builtin_clzll(ns);

    return power * SUB_BUCKETS + (uint32_t)(ns >> power);
}

static uint64_t bucket_top_ns(uint32_t bucket)
{
    /* After the first two powers, a bucket's number is its power plus one, and 0 to 63. */
    uint32_t power = bucket < 2 * SUB_BUCKETS ? 0 : bucket / SUB_BUCKETS - 1;

    return ((uint64_t)(bucket - power * SUB_BUCKETS) + 1) << power;
}

static void restart(void)
{
    pthread_mutex_lock(&seen.mutex);
    memset(seen.latencies, 0, sizeof(seen.latencies));
    seen.count = seen.max_ns = seen.cpu_max_ns = 0;
    seen.restart = get_moment();
    pthread_mutex_unlock(&seen.mutex);
}

static uint64_t time_since(uint64_t end_ns, uint64_t begin_ns, uint64_t restart_ns)
{
    if (begin_ns < restart_ns)
        begin_ns = restart_ns;
    return end_ns > begin_ns ? end_ns - begin_ns : 0;
}

static void record_since(const struct moment *begin)
{
    struct moment end = get_moment();
    uint64_t ns;
    uint64_t cpu_ns;

    pthread_mutex_lock(&seen.mutex);
    ns = time_since(end.ns, begin->ns, seen.restart.ns);
    cpu_ns = time_since(end.cpu_ns, begin->cpu_ns, seen.restart.cpu_ns);
    seen.latencies[bucket_of(ns)]++;
    seen.count++;
    if (ns > seen.max_ns)
        seen.max_ns = ns;
    if (cpu_ns > seen.cpu_max_ns)
        seen.cpu_max_ns = cpu_ns;
    pthread_mutex_unlock(&seen.mutex);
}

static double percentile_us(double share)
{
    uint64_t rank = (uint64_t)(share * (double)seen.count);
    uint64_t passed = 0;

    for (uint32_t i = 0; i < BUCKETS; i++) {
        passed += seen.latencies[i];
        if (passed > rank) {
            uint64_t top_ns = bucket_top_ns(i);

            return (double)(top_ns < seen.max_ns ? top_ns : seen.max_ns) / 1000;
        }
    }
    return (double)seen.max_ns / 1000;
}

/* ---- work ---- */

static void report_wrong(const char *what, const char *reply)
{
    pthread_mutex_lock(&seen.mutex);
    if (!seen.problem[0])
        snprintf(seen.problem, sizeof(seen.problem), "%s: %.100s", what, reply);
    pthread_mutex_unlock(&seen.mutex);
}

static ssize_t send_bytes(struct connection *connection, const char *bytes, size_t length)
{
    return connection->tls ? gnutls_record_send(connection->tls, bytes, length)
                           : send(connection->fd, bytes, length, MSG_NOSIGNAL);
}

static ssize_t receive_bytes(struct connection *connection, char *bytes, size_t length)
{
    ssize_t got;

    if (!connection->tls)
        return recv(connection->fd, bytes, length, 0);
    do /* A session ticket arrives with the first reply. */
        got = gnutls_record_recv(connection->tls, bytes, length);
    while (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED);
    return got;
}

/* Sends a request and reads its reply without the newline. Returns false without a reply. */
static bool exchange(struct connection *connection, const char *request, char reply[64])
{
    struct moment begin = get_moment();
    size_t length = 0;

    reply[0] = 0;
    if (send_bytes(connection, request, strlen(request)) < 0) {
        report_wrong("cannot send", request);
        return false;
    }
    while (length < 63) {
        ssize_t got = receive_bytes(connection, reply + length, 63 - length);

        if (got <= 0) {
            report_wrong(got < 0 ? "no reply" : "closed instead of a reply", request);
            return false;
        }
        length += (size_t)got;
        reply[length] = 0;
        if (reply[length - 1] == '\n') {
            reply[length - 1] = 0;
            record_since(&begin);
            return true;
        }
    }
    report_wrong("a reply too long", reply);
    return false;
}

static bool begin_tls(struct connection *connection)
{
    if (gnutls_init(&connection->tls, GNUTLS_CLIENT) < 0 ||
        gnutls_set_default_priority(connection->tls) < 0 ||
        gnutls_credentials_set(connection->tls, GNUTLS_CRD_CERTIFICATE, credentials) < 0)
        return false;
    gnutls_transport_set_int(connection->tls, connection->fd);
    gnutls_handshake_set_timeout(connection->tls, GNUTLS_INDEFINITE_TIMEOUT);
    return gnutls_handshake(connection->tls) == 0;
}

static bool connect_to_server(struct connection *connection)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    struct timeval timeout = {.tv_sec = REPLY_TIMEOUT_S};
    int one = 1;

    *connection = (struct connection){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(connection->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        report_wrong("cannot connect", "");
        return false;
    }
    if (uses_tls && !begin_tls(connection)) {
        report_wrong("no TLS", "");
        return false;
    }
    return true;
}

static void disconnect(struct connection *connection)
{
    if (connection->tls)
        gnutls_deinit(connection->tls);
    if (connection->fd >= 0)
        close(connection->fd);
}

/* Acquires the key. Returns its token, or false after a violation. */
static bool acquire(struct connection *connection, unsigned number, uint64_t *fence_last,
                    char token[33])
{
    char request[128];
    char reply[64];
    char fence_text[17] = "";
    uint64_t lease_s;
    uint64_t fence;

    snprintf(request, sizeof(request), "l\nbystander-%d-%u\n0 60\n", getpid(), number);
    if (!exchange(connection, request, reply))
        return false;
    if (sscanf(reply, "ok %32[0-9a-f] %" SCNu64, token, &lease_s) != 2 || lease_s != 60) {
        report_wrong("acquire", reply);
        return false;
    }
    memcpy(fence_text, token, 16);
    fence = strtoull(fence_text, NULL, 16);
    if (fence <= *fence_last)
        report_wrong("a fence that does not rise above the previous one", token);
    *fence_last = fence;
    return true;
}

/* Sends `command` with the token, and checks the reply. */
static bool use_token(struct connection *connection, unsigned number, char command,
                      const char token[33], const char *expected)
{
    char request[128];
    char reply[64];

    snprintf(request, sizeof(request), "%c\nbystander-%d-%u\n%s%s\n", command, getpid(), number,
             token, command == 'n' ? " 60" : "");
    if (!exchange(connection, request, reply))
        return false;
    if (strcmp(reply, expected) != 0) {
        report_wrong(command == 'n' ? "renew" : "release", reply);
        return false;
    }
    return true;
}

static void *run_thread(void *argument)
{
    unsigned number = *(unsigned *)argument;
    struct connection connection;
    uint64_t fence_last = 0;
    char token[33] = "";

    if (connect_to_server(&connection)) {
        while (!stopping) {
            if ((!renews || !token[0]) && !acquire(&connection, number, &fence_last, token))
                break;
            if (renews ? !use_token(&connection, number, 'n', token, "ok 60")
                       : !use_token(&connection, number, 'r', token, "ok"))
                break;
            usleep((useconds_t)pause_us);
        }
    }
    disconnect(&connection);
    return NULL;
}

/* Reads an optional argument. */
static void set_option(const char *word)
{
    if (strcmp(word, "renew") == 0)
        renews = true;
    if (strcmp(word, "tls") == 0)
        uses_tls = true;
    if (strncmp(word, "pid=", 4) == 0)
        knows_server = clock_getcpuclockid((pid_t)strtol(word + 4, NULL, 10), &server_clock) == 0;
}

static void print_figures(void)
{
    printf("{\"requests\": %" PRIu64 ", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"max_us\": %.1f, ",
           seen.count, percentile_us(0.50), percentile_us(0.99), percentile_us(0.999),
           (double)seen.max_ns / 1000);
    if (knows_server)
        printf("\"cpu_max_us\": %.1f, ", (double)seen.cpu_max_ns / 1000);
    printf("\"problem\": \"%s\"}\n", seen.problem);
}

int main(int count, char **arguments)
{
    unsigned connections = count > 2 ? (unsigned)atoi(arguments[2]) : 4;
    pthread_t threads[CONNECTIONS_MAX];
    unsigned numbers[CONNECTIONS_MAX];
    char input[64];

    if (count < 2 || connections < 1 || connections > CONNECTIONS_MAX) {
        fprintf(stderr, "bystander PORT [CONNECTIONS] [PAUSE_US] [renew] [tls] [pid=SERVER]\n");
        return 2;
    }
    port = (uint16_t)atoi(arguments[1]);
    if (count > 3)
        pause_us = strtoull(arguments[3], NULL, 10);
    for (int i = 4; i < count; i++)
        set_option(arguments[i]);
    gnutls_certificate_allocate_credentials(&credentials);
    /* Latencies must show the server's delays, not those of a busy CPU. Needs a privilege. */
    setpriority(PRIO_PROCESS, 0, -20);
    for (unsigned i = 0; i < connections; i++) {
        numbers[i] = i;
        if (pthread_create(&threads[i], NULL, run_thread, &numbers[i]) != 0)
            return 2;
    }
    while (read(STDIN_FILENO, input, sizeof(input)) > 0)
        restart();
    stopping = true;
    for (unsigned i = 0; i < connections; i++)
        pthread_join(threads[i], NULL);
    print_figures();
    return seen.problem[0] || seen.count == 0;
}
