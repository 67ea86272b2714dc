#include "wire/request.h"

#include <endian.h>
#include <string.h>

#include "base/utf8.h"
#include "wire/hex.h"

enum {
    FIELDS_MAX = 3 /* of an arg; no command has more */
};

static bool request_is_blank(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

/*
 * Returns the first offset from `at` on of a byte up to ' ', or the length. All blanks are among
 * these bytes. Looks at eight bytes at once: a byte below 0x21 borrows in the subtraction, which
 * sets its top bit; so may a byte above it, but not below, and the lowest one counts.
 */
static uint32_t request_find_low(struct slice text, uint32_t at)
{
    const uint64_t ones = UINT64_MAX / 0xff;

    for (; text.length - at >= sizeof(ones); at += (uint32_t)sizeof(ones)) {
        uint64_t word;
        uint64_t low;

        memcpy(&word, text.bytes + at, sizeof(word));
        word = le64toh(word);
        low = (word - ones * (' ' + 1)) & ~word & ones * 0x80;
        if (low)
            return at + (uint32_t)__builtin_ctzll(low) / 8;
    }
    while (at < text.length && text.bytes[at] > ' ')
        at++;
    return at;
}

static struct slice request_strip_returns(struct slice line)
{
    while (line.length > 0 && line.bytes[line.length - 1] == '\r')
        line.length--;
    return line;
}

static bool request_slice_is(struct slice slice, const char *word)
{
    return slice.length == strlen(word) && memcmp(slice.bytes, word, slice.length) == 0;
}

/* The command of a lock with this letter, or -1. */
static int request_operation(uint8_t letter)
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

static int request_command(struct slice word)
{
    if (word.length == 1)
        return request_operation(word.bytes[0]);
    if (word.length == 2 && word.bytes[0] == 's') {
        int operation = request_operation(word.bytes[1]);

        return operation < 0 ? -1 : operation + DFLOCKD_SEMAPHORE_ACQUIRE;
    }
    for (int command = DFLOCKD_PING; command < DFLOCKD_COMMAND_COUNT; command++) {
        static const char *const words[] = {
#define X(name, text) [DFLOCKD_##name] = (text),
            DFLOCKD_COMMANDS(X)
#undef X
        };

        if (request_slice_is(word, words[command]))
            return command;
    }
    return -1;
}

/* Returns the command of locks with the same fields in its arg. */
static enum dflockd_command request_basic_command(enum dflockd_command command)
{
    if (command_of_semaphores(command))
        return (enum dflockd_command)(command - DFLOCKD_SEMAPHORE_ACQUIRE);
    if (command == DFLOCKD_ACQUIRE_SHARED)
        return DFLOCKD_ACQUIRE;
    return command == DFLOCKD_ENQUEUE_SHARED ? DFLOCKD_ENQUEUE : command;
}

bool request_key_valid(struct slice key)
{
    if (key.length == 0 || key.length > DFLOCKD_KEY_MAX)
        return false;
    for (uint32_t at = 0; (at = request_find_low(key, at)) < key.length; at++) {
        uint8_t byte = key.bytes[at];

        if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n')
            return false;
    }
    return true;
}

/* Cuts `arg` at its blanks. Returns the number of fields, FIELDS_MAX + 1 for any larger one. */
static uint32_t request_split(struct slice arg, struct slice fields[FIELDS_MAX])
{
    uint32_t count = 0;
    uint32_t at = 0;

    for (;;) {
        uint32_t start;

        while (at < arg.length && request_is_blank(arg.bytes[at]))
            at++;
        if (at == arg.length)
            return count;
        if (count == FIELDS_MAX)
            return FIELDS_MAX + 1;
        start = at;
        while ((at = request_find_low(arg, at)) < arg.length && !request_is_blank(arg.bytes[at]))
            at++;
        fields[count++] = (struct slice){.bytes = arg.bytes + start, .length = at - start};
    }
}

/* A decimal number with an optional sign, of `least` to `most`. */
static bool request_read_number(struct slice field, uint64_t least, uint64_t most, uint64_t *number)
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

static bool request_read_token(struct slice field, struct request *request)
{
    return field.length == DFLOCKD_TOKEN_LENGTH && hex_read(field.bytes, &request->fence) &&
           hex_read(field.bytes + HEX_DIGITS, &request->salt);
}

static bool request_read_fence(struct slice field, struct request *request)
{
    return field.length == HEX_DIGITS && hex_read(field.bytes, &request->fence);
}

static bool request_read_seconds(struct slice field, uint64_t least, uint64_t *seconds)
{
    return request_read_number(field, least, DFLOCKD_SECONDS_MAX, seconds);
}

static bool request_read_limit(struct slice field, uint32_t *limit)
{
    uint64_t value;

    if (!request_read_number(field, 1, DFLOCKD_LIMIT_MAX, &value))
        return false;
    *limit = (uint32_t)value;
    return true;
}

/* Parses `[<timeout>] [<token>] [<limit>] [<lease>]`, as the command needs. */
static bool request_read_arg(struct slice arg, struct request *request)
{
    bool semaphore = command_of_semaphores(request->command);
    enum dflockd_command operation = request_basic_command(request->command);
    bool takes_timeout = operation == DFLOCKD_ACQUIRE || operation == DFLOCKD_WAIT;
    bool takes_token = operation == DFLOCKD_RELEASE || operation == DFLOCKD_RENEW;
    bool takes_limit = semaphore && (operation == DFLOCKD_ACQUIRE || operation == DFLOCKD_ENQUEUE);
    bool takes_lease = operation != DFLOCKD_RELEASE && operation != DFLOCKD_WAIT;
    struct slice fields[FIELDS_MAX];
    uint32_t count = request_split(arg, fields);
    uint32_t least = (uint32_t)takes_timeout + takes_token + takes_limit;
    uint32_t at = 0;

    if (count < least || count > least + takes_lease)
        return false;
    if (takes_timeout && !request_read_seconds(fields[at++], 0, &request->timeout_s))
        return false;
    if (takes_token && !request_read_token(fields[at++], request))
        return false;
    if (takes_limit && !request_read_limit(fields[at++], &request->limit))
        return false;
    return at == count || request_read_seconds(fields[at], 1, &request->lease_s);
}

/* Parses `l` or `s`, which is followed by a token for `own`, and by a fence for `revoke`. */
static bool request_read_kind(struct slice arg, struct request *request)
{
    struct slice fields[FIELDS_MAX];
    uint32_t count = request_split(arg, fields);

    if (count != (request->command == DFLOCKD_SHOW ? 1 : 2))
        return false;
    if (request->command == DFLOCKD_OWN && !request_read_token(fields[1], request))
        return false;
    if (request->command == DFLOCKD_REVOKE && !request_read_fence(fields[1], request))
        return false;
    request->semaphore = request_slice_is(fields[0], "s");
    return request->semaphore || request_slice_is(fields[0], "l");
}

static bool request_name_valid(struct slice name)
{
    uint32_t at = 0;

    while (at < name.length) {
        uint32_t length = utf8_length(name.bytes + at, name.length - at);

        if (length == 0 || !utf8_is_printable(name.bytes + at, length))
            return false;
        at += length;
    }
    return name.length > 0 && name.length <= DFLOCKD_NAME_MAX;
}

static struct slice request_trim(struct slice arg)
{
    while (arg.length > 0 && request_is_blank(arg.bytes[arg.length - 1]))
        arg.length--;
    while (arg.length > 0 && request_is_blank(arg.bytes[0])) {
        arg.bytes++;
        arg.length--;
    }
    return arg;
}

static void request_interpret(const struct slice lines[3], struct request *request)
{
    int command = request_command(lines[0]);

    *request = (struct request){.limit = 1, .valid = command >= 0};
    if (!request->valid)
        return;
    request->command = (enum dflockd_command)command;
    switch (request->command) {
    case DFLOCKD_PING:
    case DFLOCKD_STATS:
        return;
    case DFLOCKD_AUTH:
        request->secret = request_trim(lines[2]);
        return;
    case DFLOCKD_NAME:
        request->name = request_trim(lines[2]);
        request->valid = request_name_valid(request->name);
        return;
    case DFLOCKD_OWN:
    case DFLOCKD_SHOW:
    case DFLOCKD_REVOKE:
        request->key = lines[1];
        request->valid = request_key_valid(lines[1]) && request_read_kind(lines[2], request);
        return;
    default:
        request->key = lines[1];
        request->semaphore = command_of_semaphores(request->command);
        request->valid = request_key_valid(lines[1]) && request_read_arg(lines[2], request);
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
        lines[frame.lines] = request_strip_returns(
            (struct slice){.bytes = start, .length = (uint32_t)(end - start)});
        frame.length += (uint32_t)(end - start) + 1;
        frame.lines++;
        if (frame.lines == 2 && request_slice_is(lines[0], "auth"))
            line_max = DFLOCKD_AUTH_LINE_MAX;
    }
    frame.framing = REQUEST_COMPLETE;
    request_interpret(lines, request);
    return frame;
}
