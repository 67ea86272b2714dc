/*
 * The reply to `stats`: valid for all keys, and written in parts, one in each turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session_fixture.h"

static void stats_list_each_kind_of_state(void **state)
{
    struct peer *holder;
    struct peer *waiter;

    (void)state;
    world_start((struct setting){0});
    holder = connect_peer();
    waiter = connect_peer();
    send_text(waiter, "stats\n_\n_\n");
    expect_replies(waiter, "ok {\"connections\":7,\"locks\":[],\"semaphores\":[],"
                           "\"idle_locks\":[],\"idle_semaphores\":[]}\n");
    send_text(holder, "l\ngone\n0 1\nsl\ngone\n0 3 1\n");
    pass_until(2);
    send_text(holder, "l\nk\n0 30\nsl\nk\n0 3 40\nsl\nk\n0 3 40\n");
    send_text(waiter, "e\nk\n9\n");
    expect_replies(waiter, "queued\n");
    pass_until(12);
    send_text(waiter, "stats\n_\n_\n");
    expect_replies(waiter,
                   "ok {\"connections\":7,"
                   "\"locks\":[{\"key\":\"k\",\"owner_conn_id\":1,\"lease_expires_in_s\":20.000,"
                   "\"waiters\":1}],"
                   "\"semaphores\":[{\"key\":\"k\",\"limit\":3,\"holders\":2,\"waiters\":0}],"
                   "\"idle_locks\":[{\"key\":\"gone\",\"idle_s\":10.000}],"
                   "\"idle_semaphores\":[{\"key\":\"gone\",\"idle_s\":10.000}]}\n");
    world_end();
}

static void stats_list_a_semaphore_of_one_slot_as_a_lock(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    send_text(peer, "sl\nk\n0 1 30\nstats\n\n\n");
    expect_replies(peer, "ok T 30\nok {\"connections\":7,\"locks\":[{\"key\":\"k\","
                         "\"owner_conn_id\":1,\"lease_expires_in_s\":30.000,\"waiters\":0}],"
                         "\"semaphores\":[],\"idle_locks\":[],\"idle_semaphores\":[]}\n");
    pass_until(31);
    send_text(peer, "stats\n\n\n");
    expect_replies(peer, "ok {\"connections\":7,\"locks\":[],\"semaphores\":[],"
                         "\"idle_locks\":[{\"key\":\"k\",\"idle_s\":0.000}],"
                         "\"idle_semaphores\":[]}\n");
    world_end();
}

static void stats_are_valid_for_keys_of_any_bytes(void **state)
{
    struct peer *peer;

    (void)state;
    world_start((struct setting){0});
    peer = connect_peer();
    send_text(peer, "l\na\"b\\c\x01\xff\xc3\xa4\xed\xa0\x80\n0 30\n");
    expect_replies(peer, "ok T 30\n");
    send_text(peer, "stats\n\n\n");
    expect_replies(peer, "ok {\"connections\":7,\"locks\":[{\"key\":\"a\\\"b\\\\c\\u0001"
                         "\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\","
                         "\"owner_conn_id\":1,\"lease_expires_in_s\":30.000,\"waiters\":0}],"
                         "\"semaphores\":[],\"idle_locks\":[],\"idle_semaphores\":[]}\n");
    world_end();
}

/* Parses the reply to `stats`, whose fields have a fixed order. */
struct reader {
    const char *at;
};

static bool accept_text(struct reader *reader, const char *text)
{
    size_t length = strlen(text);

    if (strncmp(reader->at, text, length) != 0)
        return false;
    reader->at += length;
    return true;
}

static void expect_text(struct reader *reader, const char *text)
{
    if (!accept_text(reader, text))
        fail_msg("expected %s at %.40s", text, reader->at);
}

static uint64_t expect_number(struct reader *reader)
{
    char *end = NULL;
    uint64_t number = strtoull(reader->at, &end, 10);

    assert_true(end > reader->at);
    reader->at = end;
    return number;
}

static void expect_seconds(struct reader *reader)
{
    expect_number(reader);
    expect_text(reader, ".");
    assert_int_equal(strspn(reader->at, "0123456789"), 3);
    reader->at += 3;
}

enum {
    CROWD = 4000
};

/* Parses an entry of a key; `seen` counts the entries of each key. */
static void expect_entry(struct reader *reader, uint32_t section, uint8_t *seen)
{
    uint64_t number;

    expect_text(reader, "{\"key\":\"key-");
    number = expect_number(reader);
    assert_true(number < CROWD && number % 4 == section);
    seen[number]++;
    expect_text(reader, "\"");
    if (section == 0) {
        expect_text(reader, ",\"owner_conn_id\":1,\"lease_expires_in_s\":");
        expect_seconds(reader);
        expect_text(reader, ",\"waiters\":0}");
    } else if (section == 1) {
        expect_text(reader, ",\"limit\":2,\"holders\":1,\"waiters\":0}");
    } else {
        expect_text(reader, ",\"idle_s\":");
        expect_seconds(reader);
        expect_text(reader, "}");
    }
}

