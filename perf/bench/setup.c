#include "bench/setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

static bool setup_authenticate(int descriptor, const struct codec *codec,
                               const struct server *server, char problem[SETUP_PROBLEM_MAX])
{
    struct setup_input input = {0};
    const char *line = NULL;
    uint32_t length = 0;

    if (setup_send(descriptor, codec->auth_request, codec->auth_length))
        line = setup_read_line(descriptor, &input, &length);
    if (line && length == 2 && memcmp(line, "ok", 2) == 0)
        return true;
    snprintf(problem, SETUP_PROBLEM_MAX, "%s: refused the auth token: %.*s", server->address.text,
             line ? (int)(length < 60 ? length : 60) : 9, line ? line : "no reply");
    return false;
}

int setup_connect(const struct server *server, const struct codec *codec,
                  char problem[SETUP_PROBLEM_MAX])
{
    int descriptor = server_connect(server);

    if (descriptor < 0) {
        snprintf(problem, SETUP_PROBLEM_MAX, "%s: cannot connect: %s; check --servers",
                 server->address.text, strerror(-descriptor));
        return -1;
    }
    if (codec->auth_request && !setup_authenticate(descriptor, codec, server, problem)) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static bool setup_send_ciphertext(void *receiver, const uint8_t *bytes, size_t length)
{
    return setup_send(*(const int *)receiver, bytes, length);
}

bool setup_try_tls(int descriptor, const struct server *server, struct tls_context *context,
                   char problem[SETUP_PROBLEM_MAX])
{
    struct tls *tls =
        tls_call(context, address_tls_name(&server->address), setup_send_ciphertext, &descriptor);
    const char *why = "out of memory";
    uint8_t bytes[4096];
    uint8_t plain[16];
    size_t plain_length;
    ssize_t length = 0;
    bool ready = false;

    while (tls && !ready && length >= 0) {
        tls_give(tls, bytes, (size_t)length);
        if (tls_read(tls, plain, sizeof(plain), &plain_length) == TLS_BROKEN) {
            why = tls_problem(tls);
            break;
        }
        ready = tls_ready(tls);
        length = ready ? 0 : recv(descriptor, bytes, sizeof(bytes), 0);
        if (!ready && length <= 0) {
            why = "no reply";
            break;
        }
    }
    if (!ready)
        /* Texts of GnuTLS end with a full stop. */
        snprintf(problem, SETUP_PROBLEM_MAX, "%s: TLS handshake failed: %.*s", server->address.text,
                 (int)(strlen(why) - (why[strlen(why) - 1] == '.')), why);
    if (tls)
        tls_end(tls);
    tls_free(tls);
    return ready;
}
