/*
 * request_read. It finds the same lines as a simple reader; a prefix of the input gives the same
 * result or needs more bytes; a valid request is within all limits, and reads the same after it was
 * written again.
 *
 * The first three bytes are the place and the length of a run of one letter in the others, so that
 * short inputs reach the limits of lines.
 */
#include "fuzz.h"

#include <inttypes.h>

#include "wire/request.h"

enum {
    INPUT_MAX = 4096,
    RUN_BEYOND = 1024, /* more than 16 bits can hold, and than a line may have */
    TEXT_MAX = INPUT_MAX + UINT16_MAX + RUN_BEYOND
};

/* ---- expected results ---- */

static size_t line_max(const uint8_t *bytes, size_t first_length, uint32_t line)
{
    while (first_length > 0 && bytes[first_length - 1] == '\r')
        first_length--;
    if (line == 2 && first_length == 4 && memcmp(bytes, "auth", 4) == 0)
        return DFLOCKD_AUTH_LINE_MAX;
    return DFLOCKD_LINE_MAX;
}

static struct request_frame frame_naively(const uint8_t *bytes, size_t length)
{
    struct request_frame frame = {.framing = REQUEST_PARTIAL};
    size_t first_length = 0;

    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            if (frame.lines == 0)
                first_length = i;
            frame.length = (uint32_t)i + 1;
            if (++frame.lines == 3) {
                frame.framing = REQUEST_COMPLETE;
                return frame;
            }
        } else if (i - frame.length == line_max(bytes, first_length, frame.lines)) {
            frame.framing = REQUEST_TOO_LONG;
            return frame;
        }
    }
    return frame;
}

