#include "http/body.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "dflockd/protocol.h"
#include "wire/hex.h"

enum {
    BODY_ECHO_MAX = 40 /* bytes of the request in a detail */
};

static const struct body_rule {
    enum body_field field;
    const char *name;
} body_rules[] = {
    {BODY_ACQUIRE_TIMEOUT, "acquire_timeout_s"},
    {BODY_LEASE, "lease_ttl_s"},
    {BODY_TOKEN, "token"},
    {BODY_LIMIT, "limit"},
    {BODY_TIMEOUT, "timeout_s"},
    {BODY_FENCE, "fence"},
    {BODY_MODE, "mode"},
};

enum {
    BODY_RULES = sizeof(body_rules) / sizeof(body_rules[0])
};

/* ---- details ---- */

static bool body_fail(char detail[BODY_DETAIL_MAX], const char *problem)
{
    snprintf(detail, BODY_DETAIL_MAX, "%s", problem);
    return false;
}

static bool body_fail_field(char detail[BODY_DETAIL_MAX], const char *name, const char *problem)
{
    snprintf(detail, BODY_DETAIL_MAX, "%s: %s", name, problem);
    return false;
}

static bool body_fail_unknown(char detail[BODY_DETAIL_MAX], const char *name)
{
    char shown[BODY_ECHO_MAX + 1];
    bool whole =
        utf8_copy_printable(shown, sizeof(shown), (const uint8_t *)name, (uint32_t)strlen(name));

    snprintf(detail, BODY_DETAIL_MAX, "unknown field '%s%s'", shown, whole ? "" : "...");
    return false;
}

/* ---- values ---- */

static bool body_read_number(const json_t *value, const char *name, uint64_t least, uint64_t most,
                             uint64_t *number, char detail[BODY_DETAIL_MAX])
{
    json_int_t given = json_integer_value(value);

    if (!json_is_integer(value) || given < (json_int_t)least || given > (json_int_t)most) {
        snprintf(detail, BODY_DETAIL_MAX, "%s: must be a whole number from %" PRIu64 " to %" PRIu64,
                 name, least, most);
        return false;
    }
    *number = (uint64_t)given;
    return true;
}

static bool body_read_seconds(const json_t *value, const char *name, uint64_t *seconds,
                              char detail[BODY_DETAIL_MAX])
{
    return body_read_number(value, name, 0, DFLOCKD_SECONDS_MAX, seconds, detail);
}

static bool body_read_limit(const json_t *value, const char *name, struct body *body,
                            char detail[BODY_DETAIL_MAX])
{
    uint64_t limit;

    if (!body_read_number(value, name, 1, DFLOCKD_LIMIT_MAX, &limit, detail))
        return false;
    body->limit = (uint32_t)limit;
    return true;
}

static bool body_read_token(const json_t *value, const char *name, struct body *body,
                            char detail[BODY_DETAIL_MAX])
{
    const uint8_t *digits = (const uint8_t *)json_string_value(value);

    if (json_string_length(value) != DFLOCKD_TOKEN_LENGTH || !hex_read(digits, &body->fence) ||
        !hex_read(digits + HEX_DIGITS, &body->salt))
        return body_fail_field(detail, name, "must be 32 lower-case hexadecimal digits");
    return true;
}

static bool body_read_fence(const json_t *value, const char *name, struct body *body,
                            char detail[BODY_DETAIL_MAX])
{
    const uint8_t *digits = (const uint8_t *)json_string_value(value);

    if (json_string_length(value) != HEX_DIGITS || !hex_read(digits, &body->fence))
        return body_fail_field(detail, name, "must be 16 lower-case hexadecimal digits");
    return true;
}

static bool body_read_mode(const json_t *value, const char *name, struct body *body,
                           char detail[BODY_DETAIL_MAX])
{
    const char *mode = json_string_value(value);

    body->shared = mode && strcmp(mode, "shared") == 0;
    if (!body->shared && (!mode || strcmp(mode, "exclusive") != 0))
        return body_fail_field(detail, name, "must be 'exclusive' or 'shared'");
    return true;
}

