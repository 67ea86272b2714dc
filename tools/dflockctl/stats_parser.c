#include "dflockctl/stats_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The members of the statistics, at depth 1. The lists contain objects. */
enum section {
    SECTION_CONNECTIONS,
    SECTION_LOCKS,
    SECTION_SEMAPHORES,
    SECTION_IDLE_LOCKS,
    SECTION_IDLE_SEMAPHORES,
    SECTION_COUNT
};

static const char *const stats_sections[] = {"connections", "locks", "semaphores", "idle_locks",
                                             "idle_semaphores"};

/* The members of the object of a key, at depth 3. */
enum member {
    MEMBER_KEY,
    MEMBER_OWNER,
    MEMBER_LEASE,
    MEMBER_WAITERS,
    MEMBER_LIMIT,
    MEMBER_HOLDERS,
    MEMBER_IDLE,
    MEMBER_COUNT
};

static const char *const stats_members[] = {
    "key", "owner_conn_id", "lease_expires_in_s", "waiters", "limit", "holders", "idle_s"};

/* The members that each key of a section has. */
static const unsigned stats_needed[SECTION_COUNT] = {
    [SECTION_LOCKS] = 1 << MEMBER_KEY | 1 << MEMBER_OWNER | 1 << MEMBER_LEASE | 1 << MEMBER_WAITERS,
    [SECTION_SEMAPHORES] =
        1 << MEMBER_KEY | 1 << MEMBER_LIMIT | 1 << MEMBER_HOLDERS | 1 << MEMBER_WAITERS,
    [SECTION_IDLE_LOCKS] = 1 << MEMBER_KEY | 1 << MEMBER_IDLE,
    [SECTION_IDLE_SEMAPHORES] = 1 << MEMBER_KEY | 1 << MEMBER_IDLE,
};

enum {
    DEPTH_STATS = 1,
    DEPTH_LIST = 2,
    DEPTH_KEY = 3
};

static unsigned stats_find(const char *const *names, unsigned count, const char *name)
{
    unsigned i = 0;

    while (i < count && strcmp(names[i], name) != 0)
        i++;
    return i;
}

static bool stats_read_integer(const char *text, uint64_t most, uint64_t *number)
{
    if (text[strspn(text, "0123456789")] != '\0')
        return false;
    errno = 0;
    *number = strtoull(text, NULL, 10);
    return errno == 0 && *number <= most;
}

/* ---- keys ---- */

static void stats_parser_begin_key(struct stats_parser *parser)
{
    bool idle = parser->section >= SECTION_IDLE_LOCKS;
    bool lock = parser->section == SECTION_LOCKS || parser->section == SECTION_IDLE_LOCKS;

    parser->members = 0;
    parser->entry = (struct key_stats){
        .kind = lock ? KEY_LOCK : KEY_SEMAPHORE,
        .server = (uint16_t)parser->server,
        .idle = idle,
        .limit = lock,
        .lease_s = -1,
    };
}

static bool stats_parser_read_number(struct stats_parser *parser, const char *text)
{
    struct key_stats *entry = &parser->entry;
    uint64_t number = 0;

    switch (parser->member) {
    case MEMBER_OWNER:
        return stats_read_integer(text, UINT64_MAX, &entry->owner);
    case MEMBER_WAITERS:
        return stats_read_integer(text, UINT64_MAX, &entry->waiters);
    case MEMBER_HOLDERS:
        return stats_read_integer(text, UINT64_MAX, &entry->holders);
    case MEMBER_LIMIT:
        if (!stats_read_integer(text, UINT32_MAX, &number))
            return false;
        entry->limit = (uint32_t)number;
        return true;
    case MEMBER_LEASE:
        entry->lease_s = strtod(text, NULL);
        return true;
    case MEMBER_IDLE:
        entry->idle_s = strtod(text, NULL);
        return true;
    default:
        return parser->member == MEMBER_COUNT;
    }
}

/* A value at DEPTH_KEY. Ignores members that a later dflockd may add. */
static bool stats_parser_read_member(struct stats_parser *parser, enum json_event event,
                                     const char *text, size_t length)
{
    if (event == JSON_STRING && parser->member == MEMBER_KEY && length < sizeof(parser->key)) {
        memcpy(parser->key, text, length + 1);
        parser->entry.key = parser->key;
        parser->entry.key_length = (uint16_t)length;
    } else if (event == JSON_NUMBER) {
        if (!stats_parser_read_number(parser, text))
            return false;
    } else if (parser->member != MEMBER_COUNT) {
        return false;
    }
    if (parser->member != MEMBER_COUNT)
        parser->members |= 1u << parser->member;
    return true;
}

