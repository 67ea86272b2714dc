/*
 * A well-behaved client beside misbehaving ones. It acquires and releases a key of its own on
 * several connections, checks each reply, and measures latencies.
 *
 *   bystander PORT [CONNECTIONS=4] [PAUSE_US=1000]
 *
 * At the end of its input it prints JSON: the number of replies, their latencies in
 * microseconds, and the first violation, if any. The status is 0 without violations.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static struct {
    pthread_mutex_t mutex;
    uint64_t latencies[BUCKETS]; /* counts */
    uint64_t count;
    uint64_t max_ns;
    char problem[300];
} seen = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static atomic_bool stopping;
static uint16_t port;
static uint64_t pause_us = 1000;

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
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

static void record_latency(uint64_t ns)
{
    pthread_mutex_lock(&seen.mutex);
    seen.latencies[bucket_of(ns)]++;
    seen.count++;
    if (ns > seen.max_ns)
        seen.max_ns = ns;
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

/* Sends a request and reads its reply without the newline. Returns false without a reply. */
static bool exchange(int connection, const char *request, char reply[64])
{
    uint64_t begin_ns = clock_ns();
    size_t length = 0;

    reply[0] = 0;
    if (send(connection, request, strlen(request), MSG_NOSIGNAL) < 0) {
        report_wrong("cannot send", request);
        return false;
    }
    while (length < 63) {
        ssize_t got = recv(connection, reply + length, 63 - length, 0);

        if (got <= 0) {
            report_wrong(got < 0 ? "no reply" : "closed instead of an reply", request);
            return false;
        }
        length += (size_t)got;
        reply[length] = 0;
        if (reply[length - 1] == '\n') {
            reply[length - 1] = 0;
            record_latency(clock_ns() - begin_ns);
            return true;
        }
    }
    report_wrong("an reply too long", reply);
    return false;
}

static int connect_to_server(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    struct timeval timeout = {.tv_sec = REPLY_TIMEOUT_S};
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(connection, (struct sockaddr *)&address, sizeof(address)) < 0) {
        report_wrong("cannot connect", "");
        close(connection);
        return -1;
    }
    return connection;
}

static void *run_thread(void *argument)
{
    unsigned number = *(unsigned *)argument;
    int connection = connect_to_server();
    uint64_t fence_last = 0;
    char request[128];
    char reply[64];

    while (connection >= 0 && !stopping) {
        char token[33];
        char fence_text[17] = "";
        uint64_t lease_s;
        uint64_t fence;

        snprintf(request, sizeof(request), "l\nbystander-%d-%u\n0 60\n", getpid(), number);
        if (!exchange(connection, request, reply))
            break;
        if (sscanf(reply, "ok %32[0-9a-f] %" SCNu64, token, &lease_s) != 2 || lease_s != 60) {
            report_wrong("acquire", reply);
            break;
        }
        memcpy(fence_text, token, 16);
        fence = strtoull(fence_text, NULL, 16);
        if (fence <= fence_last)
            report_wrong("a fence that does not rise above the previous one", token);
        fence_last = fence;
        snprintf(request, sizeof(request), "r\nbystander-%d-%u\n%s\n", getpid(), number, token);
        if (!exchange(connection, request, reply))
            break;
        if (strcmp(reply, "ok") != 0) {
            report_wrong("release", reply);
            break;
        }
        usleep((useconds_t)pause_us);
    }
    if (connection >= 0)
        close(connection);
    return NULL;
}

int main(int count, char **arguments)
{
    unsigned connections = count > 2 ? (unsigned)atoi(arguments[2]) : 4;
    pthread_t threads[CONNECTIONS_MAX];
    unsigned numbers[CONNECTIONS_MAX];
    char input[64];

    if (count < 2 || connections < 1 || connections > CONNECTIONS_MAX) {
        fprintf(stderr, "bystander PORT [CONNECTIONS] [PAUSE_US]\n");
        return 2;
    }
    port = (uint16_t)atoi(arguments[1]);
    if (count > 3)
        pause_us = strtoull(arguments[3], NULL, 10);
    for (unsigned i = 0; i < connections; i++) {
        numbers[i] = i;
        if (pthread_create(&threads[i], NULL, run_thread, &numbers[i]) != 0)
            return 2;
    }
    while (read(STDIN_FILENO, input, sizeof(input)) > 0)
        continue;
    stopping = true;
    for (unsigned i = 0; i < connections; i++)
        pthread_join(threads[i], NULL);
    printf("{\"requests\": %" PRIu64 ", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
           "\"max_us\": %.1f, \"problem\": \"%s\"}\n",
           seen.count, percentile_us(0.50), percentile_us(0.99), percentile_us(0.999),
           (double)seen.max_ns / 1000, seen.problem);
    return seen.problem[0] || seen.count == 0;
}
