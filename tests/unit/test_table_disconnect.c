/*
 * The lock table: the claims of a disconnected client, with and without auto-release. Each
 * transcript is also played with one claim in each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "table_transcript.h"

static const struct rules defaults;

static const struct rules keeping = {.keep_on_disconnect = true};

static void a_disconnect_releases_and_grants_to_waiters(void **state)
{
    (void)state;
    play(defaults, LINES("1 l j 0 30 = ok a 30", "1 l k 0 30 = ok b 30", "1 sl k 0 2 30 = ok c 30",
                         "2 l k 60 30 = pending", "3 l k 60 30 = pending", "4 l j 60 30 = pending",
                         "1 gone", "-> 4 ok d 30", "-> 2 ok e 30", "see semaphore k = 2 0 0 0 0 0",
                         "see lock k = 1 1 1 2 30 0", "1 r k b = error", "1 holds = nothing",
                         "2 gone", "-> 3 ok f 30"));
}

static void without_auto_release_held_claims_stay(void **state)
{
    (void)state;
    play(keeping, LINES("1 l k 0 30 = ok a 30", "1 sl k 0 2 30 = ok b 30", "2 l k 60 30 = pending",
                        "1 gone", "see lock k = 1 1 1 1 30 0", "see semaphore k = 2 1 0 1 30 0",
                        "3 n k a 50 = ok 50", "3 sr k b = ok", "at 49", "at 50", "-> 2 ok c 30"));
    play(keeping, LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "1 gone", "1 gone",
                        "3 r k a = ok", "-> 2 ok b 30"));
}

static void a_disconnect_always_removes_waiters_and_enqueued_states(void **state)
{
    static const struct rules *const both[] = {&defaults, &keeping};

    (void)state;
    for (int i = 0; i < 2; i++)
        play(*both[i],
             LINES("1 l j 0 90 = ok a 90", "1 l k 0 90 = ok b 90", "1 sl k 0 1 90 = ok c 90",
                   "2 e j 30 = queued", "2 se k 1 30 = queued", "2 l k 60 30 = pending",
                   "3 l k 60 30 = pending", "3 holds = queue", "2 gone pending",
                   "2 holds = nothing", "2 w j 0 = error_not_enqueued",
                   "2 sw k 0 = error_not_enqueued", "see lock j = 1 1 0 1 90 0",
                   "see semaphore k = 1 1 0 1 90 0", "see lock k = 1 1 1 1 90 0", "1 r k b = ok",
                   "-> 3 ok d 30", "1 r j a = ok", "see lock j = 1 0 0 0 0 0"));
}

static void a_disconnected_client_does_not_get_the_slots_that_it_frees(void **state)
{
    (void)state;
    play(defaults, LINES("1 l k 0 30 = ok a 30", "1 e k 30 = queued", "1 l k 60 30 = pending",
                         "2 l k 60 30 = pending", "1 gone pending", "-> 2 ok b 30", "order a b",
                         "see lock k = 1 1 0 2 30 0", "1 holds = nothing", "2 r k b = ok",
                         "see lock k = 1 0 0 0 0 0"));
    play(defaults,
         LINES("1 sl k 0 2 30 = ok a 30", "1 sl k 0 2 30 = ok b 30", "1 sl k 60 2 30 = pending",
               "1 gone pending", "see semaphore k = 2 0 0 0 0 0", "2 sl k 0 2 30 = ok c 30"));
}

static void a_grant_on_its_way_is_always_released(void **state)
{
    static const struct rules *const both[] = {&defaults, &keeping};

    (void)state;
    for (int i = 0; i < 2; i++)
        play(*both[i],
             LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "3 l k 60 30 = pending",
                   "1 r k a = ok", "-> 2 ok b 30", "2 gone pending", "-> 3 ok c 30",
                   "2 holds = nothing", "1 r k b = error", "see lock k = 1 1 0 3 30 0"));
}

static void an_enqueued_grant_on_its_way_is_always_released(void **state)
{
    static const struct rules *const both[] = {&defaults, &keeping};

    (void)state;
    for (int i = 0; i < 2; i++)
        play(*both[i], LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "2 w k 60 = pending",
                             "3 l k 60 30 = pending", "1 r k a = ok", "-> 2 ok b 30",
                             "2 gone pending", "-> 3 ok c 30", "see lock k = 1 1 0 3 30 0"));
}

static void a_received_grant_is_kept_without_auto_release(void **state)
{
    (void)state;
    play(keeping, LINES("1 l k 0 30 = ok a 30", "2 l k 60 30 = pending", "1 r k a = ok",
                        "-> 2 ok b 30", "3 l k 60 30 = pending", "2 gone",
                        "see lock k = 1 1 1 2 30 0", "4 r k b = ok", "-> 3 ok c 30"));
}

static void only_the_grant_on_its_way_is_released_without_auto_release(void **state)
{
    (void)state;
    play(keeping, LINES("1 l k 0 30 = ok a 30", "2 l j 0 30 = ok b 30", "2 l k 60 30 = pending",
                        "1 r k a = ok", "-> 2 ok c 30", "2 gone pending",
                        "see lock k = 1 0 0 0 0 0", "see lock j = 1 1 0 2 30 0"));
}

static void an_earlier_grant_is_kept_if_a_later_wait_is_cancelled(void **state)
{
    (void)state;
    play(keeping,
         LINES("1 l j 0 30 = ok a 30", "2 l j 60 30 = pending", "1 r j a = ok", "-> 2 ok b 30",
               "1 l k 0 30 = ok c 30", "2 l k 5 30 = pending", "2 gone pending",
               "see lock j = 1 1 0 2 30 0", "see lock k = 1 1 0 1 30 0"));
    play(keeping, LINES("1 l j 0 30 = ok a 30", "2 l j 60 30 = pending", "1 r j a = ok",
                        "-> 2 ok b 30", "1 l k 0 30 = ok c 30", "2 l k 5 30 = pending", "at 5",
                        "-> 2 timeout", "2 gone pending", "see lock j = 1 1 0 2 25 0"));
}

static void an_earlier_grant_is_kept_if_a_later_grant_is_released(void **state)
{
    (void)state;
    play(keeping, LINES("1 l j 0 30 = ok a 30", "1 l k 0 30 = ok b 30", "2 e k 30 = queued",
                        "2 l j 60 30 = pending", "1 r j a = ok", "-> 2 ok c 30",
                        "2 w k 60 = pending", "1 r k b = ok", "-> 2 ok d 30", "2 gone pending",
                        "see lock j = 1 1 0 2 30 0", "see lock k = 1 0 0 0 0 0"));
}

static void an_unseen_grant_is_released_without_auto_release(void **state)
{
    (void)state;
    play(keeping, LINES("1 l k 0 30 = ok a 30", "2 e k 30 = queued", "3 l k 60 30 = pending",
                        "1 r k a = ok", "see lock k = 1 1 1 2 30 0", "2 gone", "-> 3 ok b 30",
                        "2 w k 0 = error_not_enqueued", "2 holds = nothing"));
}

static void a_received_enqueued_grant_is_kept_without_auto_release(void **state)
{
    (void)state;
    play(keeping, LINES("1 e k 30 = acquired a 30", "1 gone", "see lock k = 1 1 0 1 30 0",
                        "1 w k 0 = error_not_enqueued", "1 e k 30 = queued", "2 r k a = ok",
                        "1 w k 0 = ok b 30", "1 gone", "see lock k = 1 1 0 1 30 0",
                        "2 l k 60 30 = pending", "3 r k b = ok", "-> 2 ok c 30"));
}

static void a_disconnect_forgets_lost_leases(void **state)
{
    static const struct rules *const both[] = {&defaults, &keeping};

    (void)state;
    for (int i = 0; i < 2; i++)
        play(*both[i],
             LINES("1 e k 5 = acquired a 5", "at 5", "deadline = 65", "at 60", "1 gone", "used = 1",
                   "deadline = 65", "1 w k 0 = error_not_enqueued", "at 65", "used = 0"));
}

static void a_disconnect_of_an_unknown_client_does_nothing(void **state)
{
    (void)state;
    play(defaults, LINES("7 gone", "7 gone pending", "1 l k 0 30 = ok a 30", "7 gone", "1 gone",
                         "1 gone", "see lock k = 1 0 0 0 0 0"));
}

static void a_disconnect_grants_in_request_order_among_other_requests(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 sl k 0 2 30 = ok a 30", "1 sl k 0 2 30 = ok b 30", "2 sl k 60 2 30 = pending",
               "3 se k 2 30 = queued", "4 sl k 60 2 30 = pending", "1 gone", "-> 2 ok c 30",
               "3 sw k 0 = ok d 30", "order c d", "2 gone", "-> 4 ok e 30", "order d e"));
}

static void a_disconnect_with_no_steps_does_nothing(void **state)
{
    static struct fixture fixture;
    struct lock_key key;

    (void)state;
    fixture_start(&fixture, &defaults);
    key = fixture_key(&fixture, LOCK_KIND_LOCK, "k");
    assert_int_equal(apply_to_table(&fixture.table, 0, acquire_request(1, &key, 1, 0, 30)).outcome,
                     DFLOCKD_OK);
    assert_false(table_disconnect(&fixture.table, 0, 1, false, &(uint32_t){0}));
    assert_int_equal(apply_to_table(&fixture.table, 0, acquire_request(2, &key, 1, 0, 30)).outcome,
                     DFLOCKD_TIMEOUT);
    assert_true(table_disconnect(&fixture.table, 0, 1, false, &(uint32_t){1}));
    assert_int_equal(apply_to_table(&fixture.table, 0, acquire_request(2, &key, 1, 0, 30)).outcome,
                     DFLOCKD_OK);
    fixture_end(&fixture);
}

/* A disconnect takes at most one call for each claim of the client, plus one. */
static void a_disconnect_takes_time_for_the_claims_of_the_client_only(void **state)
{
    enum {
        OWN = 100
    };
    static struct fixture fixture;
    char name[OWN * 3][8];
    uint32_t calls = 0;

    (void)state;
    fixture_start(&fixture, &defaults);
    for (uint32_t i = 0; i < OWN * 3; i++) {
        struct lock_key key;

        snprintf(name[i], sizeof(name[i]), "k%u", i);
        key = fixture_key(&fixture, LOCK_KIND_LOCK, name[i]);
        assert_int_equal(
            apply_to_table(&fixture.table, 0, acquire_request(i < OWN ? 1 : 2, &key, 1, 0, 30))
                .outcome,
            DFLOCKD_OK);
    }
    while (!table_disconnect(&fixture.table, 0, 1, false, &(uint32_t){1})) {
        calls++;
        fixture_check(&fixture);
    }
    assert_true(calls <= OWN);
    assert_int_equal(fixture.table.tokens.count, OWN * 2);
    fixture_end(&fixture);
}

