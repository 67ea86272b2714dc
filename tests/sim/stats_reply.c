/*
 * A strict parser: the server has only one way to write the reply.
 */
#include "stats_reply.h"

#include <inttypes.h>
#include <string.h>

#include "base/time_units.h"
#include "server/connection_id.h"

enum section {
    SECTION_LOCKS,
    SECTION_SEMAPHORES,
    SECTION_IDLE_LOCKS,
    SECTION_IDLE_SEMAPHORES,
    SECTIONS
};

static const char *const titles[SECTIONS] = {
    ",\"locks\":[",
    "],\"semaphores\":[",
    "],\"idle_locks\":[",
    "],\"idle_semaphores\":[",
};

enum {
    ENTRIES_MAX = KEYS_MAX * 2 /* per section; a changing key may appear more than once */
};

struct reader {
    struct world *world;
    struct stats_text *text;
    uint32_t at;
    bool seen[KEYS_MAX];
    uint32_t listed[KEYS_MAX / 2]; /* entries of a name, which a lock and a semaphore may share */
};

struct entry {
    int name;
    uint64_t owner;
    uint64_t lease_ms;
    uint64_t idle_ms;
    uint64_t limit;
    uint64_t holders;
    uint64_t waiters;
};

_Noreturn static void fail_expected(struct reader *reader, const char *what)
{
    uint32_t start = reader->at < 80 ? 0 : reader->at - 80;
    uint32_t rest = reader->text->length - start;

    world_fail(reader->world, "stats: expected %s at byte %u; came \"%.*s\"", what, reader->at,
               (int)(rest < 200 ? rest : 200), reader->text->bytes + start);
}

static bool next_is(const struct reader *reader, const char *text)
{
    size_t length = strlen(text);

    return reader->text->length - reader->at >= length &&
           memcmp(reader->text->bytes + reader->at, text, length) == 0;
}

static void expect_text(struct reader *reader, const char *text)
{
    if (!next_is(reader, text))
        fail_expected(reader, text);
    reader->at += (uint32_t)strlen(text);
}

static uint64_t parse_number(struct reader *reader, const char *before)
{
    uint64_t value = 0;
    uint32_t start;

    expect_text(reader, before);
    start = reader->at;
    for (; reader->at < reader->text->length; reader->at++) {
        char digit = reader->text->bytes[reader->at];

        if (digit < '0' || digit > '9')
            break;
        value = value * 10 + (uint64_t)(digit - '0');
    }
    if (reader->at == start)
        fail_expected(reader, "a number");
    return value;
}

/* Parses seconds with three decimals, in milliseconds. */
static uint64_t parse_seconds(struct reader *reader, const char *before)
{
    uint64_t whole = parse_number(reader, before);
    uint32_t start = reader->at + 1;
    uint64_t part = parse_number(reader, ".");

    if (reader->at - start != 3)
        fail_expected(reader, "three decimals");
    return whole * 1000 + part;
}

static struct entry read_entry(struct reader *reader, enum section section)
{
    struct entry entry = {0};

    expect_text(reader, "{\"key\":");
    entry.name = key_names_find_json(&reader->world->names, reader->text->bytes + reader->at,
                                     reader->text->length - reader->at);
    if (entry.name < 0)
        fail_expected(reader, "a known key");
    reader->at += reader->world->names.names[entry.name].json_length;
    if (section == SECTION_LOCKS) {
        entry.owner = parse_number(reader, ",\"owner_conn_id\":");
        entry.lease_ms = parse_seconds(reader, ",\"lease_expires_in_s\":");
        entry.waiters = parse_number(reader, ",\"waiters\":");
    } else if (section == SECTION_SEMAPHORES) {
        entry.limit = parse_number(reader, ",\"limit\":");
        entry.holders = parse_number(reader, ",\"holders\":");
        entry.waiters = parse_number(reader, ",\"waiters\":");
    } else {
        entry.idle_ms = parse_seconds(reader, ",\"idle_s\":");
    }
    expect_text(reader, "}");
    return entry;
}

static enum section section_of(const struct model_key *key)
{
    if (key->limit == 1)
        return model_idle(key) ? SECTION_IDLE_LOCKS : SECTION_LOCKS;
    return model_idle(key) ? SECTION_IDLE_SEMAPHORES : SECTION_SEMAPHORES;
}

static bool key_changed(const struct reader *reader, const struct model_key *key)
{
    return key->changed > reader->text->step;
}

static uint64_t remaining_ms(uint64_t deadline_ns, uint64_t now_ns)
{
    return deadline_ns > now_ns ? (deadline_ns - now_ns) / NS_PER_MS : 0;
}

static bool matches_owner(const struct reader *reader, const struct entry *entry,
                          const struct model_key *key)
{
    const struct model *model = &reader->world->model;

    for (uint32_t place = 0; place < key->holders; place++) {
        const struct model_claim *owner = &model->claims[key->holding[place]];
        uint64_t from_ms = remaining_ms(owner->deadline_ns, reader->text->from_ns[key->stripe]);
        uint64_t to_ms = remaining_ms(owner->deadline_ns, model->stripe_ns[key->stripe]);

        if (model_may_own(model, key, place) &&
            entry->owner == connection_id_number(owner->client) && entry->lease_ms <= from_ms &&
            entry->lease_ms >= to_ms)
            return true;
    }
    return key->holders == 0 && entry->owner == 0 && entry->lease_ms == 0;
}

