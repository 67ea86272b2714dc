#include "bench/setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/advice.h"

bool setup_send(int descriptor, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length > 0) {
        ssize_t count = send(descriptor, at, length, MSG_NOSIGNAL);

        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        at += count;
        length -= (size_t)count;
    }
    return true;
}

const char *setup_read_line(int descriptor, struct setup_input *input, uint32_t *length)
{
    for (;;) {
        char *line = input->bytes + input->start;
        const char *end = memchr(line, '\n', input->end - input->start);
        ssize_t count;

        if (end) {
            *length = (uint32_t)(end - line);
            input->start += *length + 1;
            return line;
        }
        memmove(input->bytes, line, input->end - input->start);
        input->end -= input->start;
        input->start = 0;
        if (input->end == sizeof(input->bytes))
            return NULL;
        count = recv(descriptor, input->bytes + input->end, sizeof(input->bytes) - input->end, 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return NULL;
        input->end += (size_t)count;
    }
}

static void setup_set_problem(const struct server *server, const char *what,
                              char problem[SETUP_PROBLEM_MAX])
{
    const char *advice = advice_for(what);

    snprintf(problem, SETUP_PROBLEM_MAX, "%s: %s%s", server->address.text, what,
             advice ? advice : "");
}

/* Explains a refused secret. `line` is the reply; NULL: none. Returns whether it is "ok". */
static bool setup_check_auth(const struct server *server, const char *line, uint32_t length,
                             char problem[SETUP_PROBLEM_MAX])
{
    char what[160];

    if (line && length == 2 && memcmp(line, "ok", 2) == 0)
        return true;
    if (!line)
        snprintf(what, sizeof(what), "no reply to the secret; the server may need --tls");
    else if (length == 5 && memcmp(line, "error", 5) == 0)
        snprintf(what, sizeof(what), "the server does not use a secret");
    else
        snprintf(what, sizeof(what), "the server refused the secret: %.*s",
                 (int)(length < 60 ? length : 60), line);
    setup_set_problem(server, what, problem);
    return false;
}

static int setup_connect_plain(const struct server *server, uint32_t *choice,
                               char problem[SETUP_PROBLEM_MAX])
{
    int descriptor = server_connect(server, choice);

    if (descriptor >= 0)
        return descriptor;
    snprintf(problem, SETUP_PROBLEM_MAX, "%s: cannot connect: %s; check --servers",
             server->address.text, strerror(-descriptor));
    return -1;
}

/* ---- tests of a server ---- */

/* A connection with or without TLS. */
struct setup_channel {
    const struct server *server;
    const struct codec *codec;
    int descriptor;
    struct tls *tls; /* NULL: none */
    struct setup_input input;
};

static bool setup_send_ciphertext(void *receiver, const uint8_t *bytes, size_t length)
{
    return setup_send(*(const int *)receiver, bytes, length);
}

/* Passes received bytes to TLS. Returns NULL or a reason. */
static const char *setup_feed_tls(struct setup_channel *channel, const uint8_t *bytes,
                                  size_t length)
{
    struct setup_input *input = &channel->input;
    enum tls_result result = TLS_BYTES;
    size_t count;

    tls_give(channel->tls, bytes, length);
    while (result == TLS_BYTES && input->end < sizeof(input->bytes)) {
        result = tls_read(channel->tls, (uint8_t *)input->bytes + input->end,
                          sizeof(input->bytes) - input->end, &count);
        if (result == TLS_BYTES)
            input->end += count;
    }
    if (result == TLS_BROKEN)
        return tls_problem(channel->tls);
    return result == TLS_WAITS || memchr(input->bytes, '\n', input->end) ? NULL : "no reply";
}

static const char *setup_receive_tls(struct setup_channel *channel)
{
    uint8_t bytes[4096];
    ssize_t length = recv(channel->descriptor, bytes, sizeof(bytes), 0);

    if (length < 0)
        return errno == EAGAIN ? "no reply in time" : strerror(errno);
    if (length == 0)
        return "the server closed the connection";
    return setup_feed_tls(channel, bytes, (size_t)length);
}

/*
 * Sends a request and reads the reply to `*line`. Returns NULL or a reason. Each request has one
 * reply, so that no earlier one is left in the input.
 */
static const char *setup_ask_tls(struct setup_channel *channel, const void *request,
                                 size_t request_length, const char **line, uint32_t *length)
{
    struct setup_input *input = &channel->input;
    const char *why = tls_ready(channel->tls) ? NULL : setup_feed_tls(channel, NULL, 0);
    const char *end = NULL;

    while (!why && !tls_ready(channel->tls))
        why = setup_receive_tls(channel);
    input->end = 0;
    if (!why && !tls_write(channel->tls, request, request_length))
        return "out of memory";
    while (!why && !(end = memchr(input->bytes, '\n', input->end)))
        why = setup_receive_tls(channel);
    if (why)
        return why;
    *line = input->bytes;
    *length = (uint32_t)(end - input->bytes);
    return NULL;
}

/* Sends a request and reads its reply; NULL: none. Returns false on failure of TLS. */
static bool setup_ask(struct setup_channel *channel, const void *request, size_t request_length,
                      const char **line, uint32_t *length, char problem[SETUP_PROBLEM_MAX])
{
    char what[SETUP_PROBLEM_MAX / 2];
    const char *why;

    *line = NULL;
    if (!channel->tls) {
        if (setup_send(channel->descriptor, request, request_length))
            *line = setup_read_line(channel->descriptor, &channel->input, length);
        return true;
    }
    why = setup_ask_tls(channel, request, request_length, line, length);
    if (!why)
        return true;
    /* Texts of GnuTLS end with a full stop. */
    snprintf(what, sizeof(what), "%s: %.*s",
             tls_ready(channel->tls) ? "TLS" : "TLS handshake failed",
             (int)(strlen(why) - (why[strlen(why) - 1] == '.')), why);
    setup_set_problem(channel->server, what, problem);
    return false;
}

static bool setup_authenticate(struct setup_channel *channel, char problem[SETUP_PROBLEM_MAX])
{
    const struct codec *codec = channel->codec;
    const char *line;
    uint32_t length = 0;

    return setup_ask(channel, codec->auth_request, codec->auth_length, &line, &length, problem) &&
           setup_check_auth(channel->server, line, length, problem);
}

static bool setup_ping(struct setup_channel *channel, char problem[SETUP_PROBLEM_MAX])
{
    static const char ping[] = "ping\n_\n\n";
    const char *line;
    uint32_t length;

    return setup_ask(channel, ping, sizeof(ping) - 1, &line, &length, problem);
}

/*
 * Only `error` shows that a server does not know `rl`. The load itself reports any other refusal,
 * and a server that does not reply.
 */
static bool setup_try_shared(struct setup_channel *channel, char problem[SETUP_PROBLEM_MAX])
{
    static const char tail[] = "\n0 1\n";
    const struct codec *codec = channel->codec;
    uint8_t request[CODEC_REQUEST_MAX] = "rl\n";
    uint8_t *end = keys_write(codec->keys, request + 3, KEY_CHOSEN, 0);
    struct token token = {0};
    struct reply reply;
    const char *line;
    uint32_t length = 0;

    memcpy(end, tail, sizeof(tail));
    end += sizeof(tail) - 1;
    if (!setup_ask(channel, request, (size_t)(end - request), &line, &length, problem))
        return false;
    if (!line)
        return true;
    reply = codec_parse_reply(codec, REQUEST_SHARED_ACQUIRE, line, length, &token);
    if (reply.outcome == DFLOCKD_ERROR) {
        setup_set_problem(channel->server,
                          "this server does not support shared locks; leave out the shared loads",
                          problem);
        return false;
    }
    if (!reply.token)
        return true;
    end = codec_write_request(codec, request, REQUEST_SHARED_RELEASE, KEY_CHOSEN, 0, &token);
    return setup_ask(channel, request, (size_t)(end - request), &line, &length, problem);
}

static bool setup_try_requests(struct setup_channel *channel, bool shared,
                               char problem[SETUP_PROBLEM_MAX])
{
    if (channel->codec->auth_request && !setup_authenticate(channel, problem))
        return false;
    if (shared)
        return setup_try_shared(channel, problem);
    return channel->codec->auth_request || !channel->tls || setup_ping(channel, problem);
}

int setup_try(const struct server *server, const struct codec *codec, struct tls_context *context,
              bool shared, char problem[SETUP_PROBLEM_MAX])
{
    struct setup_channel channel = {.server = server, .codec = codec};
    uint32_t choice = 0;
    bool fine;

    channel.descriptor = setup_connect_plain(server, &choice, problem);
    if (channel.descriptor < 0)
        return -1;
    if (context)
        channel.tls =
            tls_call(context, server->tls_name, setup_send_ciphertext, &channel.descriptor);
    if (context && !channel.tls) {
        setup_set_problem(server, "out of memory", problem);
        fine = false;
    } else {
        fine = setup_try_requests(&channel, shared, problem);
    }
    if (channel.tls)
        tls_end(channel.tls);
    tls_free(channel.tls);
    close(channel.descriptor);
    return fine ? (int)choice : -1;
}

int setup_connect(const struct server *server, const struct codec *codec,
                  char problem[SETUP_PROBLEM_MAX])
{
    uint32_t choice;
    struct setup_channel channel = {.server = server, .codec = codec};

    channel.descriptor = setup_connect_plain(server, &choice, problem);
    if (channel.descriptor >= 0 && codec->auth_request && !setup_authenticate(&channel, problem)) {
        close(channel.descriptor);
        return -1;
    }
    return channel.descriptor;
}
