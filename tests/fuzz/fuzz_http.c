/*
 * The pure parts of the HTTP front end. The first byte chooses one of them:
 *
 *   paths     a method and a path. An endpoint is found as by a simple reader, and its key is found
 *             again after it was encoded.
 *   bodies    a route's fields and a body. jansson, a parser that the server does not use, must
 *             give the same result, except for its known faults.
 *
 *   answers   an outcome or the detail of an error. jansson must be able to read the answer.
 *
 *   origins   a list of origins, then an Origin header, a Host header and two names of the server.
 */
#include "fuzz.h"

#include <ctype.h>
#include <jansson.h>
#include <strings.h>

#include "base/utf8.h"
#include "http/answer.h"
#include "http/body.h"
#include "http/origin.h"
#include "http/route.h"

enum {
    INPUT_MAX = 4096
};

/* ---- texts ---- */

/* Returns the input up to a NUL, as a text; the caller frees it. */
static char *take_text(struct input *input)
{
    const void *end = input->length > 0 ? memchr(input->bytes, '\0', input->length) : NULL;
    size_t length = end ? (size_t)((const uint8_t *)end - input->bytes) : input->length;
    struct input part = input_take(input, length);
    char *text = malloc(length + 1);

    must(text, "there is memory");
    if (length > 0)
        memcpy(text, part.bytes, length);
    text[length] = '\0';
    input_byte(input);
    return text;
}

static void check_line(const char *text, size_t size)
{
    size_t length = strnlen(text, size);

    must(length > 0 && length < size, "a problem has a text and an end");
    for (size_t at = 0; at < length;) {
        uint32_t count = utf8_length((const uint8_t *)text + at, (uint32_t)(length - at));

        must(count > 0 && utf8_is_printable((const uint8_t *)text + at, count),
             "a problem is one line that may be shown");
        at += count;
    }
}

/* ---- paths ---- */

static int hex_digit(char digit)
{
    return isdigit((unsigned char)digit) ? digit - '0' : tolower((unsigned char)digit) - 'a' + 10;
}

/* Returns the length, or -1. */
static int decode_naively(const char *text, size_t length, uint8_t *to)
{
    int count = 0;

    while (length > 0) {
        if (*text != '%') {
            to[count++] = (uint8_t)*text++;
            length--;
            continue;
        }
        if (length < 3 || !isxdigit((unsigned char)text[1]) || !isxdigit((unsigned char)text[2]))
            return -1;
        to[count++] = (uint8_t)(hex_digit(text[1]) * 16 + hex_digit(text[2]));
        text += 3;
        length -= 3;
    }
    return count;
}

static bool key_valid(const uint8_t *key, int length)
{
    for (int i = 0; i < length; i++) {
        if (key[i] == ' ' || key[i] == '\t' || key[i] == '\r' || key[i] == '\n')
            return false;
    }
    return length >= 1 && length <= DFLOCKD_KEY_MAX;
}

static bool id_valid(const char *id, size_t length)
{
    return length == ROUTE_SESSION_ID_LENGTH && strspn(id, "0123456789abcdef") >= length;
}

/* Compares `path` with a pattern, segment by segment. Sets `*open` to the segment left open. */
static bool matches_naively(const char *pattern, const char *path, const char **open,
                            size_t *length)
{
    *open = NULL;
    for (;;) {
        size_t fixed = strcspn(pattern, "/");
        size_t given = strcspn(path, "/");

        if (pattern[0] == '{') {
            *open = path;
            *length = given;
            if (given == 0)
                return false;
        } else if (fixed != given || memcmp(pattern, path, fixed) != 0) {
            return false;
        }
        if (pattern[fixed] == '\0' || path[given] == '\0')
            return pattern[fixed] == path[given];
        pattern += fixed + 1;
        path += given + 1;
    }
}

