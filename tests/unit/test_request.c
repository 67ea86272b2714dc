/*
 * Bytes to requests: framing, values and commands. All input is a copy of exactly its size, so
 * that a sanitizer sees a byte read behind it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seeded.h"
#include "wire/request.h"

#define TOKEN "0123456789abcdeffedcba9876543210"

#define TOKEN_FENCE UINT64_C(0x0123456789abcdef)
#define TOKEN_SALT  UINT64_C(0xfedcba9876543210)

enum {
    TEXT_MAX = 2 * DFLOCKD_AUTH_LINE_MAX,
    RANDOM_INPUTS = 20000
};

/* Bytes to be read, put together piece by piece. */
struct text {
    uint8_t bytes[TEXT_MAX];
    size_t length;
};

static struct text text;

static void put_bytes(const void *bytes, size_t length)
{
    assert_true(text.length + length <= TEXT_MAX);
    memcpy(text.bytes + text.length, bytes, length);
    text.length += length;
}

static void put(const char *part)
{
    put_bytes(part, strlen(part));
}

static void put_times(char byte, size_t count)
{
    assert_true(text.length + count <= TEXT_MAX);
    memset(text.bytes + text.length, byte, count);
    text.length += count;
}

static void begin(const char *part)
{
    text.length = 0;
    put(part);
}

/* A request that was read; it borrows from `copy`. */
struct reading {
    uint8_t *copy;
    size_t length;
    struct request_frame frame;
    struct request request;
};

static struct reading read_bytes(const uint8_t *bytes, size_t length)
{
    struct reading reading = {.copy = malloc(length), .length = length};

    assert_true(reading.copy || length == 0);
    if (length > 0)
        memcpy(reading.copy, bytes, length);
    memset(&reading.request, 0xEE, sizeof(reading.request));
    reading.request.valid = false;
    reading.frame = request_read(reading.copy, length, &reading.request);
    return reading;
}

static struct reading read_text(void)
{
    return read_bytes(text.bytes, text.length);
}

static void reading_end(struct reading *reading)
{
    free(reading->copy);
    reading->copy = NULL;
}

static void assert_complete(const struct reading *reading)
{
    assert_int_equal(reading->frame.framing, REQUEST_COMPLETE);
    assert_int_equal(reading->frame.length, reading->length);
    assert_int_equal(reading->frame.lines, 3);
}

static void assert_stopped(const struct reading *reading, enum request_framing framing,
                           uint32_t lines)
{
    assert_int_equal(reading->frame.framing, framing);
    assert_int_equal(reading->frame.lines, lines);
}

/* The text is a whole request, and `valid` or not. */
static void assert_text_is(bool valid)
{
    struct reading reading = read_text();

    assert_complete(&reading);
    assert_int_equal(reading.request.valid, valid);
    reading_end(&reading);
}

static void begin_request(const char *command, const char *key, const char *arg)
{
    begin(command);
    put("\n");
    put(key);
    put("\n");
    put(arg);
    put("\n");
}

static void assert_request_is(bool valid, const char *command, const char *key, const char *arg)
{
    begin_request(command, key, arg);
    assert_text_is(valid);
}

/* A slice points into the input; its bytes are not copied. */
static void assert_slice(const struct reading *reading, struct slice slice, const void *bytes,
                         size_t length)
{
    assert_int_equal(slice.length, length);
    assert_memory_equal(slice.bytes, bytes, length);
    assert_true(slice.bytes >= reading->copy &&
                slice.bytes + length <= reading->copy + reading->length);
}

/* ---- commands ---- */

struct command_case {
    const char *word;
    enum dflockd_command command;
    const char *fields[4]; /* of its arg, all that there may be */
    uint32_t least;        /* how many must be there */
    uint32_t most;
    bool of_semaphores;
    bool keyed;
};

/* All commands, as the protocol has them. */
static const struct command_case commands[] = {
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
};

enum {
    COMMANDS = sizeof(commands) / sizeof(commands[0])
};

/* `count` fields of a command, those that it doesn't know as a number. */
static void put_fields(const struct command_case *of, uint32_t count, const char *between)
{
    for (uint32_t i = 0; i < count; i++) {
        put(i > 0 ? between : "");
        put(i < of->most ? of->fields[i] : "1");
    }
}

