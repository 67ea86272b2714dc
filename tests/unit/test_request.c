/*
 * Requests: commands and their fields, keys and `own`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "request_fixture.h"

/* ---- commands ---- */

static void every_command_has_its_word(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        struct parsed parsed;

        begin_fields(&command_cases[i], command_cases[i].least, " ");
        parsed = parse_text();
        assert_complete(&parsed);
        assert_true(parsed.request.valid);
        assert_int_equal(parsed.request.command, command_cases[i].command);
        assert_int_equal(command_of_semaphores(parsed.request.command),
                         command_cases[i].of_semaphores);
        parsed_end(&parsed);
    }
}

static void every_command_takes_its_fields_and_no_others(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        const struct command_case *of = &command_cases[i];

        for (uint32_t count = 0; of->keyed && count <= 6; count++) {
            struct parsed parsed;

            begin_fields(of, count, " ");
            parsed = parse_text();
            assert_complete(&parsed);
            assert_int_equal(parsed.request.valid, count >= of->least && count <= of->most);
            if (parsed.request.valid)
                assert_fields(&parsed, of, count);
            parsed_end(&parsed);
        }
    }
}

static void any_number_of_blanks_separates_fields(void **state)
{
    static const char *const blanks[] = {" ", "  ", "\t", " \t", "\t \t  \t", "\v", "\f \v"};

    (void)state;
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        const struct command_case *of = &command_cases[i];

        for (size_t blank = 0; of->keyed && blank < sizeof(blanks) / sizeof(blanks[0]); blank++) {
            struct parsed parsed;

            begin_text(of->word);
            put_text("\nkey\n");
            put_text(blanks[blank]);
            put_fields(of, of->most, blanks[blank]);
            put_text(blanks[blank]);
            put_text("\n");
            parsed = parse_text();
            assert_complete(&parsed);
            assert_true(parsed.request.valid);
            assert_fields(&parsed, of, of->most);
            parsed_end(&parsed);
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

static bool is_allowed_in_key(uint8_t byte)
{
    return byte != ' ' && byte != '\t' && byte != '\r';
}

static void begin_with_key(const struct command_case *of, const void *key, size_t length)
{
    begin_text(of->word);
    put_text("\n");
    put_bytes(key, length);
    put_text("\n");
    put_fields(of, of->most, " ");
    put_text("\n");
}

/* `key` as a key of every command that has one. */
static void assert_key(const void *key, size_t length, bool valid)
{
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        struct parsed parsed;

        if (!command_cases[i].keyed)
            continue;
        begin_with_key(&command_cases[i], key, length);
        parsed = parse_text();
        assert_complete(&parsed);
        assert_int_equal(parsed.request.valid, valid);
        if (valid)
            assert_slice(&parsed, parsed.request.key, key, length);
        parsed_end(&parsed);
    }
}

static void a_key_holds_any_byte_but_blanks(void **state)
{
    (void)state;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint8_t key[] = {'a', (uint8_t)byte, 'b'};

        if (byte == '\n')
            continue;
        assert_key(key, 3, is_allowed_in_key(key[1]));     /* within */
        assert_key(key + 1, 2, is_allowed_in_key(key[1])); /* in front */
        if (byte != '\r') {                                /* which is stripped behind */
            assert_key(key, 2, is_allowed_in_key(key[1]));
            assert_key(key + 1, 1, is_allowed_in_key(key[1]));
        }
    }
}

/* The parser looks at eight bytes at once: each byte, after every other one, at each place. */
static void a_blank_in_a_key_is_found_anywhere(void **state)
{
    (void)state;
    for (uint32_t byte = 0; byte < 256; byte++) {
        if (byte == '\n')
            continue;
        for (size_t at = 0; at < 16; at++) {
            uint8_t key[17];

            memset(key, (int)(byte * 7 % 223 + '!'), sizeof(key));
            key[at] = (uint8_t)byte;
            assert_key(key, sizeof(key), is_allowed_in_key((uint8_t)byte));
        }
    }
}