static void expect_crowd(const char *text)
{
    static const char *const sections[] = {"\"locks\":[", "\"semaphores\":[", "\"idle_locks\":[",
                                           "\"idle_semaphores\":["};
    static uint8_t seen[CROWD];
    struct reader reader = {.at = text};

    memset(seen, 0, sizeof(seen));
    expect_text(&reader, "ok {\"connections\":7");
    for (uint32_t section = 0; section < 4; section++) {
        bool more = false;

        expect_text(&reader, ",");
        expect_text(&reader, sections[section]);
        while (!accept_text(&reader, "]")) {
            if (more)
                expect_text(&reader, ",");
            expect_entry(&reader, section, seen);
            more = true;
        }
    }
    expect_text(&reader, "}\n");
    assert_string_equal(reader.at, "");
    for (uint32_t i = 0; i < CROWD; i++)
        assert_int_equal(seen[i], 1);
}

static void crowd_up(struct peer *holder)
{
    static const char *const forms[] = {"l\nkey-%u\n0 90\n", "sl\nkey-%u\n0 2 90\n",
                                        "l\nkey-%u\n0 1\n", "sl\nkey-%u\n0 2 1\n"};

    for (uint32_t i = 0; i < CROWD; i++) {
        char text[64];
        const char *mark = strchr(forms[i % 4], '%');

        snprintf(text, sizeof(text), "%.*s%u%s", (int)(mark - forms[i % 4]), forms[i % 4], i,
                 mark + 2);
        holder->start = holder->end = 0;
        send_text(holder, text);
    }
    pass_until(3);
}

/* Another session is served between the turns, also while the output is full. */
static void stats_of_many_keys_are_written_in_many_turns(void **state)
{
    struct peer *holder;
    struct peer *watcher;
    uint32_t turns = 0;
    uint32_t full = 0;

    (void)state;
    world_start((struct setting){.workers = 4});
    holder = connect_peer();
    watcher = connect_peer();
    crowd_up(holder);
    holder->reply_length = 0;
    holder->start = holder->end = 0;
    strcpy((char *)watcher->input, "stats\n_\n_\nping\n\n\n");
    watcher->end = strlen((char *)watcher->input);
    do {
        size_t before = watcher->output.length;

        read_once(watcher);
        turns += watcher->want == SESSION_WANT_TURN;
        full += watcher->want == SESSION_WANT_ROOM;
        assert_true(watcher->output.length < before + SESSION_OUTPUT_MAX);
        assert_true(watcher->output.length < 2 * SESSION_OUTPUT_MAX);
        send_text(holder, "ping\n\n\n");
        expect_replies(holder, "ok\n");
        if (watcher->want == SESSION_WANT_ROOM)
            flush(watcher);
    } while (watcher->want != SESSION_WANT_INPUT);
    flush(watcher);
    assert_true(turns > 32);
    assert_true(full > 1);
    assert_true(watcher->reply_length > 3);
    assert_string_equal(watcher->replies + watcher->reply_length - 3, "ok\n");
    watcher->replies[watcher->reply_length - 3] = '\0';
    expect_crowd(watcher->replies);
    disconnect(holder);
    world_end();
}

static void a_session_can_end_while_it_writes_stats(void **state)
{
    struct peer *holder;
    struct peer *watcher;

    (void)state;
    world_start((struct setting){.workers = 4});
    holder = connect_peer();
    watcher = connect_peer();
    crowd_up(holder);
    strcpy((char *)watcher->input, "l\nmine\n0\nstats\n_\n_\n");
    watcher->end = strlen((char *)watcher->input);
    read_once(watcher);
    assert_int_equal(watcher->want, SESSION_WANT_TURN);
    disconnect(watcher);
    send_text(holder, "l\nmine\n0\n");
    holder->reply_length = 0;
    world_end();
}

enum {
    FLIPPING = 512 /* keys that change between held and idle */
};

struct flips {
    struct peer *holder;
    uint32_t next;
    char tokens[FLIPPING][40]; /* empty: the key is idle */
};

