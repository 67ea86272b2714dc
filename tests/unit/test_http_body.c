/*
 * Bodies of requests: the fields of each endpoint, their values, and text that is no such object.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "http/body.h"

#define TOKEN "0123456789abcdeffedcba9876543210"

enum {
    ALL = BODY_ACQUIRE_TIMEOUT | BODY_TIMEOUT | BODY_LEASE | BODY_LIMIT | BODY_TOKEN | BODY_FENCE |
          BODY_MODE
};

static struct body parsed;
static char detail[BODY_DETAIL_MAX];

/* The bytes are in a block of their exact size, so that a sanitizer detects reads beyond it. */
static bool parse_bytes(unsigned allowed, unsigned required, const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length);
    bool valid;

    if (length > 0)
        memcpy(copy, bytes, length);
    memset(&parsed, 0xd7, sizeof(parsed));
    memset(detail, 0xd7, sizeof(detail));
    valid = body_parse(&parsed, allowed, required, copy, length, detail);
    free(copy);
    if (!valid) {
        assert_non_null(memchr(detail, '\0', sizeof(detail)));
        assert_true(detail[0] != '\0');
        for (const char *at = detail; *at; at++)
            assert_false(iscntrl((unsigned char)*at));
    }
    return valid;
}

static bool parse(unsigned allowed, unsigned required, const char *text)
{
    return parse_bytes(allowed, required, text, strlen(text));
}

static void assert_parsed(const char *text)
{
    if (!parse(ALL, 0, text))
        fail_msg("%s: %s", text, detail);
}

static void assert_refused(const char *text, const char *problem)
{
    if (parse(ALL, 0, text))
        fail_msg("%s: parsed", text);
    if (strcmp(detail, problem) != 0)
        fail_msg("%s: '%s' is not '%s'", text, detail, problem);
}

/* ---- fields ---- */

static void a_body_without_bytes_or_fields_has_no_fields(void **state)
{
    static const char *const texts[] = {"", "{}", " { } ", "\r\n\t{\n}\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_true(parse(0, 0, texts[i]));
        assert_int_equal(parsed.present, 0);
        assert_int_equal(parsed.lease_s, 0);
        assert_false(parse(ALL, BODY_TOKEN, texts[i]));
        assert_string_equal(detail, "token: missing");
    }
}

static void all_fields_are_read_in_any_order(void **state)
{
    (void)state;
    assert_parsed("{\"acquire_timeout_s\":1,\"lease_ttl_s\":2,\"limit\":3,\"token\":\"" TOKEN
                  "\",\"mode\":\"shared\"}");
    assert_int_equal(parsed.present,
                     BODY_ACQUIRE_TIMEOUT | BODY_LEASE | BODY_LIMIT | BODY_TOKEN | BODY_MODE);
    assert_int_equal(parsed.timeout_s, 1);
    assert_int_equal(parsed.lease_s, 2);
    assert_int_equal(parsed.limit, 3);
    assert_int_equal(parsed.fence, 0x0123456789abcdef);
    assert_int_equal(parsed.salt, 0xfedcba9876543210);
    assert_true(parsed.shared);
    assert_parsed(" {\t\"mode\" : \"exclusive\" ,\r\n\"fence\" : \"00000000000000ff\" , "
                  "\"timeout_s\" : 9 } ");
    assert_int_equal(parsed.present, BODY_MODE | BODY_FENCE | BODY_TIMEOUT);
    assert_int_equal(parsed.timeout_s, 9);
    assert_int_equal(parsed.fence, 0xff);
    assert_false(parsed.shared);
}

static void escapes_in_names_and_values_are_read(void **state)
{
    (void)state;
    assert_parsed("{\"\\u006cimit\":7,\"mode\":\"sh\\u0061red\"}");
    assert_int_equal(parsed.limit, 7);
    assert_true(parsed.shared);
}