static const char *path_naively(const char *path)
{
    const char *authority;

    if (strncasecmp(path, "http://", 7) != 0 && strncasecmp(path, "https://", 8) != 0)
        return path;
    authority = strstr(path, "//") + 2;
    return strchr(authority, '/') ? strchr(authority, '/') : "/";
}

static void check_segment(const struct route_match *match, const char *open, size_t length)
{
    uint8_t *key = malloc(length + 1);
    bool valid;
    int count;

    must(key, "there is memory");
    if (!open) {
        must(match->segment_length == 0 && !match->bad_segment, "a fixed path has no segment");
    } else if (strstr(match->route->pattern, "{id}")) {
        valid = id_valid(open, length);
        must(valid == !match->bad_segment, "an id is checked");
        must(!valid ||
                 (match->segment_length == length && memcmp(match->segment, open, length) == 0),
             "an id is as it was received");
    } else {
        count = decode_naively(open, length, key);
        valid = key_valid(key, count);
        must(valid == !match->bad_segment, "a key is checked");
        must(!valid || (match->segment_length == (uint32_t)count &&
                        memcmp(match->segment, key, (size_t)count) == 0),
             "a key is decoded");
    }
    must(!match->bad_segment || match->segment_length == 0, "a bad segment is not given");
    if (match->bad_segment)
        check_line(match->bad_segment, BODY_DETAIL_MAX);
    free(key);
}

static bool method_is(enum route_method route, const char *method)
{
    if (route == ROUTE_GET)
        return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    return strcmp(method, route == ROUTE_POST ? "POST" : "DELETE") == 0;
}

/* Encodes all bytes of the key. */
static void check_encoded(const char *method, const struct route_match *match)
{
    char path[DFLOCKD_KEY_MAX * 3 + 64];
    const char *pattern = match->route->pattern;
    const char *brace = strchr(pattern, '{');
    struct route_match again;
    int length;

    if (!brace || match->bad_segment || strstr(pattern, "{id}"))
        return;
    length = snprintf(path, sizeof(path), "%.*s", (int)(brace - pattern), pattern);
    for (uint32_t i = 0; i < match->segment_length; i++)
        length +=
            snprintf(path + length, sizeof(path) - (size_t)length, "%%%02X", match->segment[i]);
    snprintf(path + length, sizeof(path) - (size_t)length, "%s", strchr(brace, '}') + 1);
    must(route_find(method, path, &again) == ROUTE_FOUND && again.route == match->route &&
             again.segment_length == match->segment_length &&
             memcmp(again.segment, match->segment, match->segment_length) == 0,
         "an encoded key is the same key");
}

static void try_path(struct input *input)
{
    char *method = take_text(input);
    char *path = take_text(input);
    struct route_match match;
    enum route_result result = route_find(method, path, &match);
    const struct route *expected = NULL;
    const char *open = NULL;
    size_t length = 0;
    bool known = false;

    for (uint32_t i = 0; i < route_count && !expected; i++) {
        if (!matches_naively(route_table[i].pattern, path_naively(path), &open, &length))
            continue;
        known = true;
        if (method_is(route_table[i].method, method))
            expected = &route_table[i];
    }
    must(match.route == expected, "the endpoint is that of method and path");
    must((result == ROUTE_FOUND) == (expected != NULL), "FOUND has an endpoint");
    must((result == ROUTE_UNKNOWN) == !known, "a path is known or not");
    must((result == ROUTE_WRONG_METHOD) == (match.allow[0] != '\0'), "other methods are named");
    if (expected) {
        check_segment(&match, open, length);
        check_encoded(method, &match);
    }
    free(path);
    free(method);
}

/* ---- bodies ---- */

static bool number_expected(const json_t *value, uint64_t least, uint64_t most, uint64_t *number)
{
    *number = (uint64_t)json_integer_value(value);
    return json_is_integer(value) && json_integer_value(value) >= 0 && *number >= least &&
           *number <= most;
}

