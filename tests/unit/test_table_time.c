/*
 * The lock table: deadlines, expiry in steps, collection of idle states, the time until which a
 * client holds a lease, and the walk for statistics.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "table_transcript.h"

static const struct rules defaults;

static void the_deadline_is_the_earliest_one(void **state)
{
    (void)state;
    play(defaults, LINES("deadline = none", "1 l k 0 30 = ok a 30", "deadline = 30",
                         "1 l j 0 20 = ok b 20", "deadline = 20", "2 l k 7 30 = pending",
                         "deadline = 7", "2 cancel = yes", "deadline = 20", "1 n j b 40 = ok 40",
                         "deadline = 30", "1 n k a 1 = ok 1", "deadline = 1", "1 n k a 90 = ok 90",
                         "deadline = 40", "1 r j b = ok", "deadline = 60", "1 l j 0 100 = ok c 100",
                         "deadline = 90", "1 gone", "deadline = 60", "at 60", "deadline = none"));
}

static void overdue_deadlines_are_processed_in_their_order(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 50 = ok a 50", "1 l j 0 50 = ok b 50", "1 l i 0 4 = ok c 4",
               "2 l k 5 30 = pending", "3 l j 3 30 = pending", "4 l i 9 30 = pending", "at 10",
               "-> 3 timeout", "-> 4 ok d 30", "-> 2 timeout", "see lock i = 1 1 0 4 30 0"));
}

static void a_late_grant_has_a_full_lease(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 5 = ok a 5", "2 l k 100 5 = pending", "3 l k 100 5 = pending",
                         "at 50", "-> 2 ok b 5", "deadline = 55", "at 55", "-> 3 ok c 5"));
}

static void a_wait_whose_end_has_come_is_not_granted_by_a_later_lease(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 20 = ok a 20", "2 l k 10 5 = pending", "3 l k 100 5 = pending",
                         "at 30", "-> 2 timeout", "-> 3 ok b 5"));
}

static void an_ended_lease_gives_no_authority_before_its_expiry_is_processed(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 5 = ok a 5", "late 5", "1 r k a = error", "2 l k 0 5 = ok b 5",
                         "late 10", "2 n k b 5 = error", "1 l k 0 5 = ok c 5"));
}

static void expiry_stops_after_its_steps(void **state)
{
    static struct fixture fixture;
    static const char *const names[] = {"a", "b", "c", "d", "e"};

    (void)state;
    fixture_start(&fixture, &defaults);
    for (int i = 0; i < 5; i++) {
        struct lock_key key = fixture_key(&fixture, LOCK_KIND_LOCK, names[i]);

        assert_int_equal(
            apply_to_table(&fixture.table, 0, acquire_request(1, &key, 1, 0, 10)).outcome,
            DFLOCKD_OK);
    }
    assert_false(table_expire(&fixture.table, 10 * FIXTURE_SECOND - 1, &(uint32_t){100}));
    assert_int_equal(fixture.table.tokens.count, 5);
    assert_true(table_expire(&fixture.table, 10 * FIXTURE_SECOND, &(uint32_t){0}));
    assert_int_equal(fixture.table.tokens.count, 5);
    assert_true(table_expire(&fixture.table, 10 * FIXTURE_SECOND, &(uint32_t){2}));
    assert_int_equal(fixture.table.tokens.count, 3);
    fixture_check(&fixture);
    assert_false(table_expire(&fixture.table, 10 * FIXTURE_SECOND, &(uint32_t){3}));
    assert_int_equal(fixture.table.tokens.count, 0);
    assert_int_equal(fixture.table.resources.count, 5);
    assert_false(table_expire(&fixture.table, 70 * FIXTURE_SECOND - 1, &(uint32_t){100}));
    assert_true(table_expire(&fixture.table, 70 * FIXTURE_SECOND, &(uint32_t){4}));
    assert_int_equal(fixture.table.resources.count, 1);
    assert_false(table_expire(&fixture.table, 70 * FIXTURE_SECOND, &(uint32_t){1}));
    assert_int_equal(fixture.table.resources.count, 0);
    fixture_check(&fixture);
    fixture_end(&fixture);
}

static void idle_states_are_collected_at_the_tick_after_their_time(void **state)
{
    (void)state;
    play((struct rules){.gc_max_idle_s = 10, .gc_interval_s = 4},
         LINES("at 1", "1 l k 0 30 = ok a 30", "1 r k a = ok", "deadline = 12", "at 1.5",
               "1 l j 0 30 = ok b 30", "1 r j b = ok", "at 3", "1 l i 0 30 = ok c 30",
               "1 r i c = ok", "at 11.999999999", "used = 3", "see lock k = 1 0 0 0 0 10.999999999",
               "at 12", "see lock k = none", "see lock j = none", "used = 1", "deadline = 16",
               "at 16", "used = 0", "deadline = none"));
}

static void a_state_that_is_due_exactly_at_a_tick_goes_with_it(void **state)
{
    (void)state;
    play((struct rules){.gc_max_idle_s = 10, .gc_interval_s = 5},
         LINES("1 l k 0 5 = ok a 5", "at 5", "deadline = 15", "at 14.999999999", "used = 1",
               "at 15", "used = 0"));
}

static void use_of_a_key_starts_its_idle_time_again(void **state)
{
    (void)state;
    play((struct rules){.gc_max_idle_s = 10, .gc_interval_s = 1},
         LINES("1 l k 0 30 = ok a 30", "1 r k a = ok", "at 9", "1 l k 0 30 = ok b 30",
               "deadline = 39", "at 20", "see lock k = 1 1 0 1 19 0", "1 r k b = ok",
               "deadline = 30", "at 29.9", "used = 1", "at 30", "used = 0"));
}

static void idle_states_are_collected_in_the_order_they_became_idle(void **state)
{
    (void)state;
    play((struct rules){.gc_max_idle_s = 10, .gc_interval_s = 1},
         LINES("1 l a 0 50 = ok a 50", "1 l b 0 50 = ok b 50", "1 l c 0 50 = ok c 50",
               "1 r b b = ok", "at 1", "1 r a a = ok", "at 2", "1 r c c = ok", "at 10",
               "see lock b = none", "used = 2", "at 11", "see lock a = none", "used = 1", "at 12",
               "used = 0"));
}

static void without_an_idle_time_states_are_collected_at_once(void **state)
{
    (void)state;
    play((struct rules){.collect_at_once = true},
         LINES("1 l k 0 30 = ok a 30", "2 l k 5 30 = pending", "used = 1", "1 r k a = ok",
               "-> 2 ok b 30", "used = 1", "2 r k b = ok", "used = 0", "see lock k = none",
               "deadline = none", "1 sl k 0 2 30 = ok c 30", "1 sr k c = ok",
               "1 sl k 0 3 5 = ok d 5", "at 5", "used = 0", "1 e k 5 = acquired e 5", "at 10",
               "used = 0", "1 w k 0 = error_not_enqueued", "1 e k 5 = acquired f 5", "late 15",
               "1 w k 0 = error_lease_expired", "used = 0", "1 e k 5 = acquired h 5", "1 gone",
               "used = 0", "1 l k 0 5 = ok g 5", "late 20", "1 r k g = error", "used = 0"));
}

static void a_client_is_known_to_hold_until_its_lease_ends(void **state)
{
    (void)state;
    play(defaults, LINES("1 holds = nothing", "1 l k 0 30 = ok a 30", "1 holds = 30", "at 10",
                         "1 n k a 40 = ok 40", "1 holds = 50", "late 49.999999999", "1 holds = 50",
                         "late 50", "1 holds = nothing", "at 50", "1 holds = nothing"));
    play(defaults,
         LINES("1 e k 30 = acquired a 30", "1 holds = 30", "1 r k a = ok", "1 holds = nothing",
               "1 e k 5 = acquired b 5", "at 5", "1 holds = nothing"));
}

static void a_client_in_a_queue_holds_something(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "2 holds = queue", "1 r k a = ok",
               "2 holds = 30", "1 e k 20 = queued", "1 l j 0 9 = ok b 9", "1 holds = queue",
               "1 w k 0 = timeout", "1 holds = 9", "2 gone", "2 holds = nothing"));
}

static void a_watched_client_gets_one_idle_notice(void **state)
{
    (void)state;
    /* A notice follows a release by another client, and the end of the last lease. */
    play(defaults, LINES("1 watch = no", "1 l k 0 30 = ok a 30", "1 watch = yes", "2 r k a = ok",
                         "-> 1 idle", "1 l k 0 30 = ok b 30", "2 r k b = ok"));
    play(defaults, LINES("1 l k 0 30 = ok a 30", "1 l j 0 20 = ok b 20", "1 watch = yes", "at 20",
                         "at 30", "-> 1 idle", "at 60"));
    /* A place in a queue and its lease count; a lost lease of `e` does not. */
    play(defaults,
         LINES("1 l k 0 30 = ok a 30", "2 e k 5 = queued", "2 watch = yes", "1 r k a = ok", "at 5",
               "-> 2 idle", "2 watch = no", "2 w k 0 = error_lease_expired"));
    play(defaults, LINES("1 l k 0 30 = ok a 30", "1 watch = yes", "1 unwatch", "1 r k a = ok"));
    /* A disconnected client gets no notice. */
    play(defaults, LINES("1 l k 0 30 = ok a 30", "1 watch = yes", "1 gone"));
}

