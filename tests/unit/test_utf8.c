/*
 * UTF-8: every code point and every pair of bytes, and which code points are printable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum {
    CODE_POINTS = 0x110000,
    SEQUENCE_MAX = 4
};

/* Encodes a code point in `length` bytes, also in more than it needs. */
static void encode(uint32_t point, uint32_t length, uint8_t bytes[SEQUENCE_MAX])
{
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (uint32_t i = length; i-- > 1; point >>= 6)
        bytes[i] = 0x80 | (point & 0x3f);
    bytes[0] = (uint8_t)(leads[length] | point);
}

static uint32_t length_of(uint32_t point)
{
    return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

/* The bytes are in a block of their exact size, so that a sanitizer detects reads beyond it. */
static uint32_t measured(const uint8_t *bytes, uint32_t length)
{
    uint8_t *copy = malloc(length);
    uint32_t result;

    assert_non_null(copy);
    memcpy(copy, bytes, length);
    result = utf8_length(copy, length);
    free(copy);
    return result;
}

static void every_code_point_has_one_form(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x200000; point++) {
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        uint32_t needed = length_of(point);

        for (uint32_t length = needed; length <= SEQUENCE_MAX; length++) {
            bool valid = length == needed && point < CODE_POINTS && !surrogate;
            uint8_t bytes[SEQUENCE_MAX];

            encode(point, length, bytes);
            if (measured(bytes, length) != (valid ? length : 0))
                fail_msg("U+%04X in %u bytes: %u", point, length, measured(bytes, length));
            if (length > 1)
                assert_int_equal(measured(bytes, length - 1), 0);
        }
    }
}

static void bytes_behind_the_first_continue_it(void **state)
{
    (void)state;
    for (uint32_t pair = 0; pair < 0x10000; pair++) {
        uint8_t bytes[] = {(uint8_t)(pair >> 8), (uint8_t)pair, 0x80, 0x80};
        bool continues = (bytes[1] & 0xc0) == 0x80;
        uint32_t result = measured(bytes, 4);

        assert_int_equal(result == 1, bytes[0] < 0x80);
        if (bytes[0] >= 0x80 && !continues)
            assert_int_equal(result, 0);
        if (bytes[0] < 0xc2 || bytes[0] > 0xf4)
            assert_true(result <= 1);
        for (uint32_t i = 2; result > i; i++) {
            uint8_t wrong[4];

            memcpy(wrong, bytes, 4);
            wrong[i] = 0x7f;
            assert_int_equal(measured(wrong, 4), 0);
            wrong[i] = 0xc0;
            assert_int_equal(measured(wrong, 4), 0);
        }
    }
}

/* By Unicode 15: categories Cc, Zl and Zp, noncharacters, Default_Ignorable_Code_Point, FFF9-FFFB.
 */
static bool hidden(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x34f ||
           point == 0x61c || point == 0x115f || point == 0x1160 || point == 0x17b4 ||
           point == 0x17b5 || (point >= 0x180b && point < 0x1810) ||
           (point >= 0x200b && point < 0x2010) || (point >= 0x2028 && point < 0x202f) ||
           (point >= 0x2060 && point < 0x2070) || point == 0x3164 ||
           (point >= 0xfdd0 && point < 0xfdf0) || (point >= 0xfe00 && point < 0xfe10) ||
           point == 0xfeff || point == 0xffa0 || (point >= 0xfff0 && point < 0xfffc) ||
           point % 0x10000 >= 0xfffe || (point >= 0x1bca0 && point < 0x1bca4) ||
           (point >= 0x1d173 && point < 0x1d17b) || point >> 12 == 0xe0;
}

static void what_terminals_and_logs_do_not_show_is_not_printable(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < CODE_POINTS; point++) {
        uint32_t length = length_of(point);
        uint8_t bytes[SEQUENCE_MAX];

        encode(point, length, bytes);
        if (utf8_length(bytes, length) == length &&
            utf8_is_printable(bytes, length) == hidden(point))
            fail_msg("U+%04X is wrong", point);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_has_one_form),
        cmocka_unit_test(bytes_behind_the_first_continue_it),
        cmocka_unit_test(what_terminals_and_logs_do_not_show_is_not_printable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
