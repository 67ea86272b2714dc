#include "table_transcript.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRANSCRIPT_WORDS_MAX = 14,
    TRANSCRIPT_LINE_MAX = 640,
    TRANSCRIPT_NAMES = 26
};

struct player {
    struct fixture fixture;
    struct lock_token names[TRANSCRIPT_NAMES]; /* fence 0: the letter is free */
    uint32_t steps;
    uint32_t claims_max_each;
    uint32_t effect; /* index of the next one to compare */
    const char *line;
    char buffer[TRANSCRIPT_LINE_MAX];
    char *words[TRANSCRIPT_WORDS_MAX];
    uint32_t word_count;
    char *expected; /* the text behind the = */
};

struct player_sight {
    struct player *player;
    char actual[160];
    uint32_t count;
};

static void player_fail(const struct player *player, const char *actual)
{
    fail_msg("in `%s` (steps %u, hashes %s): it is `%s`", player->line, player->steps,
             player->fixture.hash_mask ? "good" : "colliding", actual);
}

static void player_expect(const struct player *player, const char *actual)
{
    if (!player->expected)
        player_fail(player, "not a line of a transcript");
    if (strcmp(player->expected, actual) != 0)
        player_fail(player, actual);
}

/* Splits the line into words and the expected text. */
static void player_split(struct player *player, const char *line)
{
    char *rest = NULL;

    player->line = line;
    assert_true(strlen(line) < sizeof(player->buffer));
    strcpy(player->buffer, line);
    player->expected = strstr(player->buffer, " = ");
    if (player->expected) {
        *player->expected = '\0';
        player->expected += strlen(" = ");
    }
    player->word_count = 0;
    for (char *word = strtok_r(player->buffer, " ", &rest); word;
         word = strtok_r(NULL, " ", &rest)) {
        assert_true(player->word_count < TRANSCRIPT_WORDS_MAX);
        player->words[player->word_count++] = word;
    }
}

static const char *player_word(const struct player *player, uint32_t index)
{
    if (index >= player->word_count)
        player_fail(player, "not a line of a transcript: too short");
    return player->words[index];
}

static bool player_is(const struct player *player, uint32_t index, const char *word)
{
    return strcmp(player_word(player, index), word) == 0;
}

static uint64_t player_number(const struct player *player, uint32_t index)
{
    char *end = NULL;
    uint64_t number = strtoull(player_word(player, index), &end, 10);

    if (*end)
        player_fail(player, "not a line of a transcript: no number");
    return number;
}

static uint64_t player_time(const struct player *player, uint32_t index)
{
    return (uint64_t)(strtod(player_word(player, index), NULL) * (double)FIXTURE_SECOND + 0.5);
}

/* Formats seconds without trailing zeros. */
static void player_put_seconds(char *to, size_t size, uint64_t ns)
{
    uint64_t fraction = ns % FIXTURE_SECOND;
    int length = snprintf(to, size, "%llu.%09llu", (unsigned long long)(ns / FIXTURE_SECOND),
                          (unsigned long long)fraction);

    while (to[length - 1] == '0')
        to[--length] = '\0';
    if (to[length - 1] == '.')
        to[--length] = '\0';
}

/* Returns the name of `token`. If both are new, the token gets the name `wanted`. */
static char player_name(struct player *player, struct lock_token token, char wanted)
{
    for (int i = 0; i < TRANSCRIPT_NAMES; i++) {
        if (player->names[i].fence == token.fence)
            return player->names[i].salt == token.salt ? (char)('a' + i) : '?';
    }
    if (wanted < 'a' || wanted > 'z' || player->names[wanted - 'a'].fence != 0)
        return '?';
    if (token.fence > player->fixture.fence_last || token.salt != fixture_salt(token.fence))
        return '?';
    player->names[wanted - 'a'] = token;
    return wanted;
}