static void each_endpoint_takes_its_fields(void **state)
{
    static const struct {
        enum route_endpoint endpoint;
        bool semaphore;
        unsigned allowed;
        unsigned required;
    } cases[] = {
        {ROUTE_ACQUIRE, false, BODY_ACQUIRE_TIMEOUT | BODY_LEASE | BODY_MODE, BODY_ACQUIRE_TIMEOUT},
        {ROUTE_ACQUIRE, true, BODY_ACQUIRE_TIMEOUT | BODY_LEASE | BODY_LIMIT,
         BODY_ACQUIRE_TIMEOUT | BODY_LIMIT},
        {ROUTE_ENQUEUE, false, BODY_LEASE | BODY_MODE, 0},
        {ROUTE_ENQUEUE, true, BODY_LEASE | BODY_LIMIT, BODY_LIMIT},
        {ROUTE_WAIT, false, BODY_TIMEOUT, BODY_TIMEOUT},
        {ROUTE_WAIT, true, BODY_TIMEOUT, BODY_TIMEOUT},
        {ROUTE_RELEASE, false, BODY_TOKEN, BODY_TOKEN},
        {ROUTE_RELEASE, true, BODY_TOKEN, BODY_TOKEN},
        {ROUTE_RENEW, false, BODY_TOKEN | BODY_LEASE, BODY_TOKEN},
        {ROUTE_RENEW, true, BODY_TOKEN | BODY_LEASE, BODY_TOKEN},
        {ROUTE_OWN, false, BODY_TOKEN, BODY_TOKEN},
        {ROUTE_REVOKE, true, BODY_FENCE, BODY_FENCE},
        {ROUTE_SESSION_CREATE, false, 0, 0},
        {ROUTE_SESSION_PING, false, 0, 0},
        {ROUTE_SHOW, false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct route route = {.endpoint = cases[i].endpoint, .semaphore = cases[i].semaphore};
        unsigned allowed;
        unsigned required;

        body_fields(&route, &allowed, &required);
        assert_int_equal(allowed, cases[i].allowed);
        assert_int_equal(required, cases[i].required);
    }
}

static void required_fields_must_be_there(void **state)
{
    (void)state;
    assert_false(parse(ALL, BODY_LIMIT | BODY_ACQUIRE_TIMEOUT, "{\"limit\":1}"));
    assert_string_equal(detail, "acquire_timeout_s: missing");
    assert_false(parse(ALL, BODY_LIMIT | BODY_ACQUIRE_TIMEOUT, "{\"acquire_timeout_s\":1}"));
    assert_string_equal(detail, "limit: missing");
    assert_true(
        parse(ALL, BODY_LIMIT | BODY_ACQUIRE_TIMEOUT, "{\"acquire_timeout_s\":1,\"limit\":1}"));
}

static void other_fields_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"x\":1}", "unknown field 'x'");
    assert_refused("{\"\":1}", "unknown field ''");
    assert_refused("{\"Limit\":1}", "unknown field 'Limit'");
    assert_refused("{\"limit \":1}", "unknown field 'limit '");
    assert_refused("{\"limit\":1,\"a\\nb\\u202ec\":1}", "unknown field 'a?b?c'");
    assert_refused("{\"\xc3\xa4\":1}", "unknown field '\xc3\xa4'");
    assert_refused("{\"0123456789012345678901234567890123456789\":1}",
                   "unknown field '0123456789012345678901234567890123456789'");
    assert_refused("{\"01234567890123456789012345678901234567890\":1}",
                   "unknown field '0123456789012345678901234567890123456789...'");
    assert_refused("{\"012345678901234567890123456789012345678\xc3\xa4\":1}",
                   "unknown field '012345678901234567890123456789012345678...'");
    assert_false(parse(ALL & ~BODY_LIMIT, 0, "{\"limit\":1}"));
    assert_string_equal(detail, "unknown field 'limit'");
}

/* ---- values ---- */

static void seconds_and_limits_are_whole_numbers_in_their_range(void **state)
{
    static const struct {
        const char *name;
        const char *least;
        const char *most;
        const char *more;
    } fields[] = {
        {"acquire_timeout_s", "0", "9223372036", "9223372037"},
        {"timeout_s", "0", "9223372036", "9223372037"},
        {"lease_ttl_s", "0", "9223372036", "9223372037"},
        {"limit", "1", "1048576", "1048577"},
    };
    static const char *const wrong[] = {
        "-1",
        "1.0",
        "1e3",
        "0.5",
        "\"1\"",
        "\"\"",
        "true",
        "null",
        "4294967297000",
        "1E2",
        "9223372036854775807",
        "18446744073709551617",
        "36893488147419103233",
        "-9223372036854775808",
    };
    char text[256];
    char problem[BODY_DETAIL_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        snprintf(text, sizeof(text), "{\"%s\":%s}", fields[i].name, fields[i].least);
        assert_parsed(text);
        snprintf(text, sizeof(text), "{\"%s\":%s}", fields[i].name, fields[i].most);
        assert_parsed(text);
        if (strcmp(fields[i].name, "limit") == 0)
            assert_int_equal(parsed.limit, DFLOCKD_LIMIT_MAX);
        else
            assert_int_equal(parsed.timeout_s + parsed.lease_s, DFLOCKD_SECONDS_MAX);
        snprintf(problem, sizeof(problem), "%s: must be a whole number from %s to %s",
                 fields[i].name, fields[i].least, fields[i].most);
        snprintf(text, sizeof(text), "{\"%s\":%s}", fields[i].name, fields[i].more);
        assert_refused(text, problem);
        for (size_t j = 0; j < sizeof(wrong) / sizeof(wrong[0]); j++) {
            snprintf(text, sizeof(text), "{\"%s\":%s}", fields[i].name, wrong[j]);
            assert_refused(text, problem);
        }
    }
    assert_refused("{\"limit\":0}", "limit: must be a whole number from 1 to 1048576");
}

