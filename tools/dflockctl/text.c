#include "dflockctl/text.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "dflockctl/status.h"

#define TEXT_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

enum {
    TEXT_SHOWN_MAX = 10, /* bytes of a shown character: \u{10ffff} */
    TEXT_COLUMNS = 80,   /* of a terminal that has no size */
    TEXT_ROWS = 24
};

size_t text_decode(const char *bytes, size_t length, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = (uint8_t)bytes[0];
    size_t count = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    if (count == 0 || count > length || lead > 0xf4)
        return 0;
    *point = count == 1 ? lead : lead & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        if (((uint8_t)bytes[i] & 0xc0) != 0x80)
            return 0;
        *point = *point << 6 | ((uint8_t)bytes[i] & 0x3f);
    }
    if (*point < least[count] || *point > 0x10ffff || (*point >= 0xd800 && *point <= 0xdfff))
        return 0;
    return count;
}

size_t text_encode(uint32_t point, char bytes[TEXT_UTF8_MAX])
{
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t count = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;

    for (size_t i = count - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (point & 0x3f));
        point >>= 6;
    }
    bytes[0] = (char)(leads[count] | point);
    return count;
}

static bool text_is_control(uint32_t point)
{
    return point < ' ' || (point >= 0x7f && point < 0xa0);
}

/* Characters that reverse the direction of writing: a key could look like another one. */
static bool text_changes_direction(uint32_t point)
{
    return point == 0x61c || point == 0x200e || point == 0x200f ||
           (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

static bool text_is_printable(uint32_t point)
{
    return iswprint((wint_t)point) && wcwidth((wchar_t)point) >= 0 &&
           !text_changes_direction(point);
}

char *text_shown(const char *bytes, size_t length, bool terminal)
{
    char *shown = new_memory(length + 1, TEXT_SHOWN_MAX);
    char *to = shown;

    while (length > 0) {
        uint32_t point = 0;
        size_t count = text_decode(bytes, length, &point);

        if (count == 0 || text_is_control(point)) {
            to += sprintf(to, "\\x%02x", count == 0 ? (unsigned)(uint8_t)bytes[0] : point);
            count = count ? count : 1;
        } else if (point == '\\') {
            to = stpcpy(to, "\\\\");
        } else if (terminal && !text_is_printable(point)) {
            to += sprintf(to, "\\u{%x}", point);
        } else {
            to = mempcpy(to, bytes, count);
        }
        bytes += count;
        length -= count;
    }
    *to = '\0';
    return shown;
}

char *text_valid(const char *bytes, size_t length)
{
    char *valid = new_memory(length + 1, sizeof(TEXT_REPLACEMENT));
    char *to = valid;

    while (length > 0) {
        uint32_t point;
        size_t count = text_decode(bytes, length, &point);

        to = count ? mempcpy(to, bytes, count) : stpcpy(to, TEXT_REPLACEMENT);
        count = count ? count : 1;
        bytes += count;
        length -= count;
    }
    *to = '\0';
    return valid;
}

/* Returns the bytes of the character at `shown`, and sets `*width` to its columns. */
static size_t text_step(const char *shown, size_t *width)
{
    uint32_t point = 0;
    size_t count = text_decode(shown, strlen(shown), &point);
    int columns = count ? wcwidth((wchar_t)point) : 1;

    *width = columns > 0 ? (size_t)columns : 0;
    return count ? count : 1;
}

size_t text_fit(const char *shown, size_t columns)
{
    size_t at = 0;

    while (shown[at]) {
        size_t width;
        size_t count = text_step(shown + at, &width);

        if (width > columns)
            break;
        columns -= width;
        at += count;
    }
    return at;
}

size_t text_width(const char *shown)
{
    size_t columns = 0;
    size_t width;

    for (; *shown; columns += width)
        shown += text_step(shown, &width);
    return columns;
}

const char *text_ellipsis(void)
{
    return iswprint(0x2026) ? "\xe2\x80\xa6" : "...";
}

const char *text_cut_mark(void)
{
    return iswprint(0x2026) ? text_ellipsis() : "~";
}

const char *text_number(char text[TEXT_NUMBER_MAX], uint64_t number)
{
    char digits[TEXT_NUMBER_MAX];
    int count = snprintf(digits, sizeof(digits), "%" PRIu64, number);
    char *to = text;

    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

const char *text_duration(char text[TEXT_NUMBER_MAX], double seconds)
{
    uint64_t whole = seconds > 0 && seconds < (double)INT64_MAX ? (uint64_t)seconds : 0;
    uint64_t minutes = whole / 60;
    uint64_t hours = minutes / 60;

    if (seconds < 0)
        snprintf(text, TEXT_NUMBER_MAX, "-");
    else if (seconds < 59.95)
        snprintf(text, TEXT_NUMBER_MAX, "%.1fs", seconds);
    else if (hours < 1)
        snprintf(text, TEXT_NUMBER_MAX, "%" PRIu64 "m%02us", minutes, (unsigned)(whole % 60));
    else if (hours < 48)
        snprintf(text, TEXT_NUMBER_MAX, "%" PRIu64 "h%02um", hours, (unsigned)(minutes % 60));
    else
        snprintf(text, TEXT_NUMBER_MAX, "%" PRIu64 "d%02uh", hours / 24, (unsigned)(hours % 24));
    return text;
}

static struct winsize text_terminal_size(void)
{
    struct winsize size = {0};

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return size;
}

size_t text_terminal_columns(void)
{
    size_t columns = text_terminal_size().ws_col;

    return columns ? columns : TEXT_COLUMNS;
}

size_t text_terminal_rows(void)
{
    size_t rows = text_terminal_size().ws_row;

    return rows ? rows : TEXT_ROWS;
}

bool text_on_terminal(void)
{
    const char *kind = getenv("TERM");

    return isatty(STDOUT_FILENO) && kind && strcmp(kind, "dumb") != 0;
}

bool text_in_colour(void)
{
    const char *none = getenv("NO_COLOR");

    return text_on_terminal() && !(none && *none);
}