/* `text` is the expected text, which names new tokens. */
static void player_compare(struct player *player, const struct lock_answer *answer,
                           const char *text)
{
    static const char *const words[] = {
#define X(name, word) [DFLOCKD_##name] = word,
        DFLOCKD_OUTCOMES(X)
#undef X
            [LOCK_PENDING] = "pending",
        [LOCK_IDLE] = "idle",
    };
    const char *word = words[answer->outcome];
    unsigned long long lease_s = answer->lease_s;
    char actual[128];

    if (answer->token.fence) {
        const char *blank = strchr(text, ' ');
        char name = player_name(player, answer->token, blank ? blank[1] : '?');

        snprintf(actual, sizeof(actual), "%s %c %llu", word, name, lease_s);
        if (answer->deadline_ns != player->fixture.now_ns + lease_s * FIXTURE_SECOND)
            player_fail(player, "a grant whose deadline is not its lease from now");
    } else if (lease_s) {
        snprintf(actual, sizeof(actual), "%s %llu", word, lease_s);
    } else {
        snprintf(actual, sizeof(actual), "%s", word);
    }
    if (strcmp(text, actual) != 0)
        player_fail(player, actual);
}

static struct lock_token player_token(const struct player *player, uint32_t index)
{
    const char *word = player_word(player, index);
    struct lock_token token;

    if (word[0] < 'a' || word[0] > 'z' || player->names[word[0] - 'a'].fence == 0)
        player_fail(player, "not a line of a transcript: an unknown token");
    token = player->names[word[0] - 'a'];
    if (word[1] == '!')
        token.salt ^= 1;
    else if (word[1] == '+')
        token.fence += 1000000;
    return token;
}

/* `-> CLIENT ANSWER` */
static void play_effect(struct player *player)
{
    struct fixture *fixture = &player->fixture;
    char client[24];

    if (player->effect == fixture->effect_count)
        player_fail(player, "no effect");
    snprintf(client, sizeof(client), "%llu",
             (unsigned long long)fixture->effects[player->effect].connection_id);
    if (!player_is(player, 1, client))
        player_fail(player, client);
    player_compare(player, &fixture->effects[player->effect].answer,
                   strstr(player->line, client) + strlen(client) + 1);
    player->effect++;
}

/* A request that takes a claim. */
static struct lock_answer play_claim(struct player *player, struct lock_request request)
{
    struct fixture *fixture = &player->fixture;
    uint32_t max = player->claims_max_each;

    request.claims_full = max && table_claims(&fixture->table, request.connection_id) >= max;
    return apply_to_table(&fixture->table, fixture->now_ns, request);
}

/* `CLIENT COMMAND KEY ARG…` of the protocol. */
static struct lock_answer play_request(struct player *player)
{
    struct fixture *fixture = &player->fixture;
    uint64_t client = player_number(player, 0);
    const char *word = player_word(player, 1);
    bool semaphore = word[0] == 's';
    bool shared = strcmp(word, "rl") == 0 || strcmp(word, "re") == 0;
    const char *command = word + (semaphore || shared);
    struct lock_key key = fixture_key(fixture, semaphore ? LOCK_KIND_SEMAPHORE : LOCK_KIND_LOCK,
                                      player_word(player, 2));
    uint32_t at = 3;
    uint64_t now_ns = fixture->now_ns;
    struct lock_request request;

    switch (command[0]) {
    case 'l': {
        uint64_t wait_s = player_number(player, at++);
        uint32_t limit = semaphore ? (uint32_t)player_number(player, at++) : 1;

        request = acquire_request(client, &key, limit, wait_s, player_number(player, at));
        if (shared)
            request.command = DFLOCKD_ACQUIRE_SHARED;
        return play_claim(player, request);
    }
    case 'e': {
        uint32_t limit = semaphore ? (uint32_t)player_number(player, at++) : 1;

        request = enqueue_request(client, &key, limit, player_number(player, at));
        if (shared)
            request.command = DFLOCKD_ENQUEUE_SHARED;
        return play_claim(player, request);
    }
    case 'w':
        return apply_to_table(&fixture->table, now_ns,
                              wait_request(client, &key, player_number(player, at)));
    case 'r':
        return apply_to_table(&fixture->table, now_ns,
                              release_request(&key, player_token(player, at)));
    case 'n':
        return apply_to_table(
            &fixture->table, now_ns,
            renew_request(&key, player_token(player, at), player_number(player, at + 1)));
    case 'o':
        return apply_to_table(&fixture->table, now_ns,
                              own_request(client, &key, player_token(player, at)));
    default:
        player_fail(player, "not a line of a transcript: no such command");
        return (struct lock_answer){.outcome = DFLOCKD_ERROR};
    }
}

