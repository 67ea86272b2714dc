/*
 * Right requests, written in several ways, and wrong ones.
 */
#include "wording.h"

#include <stdio.h>
#include <string.h>

enum {
    ARG_MAX = 256,
    LINE_TOO_LONG = DFLOCKD_LINE_MAX + 44
};

static const char *const words[DFLOCKD_COMMAND_COUNT] = {
    "l", "r", "n", "e", "w", "sl", "sr", "sn", "se", "sw", "ping", "stats", "auth", "own",
};

static bool takes_wait(uint8_t op)
{
    return op == DFLOCKD_ACQUIRE || op == DFLOCKD_SEMAPHORE_ACQUIRE || op == DFLOCKD_WAIT ||
           op == DFLOCKD_SEMAPHORE_WAIT;
}

static bool takes_token(uint8_t op)
{
    return op == DFLOCKD_RELEASE || op == DFLOCKD_SEMAPHORE_RELEASE || op == DFLOCKD_RENEW ||
           op == DFLOCKD_SEMAPHORE_RENEW || op == DFLOCKD_OWN;
}

static bool takes_limit(uint8_t op)
{
    return op == DFLOCKD_SEMAPHORE_ACQUIRE || op == DFLOCKD_SEMAPHORE_ENQUEUE;
}

static bool takes_lease(uint8_t op)
{
    return op == DFLOCKD_ACQUIRE || op == DFLOCKD_RENEW || op == DFLOCKD_ENQUEUE ||
           op == DFLOCKD_SEMAPHORE_ACQUIRE || op == DFLOCKD_SEMAPHORE_RENEW ||
           op == DFLOCKD_SEMAPHORE_ENQUEUE;
}

/* The arg of a request with nothing wrong. */
static void right_arg(char *to, const struct asked *asked)
{
    const char *blank = asked->style & STYLE_BLANKS ? " \t " : " ";
    const char *sign = asked->style & STYLE_SIGNS ? "+0" : "";
    char *end = to + ARG_MAX;

    *to = '\0';
    if (asked->style & STYLE_BLANKS)
        to += snprintf(to, (size_t)(end - to), "%s", blank);
    if (takes_wait(asked->op))
        to += snprintf(to, (size_t)(end - to), "%s%u%s", sign, asked->wait_s, blank);
    if (asked->op == DFLOCKD_OWN)
        to += snprintf(to, (size_t)(end - to), "%s%s", key_is_semaphore(asked->key) ? "s" : "l",
                       blank);
    if (takes_token(asked->op))
        to += snprintf(to, (size_t)(end - to), "%016llx%016llx%s", (unsigned long long)asked->fence,
                       (unsigned long long)asked->salt, blank);
    if (takes_limit(asked->op))
        to += snprintf(to, (size_t)(end - to), "%s%u%s", sign, asked->limit, blank);
    if (takes_lease(asked->op) && asked->lease_s)
        to += snprintf(to, (size_t)(end - to), "%s%u", sign, asked->lease_s);
    if (asked_keyless(asked->op))
        snprintf(to, (size_t)(end - to), "what %s", "ever");
}

/* An arg that is wrong for every command with a key. */
static void wrong_arg(char *to, const struct asked *asked)
{
    bool limited = takes_limit(asked->op);
    const char *first = takes_wait(asked->op) ? "0 " : "";
    char *end;

    right_arg(to, asked);
    end = to + strlen(to);
    switch (asked->flaw) {
    case FLAW_FIELDS_MANY:
        snprintf(end, 16, " 1 2 3");
        break;
    case FLAW_FIELDS_FEW:
        snprintf(to, ARG_MAX, "%s", asked->op == DFLOCKD_ENQUEUE ? "1 2" : "");
        break;
    case FLAW_SECONDS_LARGE:
        snprintf(to, ARG_MAX, limited && !*first ? "1 9223372037" : "9223372037%s",
                 limited ? " 1" : "");
        break;
    case FLAW_LEASE_ZERO:
        snprintf(to, ARG_MAX, takes_lease(asked->op) ? "%s%s0" : "-1", first, limited ? "1 " : "");
        break;
    case FLAW_LIMIT_ZERO:
        snprintf(to, ARG_MAX, limited ? "%s0" : "--2", first);
        break;
    case FLAW_LIMIT_LARGE:
        snprintf(to, ARG_MAX, limited ? "%s1048577" : "1.5", first);
        break;
    case FLAW_TOKEN_SHORT:
        snprintf(to, ARG_MAX, "f%015llx%015llx",
                 (unsigned long long)asked->fence & UINT64_C(0xfffffffffffffff),
                 (unsigned long long)asked->salt & UINT64_C(0xfffffffffffffff));
        break;
    case FLAW_TOKEN_UPPER:
        snprintf(to, ARG_MAX, "%s", "ABCDEFABCDEFABCDEFABCDEFABCDEFAB");
        break;
    default:
        snprintf(to, ARG_MAX, "%s", "1x");
    }
}

static char *put_line(char *to, const void *bytes, size_t length, const struct asked *asked)
{
    memcpy(to, bytes, length);
    to += length;
    if (asked->style & STYLE_RETURNS && length + 2 <= DFLOCKD_LINE_MAX) {
        *to++ = '\r';
        *to++ = '\r';
    }
    *to++ = '\n';
    return to;
}

static char *put_too_long(char *to)
{
    memset(to, 'x', LINE_TOO_LONG);
    to[LINE_TOO_LONG] = '\n';
    return to + LINE_TOO_LONG + 1;
}

uint32_t wording_write(char *to, const struct asked *asked, const struct key_names *names)
{
    const struct key_name *name = &names->names[asked->key / 2];
    bool no_key = asked_keyless(asked->op) || asked->flaw == FLAW_NO_KEY;
    const char *word = asked->flaw == FLAW_COMMAND ? "lock" : words[asked->op];
    char arg[ARG_MAX];
    char *at = to;

    if (asked->flaw == FLAW_LONG_COMMAND)
        return (uint32_t)(put_too_long(at) - to);
    at = put_line(at, word, strlen(word), asked);
    if (asked->flaw == FLAW_LONG_KEY)
        return (uint32_t)(put_too_long(at) - to);
    if (asked->flaw == FLAW_BLANK_KEY)
        at = put_line(at, "a key", 5, asked);
    else
        at = put_line(at, name->bytes, no_key ? 0 : name->length, asked);
    if (asked->flaw == FLAW_LONG_ARG)
        return (uint32_t)(put_too_long(at) - to);
    if (asked->op == DFLOCKD_AUTH)
        snprintf(arg, sizeof(arg), asked->flaw ? "wrong" : " %s ", WORDING_SECRET);
    else if (asked->flaw > FLAW_BLANK_KEY)
        wrong_arg(arg, asked);
    else
        right_arg(arg, asked);
    return (uint32_t)(put_line(at, arg, strlen(arg), asked) - to);
}