/* Acquires the next key, or releases it if it is held. */
static void flip_key(struct flips *flips)
{
    uint32_t key = flips->next++ % FLIPPING;
    char *token = flips->tokens[key];
    char name[24];

    snprintf(name, sizeof(name), "flip-%u!", key);
    flips->holder->start = flips->holder->end = 0;
    flips->holder->reply_length = 0;
    if (token[0]) {
        send_with_token(flips->holder, key % 2 ? "r" : "sr", name, token, "");
        token[0] = '\0';
    } else {
        send_with_token(flips->holder, key % 2 ? "l" : "sl", name, key % 2 ? "0" : "0 2", "");
        strcpy(token, reply_token(flips->holder));
    }
}

/* Makes one turn of `stats` and flips `count` keys. Returns true when the reply is complete. */
static bool walk_once(struct peer *watcher, struct flips *flips, uint32_t count)
{
    read_once(watcher);
    flush(watcher);
    for (uint32_t i = 0; i < count; i++)
        flip_key(flips);
    return watcher->want == SESSION_WANT_INPUT;
}

static void ask_for_stats(struct peer *watcher)
{
    watcher->start = 0;
    watcher->reply_length = 0;
    strcpy((char *)watcher->input, "stats\n_\n_\n");
    watcher->end = strlen((char *)watcher->input);
}

static void expect_each_flipping_key_once(const struct peer *watcher)
{
    for (uint32_t key = 0; key < FLIPPING; key++) {
        const char *first;
        char name[24];

        snprintf(name, sizeof(name), "\"flip-%u!\"", key);
        first = strstr(watcher->replies, name);
        assert_non_null(first);
        assert_null(strstr(first + 1, name));
    }
}

/* Two sessions walk at the same time; neither uses the notes of the other. */
static void each_key_is_listed_once_although_it_changes(void **state)
{
    static struct flips flips;
    struct peer *watchers[2];

    (void)state;
    memset(&flips, 0, sizeof(flips));
    world_start((struct setting){.workers = 4});
    flips.holder = connect_peer();
    for (uint32_t i = 0; i < FLIPPING + FLIPPING / 3; i++)
        flip_key(&flips);
    for (uint32_t i = 0; i < 2; i++)
        watchers[i] = connect_peer();
    for (uint32_t round = 0; round < 20; round++) {
        bool complete[2] = {false, false};

        ask_for_stats(watchers[0]);
        ask_for_stats(watchers[1]);
        for (uint32_t turn = 0; !complete[0] || !complete[1]; turn++) {
            if (!complete[0])
                complete[0] = walk_once(watchers[0], &flips, 7 + round);
            if (!complete[1] && turn > 3 * round)
                complete[1] = walk_once(watchers[1], &flips, 5);
        }
        expect_each_flipping_key_once(watchers[0]);
        expect_each_flipping_key_once(watchers[1]);
        check_stripes(world.stripes);
    }
    for (uint32_t i = 0; i < 2; i++)
        disconnect(watchers[i]);
    disconnect(flips.holder);
    world_end();
}

static void a_walk_beyond_the_maximum_waits(void **state)
{
    struct lock_walk walks[TABLE_WALKS_MAX];
    struct peer *watcher;
    struct peer *other;

    (void)state;
    world_start((struct setting){.workers = 4});
    watcher = connect_peer();
    other = connect_peer();
    for (uint32_t i = 1; i < TABLE_WALKS_MAX; i++)
        assert_true(stripes_walk_begin(world.stripes, &walks[i]));
    ask_for_stats(other);
    read_once(other);
    assert_int_equal(other->want, SESSION_WANT_TURN);
    ask_for_stats(watcher);
    for (int i = 0; i < 3; i++) {
        read_once(watcher);
        assert_int_equal(watcher->want, SESSION_WANT_WALK);
        assert_int_equal(watcher->output.length, 0);
    }
    disconnect(other);
    read_on(watcher);
    expect_replies(watcher, "ok {\"connections\":7,\"locks\":[],\"semaphores\":[],"
                            "\"idle_locks\":[],\"idle_semaphores\":[]}\n");
    assert_true(stripes_walk_begin(world.stripes, &walks[0]));
    assert_false(stripes_walk_begin(world.stripes, &walks[0]));
    for (uint32_t i = 0; i < TABLE_WALKS_MAX; i++)
        stripes_walk_end(world.stripes, walks[i]);
    disconnect(watcher);
    world_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stats_list_each_kind_of_state),
        cmocka_unit_test(stats_list_a_semaphore_of_one_slot_as_a_lock),
        cmocka_unit_test(stats_are_valid_for_keys_of_any_bytes),
        cmocka_unit_test(stats_of_many_keys_are_written_in_many_turns),
        cmocka_unit_test(a_session_can_end_while_it_writes_stats),
        cmocka_unit_test(each_key_is_listed_once_although_it_changes),
        cmocka_unit_test(a_walk_beyond_the_maximum_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
