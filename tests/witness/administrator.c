#include "administrator.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time_units.h"

enum {
    RETRY_MS = 20,
    REPLY_MAX_BYTES = 128 * 1024, /* `show` lists 100 holders and 100 waiters */
    HOLDERS_MAX = 100,

    /* Chances in 1000. */
    REVOKE_AT_ONCE = 500,
    REVOKE_AGAIN = 100,       /* the grant that it revoked last */
    REVOKE_ON_OTHER_KEY = 50, /* must be refused */
    CLOSE_WITH_REQUEST = 10
};

enum administrator_state {
    ADMINISTRATOR_CLOSED,
    ADMINISTRATOR_AUTHENTICATING,
    ADMINISTRATOR_IDLE,
    ADMINISTRATOR_READING_HOLDERS, /* `show` is sent */
    ADMINISTRATOR_PAUSING,         /* before `revoke` */
    ADMINISTRATOR_REVOKING         /* `revoke` is sent */
};

struct administrator {
    struct witness *witness;
    int descriptor;
    enum administrator_state state;
    uint64_t act_ns; /* time of the next action; 0: a reply is pending */
    uint32_t key;    /* of `show` and `revoke` */
    bool other_key;  /* the revocation names another key than the grant's */
    uint64_t fence;
    uint32_t revoked_key;
    uint64_t revoked_fence; /* revoked last; 0: none */
    uint32_t reply_length;
    char reply[REPLY_MAX_BYTES];
};

static void administrator_set_state(struct administrator *administrator,
                                    enum administrator_state state, uint64_t act_ns)
{
    administrator->state = state;
    administrator->act_ns = act_ns;
}

