/*
 * Mailboxes: messages stay in order despite reservations, and a poster into an empty mailbox must
 * wake the owner.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory_counted.h"
#include "os/mailbox.h"
#include "seeded.h"

enum {
    BATCH = 50,
    MODEL_STEPS = 20000,
    POSTERS = 4,
    ROUNDS = 40,
    PER_ROUND = 100, /* messages of each poster */
    GUARD_SECONDS = 120
};

/* A size that is no power of two. */
struct message {
    uint64_t number;
    uint32_t poster;
    uint8_t filling[12];
};

/* A mailbox that numbers its messages as they are posted. */
struct fixture {
    struct memory_counted memory;
    struct mailbox mailbox;
    uint64_t posted;
    uint64_t taken;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    if (!f)
        return -1;
    memory_counted_init(&f->memory);
    mailbox_init(&f->mailbox, &f->memory.memory, sizeof(struct message));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    mailbox_free(&f->mailbox);
    memory_counted_assert_returned(&f->memory);
    free(f);
    return 0;
}

static struct message message_of(uint64_t number, uint32_t poster)
{
    struct message message = {.number = number, .poster = poster};

    memset(message.filling, (int)(number * 7 + poster), sizeof(message.filling));
    return message;
}

static bool message_whole(const struct message *message)
{
    struct message expected = message_of(message->number, message->poster);

    return memcmp(message, &expected, sizeof(expected)) == 0;
}

static void post_messages(struct fixture *f, uint32_t count)
{
    for (; count > 0; count--) {
        struct message message = message_of(f->posted, 0);
        bool was_empty = f->posted == f->taken;

        assert_int_equal(mailbox_post(&f->mailbox, &message), was_empty);
        f->posted++;
    }
}

/* Takes `most`, at most BATCH, and finds the oldest ones in order. */
static void take_messages(struct fixture *f, uint32_t most)
{
    struct message messages[BATCH];
    uint64_t there = f->posted - f->taken;
    uint32_t count = mailbox_take(&f->mailbox, messages, most);

    assert_int_equal(count, there < most ? there : most);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(messages[i].number, f->taken);
        assert_true(message_whole(&messages[i]));
        f->taken++;
    }
}

static void take_all_messages(struct fixture *f)
{
    while (f->taken < f->posted)
        take_messages(f, BATCH);
}

static void an_empty_mailbox_has_no_messages(void **state)
{
    struct fixture *f = *state;

    take_messages(f, BATCH);
    assert_int_equal(f->memory.calls, 0);
    assert_true(mailbox_reserve(&f->mailbox, 1));
    take_messages(f, BATCH);
}

static void messages_are_taken_in_order_and_up_to_the_limit(void **state)
{
    struct fixture *f = *state;

    assert_true(mailbox_reserve(&f->mailbox, 30));
    post_messages(f, 30);
    take_messages(f, 0);
    take_messages(f, 1);
    take_messages(f, 10);
    post_messages(f, 5);
    take_messages(f, BATCH);
    take_messages(f, BATCH);
    post_messages(f, 1); /* post_messages() checks whether it was empty */
    take_all_messages(f);
}

static void reserved_messages_can_be_posted(void **state)
{
    static const uint32_t counts[] = {1, 2, 63, 64, 65, 127, 128, 129, 1000, 4096};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        assert_true(mailbox_reserve(&f->mailbox, counts[i]));
        post_messages(f, counts[i]);
        take_all_messages(f);
    }
}

static void reserving_keeps_messages_that_wrap_around(void **state)
{
    for (uint32_t turned = 0; turned < 200; turned += 9) {
        struct fixture *f = *state;
        uint32_t capacity;

        assert_true(mailbox_reserve(&f->mailbox, 64));
        for (uint32_t i = 0; i < turned; i++) {
            post_messages(f, 1);
            take_messages(f, 1);
        }
        capacity = f->mailbox.capacity;
        post_messages(f, capacity);
        assert_true(mailbox_reserve(&f->mailbox, capacity + 1));
        post_messages(f, 1);
        take_all_messages(f);
        /* the next one starts small again */
        tear_down(state);
        assert_int_equal(set_up(state), 0);
    }
}

static void reserving_less_room_than_there_is_has_no_effect(void **state)
{
    struct fixture *f = *state;
    uint64_t calls;

    assert_true(mailbox_reserve(&f->mailbox, 500));
    calls = f->memory.calls;
    post_messages(f, 10);
    assert_true(mailbox_reserve(&f->mailbox, 0));
    assert_true(mailbox_reserve(&f->mailbox, 1));
    assert_true(mailbox_reserve(&f->mailbox, 500));
    assert_int_equal(f->memory.calls, calls);
    take_all_messages(f);
}

static void reserving_fails_without_memory_and_keeps_the_messages(void **state)
{
    struct fixture *f = *state;

    f->memory.fail_after = 0;
    assert_false(mailbox_reserve(&f->mailbox, 1));
    f->memory.fail_after = 1;
    assert_true(mailbox_reserve(&f->mailbox, 40));
    post_messages(f, 40);
    assert_false(mailbox_reserve(&f->mailbox, 4000));
    take_messages(f, 10);
    post_messages(f, 10);
    f->memory.fail_after = UINT64_MAX;
    assert_true(mailbox_reserve(&f->mailbox, 4000));
    post_messages(f, 4000 - 40);
    take_all_messages(f);
}

static void posting_and_taking_allocate_no_memory(void **state)
{
    struct fixture *f = *state;
    uint64_t calls;

    assert_true(mailbox_reserve(&f->mailbox, BATCH));
    calls = f->memory.calls;
    for (uint32_t i = 0; i < 100; i++) {
        post_messages(f, BATCH);
        take_all_messages(f);
    }
    assert_int_equal(f->memory.calls, calls);
}