/* An idle timeout must not close a connection that holds an unexpired lease. */
static void a_later_lease_that_has_ended_does_not_hide_an_earlier_one(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 100 = ok a 100", "1 l j 0 5 = ok b 5", "late 5", "1 holds = 100",
                         "at 5", "1 holds = 100"));
}

static void a_walk_shows_every_key(void **state)
{
    (void)state;
    play(defaults,
         LINES("see lock k = none", "at 1", "1 l k 0 30 = ok a 30", "2 l k 60 30 = pending",
               "3 e k 30 = queued", "at 3", "see lock k = 1 1 2 1 28 0", "1 r k a = ok",
               "-> 2 ok b 30", "see lock k = 1 1 1 2 30 0", "2 gone", "see lock k = 1 1 0 3 30 0",
               "3 gone", "at 13.25", "see lock k = 1 0 0 0 0 10.25", "1 sl k 0 3 20 = ok c 20",
               "2 sl k 0 3 10 = ok d 10", "see semaphore k = 3 2 0 2 10 0",
               "see lock k = 1 0 0 0 0 10.25"));
}

static void an_ended_lease_is_shown_with_0_left(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l k 0 5 = ok a 5", "2 l k 60 30 = pending", "late 9", "see lock k = 1 1 1 1 0 0",
               "at 9", "-> 2 ok b 30", "see lock k = 1 1 0 2 30 0"));
}

