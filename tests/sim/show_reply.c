/*
 * The reply must equal the text that the model expects, member by member, except for the fences of
 * grants whose order is unknown and for times that the server rounds.
 */
#include "show_reply.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "server/connection_id.h"

enum {
    STEPS_EACH = 4,
    TEXT_MAX = 2048
};

#define HOLD_UNIT_NS (UINT64_C(1) << 27)
#define WAIT_UNIT_NS (UINT64_C(1) << 10)

struct reader {
    struct world *world;
    const struct sim_peer *peer;
    const struct model_key *key;
    const char *line;
    uint32_t length;
    uint32_t at;
};

_Noreturn static void fail_expected(const struct reader *reader, const char *what)
{
    uint32_t start = reader->at < 80 ? 0 : reader->at - 80;
    uint32_t rest = reader->length - start;

    world_fail(reader->world, "client %u: show: expected %s at byte %u; came \"%.*s\"",
               reader->peer->number, what, reader->at, (int)(rest < 300 ? rest : 300),
               reader->line + start);
}

__attribute__((format(printf, 2, 3))) static void expect(struct reader *reader, const char *format,
                                                         ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (reader->length - reader->at < (uint32_t)length ||
        memcmp(reader->line + reader->at, text, (size_t)length) != 0)
        fail_expected(reader, text);
    reader->at += (uint32_t)length;
}

/* Reads a number of seconds, in milliseconds, from `least_ns` to `most_ns`. */
static void expect_age(struct reader *reader, const char *title, uint64_t least_ns,
                       uint64_t most_ns)
{
    uint64_t ms = 0;
    uint32_t decimals = 0;
    bool point = false;

    expect(reader, "%s", title);
    for (; decimals < 3 && reader->at < reader->length; reader->at++) {
        char digit = reader->line[reader->at];

        if (digit == '.' && !point) {
            point = true;
            continue;
        }
        if (digit < '0' || digit > '9')
            break;
        ms = ms * 10 + (uint64_t)(digit - '0');
        decimals += point;
    }
    if (decimals != 3 || ms < least_ns / NS_PER_MS || ms > most_ns / NS_PER_MS) {
        char what[128];

        snprintf(what, sizeof(what), "before it %" PRIu64 " to %" PRIu64 " ms",
                 least_ns / NS_PER_MS, most_ns / NS_PER_MS);
        fail_expected(reader, what);
    }
}

static uint64_t left_ms(const struct reader *reader, const struct model_claim *claim)
{
    uint64_t now_ns = reader->world->model.now_ns;

    return claim->deadline_ns > now_ns ? (claim->deadline_ns - now_ns) / NS_PER_MS : 0;
}

/* Returns the peer of a claim's client, or NULL if that is gone. */
static const struct sim_peer *client_of(const struct reader *reader,
                                        const struct model_claim *claim)
{
    const struct sim_peer *peer = &reader->world->peers[claim->slot];

    return peer->driven.state != PEER_GONE &&
                   peer->driven.session.claims.connection_id == claim->client
               ? peer
               : NULL;
}

static void expect_claimant(struct reader *reader, const struct model_claim *claim)
{
    const struct sim_peer *client = client_of(reader, claim);
    const char *name = client && client->name ? client->name->json : "\"\"";

    if (!client)
        world_count(reader->world, COVERAGE_SHOWN_GONE);
    if (client && client->name)
        world_count(reader->world, COVERAGE_SHOWN_NAME);
    expect(reader, ",\"mode\":\"%s\",\"connection\":%" PRIu64 ",\"address\":\"%s\",\"name\":%s",
           claim->exclusive ? "exclusive" : "shared", connection_id_number(claim->client),
           client ? "unknown" : "", name);
}

static void expect_ages(struct reader *reader, const struct model_claim *claim, const char *title,
                        uint64_t unit_ns)
{
    uint64_t age_ns = reader->world->model.now_ns - claim->since_ns;

    expect_age(reader, title, age_ns < unit_ns ? 0 : age_ns - unit_ns, age_ns + unit_ns);
}

/* ---- holders ---- */

static uint64_t read_fence(struct reader *reader)
{
    uint64_t fence = 0;

    for (int i = 0; i < 16; i++) {
        const char *digit = reader->at < reader->length
                                ? memchr("0123456789abcdef", reader->line[reader->at], 16)
                                : NULL;

        if (!digit)
            fail_expected(reader, "16 digits of a fence");
        fence = fence << 4 | (uint64_t)(digit - "0123456789abcdef");
        reader->at++;
    }
    return fence;
}

static bool may_have(const struct model_claim *claim, uint64_t fence)
{
    return claim->known ? claim->fence == fence
                        : claim->fence_low <= fence && fence <= claim->fence_high;
}

static bool fits(struct reader *reader, const struct model_claim *claim)
{
    char text[64];
    int length =
        snprintf(text, sizeof(text), "\",\"mode\":\"%s\",\"connection\":%" PRIu64 ",",
                 claim->exclusive ? "exclusive" : "shared", connection_id_number(claim->client));

    return reader->length - reader->at >= (uint32_t)length &&
           memcmp(reader->line + reader->at, text, (size_t)length) == 0;
}

