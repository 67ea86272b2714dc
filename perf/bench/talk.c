#include "bench/talk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool talk_send(int descriptor, const void *bytes, size_t length)
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

const char *talk_hear(int descriptor, struct talk_input *input, uint32_t *length)
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

static bool say_secret(int descriptor, const struct speech *speech, const struct address *address,
                       char problem[TALK_PROBLEM_MAX])
{
    struct talk_input input = {0};
    const char *line = NULL;
    uint32_t length = 0;

    if (talk_send(descriptor, speech->auth_request, speech->auth_length))
        line = talk_hear(descriptor, &input, &length);
    if (line && length == 2 && memcmp(line, "ok", 2) == 0)
        return true;
    snprintf(problem, TALK_PROBLEM_MAX, "%s does not take the secret: %.*s", address->text,
             line ? (int)(length < 60 ? length : 60) : 9, line ? line : "no answer");
    return false;
}

int talk_open(const struct address *address, const struct speech *speech,
              char problem[TALK_PROBLEM_MAX])
{
    int descriptor = address_connect(address);

    if (descriptor < 0) {
        snprintf(problem, TALK_PROBLEM_MAX, "cannot connect to %s: %s", address->text,
                 strerror(-descriptor));
        return -1;
    }
    if (speech->auth_request && !say_secret(descriptor, speech, address, problem)) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static bool send_bytes(void *receiver, const uint8_t *bytes, size_t length)
{
    return talk_send(*(const int *)receiver, bytes, length);
}

bool talk_try_tls(int descriptor, const struct address *address, struct tls_context *context,
                  char problem[TALK_PROBLEM_MAX])
{
    struct tls *tls = tls_call(context, address->host, send_bytes, &descriptor);
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
            why = "no answer";
            break;
        }
    }
    if (!ready)
        snprintf(problem, TALK_PROBLEM_MAX, "no TLS with %s: %.200s", address->text, why);
    if (tls)
        tls_end(tls);
    tls_free(tls);
    return ready;
}