static void begin_fields(const struct command_case *of, uint32_t count, const char *between)
{
    begin(of->word);
    put("\nkey\n");
    put_fields(of, count, between);
    put("\n");
}

/* The values in the cases identify the fields: 10 is a timeout, 5 a limit, 20 a lease. */
static void assert_fields(const struct reading *reading, const struct command_case *of,
                          uint32_t count)
{
    const struct request *request = &reading->request;
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
    if (of->command != DFLOCKD_OWN)
        assert_int_equal(request->lease_s, leased ? 20 : 0);
    if (limited || (!of->of_semaphores && of->command != DFLOCKD_OWN))
        assert_int_equal(request->limit, limited ? 5 : 1);
    assert_slice(reading, request->key, "key", 3);
}

static void every_command_has_its_word(void **state)
{
    (void)state;
    assert_int_equal(COMMANDS, DFLOCKD_COMMAND_COUNT);
    for (uint32_t i = 0; i < COMMANDS; i++) {
        struct reading reading;

        begin_fields(&commands[i], commands[i].least, " ");
        reading = read_text();
        assert_complete(&reading);
        assert_true(reading.request.valid);
        assert_int_equal(reading.request.command, commands[i].command);
        assert_int_equal(command_of_semaphores(reading.request.command), commands[i].of_semaphores);
        reading_end(&reading);
    }
}

static void every_command_takes_its_fields_and_no_others(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < COMMANDS; i++) {
        const struct command_case *of = &commands[i];

        for (uint32_t count = 0; of->keyed && count <= 6; count++) {
            struct reading reading;

            begin_fields(of, count, " ");
            reading = read_text();
            assert_complete(&reading);
            assert_int_equal(reading.request.valid, count >= of->least && count <= of->most);
            if (reading.request.valid)
                assert_fields(&reading, of, count);
            reading_end(&reading);
        }
    }
}

static void any_run_of_blanks_separates_fields(void **state)
{
    static const char *const blanks[] = {" ", "  ", "\t", " \t", "\t \t  \t", "\v", "\f \v"};

    (void)state;
    for (uint32_t i = 0; i < COMMANDS; i++) {
        const struct command_case *of = &commands[i];

        for (size_t blank = 0; of->keyed && blank < sizeof(blanks) / sizeof(blanks[0]); blank++) {
            struct reading reading;

            begin(of->word);
            put("\nkey\n");
            put(blanks[blank]);
            put_fields(of, of->most, blanks[blank]);
            put(blanks[blank]);
            put("\n");
            reading = read_text();
            assert_complete(&reading);
            assert_true(reading.request.valid);
            assert_fields(&reading, of, of->most);
            reading_end(&reading);
        }
    }
}

static void unknown_commands_are_invalid_and_framed(void **state)
{
    static const char *const words[] = {
        "",      "L",      "R",   "x",     "ll",    "s",     "S",     "sx",    "ss",
        "SL",    "sL",     "slx", "ssl",   "lx",    "l ",    " l",    "l\t",   "\tl",
        "l 1",   "l\rl",   "\rl", "pin",   "pings", "PING",  "ping ", " ping", "stat",
        "Stats", "stats ", "aut", "auths", "AUTH",  "auth ", " auth", "\xff",  "l\xff",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        assert_request_is(false, words[i], "key", "1");

    text.length = 0;
    put_bytes("l\0\nkey\n1\n", 9);
    assert_text_is(false);
    text.length = 0;
    put_bytes("\0l\nkey\n1\n", 9);
    assert_text_is(false);
}

static void ping_and_stats_ignore_key_and_arg(void **state)
{
    static const char *const words[] = {"ping", "stats"};
    static const char *const others[] = {"",         "_",  "a b\tc", " ",
                                         "\xff\xfe", "\r", "a\rb",   "1 2 3 4"};

    (void)state;
    for (size_t word = 0; word < 2; word++) {
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
            assert_request_is(true, words[word], others[i], "");
            assert_request_is(true, words[word], "", others[i]);
        }
    }
}

/* ---- keys ---- */

static bool allowed_in_key(uint8_t byte)
{
    return byte != ' ' && byte != '\t' && byte != '\r';
}

static void begin_with_key(const struct command_case *of, const void *key, size_t length)
{
    begin(of->word);
    put("\n");
    put_bytes(key, length);
    put("\n");
    put_fields(of, of->most, " ");
    put("\n");
}

