/*
 * Parses JSON that arrives in parts, in constant memory: reports each piece as it is complete.
 */
#ifndef DFLOCKCTL_JSON_PARSER_H
#define DFLOCKCTL_JSON_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JSON_DEPTH_MAX = 16,
    JSON_TEXT_MAX = 4096 /* bytes of a string or a number */
};

enum json_event {
    JSON_OBJECT,
    JSON_OBJECT_END,
    JSON_ARRAY,
    JSON_ARRAY_END,
    JSON_NAME,   /* of a member */
    JSON_STRING, /* without quotes and escapes; may contain NUL */
    JSON_NUMBER, /* as it is written */
    JSON_WORD    /* true, false or null */
};

/*
 * Takes an event. `text` belongs to a name, string, number or word; it ends with a 0, and is valid
 * until the function returns. Returns false to end the parsing.
 */
typedef bool json_event_function(void *context, enum json_event event, const char *text,
                                 size_t length);

enum json_state {
    JSON_AT_VALUE,
    JSON_AT_VALUE_OR_END,
    JSON_AT_NAME,
    JSON_AT_NAME_OR_END,
    JSON_AT_COLON,
    JSON_AFTER_VALUE,
    JSON_IN_STRING,
    JSON_IN_ESCAPE,
    JSON_IN_UNICODE,
    JSON_IN_NUMBER,
    JSON_IN_WORD,
    JSON_INVALID
};

struct json_parser {
    json_event_function *take;
    void *context;
    enum json_state state;
    bool in_name; /* the string is a name */
    unsigned depth;
    bool in_object[JSON_DEPTH_MAX];
    unsigned digits; /* of \uXXXX that were read */
    uint32_t unit;   /* their value */
    uint32_t high;   /* a high surrogate before; 0: none */
    size_t length;
    char text[JSON_TEXT_MAX + 1];
};

void json_parser_init(struct json_parser *parser, json_event_function *take, void *context);

/* Parses the next part. Returns false, now and later, if the text is not JSON or `take` ended it.
 */
bool json_parser_read(struct json_parser *parser, const char *part, size_t length);

/* Returns whether the text is one whole value. */
bool json_parser_is_complete(const struct json_parser *parser);

#endif
