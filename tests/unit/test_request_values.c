/*
 * Values in requests: numbers, tokens and the secret of `auth`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "request_fixture.h"

/* ---- numbers ---- */

struct number_case {
    const char *field;
    bool number;    /* a number, not negative, that 64 bits hold unsigned */
    uint64_t value; /* then */
};

#define ZEROS_20  "00000000000000000000"
#define ZEROS_100 ZEROS_20 ZEROS_20 ZEROS_20 ZEROS_20 ZEROS_20

static const struct number_case number_cases[] = {
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
    NUMBER_CASES = sizeof(number_cases) / sizeof(number_cases[0])
};

static uint64_t get_timeout(const struct request *request)
{
    return request->timeout_s;
}

static uint64_t get_lease(const struct request *request)
{
    return request->lease_s;
}

static uint64_t get_limit(const struct request *request)
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

static const struct number_use number_uses[] = {
    {"l", "", "", get_timeout, 0, 9223372036},       {"l", "", " 20", get_timeout, 0, 9223372036},
    {"l", "10 ", "", get_lease, 1, 9223372036},      {"n", TOKEN " ", "", get_lease, 1, 9223372036},
    {"e", "", "", get_lease, 1, 9223372036},         {"w", "", "", get_timeout, 0, 9223372036},
    {"sl", "", " 5", get_timeout, 0, 9223372036},    {"sl", "10 ", "", get_limit, 1, 1048576},
    {"sl", "10 ", " 20", get_limit, 1, 1048576},     {"sl", "10 5 ", "", get_lease, 1, 9223372036},
    {"sn", TOKEN " ", "", get_lease, 1, 9223372036}, {"se", "", "", get_limit, 1, 1048576},
    {"se", "", " 20", get_limit, 1, 1048576},        {"se", "5 ", "", get_lease, 1, 9223372036},
    {"sw", "", "", get_timeout, 0, 9223372036},
};

static void assert_number(const struct number_use *use, const struct number_case *of)
{
    bool valid = of->number && of->value >= use->least && of->value <= use->most;
    struct parsed parsed;

    begin_text(use->command);
    put_text("\nkey\n");
    put_text(use->arg_before);
    put_text(of->field);
    put_text(use->arg_behind);
    put_text("\n");
    parsed = parse_text();
    assert_complete(&parsed);
    if (parsed.request.valid != valid)
        fail_msg("%s: '%s%s%s'", use->command, use->arg_before, of->field, use->arg_behind);
    if (valid)
        assert_int_equal(use->get(&parsed.request), of->value);
    parsed_end(&parsed);
}

static void numbers_are_decimal_with_a_sign_and_within_their_range(void **state)
{
    (void)state;
    for (size_t use = 0; use < sizeof(number_uses) / sizeof(number_uses[0]); use++) {
        for (size_t i = 0; i < NUMBER_CASES; i++)
            assert_number(&number_uses[use], &number_cases[i]);
    }
}

static void a_nul_ends_no_number(void **state)
{
    static const char *const args[] = {"1\0", "\0001", "1\0002"};
    static const size_t lengths[] = {2, 2, 3};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        begin_text("l\nkey\n");
        put_bytes(args[i], lengths[i]);
        put_text("\n");
        assert_text_is(false);
    }
}

/* ---- tokens ---- */

static const char *const token_commands[] = {"r", "n", "sr", "sn"};

static void assert_token(const char *token, bool valid, uint64_t fence, uint64_t salt)
{
    for (size_t i = 0; i < sizeof(token_commands) / sizeof(token_commands[0]); i++) {
        struct parsed parsed;

        begin_request(token_commands[i], "key", token);
        parsed = parse_text();
        assert_complete(&parsed);
        assert_int_equal(parsed.request.valid, valid);
        if (valid) {
            assert_int_equal(parsed.request.fence, fence);
            assert_int_equal(parsed.request.salt, salt);
        }
        parsed_end(&parsed);
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
    begin_text("r\nkey\n0123456789abcdef");
    put_bytes("\0edcba9876543210\n", 17);
    assert_text_is(false);
}

/* ---- auth ---- */

static void assert_secret(const char *arg, const char *secret)
{
    struct parsed parsed;

    begin_request("auth", "_", arg);
    parsed = parse_text();
    assert_complete(&parsed);
    assert_true(parsed.request.valid);
    assert_int_equal(parsed.request.command, DFLOCKD_AUTH);
    assert_int_equal(parsed.request.secret.length, strlen(secret));
    if (*secret)
        assert_slice(&parsed, parsed.request.secret, secret, strlen(secret));
    parsed_end(&parsed);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_decimal_with_a_sign_and_within_their_range),
        cmocka_unit_test(a_nul_ends_no_number),
        cmocka_unit_test(a_token_is_fence_and_salt_in_hex),
        cmocka_unit_test(a_token_has_32_digits),
        cmocka_unit_test(a_token_holds_lower_case_hex_digits_only),
        cmocka_unit_test(the_secret_of_auth_is_trimmed_and_kept_within),
    };

    return cmocka_run_group_tests_name("request_values", tests, NULL, NULL);
}