static void a_lost_lease_shows_its_key_as_idle(void **state)
{
    (void)state;
    play(defaults, LINES("1 e k 5 = acquired a 5", "at 5", "at 9", "see lock k = 1 0 0 0 0 4",
                         "2 l k 0 5 = ok b 5", "see lock k = 1 1 0 2 5 0", "2 r k b = ok", "at 10",
                         "see lock k = 1 0 0 0 0 1"));
}

enum {
    WALK_KEYS = 3000
};

struct census {
    uint8_t shown[WALK_KEYS * 2];
};

static void count_shown(void *context, const struct lock_view *view)
{
    struct census *census = context;
    uint32_t number;

    assert_int_equal(view->key_length, sizeof(number));
    memcpy(&number, view->key, sizeof(number));
    assert_true(number < WALK_KEYS * 2);
    census->shown[number]++;
}

static struct lock_key numbered_key(const uint32_t *number)
{
    uint64_t state = *number;

    return (struct lock_key){
        .bytes = (const uint8_t *)number,
        .length = sizeof(*number),
        .hash = fixture_random(&state),
    };
}

static void take_numbered(struct fixture *fixture, uint32_t number)
{
    struct lock_key key = numbered_key(&number);

    assert_int_equal(
        apply_to_table(&fixture->table, 0, acquire_request(number + 1, &key, 1, 0, 30)).outcome,
        DFLOCKD_OK);
}

static void a_walk_shows_each_key_once_while_other_keys_change(void **state)
{
    static struct fixture fixture;
    static struct census census;
    uint64_t position = 0;
    uint32_t more = 0;
    uint32_t gone = 0;

    (void)state;
    memset(&census, 0, sizeof(census));
    fixture_start(&fixture, &(struct rules){.states_max = WALK_KEYS * 2, .collect_at_once = true});
    for (uint32_t number = 0; number < WALK_KEYS; number++)
        take_numbered(&fixture, number);
    do {
        position =
            table_walk(&fixture.table, 0, (struct lock_walk){0}, position, count_shown, &census);
        if (more < WALK_KEYS)
            take_numbered(&fixture, WALK_KEYS + more++);
        if (gone < WALK_KEYS / 2)
            fixture_disconnect(&fixture, 1 + 2 * gone++, false, 9);
    } while (position);
    for (uint32_t number = 0; number < WALK_KEYS * 2; number++) {
        bool stayed = number < WALK_KEYS && (number % 2 == 1 || number / 2 >= gone);

        assert_true(census.shown[number] <= 1);
        if (stayed)
            assert_int_equal(census.shown[number], 1);
    }
    fixture_end(&fixture);
}

/* ---- expired leases for the log ---- */

static struct {
    uint64_t client;
    char key[DFLOCKD_KEY_MAX + 1];
    enum lock_kind kind;
    uint32_t count;
} expired;