/* `key` as a key of every command that has one. */
static void assert_key(const void *key, size_t length, bool valid)
{
    for (uint32_t i = 0; i < COMMANDS; i++) {
        struct reading reading;

        if (!commands[i].keyed)
            continue;
        begin_with_key(&commands[i], key, length);
        reading = read_text();
        assert_complete(&reading);
        assert_int_equal(reading.request.valid, valid);
        if (valid)
            assert_slice(&reading, reading.request.key, key, length);
        reading_end(&reading);
    }
}

static void a_key_holds_any_byte_but_blanks(void **state)
{
    (void)state;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint8_t key[] = {'a', (uint8_t)byte, 'b'};

        if (byte == '\n')
            continue;
        assert_key(key, 3, allowed_in_key(key[1]));     /* within */
        assert_key(key + 1, 2, allowed_in_key(key[1])); /* in front */
        if (byte != '\r') {                             /* which is stripped behind */
            assert_key(key, 2, allowed_in_key(key[1]));
            assert_key(key + 1, 1, allowed_in_key(key[1]));
        }
    }
}

static void a_key_has_1_to_256_bytes(void **state)
{
    uint8_t key[DFLOCKD_KEY_MAX];

    (void)state;
    memset(key, 0xff, sizeof(key));
    assert_key(key, 0, false);
    assert_key("\r", 1, false);
    assert_key("\r\r\r", 3, false);
    assert_key(key, 1, true);
    assert_key(key, DFLOCKD_KEY_MAX - 1, true);
    assert_key(key, DFLOCKD_KEY_MAX, true);
}

/* ---- numbers ---- */

struct number_case {
    const char *field;
    bool number;    /* a number, not negative, that 64 bits hold unsigned */
    uint64_t value; /* then */
};

#define ZEROS_20  "00000000000000000000"
#define ZEROS_100 ZEROS_20 ZEROS_20 ZEROS_20 ZEROS_20 ZEROS_20

static const struct number_case numbers[] = {
    {"0", true, 0},
    {"1", true, 1},
    {"9", true, 9},
    {"10", true, 10},
    {"+0", true, 0},
    {"+1", true, 1},
    {"-0", true, 0},
    {"-000", true, 0},
    {"-1", false, 0},
    {"-01", false, 0},
    {"-9223372036854775808", false, 0},
    {"-18446744073709551615", false, 0}, /* 1, modulo 2^64 */
    {"00", true, 0},
    {"007", true, 7},
    {"+007", true, 7},
    {ZEROS_100 ZEROS_100 "7", true, 7},
    {ZEROS_100 ZEROS_100 "9223372036", true, 9223372036},
    {"1048575", true, 1048575},
    {"1048576", true, 1048576},
    {"1048577", true, 1048577},
    {"+1048577", true, 1048577},
    {"4294967295", true, 4294967295},
    {"4294967296", true, 4294967296},
    {"4294967297", true, 4294967297}, /* 1, modulo 2^32 */
    {"9223372035", true, 9223372035},
    {"9223372036", true, 9223372036},
    {"+9223372036", true, 9223372036},
    {"9223372037", true, 9223372037},
    {"10000000000", true, 10000000000},
    {"9223372036854775807", true, UINT64_C(9223372036854775807)},
    {"9223372036854775808", true, UINT64_C(9223372036854775808)},
    {"18446744073709551615", true, UINT64_C(18446744073709551615)},
    {"18446744073709551616", false, 0},
    {"18446744073709551617", false, 0},                    /* 1, modulo 2^64 */
    {"184467440737095516170", false, 0},                   /* 10 */
    {"340282366920938463463374607431768211457", false, 0}, /* 1, modulo 2^128 */
    {ZEROS_100 "18446744073709551617", false, 0},
    {"+", false, 0},
    {"-", false, 0},
    {"++1", false, 0},
    {"--1", false, 0},
    {"+-1", false, 0},
    {"-+0", false, 0},
    {"1+", false, 0},
    {"1-", false, 0},
    {"1.0", false, 0},
    {"1.", false, 0},
    {"1,000", false, 0},
    {"1_000", false, 0},
    {"1e3", false, 0},
    {"0x10", false, 0},
    {"0b1", false, 0},
    {"a", false, 0},
    {"1a", false, 0},
    {"1/", false, 0},
    {"1:", false, 0},
    {"inf", false, 0},
    {"\xd9\xa1", false, 0},     /* an Arabic-Indic 1 */
    {"\xef\xbc\x91", false, 0}, /* a fullwidth 1 */
    {"1\xff", false, 0},
};