static void play_holds(struct player *player)
{
    struct fixture *fixture = &player->fixture;
    uint64_t until_ns =
        fixture_holds_until(&fixture->table, fixture->now_ns, player_number(player, 0));
    char actual[40] = "nothing";

    if (until_ns == UINT64_MAX)
        strcpy(actual, "queue");
    else if (until_ns)
        player_put_seconds(actual, sizeof(actual), until_ns);
    player_expect(player, actual);
}

static void play_client(struct player *player)
{
    struct fixture *fixture = &player->fixture;

    if (player_is(player, 1, "gone")) {
        fixture_disconnect(fixture, player_number(player, 0), player->word_count == 3,
                           player->steps);
    } else if (player_is(player, 1, "cancel")) {
        bool cancelled = table_cancel(&fixture->table, fixture->now_ns, player_number(player, 0));

        player_expect(player, cancelled ? "yes" : "no");
    } else if (player_is(player, 1, "leaves")) {
        uint32_t steps = player->steps;

        while (
            !table_leave_queues(&fixture->table, fixture->now_ns, player_number(player, 0), &steps))
            steps = player->steps;
    } else if (player_is(player, 1, "watch")) {
        bool holds = table_watch(&fixture->table, player_number(player, 0));

        player_expect(player, holds ? "yes" : "no");
    } else if (player_is(player, 1, "leases")) {
        bool holds = table_holds(&fixture->table, player_number(player, 0));

        player_expect(player, holds ? "yes" : "no");
    } else if (player_is(player, 1, "unwatch")) {
        table_unwatch(&fixture->table, player_number(player, 0));
    } else if (player_is(player, 1, "holds")) {
        play_holds(player);
    } else {
        struct lock_answer answer = play_request(player);

        if (!player->expected)
            player_fail(player, "not a line of a transcript: no answer");
        player_compare(player, &answer, player->expected);
    }
}

static void player_show(void *context, const struct lock_view *view)
{
    struct player_sight *sight = context;
    const struct player *player = sight->player;
    const char *key = player_word(player, 2);
    enum lock_kind kind = player_is(player, 1, "lock") ? LOCK_KIND_LOCK : LOCK_KIND_SEMAPHORE;
    char lease[40];
    char idle[40];

    if (view->kind != kind || view->key_length != strlen(key) ||
        memcmp(view->key, key, view->key_length) != 0)
        return;
    player_put_seconds(lease, sizeof(lease), view->lease_ns);
    player_put_seconds(idle, sizeof(idle), view->idle_ns);
    snprintf(sight->actual, sizeof(sight->actual), "%u %u %u %llu %s %s", view->limit,
             view->holders, view->waiters, (unsigned long long)view->owner, lease, idle);
    sight->count++;
}

/* `see KIND KEY` */
static void play_see(struct player *player)
{
    struct player_sight sight = {.player = player, .actual = "none"};
    uint64_t position = 0;

    do
        position = table_walk(&player->fixture.table, player->fixture.now_ns, (struct lock_walk){0},
                              position, player_show, &sight);
    while (position);
    if (sight.count > 1)
        player_fail(player, "shown more than once");
    player_expect(player, sight.actual);
}

static void play_deadline(struct player *player)
{
    uint64_t deadline_ns = table_deadline(&player->fixture.table);
    char actual[40] = "none";

    if (deadline_ns != UINT64_MAX)
        player_put_seconds(actual, sizeof(actual), deadline_ns);
    player_expect(player, actual);
}

static void play_used(struct player *player)
{
    char actual[24];

    snprintf(actual, sizeof(actual), "%llu",
             (unsigned long long)atomic_load(&player->fixture.budget.used));
    player_expect(player, actual);
}

