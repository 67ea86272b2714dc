#include "dflockctl/json_parser.h"

#include <string.h>

#include "dflockctl/text.h"

void json_parser_init(struct json_parser *parser, json_event_function *take, void *context)
{
    memset(parser, 0, sizeof(*parser));
    parser->take = take;
    parser->context = context;
}

bool json_parser_is_complete(const struct json_parser *parser)
{
    return parser->state == JSON_AFTER_VALUE && parser->depth == 0;
}

static bool json_parser_report(struct json_parser *parser, enum json_event event)
{
    parser->text[parser->length] = '\0';
    return parser->take(parser->context, event, parser->text, parser->length);
}

static bool json_parser_add(struct json_parser *parser, char byte)
{
    if (parser->length == JSON_TEXT_MAX)
        return false;
    parser->text[parser->length++] = byte;
    return true;
}

/* ---- strings ---- */

/* Adds the character of one or two \uXXXX. */
static bool json_parser_add_unit(struct json_parser *parser)
{
    uint32_t point = parser->unit;
    bool is_low = point >= 0xdc00 && point < 0xe000;
    char bytes[TEXT_UTF8_MAX];
    size_t count;

    if (is_low != (parser->high != 0))
        return false;
    if (point >= 0xd800 && point < 0xdc00) {
        parser->high = point;
        return true;
    }
    if (is_low)
        point = 0x10000 + ((parser->high - 0xd800) << 10) + (point - 0xdc00);
    parser->high = 0;
    count = text_encode(point, bytes);
    for (size_t i = 0; i < count; i++) {
        if (!json_parser_add(parser, bytes[i]))
            return false;
    }
    return true;
}

static bool json_parser_read_unicode(struct json_parser *parser, char byte)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *at = byte ? strchr(digits, byte) : NULL;
    size_t digit = at ? (size_t)(at - digits) : 0;

    if (!at)
        return false;
    parser->unit = parser->unit << 4 | (uint32_t)(digit < 16 ? digit : digit - 6);
    if (++parser->digits < 4)
        return true;
    parser->state = JSON_IN_STRING;
    return json_parser_add_unit(parser);
}

static bool json_parser_read_escape(struct json_parser *parser, char byte)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *at = byte ? strchr(letters, byte) : NULL;

    if (byte == 'u') {
        parser->state = JSON_IN_UNICODE;
        parser->digits = 0;
        parser->unit = 0;
        return true;
    }
    parser->state = JSON_IN_STRING;
    return at && parser->high == 0 && json_parser_add(parser, meanings[at - letters]);
}

static bool json_parser_read_string(struct json_parser *parser, char byte)
{
    if (byte == '\\') {
        parser->state = JSON_IN_ESCAPE;
        return true;
    }
    if (parser->high != 0 || (unsigned char)byte < ' ')
        return false;
    if (byte != '"')
        return json_parser_add(parser, byte);
    parser->state = parser->in_name ? JSON_AT_COLON : JSON_AFTER_VALUE;
    return json_parser_report(parser, parser->in_name ? JSON_NAME : JSON_STRING);
}

/* ---- numbers and words ---- */

static size_t json_count_digits(const char *text)
{
    return strspn(text, "0123456789");
}

static bool json_is_number(const char *text)
{
    size_t digits;

    text += *text == '-';
    digits = json_count_digits(text);
    if (digits == 0 || (*text == '0' && digits > 1))
        return false;
    text += digits;
    if (*text == '.') {
        digits = json_count_digits(++text);
        text += digits;
    }
    if (digits > 0 && (*text == 'e' || *text == 'E')) {
        text++;
        text += *text == '+' || *text == '-';
        digits = json_count_digits(text);
        text += digits;
    }
    return digits > 0 && *text == '\0';
}

static bool json_is_word(const char *text)
{
    return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "null") == 0;
}

/* The byte after a number or a word has arrived. */
static bool json_parser_end_plain(struct json_parser *parser)
{
    bool number = parser->state == JSON_IN_NUMBER;

    parser->text[parser->length] = '\0';
    parser->state = JSON_AFTER_VALUE;
    if (!(number ? json_is_number(parser->text) : json_is_word(parser->text)))
        return false;
    return json_parser_report(parser, number ? JSON_NUMBER : JSON_WORD);
}