enum {
    NUMBERS = sizeof(numbers) / sizeof(numbers[0])
};

static uint64_t timeout_of(const struct request *request)
{
    return request->timeout_s;
}

static uint64_t lease_of(const struct request *request)
{
    return request->lease_s;
}

static uint64_t limit_of(const struct request *request)
{
    return request->limit;
}

/* A use of a number: the arg with %s in place of the number, and the range. */
struct number_use {
    const char *command;
    const char *arg_before;
    const char *arg_behind;
    uint64_t (*get)(const struct request *request);
    uint64_t least;
    uint64_t most;
};

static const struct number_use uses[] = {
    {"l", "", "", timeout_of, 0, 9223372036},       {"l", "", " 20", timeout_of, 0, 9223372036},
    {"l", "10 ", "", lease_of, 1, 9223372036},      {"n", TOKEN " ", "", lease_of, 1, 9223372036},
    {"e", "", "", lease_of, 1, 9223372036},         {"w", "", "", timeout_of, 0, 9223372036},
    {"sl", "", " 5", timeout_of, 0, 9223372036},    {"sl", "10 ", "", limit_of, 1, 1048576},
    {"sl", "10 ", " 20", limit_of, 1, 1048576},     {"sl", "10 5 ", "", lease_of, 1, 9223372036},
    {"sn", TOKEN " ", "", lease_of, 1, 9223372036}, {"se", "", "", limit_of, 1, 1048576},
    {"se", "", " 20", limit_of, 1, 1048576},        {"se", "5 ", "", lease_of, 1, 9223372036},
    {"sw", "", "", timeout_of, 0, 9223372036},
};

static void assert_number(const struct number_use *use, const struct number_case *of)
{
    bool valid = of->number && of->value >= use->least && of->value <= use->most;
    struct reading reading;

    begin(use->command);
    put("\nkey\n");
    put(use->arg_before);
    put(of->field);
    put(use->arg_behind);
    put("\n");
    reading = read_text();
    assert_complete(&reading);
    if (reading.request.valid != valid)
        fail_msg("%s: '%s%s%s'", use->command, use->arg_before, of->field, use->arg_behind);
    if (valid)
        assert_int_equal(use->get(&reading.request), of->value);
    reading_end(&reading);
}

static void numbers_are_decimal_with_a_sign_and_within_their_range(void **state)
{
    (void)state;
    for (size_t use = 0; use < sizeof(uses) / sizeof(uses[0]); use++) {
        for (size_t i = 0; i < NUMBERS; i++)
            assert_number(&uses[use], &numbers[i]);
    }
}

static void a_nul_ends_no_number(void **state)
{
    static const char *const args[] = {"1\0", "\0001", "1\0002"};
    static const size_t lengths[] = {2, 2, 3};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        begin("l\nkey\n");
        put_bytes(args[i], lengths[i]);
        put("\n");
        assert_text_is(false);
    }
}

/* ---- own ---- */

static void assert_own(const char *arg, bool valid, bool semaphore)
{
    struct reading reading;

    begin_request("own", "key", arg);
    reading = read_text();
    assert_complete(&reading);
    assert_int_equal(reading.request.valid, valid);
    if (valid) {
        assert_int_equal(reading.request.semaphore, semaphore);
        assert_int_equal(reading.request.fence, TOKEN_FENCE);
        assert_int_equal(reading.request.salt, TOKEN_SALT);
    }
    reading_end(&reading);
}

static void own_names_the_kind_and_the_token(void **state)
{
    static const char *const wrong[] = {
        "",          "l",         "s",        TOKEN,           "l l",          "x " TOKEN,
        "L " TOKEN,  "ls " TOKEN, TOKEN " l", "l " TOKEN " 5", "l " TOKEN "0", "l" TOKEN,
        "sl " TOKEN, "l 1" TOKEN, "1 " TOKEN, "own " TOKEN,
    };

    (void)state;
    assert_own("l " TOKEN, true, false);
    assert_own("s " TOKEN, true, true);
    assert_own(" \t s \v " TOKEN "\f ", true, true);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_own(wrong[i], false, false);
    assert_request_is(false, "sown", "key", "l " TOKEN);
    assert_request_is(false, "own", "", "l " TOKEN);
    assert_request_is(false, "own", "a key", "l " TOKEN);
}