static void play_room(struct player *player)
{
    char actual[24];

    snprintf(actual, sizeof(actual), "%u", player->fixture.table.claims_room);
    player_expect(player, actual);
}

/* The buckets of a histogram that are not 0, as BUCKET:COUNT. */
static size_t player_put_durations(char *to, size_t size, const char *name,
                                   const struct lock_durations *durations)
{
    size_t length = 0;

    for (int i = 0; i <= LOCK_DURATION_BOUNDS; i++) {
        if (durations->buckets[i] > 0)
            length += (size_t)snprintf(to + length, size - length, ", %s %d:%llu", name, i,
                                       (unsigned long long)durations->buckets[i]);
    }
    return length;
}

static void play_count(struct player *player)
{
    const struct lock_counters *counters = &player->fixture.table.counters;
    const struct {
        const char *name;
        uint64_t value;
    } list[] = {
        {"grants", counters->grants},
        {"ended", counters->leases_ended},
        {"revoked", counters->revocations},
        {"waits", counters->waits},
        {"timeouts", counters->waits_timed_out},
        {"cancelled", counters->waits_cancelled},
        {"locks", counters->locks_held},
        {"lock-waiters", counters->lock_waiters},
        {"holders", counters->semaphore_holders},
        {"waiters", counters->semaphore_waiters},
    };
    char actual[512] = ", none";
    size_t length = 0;

    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        if (list[i].value > 0)
            length += (size_t)snprintf(actual + length, sizeof(actual) - length, ", %s %llu",
                                       list[i].name, (unsigned long long)list[i].value);
    }
    length +=
        player_put_durations(actual + length, sizeof(actual) - length, "late", &counters->late);
    player_put_durations(actual + length, sizeof(actual) - length, "waited",
                         &counters->waits_granted);
    player_expect(player, actual + 2);
}

static void play_time(struct player *player)
{
    struct fixture *fixture = &player->fixture;
    uint64_t now_ns = player_time(player, 1);

    if (now_ns < fixture->now_ns)
        player_fail(player, "not a line of a transcript: time goes back");
    fixture->now_ns = now_ns;
    if (player_is(player, 0, "at"))
        fixture_expire(fixture, player->steps);
}

static void play_order(struct player *player)
{
    if (player_token(player, 1).fence >= player_token(player, 2).fence)
        player_fail(player, "not in this order");
}

static void play_stop(struct player *player)
{
    table_stop_granting(&player->fixture.table);
}

static void play_line(struct player *player, const char *line)
{
    static const struct {
        const char *word;
        void (*play)(struct player *player);
    } lines[] = {
        {"at", play_time},   {"late", play_time}, {"deadline", play_deadline},
        {"used", play_used}, {"see", play_see},   {"order", play_order},
        {"room", play_room}, {"stop", play_stop}, {"count", play_count},
    };

    player_split(player, line);
    if (player_is(player, 0, "->")) {
        play_effect(player);
        return;
    }
    if (player->effect < player->fixture.effect_count)
        player_fail(player, "an unexpected effect of the event before");
    player->fixture.effect_count = 0;
    player->effect = 0;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (player_is(player, 0, lines[i].word)) {
            lines[i].play(player);
            fixture_check(&player->fixture);
            return;
        }
    }
    play_client(player);
    fixture_check(&player->fixture);
}

static void play_once(const struct rules *rules, const char *const *lines, uint32_t steps,
                      uint64_t hash_mask)
{
    static struct player player;

    memset(&player, 0, sizeof(player));
    fixture_start(&player.fixture, rules);
    player.steps = steps;
    player.claims_max_each = rules->claims_max_each;
    player.fixture.hash_mask = hash_mask;
    for (; *lines; lines++)
        play_line(&player, *lines);
    if (player.effect < player.fixture.effect_count)
        player_fail(&player, "an unexpected effect");
    fixture_end(&player.fixture);
}

void play(struct rules rules, const char *const *lines)
{
    play_once(&rules, lines, UINT32_MAX, UINT64_MAX);
    play_once(&rules, lines, 1, UINT64_MAX);
    play_once(&rules, lines, UINT32_MAX, 0);
    play_once(&rules, lines, 1, 0);
}
