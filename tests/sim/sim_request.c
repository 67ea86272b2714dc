/*
 * Writes valid requests in several styles, and invalid ones.
 */
#include "sim_request.h"

#include <stdio.h>
#include <string.h>

enum {
    ARG_MAX = 256,
    LINE_TOO_LONG = DFLOCKD_LINE_MAX + 44
};

static const char *const words[DFLOCKD_COMMAND_COUNT] = {
    "l",    "r",     "n",    "e",   "w",  "sl", "sr",   "sn",   "se",     "sw",
    "ping", "stats", "auth", "own", "rl", "re", "name", "show", "revoke",
};

#define SIXTEEN "sixteen letters."

const struct sim_name sim_names[SIM_NAMES] = {
    {"user@host program", "\"user@host program\""},
    {"a", "\"a\""},
    {"\"a\" \\", "\"\\\"a\\\" \\\\\""},
    {"\xd0\xba\xe7\x8a\xac\xf0\x9f\x90\x95", "\"\xd0\xba\xe7\x8a\xac\xf0\x9f\x90\x95\""},
    {SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN,
     "\"" SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN "\""},
    {SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN SIXTEEN "!", NULL},
    {"", NULL},
    {"\x1b[31m", NULL},
    {"a\tb", NULL},
    {"\x7f", NULL},
    {"\xff", NULL},
    {"cut \xe7\x8a", NULL},
    {"overlong \xe0\x80\xaf", NULL},
    {"a surrogate \xed\xa0\x80", NULL},
    {"a line \xe2\x80\xa8", NULL},
    {"a control \xc2\x85", NULL},
};

static bool takes_wait(uint8_t op)
{
    return op == DFLOCKD_ACQUIRE || op == DFLOCKD_SEMAPHORE_ACQUIRE || op == DFLOCKD_WAIT ||
           op == DFLOCKD_SEMAPHORE_WAIT || op == DFLOCKD_ACQUIRE_SHARED;
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
           op == DFLOCKD_SEMAPHORE_ENQUEUE || sim_request_is_shared(op);
}

/* Returns the arg of a valid request. */
static void right_arg(char *to, const struct sim_request *request)
{
    const char *blank = request->style & STYLE_BLANKS ? " \t " : " ";
    const char *sign = request->style & STYLE_SIGNS ? "+0" : "";
    char *end = to + ARG_MAX;

    *to = '\0';
    if (request->style & STYLE_BLANKS)
        to += snprintf(to, (size_t)(end - to), "%s", blank);
    if (takes_wait(request->op))
        to += snprintf(to, (size_t)(end - to), "%s%u%s", sign, request->wait_s, blank);
    if (request->op == DFLOCKD_OWN || request->op == DFLOCKD_SHOW || request->op == DFLOCKD_REVOKE)
        to += snprintf(to, (size_t)(end - to), "%s%s", key_is_semaphore(request->key) ? "s" : "l",
                       blank);
    if (takes_token(request->op))
        to +=
            snprintf(to, (size_t)(end - to), "%016llx%016llx%s", (unsigned long long)request->fence,
                     (unsigned long long)request->salt, blank);
    if (takes_limit(request->op))
        to += snprintf(to, (size_t)(end - to), "%s%u%s", sign, request->limit, blank);
    if (takes_lease(request->op) && request->lease_s)
        to += snprintf(to, (size_t)(end - to), "%s%u", sign, request->lease_s);
    if (request->op == DFLOCKD_REVOKE)
        snprintf(to, (size_t)(end - to), "%016llx", (unsigned long long)request->fence);
    if (request->op == DFLOCKD_NAME)
        snprintf(to, (size_t)(end - to), "%s", sim_names[request->name].text);
    else if (sim_request_is_keyless(request->op))
        snprintf(to, (size_t)(end - to), "what %s", "ever");
}

/* Returns an arg that is invalid for every command with a key. */
static void wrong_arg(char *to, const struct sim_request *request)
{
    bool limited = takes_limit(request->op);
    const char *first = takes_wait(request->op) ? "0 " : "";
    char *end;

    right_arg(to, request);
    end = to + strlen(to);
    switch (request->flaw) {
    case FLAW_FIELDS_MANY:
        snprintf(end, 16, " 1 2 3");
        break;
    case FLAW_FIELDS_FEW:
        snprintf(to, ARG_MAX, "%s",
                 request->op == DFLOCKD_ENQUEUE || request->op == DFLOCKD_ENQUEUE_SHARED ? "1 2"
                                                                                         : "");
        break;
    case FLAW_SECONDS_LARGE:
        snprintf(to, ARG_MAX, limited && !*first ? "1 9223372037" : "9223372037%s",
                 limited ? " 1" : "");
        break;
    case FLAW_LEASE_ZERO:
        snprintf(to, ARG_MAX, takes_lease(request->op) ? "%s%s0" : "-1", first,
                 limited ? "1 " : "");
        break;
    case FLAW_LIMIT_ZERO:
        snprintf(to, ARG_MAX, limited ? "%s0" : "--2", first);
        break;
    case FLAW_LIMIT_LARGE:
        snprintf(to, ARG_MAX, limited ? "%s1048577" : "1.5", first);
        break;
    case FLAW_TOKEN_SHORT:
        snprintf(to, ARG_MAX, "f%015llx%015llx",
                 (unsigned long long)request->fence & UINT64_C(0xfffffffffffffff),
                 (unsigned long long)request->salt & UINT64_C(0xfffffffffffffff));
        break;
    case FLAW_TOKEN_UPPER:
        snprintf(to, ARG_MAX, "%s", "ABCDEFABCDEFABCDEFABCDEFABCDEFAB");
        break;
    default:
        snprintf(to, ARG_MAX, "%s", "1x");
    }
}

static char *put_line(char *to, const void *bytes, size_t length, const struct sim_request *request)
{
    memcpy(to, bytes, length);
    to += length;
    if (request->style & STYLE_RETURNS && length + 2 <= DFLOCKD_LINE_MAX) {
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

uint32_t sim_request_write(char *to, const struct sim_request *request,
                           const struct key_names *names)
{
    const struct key_name *name = &names->names[request->key / 2];
    bool no_key = sim_request_is_keyless(request->op) || request->flaw == FLAW_NO_KEY;
    const char *word = request->flaw == FLAW_COMMAND ? "lock" : words[request->op];
    char arg[ARG_MAX];
    char *at = to;

    if (request->flaw == FLAW_LONG_COMMAND)
        return (uint32_t)(put_too_long(at) - to);
    at = put_line(at, word, strlen(word), request);
    if (request->flaw == FLAW_LONG_KEY)
        return (uint32_t)(put_too_long(at) - to);
    if (request->flaw == FLAW_BLANK_KEY)
        at = put_line(at, "a key", 5, request);
    else
        at = put_line(at, name->bytes, no_key ? 0 : name->length, request);
    if (request->flaw == FLAW_LONG_ARG)
        return (uint32_t)(put_too_long(at) - to);
    if (request->op == DFLOCKD_AUTH)
        snprintf(arg, sizeof(arg), request->flaw ? "wrong" : " %s ",
                 request->administrator ? SIM_REQUEST_ADMIN_SECRET : SIM_REQUEST_SECRET);
    else if (request->flaw > FLAW_BLANK_KEY)
        wrong_arg(arg, request);
    else
        right_arg(arg, request);
    return (uint32_t)(put_line(at, arg, strlen(arg), request) - to);
}
