/*
 * A bare closed-loop load for comparing servers: each connection acquires and releases a key of
 * its own, over and over, and waits for every answer. Speaks dflockd's protocol and Redis'
 * (`SET key value NX PX 33000`, `DEL key`). One thread, epoll, no allocation in the loop.
 *
 *   load PORT PID [connections=16] [seconds=2] [depth=1] [protocol=dflockd|redis] [life=keep|new]
 *
 * `depth` pairs are pipelined at a time; `life=new` makes a connection for each pair, as the Python
 * clients do. Prints one line: pairs and requests per second, microseconds of the server's CPU for
 * each request (from /proc/PID/stat), and the latency of a round.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 10000,
    DEPTH_MAX = 64,
    BUFFER_BYTES = 8192,
    EVENTS_MAX = 256,
    LATENCY_NS = 1000, /* of a bucket */
    LATENCY_BUCKETS = 100000,
    WARM_UP_NS = 300000000
};

struct settings {
    uint16_t port;
    int server;
    int connections;
    int depth;
    double seconds;
    bool redis;
    bool fresh;
};

struct client {
    int socket;
    int index;
    bool releasing;
    int answers; /* of this round so far */
    uint64_t started_ns;
    char tokens[DEPTH_MAX][33];
    char in[BUFFER_BYTES];
    size_t in_length;
};

static struct settings settings = {.connections = 16, .depth = 1, .seconds = 2};
static struct client clients[CONNECTIONS_MAX];
static uint32_t latencies[LATENCY_BUCKETS];
static uint64_t rounds;
static uint64_t errors;
static int poller;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Seconds of CPU time that process `pid` has used. */
static double cpu_seconds(int pid)
{
    char path[64];
    char text[1024];
    FILE *file;
    const char *at;
    unsigned long user = 0;
    unsigned long system = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "re");
    if (!file || !fgets(text, sizeof(text), file))
        die(path);
    fclose(file);
    at = strrchr(text, ')');
    for (int field = 2; at && field < 14; field++)
        at = strchr(at + 1, ' ');
    if (at) {
        char *end;

        user = strtoul(at, &end, 10);
        system = strtoul(end, NULL, 10);
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void connect_client(struct client *client)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(settings.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    int one = 1;

    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->socket < 0 ||
        connect(client->socket, (struct sockaddr *)&address, sizeof(address)) < 0)
        die("connect");
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->socket, &event) < 0)
        die("epoll_ctl");
}

static int one_request(const struct client *client, int number, char *to, size_t room)
{
    if (settings.redis)
        return client->releasing
                   ? snprintf(to, room, "DEL key-%d-%d\r\n", client->index, number)
                   : snprintf(to, room, "SET key-%d-%d 0123456789abcdef NX PX 33000\r\n",
                              client->index, number);
    return client->releasing ? snprintf(to, room, "r\nkey-%d-%d\n%s\n", client->index, number,
                                        client->tokens[number])
                             : snprintf(to, room, "l\nkey-%d-%d\n10\n", client->index, number);
}

static void send_round(struct client *client)
{
    char out[BUFFER_BYTES];
    size_t length = 0;

    for (int i = 0; i < settings.depth; i++)
        length += (size_t)one_request(client, i, out + length, sizeof(out) - length);
    client->answers = 0;
    client->started_ns = now_ns();
    if (send(client->socket, out, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("send");
}

static void take_answer(struct client *client, const char *line)
{
    bool fine = settings.redis ? line[0] == '+' || line[0] == ':' : strncmp(line, "ok", 2) == 0;

    if (!fine)
        errors++;
    else if (!settings.redis && !client->releasing)
        memcpy(client->tokens[client->answers], line + 3, 32);
    client->answers++;
}

static void finish_round(struct client *client)
{
    uint64_t bucket = (now_ns() - client->started_ns) / LATENCY_NS;

    latencies[bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1]++;
    rounds++;
    client->releasing = !client->releasing;
    if (settings.fresh && !client->releasing) {
        close(client->socket);
        connect_client(client);
    }
    send_round(client);
}

static void receive(struct client *client)
{
    ssize_t count = recv(client->socket, client->in + client->in_length,
                         sizeof(client->in) - client->in_length - 1, 0);
    char *line = client->in;
    char *end;

    if (count <= 0)
        die("the server closed a connection");
    client->in_length += (size_t)count;
    client->in[client->in_length] = '\0';
    while ((end = strchr(line, '\n'))) {
        take_answer(client, line);
        line = end + 1;
    }
    client->in_length -= (size_t)(line - client->in);
    memmove(client->in, line, client->in_length);
    if (client->answers == settings.depth)
        finish_round(client);
}

static void run_until(uint64_t end_ns)
{
    struct epoll_event events[EVENTS_MAX];

    while (now_ns() < end_ns) {
        int count = epoll_wait(poller, events, EVENTS_MAX, 100);

        for (int i = 0; i < count; i++)
            receive(events[i].data.ptr);
    }
}

/* Microseconds that the given share of rounds did not exceed. */
static double percentile(double share)
{
    uint64_t wanted = (uint64_t)((double)rounds * share);
    uint64_t seen = 0;

    for (int i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latencies[i];
        if (seen > wanted)
            return (double)i * LATENCY_NS / 1000;
    }
    return 0;
}

static void read_settings(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "usage: load PORT PID [connections=16] [seconds=2] [depth=1] "
                        "[protocol=dflockd|redis] [life=keep|new]\n");
        exit(2);
    }
    settings.port = (uint16_t)strtoul(arguments[1], NULL, 10);
    settings.server = (int)strtol(arguments[2], NULL, 10);
    for (int i = 3; i < count; i++) {
        char *value = strchr(arguments[i], '=');

        if (!value)
            die(arguments[i]);
        *value++ = '\0';
        if (strcmp(arguments[i], "connections") == 0)
            settings.connections = (int)strtol(value, NULL, 10);
        else if (strcmp(arguments[i], "seconds") == 0)
            settings.seconds = strtod(value, NULL);
        else if (strcmp(arguments[i], "depth") == 0)
            settings.depth = (int)strtol(value, NULL, 10);
        else if (strcmp(arguments[i], "protocol") == 0)
            settings.redis = strcmp(value, "redis") == 0;
        else if (strcmp(arguments[i], "life") == 0)
            settings.fresh = strcmp(value, "new") == 0;
        else
            die(arguments[i]);
    }
    if (settings.connections < 1 || settings.connections > CONNECTIONS_MAX || settings.depth < 1 ||
        settings.depth > DEPTH_MAX)
        die("out of range");
}

int main(int count, char **arguments)
{
    uint64_t start_ns;
    double cpu;
    double seconds;
    double requests;

    read_settings(count, arguments);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < settings.connections; i++) {
        clients[i].index = i;
        connect_client(&clients[i]);
        send_round(&clients[i]);
    }
    run_until(now_ns() + WARM_UP_NS);
    rounds = 0;
    memset(latencies, 0, sizeof(latencies));
    start_ns = now_ns();
    cpu = cpu_seconds(settings.server);
    run_until(start_ns + (uint64_t)(settings.seconds * 1e9));
    seconds = (double)(now_ns() - start_ns) / 1e9;
    cpu = cpu_seconds(settings.server) - cpu;
    requests = (double)rounds * settings.depth;
    printf("%.0f pairs/s %.0f requests/s %.2f us CPU/request p50 %.0f us p99 %.0f us "
           "errors %llu\n",
           requests / 2 / seconds, requests / seconds, cpu * 1e6 / requests, percentile(0.5),
           percentile(0.99), (unsigned long long)errors);
    return errors != 0;
}