static bool body_read_value(struct body *body, const struct body_rule *rule, const json_t *value,
                            char detail[BODY_DETAIL_MAX])
{
    body->present |= rule->field;
    switch (rule->field) {
    case BODY_ACQUIRE_TIMEOUT:
    case BODY_TIMEOUT:
        return body_read_seconds(value, rule->name, &body->timeout_s, detail);
    case BODY_LEASE:
        return body_read_seconds(value, rule->name, &body->lease_s, detail);
    case BODY_LIMIT:
        return body_read_limit(value, rule->name, body, detail);
    case BODY_TOKEN:
        return body_read_token(value, rule->name, body, detail);
    case BODY_FENCE:
        return body_read_fence(value, rule->name, body, detail);
    case BODY_MODE:
        return body_read_mode(value, rule->name, body, detail);
    }
    return false;
}

/* ---- objects ---- */

/* Returns the rule of an allowed field, or NULL. */
static const struct body_rule *body_find_rule(unsigned allowed, const char *name)
{
    for (uint32_t i = 0; i < BODY_RULES; i++) {
        if (body_rules[i].field & allowed && strcmp(body_rules[i].name, name) == 0)
            return &body_rules[i];
    }
    return NULL;
}

static bool body_read_fields(struct body *body, unsigned allowed, json_t *object,
                             char detail[BODY_DETAIL_MAX])
{
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        const struct body_rule *rule = body_find_rule(allowed, name);

        if (!rule)
            return body_fail_unknown(detail, name);
        if (!body_read_value(body, rule, json_object_iter_value(at), detail))
            return false;
    }
    return true;
}

static bool body_check_required(unsigned missing, char detail[BODY_DETAIL_MAX])
{
    for (uint32_t i = 0; i < BODY_RULES; i++) {
        if (body_rules[i].field & missing)
            return body_fail_field(detail, body_rules[i].name, "missing");
    }
    return true;
}

static const char *body_problem(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_out_of_memory:
        return "not enough memory";
    case json_error_duplicate_key:
        return "a field is given twice";
    case json_error_numeric_overflow:
        return "a number is too large";
    case json_error_invalid_utf8:
        return "not UTF-8";
    case json_error_end_of_input_expected:
        return "there are bytes after the JSON object";
    default:
        return "not JSON";
    }
}

bool body_parse(struct body *body, unsigned allowed, unsigned required, const uint8_t *bytes,
                size_t length, char detail[BODY_DETAIL_MAX])
{
    json_error_t error;
    json_t *object;
    bool valid;

    memset(body, 0, sizeof(*body));
    if (length == 0)
        return body_check_required(required, detail);
    /* jansson 2.14 ignores a NUL after a number. */
    if (memchr(bytes, '\0', length))
        return body_fail(detail, "not JSON");
    object =
        json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!object)
        return body_fail(detail, body_problem(&error));
    if (!json_is_object(object))
        valid = body_fail(detail, "not a JSON object");
    else
        valid = body_read_fields(body, allowed, object, detail) &&
                body_check_required(required & ~body->present, detail);
    json_decref(object);
    return valid;
}

void body_fields(const struct route *route, unsigned *allowed, unsigned *required)
{
    unsigned kind_required = route->semaphore ? BODY_LIMIT : 0;
    unsigned kind_optional = route->semaphore ? 0 : BODY_MODE;
    unsigned optional = 0;

    *required = 0;
    switch (route->endpoint) {
    case ROUTE_ACQUIRE:
        *required = BODY_ACQUIRE_TIMEOUT | kind_required;
        optional = BODY_LEASE | kind_optional;
        break;
    case ROUTE_ENQUEUE:
        *required = kind_required;
        optional = BODY_LEASE | kind_optional;
        break;
    case ROUTE_WAIT:
        *required = BODY_TIMEOUT;
        break;
    case ROUTE_RENEW:
        *required = BODY_TOKEN;
        optional = BODY_LEASE;
        break;
    case ROUTE_RELEASE:
    case ROUTE_OWN:
        *required = BODY_TOKEN;
        break;
    case ROUTE_REVOKE:
        *required = BODY_FENCE;
        break;
    default:
        break;
    }
    *allowed = *required | optional;
}
