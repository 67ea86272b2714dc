#include "http/body.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "dflockd/protocol.h"
#include "http/fields.h"
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

static bool body_fail_field(char detail[BODY_DETAIL_MAX], const char *name, const char *problem)
{
    snprintf(detail, BODY_DETAIL_MAX, "%s: %s", name, problem);
    return false;
}

static bool body_fail_unknown(char detail[BODY_DETAIL_MAX], const struct fields_text *name)
{
    char shown[BODY_ECHO_MAX + 1];
    bool whole = utf8_copy_printable(shown, sizeof(shown), name->bytes, name->length);

    snprintf(detail, BODY_DETAIL_MAX, "unknown field '%s%s'", shown,
             whole && !name->cut ? "" : "...");
    return false;
}

/* ---- values ---- */

static bool body_text_is(const struct fields_text *text, const char *word)
{
    return text->length == strlen(word) && !text->cut &&
           memcmp(text->bytes, word, text->length) == 0;
}

static bool body_read_number(const struct field *field, const char *name, uint64_t least,
                             uint64_t most, uint64_t *number, char detail[BODY_DETAIL_MAX])
{
    if (field->type != FIELDS_WHOLE || (field->negative && field->number > 0) ||
        field->number < least || field->number > most) {
        snprintf(detail, BODY_DETAIL_MAX, "%s: must be a whole number from %" PRIu64 " to %" PRIu64,
                 name, least, most);
        return false;
    }
    *number = field->number;
    return true;
}

static bool body_read_seconds(const struct field *field, const char *name, uint64_t *seconds,
                              char detail[BODY_DETAIL_MAX])
{
    return body_read_number(field, name, 0, DFLOCKD_SECONDS_MAX, seconds, detail);
}

static bool body_read_limit(const struct field *field, const char *name, struct body *body,
                            char detail[BODY_DETAIL_MAX])
{
    uint64_t limit;

    if (!body_read_number(field, name, 1, DFLOCKD_LIMIT_MAX, &limit, detail))
        return false;
    body->limit = (uint32_t)limit;
    return true;
}

static bool body_read_token(const struct field *field, const char *name, struct body *body,
                            char detail[BODY_DETAIL_MAX])
{
    const uint8_t *digits = field->text.bytes;

    if (field->type != FIELDS_STRING || field->text.length != DFLOCKD_TOKEN_LENGTH ||
        !hex_read(digits, &body->fence) || !hex_read(digits + HEX_DIGITS, &body->salt))
        return body_fail_field(detail, name, "must be 32 lower-case hexadecimal digits");
    return true;
}

static bool body_read_fence(const struct field *field, const char *name, struct body *body,
                            char detail[BODY_DETAIL_MAX])
{
    if (field->type != FIELDS_STRING || field->text.length != HEX_DIGITS ||
        !hex_read(field->text.bytes, &body->fence))
        return body_fail_field(detail, name, "must be 16 lower-case hexadecimal digits");
    return true;
}

static bool body_read_mode(const struct field *field, const char *name, struct body *body,
                           char detail[BODY_DETAIL_MAX])
{
    bool string = field->type == FIELDS_STRING;

    body->shared = string && body_text_is(&field->text, "shared");
    if (!body->shared && !(string && body_text_is(&field->text, "exclusive")))
        return body_fail_field(detail, name, "must be 'exclusive' or 'shared'");
    return true;
}

static bool body_read_value(struct body *body, const struct body_rule *rule,
                            const struct field *field, char detail[BODY_DETAIL_MAX])
{
    switch (rule->field) {
    case BODY_ACQUIRE_TIMEOUT:
    case BODY_TIMEOUT:
        return body_read_seconds(field, rule->name, &body->timeout_s, detail);
    case BODY_LEASE:
        return body_read_seconds(field, rule->name, &body->lease_s, detail);
    case BODY_LIMIT:
        return body_read_limit(field, rule->name, body, detail);
    case BODY_TOKEN:
        return body_read_token(field, rule->name, body, detail);
    case BODY_FENCE:
        return body_read_fence(field, rule->name, body, detail);
    case BODY_MODE:
        return body_read_mode(field, rule->name, body, detail);
    }
    return false;
}

/* ---- objects ---- */

static bool body_read_field(struct body *body, unsigned allowed, const struct field *field,
                            char detail[BODY_DETAIL_MAX])
{
    const struct body_rule *rule = NULL;

    for (uint32_t i = 0; i < BODY_RULES && !rule; i++) {
        if (body_rules[i].field & allowed && body_text_is(&field->name, body_rules[i].name))
            rule = &body_rules[i];
    }
    if (!rule)
        return body_fail_unknown(detail, &field->name);
    if (body->present & rule->field)
        return body_fail_field(detail, rule->name, "given twice");
    body->present |= rule->field;
    return body_read_value(body, rule, field, detail);
}

static bool body_check_required(unsigned missing, char detail[BODY_DETAIL_MAX])
{
    for (uint32_t i = 0; i < BODY_RULES; i++) {
        if (body_rules[i].field & missing)
            return body_fail_field(detail, body_rules[i].name, "missing");
    }
    return true;
}

bool body_parse(struct body *body, unsigned allowed, unsigned required, const uint8_t *bytes,
                size_t length, char detail[BODY_DETAIL_MAX])
{
    enum fields_result result;
    struct fields fields;
    struct field field;

    memset(body, 0, sizeof(*body));
    if (length == 0)
        return body_check_required(required, detail);
    fields_init(&fields, bytes, length);
    while ((result = fields_read(&fields, &field)) == FIELDS_NEXT) {
        if (!body_read_field(body, allowed, &field, detail))
            return false;
    }
    if (result == FIELDS_WRONG) {
        snprintf(detail, BODY_DETAIL_MAX, "%s, at byte %zu", fields.problem,
                 (size_t)(fields.at - fields.start) + 1);
        return false;
    }
    return body_check_required(required & ~body->present, detail);
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
