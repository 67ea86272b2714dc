/*
 * Sessions over real stripes: bytes in, replies out. The test is the worker: it passes received
 * bytes to sessions, takes effects from the mailbox, sets the time and takes the output.
 */
#ifndef TESTS_UNIT_SESSION_FIXTURE_H
#define TESTS_UNIT_SESSION_FIXTURE_H

#include "lock_requests.h"
#include "memory_counted.h"
#include "server/connection_id.h"
#include "session_driver.h"
#include "stripes_fixture.h"

enum {
    PEERS_MAX = 8,
    INPUT_MAX = 1024 * 1024,
    REPLIES_MAX = 4 * 1024 * 1024,
    MAILBOX_ROOM = 64,
    DEFAULT_LEASE_S = 33
};

struct setting {
    uint32_t workers; /* 0: one; more make more stripes. All peers belong to worker 0. */
    const char *auth_token;
    const char *admin_token;
    uint64_t claims_max;      /* 0: no limit */
    uint32_t claims_max_each; /* of a connection; 0: no limit */
    bool keep_on_disconnect;
};

struct world {
    struct memory_counted memory;
    struct memory_counted output_memory;
    struct driver driver;
    _Atomic uint64_t connections;    /* for stats */
    struct stripes *stripes;         /* of the driver, as the next two */
    struct session_context *context; /* of worker 0 */
    struct pool *output_pool;
    uint32_t peer_count;
    struct peer *peers;
};

extern struct world world;

void world_start(struct setting setting);

void world_end(void);

/* Opens a session; connections are numbered from 1. */
struct peer *connect_peer(void);

/* Moves the output to the replies. */
void flush(struct peer *peer);

/* Calls the session once with the bytes that it has not consumed. */
struct session_progress read_once(struct peer *peer);

/* Calls the session until it needs more input or an effect. */
void read_on(struct peer *peer);

void receive(struct peer *peer, const void *bytes, size_t length);

void send_text(struct peer *peer, const char *text);

/* Passes the effects of the mailbox to the sessions, which continue. */
void deliver(void);

/* Sets the time and processes expired deadlines. Effects stay in the mailbox. */
void pass_until(uint64_t seconds);

void disconnect(struct peer *peer);

/* Replaces the 32 digits of each token by a T. */
void hide_tokens(char *text);

/* Checks the replies since the last call; tokens read T. */
void expect_replies(struct peer *peer, const char *expected);

/* Returns the token of the only reply since the last call. */
const char *reply_token(struct peer *peer);

void send_with_token(struct peer *peer, const char *command, const char *key, const char *token,
                     const char *behind);

#endif
