#include "dflockctl/json_copy.h"

/* A json_event_function. */
static bool json_copy_event(void *context, enum json_event event, const char *text, size_t length)
{
    struct json_copy *copy = context;

    switch (event) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        if (copy->depth++ > 0)
            json_begin(copy->writer, event == JSON_OBJECT ? '{' : '[');
        break;
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
        if (--copy->depth > 0)
            json_end(copy->writer, event == JSON_OBJECT_END ? '}' : ']');
        break;
    case JSON_NAME:
        json_name(copy->writer, text);
        break;
    case JSON_STRING:
        json_bytes(copy->writer, text, length);
        break;
    case JSON_NUMBER:
    case JSON_WORD:
        json_verbatim(copy->writer, text);
        break;
    }
    return true;
}

void json_copy_init(struct json_copy *copy, struct json_writer *writer)
{
    copy->writer = writer;
    copy->depth = 0;
    json_parser_init(&copy->parser, json_copy_event, copy);
}

void json_copy_read(struct json_copy *copy, const char *part, size_t length)
{
    json_parser_read(&copy->parser, part, length);
}