static bool stats_parser_end_key(struct stats_parser *parser)
{
    struct stats_totals *totals = &parser->totals;
    struct key_stats *entry = &parser->entry;
    unsigned needed = stats_needed[parser->section];

    if ((parser->members & needed) != needed)
        return false;
    if (parser->section == SECTION_LOCKS) {
        /* Owner 0 with a lease left: the lock is held, its holder's connection is closed. */
        entry->holders = entry->owner > 0 || entry->lease_s > 0;
        if (!entry->holders)
            entry->lease_s = -1;
    }
    totals->locks += parser->section == SECTION_LOCKS;
    totals->semaphores += parser->section == SECTION_SEMAPHORES;
    totals->idle += entry->idle;
    totals->holders += entry->holders;
    totals->waiters += entry->waiters;
    if (parser->take)
        parser->take(parser->context, entry);
    return true;
}

/* ---- statistics ---- */

static bool stats_parser_is_list(const struct stats_parser *parser)
{
    return parser->section > SECTION_CONNECTIONS && parser->section < SECTION_COUNT;
}

static bool stats_parser_begin_nested(struct stats_parser *parser, enum json_event event)
{
    unsigned depth = ++parser->depth;

    if (depth == DEPTH_STATS)
        return event == JSON_OBJECT;
    if (depth == DEPTH_LIST)
        return parser->section == SECTION_COUNT ||
               (event == JSON_ARRAY && stats_parser_is_list(parser));
    if (!stats_parser_is_list(parser))
        return true;
    if (depth == DEPTH_KEY) {
        stats_parser_begin_key(parser);
        return event == JSON_OBJECT;
    }
    return parser->member == MEMBER_COUNT;
}

static bool stats_parser_end_nested(struct stats_parser *parser)
{
    unsigned depth = parser->depth--;

    if (!stats_parser_is_list(parser))
        return true;
    if (depth == DEPTH_LIST)
        parser->sections |= 1u << parser->section;
    return depth != DEPTH_KEY || stats_parser_end_key(parser);
}

static bool stats_parser_read_value(struct stats_parser *parser, enum json_event event,
                                    const char *text, size_t length)
{
    if (parser->depth == DEPTH_STATS && parser->section == SECTION_CONNECTIONS) {
        parser->sections |= 1u << SECTION_CONNECTIONS;
        return event == JSON_NUMBER &&
               stats_read_integer(text, UINT64_MAX, &parser->totals.connections);
    }
    if (!stats_parser_is_list(parser))
        return parser->depth > 0;
    if (parser->depth == DEPTH_KEY)
        return stats_parser_read_member(parser, event, text, length);
    return parser->depth > DEPTH_KEY;
}

/* A json_event_function. */
static bool stats_parser_take(void *context, enum json_event event, const char *text, size_t length)
{
    struct stats_parser *parser = context;

    switch (event) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return stats_parser_begin_nested(parser, event);
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
        return stats_parser_end_nested(parser);
    case JSON_NAME:
        if (parser->depth == DEPTH_STATS)
            parser->section = stats_find(stats_sections, SECTION_COUNT, text);
        else if (parser->depth == DEPTH_KEY)
            parser->member = stats_find(stats_members, MEMBER_COUNT, text);
        return true;
    default:
        return stats_parser_read_value(parser, event, text, length);
    }
}

void stats_parser_begin(struct stats_parser *parser, size_t server, stats_key_function *take,
                        void *context)
{
    memset(parser, 0, sizeof(*parser));
    parser->server = server;
    parser->take = take;
    parser->context = context;
    parser->section = SECTION_COUNT;
    json_parser_init(&parser->json, stats_parser_take, parser);
}

void stats_parser_read(struct stats_parser *parser, const char *part, size_t length)
{
    json_parser_read(&parser->json, part, length);
}

bool stats_parser_is_complete(const struct stats_parser *parser)
{
    return json_parser_is_complete(&parser->json) && parser->sections == (1u << SECTION_COUNT) - 1;
}
