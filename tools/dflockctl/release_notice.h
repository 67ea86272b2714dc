/*
 * A holder of acquire cannot tell a release by its token from a revocation: the server replies
 * `error` to both. So `release` notifies the holder, on a socket whose abstract name has the fence:
 *
 *   release                               holder
 *   connects, sends the token    ------>
 *   releases at the server                may find out that the lock is not held
 *   sends that it is released    ------>  ends; or, without that message, signals the loss
 *
 * The token is in the socket before the server receives the release. So a holder that finds the
 * lock not held, and no connection with its token, knows that no `release` of this machine did
 * that. Both must run as the same user, in one network namespace.
 */
#ifndef DFLOCKCTL_RELEASE_NOTICE_H
#define DFLOCKCTL_RELEASE_NOTICE_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "dflockd/client.h"

enum {
    RELEASE_NOTICE_NAMES = 8,   /* holders of this machine whose fences are equal */
    RELEASE_NOTICE_CLIENTS = 4, /* pending releases at a time; others wait in the queue */
    RELEASE_NOTICE_WATCHED = 1 + RELEASE_NOTICE_CLIENTS
};

/* ---- the holder ---- */

struct release_notice {
    bool released; /* a `release` by the token has succeeded */

    /* Private. */
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    int listener; /* -1: none */
    struct release_notice_client {
        int socket; /* -1: none */
        bool knows_token;
    } clients[RELEASE_NOTICE_CLIENTS];
};

/* Receives no notices until release_notice_listen. */
void release_notice_init(struct release_notice *notice);

/* Receives notices about `token`. Without a socket, for any reason, none is received. */
void release_notice_listen(struct release_notice *notice, const char *token);

/* Sets what to watch. */
void release_notice_watch(const struct release_notice *notice,
                          struct pollfd watched[RELEASE_NOTICE_WATCHED]);

/* Receives notices without waiting. Returns whether a `release` by the token is pending. */
bool release_notice_step(struct release_notice *notice);

/* Waits for the results of pending releases, up to `timeout_ms`. Returns `notice->released`. */
bool release_notice_await(struct release_notice *notice, int64_t timeout_ms);

void release_notice_close(struct release_notice *notice);

/* ---- release ---- */

/* The sockets of the holders; -1: none. */
struct release_announcement {
    int sockets[RELEASE_NOTICE_NAMES];
};

/* Announces to the holders on this machine, if any, that a release by `token` follows. */
void release_announce(struct release_announcement *announcement, const char *token);

/* Sends the result to these holders, and closes the sockets. */
void release_announce_result(struct release_announcement *announcement, bool released);

#endif