static void tokens_and_fences_are_lower_case_digits(void **state)
{
    static const char *const wrong[] = {
        "\"\"",
        "\"0123456789abcdeffedcba987654321\"",
        "\"" TOKEN "0\"",
        "\"0123456789ABCDEFFEDCBA9876543210\"",
        "\"g123456789abcdeffedcba9876543210\"",
        "\"0123456789abcdeffedcba987654321g\"",
        "\"0123456789abcdef\\n\"",
        "\"0123456789abcde\"",
        "\"0123456789abcdefa\"",
        "\"0123456789abcdeF\"",
        "1",
        "null",
        "true",
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(text, sizeof(text), "{\"token\":%s}", wrong[i]);
        assert_refused(text, "token: must be 32 lower-case hexadecimal digits");
        snprintf(text, sizeof(text), "{\"fence\":%s}", wrong[i]);
        assert_refused(text, "fence: must be 16 lower-case hexadecimal digits");
    }
    assert_parsed("{\"token\":\"ffffffffffffffffffffffffffffffff\"}");
    assert_int_equal(parsed.salt, UINT64_MAX);
    assert_parsed("{\"fence\":\"0000000000000000\"}");
    assert_int_equal(parsed.fence, 0);
}

static void a_mode_is_one_of_two_words(void **state)
{
    static const char *const wrong[] = {"\"\"", "\"Shared\"", "\"shared \"", "\"read\"",
                                        "0",    "null",       "true"};
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(text, sizeof(text), "{\"mode\":%s}", wrong[i]);
        assert_refused(text, "mode: must be 'exclusive' or 'shared'");
    }
}

/* ---- text that is no object ---- */

static void other_json_is_refused(void **state)
{
    static const char *const texts[] = {"1", "\"x\"", "null", "true", "[]", "[{}]", "1.5"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_refused(texts[i], "not a JSON object, at byte 1");
}

static void text_that_is_not_json_is_refused(void **state)
{
    static const char *const texts[] = {
        " ",
        "{",
        "}",
        "{\"limit\"",
        "{\"limit\":",
        "{\"limit\":1",
        "{\"limit\":1,",
        "{\"limit\":1,}",
        "{,\"limit\":1}",
        "{\"limit\":1 \"mode\":\"shared\"}",
        "{limit:1}",
        "{'limit':1}",
        "{\"limit\" 1}",
        "{\"limit\":01}",
        "{\"limit\":+1}",
        "{\"limit\":1.}",
        "{\"limit\":.5}",
        "{\"limit\":0x1}",
        "{\"limit\":-}",
        "{\"limit\":NaN}",
        "{\"limit\":True}",
        "{\"limit\":tru}",
        "{\"limit\":\"}",
        "{\"limit\":\"\\\"}",
        "{\"limit\":\"\\x\"}",
        "{\"limit\":\"\\u12\"}",
        "{\"limit\":\"\\ud800\"}",
        "{\"limit\":\"\\udc00\"}",
        "{\"limit\":\"a\nb\"}",
        "{\"limit\":1}}",
        "{\"limit\":1}{}",
        "{\"limit\":1} x",
        "{}\"",
        "/**/{}",
        "{}//",
        "\xef\xbb\xbf{}",
        "{\"limit\":\"\xff\"}",
        "{\"\xc0\x80\":1}",
        "\xff{}",
        "acquire_timeout_s=1",
        "{\"limit\":1,\"limit\":1}",
        "{\"limit\":1,\"limi\\u0074\":2}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (parse(ALL, 0, texts[i]))
            fail_msg("%s: parsed", texts[i]);
    }
    assert_refused("{\"limit\":1,\"limit\":1}", "limit: given twice");
    assert_refused("{\"limit\":1,\"limi\\u0074\":2}", "limit: given twice");
    assert_refused("{} x", "more after the JSON object, at byte 4");
    assert_refused("{\"limit\":1", "not JSON, at byte 11");
    assert_refused("{\"limit\":tru}", "not JSON, at byte 10");
    assert_refused("{\"mode\":\"a\nb\"}", "not JSON, at byte 11");
    assert_refused("{\"mode\":\"a\x1f\"}", "not JSON, at byte 11");
    assert_refused("{\"timeout_s\":01}", "not JSON, at byte 15");
    assert_refused("{\"mode\":\"\\ud800\\u0041\"}", "not JSON, at byte 22");
    assert_refused("{\"mode\":\"\\udc00\"}", "not JSON, at byte 16");
    assert_refused("{\"mode\":\"\\ud800\"}", "not JSON, at byte 16");
    assert_refused("{\"mode\":\"\xff\"}", "not UTF-8, at byte 10");
}

static void nul_bytes_are_refused(void **state)
{
    static const char *const texts[] = {
        ".{}", "{.}", "{}.", "{\"lim.it\":1}", "{\"limit\":1.}", "{\"mode\":\"shared.\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char bytes[64];
        size_t length = strlen(texts[i]);

        memcpy(bytes, texts[i], length + 1);
        *strchr(bytes, '.') = '\0';
        assert_false(parse_bytes(ALL, 0, bytes, length));
    }
    assert_false(parse(ALL, 0, "{\"mode\":\"shared\\u0000\"}"));
    assert_false(parse(ALL, 0, "{\"limit\\u0000\":1}"));
}

static void nested_values_are_refused(void **state)
{
    static const char *const values[] = {"[]", "{}", "[1", "{", "[[[[[[[["};
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        snprintf(text, sizeof(text), "{\"limit\":%s", values[i]);
        assert_refused(text, "limit: must be a whole number from 1 to 1048576");
        snprintf(text, sizeof(text), "{\"token\":%s", values[i]);
        assert_refused(text, "token: must be 32 lower-case hexadecimal digits");
        snprintf(text, sizeof(text), "{\"mode\":%s", values[i]);
        assert_refused(text, "mode: must be 'exclusive' or 'shared'");
        snprintf(text, sizeof(text), "{\"x\":%s", values[i]);
        assert_refused(text, "unknown field 'x'");
    }
}

