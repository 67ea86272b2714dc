#include "client/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/name.h"

enum {
    ARGUMENT_MAX = 96, /* bytes of an arg line, except those of `auth` and `name` */
    WORD_MAX = 8       /* bytes of a command's word */
};

/* The successful reply to a command. */
enum shape {
    SHAPE_GRANT = 1,  /* ok <token> <lease> */
    SHAPE_TICKET = 2, /* acquired <token> <lease>, or queued */
    SHAPE_LEASE = 4,  /* ok <lease> */
    SHAPE_TEXT = 8,   /* ok <text> */
    SHAPE_BARE = 16,  /* ok */
    SHAPES_ALL = 31,
    SHAPES_QUEUE = SHAPE_GRANT | SHAPE_TICKET
};

struct form {
    enum shape shape;
    bool key;
    /* The parts of the arg line. It has them in the order of codec_encode_request. */
    bool kind; /* `l` or `s` */
    bool timeout;
    bool limit;
    bool lease;
    bool token;
    bool fence;
    enum dflockd_status error; /* of the reply `error`; DONE: FAILED */
};

static const struct form forms[DFLOCKD_COMMAND_COUNT] = {
    [DFLOCKD_ACQUIRE] = {.shape = SHAPE_GRANT, .key = true, .timeout = true, .lease = true},
    [DFLOCKD_RELEASE] = {.shape = SHAPE_BARE,
                         .key = true,
                         .token = true,
                         .error = DFLOCKD_STATUS_NOT_HELD},
    [DFLOCKD_RENEW] = {.shape = SHAPE_LEASE,
                       .key = true,
                       .token = true,
                       .lease = true,
                       .error = DFLOCKD_STATUS_NOT_HELD},
    [DFLOCKD_ENQUEUE] = {.shape = SHAPE_TICKET, .key = true, .lease = true},
    [DFLOCKD_WAIT] = {.shape = SHAPE_GRANT, .key = true, .timeout = true},
    [DFLOCKD_SEMAPHORE_ACQUIRE] =
        {.shape = SHAPE_GRANT, .key = true, .timeout = true, .limit = true, .lease = true},
    [DFLOCKD_SEMAPHORE_RELEASE] = {.shape = SHAPE_BARE,
                                   .key = true,
                                   .token = true,
                                   .error = DFLOCKD_STATUS_NOT_HELD},
    [DFLOCKD_SEMAPHORE_RENEW] = {.shape = SHAPE_LEASE,
                                 .key = true,
                                 .token = true,
                                 .lease = true,
                                 .error = DFLOCKD_STATUS_NOT_HELD},
    [DFLOCKD_SEMAPHORE_ENQUEUE] = {.shape = SHAPE_TICKET,
                                   .key = true,
                                   .limit = true,
                                   .lease = true},
    [DFLOCKD_SEMAPHORE_WAIT] = {.shape = SHAPE_GRANT, .key = true, .timeout = true},
    [DFLOCKD_PING] = {.shape = SHAPE_BARE},
    [DFLOCKD_STATS] = {.shape = SHAPE_TEXT},
    [DFLOCKD_AUTH] = {.shape = SHAPE_BARE},
    [DFLOCKD_OWN] = {.shape = SHAPE_BARE,
                     .key = true,
                     .kind = true,
                     .token = true,
                     .error = DFLOCKD_STATUS_NOT_HELD},
    [DFLOCKD_ACQUIRE_SHARED] = {.shape = SHAPE_GRANT,
                                .key = true,
                                .timeout = true,
                                .lease = true,
                                .error = DFLOCKD_STATUS_UNSUPPORTED},
    [DFLOCKD_ENQUEUE_SHARED] = {.shape = SHAPE_TICKET,
                                .key = true,
                                .lease = true,
                                .error = DFLOCKD_STATUS_UNSUPPORTED},
    [DFLOCKD_NAME] = {.shape = SHAPE_BARE, .error = DFLOCKD_STATUS_UNSUPPORTED},
    [DFLOCKD_SHOW] = {.shape = SHAPE_TEXT,
                      .key = true,
                      .kind = true,
                      .error = DFLOCKD_STATUS_NOT_HELD},
    [DFLOCKD_REVOKE] = {.shape = SHAPE_BARE,
                        .key = true,
                        .kind = true,
                        .fence = true,
                        .error = DFLOCKD_STATUS_NOT_HELD},
};

/* ---- requests ---- */

static bool codec_key_is_valid(const char *key)
{
    size_t length = key ? strnlen(key, DFLOCKD_KEY_MAX + 1) : 0;

    return length >= 1 && length <= DFLOCKD_KEY_MAX && !strpbrk(key, " \t\r\n");
}

