/*
 * The ring when the kernel refuses a system call or drops completions. This file replaces
 * liburing's functions that submit and wait, so that a test can make them fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/ring.h"

#define MS UINT64_C(1000000)

enum {
    BUFFERS = 8,
    SUBMISSIONS = 8,
    TAG = 7,
    OTHER_TAG = 9
};

/* Orders to the functions of liburing. */
static int error_next;      /* negative errno of the calls that fail */
static int failures;        /* calls that still fail */
static bool drop_next;      /* the next turn's completions are dropped */
static bool drop_announced; /* the next turn that submits nothing reports it */

static int reports;
static int reported;

static void *find_next(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    assert_non_null(function);
    return function;
}

static bool take_failure(void)
{
    if (failures == 0)
        return false;
    failures--;
    return true;
}

static int drop_completions(struct io_uring *uring, int result)
{
    unsigned count = *uring->cq.ktail - *uring->cq.khead;

    if (drop_next && count > 0) {
        drop_next = false;
        drop_announced = true;
        *uring->cq.khead += count;
        *uring->cq.koverflow += count;
    }
    if (drop_announced && result == 0) {
        drop_announced = false;
        return -EBADR;
    }
    return result;
}

int io_uring_submit_and_wait(struct io_uring *uring, unsigned count)
{
    int (*real)(struct io_uring *, unsigned) =
        (int (*)(struct io_uring *, unsigned))find_next("io_uring_submit_and_wait");

    return take_failure() ? error_next : drop_completions(uring, real(uring, count));
}

int io_uring_submit_and_get_events(struct io_uring *uring)
{
    int (*real)(struct io_uring *) =
        (int (*)(struct io_uring *))find_next("io_uring_submit_and_get_events");

    return take_failure() ? error_next : drop_completions(uring, real(uring));
}

int io_uring_submit(struct io_uring *uring)
{
    int (*real)(struct io_uring *) = (int (*)(struct io_uring *))find_next("io_uring_submit");

    return take_failure() ? error_next : real(uring);
}

static void record_error(void *context, int error)
{
    assert_ptr_equal(context, &reports);
    reports++;
    reported = error;
}

static struct ring *ring;

static int open_ring(void **state)
{
    struct ring_options options = {
        .submissions = SUBMISSIONS,
        .completions = 64,
        .buffers = BUFFERS,
        .buffer_bytes = 64,
        .report = record_error,
        .context = &reports,
    };

    (void)state;
    reports = 0;
    reported = 0;
    return ring_open(&ring, &options);
}

static int close_ring(void **state)
{
    (void)state;
    failures = 0;
    drop_next = false;
    drop_announced = false;
    ring_close(ring);
    return 0;
}

/* Returns the next completion, which must arrive within some turns. */
static struct completion completion_next(void)
{
    struct completion completion;

    for (int i = 0; i < 10; i++) {
        if (ring_next(ring, &completion))
            return completion;
        assert_true(ring_turn(ring, 0));
    }
    fail();
    return completion;
}

static void assert_no_completion(void)
{
    struct completion completion;

    assert_true(ring_turn(ring, 0));
    assert_false(ring_next(ring, &completion));
}

static void test_a_failed_poke_is_reported_by_its_own_tag(void **state)
{
    struct completion completion;

    (void)state;
    ring_poke(ring, -1, OTHER_TAG, TAG);
    completion = completion_next();
    assert_int_equal(completion.tag, TAG);
    assert_int_equal(completion.result, -EBADF);
    assert_no_completion();
}

static void test_a_poke_arrives_and_does_not_complete_in_its_sender(void **state)
{
    struct completion completion;

    (void)state;
    ring_poke(ring, ring_descriptor(ring), OTHER_TAG, TAG);
    completion = completion_next();
    assert_int_equal(completion.tag, OTHER_TAG);
    assert_no_completion();
}