static bool slices_equal(struct slice a, struct slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

static bool requests_equal(const struct request *a, const struct request *b)
{
    return a->valid == b->valid && a->command == b->command && a->fence == b->fence &&
           a->salt == b->salt && a->timeout_s == b->timeout_s && a->lease_s == b->lease_s &&
           a->limit == b->limit && a->semaphore == b->semaphore && slices_equal(a->key, b->key) &&
           slices_equal(a->secret, b->secret); /* or the names */
}

static bool frames_equal(struct request_frame a, struct request_frame b)
{
    return a.framing == b.framing && a.length == b.length && a.lines == b.lines;
}

/* ---- reading ---- */

static void move_slice(struct slice *slice, const uint8_t *from, size_t length, const uint8_t *to)
{
    if (!slice->bytes)
        return;
    must(slice->bytes >= from && slice->bytes + slice->length <= from + length,
         "a slice lies within what was read");
    slice->bytes = to + (slice->bytes - from);
}

/* Reads a copy with nothing behind it; slices point into `bytes` in the end. */
static struct request_frame read_exactly(const uint8_t *bytes, size_t length,
                                         struct request *request)
{
    uint8_t *copy = exact_copy(bytes, length);
    struct request_frame frame;

    memset(request, 0, sizeof(*request));
    frame = request_read(copy, length, request);
    must(frames_equal(frame, frame_naively(bytes, length)), "a request is framed as it should be");
    if (frame.framing == REQUEST_COMPLETE && request->valid) {
        move_slice(&request->key, copy, length, bytes);
        move_slice(&request->secret, copy, length, bytes); /* or the name */
    } else {
        memset(request, 0, sizeof(*request));
    }
    must(memcmp(copy, bytes, length) == 0, "reading changes nothing");
    free(copy);
    return frame;
}

static void check_name(struct slice name)
{
    must(name.length >= 1 && name.length <= DFLOCKD_NAME_MAX, "a name has a length");
    for (uint32_t i = 0; i < name.length; i++)
        must(name.bytes[i] >= ' ' && name.bytes[i] != 0x7f && name.bytes[i] < 0xf5,
             "a name has no controls");
}

static void check_values(const struct request *request)
{
    must(request->command < DFLOCKD_COMMAND_COUNT, "a command is one of those there are");
    if (request->command == DFLOCKD_NAME)
        check_name(request->name);
    if (request->command == DFLOCKD_PING || request->command == DFLOCKD_STATS ||
        request->command == DFLOCKD_AUTH || request->command == DFLOCKD_NAME)
        return;
    must(request->key.length >= 1 && request->key.length <= DFLOCKD_KEY_MAX, "a key has a length");
    for (uint32_t i = 0; i < request->key.length; i++)
        must(!strchr(" \t\r\n", request->key.bytes[i]) || request->key.bytes[i] == '\0',
             "a key has no blanks");
    must(request->timeout_s <= DFLOCKD_SECONDS_MAX, "a time-out is within its limits");
    must(request->lease_s <= DFLOCKD_SECONDS_MAX, "a lease is within its limits");
    must(request->limit >= 1 && request->limit <= DFLOCKD_LIMIT_MAX, "a limit is within its own");
    must(command_of_semaphores(request->command) || request->limit == 1, "a lock has one slot");
}

/* ---- writing again ---- */

static const char *const words[] = {
#define X(name, word) [DFLOCKD_##name] = (word),
    DFLOCKD_COMMANDS(X)
#undef X
};

static size_t write_arg(char *to, size_t size, const struct request *request)
{
    const char *kind = request->semaphore ? "s" : "l";
    char lease[32] = "";
    int length = 0;

    if (request->lease_s > 0)
        snprintf(lease, sizeof(lease), " %" PRIu64, request->lease_s);
    switch (request->command) {
    case DFLOCKD_ACQUIRE:
    case DFLOCKD_ACQUIRE_SHARED:
    case DFLOCKD_WAIT:
    case DFLOCKD_SEMAPHORE_WAIT:
        length = snprintf(to, size, "%" PRIu64 "%s\n", request->timeout_s, lease);
        break;
    case DFLOCKD_SEMAPHORE_ACQUIRE:
        length = snprintf(to, size, "%" PRIu64 " %" PRIu32 "%s\n", request->timeout_s,
                          request->limit, lease);
        break;
    case DFLOCKD_RELEASE:
    case DFLOCKD_RENEW:
    case DFLOCKD_SEMAPHORE_RELEASE:
    case DFLOCKD_SEMAPHORE_RENEW:
        length = snprintf(to, size, "%016" PRIx64 "%016" PRIx64 "%s\n", request->fence,
                          request->salt, lease);
        break;
    case DFLOCKD_OWN:
        length = snprintf(to, size, "%s %016" PRIx64 "%016" PRIx64 "\n", kind, request->fence,
                          request->salt);
        break;
    case DFLOCKD_SHOW:
        length = snprintf(to, size, "%s\n", kind);
        break;
    case DFLOCKD_REVOKE:
        length = snprintf(to, size, "%s %016" PRIx64 "\n", kind, request->fence);
        break;
    case DFLOCKD_ENQUEUE:
    case DFLOCKD_ENQUEUE_SHARED:
        length = snprintf(to, size, "%s\n", lease);
        break;
    case DFLOCKD_SEMAPHORE_ENQUEUE:
        length = snprintf(to, size, "%" PRIu32 "%s\n", request->limit, lease);
        break;
    default:
        length = snprintf(to, size, "\n");
    }
    return (size_t)length;
}

static void check_written(const struct request *request)
{
    static char text[2 * DFLOCKD_LINE_MAX + DFLOCKD_AUTH_LINE_MAX];
    size_t length = (size_t)snprintf(text, sizeof(text), "%s\n", words[request->command]);
    struct request_frame frame;
    struct request again;

    if (request->key.length > 0)
        memcpy(text + length, request->key.bytes, request->key.length);
    length += request->key.length;
    text[length++] = '\n';
    if (request->secret.length > 0)
        memcpy(text + length, request->secret.bytes, request->secret.length);
    length += request->secret.length;
    length += write_arg(text + length, sizeof(text) - length, request);
    frame = read_exactly((const uint8_t *)text, length, &again);
    must(frame.framing == REQUEST_COMPLETE && frame.length == length, "what is written is whole");
    must(requests_equal(request, &again), "a request is the same after writing and parsing");
}

/* ---- one input ---- */

static void check_prefix(const uint8_t *bytes, size_t length, struct request_frame whole,
                         const struct request *whole_request)
{
    struct request request;
    struct request_frame frame = read_exactly(bytes, length, &request);

    if (frame.framing == REQUEST_PARTIAL) {
        must(frame.lines <= whole.lines, "a prefix has no more lines than the whole");
        return;
    }
    must(frames_equal(frame, whole) && requests_equal(&request, whole_request),
         "a prefix with a complete request has the result of the whole");
}

static void check_text(const uint8_t *bytes, size_t length)
{
    size_t step = 1 + length / 32;
    struct request request;
    struct request again;
    struct request_frame frame = read_exactly(bytes, length, &request);

    must(frames_equal(frame, read_exactly(bytes, length, &again)) &&
             requests_equal(&request, &again),
         "reading twice gives the same");
    for (size_t prefix = 0; prefix < length; prefix += step)
        check_prefix(bytes, prefix, frame, &request);
    if (frame.length > 0) {
        check_prefix(bytes, frame.length - 1, frame, &request);
        check_prefix(bytes, frame.length, frame, &request);
    }
    if (request.valid) {
        check_values(&request);
        check_written(&request);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static uint8_t text[TEXT_MAX];
    struct input input = {.bytes = bytes, .length = length};
    uint8_t where = input_byte(&input);
    size_t run = (size_t)input_byte(&input) << 8;
    struct input before;

    run |= input_byte(&input);
    if (where & 0x80)
        run += RUN_BEYOND;
    if (input.length > INPUT_MAX)
        return -1;
    before = input_take(&input, where & 0x7f);
    memcpy(text, before.bytes, before.length);
    memset(text + before.length, 'x', run);
    memcpy(text + before.length + run, input.bytes, input.length);
    check_text(text, before.length + run + input.length);
    return 0;
}
