#include "dflockctl/release_notice.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "dflockctl/loop.h"

enum {
    FENCE_DIGITS = 16,
    NOTICE_FLAGS = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK
};

static const char notice_released = 'r';

/* The name has the fence, which is public, and not the token: all users can read these names. */
static socklen_t release_notice_address(struct sockaddr_un *address, const char *token, int index)
{
    int length;

    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    length = snprintf(address->sun_path + 1, sizeof(address->sun_path) - 1,
                      "dflockctl-release-%.*s-%d", FENCE_DIGITS, token, index);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* Returns whether the other end runs as this user, as it connected or began to listen. */
static bool release_notice_is_trusted(int descriptor)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           peer.uid == geteuid();
}

static void release_notice_close_one(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

/* ---- the holder ---- */

void release_notice_init(struct release_notice *notice)
{
    memset(notice, 0, sizeof(*notice));
    notice->listener = -1;
    for (size_t i = 0; i < RELEASE_NOTICE_CLIENTS; i++)
        notice->clients[i].socket = -1;
}

void release_notice_listen(struct release_notice *notice, const char *token)
{
    struct sockaddr_un address;

    memcpy(notice->token, token, sizeof(notice->token));
    notice->listener = socket(AF_UNIX, NOTICE_FLAGS, 0);
    for (int i = 0; i < RELEASE_NOTICE_NAMES && notice->listener >= 0; i++) {
        socklen_t length = release_notice_address(&address, token, i);

        if (bind(notice->listener, (struct sockaddr *)&address, length) == 0 &&
            listen(notice->listener, SOMAXCONN) == 0)
            return;
    }
    release_notice_close_one(&notice->listener);
}

void release_notice_watch(const struct release_notice *notice,
                          struct pollfd watched[RELEASE_NOTICE_WATCHED])
{
    bool full = true;

    for (size_t i = 0; i < RELEASE_NOTICE_CLIENTS; i++) {
        watched[1 + i] = (struct pollfd){.fd = notice->clients[i].socket, .events = POLLIN};
        full = full && notice->clients[i].socket >= 0;
    }
    watched[0] = (struct pollfd){.fd = full ? -1 : notice->listener, .events = POLLIN};
}

/* Returns false if `client` has ended, or is not about this token. */
static bool release_notice_receive(struct release_notice *notice,
                                   struct release_notice_client *client)
{
    char message[DFLOCKD_TOKEN_LENGTH];
    ssize_t length;

    while ((length = recv(client->socket, message, sizeof(message), 0)) > 0) {
        if (!client->knows_token)
            client->knows_token = length == DFLOCKD_TOKEN_LENGTH &&
                                  memcmp(message, notice->token, DFLOCKD_TOKEN_LENGTH) == 0;
        else if (*message == notice_released)
            notice->released = true;
        if (!client->knows_token)
            return false;
    }
    /* An announcer sends the token right after it has connected. */
    return length < 0;
}

/* Returns false if nobody else waits to be accepted. */
static bool release_notice_accept(struct release_notice *notice,
                                  struct release_notice_client *client)
{
    client->knows_token = false;
    client->socket = accept4(notice->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client->socket >= 0 && !release_notice_is_trusted(client->socket)) {
        release_notice_close_one(&client->socket);
        return true;
    }
    return client->socket >= 0;
}

bool release_notice_step(struct release_notice *notice)
{
    bool pending = false;

    for (size_t i = 0; i < RELEASE_NOTICE_CLIENTS; i++) {
        struct release_notice_client *client = &notice->clients[i];

        while (notice->listener >= 0 &&
               (client->socket >= 0 || release_notice_accept(notice, client))) {
            if (client->socket < 0)
                continue;
            if (release_notice_receive(notice, client))
                break;
            release_notice_close_one(&client->socket);
        }
        pending = pending || client->socket >= 0;
    }
    return pending;
}

bool release_notice_await(struct release_notice *notice, int64_t timeout_ms)
{
    int64_t end_ms = loop_now_ms() + timeout_ms;
    int64_t left_ms;

    while (release_notice_step(notice) && !notice->released &&
           (left_ms = end_ms - loop_now_ms()) > 0) {
        struct pollfd watched[RELEASE_NOTICE_WATCHED];

        release_notice_watch(notice, watched);
        poll(watched, RELEASE_NOTICE_WATCHED, (int)left_ms);
    }
    return notice->released;
}

void release_notice_close(struct release_notice *notice)
{
    release_notice_close_one(&notice->listener);
    for (size_t i = 0; i < RELEASE_NOTICE_CLIENTS; i++)
        release_notice_close_one(&notice->clients[i].socket);
    explicit_bzero(notice->token, sizeof(notice->token));
}

/* ---- release ---- */

void release_announce(struct release_announcement *announcement, const char *token)
{
    for (int i = 0; i < RELEASE_NOTICE_NAMES; i++) {
        int *descriptor = &announcement->sockets[i];
        struct sockaddr_un address;
        socklen_t length = release_notice_address(&address, token, i);

        *descriptor = socket(AF_UNIX, NOTICE_FLAGS, 0);
        if (*descriptor >= 0 &&
            (connect(*descriptor, (struct sockaddr *)&address, length) < 0 ||
             !release_notice_is_trusted(*descriptor) ||
             send(*descriptor, token, DFLOCKD_TOKEN_LENGTH, MSG_NOSIGNAL) != DFLOCKD_TOKEN_LENGTH))
            release_notice_close_one(descriptor);
    }
}

void release_announce_result(struct release_announcement *announcement, bool released)
{
    for (int i = 0; i < RELEASE_NOTICE_NAMES; i++) {
        int *descriptor = &announcement->sockets[i];

        if (*descriptor >= 0 && released)
            send(*descriptor, &notice_released, sizeof(notice_released), MSG_NOSIGNAL);
        release_notice_close_one(descriptor);
    }
}