static void administrator_close(struct administrator *administrator)
{
    struct linger linger = {.l_onoff = 1};

    if (administrator->descriptor >= 0) {
        if (witness_random(administrator->witness, 2))
            setsockopt(administrator->descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        close(administrator->descriptor);
    }
    administrator->descriptor = -1;
    administrator->reply_length = 0;
    administrator_set_state(administrator, ADMINISTRATOR_CLOSED,
                            administrator->witness->now_ns + RETRY_MS * NS_PER_MS);
}

static void administrator_report(struct administrator *administrator, enum judge_rule rule,
                                 const char *what)
{
    char text[256];

    snprintf(text, sizeof(text), "administrator in state %d: %.200s", administrator->state, what);
    judge_report(administrator->witness->judge, rule, text);
}

/* Reports a reply or close outside the protocol. */
static void administrator_fail(struct administrator *administrator, const char *what)
{
    if (!administrator->witness->drains)
        administrator_report(administrator, JUDGE_SERVICE, what);
    administrator_close(administrator);
}

static void administrator_idle(struct administrator *administrator)
{
    struct witness *witness = administrator->witness;

    administrator_set_state(administrator, ADMINISTRATOR_IDLE,
                            witness->now_ns +
                                witness_random(witness, witness->revoke_max_us * 1000) + 1);
}

/* ---- requests ---- */

static void administrator_send(struct administrator *administrator, enum administrator_state state,
                               const char *request)
{
    administrator_set_state(administrator, state, 0);
    send(administrator->descriptor, request, strlen(request), MSG_NOSIGNAL);
}

static void administrator_connect(struct administrator *administrator)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(administrator->witness->port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int one = 1;

    administrator->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(administrator->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(administrator->descriptor, (struct sockaddr *)&address, sizeof(address)) < 0) {
        administrator_fail(administrator, strerror(errno));
        return;
    }
    administrator_send(administrator, ADMINISTRATOR_AUTHENTICATING,
                       "auth\n_\n" ADMINISTRATOR_SECRET "\n");
}

static const char *administrator_kind(const struct administrator *administrator)
{
    return administrator->key < administrator->witness->locks ? "l" : "s";
}

static void administrator_show(struct administrator *administrator)
{
    struct witness *witness = administrator->witness;
    char request[128];

    administrator->key = (uint32_t)witness_random(witness, witness->locks + witness->semaphores);
    snprintf(request, sizeof(request), "show\n%s-%" PRIu32 "\n%s\n", witness->name,
             administrator->key, administrator_kind(administrator));
    administrator_send(administrator, ADMINISTRATOR_READING_HOLDERS, request);
}

static void administrator_revoke(struct administrator *administrator)
{
    struct witness *witness = administrator->witness;
    char request[128];

    if (administrator->other_key)
        administrator->key = (administrator->key + 1) % (witness->locks + witness->semaphores);
    else
        judge_revoking(witness->judge, administrator->key, administrator->fence,
                       witness_clock_ns());
    snprintf(request, sizeof(request), "revoke\n%s-%" PRIu32 "\n%s %016" PRIx64 "\n", witness->name,
             administrator->key, administrator_kind(administrator), administrator->fence);
    administrator_send(administrator, ADMINISTRATOR_REVOKING, request);
    if (witness_random(witness, 1000) < CLOSE_WITH_REQUEST)
        administrator_close(administrator);
}

/* ---- replies ---- */

/* Checks that the holders of one moment do not exclude each other. */
static void administrator_check_holders(struct administrator *administrator, const char *holders,
                                        uint32_t count)
{
    uint32_t limit = witness_limit(administrator->witness, administrator->key);

    if (limit == 1 ? count > 1 && strstr(holders, "\"exclusive\"") : count > limit)
        administrator_report(administrator, JUDGE_EXCLUSION, holders);
}

static void administrator_choose(struct administrator *administrator, char *reply)
{
    struct witness *witness = administrator->witness;
    char *holders = strstr(reply, "\"holders\":[");
    char *end = holders ? strstr(holders, "],\"waiters\":[") : NULL;
    uint64_t fences[HOLDERS_MAX];
    uint32_t count = 0;

    if (strncmp(reply, "ok {", 4) != 0 || !end) {
        if (strcmp(reply, "error") != 0) {
            administrator_fail(administrator, reply);
            return;
        }
        administrator_idle(administrator);
        return;
    }
    *end = 0;
    for (char *at = holders; count < HOLDERS_MAX && (at = strstr(at, "{\"fence\":\"")); at++)
        fences[count++] = strtoull(at + strlen("{\"fence\":\""), NULL, 16);
    administrator_check_holders(administrator, holders, count);
    administrator->other_key = false;
    if (administrator->revoked_fence && witness_random(witness, 1000) < REVOKE_AGAIN) {
        administrator->key = administrator->revoked_key;
        administrator->fence = administrator->revoked_fence;
    } else if (count) {
        administrator->fence = fences[witness_random(witness, count)];
        administrator->other_key = witness->locks + witness->semaphores > 1 &&
                                   witness_random(witness, 1000) < REVOKE_ON_OTHER_KEY;
    } else {
        administrator_idle(administrator);
        return;
    }
    administrator_set_state(administrator, ADMINISTRATOR_PAUSING, witness->now_ns);
    if (witness_random(witness, 1000) >= REVOKE_AT_ONCE)
        administrator->act_ns += witness_random(witness, witness->hold_max_us * 1000);
}

static void administrator_revoked(struct administrator *administrator, const char *reply)
{
    struct witness *witness = administrator->witness;
    bool accepted = !strcmp(reply, "ok");

    if (!accepted && strcmp(reply, "error") != 0) {
        administrator_fail(administrator, reply);
        return;
    }
    if (!administrator->other_key) {
        judge_revoked(witness->judge, administrator->key, administrator->fence, accepted,
                      witness_clock_ns());
    } else if (accepted) {
        administrator_report(administrator, JUDGE_LEASE, "a fence of another key is revoked");
    }
    if (accepted) {
        administrator->revoked_key = administrator->key;
        administrator->revoked_fence = administrator->fence;
    }
    administrator_idle(administrator);
}

static void administrator_handle(struct administrator *administrator, char *reply)
{
    switch (administrator->state) {
    case ADMINISTRATOR_AUTHENTICATING:
        if (!strcmp(reply, "ok"))
            administrator_idle(administrator);
        else
            administrator_fail(administrator, reply);
        break;
    case ADMINISTRATOR_READING_HOLDERS:
        administrator_choose(administrator, reply);
        break;
    case ADMINISTRATOR_REVOKING:
        administrator_revoked(administrator, reply);
        break;
    default:
        administrator_fail(administrator, reply);
    }
}

static void administrator_read(struct administrator *administrator)
{
    ssize_t length;
    char *end;

    length = recv(administrator->descriptor, administrator->reply + administrator->reply_length,
                  REPLY_MAX_BYTES - 1 - administrator->reply_length, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        administrator_fail(administrator, "the server closed the connection");
        return;
    }
    end = memchr(administrator->reply + administrator->reply_length, '\n', (size_t)length);
    administrator->reply_length += (uint32_t)length;
    if (end) {
        *end = 0;
        administrator->reply_length = 0;
        administrator_handle(administrator, administrator->reply);
    } else if (administrator->reply_length == REPLY_MAX_BYTES - 1) {
        administrator_fail(administrator, "a reply too long");
    }
}

void administrator_turn(struct administrator *administrator)
{
    struct witness *witness = administrator->witness;

    if (administrator->descriptor >= 0)
        administrator_read(administrator);
    if (!administrator->act_ns || administrator->act_ns > witness->now_ns || witness->ending)
        return;
    switch (administrator->state) {
    case ADMINISTRATOR_CLOSED:
        administrator_connect(administrator);
        break;
    case ADMINISTRATOR_IDLE:
        administrator_show(administrator);
        break;
    case ADMINISTRATOR_PAUSING:
        administrator_revoke(administrator);
        break;
    default:
        break;
    }
}

struct administrator *administrator_new(struct witness *witness)
{
    struct administrator *administrator = calloc(1, sizeof(*administrator));

    if (administrator) {
        administrator->witness = witness;
        administrator->descriptor = -1;
        administrator->act_ns = witness->now_ns + RETRY_MS * NS_PER_MS;
    }
    return administrator;
}

void administrator_free(struct administrator *administrator)
{
    if (!administrator)
        return;
    if (administrator->descriptor >= 0)
        close(administrator->descriptor);
    free(administrator);
}
