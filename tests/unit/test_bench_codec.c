/*
 * Requests of the load generator byte for byte, and its parsing of replies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "bench/codec.h"

#define TOKEN "00112233445566778899aabbccddeeff"

struct fixture {
    struct settings settings;
    struct keys keys;
    struct codec codec;
    struct token token;
};

static struct settings usual_settings(void)
{
    return (struct settings){.key = "bench",
                             .timeout_s = 30,
                             .lease_s = 10,
                             .limit = 4,
                             .key_choice = KEYS_UNIFORM,
                             .key_count = 1000};
}

static void start_codec(struct fixture *f, const struct settings *settings)
{
    memset(f, 0, sizeof(*f));
    f->settings = *settings;
    f->token.length = DFLOCKD_TOKEN_LENGTH;
    memcpy(f->token.text, TOKEN, DFLOCKD_TOKEN_LENGTH);
    keys_init(&f->keys, &f->settings);
    assert_true(codec_init(&f->codec, &f->settings, &f->keys));
}

static void assert_request(const struct fixture *f, enum request_kind kind, const char *expected)
{
    uint8_t bytes[CODEC_REQUEST_MAX + 1];

    *codec_write_request(&f->codec, bytes, kind, KEY_CHOSEN, 7, &f->token) = '\0';
    assert_string_equal((const char *)bytes, expected);
}

static void requests_match_the_protocol(void **state)
{
    struct settings settings = usual_settings();
    struct fixture f;

    (void)state;
    start_codec(&f, &settings);
    assert_request(&f, REQUEST_ACQUIRE, "l\nbench_7\n30 10\n");
    assert_request(&f, REQUEST_TRY, "l\nbench_7\n0 10\n");
    assert_request(&f, REQUEST_SHARED_ACQUIRE, "rl\nbench_7\n30 10\n");
    assert_request(&f, REQUEST_SEMAPHORE_ACQUIRE, "sl\nbench_7\n30 4 10\n");
    assert_request(&f, REQUEST_ENQUEUE, "e\nbench_7\n10\n");
    assert_request(&f, REQUEST_SHARED_ENQUEUE, "re\nbench_7\n10\n");
    assert_request(&f, REQUEST_SHARED_WAIT, "w\nbench_7\n30\n");
    assert_request(&f, REQUEST_WAIT, "w\nbench_7\n30\n");
    assert_request(&f, REQUEST_RENEW, "n\nbench_7\n" TOKEN " 10\n");
    assert_request(&f, REQUEST_SHARED_RELEASE, "r\nbench_7\n" TOKEN "\n");
    assert_request(&f, REQUEST_RELEASE, "r\nbench_7\n" TOKEN "\n");
    assert_request(&f, REQUEST_SEMAPHORE_RELEASE, "sr\nbench_7\n" TOKEN "\n");
    assert_request(&f, REQUEST_PING, "ping\n_\n\n");
}

static void a_shared_key_is_the_prefix_itself(void **state)
{
    struct settings settings = usual_settings();
    struct fixture f;

    (void)state;
    settings.key_choice = KEYS_SHARED;
    start_codec(&f, &settings);
    assert_request(&f, REQUEST_ACQUIRE, "l\nbench\n30 10\n");
}

static void the_longest_request_fits(void **state)
{
    char prefix[SETTINGS_KEY_MAX + 1];
    struct settings settings = usual_settings();
    struct fixture f;
    uint8_t bytes[2 * CODEC_REQUEST_MAX];

    (void)state;
    memset(prefix, 'k', SETTINGS_KEY_MAX);
    prefix[SETTINGS_KEY_MAX] = '\0';
    settings.key = prefix;
    settings.timeout_s = DFLOCKD_SECONDS_MAX;
    settings.lease_s = DFLOCKD_SECONDS_MAX;
    settings.limit = DFLOCKD_LIMIT_MAX;
    for (int redis = 0; redis < 2; redis++) {
        settings.redis = redis;
        start_codec(&f, &settings);
        f.token.length = CODEC_TOKEN_MAX;
        for (int kind = 0; kind < REQUEST_AUTH; kind++) {
            for (int space = 0; space < KEY_SPACES; space++) {
                uint8_t *end = codec_write_request(&f.codec, bytes, (enum request_kind)kind,
                                                   (enum key_space)space, UINT32_MAX, &f.token);
                const uint8_t *key = memchr(bytes, redis ? ' ' : '\n', sizeof(bytes));

                assert_true(end - bytes <= CODEC_REQUEST_MAX);
                if (kind == REQUEST_ACQUIRE)
                    assert_true(strcspn((const char *)key + 1, " \n") <= DFLOCKD_KEY_MAX);
            }
        }
    }
}

static struct reply parse_reply(struct fixture *f, enum request_kind kind, const char *line)
{
    return codec_parse_reply(&f->codec, kind, line, (uint32_t)strlen(line), &f->token);
}

static void replies_are_parsed(void **state)
{
    struct settings settings = usual_settings();
    struct fixture f;
    struct reply reply;

    (void)state;
    start_codec(&f, &settings);
    f.token.length = 0;
    reply = parse_reply(&f, REQUEST_ACQUIRE, "ok " TOKEN " 33");
    assert_int_equal(reply.outcome, DFLOCKD_OK);
    assert_ptr_equal(reply.token, &f.token);
    assert_int_equal(reply.lease_s, 33);
    assert_int_equal(f.token.length, 32);
    assert_memory_equal(f.token.text, TOKEN, 32);
    reply = parse_reply(&f, REQUEST_ENQUEUE, "acquired " TOKEN " 33");
    assert_int_equal(reply.outcome, DFLOCKD_ACQUIRED);
    assert_non_null(reply.token);
    assert_non_null(parse_reply(&f, REQUEST_SHARED_ACQUIRE, "ok " TOKEN " 33").token);
    assert_non_null(parse_reply(&f, REQUEST_SHARED_ENQUEUE, "acquired " TOKEN " 33").token);
    assert_non_null(parse_reply(&f, REQUEST_SHARED_WAIT, "ok " TOKEN " 33").token);
    reply = parse_reply(&f, REQUEST_ENQUEUE, "queued");
    assert_int_equal(reply.outcome, DFLOCKD_QUEUED);
    assert_null(reply.token);
    reply = parse_reply(&f, REQUEST_RENEW, "ok 12");
    assert_int_equal(reply.outcome, DFLOCKD_OK);
    assert_null(reply.token);
    assert_int_equal(reply.lease_s, 12);
    assert_int_equal(parse_reply(&f, REQUEST_RELEASE, "ok").outcome, DFLOCKD_OK);
    assert_int_equal(parse_reply(&f, REQUEST_ACQUIRE, "timeout").outcome, DFLOCKD_TIMEOUT);
    assert_int_equal(parse_reply(&f, REQUEST_ACQUIRE, "error_max_locks").outcome,
                     DFLOCKD_ERROR_MAX_LOCKS);
}

static void a_malformed_reply_is_unknown(void **state)
{
    static const char *const lines[] = {"",
                                        " ",
                                        "o",
                                        "okay",
                                        "ok",
                                        "ok ",
                                        "ok x",
                                        "ok  33",
                                        "ERR",
                                        "ok 0123456789012345678901234567890123456789"
                                        "0123456789012345678901234567890123456789 33"};
    struct settings settings = usual_settings();
    struct fixture f;

    (void)state;
    start_codec(&f, &settings);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct reply reply = parse_reply(&f, REQUEST_ACQUIRE, lines[i]);

        assert_int_equal(reply.outcome, OUTCOME_UNKNOWN);
        assert_null(reply.token);
    }
}

static void redis_requests_and_replies(void **state)
{
    struct settings settings = usual_settings();
    struct fixture f;
    uint8_t bytes[CODEC_REQUEST_MAX + 1];

    (void)state;
    settings.redis = true;
    start_codec(&f, &settings);
    *codec_write_request(&f.codec, bytes, REQUEST_ACQUIRE, KEY_CHOSEN, 7, &f.token) = '\0';
    assert_memory_equal(bytes, "SET bench_7 ", 12);
    assert_string_equal((const char *)bytes + 12 + 32, " NX PX 10000\r\n");
    assert_request(&f, REQUEST_RELEASE, "DEL bench_7\r\n");
    assert_non_null(parse_reply(&f, REQUEST_ACQUIRE, "+OK").token);
    assert_int_equal(parse_reply(&f, REQUEST_ACQUIRE, "$-1").outcome, DFLOCKD_TIMEOUT);
    assert_int_equal(parse_reply(&f, REQUEST_RELEASE, ":1").outcome, DFLOCKD_OK);
    assert_int_equal(parse_reply(&f, REQUEST_RELEASE, ":0").outcome, DFLOCKD_ERROR);
    assert_int_equal(parse_reply(&f, REQUEST_ACQUIRE, "-ERR no").outcome, DFLOCKD_ERROR);
    assert_int_equal(parse_reply(&f, REQUEST_ACQUIRE, "?").outcome, OUTCOME_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_match_the_protocol),
        cmocka_unit_test(a_shared_key_is_the_prefix_itself),
        cmocka_unit_test(the_longest_request_fits),
        cmocka_unit_test(replies_are_parsed),
        cmocka_unit_test(a_malformed_reply_is_unknown),
        cmocka_unit_test(redis_requests_and_replies),
    };

    return cmocka_run_group_tests_name("bench_speech", tests, NULL, NULL);
}
