/*
 * Writes JSON piece by piece, without storing it. ASCII only: a key cannot control a terminal, and
 * the output is the same in every locale.
 */
#ifndef DFLOCKCTL_JSON_WRITER_H
#define DFLOCKCTL_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed before the first piece, except `indented`. */
struct json_writer {
    bool indented; /* lines for people, else one line */
    unsigned depth;
    bool more;  /* the object or array has a piece before */
    bool named; /* a name precedes the value */
};

/* Returns a writer: indented on a terminal. */
struct json_writer json_writer_new(void);

/* Each prints a piece on stdout. Members of objects are a name, then a value. */
void json_begin(struct json_writer *writer, char bracket);
void json_end(struct json_writer *writer, char bracket);
void json_name(struct json_writer *writer, const char *name);
void json_text(struct json_writer *writer, const char *text);
void json_bytes(struct json_writer *writer, const char *bytes, size_t length);
void json_integer(struct json_writer *writer, uint64_t number);
void json_real(struct json_writer *writer, double number);
void json_verbatim(struct json_writer *writer, const char *json);

#endif
