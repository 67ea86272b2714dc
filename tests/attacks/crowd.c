#include "attacks/crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/time_units.h"

enum {
    EVENTS = 256,
    RECEIVED_MAX = 1 << 16,
    SOURCES = 16
};

uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

double seconds_since(uint64_t begin_ns)
{
    return (double)(int64_t)(clock_ns() - begin_ns) / (double)NS_PER_S;
}

void sleep_until(uint64_t time_ns)
{
    struct timespec until = {(time_t)(time_ns / NS_PER_S), (long)(time_ns % NS_PER_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

static int create_socket(int flags)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    int one = 1;

    if (fd < 0) {
        perror("attack: socket");
        exit(2);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* Connects from one of SOURCES addresses, because an address has only 28,000 ports. */
static void connect_member(struct crowd *crowd, struct member *member, int flags)
{
    struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr = {htonl(INADDR_LOOPBACK + 256 + member->number % SOURCES)},
    };
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)crowd->settings->port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = member};
    int one = 1;

    member->fd = create_socket(flags);
    setsockopt(member->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(member->fd, (struct sockaddr *)&source, sizeof(source)) < 0)
        result_fail(crowd->result, "bind", strerror(errno));
    if (connect(member->fd, (struct sockaddr *)&address, sizeof(address)) < 0 &&
        errno != EINPROGRESS)
        result_fail(crowd->result, "connect", strerror(errno));
    epoll_ctl(crowd->poll, EPOLL_CTL_ADD, member->fd, &event);
}

struct crowd crowd_create(const struct settings *settings, struct result *result, uint32_t count)
{
    struct crowd crowd = {
        .settings = settings,
        .result = result,
        .poll = epoll_create1(EPOLL_CLOEXEC),
        .count = count,
    };

    crowd.members = calloc(count, sizeof(*crowd.members));
    if (!crowd.members) {
        perror("attack");
        exit(2);
    }
    for (uint32_t i = 0; i < count; i++) {
        crowd.members[i].fd = -1;
        crowd.members[i].number = i;
    }
    return crowd;
}

void crowd_connect(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->count; i++)
        connect_member(crowd, &crowd->members[i], 0);
}

void crowd_start_connecting(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->count; i++)
        connect_member(crowd, &crowd->members[i], SOCK_NONBLOCK);
}

void crowd_free(struct crowd *crowd)
{
    crowd->result->closed += crowd->closed;
    for (uint32_t i = 0; i < crowd->count; i++)
        if (crowd->members[i].fd >= 0)
            close(crowd->members[i].fd);
    close(crowd->poll);
    free(crowd->members);
}

static void close_member(struct crowd *crowd, struct member *member)
{
    close(member->fd);
    member->fd = -1;
    crowd->closed++;
}