static void test_a_descriptor_that_another_ring_cannot_take_is_returned(void **state)
{
    struct completion completion;

    (void)state;
    ring_hand(ring, -1, 1234, RING_HAND_TAGS - 1);
    ring_turn(ring, 0);
    assert_int_equal(ring_ahead(ring, 0), 0);
    completion = completion_next();
    assert_int_equal(completion.tag, RING_HAND_TAGS - 1);
    assert_int_equal(completion.result, 1234);
    assert_no_completion();
}

static void test_a_refused_turn_is_reported_and_followed_by_a_pause(void **state)
{
    uint64_t begin_ns = clock_monotonic_ns();

    (void)state;
    error_next = -ENOMEM;
    failures = 3;
    ring_poke(ring, ring_descriptor(ring), TAG, 0);
    for (int i = 0; i < 3; i++) {
        assert_true(ring_turn(ring, i == 1 ? UINT64_MAX : 0));
        assert_false(ring_settled(ring));
    }
    assert_int_equal(reports, 3);
    assert_int_equal(reported, -ENOMEM);
    assert_true(clock_monotonic_ns() - begin_ns >= 3 * MS);
    assert_int_equal(completion_next().tag, TAG);
    assert_true(ring_settled(ring));
    assert_int_equal(reports, 3);
}

static void test_a_transient_refusal_is_not_reported(void **state)
{
    static const int errors[] = {-EINTR, -EBUSY, -EAGAIN, -ETIME};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        error_next = errors[i];
        failures = 4;
        while (failures > 0)
            assert_true(ring_turn(ring, 0));
        assert_true(ring_turn(ring, 0));
    }
    assert_int_equal(reports, 0);
}

/* Memory for a request is short: that is EAGAIN too, and may last. */
static void test_a_lasting_transient_refusal_is_reported(void **state)
{
    (void)state;
    error_next = -EAGAIN;
    failures = 40;
    while (failures > 0)
        ring_turn(ring, 0);
    assert_true(reports > 0);
    assert_int_equal(reported, -EAGAIN);
}

static void test_a_full_queue_is_submitted_again_until_the_kernel_takes_it(void **state)
{
    (void)state;
    for (int i = 0; i < SUBMISSIONS; i++)
        ring_poke(ring, ring_descriptor(ring), TAG, 0);
    error_next = -ENOMEM;
    failures = 20;
    ring_poke(ring, ring_descriptor(ring), OTHER_TAG, 0);
    assert_int_equal(failures, 0);
    assert_int_equal(reports, 20);
    for (int i = 0; i < SUBMISSIONS; i++)
        assert_int_equal(completion_next().tag, TAG);
    assert_int_equal(completion_next().tag, OTHER_TAG);
}

static void test_dropped_completions_are_reported_once(void **state)
{
    (void)state;
    ring_poke(ring, ring_descriptor(ring), TAG, 0);
    drop_next = true;
    assert_false(ring_turn(ring, 0));
    assert_true(drop_announced);
    while (drop_announced)
        assert_true(ring_turn(ring, 0));
    assert_no_completion();
    /* And the next time again. */
    ring_poke(ring, ring_descriptor(ring), TAG, 0);
    drop_next = true;
    assert_false(ring_turn(ring, 0));
}

static void test_a_drop_that_only_ebadr_reports_counts(void **state)
{
    (void)state;
    error_next = -EBADR;
    failures = 1;
    assert_false(ring_turn(ring, 0));
    assert_true(ring_turn(ring, 0));
    assert_int_equal(reports, 0);
}

/* The alarm's completion is dropped: later deadlines must end a turn all the same. */
static void test_the_alarm_is_set_again_after_a_drop(void **state)
{
    struct completion completion;
    uint64_t until_ns = clock_monotonic_ns() + 5 * MS;

    (void)state;
    drop_next = true;
    assert_false(ring_turn(ring, until_ns));
    assert_int_equal(ring_alarm(ring), UINT64_MAX);
    for (int i = 0; i < 3; i++) {
        until_ns = clock_monotonic_ns() + 5 * MS;
        while (clock_monotonic_ns() < until_ns) {
            ring_turn(ring, until_ns);
            while (ring_next(ring, &completion))
                assert_int_equal(completion.tag, 0);
        }
    }
}

