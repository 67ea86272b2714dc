/*
 * Outcomes to bytes, and the JSON of `stats` and `show`. Everything is written into blocks of
 * exactly the room that the header promises to be enough, so that a sanitizer sees a byte too many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "wire/reply.h"

#define FFFD "\xef\xbf\xbd"

enum {
    ENTRY_TEXT_MAX = REPLY_ENTRY_MAX + 1
};

/* A block of `room` bytes to write into, and afterwards what was written. */
struct written {
    uint8_t *bytes;
    size_t room;
};

static struct written room_for(size_t room)
{
    struct written written = {.bytes = malloc(room), .room = room};

    assert_non_null(written.bytes);
    return written;
}

static void assert_written(struct written *written, const uint8_t *end, const char *text)
{
    size_t length = (size_t)(end - written->bytes);

    assert_true(length <= written->room);
    assert_int_equal(length, strlen(text));
    assert_memory_equal(written->bytes, text, length);
    free(written->bytes);
    written->bytes = NULL;
}

/* ---- answers ---- */

static void every_outcome_has_its_word(void **state)
{
    static const char *const lines[] = {
        [DFLOCKD_OK] = "ok\n",
        [DFLOCKD_ACQUIRED] = "acquired\n",
        [DFLOCKD_QUEUED] = "queued\n",
        [DFLOCKD_TIMEOUT] = "timeout\n",
        [DFLOCKD_ERROR] = "error\n",
        [DFLOCKD_ERROR_AUTH] = "error_auth\n",
        [DFLOCKD_ERROR_MAX_LOCKS] = "error_max_locks\n",
        [DFLOCKD_ERROR_MAX_WAITERS] = "error_max_waiters\n",
        [DFLOCKD_ERROR_LIMIT_MISMATCH] = "error_limit_mismatch\n",
        [DFLOCKD_ERROR_NOT_ENQUEUED] = "error_not_enqueued\n",
        [DFLOCKD_ERROR_ALREADY_ENQUEUED] = "error_already_enqueued\n",
        [DFLOCKD_ERROR_LEASE_EXPIRED] = "error_lease_expired\n",
        [DFLOCKD_ERROR_DRAINING] = "error_draining\n",
    };

    (void)state;
    assert_int_equal(sizeof(lines) / sizeof(lines[0]), DFLOCKD_OUTCOME_COUNT);
    for (int outcome = 0; outcome < DFLOCKD_OUTCOME_COUNT; outcome++) {
        struct written w = room_for(DFLOCKD_ANSWER_MAX);

        assert_written(&w, reply_outcome(w.bytes, (enum dflockd_outcome)outcome), lines[outcome]);
    }
}