static bool codec_token_is_valid(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!(text[i] >= '0' && text[i] <= '9') && !(text[i] >= 'a' && text[i] <= 'f'))
            return false;
    }
    return length == DFLOCKD_TOKEN_LENGTH;
}

static bool codec_secret_is_valid(const char *secret)
{
    size_t length = secret ? strnlen(secret, DFLOCKD_AUTH_LINE_MAX + 1) : 0;

    return length >= 1 && length <= DFLOCKD_AUTH_LINE_MAX && !strpbrk(secret, "\r\n");
}

static bool codec_reserved_is_zero(const struct dflockd_request *request)
{
    uint64_t set = 0;

    for (size_t i = 0; i < sizeof(request->reserved) / sizeof(request->reserved[0]); i++)
        set |= request->reserved[i];
    return set == 0;
}

bool codec_request_is_valid(const struct dflockd_request *request)
{
    const struct form *form;

    if (!codec_reserved_is_zero(request))
        return false;
    if ((unsigned)request->command >= DFLOCKD_COMMAND_COUNT)
        return false;
    if (request->command == DFLOCKD_AUTH)
        return codec_secret_is_valid(request->token);
    if (request->command == DFLOCKD_NAME)
        return request->text && name_is_valid(request->text);
    form = &forms[request->command];
    if (form->key && !codec_key_is_valid(request->key))
        return false;
    if (form->timeout && request->timeout_s > DFLOCKD_SECONDS_MAX)
        return false;
    if (form->lease && request->lease_s > DFLOCKD_SECONDS_MAX)
        return false;
    if (form->limit && (request->limit < 1 || request->limit > DFLOCKD_LIMIT_MAX))
        return false;
    return !form->token ||
           (request->token && codec_token_is_valid(request->token, strlen(request->token)));
}

/* Returns the arg of a command that takes any text; NULL if it takes fields. */
static const char *codec_free_argument(const struct dflockd_request *request)
{
    if (request->command == DFLOCKD_NAME)
        return request->text;
    return request->command == DFLOCKD_AUTH ? request->token : NULL;
}

size_t codec_request_size_max(const struct dflockd_request *request)
{
    const char *argument = codec_free_argument(request);

    if (argument)
        return WORD_MAX + strlen(argument) + 4;
    return WORD_MAX + DFLOCKD_KEY_MAX + ARGUMENT_MAX + 4;
}

size_t codec_encode_request(uint8_t *to, const struct dflockd_request *request)
{
    static const char *const words[] = {
#define X(name, word) word,
        DFLOCKD_COMMANDS(X)
#undef X
    };
    const struct form *form = &forms[request->command];
    const char *argument = codec_free_argument(request);
    char text[ARGUMENT_MAX];
    int length = 0;

    if (!argument) {
        text[0] = '\0';
        if (form->kind)
            length += sprintf(text + length, " %c", request->semaphore ? 's' : 'l');
        if (form->token)
            length += sprintf(text + length, " %s", request->token);
        if (form->fence)
            length += sprintf(text + length, " %016" PRIx64, request->fence);
        if (form->timeout)
            length += sprintf(text + length, " %" PRIu64, request->timeout_s);
        if (form->limit)
            length += sprintf(text + length, " %" PRIu32, request->limit);
        if (form->lease && request->lease_s > 0)
            length += sprintf(text + length, " %" PRIu64, request->lease_s);
        argument = length > 0 ? text + 1 : text;
    }
    return (size_t)snprintf((char *)to, codec_request_size_max(request), "%s\n%s\n%s\n",
                            words[request->command], form->key ? request->key : "_", argument);
}

/* ---- replies ---- */

enum dflockd_outcome codec_parse_outcome(const char *word, size_t length)
{
    static const char *const words[] = {
#define X(name, word) word,
        DFLOCKD_OUTCOMES(X)
#undef X
    };
    unsigned outcome = 0;

    while (outcome < DFLOCKD_OUTCOME_COUNT &&
           (strlen(words[outcome]) != length || memcmp(words[outcome], word, length) != 0))
        outcome++;
    return outcome;
}

/* A lease is a number from 1 to DFLOCKD_SECONDS_MAX. */
static bool codec_parse_lease(struct dflockd_reply *reply, const char *text, size_t length)
{
    uint64_t seconds = 0;

    if (length == 0 || text[0] == '0')
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        seconds = seconds * 10 + (uint64_t)(text[i] - '0');
        if (seconds > DFLOCKD_SECONDS_MAX)
            return false;
    }
    reply->lease_s = seconds;
    return true;
}

