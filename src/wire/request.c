#include "wire/request.h"

#include <string.h>

#include "wire/hex.h"

enum {
    FIELDS_MAX = 3 /* of an arg; a fourth is too many for every command */
};

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static struct slice strip_returns(struct slice line)
{
    while (line.length > 0 && line.bytes[line.length - 1] == '\r')
        line.length--;
    return line;
}

static bool slice_is(struct slice slice, const char *word)
{
    return slice.length == strlen(word) && memcmp(slice.bytes, word, slice.length) == 0;
}

/* The place of the letter in the order of enum dflockd_command, or -1. */
static int operation_of(uint8_t letter)
{
    switch (letter) {
    case 'l':
        return DFLOCKD_ACQUIRE;
    case 'r':
        return DFLOCKD_RELEASE;
    case 'n':
        return DFLOCKD_RENEW;
    case 'e':
        return DFLOCKD_ENQUEUE;
    case 'w':
        return DFLOCKD_WAIT;
    default:
        return -1;
    }
}

static int command_of(struct slice word)
{
    if (word.length == 1)
        return operation_of(word.bytes[0]);
    if (word.length == 2 && word.bytes[0] == 's') {
        int operation = operation_of(word.bytes[1]);

        return operation < 0 ? -1 : operation + DFLOCKD_SEMAPHORE_ACQUIRE;
    }
    for (int command = DFLOCKD_PING; command < DFLOCKD_COMMAND_COUNT; command++) {
        static const char *const words[] = {
#define X(name, text) [DFLOCKD_##name] = (text),
            DFLOCKD_COMMANDS(X)
#undef X
        };

        if (slice_is(word, words[command]))
            return command;
    }
    return -1;
}

static bool key_valid(struct slice key)
{
    if (key.length == 0 || key.length > DFLOCKD_KEY_MAX)
        return false;
    for (uint32_t i = 0; i < key.length; i++) {
        uint8_t byte = key.bytes[i];

        if (byte == ' ' || byte == '\t' || byte == '\r')
            return false;
    }
    return true;
}

/* Cuts `arg` at its blanks; the number of fields, FIELDS_MAX + 1 standing for more. */
static uint32_t split(struct slice arg, struct slice fields[FIELDS_MAX])
{
    uint32_t count = 0;
    uint32_t at = 0;

    for (;;) {
        uint32_t start;

        while (at < arg.length && is_blank(arg.bytes[at]))
            at++;
        if (at == arg.length)
            return count;
        if (count == FIELDS_MAX)
            return FIELDS_MAX + 1;
        start = at;
        while (at < arg.length && !is_blank(arg.bytes[at]))
            at++;
        fields[count++] = (struct slice){.bytes = arg.bytes + start, .length = at - start};
    }
}

/* A decimal number with an optional sign, of `least` to `most`. */
static bool read_number(struct slice field, uint64_t least, uint64_t most, uint64_t *number)
{
    bool negative = field.length > 0 && field.bytes[0] == '-';
    uint32_t at = negative || (field.length > 0 && field.bytes[0] == '+');
    uint64_t value = 0;

    if (at == field.length)
        return false;
    for (; at < field.length; at++) {
        uint8_t digit = (uint8_t)(field.bytes[at] - '0');

        if (digit > 9)
            return false;
        value = value * 10 + digit;
        if (value > most)
            return false;
    }
    if (negative && value > 0)
        return false;
    *number = value;
    return value >= least;
}

static bool read_token(struct slice field, struct request *request)
{
    return field.length == DFLOCKD_TOKEN_LENGTH && hex_read(field.bytes, &request->fence) &&
           hex_read(field.bytes + HEX_DIGITS, &request->salt);
}

static bool read_seconds(struct slice field, uint64_t least, uint64_t *seconds)
{
    return read_number(field, least, DFLOCKD_SECONDS_MAX, seconds);
}

static bool read_limit(struct slice field, uint32_t *limit)
{
    uint64_t value;

    if (!read_number(field, 1, DFLOCKD_LIMIT_MAX, &value))
        return false;
    *limit = (uint32_t)value;
    return true;
}