enum {
    CROWD = 4096,
    CROWD_SHARE = 32 /* most in a bucket; the average is about 1 */
};

static void count_visit(void *context, struct map_link *link)
{
    (void)link;
    ++*(uint32_t *)context;
}

static uint32_t fullest_bucket(const struct map *map)
{
    uint64_t position = 0;
    uint32_t fullest = 0;

    do {
        uint32_t count = 0;

        position = map_walk(map, position, count_visit, &count);
        fullest = count > fullest ? count : fullest;
    } while (position);
    return fullest;
}

/*
 * Without auto-release, the ids of disconnected clients of one connection slot differ in the high
 * bits only. A client can keep leases whose fences differ in the high bits only. Neither may slow
 * down other clients.
 */
static void chosen_ids_and_fences_do_not_share_a_bucket(void **state)
{
    static struct fixture fixture;

    (void)state;
    fixture_start(&fixture, &(struct rules){.states_max = CROWD, .keep_on_disconnect = true});
    for (uint64_t i = 1; i <= CROWD; i++) {
        char name[24];
        struct lock_key key;

        snprintf(name, sizeof(name), "k%llu", (unsigned long long)i);
        key = fixture_key(&fixture, LOCK_KIND_LOCK, name);
        fixture.fence_last = i << 32;
        assert_int_equal(
            apply_to_table(&fixture.table, 0, acquire_request(i << 26, &key, 1, 0, 30)).outcome,
            DFLOCKD_OK);
        assert_true(table_disconnect(&fixture.table, 0, i << 26, false, &(uint32_t){10}));
    }
    fixture_check(&fixture);
    assert_int_equal(fixture.table.clients.count, CROWD);
    assert_in_range(fullest_bucket(&fixture.table.clients), 1, CROWD_SHARE);
    assert_in_range(fullest_bucket(&fixture.table.tokens), 1, CROWD_SHARE);
    fixture_end(&fixture);
}