/* Parses `start`, as much of `part` as a body may have, and `end`. */
static bool parse_filled(const char *start, const char *part, const char *end)
{
    size_t part_length = strlen(part);
    size_t length = strlen(start);
    char *text = malloc(BODY_MAX + 1);
    bool valid;

    memcpy(text, start, length);
    while (length + part_length + strlen(end) <= BODY_MAX) {
        memcpy(text + length, part, part_length);
        length += part_length;
    }
    memcpy(text + length, end, strlen(end));
    valid = parse_bytes(ALL, 0, text, length + strlen(end));
    free(text);
    return valid;
}

static void long_bodies_are_parsed(void **state)
{
    (void)state;
    assert_true(parse_filled("{", " ", "\"limit\":7}"));
    assert_int_equal(parsed.limit, 7);
    assert_true(parse_filled("{\"limit\":7}", "\n", "\t"));
    assert_false(parse_filled("{\"limit\":7}", "\n", "x"));
    assert_false(parse_filled("{\"limit\":7", "0", "}"));
    assert_string_equal(detail, "limit: must be a whole number from 1 to 1048576");
    assert_false(parse_filled("{\"limit\":0.", "0", "}"));
    assert_false(parse_filled("{\"limit\":1e", "0", "}"));
    assert_false(parse_filled("{\"token\":\"" TOKEN, "0", "\"}"));
    assert_string_equal(detail, "token: must be 32 lower-case hexadecimal digits");
    assert_false(parse_filled("{\"mode\":\"shared", "\\u0000", "\"}"));
    assert_false(parse_filled("{\"limit", "\xf0\x9f\x98\x80", "\":1}"));
    assert_string_equal(detail, "unknown field 'limit\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f"
                                "\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f"
                                "\x98\x80\xf0\x9f\x98\x80...'");
    assert_false(parse_filled("", "[", ""));
    assert_false(parse_filled("{\"limit\":", "[", ""));
    assert_false(parse_filled("{", "\"limit\":1,", "\"limit\":1}"));
}

static void a_body_that_is_cut_is_refused(void **state)
{
    static const char text[] =
        "{\"\\u006cimit\":12,\"token\":\"" TOKEN "\",\"mode\":\"\\u0073hared\",\"timeout_s\":0}";

    (void)state;
    assert_parsed(text);
    for (size_t length = 1; length < sizeof(text) - 1; length++)
        assert_false(parse_bytes(ALL, 0, text, length));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_without_bytes_or_fields_has_no_fields),
        cmocka_unit_test(all_fields_are_read_in_any_order),
        cmocka_unit_test(escapes_in_names_and_values_are_read),
        cmocka_unit_test(each_endpoint_takes_its_fields),
        cmocka_unit_test(required_fields_must_be_there),
        cmocka_unit_test(other_fields_are_refused),
        cmocka_unit_test(seconds_and_limits_are_whole_numbers_in_their_range),
        cmocka_unit_test(tokens_and_fences_are_lower_case_digits),
        cmocka_unit_test(a_mode_is_one_of_two_words),
        cmocka_unit_test(other_json_is_refused),
        cmocka_unit_test(text_that_is_not_json_is_refused),
        cmocka_unit_test(nul_bytes_are_refused),
        cmocka_unit_test(nested_values_are_refused),
        cmocka_unit_test(long_bodies_are_parsed),
        cmocka_unit_test(a_body_that_is_cut_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
