/*
 * What can happen in the world, as data: all chance is in the event, none in its application, so
 * that a list of events is a run, and a shorter list a shorter run.
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
    EVENT_SEND,    /* it says a request, of which and of what was said before `number` bytes come */
    EVENT_READ,    /* `number` bytes more of what it said come */
    EVENT_TURN,    /* its session gets another turn */
    EVENT_END,     /* it ends its side */
    EVENT_VANISH,  /* it is gone; `number` steps of the disconnect are done at once */
    EVENT_FAIL,    /* its line did not come in time */
    EVENT_STEP,    /* `number` steps of the disconnect */
    EVENT_EFFECTS, /* worker `who` takes up to `number` messages out of its mailbox */
    EVENT_WORKER,  /* worker `who` looks at the clock, and lets `number` things happen */
    EVENT_ADVANCE, /* `number` milliseconds go by */
    EVENT_EDGE,   /* worker `who` has its turn one nanosecond before a deadline, then right at it */
    EVENT_MEMORY, /* from now on memory (`key`: of the table or of output) fails once in `number` */
    EVENT_DRAIN,  /* worker `who` is told to drain */
    EVENT_WATCH,  /* does client `who` hold or wait? if so, it is told when it no longer does */
    EVENT_SLEEP,  /* until when may worker `who` sleep? */
    EVENT_SLOW,   /* client `who` reads nothing from now on, or all again where `number` is 0 */
    EVENT_FENCES, /* `number` more fences may be handed out, where they are limited */
    EVENT_KINDS
};

/* What is wrong with a request. */
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
    FLAW_LONG_COMMAND, /* the three that end the session stand last */
    FLAW_LONG_KEY,
    FLAW_LONG_ARG,
    FLAWS
};

/* Which token a request names. */
enum token_choice {
    TOKEN_OWN,     /* one that the client holds on the key, or else TOKEN_HELD */
    TOKEN_HELD,    /* one that anybody holds on the key, or else TOKEN_STALE */
    TOKEN_STALE,   /* one that was seen some time ago */
    TOKEN_SALTED,  /* a held one with another salt */
    TOKEN_STRANGE, /* one of another key */
    TOKEN_CHOICES
};

/* How it is written; bits. */
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
    EVENT_ALL = 65535 /* bytes, steps or messages: all there are */
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

/* False, having said what is wrong, when the file can't be read. */
bool trace_read(struct trace *trace, const char *path);

#endif