static void a_client_leaves_all_its_queues_and_keeps_its_leases(void **state)
{
    (void)state;
    play(defaults,
         LINES("1 l j 0 90 = ok a 90", "1 sl k 0 1 90 = ok b 90", "1 l k 0 90 = ok c 90",
               "2 l own 0 90 = ok d 90", "2 e j 30 = queued", "2 e two 30 = acquired e 30",
               "2 se k 1 30 = queued", "2 l k 60 30 = pending", "3 l k 60 30 = pending", "2 leaves",
               "see lock j = 1 1 0 1 90 0", "see lock k = 1 1 1 1 90 0",
               "see semaphore k = 1 1 0 1 90 0", "see lock own = 1 1 0 2 90 0", "2 cancel = no",
               "2 w j 0 = error_not_enqueued", "2 w two 0 = error_not_enqueued", "2 r own d = ok",
               "2 r two e = ok", "1 r k c = ok", "-> 3 ok f 30"));
}

static void a_client_that_leaves_its_queues_gives_up_what_it_has_not_seen(void **state)
{
    (void)state;
    play(defaults, LINES("1 l j 0 90 = ok a 90", "1 l k 0 90 = ok b 90", "2 e j 30 = queued",
                         "2 e k 1 = queued", "3 l j 60 30 = pending", "1 r j a = ok",
                         "1 r k b = ok", "at 2", "see lock j = 1 1 1 2 28 0", "2 leaves",
                         "-> 3 ok e 30", "2 watch = no", "2 w k 0 = error_not_enqueued"));
}