static void requests_have_the_kind_of_their_command(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < COMMANDS; i++) {
        struct reading reading;

        if (!commands[i].keyed)
            continue;
        begin_fields(&commands[i], commands[i].least, " ");
        reading = read_text();
        assert_int_equal(reading.request.semaphore, commands[i].of_semaphores);
        reading_end(&reading);
    }
}

/* ---- tokens ---- */

static const char *const token_commands[] = {"r", "n", "sr", "sn"};

static void assert_token(const char *token, bool valid, uint64_t fence, uint64_t salt)
{
    for (size_t i = 0; i < sizeof(token_commands) / sizeof(token_commands[0]); i++) {
        struct reading reading;

        begin_request(token_commands[i], "key", token);
        reading = read_text();
        assert_complete(&reading);
        assert_int_equal(reading.request.valid, valid);
        if (valid) {
            assert_int_equal(reading.request.fence, fence);
            assert_int_equal(reading.request.salt, salt);
        }
        reading_end(&reading);
    }
}

static void a_token_is_fence_and_salt_in_hex(void **state)
{
    (void)state;
    assert_token(TOKEN, true, TOKEN_FENCE, TOKEN_SALT);
    assert_token("00000000000000000000000000000000", true, 0, 0);
    assert_token("ffffffffffffffffffffffffffffffff", true, UINT64_MAX, UINT64_MAX);
    assert_token("00000000000000010000000000000000", true, 1, 0);
    assert_token("00000000000000000000000000000001", true, 0, 1);
    assert_token("80000000000000007fffffffffffffff", true, UINT64_C(1) << 63, INT64_MAX);
}

static void a_token_has_32_digits(void **state)
{
    char token[256];

    (void)state;
    for (size_t length = 1; length <= 200; length++) {
        memset(token, 'a', length);
        token[length] = '\0';
        assert_token(token, length == 32, UINT64_C(0xaaaaaaaaaaaaaaaa),
                     UINT64_C(0xaaaaaaaaaaaaaaaa));
    }
}

static void a_token_holds_lower_case_hex_digits_only(void **state)
{
    (void)state;
    for (uint32_t place = 0; place < 32; place++) {
        for (uint32_t byte = 1; byte < 256; byte++) {
            bool digit = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
            char token[] = TOKEN;
            char fence[17] = "";

            if (byte == '\n')
                continue;
            token[place] = (char)byte;
            memcpy(fence, token, 16);
            assert_token(token, digit, strtoull(fence, NULL, 16), strtoull(token + 16, NULL, 16));
        }
    }
    begin("r\nkey\n0123456789abcdef");
    put_bytes("\0edcba9876543210\n", 17);
    assert_text_is(false);
}

/* ---- auth ---- */

static void assert_secret(const char *arg, const char *secret)
{
    struct reading reading;

    begin_request("auth", "_", arg);
    reading = read_text();
    assert_complete(&reading);
    assert_true(reading.request.valid);
    assert_int_equal(reading.request.command, DFLOCKD_AUTH);
    assert_int_equal(reading.request.secret.length, strlen(secret));
    if (*secret)
        assert_slice(&reading, reading.request.secret, secret, strlen(secret));
    reading_end(&reading);
}

static void the_secret_of_auth_is_trimmed_and_kept_within(void **state)
{
    (void)state;
    assert_secret("secret", "secret");
    assert_secret("  \t secret \t ", "secret");
    assert_secret("secret\r\r", "secret");
    assert_secret("two  words\tand\xff more", "two  words\tand\xff more");
    assert_secret("", "");
    assert_secret(" \t ", "");
}

/* ---- framing ---- */

static const char *const good_lines[3] = {"l", "key", "10"};

/* A request of `l` whose line number `line` is `length` times 'x' and then `behind`. */
static void begin_with_line(uint32_t line, size_t length, const char *behind)
{
    begin("");
    for (uint32_t i = 0; i < 3; i++) {
        if (i == line) {
            put_times('x', length);
            put(behind);
        } else {
            put(good_lines[i]);
        }
        put("\n");
    }
}