static uint64_t codec_fence(const char *token)
{
    uint64_t fence = 0;

    for (int i = 0; i < DFLOCKD_TOKEN_LENGTH / 2; i++)
        fence = fence << 4 | (uint64_t)(token[i] <= '9' ? token[i] - '0' : token[i] - 'a' + 10);
    return fence;
}

static bool codec_parse_grant(struct dflockd_reply *reply, const char *text, size_t length)
{
    if (length <= DFLOCKD_TOKEN_LENGTH || text[DFLOCKD_TOKEN_LENGTH] != ' ' ||
        !codec_token_is_valid(text, DFLOCKD_TOKEN_LENGTH))
        return false;
    memcpy(reply->token, text, DFLOCKD_TOKEN_LENGTH);
    reply->fence = codec_fence(text);
    return codec_parse_lease(reply, text + DFLOCKD_TOKEN_LENGTH + 1,
                             length - DFLOCKD_TOKEN_LENGTH - 1);
}

/* `rest` follows the first word and a space; NULL if there is no space. */
static bool codec_parse_success(struct dflockd_reply *reply, enum shape shape, const char *rest,
                                size_t length)
{
    reply->status = DFLOCKD_STATUS_DONE;
    if ((reply->outcome == DFLOCKD_ACQUIRED) != (shape == SHAPE_TICKET))
        return false;
    if (shape == SHAPE_BARE || !rest)
        return shape == SHAPE_BARE && !rest;
    if (shape == SHAPE_LEASE)
        return codec_parse_lease(reply, rest, length);
    if (shape == SHAPE_TEXT) {
        reply->text = rest;
        reply->text_length = length;
        return length > 0;
    }
    return codec_parse_grant(reply, rest, length);
}

bool codec_parse_reply(struct dflockd_reply *reply, enum dflockd_command command, const char *line,
                       size_t length)
{
    static const struct {
        enum dflockd_status status;
        unsigned shapes; /* of the commands that have this reply */
    } others[DFLOCKD_OUTCOME_COUNT] = {
        [DFLOCKD_QUEUED] = {DFLOCKD_STATUS_WAITING, SHAPE_TICKET},
        [DFLOCKD_TIMEOUT] = {DFLOCKD_STATUS_TIMED_OUT, SHAPE_GRANT},
        [DFLOCKD_ERROR] = {DFLOCKD_STATUS_FAILED, SHAPES_ALL}, /* or that of the form */
        [DFLOCKD_ERROR_AUTH] = {DFLOCKD_STATUS_REFUSED, SHAPES_ALL},
        [DFLOCKD_ERROR_MAX_LOCKS] = {DFLOCKD_STATUS_MAX_LOCKS, SHAPES_QUEUE},
        [DFLOCKD_ERROR_MAX_WAITERS] = {DFLOCKD_STATUS_MAX_WAITERS, SHAPES_QUEUE},
        [DFLOCKD_ERROR_LIMIT_MISMATCH] = {DFLOCKD_STATUS_LIMIT_MISMATCH, SHAPES_QUEUE},
        [DFLOCKD_ERROR_NOT_ENQUEUED] = {DFLOCKD_STATUS_NOT_ENQUEUED, SHAPE_GRANT},
        [DFLOCKD_ERROR_ALREADY_ENQUEUED] = {DFLOCKD_STATUS_ALREADY, SHAPE_TICKET},
        [DFLOCKD_ERROR_LEASE_EXPIRED] = {DFLOCKD_STATUS_LOST, SHAPE_GRANT},
        [DFLOCKD_ERROR_DRAINING] = {DFLOCKD_STATUS_DRAINING, SHAPES_ALL},
    };
    const struct form *form = &forms[command];
    const char *space = memchr(line, ' ', length);
    size_t word = space ? (size_t)(space - line) : length;

    *reply = (struct dflockd_reply){.outcome = codec_parse_outcome(line, word)};
    if (reply->outcome == DFLOCKD_OUTCOME_COUNT)
        return false;
    if (reply->outcome == DFLOCKD_OK || reply->outcome == DFLOCKD_ACQUIRED)
        return codec_parse_success(reply, form->shape, space ? space + 1 : NULL,
                                   space ? length - word - 1 : 0);
    reply->status = others[reply->outcome].status;
    if (reply->outcome == DFLOCKD_ERROR && form->error != DFLOCKD_STATUS_DONE)
        reply->status = form->error;
    return !space && (others[reply->outcome].shapes & form->shape) != 0;
}