/* An alarm that is still to come is removed, and its end is not taken for that of the next one. */
static void test_the_completion_of_a_removed_alarm_keeps_the_next_alarm(void **state)
{
    uint64_t far_ns = clock_monotonic_ns() + 100000 * MS;
    struct completion completion;

    (void)state;
    ring_poke(ring, ring_descriptor(ring), TAG, 0);
    ring_turn(ring, far_ns);
    while (ring_next(ring, &completion))
        ;
    assert_int_equal(ring_alarm(ring), far_ns);
    drop_next = true;
    ring_poke(ring, ring_descriptor(ring), TAG, 0);
    assert_false(ring_turn(ring, far_ns));
    ring_poke(ring, ring_descriptor(ring), TAG, 0);
    ring_turn(ring, far_ns + MS);
    for (int i = 0; i < 3; i++) {
        while (ring_next(ring, &completion))
            ;
        ring_turn(ring, 0);
    }
    assert_int_equal(ring_alarm(ring), far_ns + MS);
}

/* What a dropped completion named is there again: all buffers are received into. */
static void test_receive_buffers_survive_a_drop(void **state)
{
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    for (int round = 0; round < 3; round++) {
        struct completion completion;

        for (int i = 0; i < BUFFERS - 1; i++)
            assert_int_equal(write(pair[1], "x", 1), 1);
        drop_next = true;
        ring_receive(ring, pair[0], TAG);
        assert_false(ring_turn(ring, 0));
        ring_cancel_tag(ring, TAG);
        for (int i = 0; i < 3; i++) {
            ring_turn(ring, 0);
            while (ring_next(ring, &completion))
                assert_null(completion.bytes);
        }
    }
    for (int i = 0; i < BUFFERS; i++)
        assert_int_equal(write(pair[1], "x", 1), 1);
    ring_receive(ring, pair[0], OTHER_TAG);
    for (int i = 0; i < BUFFERS; i++) {
        struct completion completion = completion_next();

        assert_int_equal(completion.tag, OTHER_TAG);
        assert_int_equal(completion.result, 1);
        assert_memory_equal(completion.bytes, "x", 1);
    }
    close(pair[0]);
    close(pair[1]);
}

static void test_cancelled_requests_on_a_descriptor_are_counted(void **state)
{
    struct completion completion;
    int pair[2];
    int seen = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ring_receive(ring, pair[0], OTHER_TAG);
    ring_turn(ring, 0);
    ring_cancel_counted(ring, pair[0], TAG);
    for (int i = 0; i < 2; i++) {
        completion = completion_next();
        if (completion.tag == TAG)
            assert_int_equal(completion.result, 1);
        else
            assert_int_equal(completion.result, -ECANCELED);
        seen |= completion.tag == TAG ? 1 : 2;
    }
    assert_int_equal(seen, 3);
    ring_cancel_counted(ring, pair[0], TAG);
    completion = completion_next();
    assert_int_equal(completion.tag, TAG);
    assert_int_equal(completion.result, 0);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_ring, close_ring)
    const struct CMUnitTest tests[] = {
        TEST(test_a_failed_poke_is_reported_by_its_own_tag),
        TEST(test_a_poke_arrives_and_does_not_complete_in_its_sender),
        TEST(test_a_descriptor_that_another_ring_cannot_take_is_returned),
        TEST(test_a_refused_turn_is_reported_and_followed_by_a_pause),
        TEST(test_a_transient_refusal_is_not_reported),
        TEST(test_a_lasting_transient_refusal_is_reported),
        TEST(test_a_full_queue_is_submitted_again_until_the_kernel_takes_it),
        TEST(test_dropped_completions_are_reported_once),
        TEST(test_a_drop_that_only_ebadr_reports_counts),
        TEST(test_the_alarm_is_set_again_after_a_drop),
        TEST(test_the_completion_of_a_removed_alarm_keeps_the_next_alarm),
        TEST(test_receive_buffers_survive_a_drop),
        TEST(test_cancelled_requests_on_a_descriptor_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