static size_t length_of_lines(uint32_t count)
{
    size_t length = 0;

    for (uint32_t i = 0; i < count; i++)
        length += strlen(good_lines[i]) + 1;
    return length;
}

static void assert_too_long(uint32_t lines, size_t length)
{
    struct reading reading = read_text();

    assert_stopped(&reading, REQUEST_TOO_LONG, lines);
    assert_int_equal(reading.frame.length, length);
    reading_end(&reading);
}

static void a_line_has_256_bytes_at_most_and_returns_count(void **state)
{
    (void)state;
    for (uint32_t line = 0; line < 3; line++) {
        begin_with_line(line, 256, "");
        assert_text_is(line == 1); /* framed, and a good key */
        begin_with_line(line, 255, "\r");
        assert_text_is(line == 1);
        begin_with_line(line, 200, "\r\r\r\r");
        assert_text_is(line == 1);

        begin_with_line(line, 257, "");
        assert_too_long(line, length_of_lines(line));
        begin_with_line(line, 256, "\r");
        assert_too_long(line, length_of_lines(line));
        begin_with_line(line, 255, "\r\r");
        assert_too_long(line, length_of_lines(line));
        begin_with_line(line, 70000, "");
        assert_too_long(line, length_of_lines(line));
    }
}

static void a_line_is_too_long_before_it_has_ended(void **state)
{
    (void)state;
    for (uint32_t line = 0; line < 3; line++) {
        begin_with_line(line, 257, "");
        text.length = length_of_lines(line) + 256;
        for (uint32_t longer = 0; longer < 2; longer++, text.length++) {
            struct reading reading = read_text();

            assert_stopped(&reading, longer ? REQUEST_TOO_LONG : REQUEST_PARTIAL, line);
            reading_end(&reading);
        }
    }
}

static void begin_auth(size_t length, const char *behind)
{
    begin("auth\r\n_\r\n");
    put_times('x', length);
    put(behind);
}

static void the_arg_of_auth_has_64_kib_at_most(void **state)
{
    static const char start[] = "auth\r\n_\r\n";
    struct reading reading;

    (void)state;
    begin_auth(DFLOCKD_AUTH_LINE_MAX, "\n");
    reading = read_text();
    assert_complete(&reading);
    assert_true(reading.request.valid);
    assert_slice(&reading, reading.request.secret, text.bytes + strlen(start),
                 DFLOCKD_AUTH_LINE_MAX);
    reading_end(&reading);

    begin_auth(DFLOCKD_AUTH_LINE_MAX - 1, "\r\n");
    assert_text_is(true);

    begin_auth(DFLOCKD_AUTH_LINE_MAX, "");
    reading = read_text();
    assert_stopped(&reading, REQUEST_PARTIAL, 2);
    reading_end(&reading);

    begin_auth(DFLOCKD_AUTH_LINE_MAX + 1, "\n");
    assert_too_long(2, strlen(start));
    begin_auth(DFLOCKD_AUTH_LINE_MAX + 1, "");
    assert_too_long(2, strlen(start));
    begin_auth(DFLOCKD_AUTH_LINE_MAX, "\r\n");
    assert_too_long(2, strlen(start));
}