static void note_expired(void *context, uint64_t client, const struct lock_key *key)
{
    (void)context;
    expired.client = client;
    memcpy(expired.key, key->bytes, key->length);
    expired.key[key->length] = '\0';
    expired.kind = key->kind;
    expired.count++;
}

static void expect_expired(uint64_t client, const char *key, enum lock_kind kind)
{
    assert_int_equal(expired.count, 1);
    assert_int_equal(expired.client, client);
    assert_string_equal(expired.key, key);
    assert_int_equal(expired.kind, kind);
    expired.count = 0;
}

static void an_ended_lease_is_reported_once(void **state)
{
    static struct fixture fixture;
    struct lock_key lock;
    struct lock_key semaphore;
    struct lock_token token;

    (void)state;
    fixture_start(&fixture, &defaults);
    fixture.table.context.lease_expired = note_expired;
    lock = fixture_key(&fixture, LOCK_KIND_LOCK, "lock");
    semaphore = fixture_key(&fixture, LOCK_KIND_SEMAPHORE, "semaphore");
    /* The lease ends at its deadline; then at a renewal; then at `w`. */
    apply_to_table(&fixture.table, 0, acquire_request(1, &lock, 1, 0, 10));
    apply_to_table(&fixture.table, 0, acquire_request(2, &lock, 1, 60, 10));
    table_expire(&fixture.table, 10 * FIXTURE_SECOND, &(uint32_t){100});
    expect_expired(1, "lock", LOCK_KIND_LOCK);
    token =
        (struct lock_token){.fence = fixture.fence_last, .salt = fixture_salt(fixture.fence_last)};
    apply_to_table(&fixture.table, 20 * FIXTURE_SECOND, renew_request(&lock, token, 10));
    expect_expired(2, "lock", LOCK_KIND_LOCK);
    apply_to_table(&fixture.table, 20 * FIXTURE_SECOND, enqueue_request(3, &semaphore, 2, 10));
    apply_to_table(&fixture.table, 30 * FIXTURE_SECOND, wait_request(3, &semaphore, 0));
    expect_expired(3, "semaphore", LOCK_KIND_SEMAPHORE);
    /* A release, a disconnect and a timeout of a wait are not reported. */
    token = apply_to_table(&fixture.table, 30 * FIXTURE_SECOND, acquire_request(1, &lock, 1, 0, 10))
                .token;
    apply_to_table(&fixture.table, 31 * FIXTURE_SECOND, release_request(&lock, token));
    apply_to_table(&fixture.table, 31 * FIXTURE_SECOND, acquire_request(1, &lock, 1, 0, 100));
    apply_to_table(&fixture.table, 31 * FIXTURE_SECOND, acquire_request(2, &lock, 1, 5, 10));
    table_expire(&fixture.table, 40 * FIXTURE_SECOND, &(uint32_t){100});
    fixture.effect_count = 0;
    table_disconnect(&fixture.table, 40 * FIXTURE_SECOND, 1, false, &(uint32_t){100});
    assert_int_equal(expired.count, 0);
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_deadline_is_the_earliest_one),
        cmocka_unit_test(overdue_deadlines_are_processed_in_their_order),
        cmocka_unit_test(a_late_grant_has_a_full_lease),
        cmocka_unit_test(a_wait_whose_end_has_come_is_not_granted_by_a_later_lease),
        cmocka_unit_test(an_ended_lease_gives_no_authority_before_its_expiry_is_processed),
        cmocka_unit_test(expiry_stops_after_its_steps),
        cmocka_unit_test(an_ended_lease_is_reported_once),
        cmocka_unit_test(idle_states_are_collected_at_the_tick_after_their_time),
        cmocka_unit_test(a_state_that_is_due_exactly_at_a_tick_goes_with_it),
        cmocka_unit_test(use_of_a_key_starts_its_idle_time_again),
        cmocka_unit_test(idle_states_are_collected_in_the_order_they_became_idle),
        cmocka_unit_test(without_an_idle_time_states_are_collected_at_once),
        cmocka_unit_test(a_client_is_known_to_hold_until_its_lease_ends),
        cmocka_unit_test(a_client_in_a_queue_holds_something),
        cmocka_unit_test(a_watched_client_gets_one_idle_notice),
        cmocka_unit_test(a_later_lease_that_has_ended_does_not_hide_an_earlier_one),
        cmocka_unit_test(a_walk_shows_every_key),
        cmocka_unit_test(an_ended_lease_is_shown_with_0_left),
        cmocka_unit_test(a_lost_lease_shows_its_key_as_idle),
        cmocka_unit_test(a_walk_shows_each_key_once_while_other_keys_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