static void random_operations_keep_the_order(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;
    uint32_t reserved = 0;

    seeded_init(&seeded, __func__);
    for (uint32_t step = 0; step < MODEL_STEPS; step++) {
        uint32_t room = reserved - (uint32_t)(f->posted - f->taken);

        if (seeded_below(&seeded, 1000) == 0 && reserved < 2000) {
            reserved += 1 + seeded_below(&seeded, 100);
            assert_true(mailbox_reserve(&f->mailbox, reserved));
        } else if (room > 0 && seeded_below(&seeded, 2)) {
            post_messages(f, 1 + seeded_below(&seeded, room < BATCH ? room : BATCH));
        } else {
            take_messages(f, seeded_below(&seeded, BATCH + 1));
        }
    }
    take_all_messages(f);
    assert_true(f->posted > 0);
}

static void a_message_can_have_any_size(void **state)
{
    static const size_t sizes[] = {1, 3, 8, 40, 200};
    uint8_t in[200];
    uint8_t out[3 * 200];

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct memory_counted memory;
        struct mailbox mailbox;

        memory_counted_init(&memory);
        mailbox_init(&mailbox, &memory.memory, sizes[i]);
        assert_true(mailbox_reserve(&mailbox, 3));
        for (uint32_t number = 1; number <= 3; number++) {
            memset(in, (int)number, sizeof(in));
            mailbox_post(&mailbox, in);
        }
        assert_int_equal(mailbox_take(&mailbox, out, 3), 3);
        for (size_t at = 0; at < 3 * sizes[i]; at++)
            assert_int_equal(out[at], at / sizes[i] + 1);
        mailbox_free(&mailbox);
        memory_counted_assert_returned(&memory);
    }
}

/* ---- several threads ---- */

/*
 * Posters continue as the owner makes room. The owner sleeps until a message arrives in the empty
 * mailbox; without a wake-up, it would sleep forever.
 */
struct crowd {
    struct mailbox *mailbox;
    sem_t wake;
    _Atomic(uint64_t) allowed; /* messages of each poster */
    uint64_t next[POSTERS];    /* number of each one's next message */
    uint32_t wrong;
};

struct poster {
    struct crowd *crowd;
    pthread_t thread;
    uint32_t number;
};

static void *run_poster(void *context)
{
    struct poster *poster = context;
    struct crowd *crowd = poster->crowd;

    for (uint64_t number = 0; number < ROUNDS * PER_ROUND; number++) {
        struct message message = message_of(number, poster->number);

        while (number >= atomic_load(&crowd->allowed))
            sched_yield();
        if (mailbox_post(crowd->mailbox, &message))
            sem_post(&crowd->wake);
    }
    return NULL;
}

static uint32_t owner_take(struct crowd *crowd)
{
    struct message messages[BATCH];
    uint32_t count = mailbox_take(crowd->mailbox, messages, BATCH);

    for (uint32_t i = 0; i < count; i++) {
        const struct message *message = &messages[i];

        if (message->poster >= POSTERS || !message_whole(message) ||
            message->number != crowd->next[message->poster]++)
            crowd->wrong++;
    }
    return count;
}

/* Sleeps and takes until it has all messages of a round. */
static void owner_run_round(struct crowd *crowd, uint64_t *taken, uint64_t due)
{
    while (*taken < due) {
        uint32_t count = owner_take(crowd);

        *taken += count;
        if (count == 0)
            sem_wait(&crowd->wake);
    }
}

static void owner_run(struct crowd *crowd)
{
    uint64_t taken = 0;

    for (uint32_t round = 1; round <= ROUNDS; round++) {
        /* the room grows while posters are at it, and in time */
        assert_true(mailbox_reserve(crowd->mailbox, POSTERS * PER_ROUND * round));
        atomic_store(&crowd->allowed, (uint64_t)round * PER_ROUND);
        owner_run_round(crowd, &taken, (uint64_t)(round - 1) * POSTERS * PER_ROUND);
    }
    owner_run_round(crowd, &taken, (uint64_t)ROUNDS * POSTERS * PER_ROUND);
}

static void messages_of_several_threads_arrive_once_and_in_their_order(void **state)
{
    struct fixture *f = *state;
    struct crowd crowd = {.mailbox = &f->mailbox};
    struct poster posters[POSTERS];

    alarm(GUARD_SECONDS); /* ends the test if no poster wakes the owner */
    assert_int_equal(sem_init(&crowd.wake, 0, 0), 0);
    for (uint32_t i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.crowd = &crowd, .number = i};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, run_poster, &posters[i]), 0);
    }
    owner_run(&crowd);
    for (uint32_t i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    alarm(0);
    assert_int_equal(owner_take(&crowd), 0);
    assert_int_equal(crowd.wrong, 0);
    for (uint32_t i = 0; i < POSTERS; i++)
        assert_int_equal(crowd.next[i], ROUNDS * PER_ROUND);
    sem_destroy(&crowd.wake);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_mailbox_has_no_messages),
        TEST(messages_are_taken_in_order_and_up_to_the_limit),
        TEST(reserved_messages_can_be_posted),
        TEST(reserving_keeps_messages_that_wrap_around),
        TEST(reserving_less_room_than_there_is_has_no_effect),
        TEST(reserving_fails_without_memory_and_keeps_the_messages),
        TEST(posting_and_taking_allocate_no_memory),
        TEST(random_operations_keep_the_order),
        TEST(a_message_can_have_any_size),
        TEST(messages_of_several_threads_arrive_once_and_in_their_order),
    };

    return cmocka_run_group_tests_name("mailbox", tests, NULL, NULL);
}
