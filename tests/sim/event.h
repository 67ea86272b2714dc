/*
 * The events of the world, as data. All randomness is in the event, none in its application. So
 * a list of events is a run, and a shorter list is a shorter run.
 */
#ifndef TESTS_SIM_EVENT_H
#define TESTS_SIM_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "policy.h"

enum event_kind {
    EVENT_NONE,
    EVENT_OPEN,    /* client `who` connects */
    EVENT_SEND,    /* it sends a request, after `number` bytes of its earlier ones have arrived */
    EVENT_READ,    /* `number` more of its bytes arrive */
    EVENT_TURN,    /* its session gets another turn */
    EVENT_END,     /* it ends its side */
    EVENT_VANISH,  /* its connection is lost; `number` steps of the disconnect follow at once */
    EVENT_FAIL,    /* its line did not arrive in time */
    EVENT_STEP,    /* `number` steps of the disconnect */
    EVENT_EFFECTS, /* worker `who` handles up to `number` messages of its mailbox */
    EVENT_WORKER,  /* worker `who` reads the clock and processes up to `number` deadlines */
    EVENT_ADVANCE, /* `number` milliseconds pass */
    EVENT_EDGE, /* worker `who` has a turn one nanosecond before a deadline and one at the deadline
                 */
    EVENT_MEMORY, /* from now on one in `number` allocations (`key`: of the table or of output)
                     fails */
    EVENT_DRAIN,  /* worker `who` starts to drain */
    EVENT_WATCH,  /* client `who` requests a notice for when it no longer holds or waits */
    EVENT_SLEEP,  /* worker `who` falls asleep until its next deadline */
    EVENT_SLOW,   /* client `who` stops reading, or reads everything if `number` is 0 */
    EVENT_FENCES, /* `number` more fences are available, if they are limited */
    EVENT_KINDS
};

/* What is invalid in a request. */
enum flaw {
    FLAW_NONE,
    FLAW_COMMAND,
    FLAW_NO_KEY,
    FLAW_BLANK_KEY,
    FLAW_FIELDS_MANY,
    FLAW_FIELDS_FEW,
    FLAW_NUMBER,
    FLAW_SECONDS_LARGE,
    FLAW_LEASE_ZERO,
    FLAW_LIMIT_ZERO,
    FLAW_LIMIT_LARGE,
    FLAW_TOKEN_SHORT,
    FLAW_TOKEN_UPPER,
    FLAW_LONG_COMMAND, /* the three that end the session come last */
    FLAW_LONG_KEY,
    FLAW_LONG_ARG,
    FLAWS
};

/* Which token a request contains. */
enum token_choice {
    TOKEN_OWN,     /* one that the client holds on the key, else TOKEN_HELD */
    TOKEN_HELD,    /* one that any client holds on the key, else TOKEN_STALE */
    TOKEN_STALE,   /* one that was seen earlier */
    TOKEN_SALTED,  /* a held one with another salt */
    TOKEN_STRANGE, /* one of another key */
    TOKEN_CHOICES
};

/* How the request is written; bits. */
enum style {
    STYLE_RETURNS = 1,
    STYLE_BLANKS = 2,
    STYLE_SIGNS = 4,
    STYLES = 8
};

enum memory_choice {
    MEMORY_NEVER,
    MEMORY_TABLE,
    MEMORY_OUTPUT
};

enum {
    EVENT_ALL = 65535 /* all bytes, steps or messages */
};

struct event {
    uint8_t kind;
    uint8_t op; /* enum dflockd_command */
    uint8_t flaw;
    uint8_t token;
    uint8_t style;
    uint8_t wait;
    uint8_t limit;
    uint8_t lease; /* 0: left out */
    uint16_t who;
    uint16_t key;
    uint32_t number;
};

struct trace {
    struct policy policy;
    struct event *events;
    uint32_t count;
    uint32_t capacity;
};

void trace_init(struct trace *trace);
void trace_free(struct trace *trace);
void trace_add(struct trace *trace, const struct event *event);
void trace_copy(struct trace *to, const struct trace *from);

void event_print(FILE *to, const struct event *event);
void trace_print(FILE *to, const struct trace *trace);

/* Returns false after printing the problem if the file cannot be read. */
bool trace_read(struct trace *trace, const char *path);

#endif