static void a_grant_has_a_token_of_32_digits_and_the_lease(void **state)
{
    static const struct {
        enum dflockd_outcome outcome;
        uint64_t fence;
        uint64_t salt;
        uint64_t lease_s;
        const char *line;
    } cases[] = {
        {DFLOCKD_OK, 0, 0, 1, "ok 00000000000000000000000000000000 1\n"},
        {DFLOCKD_OK, 1, 2, 33, "ok 00000000000000010000000000000002 33\n"},
        {DFLOCKD_OK, UINT64_C(0x0123456789abcdef), UINT64_C(0xfedcba9876543210), 10,
         "ok 0123456789abcdeffedcba9876543210 10\n"},
        {DFLOCKD_ACQUIRED, UINT64_MAX, UINT64_MAX, DFLOCKD_SECONDS_MAX,
         "acquired ffffffffffffffffffffffffffffffff 9223372036\n"},
        {DFLOCKD_ACQUIRED, UINT64_C(1) << 63, 0, 100,
         "acquired 80000000000000000000000000000000 100\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct written w = room_for(DFLOCKD_ANSWER_MAX);
        uint8_t *end =
            reply_grant(w.bytes, cases[i].outcome, cases[i].fence, cases[i].salt, cases[i].lease_s);

        assert_written(&w, end, cases[i].line);
    }
}

static void a_renewal_has_the_lease(void **state)
{
    static const struct {
        uint64_t lease_s;
        const char *line;
    } cases[] = {
        {1, "ok 1\n"},   {9, "ok 9\n"},       {10, "ok 10\n"},
        {33, "ok 33\n"}, {1000, "ok 1000\n"}, {DFLOCKD_SECONDS_MAX, "ok 9223372036\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct written w = room_for(DFLOCKD_ANSWER_MAX);

        assert_written(&w, reply_renewed(w.bytes, cases[i].lease_s), cases[i].line);
    }
}

/* ---- stats ---- */

static struct reply_entry entry_of(const void *key, size_t length)
{
    return (struct reply_entry){.key = key, .key_length = (uint32_t)length};
}

static void assert_entry(enum reply_section section, bool first, const struct reply_entry *entry,
                         const char *text)
{
    struct written w = room_for(REPLY_ENTRY_MAX);

    assert_written(&w, reply_stats_entry(w.bytes, section, first, entry), text);
}

static void stats_without_entries_has_all_arrays(void **state)
{
    struct written w = room_for((REPLY_SECTIONS * 2 + 2) * REPLY_ENTRY_MAX);
    uint8_t *end = reply_stats_begin(w.bytes, 7);

    (void)state;
    for (int section = 0; section < REPLY_SECTIONS; section++)
        end = reply_stats_section_end(reply_stats_section(end, (enum reply_section)section));
    assert_written(&w, reply_stats_end(end),
                   "ok {\"connections\":7,\"locks\":[],\"semaphores\":[],"
                   "\"idle_locks\":[],\"idle_semaphores\":[]}\n");
}

static void stats_has_its_entries_in_their_arrays(void **state)
{
    static const struct reply_entry entries[] = {
        {.key = (const uint8_t *)"a",
         .key_length = 1,
         .owner = 12,
         .lease_ns = 1500000000,
         .idle_ns = 250000000,
         .limit = 5,
         .holders = 2,
         .waiters = 3},
        {.key = (const uint8_t *)"bcd", .key_length = 3},
    };
    struct written w = room_for(20 * REPLY_ENTRY_MAX);
    uint8_t *end = reply_stats_begin(w.bytes, UINT64_MAX);

    (void)state;
    for (int section = 0; section < REPLY_SECTIONS; section++) {
        end = reply_stats_section(end, (enum reply_section)section);
        for (int i = 0; i < 2; i++)
            end = reply_stats_entry(end, (enum reply_section)section, i == 0, &entries[i]);
        end = reply_stats_section_end(end);
    }
    assert_written(
        &w, reply_stats_end(end),
        "ok {\"connections\":18446744073709551615,\"locks\":["
        "{\"key\":\"a\",\"owner_conn_id\":12,\"lease_expires_in_s\":1.500,\"waiters\":3},"
        "{\"key\":\"bcd\",\"owner_conn_id\":0,\"lease_expires_in_s\":0.000,\"waiters\":0}],"
        "\"semaphores\":[{\"key\":\"a\",\"limit\":5,\"holders\":2,\"waiters\":3},"
        "{\"key\":\"bcd\",\"limit\":0,\"holders\":0,\"waiters\":0}],"
        "\"idle_locks\":[{\"key\":\"a\",\"idle_s\":0.250},{\"key\":\"bcd\",\"idle_s\":0.000}],"
        "\"idle_semaphores\":[{\"key\":\"a\",\"idle_s\":0.250},"
        "{\"key\":\"bcd\",\"idle_s\":0.000}]}\n");
}

static void seconds_have_three_decimals(void **state)
{
    static const struct {
        uint64_t ns;
        const char *seconds;
    } cases[] = {
        {0, "0.000"},
        {1000000, "0.001"},
        {9000000, "0.009"},
        {10000000, "0.010"},
        {100000000, "0.100"},
        {999000000, "0.999"},
        {1000000000, "1.000"},
        {10050000000, "10.050"},
        {59999000000, "59.999"},
        {9223372036000000000, "9223372036.000"},
        {9223372036854000000, "9223372036.854"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct reply_entry entry = entry_of("k", 1);
        char text[128] = "{\"key\":\"k\",\"idle_s\":";

        entry.idle_ns = cases[i].ns;
        strcat(strcat(text, cases[i].seconds), "}");
        assert_entry(REPLY_IDLE_LOCKS, true, &entry, text);
        assert_entry(REPLY_IDLE_SEMAPHORES, true, &entry, text);

        strcpy(text, "{\"key\":\"k\",\"owner_conn_id\":0,\"lease_expires_in_s\":");
        entry.lease_ns = cases[i].ns;
        strcat(strcat(text, cases[i].seconds), ",\"waiters\":0}");
        assert_entry(REPLY_LOCKS, true, &entry, text);
    }
}

/* ---- keys as JSON strings ---- */

/* A key of `stats`, read back as a JSON parser would. */
struct decoded {
    uint8_t bytes[ENTRY_TEXT_MAX];
    size_t length;
};

static uint32_t hex_value(uint8_t digit)
{
    const char *digits = "0123456789abcdef";
    const char *found = strchr(digits, digit | 0x20);

    assert_non_null(found);
    return digit >= '0' && digit <= '9' ? (uint32_t)(digit - '0') : (uint32_t)(found - digits);
}

/* What the escape at `at`, behind its '\\', stands for; below 0x80. How long it was. */
static size_t decode_escape(const uint8_t *at, uint8_t *byte)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const char *name;

    if (*at == 'u') {
        uint32_t code = 0;

        for (size_t i = 1; i <= 4; i++)
            code = code * 16 + hex_value(at[i]);
        assert_true(code < 0x80);
        *byte = (uint8_t)code;
        return 5;
    }
    name = *at ? strchr(names, *at) : NULL;
    assert_non_null(name);
    *byte = (uint8_t)values[name - names];
    return 1;
}

/* Fails where the string at `at` is none; returns where it ended. */
static const uint8_t *decode_string(const uint8_t *at, struct decoded *decoded)
{
    decoded->length = 0;
    assert_int_equal(*at++, '"');
    while (*at != '"') {
        uint8_t byte = *at++;

        assert_true(byte >= 0x20); /* control characters have to be escaped */
        if (byte == '\\')
            at += decode_escape(at, &byte);
        decoded->bytes[decoded->length++] = byte;
    }
    return at + 1;
}

/* The entry of every section shows `key` as `expected`. */
static void assert_key_reads(const void *key, size_t length, const void *expected,
                             size_t expected_length)
{
    static const char before[] = "{\"key\":";

    for (int section = 0; section < REPLY_SECTIONS; section++) {
        struct reply_entry entry = entry_of(key, length);
        struct written w = room_for(REPLY_ENTRY_MAX);
        uint8_t *end = reply_stats_entry(w.bytes, (enum reply_section)section, true, &entry);
        struct decoded decoded;

        assert_true((size_t)(end - w.bytes) <= REPLY_ENTRY_MAX);
        assert_memory_equal(w.bytes, before, strlen(before));
        assert_int_equal(*decode_string(w.bytes + strlen(before), &decoded), ',');
        assert_int_equal(decoded.length, expected_length);
        assert_memory_equal(decoded.bytes, expected, expected_length);
        free(w.bytes);
    }
}

static void every_byte_can_be_a_key(void **state)
{
    (void)state;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint8_t key[] = {'a', (uint8_t)byte, 'b'};

        if (byte < 0x80) {
            assert_key_reads(key + 1, 1, key + 1, 1);
            assert_key_reads(key, 3, key, 3);
        } else {
            assert_key_reads(key + 1, 1, FFFD, 3);
            assert_key_reads(key, 3, "a" FFFD "b", 5);
        }
    }
}

static void valid_sequences_are_kept(void **state)
{
    static const char *const keys[] = {
        "\xc2\x80",                               /* U+0080, the first of two bytes */
        "\xc3\xa9",                               /* U+00E9 */
        "\xdf\xbf",                               /* U+07FF, the last of two */
        "\xe0\xa0\x80",                           /* U+0800, the first of three */
        "\xe2\x82\xac",                           /* U+20AC */
        "\xed\x9f\xbf",                           /* U+D7FF, the last before the surrogates */
        "\xee\x80\x80",                           /* U+E000, the first behind them */
        "\xef\xbf\xbd",                           /* U+FFFD itself */
        "\xef\xbf\xbf",                           /* U+FFFF, the last of three */
        "\xf0\x90\x80\x80",                       /* U+10000, the first of four */
        "\xf0\x9f\x94\x92",                       /* U+1F512 */
        "\xf3\xbf\xbf\xbf",                       /* U+FFFFF */
        "\xf4\x8f\xbf\xbf",                       /* U+10FFFF, the last of all */
        "job/\xc3\xa9t\xc3\xa9/\xf0\x9f\x94\x92", /* among others */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_key_reads(keys[i], strlen(keys[i]), keys[i], strlen(keys[i]));
}

static void each_byte_that_is_not_utf_8_is_replaced(void **state)
{
    static const struct {
        const char *key;
        const char *expected;
    } cases[] = {
        /* continuations without a lead */
        {"\x80", FFFD},
        {"\xbf\x80", FFFD FFFD},
        {"\xc3\xa9\xa9", "\xc3\xa9" FFFD},
        /* overlong */
        {"\xc0\x80", FFFD FFFD},
        {"\xc0\xaf", FFFD FFFD},
        {"\xc1\xbf", FFFD FFFD},
        {"\xe0\x80\x80", FFFD FFFD FFFD},
        {"\xe0\x9f\xbf", FFFD FFFD FFFD},
        {"\xf0\x80\x80\x80", FFFD FFFD FFFD FFFD},
        {"\xf0\x8f\xbf\xbf", FFFD FFFD FFFD FFFD},
        /* surrogates */
        {"\xed\xa0\x80", FFFD FFFD FFFD},
        {"\xed\xbf\xbf", FFFD FFFD FFFD},
        {"\xed\xa0\xbd\xed\xb4\x92", FFFD FFFD FFFD FFFD FFFD FFFD},
        /* above U+10FFFF, and leads that there are not */
        {"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD},
        {"\xf5\x80\x80\x80", FFFD FFFD FFFD FFFD},
        {"\xf8\x88\x80\x80\x80", FFFD FFFD FFFD FFFD FFFD},
        {"\xfe\xff", FFFD FFFD},
        /* truncated, at the end and before something else */
        {"\xc3", FFFD},
        {"\xe2\x82", FFFD FFFD},
        {"\xf0\x9f\x94", FFFD FFFD FFFD},
        {"\xf0\x9f", FFFD FFFD},
        {"\xc3y", FFFD "y"},
        {"\xe2\x82y", FFFD FFFD "y"},
        {"\xf0\x9f\x94y", FFFD FFFD FFFD "y"},
        {"\xf0\x9f\x94\xc3\xa9", FFFD FFFD FFFD "\xc3\xa9"},
        {"\xc3\"", FFFD "\""},
        {"\xe2\\\n", FFFD "\\\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_key_reads(cases[i].key, strlen(cases[i].key), cases[i].expected,
                         strlen(cases[i].expected));
}

/* A UTF-8 sequence that continues behind the key must not be read. */
static void bytes_behind_a_key_are_not_read(void **state)
{
    static const char sequence[] = "\xf0\x9f\x94\x92";

    (void)state;
    for (size_t length = 1; length < 4; length++)
        assert_key_reads(sequence, length, FFFD FFFD FFFD, length * 3);
}

static void the_longest_entries_fit_the_maximum(void **state)
{
    static const uint8_t fills[] = {0x00, 0x1f, 0x7f, 0xff, '"', '\\', 'x'};
    uint8_t key[DFLOCKD_KEY_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(fills); i++) {
        memset(key, fills[i], sizeof(key));
        for (int section = 0; section < REPLY_SECTIONS; section++) {
            const struct reply_entry entry = {
                .key = key,
                .key_length = sizeof(key),
                .owner = UINT64_MAX,
                .lease_ns = UINT64_MAX,
                .idle_ns = UINT64_MAX,
                .limit = UINT32_MAX,
                .holders = UINT32_MAX,
                .waiters = UINT32_MAX,
            };
            struct written w = room_for(REPLY_ENTRY_MAX);
            uint8_t *end = reply_stats_entry(w.bytes, (enum reply_section)section, false, &entry);

            assert_in_range(end - w.bytes, sizeof(key), REPLY_ENTRY_MAX);
            assert_int_equal(w.bytes[0], ',');
            assert_int_equal(end[-1], '}');
            free(w.bytes);
        }
    }
}

/* ---- show ---- */

static struct reply_claim claim_of(const char *name)
{
    return (struct reply_claim){.address = "[2001:db8::1]:65535",
                                .name = (const uint8_t *)name,
                                .name_length = (uint32_t)strlen(name)};
}

static void show_has_holders_and_waiters_in_their_arrays(void **state)
{
    struct reply_claim claims[] = {claim_of("a \"b\" \\"), claim_of("")};
    struct written w = room_for(2 * REPLY_ENTRY_MAX + 6 * REPLY_CLAIM_MAX);
    uint8_t *end;

    (void)state;
    claims[0].fence = UINT64_C(0x0123456789abcdef);
    claims[0].exclusive = true;
    claims[0].connection = 7;
    claims[0].age_ns = 1500000000;
    claims[0].left_ns = 0;
    claims[0].position = 1;
    claims[1].position = 100;
    claims[1].left_ns = REPLY_NO_TIME;
    end = reply_show_begin(w.bytes, &(struct reply_resource){.key = (const uint8_t *)"k\n\xff",
                                                             .key_length = 3,
                                                             .semaphore = true,
                                                             .limit = 3,
                                                             .holders = 2,
                                                             .waiters = 101});
    end = reply_show_holder(end, true, &claims[0]);
    end = reply_show_holder(end, false, &claims[0]);
    end = reply_show_waiters(end);
    end = reply_show_waiter(end, true, &claims[0]);
    end = reply_show_waiter(end, false, &claims[1]);
    assert_written(
        &w, reply_show_end(end),
        "ok {\"key\":\"k\\u000a" FFFD "\",\"kind\":\"semaphore\",\"limit\":3,\"holder_count\":2,"
        "\"waiter_count\":101,\"holders\":["
        "{\"fence\":\"0123456789abcdef\",\"mode\":\"exclusive\",\"connection\":7,"
        "\"address\":\"[2001:db8::1]:65535\",\"name\":\"a \\\"b\\\" \\\\\",\"held_s\":1.500,"
        "\"lease_expires_in_s\":0.000},"
        "{\"fence\":\"0123456789abcdef\",\"mode\":\"exclusive\",\"connection\":7,"
        "\"address\":\"[2001:db8::1]:65535\",\"name\":\"a \\\"b\\\" \\\\\",\"held_s\":1.500,"
        "\"lease_expires_in_s\":0.000}],\"waiters\":["
        "{\"position\":1,\"mode\":\"exclusive\",\"connection\":7,"
        "\"address\":\"[2001:db8::1]:65535\",\"name\":\"a \\\"b\\\" \\\\\",\"waiting_s\":1.500,"
        "\"timeout_in_s\":0.000},"
        "{\"position\":100,\"mode\":\"shared\",\"connection\":0,"
        "\"address\":\"[2001:db8::1]:65535\",\"name\":\"\",\"waiting_s\":0.000,"
        "\"timeout_in_s\":null}]}\n");
}

static void a_key_without_claims_has_empty_arrays(void **state)
{
    struct written w = room_for(REPLY_ENTRY_MAX + 2 * REPLY_CLAIM_MAX);
    uint8_t *end = reply_show_begin(
        w.bytes,
        &(struct reply_resource){.key = (const uint8_t *)"k", .key_length = 1, .limit = 1});

    (void)state;
    assert_written(&w, reply_show_end(reply_show_waiters(end)),
                   "ok {\"key\":\"k\",\"kind\":\"lock\",\"limit\":1,\"holder_count\":0,"
                   "\"waiter_count\":0,\"holders\":[],\"waiters\":[]}\n");
}

static void the_longest_holders_and_waiters_fit_the_maximum(void **state)
{
    static const char fills[] = {'"', '\\', 'x'};
    char name[DFLOCKD_NAME_MAX];
    char address[129] = "";
    uint8_t key[DFLOCKD_KEY_MAX] = {0};

    (void)state;
    memset(address, 'a', sizeof(address) - 1);
    for (int i = 0; i < 6; i++) {
        const struct reply_claim claim = {
            .fence = UINT64_MAX,
            .position = UINT64_MAX,
            .exclusive = true,
            .connection = UINT64_MAX,
            .address = address,
            .name = (const uint8_t *)name,
            .name_length = sizeof(name),
            .age_ns = UINT64_MAX,
            .left_ns = UINT64_MAX - 1,
        };
        struct written w = room_for(REPLY_CLAIM_MAX);
        uint8_t *end;

        memset(name, fills[i / 2], sizeof(name));
        end = i % 2 ? reply_show_holder(w.bytes, false, &claim)
                    : reply_show_waiter(w.bytes, false, &claim);
        assert_in_range(end - w.bytes, sizeof(name), REPLY_CLAIM_MAX);
        assert_int_equal(end[-1], '}');
        free(w.bytes);
    }
    {
        struct written w = room_for(REPLY_ENTRY_MAX);
        uint8_t *end = reply_show_begin(w.bytes, &(struct reply_resource){.key = key,
                                                                          .key_length = sizeof(key),
                                                                          .semaphore = true,
                                                                          .limit = UINT32_MAX,
                                                                          .holders = UINT32_MAX,
                                                                          .waiters = UINT32_MAX});

        assert_in_range(end - w.bytes, sizeof(key) * 6, REPLY_ENTRY_MAX);
        free(w.bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_outcome_has_its_word),
        cmocka_unit_test(a_grant_has_a_token_of_32_digits_and_the_lease),
        cmocka_unit_test(a_renewal_has_the_lease),
        cmocka_unit_test(stats_without_entries_has_all_arrays),
        cmocka_unit_test(stats_has_its_entries_in_their_arrays),
        cmocka_unit_test(seconds_have_three_decimals),
        cmocka_unit_test(every_byte_can_be_a_key),
        cmocka_unit_test(valid_sequences_are_kept),
        cmocka_unit_test(each_byte_that_is_not_utf_8_is_replaced),
        cmocka_unit_test(bytes_behind_a_key_are_not_read),
        cmocka_unit_test(the_longest_entries_fit_the_maximum),
        cmocka_unit_test(show_has_holders_and_waiters_in_their_arrays),
        cmocka_unit_test(a_key_without_claims_has_empty_arrays),
        cmocka_unit_test(the_longest_holders_and_waiters_fit_the_maximum),
    };

    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
