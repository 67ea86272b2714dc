/*
 * The lock table when fences run out. Each accepted claim has a promised fence, so that a grant
 * never fails. An unused promise is returned, however the waiter leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "table_fixture.h"

static const struct rules defaults;

enum {
    HOLDER = 1,
    WAITER,
    OTHER
};

static struct fixture fixture;

static void start_table(uint64_t fence_max)
{
    fixture_start(&fixture, &defaults);
    fixture.fence_max = fence_max;
}

static int acquire_key(uint64_t client, const char *name, uint64_t wait_s)
{
    struct lock_key key = fixture_key(&fixture, LOCK_KIND_LOCK, name);
    struct lock_answer answer = apply_to_table(&fixture.table, fixture.now_ns,
                                               acquire_request(client, &key, 1, wait_s, 30));

    fixture_check(&fixture);
    return answer.outcome;
}

static int enqueue_key(uint64_t client, const char *name)
{
    struct lock_key key = fixture_key(&fixture, LOCK_KIND_LOCK, name);
    struct lock_answer answer =
        apply_to_table(&fixture.table, fixture.now_ns, enqueue_request(client, &key, 1, 30));

    fixture_check(&fixture);
    return answer.outcome;
}

static int release_key(const char *name, uint64_t fence)
{
    struct lock_key key = fixture_key(&fixture, LOCK_KIND_LOCK, name);
    struct lock_token token = {.fence = fence, .salt = fixture_salt(fence)};
    int outcome =
        apply_to_table(&fixture.table, fixture.now_ns, release_request(&key, token)).outcome;

    fixture_check(&fixture);
    return outcome;
}

static void without_a_fence_a_request_is_an_error_and_changes_nothing(void **state)
{
    (void)state;
    start_table(1);
    assert_int_equal(acquire_key(HOLDER, "a", 0), DFLOCKD_OK);
    assert_int_equal(acquire_key(OTHER, "b", 0), DFLOCKD_ERROR);
    assert_int_equal(acquire_key(OTHER, "a", 9), DFLOCKD_ERROR);
    assert_int_equal(enqueue_key(OTHER, "a"), DFLOCKD_ERROR);
    assert_int_equal(enqueue_key(OTHER, "b"), DFLOCKD_ERROR);
    assert_int_equal(fixture.table.resources.count, 1);
    assert_int_equal(fixture.table.clients.count, 1);
    assert_int_equal(fixture.table.enqueued.count, 0);
    fixture_end(&fixture);
}

static void requests_that_need_no_fence_work_without_fences(void **state)
{
    struct lock_key key;
    struct lock_key slots;

    (void)state;
    start_table(2);
    key = fixture_key(&fixture, LOCK_KIND_LOCK, "a");
    slots = fixture_key(&fixture, LOCK_KIND_SEMAPHORE, "b");
    assert_int_equal(
        apply_to_table(&fixture.table, 0, acquire_request(OTHER, &slots, 1, 0, 30)).outcome,
        DFLOCKD_OK);
    assert_int_equal(enqueue_key(HOLDER, "a"), DFLOCKD_ACQUIRED);
    assert_int_equal(enqueue_key(HOLDER, "a"), DFLOCKD_ERROR_ALREADY_ENQUEUED);
    assert_int_equal(acquire_key(OTHER, "a", 0), DFLOCKD_TIMEOUT);
    assert_int_equal(
        apply_to_table(&fixture.table, 0, acquire_request(OTHER, &slots, 2, 9, 30)).outcome,
        DFLOCKD_ERROR_LIMIT_MISMATCH);
    assert_int_equal(apply_to_table(&fixture.table, 0, wait_request(HOLDER, &key, 0)).outcome,
                     DFLOCKD_OK);
    assert_int_equal(release_key("a", 2), DFLOCKD_OK);
    fixture_end(&fixture);
}

static void a_queued_waiter_is_granted_although_no_fence_is_left(void **state)
{
    (void)state;
    start_table(2);
    assert_int_equal(acquire_key(HOLDER, "a", 0), DFLOCKD_OK);
    assert_int_equal(acquire_key(WAITER, "a", 9), LOCK_PENDING);
    assert_int_equal(acquire_key(OTHER, "b", 0), DFLOCKD_ERROR);
    assert_int_equal(release_key("a", 1), DFLOCKD_OK);
    assert_int_equal(fixture.effect_count, 1);
    assert_int_equal(fixture.effects[0].answer.outcome, DFLOCKD_OK);
    assert_int_equal(fixture.effects[0].answer.token.fence, 2);
    assert_int_equal(acquire_key(OTHER, "b", 0), DFLOCKD_ERROR);
    fixture_end(&fixture);
}

/* HOLDER has "a". WAITER waits for it with the last fence, and leaves by `leave`. */
static void expect_the_promise_back(void (*leave)(void))
{
    start_table(2);
    assert_int_equal(acquire_key(HOLDER, "a", 0), DFLOCKD_OK);
    assert_int_equal(enqueue_key(WAITER, "a"), DFLOCKD_QUEUED);
    assert_int_equal(acquire_key(OTHER, "b", 0), DFLOCKD_ERROR);
    leave();
    fixture_check(&fixture);
    assert_int_equal(acquire_key(OTHER, "b", 0), DFLOCKD_OK);
    assert_int_equal(acquire_key(OTHER, "c", 0), DFLOCKD_ERROR);
    fixture_end(&fixture);
}

