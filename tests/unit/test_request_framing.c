/*
 * Bytes to requests: lines and their limits, partial and pipelined requests, random input.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "request_fixture.h"
#include "seeded.h"

enum {
    RANDOM_INPUTS = 20000
};

static const char *const good_lines[3] = {"l", "key", "10"};

/* A request of `l` whose line number `line` is `length` times 'x' and then `behind`. */
static void begin_with_line(uint32_t line, size_t length, const char *behind)
{
    begin_text("");
    for (uint32_t i = 0; i < 3; i++) {
        if (i == line) {
            put_repeated('x', length);
            put_text(behind);
        } else {
            put_text(good_lines[i]);
        }
        put_text("\n");
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
    struct parsed parsed = parse_text();

    assert_stopped(&parsed, REQUEST_TOO_LONG, lines);
    assert_int_equal(parsed.frame.length, length);
    parsed_end(&parsed);
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
            struct parsed parsed = parse_text();

            assert_stopped(&parsed, longer ? REQUEST_TOO_LONG : REQUEST_PARTIAL, line);
            parsed_end(&parsed);
        }
    }
}

static void begin_auth(size_t length, const char *behind)
{
    begin_text("auth\r\n_\r\n");
    put_repeated('x', length);
    put_text(behind);
}

static void the_arg_of_auth_has_64_kib_at_most(void **state)
{
    static const char start[] = "auth\r\n_\r\n";
    struct parsed parsed;

    (void)state;
    begin_auth(DFLOCKD_AUTH_LINE_MAX, "\n");
    parsed = parse_text();
    assert_complete(&parsed);
    assert_true(parsed.request.valid);
    assert_slice(&parsed, parsed.request.secret, text.bytes + strlen(start), DFLOCKD_AUTH_LINE_MAX);
    parsed_end(&parsed);

    begin_auth(DFLOCKD_AUTH_LINE_MAX - 1, "\r\n");
    assert_text_is(true);

    begin_auth(DFLOCKD_AUTH_LINE_MAX, "");
    parsed = parse_text();
    assert_stopped(&parsed, REQUEST_PARTIAL, 2);
    parsed_end(&parsed);

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
    begin_text("auth\n");
    put_repeated('x', 257);
    put_text("\nsecret\n");
    assert_too_long(1, strlen("auth\n"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        begin_text(others[i]);
        put_text("\nkey\n");
        put_repeated('x', 257);
        put_text("\n");
        assert_too_long(2, strlen(others[i]) + 5);
    }
    begin_text("l\nauth\n"); /* auth as a key */
    put_repeated('x', 257);
    put_text("\n");
    assert_too_long(2, strlen("l\nauth\n"));
}

static void all_returns_at_the_end_of_a_line_are_stripped(void **state)
{
    static const char *const returns[] = {"\r", "\r\r", "\r\r\r\r\r"};

    (void)state;
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        for (size_t j = 0; j < 3; j++) {
            struct parsed parsed;

            begin_text(command_cases[i].word);
            put_text(returns[j]);
            put_text("\nkey");
            put_text(returns[j]);
            put_text("\n");
            put_fields(&command_cases[i], command_cases[i].most, " ");
            put_text(returns[j]);
            put_text("\n");
            parsed = parse_text();
            assert_complete(&parsed);
            assert_true(parsed.request.valid);
            assert_int_equal(parsed.request.command, command_cases[i].command);
            if (command_cases[i].keyed)
                assert_fields(&parsed, &command_cases[i], command_cases[i].most);
            parsed_end(&parsed);
        }
    }
}

static void an_empty_input_is_partial(void **state)
{
    struct parsed parsed = parse_bytes(NULL, 0);

    (void)state;
    assert_stopped(&parsed, REQUEST_PARTIAL, 0);
    parsed_end(&parsed);
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
    struct parsed alone = parse_text();

    assert_complete(&alone);
    for (size_t length = 0; length < whole; length++) {
        struct parsed parsed = parse_bytes(text.bytes, length);

        assert_stopped(&parsed, REQUEST_PARTIAL, lines_in(text.bytes, length));
        parsed_end(&parsed);
    }
    put_text("l\nnext\n0\nping\n");
    for (size_t length = whole; length <= text.length; length++) {
        struct parsed parsed = parse_bytes(text.bytes, length);

        assert_int_equal(parsed.frame.framing, REQUEST_COMPLETE);
        assert_int_equal(parsed.frame.length, whole);
        assert_int_equal(parsed.frame.lines, 3);
        assert_int_equal(parsed.request.valid, alone.request.valid);
        if (alone.request.valid)
            assert_int_equal(parsed.request.command, alone.request.command);
        parsed_end(&parsed);
    }
    parsed_end(&alone);
}

static void every_prefix_is_partial_and_only_one_request_is_consumed(void **state)
{
    static const char *const wrong[] = {
        "\n\n\n",  "\r\n\r\n\r\n",        "x\nkey\n1\n",
        "l\n\n\n", "l\na b\n1 2 3 4 5\n", "r\nkey\n" TOKEN "0\n",
    };

    (void)state;
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        for (uint32_t count = command_cases[i].least; count <= command_cases[i].most; count++) {
            begin_fields(&command_cases[i], count, " \t");
            assert_prefixes_partial();
        }
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        begin_text(wrong[i]);
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
    begin_text("");
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        put_text(command_cases[i].word);
        put_text("\nkey\n");
        put_fields(&command_cases[i], command_cases[i].most, " ");
        put_text("\n");
    }
    for (uint32_t i = 0; i < DFLOCKD_COMMAND_COUNT; i++) {
        struct parsed parsed = parse_bytes(text.bytes + at, text.length - at);

        assert_int_equal(parsed.frame.framing, REQUEST_COMPLETE);
        assert_true(parsed.request.valid);
        assert_int_equal(parsed.request.command, command_cases[i].command);
        at += parsed.frame.length;
        parsed_end(&parsed);
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
        put_repeated('y', 240 + seeded_below(seeded, 20));
    else if (kind == 1)
        put_bytes(&byte, 1);
    else
        put_text(pieces[seeded_below(seeded, sizeof(pieces) / sizeof(pieces[0]))]);
}

static void random_input_is_framed_as_by_a_naive_reader(void **state)
{
    struct seeded seeded;
    uint32_t seen[REQUEST_TOO_LONG + 1] = {0};

    (void)state;
    seeded_init(&seeded, __func__);
    for (uint32_t i = 0; i < RANDOM_INPUTS; i++) {
        struct request_frame frame;
        struct parsed parsed;

        begin_text("");
        for (uint32_t pieces = seeded_below(&seeded, 25); pieces > 0; pieces--)
            put_random_piece(&seeded);
        frame = expected_frame();
        parsed = parse_text();
        assert_stopped(&parsed, frame.framing, frame.lines);
        if (frame.framing != REQUEST_PARTIAL)
            assert_int_equal(parsed.frame.length, frame.length);
        seen[frame.framing]++;
        parsed_end(&parsed);
    }
    for (uint32_t framing = 0; framing <= REQUEST_TOO_LONG; framing++)
        assert_true(seen[framing] > RANDOM_INPUTS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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

    return cmocka_run_group_tests_name("request_framing", tests, NULL, NULL);
}