/* ---- structure ---- */

static bool json_parser_begin_nested(struct json_parser *parser, bool object)
{
    if (parser->depth == JSON_DEPTH_MAX)
        return false;
    parser->in_object[parser->depth++] = object;
    parser->state = object ? JSON_AT_NAME_OR_END : JSON_AT_VALUE_OR_END;
    return json_parser_report(parser, object ? JSON_OBJECT : JSON_ARRAY);
}

static bool json_parser_end_nested(struct json_parser *parser, bool object)
{
    if (parser->depth == 0 || parser->in_object[parser->depth - 1] != object)
        return false;
    parser->depth--;
    parser->length = 0;
    parser->state = JSON_AFTER_VALUE;
    return json_parser_report(parser, object ? JSON_OBJECT_END : JSON_ARRAY_END);
}

static bool json_parser_begin_string(struct json_parser *parser, bool name)
{
    parser->in_name = name;
    parser->state = JSON_IN_STRING;
    return true;
}

static bool json_parser_begin_value(struct json_parser *parser, char byte)
{
    if (byte == '{' || byte == '[')
        return json_parser_begin_nested(parser, byte == '{');
    if (byte == '"')
        return json_parser_begin_string(parser, false);
    if (byte == '-' || (byte >= '0' && byte <= '9'))
        parser->state = JSON_IN_NUMBER;
    else if (byte >= 'a' && byte <= 'z')
        parser->state = JSON_IN_WORD;
    else
        return false;
    return json_parser_add(parser, byte);
}

static bool json_parser_continue(struct json_parser *parser, char byte)
{
    bool object = parser->depth > 0 && parser->in_object[parser->depth - 1];

    if (byte == '}' || byte == ']')
        return json_parser_end_nested(parser, byte == '}');
    parser->state = object ? JSON_AT_NAME : JSON_AT_VALUE;
    return parser->depth > 0 && byte == ',';
}

/* Reads a byte that is not in a string, a number or a word. */
static bool json_parser_read_structure(struct json_parser *parser, char byte)
{
    enum json_state state = parser->state;

    if (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r')
        return true;
    parser->length = 0;
    switch (state) {
    case JSON_AT_VALUE_OR_END:
        return byte == ']' ? json_parser_end_nested(parser, false)
                           : json_parser_begin_value(parser, byte);
    case JSON_AT_VALUE:
        return json_parser_begin_value(parser, byte);
    case JSON_AT_NAME_OR_END:
        if (byte == '}')
            return json_parser_end_nested(parser, true);
        return byte == '"' && json_parser_begin_string(parser, true);
    case JSON_AT_NAME:
        return byte == '"' && json_parser_begin_string(parser, true);
    case JSON_AT_COLON:
        parser->state = JSON_AT_VALUE;
        return byte == ':';
    case JSON_AFTER_VALUE:
        return json_parser_continue(parser, byte);
    default:
        return false;
    }
}

static bool json_parser_read_byte(struct json_parser *parser, char byte)
{
    switch (parser->state) {
    case JSON_IN_STRING:
        return json_parser_read_string(parser, byte);
    case JSON_IN_ESCAPE:
        return json_parser_read_escape(parser, byte);
    case JSON_IN_UNICODE:
        return json_parser_read_unicode(parser, byte);
    case JSON_IN_NUMBER:
    case JSON_IN_WORD:
        if (byte && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", byte))
            return json_parser_add(parser, byte);
        return json_parser_end_plain(parser) && json_parser_read_structure(parser, byte);
    default:
        return json_parser_read_structure(parser, byte);
    }
}

bool json_parser_read(struct json_parser *parser, const char *part, size_t length)
{
    for (size_t i = 0; i < length && parser->state != JSON_INVALID; i++) {
        if (!json_parser_read_byte(parser, part[i]))
            parser->state = JSON_INVALID;
    }
    return parser->state != JSON_INVALID;
}