/* Reads `length` digits at `text`. */
static bool digits_expected(const json_t *value, size_t length, uint64_t numbers[2])
{
    const char *text = json_string_value(value);

    if (json_string_length(value) != length || strspn(text, "0123456789abcdef") != length)
        return false;
    numbers[0] = 0;
    numbers[1] = 0;
    for (size_t i = 0; i < length; i++)
        numbers[i / 16] = numbers[i / 16] << 4 | (uint64_t)hex_digit(text[i]);
    return true;
}

static bool field_expected(const char *name, const json_t *value, unsigned allowed,
                           struct body *body)
{
    uint64_t numbers[2] = {0, 0};
    unsigned field = 0;
    bool valid = false;

    if (strcmp(name, "acquire_timeout_s") == 0 || strcmp(name, "timeout_s") == 0) {
        field = name[0] == 'a' ? BODY_ACQUIRE_TIMEOUT : BODY_TIMEOUT;
        valid = number_expected(value, 0, DFLOCKD_SECONDS_MAX, &body->timeout_s);
    } else if (strcmp(name, "lease_ttl_s") == 0) {
        field = BODY_LEASE;
        valid = number_expected(value, 0, DFLOCKD_SECONDS_MAX, &body->lease_s);
    } else if (strcmp(name, "limit") == 0) {
        field = BODY_LIMIT;
        valid = number_expected(value, 1, DFLOCKD_LIMIT_MAX, numbers);
        body->limit = (uint32_t)numbers[0];
    } else if (strcmp(name, "token") == 0 || strcmp(name, "fence") == 0) {
        field = name[0] == 't' ? BODY_TOKEN : BODY_FENCE;
        valid = digits_expected(value, field == BODY_TOKEN ? 32 : 16, numbers);
        body->fence = numbers[0];
        if (field == BODY_TOKEN)
            body->salt = numbers[1];
    } else if (strcmp(name, "mode") == 0) {
        const char *mode = json_string_value(value);

        field = BODY_MODE;
        body->shared = mode && strcmp(mode, "shared") == 0;
        valid = body->shared || (mode && strcmp(mode, "exclusive") == 0);
        valid = valid && json_string_length(value) == strlen(mode);
    }
    body->present |= field;
    return valid && (field & allowed);
}

static bool body_expected(unsigned allowed, unsigned required, const uint8_t *bytes, size_t length,
                          struct body *body)
{
    json_t *object;
    bool valid;

    memset(body, 0, sizeof(*body));
    if (length == 0)
        return required == 0;
    /* jansson ignores a NUL after a number. */
    if (memchr(bytes, '\0', length))
        return false;
    object = json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    valid = json_is_object(object);
    for (void *at = json_object_iter(object); at && valid; at = json_object_iter_next(object, at))
        valid = field_expected(json_object_iter_key(at), json_object_iter_value(at), allowed, body);
    json_decref(object);
    return valid && !(required & ~body->present);
}

static void try_body(struct input *input)
{
    uint8_t choice = input_byte(input);
    size_t length = input->length;
    uint8_t *bytes = exact_copy(input->bytes, length);
    char *detail = malloc(BODY_DETAIL_MAX);
    struct body expected;
    struct body body;
    unsigned required = 0;
    unsigned allowed = BODY_MODE * 2 - 1;
    bool valid;

    must(detail, "there is memory");
    if (choice < route_count)
        body_fields(&route_table[choice], &allowed, &required);
    valid = body_parse(&body, allowed, required, bytes, length, detail);
    must(valid == body_expected(allowed, required, bytes, length, &expected),
         "a body is valid for two parsers or for none");
    if (valid)
        must(body.present == expected.present && body.timeout_s == expected.timeout_s &&
                 body.lease_s == expected.lease_s && body.limit == expected.limit &&
                 body.fence == expected.fence && body.salt == expected.salt &&
                 body.shared == expected.shared,
             "two parsers read the same fields");
    else
        check_line(detail, BODY_DETAIL_MAX);
    free(detail);
    free(bytes);
}

/* ---- answers ---- */