/* Sends requests until `wanted` are sent or the socket takes no more. Returns true after all. */
static bool send_requests(struct crowd *crowd, struct member *member, uint32_t wanted,
                          const struct script *script)
{
    for (;;) {
        ssize_t taken;

        if (member->sent == member->length) {
            member->sent = member->length = 0;
            while (member->made < wanted && member->length + REQUEST_MAX <= sizeof(member->output))
                member->length += (uint32_t)script->make(member->output + member->length, crowd,
                                                         member, member->made++);
            if (member->length == 0)
                return true;
        }
        taken = send(member->fd, member->output + member->sent, member->length - member->sent,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
        if (taken < 0 && errno != EAGAIN && errno != EINPROGRESS)
            result_fail(crowd->result, "send", strerror(errno));
        if (taken < 0)
            return false;
        member->sent += (uint32_t)taken;
    }
}

static void take_line(struct crowd *crowd, struct member *member, const struct script *script)
{
    uint32_t kept = member->line_length < LINE_MAX_KEPT ? member->line_length : LINE_MAX_KEPT;

    member->line[kept] = 0;
    if (!script->check(crowd, member, member->replies, member->line))
        result_fail(crowd->result, "unexpected reply", member->line);
    member->replies++;
    member->line_length = 0;
    crowd->result->replies++;
}

static void receive_replies(struct crowd *crowd, struct member *member, const struct script *script)
{
    static char data[RECEIVED_MAX];

    for (;;) {
        ssize_t got = recv(member->fd, data, sizeof(data), MSG_DONTWAIT);
        const char *at = data;
        const char *end = data + (got > 0 ? got : 0);

        if (got == 0 || (got < 0 && errno != EAGAIN && errno != ENOTCONN))
            close_member(crowd, member);
        if (got <= 0)
            return;
        while (at < end) {
            const char *newline = memchr(at, '\n', (size_t)(end - at));
            size_t part = (size_t)((newline ? newline : end) - at);

            if (member->line_length < LINE_MAX_KEPT) {
                size_t room = LINE_MAX_KEPT - member->line_length;

                memcpy(member->line + member->line_length, at, part < room ? part : room);
            }
            member->line_length += (uint32_t)part;
            at += part + 1;
            if (newline)
                take_line(crowd, member, script);
        }
    }
}

static bool crowd_reached(const struct crowd *crowd, enum crowd_goal goal, uint32_t wanted,
                          uint32_t complete)
{
    switch (goal) {
    case ALL_SENT:
        return complete == crowd->count;
    case ALL_REPLIED:
        for (uint32_t i = 0; i < crowd->count; i++)
            if (crowd->members[i].fd >= 0 && crowd->members[i].replies < wanted)
                return false;
        return true;
    case ALL_CLOSED:
        return crowd->closed == crowd->count;
    }
    return true;
}

void crowd_exchange(struct crowd *crowd, const struct script *script, enum crowd_goal goal,
                    uint32_t requests)
{
    uint64_t end_ns = clock_ns() + SECONDS_MAX * NS_PER_S;
    uint32_t wanted = crowd->members[0].made + requests;
    uint32_t complete = 0;

    for (uint32_t i = 0; i < crowd->count; i++) {
        struct member *member = &crowd->members[i];

        if (member->fd >= 0)
            complete += send_requests(crowd, member, wanted, script);
        if (member->fd >= 0)
            receive_replies(crowd, member, script);
    }
    while (!crowd_reached(crowd, goal, wanted, complete)) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(crowd->poll, events, EVENTS, 100);

        for (int i = 0; i < count; i++) {
            struct member *member = events[i].data.ptr;

            if (member->fd >= 0 && (member->made < wanted || member->length > 0))
                complete += send_requests(crowd, member, wanted, script);
            if (member->fd >= 0)
                receive_replies(crowd, member, script);
        }
        if (clock_ns() > end_ns) {
            result_fail(crowd->result, "not complete in time",
                        goal == ALL_CLOSED ? "closes" : "replies");
            return;
        }
    }
}

int connect_blocking(const struct settings *settings)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)settings->port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int fd = create_socket(0);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        perror("attack: connect");
        exit(2);
    }
    return fd;
}

void exchange_line(int fd, const char *request, char reply[LINE_MAX_KEPT + 1])
{
    size_t length = 0;

    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        perror("attack: send");
    while (length < LINE_MAX_KEPT) {
        if (recv(fd, reply + length, 1, 0) <= 0 || reply[length] == '\n')
            break;
        length++;
    }
    reply[length] = 0;
}

int hold_key(const struct settings *settings)
{
    char reply[LINE_MAX_KEPT + 1];
    int fd = connect_blocking(settings);

    exchange_line(fd, "l\nk\n0 3600\n", reply);
    if (strncmp(reply, "ok ", 3) != 0) {
        fprintf(stderr, "attack: the key k is not granted: %s\n", reply);
        exit(2);
    }
    return fd;
}

size_t make_ping(char text[REQUEST_MAX], const struct crowd *crowd, const struct member *member,
                 uint32_t index)
{
    (void)crowd;
    (void)member;
    (void)index;
    return (size_t)snprintf(text, REQUEST_MAX, "ping\n_\n\n");
}

bool is_ok(const struct crowd *crowd, const struct member *member, uint32_t index, const char *line)
{
    (void)crowd;
    (void)member;
    (void)index;
    return strncmp(line, "ok", 2) == 0;
}

const struct script PINGS = {make_ping, is_ok};
