#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "request_fixture.h"

struct text text;

void put_bytes(const void *bytes, size_t length)
{
    assert_true(text.length + length <= TEXT_MAX);
    memcpy(text.bytes + text.length, bytes, length);
    text.length += length;
}

void put_text(const char *part)
{
    put_bytes(part, strlen(part));
}

void put_repeated(char byte, size_t count)
{
    assert_true(text.length + count <= TEXT_MAX);
    memset(text.bytes + text.length, byte, count);
    text.length += count;
}

void begin_text(const char *part)
{
    text.length = 0;
    put_text(part);
}

struct parsed parse_bytes(const uint8_t *bytes, size_t length)
{
    struct parsed parsed = {.copy = malloc(length), .length = length};

    assert_true(parsed.copy || length == 0);
    if (length > 0)
        memcpy(parsed.copy, bytes, length);
    memset(&parsed.request, 0xEE, sizeof(parsed.request));
    parsed.request.valid = false;
    parsed.frame = request_read(parsed.copy, length, &parsed.request);
    return parsed;
}

struct parsed parse_text(void)
{
    return parse_bytes(text.bytes, text.length);
}

void parsed_end(struct parsed *parsed)
{
    free(parsed->copy);
    parsed->copy = NULL;
}

void assert_complete(const struct parsed *parsed)
{
    assert_int_equal(parsed->frame.framing, REQUEST_COMPLETE);
    assert_int_equal(parsed->frame.length, parsed->length);
    assert_int_equal(parsed->frame.lines, 3);
}

void assert_stopped(const struct parsed *parsed, enum request_framing framing, uint32_t lines)
{
    assert_int_equal(parsed->frame.framing, framing);
    assert_int_equal(parsed->frame.lines, lines);
}

void assert_text_is(bool valid)
{
    struct parsed parsed = parse_text();

    assert_complete(&parsed);
    assert_int_equal(parsed.request.valid, valid);
    parsed_end(&parsed);
}

void begin_request(const char *command, const char *key, const char *arg)
{
    begin_text(command);
    put_text("\n");
    put_text(key);
    put_text("\n");
    put_text(arg);
    put_text("\n");
}

void assert_request_is(bool valid, const char *command, const char *key, const char *arg)
{
    begin_request(command, key, arg);
    assert_text_is(valid);
}

void assert_slice(const struct parsed *parsed, struct slice slice, const void *bytes, size_t length)
{
    assert_int_equal(slice.length, length);
    assert_memory_equal(slice.bytes, bytes, length);
    assert_true(slice.bytes >= parsed->copy &&
                slice.bytes + length <= parsed->copy + parsed->length);
}

const struct command_case command_cases[DFLOCKD_COMMAND_COUNT] = {
    {"l", DFLOCKD_ACQUIRE, {"10", "20"}, 1, 2, false, true},
    {"r", DFLOCKD_RELEASE, {TOKEN}, 1, 1, false, true},
    {"n", DFLOCKD_RENEW, {TOKEN, "20"}, 1, 2, false, true},
    {"e", DFLOCKD_ENQUEUE, {"20"}, 0, 1, false, true},
    {"w", DFLOCKD_WAIT, {"10"}, 1, 1, false, true},
    {"sl", DFLOCKD_SEMAPHORE_ACQUIRE, {"10", "5", "20"}, 2, 3, true, true},
    {"sr", DFLOCKD_SEMAPHORE_RELEASE, {TOKEN}, 1, 1, true, true},
    {"sn", DFLOCKD_SEMAPHORE_RENEW, {TOKEN, "20"}, 1, 2, true, true},
    {"se", DFLOCKD_SEMAPHORE_ENQUEUE, {"5", "20"}, 1, 2, true, true},
    {"sw", DFLOCKD_SEMAPHORE_WAIT, {"10"}, 1, 1, true, true},
    {"ping", DFLOCKD_PING, {NULL}, 0, 0, false, false},
    {"stats", DFLOCKD_STATS, {NULL}, 0, 0, false, false},
    {"auth", DFLOCKD_AUTH, {"secret"}, 1, 1, false, false},
    {"own", DFLOCKD_OWN, {"l", TOKEN}, 2, 2, false, true},
    {"rl", DFLOCKD_ACQUIRE_SHARED, {"10", "20"}, 1, 2, false, true},
    {"re", DFLOCKD_ENQUEUE_SHARED, {"20"}, 0, 1, false, true},
    {"name", DFLOCKD_NAME, {"someone"}, 1, 1, false, false},
    {"show", DFLOCKD_SHOW, {"l"}, 1, 1, false, true},
    {"revoke", DFLOCKD_REVOKE, {"l", FENCE}, 2, 2, false, true},
};

void put_fields(const struct command_case *of, uint32_t count, const char *between)
{
    for (uint32_t i = 0; i < count; i++) {
        put_text(i > 0 ? between : "");
        put_text(i < of->most ? of->fields[i] : "1");
    }
}

void begin_fields(const struct command_case *of, uint32_t count, const char *between)
{
    begin_text(of->word);
    put_text("\nkey\n");
    put_fields(of, count, between);
    put_text("\n");
}

void assert_fields(const struct parsed *parsed, const struct command_case *of, uint32_t count)
{
    const struct request *request = &parsed->request;
    bool of_any_kind =
        of->command == DFLOCKD_OWN || of->command == DFLOCKD_SHOW || of->command == DFLOCKD_REVOKE;
    bool leased = false;
    bool limited = false;

    for (uint32_t i = 0; i < count; i++) {
        const char *field = of->fields[i];

        if (strcmp(field, "10") == 0)
            assert_int_equal(request->timeout_s, 10);
        leased = leased || strcmp(field, "20") == 0;
        limited = limited || strcmp(field, "5") == 0;
        if (strcmp(field, TOKEN) == 0) {
            assert_int_equal(request->fence, TOKEN_FENCE);
            assert_int_equal(request->salt, TOKEN_SALT);
        }
    }
    if (strcmp(of->word, "revoke") == 0)
        assert_int_equal(request->fence, TOKEN_FENCE);
    if (!of_any_kind)
        assert_int_equal(request->lease_s, leased ? 20 : 0);
    if (limited || (!of->of_semaphores && !of_any_kind))
        assert_int_equal(request->limit, limited ? 5 : 1);
    assert_slice(parsed, request->key, "key", 3);
}