static void wait_enqueued(uint64_t wait_s)
{
    struct lock_key key = fixture_key(&fixture, LOCK_KIND_LOCK, "a");

    assert_int_equal(
        apply_to_table(&fixture.table, fixture.now_ns, wait_request(WAITER, &key, wait_s)).outcome,
        wait_s ? LOCK_PENDING : DFLOCKD_TIMEOUT);
}

static void leave_by_trying(void)
{
    wait_enqueued(0);
}

static void leave_by_time(void)
{
    wait_enqueued(9);
    fixture.now_ns = 9 * FIXTURE_SECOND;
    fixture_expire(&fixture, 1);
}

static void leave_by_cancelling(void)
{
    wait_enqueued(9);
    assert_true(table_cancel(&fixture.table, fixture.now_ns, WAITER));
}

static void leave_by_disconnecting(void)
{
    fixture_disconnect(&fixture, WAITER, false, 1);
}

static void a_waiter_that_leaves_returns_its_promise(void **state)
{
    (void)state;
    expect_the_promise_back(leave_by_trying);
    expect_the_promise_back(leave_by_time);
    expect_the_promise_back(leave_by_cancelling);
    expect_the_promise_back(leave_by_disconnecting);
}

static void a_refused_claim_takes_no_promise(void **state)
{
    const struct rules one_state = {.states_max = 1};

    (void)state;
    fixture_start(&fixture, &one_state);
    fixture.fence_max = 2;
    assert_int_equal(acquire_key(HOLDER, "a", 0), DFLOCKD_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(acquire_key(OTHER, "b", 0), DFLOCKD_ERROR_MAX_LOCKS);
    assert_int_equal(acquire_key(WAITER, "a", 9), LOCK_PENDING);
    fixture_end(&fixture);
}

static void a_table_without_a_limit_takes_no_promise(void **state)
{
    (void)state;
    fixture_start(&fixture, &defaults);
    fixture.table.context.fence_promise = NULL;
    fixture.table.context.fence_return = NULL;
    fixture.promised = 100;
    assert_true(
        apply_to_table(
            &fixture.table, 0,
            acquire_request(HOLDER, &(struct lock_key){.bytes = (const uint8_t *)"a", .length = 1},
                            1, 0, 30))
            .outcome == DFLOCKD_OK);
    assert_int_equal(fixture.promised, 99);
    assert_int_equal(fixture.table.promises, 0);
    fixture.promised = 0;
    fixture_end(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_fence_a_request_is_an_error_and_changes_nothing),
        cmocka_unit_test(requests_that_need_no_fence_work_without_fences),
        cmocka_unit_test(a_queued_waiter_is_granted_although_no_fence_is_left),
        cmocka_unit_test(a_waiter_that_leaves_returns_its_promise),
        cmocka_unit_test(a_refused_claim_takes_no_promise),
        cmocka_unit_test(a_table_without_a_limit_takes_no_promise),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
