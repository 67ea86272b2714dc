/*
 * Copies a JSON object that arrives in parts, without its outer brackets, to a writer.
 */
#ifndef DFLOCKCTL_JSON_COPY_H
#define DFLOCKCTL_JSON_COPY_H

#include "dflockctl/json_parser.h"
#include "dflockctl/json_writer.h"

struct json_copy {
    struct json_writer *writer;
    unsigned depth;
    struct json_parser parser;
};

void json_copy_init(struct json_copy *copy, struct json_writer *writer);

void json_copy_read(struct json_copy *copy, const char *part, size_t length);

#endif