/* Returns the place of a holder, not shown before, that may have the fence. */
static uint32_t find_holder(struct reader *reader, const bool *shown, uint64_t fence)
{
    const struct model *model = &reader->world->model;
    const struct model_key *key = reader->key;

    for (uint32_t i = 0; i < key->holders; i++) {
        const struct model_claim *claim = &model->claims[key->holding[i]];

        if (!shown[i] && may_have(claim, fence) && fits(reader, claim))
            return i;
    }
    fail_expected(reader, "before it the fence of a holder");
}

static void expect_holders(struct reader *reader, uint32_t count)
{
    const struct model *model = &reader->world->model;
    const struct model_key *key = reader->key;
    bool shown[MODEL_HOLDERS] = {0};
    uint64_t last = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct model_claim *claim;
        uint64_t fence;
        uint32_t place;

        expect(reader, i == 0 ? "{\"fence\":\"" : ",{\"fence\":\"");
        fence = read_fence(reader);
        if (i > 0 && fence <= last)
            fail_expected(reader, "before it a later grant");
        last = fence;
        place = find_holder(reader, shown, fence);
        shown[place] = true;
        claim = &model->claims[key->holding[place]];
        expect(reader, "\"");
        expect_claimant(reader, claim);
        expect_ages(reader, claim, ",\"held_s\":", HOLD_UNIT_NS);
        expect(reader, ",\"lease_expires_in_s\":%" PRIu64 ".%03u}", left_ms(reader, claim) / 1000,
               (unsigned)(left_ms(reader, claim) % 1000));
    }
    for (uint32_t i = 0; i < key->holders; i++) {
        const struct model_claim *claim = &model->claims[key->holding[i]];

        if (!shown[i] && (claim->known ? claim->fence : claim->fence_high) < last)
            fail_expected(reader, "before it an earlier grant");
    }
}

/* ---- waiters ---- */

static void expect_waiter(struct reader *reader, uint32_t place)
{
    const struct model *model = &reader->world->model;
    const struct model_claim *claim = &model->claims[reader->key->waiting[place]];
    bool due = claim->deadline_ns <= model->dues[reader->key->stripe];

    if (due)
        world_count(reader->world, COVERAGE_SHOWN_DUE);
    expect(reader, "%s{\"position\":%u", place == 0 ? "" : ",", place + 1);
    expect_claimant(reader, claim);
    expect_ages(reader, claim, ",\"waiting_s\":", WAIT_UNIT_NS);
    if (claim->deadline_ns == MODEL_NEVER || (due && !claim->blocked))
        expect(reader, ",\"timeout_in_s\":null}");
    else
        expect(reader, ",\"timeout_in_s\":%" PRIu64 ".%03u}", left_ms(reader, claim) / 1000,
               (unsigned)(left_ms(reader, claim) % 1000));
}

static uint32_t shown_of(uint32_t count)
{
    return count < TABLE_SHOWN_MAX ? count : TABLE_SHOWN_MAX;
}

uint32_t show_reply_steps(const struct model *model, uint32_t key)
{
    return (shown_of(model->keys[key].holders) + shown_of(model->keys[key].waiters)) * STEPS_EACH;
}

static void count_shown(struct world *world, const struct model_key *key)
{
    world_count(world, COVERAGE_SHOWN);
    if (model_idle(key))
        world_count(world, COVERAGE_SHOWN_IDLE);
    if (model_paused(&world->model, key->stripe) && key->waiters > 0)
        world_count(world, COVERAGE_SHOWN_PAUSED);
    if (key->holders > TABLE_SHOWN_MAX || key->waiters > TABLE_SHOWN_MAX)
        world_count(world, COVERAGE_SHOWN_PART);
}

void show_reply_check(struct world *world, const struct sim_peer *peer, uint32_t key,
                      const char *line, uint32_t length)
{
    struct reader reader = {
        .world = world,
        .peer = peer,
        .key = &world->model.keys[key],
        .line = line,
        .length = length,
    };
    const struct key_name *name = &world->names.names[key / 2];

    count_shown(world, reader.key);
    expect(&reader,
           "ok {\"key\":%.*s,\"kind\":\"%s\",\"limit\":%u,\"holder_count\":%u,\"waiter_count\":%u,"
           "\"holders\":[",
           (int)name->json_length, name->json, key_is_semaphore(key) ? "semaphore" : "lock",
           reader.key->limit, reader.key->holders, reader.key->waiters);
    expect_holders(&reader, shown_of(reader.key->holders));
    expect(&reader, "],\"waiters\":[");
    for (uint32_t i = 0; i < shown_of(reader.key->waiters); i++)
        expect_waiter(&reader, i);
    expect(&reader, "]}\n");
    if (reader.at != length)
        fail_expected(&reader, "the end");
}