/* Returns whether the entry matches `key`, which did not change; the clock may have. */
static bool matches_key(const struct reader *reader, const struct entry *entry,
                        enum section section, const struct model_key *key)
{
    const struct model *model = &reader->world->model;
    uint64_t from_ns = reader->text->from_ns[key->stripe];
    uint64_t to_ns = model->stripe_ns[key->stripe];

    if (!key->exists || key_changed(reader, key) || section_of(key) != section)
        return false;
    if (section == SECTION_SEMAPHORES)
        return entry->limit == key->limit && entry->holders == key->holders &&
               entry->waiters == key->waiters;
    if (section == SECTION_LOCKS)
        return entry->waiters == key->waiters && matches_owner(reader, entry, key);
    if (from_ns < key->idle_since_ns)
        from_ns = key->idle_since_ns;
    return entry->idle_ms >= (from_ns - key->idle_since_ns) / NS_PER_MS &&
           entry->idle_ms <= (to_ns - key->idle_since_ns) / NS_PER_MS;
}

/* Returns which of the two keys of that name the entry may show, as bits. */
static uint32_t find_candidates(const struct reader *reader, const struct entry *entry,
                                enum section section)
{
    uint32_t fit = 0;

    for (uint32_t i = 0; i < 2; i++) {
        uint32_t key = (uint32_t)entry->name * 2 + i;

        if (!reader->seen[key] &&
            matches_key(reader, entry, section, &reader->world->model.keys[key]))
            fit |= 1u << i;
    }
    return fit;
}

static bool may_be_changed(const struct reader *reader, const struct entry *entry)
{
    const struct model_key *keys = &reader->world->model.keys[entry->name * 2];

    return key_changed(reader, &keys[0]) || key_changed(reader, &keys[1]);
}

/* A lock and a semaphore of limit 1 may share a name: entries with one candidate go first. */
static void match_entries(struct reader *reader, const struct entry *entries, uint32_t count,
                          enum section section)
{
    bool matched[ENTRIES_MAX] = {0};

    for (uint32_t most = 1; most <= 2; most++) {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t fit = matched[i] ? 0 : find_candidates(reader, &entries[i], section);

            if (fit == 0 || (fit == 3 && most == 1))
                continue;
            reader->seen[entries[i].name * 2 + (fit == 2)] = true;
            matched[i] = true;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!matched[i] && !may_be_changed(reader, &entries[i]))
            fail_expected(reader, reader->world->names.names[entries[i].name].json);
    }
}

static void read_section(struct reader *reader, enum section section)
{
    struct entry entries[ENTRIES_MAX];
    uint32_t count = 0;

    expect_text(reader, titles[section]);
    while (!next_is(reader, "]")) {
        if (count > 0)
            expect_text(reader, ",");
        if (count == ENTRIES_MAX)
            fail_expected(reader, "fewer entries");
        entries[count] = read_entry(reader, section);
        reader->listed[entries[count++].name]++;
    }
    match_entries(reader, entries, count, section);
}

/*
 * A key that exists throughout is listed once. A key that was collected and created again with
 * another limit may be listed twice.
 */
static void check_listed(const struct reader *reader, uint32_t name)
{
    uint32_t least = 0;
    uint32_t most = 0;

    for (uint32_t key = name * 2; key < name * 2 + 2; key++) {
        const struct model_key *of = &reader->world->model.keys[key];
        bool stayed = of->exists && of->created <= reader->text->step;

        least += stayed;
        most += stayed ? 1 : key_changed(reader, of) ? 2 : 0;
    }
    if (reader->listed[name] < least || reader->listed[name] > most)
        world_fail(reader->world, "stats: expected %u to %u entries of name %u; came %u", least,
                   most, name, reader->listed[name]);
}

void stats_reply_check(struct world *world, struct stats_text *text)
{
    struct reader reader = {.world = world, .text = text};
    bool exact = true;

    if (parse_number(&reader, "ok {\"connections\":") != text->connections)
        fail_expected(&reader, "another number of connections");
    for (int section = 0; section < SECTIONS; section++)
        read_section(&reader, (enum section)section);
    expect_text(&reader, "]}");
    if (reader.at != text->length)
        fail_expected(&reader, "the end");
    for (uint32_t name = 0; name < world->model.key_count / 2; name++)
        check_listed(&reader, name);
    for (uint32_t key = 0; key < world->model.key_count; key++) {
        const struct model_key *of = &world->model.keys[key];

        exact &= !key_changed(&reader, of);
        if (of->exists && !key_changed(&reader, of) && !reader.seen[key])
            world_fail(world, "stats: key %u is missing", key);
    }
    world_count(world, exact ? COVERAGE_STATS_EXACT : COVERAGE_STATS);
}