/*
 * The shape of an arg: what stands before the optional lease. Semaphores have a limit where a
 * claim may begin: `<timeout> [<limit>] [<lease>]`, `[<limit>] [<lease>]`.
 */
static bool read_arg(struct slice arg, struct request *request)
{
    bool semaphore = command_of_semaphores(request->command);
    int operation = (int)request->command - (semaphore ? DFLOCKD_SEMAPHORE_ACQUIRE : 0);
    bool takes_timeout = operation == DFLOCKD_ACQUIRE || operation == DFLOCKD_WAIT;
    bool takes_token = operation == DFLOCKD_RELEASE || operation == DFLOCKD_RENEW;
    bool takes_limit = semaphore && (operation == DFLOCKD_ACQUIRE || operation == DFLOCKD_ENQUEUE);
    bool takes_lease = operation != DFLOCKD_RELEASE && operation != DFLOCKD_WAIT;
    struct slice fields[FIELDS_MAX];
    uint32_t count = split(arg, fields);
    uint32_t least = (uint32_t)takes_timeout + takes_token + takes_limit;
    uint32_t at = 0;

    request->limit = 1;
    request->lease_s = 0;
    if (count < least || count > least + takes_lease)
        return false;
    if (takes_timeout && !read_seconds(fields[at++], 0, &request->timeout_s))
        return false;
    if (takes_token && !read_token(fields[at++], request))
        return false;
    if (takes_limit && !read_limit(fields[at++], &request->limit))
        return false;
    return at == count || read_seconds(fields[at], 1, &request->lease_s);
}

/* The arg of `own`: `l` or `s` for the kind, and the token. */
static bool read_own(struct slice arg, struct request *request)
{
    struct slice fields[FIELDS_MAX];

    if (split(arg, fields) != 2 || !read_token(fields[1], request))
        return false;
    request->semaphore = slice_is(fields[0], "s");
    return request->semaphore || slice_is(fields[0], "l");
}

static struct slice trim(struct slice arg)
{
    while (arg.length > 0 && is_blank(arg.bytes[arg.length - 1]))
        arg.length--;
    while (arg.length > 0 && is_blank(arg.bytes[0])) {
        arg.bytes++;
        arg.length--;
    }
    return arg;
}

static void interpret(const struct slice lines[3], struct request *request)
{
    int command = command_of(lines[0]);

    request->valid = command >= 0;
    if (!request->valid)
        return;
    request->command = (enum dflockd_command)command;
    switch (request->command) {
    case DFLOCKD_PING:
    case DFLOCKD_STATS:
        return;
    case DFLOCKD_AUTH:
        request->secret = trim(lines[2]);
        return;
    case DFLOCKD_OWN:
        request->key = lines[1];
        request->valid = key_valid(lines[1]) && read_own(lines[2], request);
        return;
    default:
        request->key = lines[1];
        request->semaphore = command_of_semaphores(request->command);
        request->valid = key_valid(lines[1]) && read_arg(lines[2], request);
    }
}

struct request_frame request_read(const uint8_t *bytes, size_t length, struct request *request)
{
    struct request_frame frame = {.framing = REQUEST_PARTIAL};
    struct slice lines[3];
    size_t line_max = DFLOCKD_LINE_MAX;

    while (frame.lines < 3) {
        const uint8_t *start = bytes + frame.length;
        size_t rest = length - frame.length;
        size_t reach = rest <= line_max ? rest : line_max + 1;
        const uint8_t *end = memchr(start, '\n', reach);

        if (!end) {
            if (reach > line_max)
                frame.framing = REQUEST_TOO_LONG;
            return frame;
        }
        lines[frame.lines] =
            strip_returns((struct slice){.bytes = start, .length = (uint32_t)(end - start)});
        frame.length += (uint32_t)(end - start) + 1;
        frame.lines++;
        if (frame.lines == 2 && slice_is(lines[0], "auth"))
            line_max = DFLOCKD_AUTH_LINE_MAX;
    }
    frame.framing = REQUEST_COMPLETE;
    interpret(lines, request);
    return frame;
}
