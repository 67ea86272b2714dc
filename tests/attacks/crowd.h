/* Many connections that exchange pipelined requests with a server, in one thread. */
#ifndef ATTACKS_CROWD_H
#define ATTACKS_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attacks/settings.h"

enum {
    REQUEST_MAX = 128,  /* bytes of a request */
    LINE_MAX_KEPT = 64, /* bytes of a reply that are checked */
    SECONDS_MAX = 300   /* of an exchange */
};

struct member {
    int fd; /* -1: closed */
    uint32_t number;
    uint32_t made, replies; /* requests, replies */
    uint32_t length, sent;  /* of `output` */
    uint32_t line_length;   /* of an incomplete line, which may be longer than `line` */
    char line[LINE_MAX_KEPT + 1];
    char output[4096];
};

struct crowd {
    const struct settings *settings;
    struct result *result;
    void *context; /* of the functions below */
    int poll;
    uint32_t count;
    uint32_t closed; /* connections that the server has closed */
    struct member *members;
};

/* Writes request `index` of a member. Returns its length. */
typedef size_t make_request(char text[REQUEST_MAX], const struct crowd *crowd,
                            const struct member *member, uint32_t index);

/* Returns whether `line` is the right reply to request `index` of a member. */
typedef bool check_reply(const struct crowd *crowd, const struct member *member, uint32_t index,
                         const char *line);

/* The requests of a crowd, and their replies. */
struct script {
    make_request *make;
    check_reply *check;
};

/* Returns a crowd of `count` members without connections. Exits if memory is short. */
struct crowd crowd_create(const struct settings *settings, struct result *result, uint32_t count);

/* Connects all members, and waits until all are connected. */
void crowd_connect(struct crowd *crowd);

/* Begins to connect all members. */
void crowd_start_connecting(struct crowd *crowd);

/* Closes all connections. Frees the members. Adds the counts to the result. */
void crowd_free(struct crowd *crowd);

enum crowd_goal {
    ALL_SENT,
    ALL_REPLIED,
    ALL_CLOSED
};

/*
 * Sends `requests` further requests on each connection, and checks replies, until the goal is
 * reached. After SECONDS_MAX it gives up, which is a problem. A later call checks the replies that
 * are still due; it must pass the same script.
 */
void crowd_exchange(struct crowd *crowd, const struct script *script, enum crowd_goal goal,
                    uint32_t requests);

/* Returns a new connection. Exits without one. */
int connect_blocking(const struct settings *settings);

/* Sends a request on a connection of connect_blocking. Receives its reply, or "". */
void exchange_line(int fd, const char *request, char reply[LINE_MAX_KEPT + 1]);

/* Returns a connection that holds the lock k. Exits if it is not granted. */
int hold_key(const struct settings *settings);

/* Scripts and their parts that several attacks use. */
extern const struct script PINGS;
make_request make_ping;
check_reply is_ok;

uint64_t clock_ns(void);
void sleep_until(uint64_t time_ns);
/* Negative before `begin_ns`. */
double seconds_since(uint64_t begin_ns);

#endif
