#include "wire/reply.h"

#include "wire/text.h"

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

    return text_put_bytes(to, words[outcome].text, words[outcome].length);
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
    to = text_put_hex(to, fence);
    to = text_put_hex(to, salt);
    *to++ = ' ';
    to = text_put_number(to, lease_s);
    *to++ = '\n';
    return to;
}

uint8_t *reply_renewed(uint8_t *to, uint64_t lease_s)
{
    to = text_put(to, "ok ");
    to = text_put_number(to, lease_s);
    *to++ = '\n';
    return to;
}

/* ---- stats ---- */

uint8_t *reply_stats_begin(uint8_t *to, uint64_t connections)
{
    return text_put_number(text_put(to, "ok {\"connections\":"), connections);
}

uint8_t *reply_stats_section(uint8_t *to, enum reply_section section)
{
    static const char *const names[] = {
        [REPLY_LOCKS] = ",\"locks\":[",
        [REPLY_SEMAPHORES] = ",\"semaphores\":[",
        [REPLY_IDLE_LOCKS] = ",\"idle_locks\":[",
        [REPLY_IDLE_SEMAPHORES] = ",\"idle_semaphores\":[",
    };

    return text_put(to, names[section]);
}

uint8_t *reply_stats_entry(uint8_t *to, enum reply_section section, bool first,
                           const struct reply_entry *entry)
{
    to = text_put(to, first ? "{\"key\":" : ",{\"key\":");
    to = text_put_string(to, entry->key, entry->key_length);
    if (section == REPLY_LOCKS) {
        to = text_put_number(text_put(to, ",\"owner_conn_id\":"), entry->owner);
        to = text_put_seconds(text_put(to, ",\"lease_expires_in_s\":"), entry->lease_ns);
        to = text_put_number(text_put(to, ",\"waiters\":"), entry->waiters);
    } else if (section == REPLY_SEMAPHORES) {
        to = text_put_number(text_put(to, ",\"limit\":"), entry->limit);
        to = text_put_number(text_put(to, ",\"holders\":"), entry->holders);
        to = text_put_number(text_put(to, ",\"waiters\":"), entry->waiters);
    } else {
        to = text_put_seconds(text_put(to, ",\"idle_s\":"), entry->idle_ns);
    }
    return text_put(to, "}");
}

uint8_t *reply_stats_section_end(uint8_t *to)
{
    return text_put(to, "]");
}

uint8_t *reply_stats_end(uint8_t *to)
{
    return text_put(to, "}\n");
}

/* ---- show ---- */

uint8_t *reply_show_begin(uint8_t *to, const struct reply_resource *resource)
{
    to = text_put(to, "ok {\"key\":");
    to = text_put_string(to, resource->key, resource->key_length);
    to = text_put(to, ",\"kind\":");
    to = text_put(to, resource->semaphore ? "\"semaphore\"" : "\"lock\"");
    to = text_put_number(text_put(to, ",\"limit\":"), resource->limit);
    to = text_put_number(text_put(to, ",\"holder_count\":"), resource->holders);
    to = text_put_number(text_put(to, ",\"waiter_count\":"), resource->waiters);
    return text_put(to, ",\"holders\":[");
}

/* The members that holders and waiters share. */
static uint8_t *reply_put_claimant(uint8_t *to, const struct reply_claim *claim)
{
    to = text_put(to, ",\"mode\":");
    to = text_put(to, claim->exclusive ? "\"exclusive\"" : "\"shared\"");
    to = text_put_number(text_put(to, ",\"connection\":"), claim->connection);
    to = text_put(text_put(to, ",\"address\":\""), claim->address);
    to = text_put(to, "\",\"name\":");
    return text_put_string(to, claim->name, claim->name_length);
}

uint8_t *reply_show_holder(uint8_t *to, bool first, const struct reply_claim *claim)
{
    to = text_put(to, first ? "{\"fence\":\"" : ",{\"fence\":\"");
    to = text_put(text_put_hex(to, claim->fence), "\"");
    to = reply_put_claimant(to, claim);
    to = text_put_seconds(text_put(to, ",\"held_s\":"), claim->age_ns);
    to = text_put_seconds(text_put(to, ",\"lease_expires_in_s\":"), claim->left_ns);
    return text_put(to, "}");
}

uint8_t *reply_show_waiters(uint8_t *to)
{
    return text_put(to, "],\"waiters\":[");
}

uint8_t *reply_show_waiter(uint8_t *to, bool first, const struct reply_claim *claim)
{
    to = text_put(to, first ? "{\"position\":" : ",{\"position\":");
    to = text_put_number(to, claim->position);
    to = reply_put_claimant(to, claim);
    to = text_put_seconds(text_put(to, ",\"waiting_s\":"), claim->age_ns);
    to = text_put(to, ",\"timeout_in_s\":");
    if (claim->left_ns == REPLY_NO_TIME)
        to = text_put(to, "null");
    else
        to = text_put_seconds(to, claim->left_ns);
    return text_put(to, "}");
}

uint8_t *reply_show_end(uint8_t *to)
{
    return text_put(to, "]}\n");
}
