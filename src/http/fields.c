#include "http/fields.h"

#include <string.h>

#include "base/utf8.h"

static const char fields_not_json[] = "not JSON";

static enum fields_result fields_fail(struct fields *fields, const char *problem)
{
    fields->problem = problem;
    return FIELDS_WRONG;
}

/* Returns the next byte, or 0 at the end: a NUL is as wrong as the end wherever this is called. */
static uint8_t fields_peek(const struct fields *fields)
{
    return fields->at < fields->end ? *fields->at : 0;
}

/* Returns the next byte that is no blank, or 0 at the end. */
static uint8_t fields_skip_blanks(struct fields *fields)
{
    uint8_t byte;

    while ((byte = fields_peek(fields)) == ' ' || byte == '\n' || byte == '\r' || byte == '\t')
        fields->at++;
    return byte;
}

static bool fields_is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* ---- strings ---- */

/* Adds ASCII, or one sequence, which is not cut. */
static void fields_add(struct fields_text *text, const uint8_t *bytes, uint32_t length)
{
    uint32_t room = text->cut ? 0 : FIELDS_TEXT_MAX - text->length;

    if (length > room) {
        text->cut = true;
        length = bytes[0] < 0x80 ? room : 0;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

/* Adds a code point as UTF-8. */
static void fields_add_point(struct fields_text *text, uint32_t point)
{
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    uint32_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    uint8_t bytes[4];

    for (uint32_t i = length; i-- > 1; point >>= 6)
        bytes[i] = (uint8_t)(0x80 | (point & 0x3f));
    bytes[0] = (uint8_t)(leads[length] | point);
    fields_add(text, bytes, length);
}

/* Reads the digits after `\u`. */
static bool fields_read_unit(struct fields *fields, uint32_t *unit)
{
    *unit = 0;
    if (fields->end - fields->at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = *fields->at++;

        if (fields_is_digit(digit))
            digit = (uint8_t)(digit - '0');
        else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
            digit = (uint8_t)((digit | 0x20) - 'a' + 10);
        else
            return false;
        *unit = *unit << 4 | digit;
    }
    return true;
}

/* Reads what follows `\u`: a code point, of which a surrogate is the first of two halves. */
static bool fields_read_point(struct fields *fields, struct fields_text *text)
{
    uint32_t point;
    uint32_t low;

    if (!fields_read_unit(fields, &point))
        return false;
    if (point >= 0xd800 && point < 0xe000) {
        if (point >= 0xdc00 || fields->end - fields->at < 2 || memcmp(fields->at, "\\u", 2) != 0)
            return false;
        fields->at += 2;
        if (!fields_read_unit(fields, &low) || low < 0xdc00 || low >= 0xe000)
            return false;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    fields_add_point(text, point);
    return true;
}

/* Reads what follows a backslash. */
static bool fields_read_escape(struct fields *fields, struct fields_text *text)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    uint8_t letter = fields_peek(fields);
    const char *at;

    if (letter == '\0')
        return false;
    fields->at++;
    if (letter == 'u')
        return fields_read_point(fields, text);
    at = strchr(letters, letter);
    if (!at)
        return false;
    fields_add(text, (const uint8_t *)&meanings[at - letters], 1);
    return true;
}

/* Returns the end of the bytes from `at` on that are ASCII and stand for themselves. */
static const uint8_t *fields_skip_plain(const uint8_t *at, const uint8_t *end)
{
    while (at < end && *at >= ' ' && *at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* Reads a string from its first quote on. Returns false and sets the problem if it is wrong. */
static bool fields_read_string(struct fields *fields, struct fields_text *text)
{
    text->length = 0;
    text->cut = false;
    fields->at++;
    while (fields->at < fields->end) {
        const uint8_t *start = fields->at;
        uint8_t byte;
        uint32_t length;

        fields->at = fields_skip_plain(start, fields->end);
        fields_add(text, start, (uint32_t)(fields->at - start));
        byte = fields_peek(fields);
        if (byte == '"') {
            fields->at++;
            return true;
        }
        if (byte == '\\') {
            fields->at++;
            if (!fields_read_escape(fields, text))
                break;
        } else if (byte < ' ') {
            break;
        } else {
            length = utf8_length(fields->at, (uint32_t)(fields->end - fields->at));
            if (length == 0) {
                fields->problem = "not UTF-8";
                return false;
            }
            fields_add(text, fields->at, length);
            fields->at += length;
        }
    }
    fields->problem = fields_not_json;
    return false;
}

/* ---- other values ---- */

/* Skips at least one digit. */
static bool fields_skip_digits(struct fields *fields)
{
    const uint8_t *start = fields->at;

    while (fields_is_digit(fields_peek(fields)))
        fields->at++;
    return fields->at > start;
}

/* Reads the digits before a fraction. A zero does not lead: what follows it must be no digit. */
static bool fields_read_whole(struct fields *fields, uint64_t *number)
{
    uint64_t value = 0;

    if (fields_peek(fields) == '0') {
        fields->at++;
        *number = 0;
        return true;
    }
    if (!fields_is_digit(fields_peek(fields)))
        return false;
    for (uint8_t byte; fields_is_digit(byte = fields_peek(fields)); fields->at++) {
        uint64_t digit = (uint64_t)(byte - '0');

        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    *number = value;
    return true;
}

static bool fields_read_number(struct fields *fields, struct field *field)
{
    uint8_t byte;

    field->type = FIELDS_WHOLE;
    field->negative = fields_peek(fields) == '-';
    fields->at += field->negative;
    if (!fields_read_whole(fields, &field->number))
        return false;
    if (fields_peek(fields) == '.') {
        field->type = FIELDS_OTHER;
        fields->at++;
        if (!fields_skip_digits(fields))
            return false;
    }
    if (fields_peek(fields) != 'e' && fields_peek(fields) != 'E')
        return true;
    field->type = FIELDS_OTHER;
    fields->at++;
    byte = fields_peek(fields);
    fields->at += byte == '+' || byte == '-';
    return fields_skip_digits(fields);
}

static bool fields_skip_word(struct fields *fields, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(fields->end - fields->at) < length || memcmp(fields->at, word, length) != 0)
        return false;
    fields->at += length;
    return true;
}

/* Reads a value that begins with `byte`. */
static bool fields_read_value(struct fields *fields, uint8_t byte, struct field *field)
{
    bool valid;

    if (byte == '"') {
        field->type = FIELDS_STRING;
        return fields_read_string(fields, &field->text);
    }
    if (byte == '{' || byte == '[') {
        field->type = FIELDS_NESTED;
        return true;
    }
    if (byte == '-' || fields_is_digit(byte)) {
        valid = fields_read_number(fields, field);
    } else {
        field->type = FIELDS_OTHER;
        valid = fields_skip_word(fields, "true") || fields_skip_word(fields, "false") ||
                fields_skip_word(fields, "null");
    }
    if (!valid)
        fields->problem = fields_not_json;
    return valid;
}

/* ---- objects ---- */

void fields_init(struct fields *fields, const uint8_t *bytes, size_t length)
{
    *fields = (struct fields){.at = bytes, .start = bytes, .end = bytes + length};
}

static enum fields_result fields_end(struct fields *fields)
{
    fields->at++;
    fields_skip_blanks(fields);
    if (fields->at < fields->end)
        return fields_fail(fields, "more after the JSON object");
    return FIELDS_END;
}

enum fields_result fields_read(struct fields *fields, struct field *field)
{
    bool first = !fields->begun;
    uint8_t byte = fields_skip_blanks(fields);

    if (first) {
        if (byte != '{')
            return fields_fail(fields, "not a JSON object");
        fields->begun = true;
        fields->at++;
        byte = fields_skip_blanks(fields);
    }
    if (byte == '}')
        return fields_end(fields);
    if (!first) {
        if (byte != ',')
            return fields_fail(fields, fields_not_json);
        fields->at++;
        byte = fields_skip_blanks(fields);
    }
    if (byte != '"')
        return fields_fail(fields, fields_not_json);
    if (!fields_read_string(fields, &field->name))
        return FIELDS_WRONG;
    if (fields_skip_blanks(fields) != ':')
        return fields_fail(fields, fields_not_json);
    fields->at++;
    return fields_read_value(fields, fields_skip_blanks(fields), field) ? FIELDS_NEXT
                                                                        : FIELDS_WRONG;
}