static void a_client_without_leases_is_idle_after_it_leaves_its_queues(void **state)
{
    (void)state;
    play(defaults, LINES("1 l j 0 90 = ok a 90", "2 e j 30 = queued", "2 watch = yes", "2 leaves",
                         "-> 2 idle", "2 watch = no", "2 leaves", "see lock j = 1 1 0 1 90 0"));
}

static void leaving_the_queues_keeps_a_grant_on_its_way(void **state)
{
    (void)state;
    play(defaults, LINES("1 l j 0 90 = ok a 90", "1 l k 0 90 = ok b 90", "2 e j 30 = queued",
                         "2 l k 60 30 = pending", "1 r k b = ok", "-> 2 ok c 30", "2 leaves",
                         "see lock j = 1 1 0 1 90 0", "see lock k = 1 1 0 2 30 0", "2 r k c = ok"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disconnect_releases_and_grants_to_waiters),
        cmocka_unit_test(without_auto_release_held_claims_stay),
        cmocka_unit_test(a_disconnect_always_removes_waiters_and_enqueued_states),
        cmocka_unit_test(a_disconnected_client_does_not_get_the_slots_that_it_frees),
        cmocka_unit_test(a_grant_on_its_way_is_always_released),
        cmocka_unit_test(an_enqueued_grant_on_its_way_is_always_released),
        cmocka_unit_test(a_received_grant_is_kept_without_auto_release),
        cmocka_unit_test(only_the_grant_on_its_way_is_released_without_auto_release),
        cmocka_unit_test(an_earlier_grant_is_kept_if_a_later_wait_is_cancelled),
        cmocka_unit_test(an_earlier_grant_is_kept_if_a_later_grant_is_released),
        cmocka_unit_test(an_unseen_grant_is_released_without_auto_release),
        cmocka_unit_test(a_received_enqueued_grant_is_kept_without_auto_release),
        cmocka_unit_test(a_disconnect_forgets_lost_leases),
        cmocka_unit_test(a_disconnect_of_an_unknown_client_does_nothing),
        cmocka_unit_test(a_disconnect_grants_in_request_order_among_other_requests),
        cmocka_unit_test(a_disconnect_with_no_steps_does_nothing),
        cmocka_unit_test(a_disconnect_takes_time_for_the_claims_of_the_client_only),
        cmocka_unit_test(chosen_ids_and_fences_do_not_share_a_bucket),
        cmocka_unit_test(a_client_leaves_all_its_queues_and_keeps_its_leases),
        cmocka_unit_test(a_client_that_leaves_its_queues_gives_up_what_it_has_not_seen),
        cmocka_unit_test(a_client_without_leases_is_idle_after_it_leaves_its_queues),
        cmocka_unit_test(leaving_the_queues_keeps_a_grant_on_its_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
