#include "bench/setup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/advice.h"

enum {
    SETUP_LINE_MAX = 256 /* of a reply over TLS */
};

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

static bool setup_authenticate(int descriptor, const struct codec *codec,
                               const struct server *server, char problem[SETUP_PROBLEM_MAX])
{
    struct setup_input input = {0};
    const char *line = NULL;
    uint32_t length = 0;

    if (setup_send(descriptor, codec->auth_request, codec->auth_length))
        line = setup_read_line(descriptor, &input, &length);
    return setup_check_auth(server, line, length, problem);
}

static int setup_connect_plain(const struct server *server, uint32_t *choice,
                               char problem[SETUP_PROBLEM_MAX])
{
    uint32_t number;
    int descriptor = server_connect(server, choice ? choice : &number);

    if (descriptor >= 0)
        return descriptor;
    snprintf(problem, SETUP_PROBLEM_MAX, "%s: cannot connect: %s; check --servers",
             server->address.text, strerror(-descriptor));
    return -1;
}

int setup_connect(const struct server *server, const struct codec *codec, uint32_t *choice,
                  char problem[SETUP_PROBLEM_MAX])
{
    int descriptor = setup_connect_plain(server, choice, problem);

    if (descriptor >= 0 && codec->auth_request &&
        !setup_authenticate(descriptor, codec, server, problem)) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

/* ---- TLS ---- */

static bool setup_send_ciphertext(void *receiver, const uint8_t *bytes, size_t length)
{
    return setup_send(*(const int *)receiver, bytes, length);
}

/* Sends `request` after the handshake and reads a line of the reply. Returns NULL or a reason. */
static const char *setup_ask_tls(int descriptor, struct tls *tls, const char *request,
                                 size_t request_length, char *line, size_t *line_length)
{
    uint8_t bytes[4096];
    ssize_t length = 0;
    bool sent = false;
    size_t count;

    for (*line_length = 0; !memchr(line, '\n', *line_length);) {
        enum tls_result result;

        tls_give(tls, bytes, (size_t)length);
        do {
            result = tls_read(tls, (uint8_t *)line + *line_length, SETUP_LINE_MAX - *line_length,
                              &count);
            if (result == TLS_BYTES)
                *line_length += count;
        } while (result == TLS_BYTES && *line_length < SETUP_LINE_MAX);
        if (result == TLS_BROKEN)
            return tls_problem(tls);
        if (result == TLS_ENDED || *line_length == SETUP_LINE_MAX)
            return "no reply";
        if (tls_ready(tls) && !sent) {
            sent = true;
            if (!tls_write(tls, (const uint8_t *)request, request_length))
                return "out of memory";
        }
        if (memchr(line, '\n', *line_length))
            break;
        length = recv(descriptor, bytes, sizeof(bytes), 0);
        if (length < 0)
            return errno == EAGAIN ? "no reply in time" : strerror(errno);
        if (length == 0)
            return "the server closed the connection";
    }
    return NULL;
}

int setup_try_tls(const struct server *server, const struct codec *codec,
                  struct tls_context *context, char problem[SETUP_PROBLEM_MAX])
{
    static const char ping[] = "ping\n_\n\n";
    const char *request = codec->auth_request ? codec->auth_request : ping;
    uint32_t choice;
    int descriptor = setup_connect_plain(server, &choice, problem);
    struct tls *tls = descriptor < 0
                          ? NULL
                          : tls_call(context, server->tls_name, setup_send_ciphertext, &descriptor);
    const char *why = tls ? NULL : "out of memory";
    char line[SETUP_LINE_MAX + 1] = "";
    size_t length = 0;
    bool fine;

    if (descriptor < 0)
        return -1;
    if (tls)
        why = setup_ask_tls(descriptor, tls, request, strlen(request), line, &length);
    fine = !why;
    if (why) {
        char what[SETUP_PROBLEM_MAX / 2];

        /* Texts of GnuTLS end with a full stop. */
        snprintf(what, sizeof(what), "%s: %.*s",
                 tls && tls_ready(tls) ? "TLS" : "TLS handshake failed",
                 (int)(strlen(why) - (why[strlen(why) - 1] == '.')), why);
        setup_set_problem(server, what, problem);
    } else if (codec->auth_request)
        fine = setup_check_auth(server, line, (uint32_t)(strcspn(line, "\r\n")), problem);
    if (tls)
        tls_end(tls);
    tls_free(tls);
    close(descriptor);
    return fine ? (int)choice : -1;
}
