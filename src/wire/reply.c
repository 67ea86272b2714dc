#include "wire/reply.h"

#include <string.h>

#include "base/time_units.h"
#include "base/utf8.h"
#include "wire/hex.h"

static uint8_t *reply_put(uint8_t *to, const void *bytes, size_t length)
{
    memcpy(to, bytes, length);
    return to + length;
}

static uint8_t *reply_put_text(uint8_t *to, const char *text)
{
    return reply_put(to, text, strlen(text));
}

static uint8_t *reply_put_number(uint8_t *to, uint64_t number)
{
    uint8_t digits[20];
    uint8_t *first = digits + sizeof(digits);

    do {
        *--first = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return reply_put(to, first, (size_t)(digits + sizeof(digits) - first));
}

static uint8_t *reply_put_hex(uint8_t *to, uint64_t value)
{
    hex_put(to, value);
    return to + HEX_DIGITS;
}

static uint8_t *reply_put_word(uint8_t *to, enum dflockd_outcome outcome)
{
    static const struct {
        const char *text;
        size_t length;
    } words[] = {
#define X(name, word) [DFLOCKD_##name] = {word, sizeof(word) - 1},
        DFLOCKD_OUTCOMES(X)
#undef X
    };

    return reply_put(to, words[outcome].text, words[outcome].length);
}

uint8_t *reply_outcome(uint8_t *to, enum dflockd_outcome outcome)
{
    to = reply_put_word(to, outcome);
    *to++ = '\n';
    return to;
}

uint8_t *reply_grant(uint8_t *to, enum dflockd_outcome outcome, uint64_t fence, uint64_t salt,
                     uint64_t lease_s)
{
    to = reply_put_word(to, outcome);
    *to++ = ' ';
    to = reply_put_hex(to, fence);
    to = reply_put_hex(to, salt);
    *to++ = ' ';
    to = reply_put_number(to, lease_s);
    *to++ = '\n';
    return to;
}

uint8_t *reply_renewed(uint8_t *to, uint64_t lease_s)
{
    to = reply_put_text(to, "ok ");
    to = reply_put_number(to, lease_s);
    *to++ = '\n';
    return to;
}

/* ---- stats ---- */

/* Seconds with three decimals. */
static uint8_t *reply_put_seconds(uint8_t *to, uint64_t ns)
{
    uint64_t ms = ns / NS_PER_MS;

    to = reply_put_number(to, ms / 1000);
    *to++ = '.';
    *to++ = (uint8_t)('0' + ms / 100 % 10);
    *to++ = (uint8_t)('0' + ms / 10 % 10);
    *to++ = (uint8_t)('0' + ms % 10);
    return to;
}

/* A JSON string (RFC 8259); each byte that is not UTF-8 becomes U+FFFD. */
static uint8_t *reply_put_string(uint8_t *to, const uint8_t *bytes, uint32_t length)
{
    static const char digits[] = "0123456789abcdef";

    *to++ = '"';
    while (length > 0) {
        uint32_t count = utf8_length(bytes, length);

        if (count == 0) {
            to = reply_put_text(to, "\xef\xbf\xbd");
            count = 1;
        } else if (bytes[0] == '"' || bytes[0] == '\\') {
            *to++ = '\\';
            *to++ = bytes[0];
        } else if (bytes[0] < 0x20 || bytes[0] == 0x7f) {
            to = reply_put_text(to, "\\u00");
            *to++ = (uint8_t)digits[bytes[0] >> 4];
            *to++ = (uint8_t)digits[bytes[0] & 15];
        } else {
            to = reply_put(to, bytes, count);
        }
        bytes += count;
        length -= count;
    }
    *to++ = '"';
    return to;
}

uint8_t *reply_stats_begin(uint8_t *to, uint64_t connections)
{
    return reply_put_number(reply_put_text(to, "ok {\"connections\":"), connections);
}

uint8_t *reply_stats_section(uint8_t *to, enum reply_section section)
{
    static const char *const names[] = {
        [REPLY_LOCKS] = ",\"locks\":[",
        [REPLY_SEMAPHORES] = ",\"semaphores\":[",
        [REPLY_IDLE_LOCKS] = ",\"idle_locks\":[",
        [REPLY_IDLE_SEMAPHORES] = ",\"idle_semaphores\":[",
    };

    return reply_put_text(to, names[section]);
}

uint8_t *reply_stats_entry(uint8_t *to, enum reply_section section, bool first,
                           const struct reply_entry *entry)
{
    to = reply_put_text(to, first ? "{\"key\":" : ",{\"key\":");
    to = reply_put_string(to, entry->key, entry->key_length);
    if (section == REPLY_LOCKS) {
        to = reply_put_number(reply_put_text(to, ",\"owner_conn_id\":"), entry->owner);
        to = reply_put_seconds(reply_put_text(to, ",\"lease_expires_in_s\":"), entry->lease_ns);
        to = reply_put_number(reply_put_text(to, ",\"waiters\":"), entry->waiters);
    } else if (section == REPLY_SEMAPHORES) {
        to = reply_put_number(reply_put_text(to, ",\"limit\":"), entry->limit);
        to = reply_put_number(reply_put_text(to, ",\"holders\":"), entry->holders);
        to = reply_put_number(reply_put_text(to, ",\"waiters\":"), entry->waiters);
    } else {
        to = reply_put_seconds(reply_put_text(to, ",\"idle_s\":"), entry->idle_ns);
    }
    return reply_put_text(to, "}");
}

uint8_t *reply_stats_section_end(uint8_t *to)
{
    return reply_put_text(to, "]");
}

uint8_t *reply_stats_end(uint8_t *to)
{
    return reply_put_text(to, "}\n");
}

/* ---- show ---- */

uint8_t *reply_show_begin(uint8_t *to, const struct reply_resource *resource)
{
    to = reply_put_text(to, "ok {\"key\":");
    to = reply_put_string(to, resource->key, resource->key_length);
    to = reply_put_text(to, ",\"kind\":");
    to = reply_put_text(to, resource->semaphore ? "\"semaphore\"" : "\"lock\"");
    to = reply_put_number(reply_put_text(to, ",\"limit\":"), resource->limit);
    to = reply_put_number(reply_put_text(to, ",\"holder_count\":"), resource->holders);
    to = reply_put_number(reply_put_text(to, ",\"waiter_count\":"), resource->waiters);
    return reply_put_text(to, ",\"holders\":[");
}

/* The members that holders and waiters share. */
static uint8_t *reply_put_claimant(uint8_t *to, const struct reply_claim *claim)
{
    to = reply_put_text(to, ",\"mode\":");
    to = reply_put_text(to, claim->exclusive ? "\"exclusive\"" : "\"shared\"");
    to = reply_put_number(reply_put_text(to, ",\"connection\":"), claim->connection);
    to = reply_put_text(reply_put_text(to, ",\"address\":\""), claim->address);
    to = reply_put_text(to, "\",\"name\":");
    return reply_put_string(to, claim->name, claim->name_length);
}

uint8_t *reply_show_holder(uint8_t *to, bool first, const struct reply_claim *claim)
{
    to = reply_put_text(to, first ? "{\"fence\":\"" : ",{\"fence\":\"");
    to = reply_put_text(reply_put_hex(to, claim->fence), "\"");
    to = reply_put_claimant(to, claim);
    to = reply_put_seconds(reply_put_text(to, ",\"held_s\":"), claim->age_ns);
    to = reply_put_seconds(reply_put_text(to, ",\"lease_expires_in_s\":"), claim->left_ns);
    return reply_put_text(to, "}");
}

uint8_t *reply_show_waiters(uint8_t *to)
{
    return reply_put_text(to, "],\"waiters\":[");
}

uint8_t *reply_show_waiter(uint8_t *to, bool first, const struct reply_claim *claim)
{
    to = reply_put_text(to, first ? "{\"position\":" : ",{\"position\":");
    to = reply_put_number(to, claim->position);
    to = reply_put_claimant(to, claim);
    to = reply_put_seconds(reply_put_text(to, ",\"waiting_s\":"), claim->age_ns);
    to = reply_put_text(to, ",\"timeout_in_s\":");
    if (claim->left_ns == REPLY_NO_TIME)
        to = reply_put_text(to, "null");
    else
        to = reply_put_seconds(to, claim->left_ns);
    return reply_put_text(to, "}");
}

uint8_t *reply_show_end(uint8_t *to)
{
    return reply_put_text(to, "]}\n");
}
