/*
 * Requests as text, and their parsing. The input of the parser is a copy of exactly its size, so
 * that a sanitizer detects reads beyond it. Failed checks fail the test.
 */
#ifndef TESTS_UNIT_REQUEST_FIXTURE_H
#define TESTS_UNIT_REQUEST_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/request.h"

#define TOKEN "0123456789abcdeffedcba9876543210"

#define FENCE "0123456789abcdef"

#define TOKEN_FENCE UINT64_C(0x0123456789abcdef)
#define TOKEN_SALT  UINT64_C(0xfedcba9876543210)

enum {
    TEXT_MAX = 2 * DFLOCKD_AUTH_LINE_MAX
};

/* ---- the text of a request ---- */

struct text {
    uint8_t bytes[TEXT_MAX];
    size_t length;
};

extern struct text text;

/* Makes the text empty, then appends `part`. */
void begin_text(const char *part);
void begin_request(const char *command, const char *key, const char *arg);

void put_text(const char *part);
void put_bytes(const void *bytes, size_t length);
void put_repeated(char byte, size_t count);

/* ---- parsing ---- */

/* A parsed request; it borrows from `copy`. */
struct parsed {
    uint8_t *copy;
    size_t length;
    struct request_frame frame;
    struct request request;
};

struct parsed parse_text(void);
struct parsed parse_bytes(const uint8_t *bytes, size_t length);
void parsed_end(struct parsed *parsed);

/* The input was one complete request. */
void assert_complete(const struct parsed *parsed);
void assert_stopped(const struct parsed *parsed, enum request_framing framing, uint32_t lines);

/* The text is one complete request, valid or not. */
void assert_text_is(bool valid);
void assert_request_is(bool valid, const char *command, const char *key, const char *arg);

/* The slice points into the input. */
void assert_slice(const struct parsed *parsed, struct slice slice, const void *bytes,
                  size_t length);

/* ---- commands ---- */

/* The values of the fields identify them: 10 is a timeout, 5 a limit, 20 a lease. */
struct command_case {
    const char *word;
    enum dflockd_command command;
    const char *fields[4];
    uint32_t least; /* fields */
    uint32_t most;
    bool of_semaphores;
    bool keyed;
};

extern const struct command_case command_cases[DFLOCKD_COMMAND_COUNT];

/* Appends `count` fields of a command. A field beyond `most` is a number. */
void put_fields(const struct command_case *of, uint32_t count, const char *between);

/* Makes the text a request with `count` fields. */
void begin_fields(const struct command_case *of, uint32_t count, const char *between);

/* The request has the values of the first `count` fields. */
void assert_fields(const struct parsed *parsed, const struct command_case *of, uint32_t count);

#endif