static void check_answer(const struct answer *answer)
{
    json_t *object;

    must(answer->length <= ANSWER_MAX && answer->status >= 200 && answer->status < 600,
         "an answer has a status and an end");
    if (answer->status == 204) {
        must(answer->length == 0, "204 has no body");
        return;
    }
    must(answer->text[answer->length - 1] == '\n', "an answer ends with a newline");
    object = json_loadb(answer->text, answer->length, JSON_REJECT_DUPLICATES, NULL);
    must(json_is_object(object), "an answer is JSON");
    must((answer->status != 200) == (json_object_get(object, "error") != NULL),
         "all but successes are errors");
    json_decref(object);
}

static void try_answer(struct input *input)
{
    unsigned endpoints = ROUTE_REVOKE - ROUTE_ACQUIRE + 1;
    enum route_endpoint endpoint = ROUTE_ACQUIRE + input_byte(input) % endpoints;
    struct lock_answer outcome = {.outcome = input_byte(input) % DFLOCKD_OUTCOME_COUNT};
    struct answer answer;
    char *detail;

    for (int i = 0; i < 24; i++) {
        outcome.token.fence = outcome.token.fence << 8 | input_byte(input);
        outcome.token.salt = outcome.token.salt << 8 | outcome.lease_s >> 56;
        outcome.lease_s = outcome.lease_s << 8 | outcome.token.fence >> 56;
    }
    outcome.lease_s %= DFLOCKD_SECONDS_MAX + UINT64_C(1);
    answer_outcome(&answer, endpoint, &outcome);
    check_answer(&answer);
    detail = take_text(input);
    answer_error(&answer, 400, "bad_request", detail);
    check_answer(&answer);
    free(detail);
}

/* ---- origins ---- */

static void check_host(const char *host)
{
    for (; *host; host++)
        must(isalnum((unsigned char)*host) || strchr(".:-_[]", *host),
             "a host that is served is a host");
}

static void check_origins(const struct origins *origins, char *const texts[4])
{
    const char *allowed = origins_allow(origins, texts[0]);
    char *own;

    must(!allowed || allowed == texts[0] || strcmp(allowed, "*") == 0,
         "the allowed origin is the given one or any");
    must(!allowed || origins_accept(origins, texts[0], texts[1]), "an allowed origin is served");
    must(!allowed || origins_accept(origins, texts[0], NULL), "an allowed origin is served");
    must(origins_accept(origins, NULL, texts[1]), "a request without an origin is served");
    if (allowed == texts[0])
        must(!strpbrk(allowed, "\r\n ,"), "an allowed origin can be sent");
    if (!origins_accept_host(origins, texts[1], texts[2], texts[3]))
        return;
    check_host(texts[1]);
    own = malloc(strlen(texts[1]) + 16);
    must(own, "there is memory");
    sprintf(own, "http://%s", texts[1]);
    must(origins_accept(origins, own, texts[1]), "the server's own page is served");
    sprintf(own, "https://%s", texts[1]);
    must(origins_accept(origins, own, texts[1]), "the server's own page is served");
    free(own);
}

static void try_origins(struct input *input)
{
    char *problem = malloc(ORIGINS_PROBLEM_MAX);
    char *list = take_text(input);
    struct origins *origins = origins_parse(list, problem);
    char *texts[4];

    must(problem, "there is memory");
    if (!origins)
        check_line(problem, ORIGINS_PROBLEM_MAX);
    for (int i = 0; i < 4; i++)
        texts[i] = take_text(input);
    if (origins)
        check_origins(origins, texts);
    for (int i = 0; i < 4; i++)
        free(texts[i]);
    origins_free(origins);
    free(list);
    free(problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static void (*const parts[])(struct input *) = {try_path, try_body, try_answer, try_origins};
    struct input input = {.bytes = bytes, .length = length};

    if (length > INPUT_MAX)
        return -1;
    parts[input_byte(&input) % 4](&input);
    return 0;
}