static void only_the_arg_of_auth_can_be_longer(void **state)
{
    static const char *const others[] = {"", " auth", "auth ", "Auth", "auths", "aut", "ping", "l"};

    (void)state;
    begin("auth\n");
    put_times('x', 257);
    put("\nsecret\n");
    assert_too_long(1, strlen("auth\n"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        begin(others[i]);
        put("\nkey\n");
        put_times('x', 257);
        put("\n");
        assert_too_long(2, strlen(others[i]) + 5);
    }
    begin("l\nauth\n"); /* auth as a key */
    put_times('x', 257);
    put("\n");
    assert_too_long(2, strlen("l\nauth\n"));
}

static void all_returns_at_the_end_of_a_line_are_stripped(void **state)
{
    static const char *const returns[] = {"\r", "\r\r", "\r\r\r\r\r"};

    (void)state;
    for (uint32_t i = 0; i < COMMANDS; i++) {
        for (size_t j = 0; j < 3; j++) {
            struct reading reading;

            begin(commands[i].word);
            put(returns[j]);
            put("\nkey");
            put(returns[j]);
            put("\n");
            put_fields(&commands[i], commands[i].most, " ");
            put(returns[j]);
            put("\n");
            reading = read_text();
            assert_complete(&reading);
            assert_true(reading.request.valid);
            assert_int_equal(reading.request.command, commands[i].command);
            if (commands[i].keyed)
                assert_fields(&reading, &commands[i], commands[i].most);
            reading_end(&reading);
        }
    }
}

static void an_empty_input_is_partial(void **state)
{
    struct reading reading = read_bytes(NULL, 0);

    (void)state;
    assert_stopped(&reading, REQUEST_PARTIAL, 0);
    reading_end(&reading);
}

static void three_empty_lines_are_an_invalid_request(void **state)
{
    (void)state;
    assert_request_is(false, "", "", "");
    assert_request_is(false, "\r", "\r", "\r");
}

static uint32_t lines_in(const uint8_t *bytes, size_t length)
{
    uint32_t lines = 0;

    for (size_t i = 0; i < length; i++)
        lines += bytes[i] == '\n';
    return lines;
}

/* Every beginning of the text is partial, the whole complete, also with more behind it. */
static void assert_prefixes_partial(void)
{
    size_t whole = text.length;
    struct reading alone = read_text();

    assert_complete(&alone);
    for (size_t length = 0; length < whole; length++) {
        struct reading reading = read_bytes(text.bytes, length);

        assert_stopped(&reading, REQUEST_PARTIAL, lines_in(text.bytes, length));
        reading_end(&reading);
    }
    put("l\nnext\n0\nping\n");
    for (size_t length = whole; length <= text.length; length++) {
        struct reading reading = read_bytes(text.bytes, length);

        assert_int_equal(reading.frame.framing, REQUEST_COMPLETE);
        assert_int_equal(reading.frame.length, whole);
        assert_int_equal(reading.frame.lines, 3);
        assert_int_equal(reading.request.valid, alone.request.valid);
        if (alone.request.valid)
            assert_int_equal(reading.request.command, alone.request.command);
        reading_end(&reading);
    }
    reading_end(&alone);
}

static void every_prefix_is_partial_and_only_one_request_is_consumed(void **state)
{
    static const char *const wrong[] = {
        "\n\n\n",  "\r\n\r\n\r\n",        "x\nkey\n1\n",
        "l\n\n\n", "l\na b\n1 2 3 4 5\n", "r\nkey\n" TOKEN "0\n",
    };

    (void)state;
    for (uint32_t i = 0; i < COMMANDS; i++) {
        for (uint32_t count = commands[i].least; count <= commands[i].most; count++) {
            begin_fields(&commands[i], count, " \t");
            assert_prefixes_partial();
        }
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        begin(wrong[i]);
        assert_prefixes_partial();
    }
    for (uint32_t line = 0; line < 3; line++) {
        begin_with_line(line, 250, "\r\r\r\r\r\r");
        assert_prefixes_partial();
    }
    begin_auth(1000, "\n");
    assert_prefixes_partial();
}

static void pipelined_requests_are_read_one_by_one(void **state)
{
    size_t at = 0;

    (void)state;
    begin("");
    for (uint32_t i = 0; i < COMMANDS; i++) {
        put(commands[i].word);
        put("\nkey\n");
        put_fields(&commands[i], commands[i].most, " ");
        put("\n");
    }
    for (uint32_t i = 0; i < COMMANDS; i++) {
        struct reading reading = read_bytes(text.bytes + at, text.length - at);

        assert_int_equal(reading.frame.framing, REQUEST_COMPLETE);
        assert_true(reading.request.valid);
        assert_int_equal(reading.request.command, commands[i].command);
        at += reading.frame.length;
        reading_end(&reading);
    }
    assert_int_equal(at, text.length);
}

/* The frame of the text, found the naive way. */
static struct request_frame expected_frame(void)
{
    struct request_frame frame = {.framing = REQUEST_PARTIAL};
    bool auth = false;

    while (frame.lines < 3) {
        const uint8_t *line = text.bytes + frame.length;
        size_t most = auth && frame.lines == 2 ? DFLOCKD_AUTH_LINE_MAX : DFLOCKD_LINE_MAX;
        size_t length = 0;
        size_t stripped;

        while (frame.length + length < text.length && line[length] != '\n')
            length++;
        if (length > most) {
            frame.framing = REQUEST_TOO_LONG;
            return frame;
        }
        if (frame.length + length == text.length)
            return frame;
        for (stripped = length; stripped > 0 && line[stripped - 1] == '\r';)
            stripped--;
        if (frame.lines == 0)
            auth = stripped == 4 && memcmp(line, "auth", 4) == 0;
        frame.length += (uint32_t)length + 1;
        frame.lines++;
    }
    frame.framing = REQUEST_COMPLETE;
    return frame;
}

/* Pieces of requests, a long line now and then. */
static void put_random_piece(struct seeded *seeded)
{
    static const char *const pieces[] = {
        "\n",     "\n",      "\n",  "\n",   "\r\n", "\r",   " ",      "l",
        "s",      "e",       "key", "10",   "20",   TOKEN,  "auth\n", "auth\r\n",
        "ping\n", "stats\n", "-1",  "\xff", "\t",   "sl\n", "r\n",
    };
    uint32_t kind = seeded_below(seeded, 40);
    uint8_t byte = (uint8_t)seeded_next(seeded);

    if (kind == 0)
        put_times('y', 240 + seeded_below(seeded, 20));
    else if (kind == 1)
        put_bytes(&byte, 1);
    else
        put(pieces[seeded_below(seeded, sizeof(pieces) / sizeof(pieces[0]))]);
}

static void random_input_is_framed_as_by_a_naive_reader(void **state)
{
    struct seeded seeded;
    uint32_t seen[REQUEST_TOO_LONG + 1] = {0};

    (void)state;
    seeded_init(&seeded, __func__);
    for (uint32_t i = 0; i < RANDOM_INPUTS; i++) {
        struct request_frame frame;
        struct reading reading;

        begin("");
        for (uint32_t pieces = seeded_below(&seeded, 25); pieces > 0; pieces--)
            put_random_piece(&seeded);
        frame = expected_frame();
        reading = read_text();
        assert_stopped(&reading, frame.framing, frame.lines);
        if (frame.framing != REQUEST_PARTIAL)
            assert_int_equal(reading.frame.length, frame.length);
        seen[frame.framing]++;
        reading_end(&reading);
    }
    for (uint32_t framing = 0; framing <= REQUEST_TOO_LONG; framing++)
        assert_true(seen[framing] > RANDOM_INPUTS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_has_its_word),
        cmocka_unit_test(every_command_takes_its_fields_and_no_others),
        cmocka_unit_test(any_run_of_blanks_separates_fields),
        cmocka_unit_test(unknown_commands_are_invalid_and_framed),
        cmocka_unit_test(ping_and_stats_ignore_key_and_arg),
        cmocka_unit_test(a_key_holds_any_byte_but_blanks),
        cmocka_unit_test(a_key_has_1_to_256_bytes),
        cmocka_unit_test(numbers_are_decimal_with_a_sign_and_within_their_range),
        cmocka_unit_test(a_nul_ends_no_number),
        cmocka_unit_test(own_names_the_kind_and_the_token),
        cmocka_unit_test(requests_have_the_kind_of_their_command),
        cmocka_unit_test(a_token_is_fence_and_salt_in_hex),
        cmocka_unit_test(a_token_has_32_digits),
        cmocka_unit_test(a_token_holds_lower_case_hex_digits_only),
        cmocka_unit_test(the_secret_of_auth_is_trimmed_and_kept_within),
        cmocka_unit_test(a_line_has_256_bytes_at_most_and_returns_count),
        cmocka_unit_test(a_line_is_too_long_before_it_has_ended),
        cmocka_unit_test(the_arg_of_auth_has_64_kib_at_most),
        cmocka_unit_test(only_the_arg_of_auth_can_be_longer),
        cmocka_unit_test(all_returns_at_the_end_of_a_line_are_stripped),
        cmocka_unit_test(an_empty_input_is_partial),
        cmocka_unit_test(three_empty_lines_are_an_invalid_request),
        cmocka_unit_test(every_prefix_is_partial_and_only_one_request_is_consumed),
        cmocka_unit_test(pipelined_requests_are_read_one_by_one),
        cmocka_unit_test(random_input_is_framed_as_by_a_naive_reader),
    };

    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