/* The fields of a semaphore's acquire have up to 16 digits here. */
static void a_blank_separates_fields_anywhere(void **state)
{
    static const char zeros[] = "0000000000000000";

    (void)state;
    for (int first = 1; first <= 16; first++) {
        for (int second = 1; second <= 16; second++) {
            char arg[64];

            snprintf(arg, sizeof(arg), "%.*s\v%.*s5 %.*s7", first, zeros, second, zeros, second,
                     zeros);
            assert_request_is(true, "sl", "key", arg);
            snprintf(arg, sizeof(arg), "%.*s\x1f%.*s5 7", first, zeros, second, zeros);
            assert_request_is(false, "sl", "key", arg);
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

/* ---- own ---- */

static void assert_own(const char *arg, bool valid, bool semaphore)
{
    struct parsed parsed;

    begin_request("own", "key", arg);
    parsed = parse_text();
    assert_complete(&parsed);
    assert_int_equal(parsed.request.valid, valid);
    if (valid) {
        assert_int_equal(parsed.request.semaphore, semaphore);
        assert_int_equal(parsed.request.fence, TOKEN_FENCE);
        assert_int_equal(parsed.request.salt, TOKEN_SALT);
    }
    parsed_end(&parsed);
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

static void assert_kind(const char *command, const char *arg, bool semaphore)
{
    struct parsed parsed;

    begin_request(command, "key", arg);
    parsed = parse_text();
    assert_complete(&parsed);
    assert_true(parsed.request.valid);
    assert_int_equal(parsed.request.semaphore, semaphore);
    assert_slice(&parsed, parsed.request.key, "key", 3);
    if (parsed.request.command == DFLOCKD_REVOKE)
        assert_int_equal(parsed.request.fence, TOKEN_FENCE);
    parsed_end(&parsed);
}

static void show_and_revoke_name_the_kind(void **state)
{
    static const char *const wrong_shows[] = {"",    "x",   "L",    "ls",       "l l",
                                              "l 1", "l s", "lock", "l " FENCE, FENCE};
    static const char *const wrong_revokes[] = {
        "",
        "l",
        FENCE,
        "l " TOKEN,
        "x " FENCE,
        "ls " FENCE,
        FENCE " l",
        "l " FENCE " 1",
        "l " FENCE "0",
        "l 0" FENCE,
        "l" FENCE,
        "l 0123456789abcde",
        "l 0123456789ABCDEF",
        "l 0x23456789abcdef",
        "l +123456789abcdef",
        "l 0123456789abcdeg",
        "l 0123456789abcde\xff",
        "l 01234567 89abcdef",
    };

    (void)state;
    assert_kind("show", "l", false);
    assert_kind("show", "\t s ", true);
    assert_kind("revoke", "l " FENCE, false);
    assert_kind("revoke", " s\t \v" FENCE "\f", true);
    for (size_t i = 0; i < sizeof(wrong_shows) / sizeof(wrong_shows[0]); i++)
        assert_request_is(false, "show", "key", wrong_shows[i]);
    for (size_t i = 0; i < sizeof(wrong_revokes) / sizeof(wrong_revokes[0]); i++)
        assert_request_is(false, "revoke", "key", wrong_revokes[i]);
    for (int i = 0; i < 2; i++) {
        const char *command = i ? "revoke" : "show";
        const char *arg = i ? "l " FENCE : "l";

        assert_request_is(false, command, "", arg);
        assert_request_is(false, command, "a key", arg);
    }
}

/* ---- names ---- */

static void assert_name(const char *arg, const char *name)
{
    struct parsed parsed;

    begin_request("name", "_", arg);
    parsed = parse_text();
    assert_complete(&parsed);
    assert_int_equal(parsed.request.valid, name != NULL);
    if (name)
        assert_slice(&parsed, parsed.request.name, name, strlen(name));
    parsed_end(&parsed);
}

static void a_name_is_without_the_blanks_around_it(void **state)
{
    (void)state;
    assert_name("a", "a");
    assert_name(" \t a  b\r\v ", "a  b");
    assert_name("\"\\'", "\"\\'");
    assert_name("\xc3\xa9 \xf0\x9f\x99\x82", "\xc3\xa9 \xf0\x9f\x99\x82");
    assert_name("", NULL);
    assert_name(" \t\r", NULL);
    assert_name("a\tb", NULL);
    assert_name("a\rb", NULL);
    assert_name("a\x1b[2J", NULL);
    assert_name("a\xe2\x80\xae", NULL);
    assert_name("a\xc3", NULL);
    assert_name("\xff", NULL);
    assert_request_is(true, "name", "", "a");
    assert_request_is(true, "name", "any key", "a");
}

static void a_name_has_at_most_its_bytes(void **state)
{
    static const char *const pieces[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x99\x82"};

    (void)state;
    for (int piece = 0; piece < 4; piece++) {
        char name[3 * DFLOCKD_NAME_MAX] = "";

        while (strlen(name) + strlen(pieces[piece]) <= DFLOCKD_NAME_MAX)
            strcat(name, pieces[piece]);
        assert_name(name, name);
        strcat(name, pieces[piece]);
        assert_name(name, NULL);
    }
}

static void requests_have_the_kind_of_their_command(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        struct parsed parsed;

        if (!command_cases[i].keyed)
            continue;
        begin_fields(&command_cases[i], command_cases[i].least, " ");
        parsed = parse_text();
        assert_int_equal(parsed.request.semaphore, command_cases[i].of_semaphores);
        parsed_end(&parsed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_has_its_word),
        cmocka_unit_test(every_command_takes_its_fields_and_no_others),
        cmocka_unit_test(any_number_of_blanks_separates_fields),
        cmocka_unit_test(unknown_commands_are_invalid_and_framed),
        cmocka_unit_test(ping_and_stats_ignore_key_and_arg),
        cmocka_unit_test(a_key_holds_any_byte_but_blanks),
        cmocka_unit_test(a_blank_in_a_key_is_found_anywhere),
        cmocka_unit_test(a_blank_separates_fields_anywhere),
        cmocka_unit_test(a_key_has_1_to_256_bytes),
        cmocka_unit_test(own_names_the_kind_and_the_token),
        cmocka_unit_test(show_and_revoke_name_the_kind),
        cmocka_unit_test(a_name_is_without_the_blanks_around_it),
        cmocka_unit_test(a_name_has_at_most_its_bytes),
        cmocka_unit_test(requests_have_the_kind_of_their_command),
    };

    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
