/*
 * Events as lines of text: a kind, and `name=value` for what is not 0.
 */
#include "event.h"

#include <stdlib.h>
#include <string.h>

#include "dflockd/protocol.h"

static const char *const kind_words[EVENT_KINDS] = {
    "none",   "open",    "send", "read",   "turn",  "end",   "vanish", "fail", "step",   "effects",
    "worker", "advance", "edge", "memory", "drain", "watch", "sleep",  "slow", "fences",
};

static const char *const op_words[DFLOCKD_COMMAND_COUNT] = {
    "l",    "r",     "n",    "e",   "w",  "sl", "sr",   "sn",   "se",     "sw",
    "ping", "stats", "auth", "own", "rl", "re", "name", "show", "revoke",
};

static const char *const flaw_words[FLAWS] = {
    "none",        "command",      "no-key",     "blank-key",  "fields-many", "fields-few",
    "number",      "seconds",      "lease-zero", "limit-zero", "limit-large", "token-short",
    "token-upper", "long-command", "long-key",   "long-arg",
};

static const char *const token_words[TOKEN_CHOICES] = {
    "own", "held", "stale", "salted", "strange",
};

static const struct field event_fields[] = {
    {"op", offsetof(struct event, op), 1, op_words, DFLOCKD_COMMAND_COUNT},
    FIELD(struct event, who),
    FIELD(struct event, key),
    FIELD(struct event, wait),
    FIELD(struct event, limit),
    FIELD(struct event, lease),
    {"token", offsetof(struct event, token), 1, token_words, TOKEN_CHOICES},
    {"flaw", offsetof(struct event, flaw), 1, flaw_words, FLAWS},
    FIELD(struct event, style),
    FIELD(struct event, number),
};

enum {
    EVENT_FIELDS = sizeof(event_fields) / sizeof(event_fields[0]),
    LINE_MAX_BYTES = 1024
};

void trace_init(struct trace *trace)
{
    memset(trace, 0, sizeof(*trace));
}

void trace_free(struct trace *trace)
{
    free(trace->events);
    trace->events = NULL;
    trace->count = 0;
    trace->capacity = 0;
}

void trace_add(struct trace *trace, const struct event *event)
{
    if (trace->count == trace->capacity) {
        trace->capacity = trace->capacity ? trace->capacity * 2 : 1024;
        trace->events = realloc(trace->events, trace->capacity * sizeof(*trace->events));
        if (!trace->events)
            abort();
    }
    trace->events[trace->count++] = *event;
}

void trace_copy(struct trace *to, const struct trace *from)
{
    to->policy = from->policy;
    to->count = 0;
    for (uint32_t i = 0; i < from->count; i++)
        trace_add(to, &from->events[i]);
}

void event_print(FILE *to, const struct event *event)
{
    fprintf(to, "%s", kind_words[event->kind]);
    if (event->kind == EVENT_SEND)
        fprintf(to, " op=%s", op_words[event->op]);
    fields_print(to, event_fields + 1, EVENT_FIELDS - 1, event);
    fprintf(to, "\n");
}

void trace_print(FILE *to, const struct trace *trace)
{
    policy_print(to, &trace->policy);
    for (uint32_t i = 0; i < trace->count; i++)
        event_print(to, &trace->events[i]);
}

static bool event_parse(struct event *event, const char *kind, char *fields)
{
    memset(event, 0, sizeof(*event));
    for (uint8_t i = 0; i < EVENT_KINDS; i++) {
        if (strcmp(kind, kind_words[i]) == 0)
            event->kind = i;
    }
    return event->kind && fields_parse(fields, event_fields, EVENT_FIELDS, event) &&
           event->op < DFLOCKD_COMMAND_COUNT && event->flaw < FLAWS && event->token < TOKEN_CHOICES;
}

/* Comments and results are skipped, so the output of a failed run can be replayed as it is. */
static bool is_remark(const char *line)
{
    return *line == '#' || *line == '\n' || *line == '\0' || strncmp(line, "not ok ", 7) == 0 ||
           strncmp(line, "ok ", 3) == 0;
}

static bool line_parse(struct trace *trace, char *line)
{
    static char nothing[1];
    char *start = line + strspn(line, " \t");
    char *fields = start + strcspn(start, " \r\n");
    struct event event;

    if (is_remark(start))
        return true;
    if (*fields)
        *fields++ = '\0';
    else
        fields = nothing;
    if (strcmp(start, "policy") == 0)
        return policy_parse(&trace->policy, fields);
    if (!event_parse(&event, start, fields))
        return false;
    trace_add(trace, &event);
    return true;
}

bool trace_read(struct trace *trace, const char *path)
{
    FILE *file = fopen(path, "r");
    char line[LINE_MAX_BYTES];
    uint32_t number = 0;
    bool fine = true;

    if (!file) {
        perror(path);
        return false;
    }
    while (fine && fgets(line, sizeof(line), file)) {
        number++;
        fine = line_parse(trace, line);
    }
    fclose(file);
    if (!fine)
        fprintf(stderr, "%s: line %u can't be read\n", path, number);
    else if (trace->policy.workers == 0)
        fprintf(stderr, "%s: no policy\n", path);
    return fine && trace->policy.workers > 0;
}
