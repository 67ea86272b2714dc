/*
 * Holders keep their connections while others use all memory for buffers. Two workers share the
 * budget. The test is the kernel: it defines the functions of os/ring.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "memory_counted.h"
#include "seeded.h"
#include "server/connections.h"

enum {
    WORKERS = 2,
    HOLDERS = 24,
    CLIENTS = 1500,
    ALL = HOLDERS + CLIENTS,
    BUFFER_BYTES = 1024 * 1024,
    TURNS = 1000,
    TURN_MS = 5,
    ACTS = 60,                  /* of clients in a turn */
    FIRST_DESCRIPTOR = 1 << 20, /* not a descriptor of the process */
    COMPLETIONS = 8192,
    STEPS = 512, /* expiries in a turn */
    PIECE_MAX = 2048
};

/* The client's end of a connection. */
struct end {
    bool open;   /* for the client */
    bool closed; /* by the server */
    bool reads;
    uint64_t receive; /* tags of pending requests; 0: none */
    uint64_t send;
    uint64_t watch;
    char last_line[64]; /* the last complete or incomplete line */
    uint32_t line_length;
    uint32_t replies;
    /* A holder's renewal: its bytes, how many are sent, and the turns until the rest follows. */
    char renewal[128];
    uint32_t renewal_length;
    uint32_t renewal_sent;
    uint32_t pause;
    uint32_t expected; /* replies */
};

/* A worker's connections and its ring. */
struct ring {
    struct connections connections;
    struct completion completions[COMPLETIONS];
    uint8_t bytes[COMPLETIONS][PIECE_MAX];
    uint32_t first;
    uint32_t count;
};

static struct {
    struct memory_counted memory;
    struct memory_counted buffer_memory;
    struct budget buffers;
    struct secrets secrets;
    struct stripes *stripes;
    struct peers *peers;
    struct metrics_worker metrics[WORKERS];
    struct ring rings[WORKERS];
    struct end ends[ALL];
    _Atomic uint64_t next_id;
    _Atomic uint64_t open;
    uint64_t now_ns;
    size_t squeezed; /* bytes that the test has taken from the buffers */
    struct seeded random;
} world;

static struct ring *ring_of(uint32_t index)
{
    return &world.rings[index % WORKERS];
}

static struct end *end_of(int descriptor)
{
    return &world.ends[descriptor - FIRST_DESCRIPTOR];
}

static void post_completion(struct ring *ring, uint64_t tag, int32_t result, bool more,
                            const void *bytes)
{
    uint32_t place = (ring->first + ring->count++) % COMPLETIONS;

    assert_true(ring->count <= COMPLETIONS);
    if (bytes)
        memcpy(ring->bytes[place], bytes, (size_t)result);
    ring->completions[place] = (struct completion){
        .tag = tag, .result = result, .more = more, .bytes = bytes ? ring->bytes[place] : NULL};
}

static void cancel_request(struct ring *ring, uint64_t *tag)
{
    if (*tag)
        post_completion(ring, *tag, -ECANCELED, false, NULL);
    *tag = 0;
}

static void take_replies(struct end *end, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            end->last_line[end->line_length] = '\0';
            end->line_length = 0;
            end->replies++;
        } else if (end->line_length < sizeof(end->last_line) - 1) {
            end->last_line[end->line_length++] = (char)bytes[i];
        }
    }
}

/* ---- the ring ---- */

void ring_receive(struct ring *ring, int descriptor, uint64_t tag)
{
    (void)ring;
    end_of(descriptor)->receive = tag;
}

void ring_send_now(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                   uint64_t tag)
{
    struct end *end = end_of(descriptor);

    if (end->reads)
        take_replies(end, bytes, length);
    else
        post_completion(ring, tag, -EAGAIN, false, NULL);
}

void ring_send(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
               uint64_t tag)
{
    struct end *end = end_of(descriptor);

    if (end->reads) {
        take_replies(end, bytes, length);
        post_completion(ring, tag, (int32_t)length, false, NULL);
    } else {
        end->send = tag;
    }
}

void ring_watch(struct ring *ring, int descriptor, uint32_t events, uint64_t tag)
{
    (void)ring;
    (void)events;
    end_of(descriptor)->watch = tag;
}

void ring_cancel_counted(struct ring *ring, int descriptor, uint64_t tag)
{
    (void)descriptor;
    post_completion(ring, tag, 0, false, NULL);
}

void ring_cancel_tag(struct ring *ring, uint64_t tag)
{
    for (uint32_t i = 0; i < ALL; i++) {
        struct end *end = &world.ends[i];

        if (end->receive == tag)
            cancel_request(ring, &end->receive);
        if (end->watch == tag)
            cancel_request(ring, &end->watch);
        if (end->send == tag)
            cancel_request(ring, &end->send);
    }
}

void ring_close_descriptor(struct ring *ring, int descriptor)
{
    (void)ring;
    end_of(descriptor)->closed = true;
}

bool ring_next(struct ring *ring, struct completion *completion)
{
    if (ring->count == 0)
        return false;
    *completion = ring->completions[ring->first];
    ring->first = (ring->first + 1) % COMPLETIONS;
    ring->count--;
    return true;
}

uint64_t ring_ahead(const struct ring *ring, uint32_t count)
{
    (void)ring;
    (void)count;
    return 0;
}

void ring_return_buffer(struct ring *ring, uint16_t buffer)
{
    (void)ring;
    (void)buffer;
}

bool ring_settled(const struct ring *ring)
{
    return ring->count == 0;
}

/* ---- the world ---- */

static void open_worker(uint32_t number)
{
    struct ring *ring = &world.rings[number];
    const struct connections_options options = {
        .memory = world.memory.memory,
        .buffers = &world.buffers,
        .ring = ring,
        .buffer_count = 512,
        .worker = number,
        .workers = WORKERS,
        .next_id = &world.next_id,
        .open = &world.open,
        .read_timeout_ns = 60 * NS_PER_S,
        .write_timeout_ns = 60 * NS_PER_S,
        .session = {.stripes = world.stripes,
                    .default_lease_s = 33,
                    .claims_max = UINT32_MAX,
                    .secrets = &world.secrets,
                    .connections = &world.open,
                    .peers = world.peers,
                    .metrics = &world.metrics[number],
                    .now_ns = world.now_ns},
    };

    connections_init(&ring->connections, &options);
}

static void start(const char *name, const char *auth_token)
{
    memset(&world, 0, sizeof(world));
    seeded_init(&world.random, name);
    memory_counted_init(&world.memory);
    memory_counted_init(&world.buffer_memory);
    budget_init(&world.buffers, &world.buffer_memory.memory, BUFFER_BYTES);
    world.now_ns = NS_PER_S;
    secrets_init(&world.secrets, (char *[SECRETS_ROLES]){
                                     [SECRETS_CLIENT] = auth_token ? strdup(auth_token) : NULL,
                                 });
    world.stripes = stripes_create(&(struct stripes_options){
        .workers = WORKERS,
        .memory = world.memory.memory,
        .policy = {.gc_interval_ns = NS_PER_S, .release_on_disconnect = true},
        .states_max = 1 << 20,
        .claims_max = 1 << 20,
        .fence_first = 1,
    });
    assert_non_null(world.stripes);
    world.peers = peers_create(&world.memory.memory, WORKERS);
    assert_non_null(world.peers);
    for (uint32_t i = 0; i < WORKERS; i++)
        open_worker(i);
}

static void expect_no_completion(void *context, const struct completion *completion)
{
    (void)context;
    (void)completion;
    fail();
}

static void do_nothing(void *context)
{
    (void)context;
}

/* Does turns as a worker, until it would sleep. */
static void turn(struct ring *ring)
{
    static const struct connections_hooks hooks = {
        .complete = expect_no_completion, .expire = do_nothing, .flush = do_nothing};

    do
        ring->connections.context.session.now_ns = world.now_ns;
    while (connections_turn(&ring->connections, &hooks) || ring->count > 0);
}

static void turn_all(void)
{
    /* Two rounds, so that effects of one worker reach the other. */
    for (uint32_t i = 0; i < 2 * WORKERS; i++)
        turn(&world.rings[i % WORKERS]);
    world.now_ns += TURN_MS * NS_PER_MS;
}

static void join(uint32_t index)
{
    struct end *end = &world.ends[index];

    *end = (struct end){.open = true, .reads = true};
    assert_true(connections_open(&ring_of(index)->connections, FIRST_DESCRIPTOR + (int)index,
                                 IP_LIMITS_NONE));
}

/* Sends as far as the server receives. Returns the number of bytes sent. */
static uint32_t transmit(uint32_t index, const char *bytes, uint32_t length)
{
    struct end *end = &world.ends[index];
    uint32_t sent = 0;

    while (sent < length && end->receive) {
        uint32_t part = length - sent < PIECE_MAX ? length - sent : PIECE_MAX;

        post_completion(ring_of(index), end->receive, (int32_t)part, true, bytes + sent);
        sent += part;
    }
    return sent;
}

static void transmit_text(uint32_t index, const char *text)
{
    transmit(index, text, (uint32_t)strlen(text));
}

static void hang_up(uint32_t index)
{
    struct end *end = &world.ends[index];

    end->open = false;
    if (end->receive)
        post_completion(ring_of(index), end->receive, 0, false, NULL);
    end->receive = 0;
}

static void finish(void)
{
    for (uint32_t i = 0; i < WORKERS; i++)
        connections_abort(&world.rings[i].connections);
    turn_all();
    for (uint32_t i = 0; i < WORKERS; i++)
        connections_free(&world.rings[i].connections);
    stripes_destroy(world.stripes);
    peers_destroy(world.peers);
    secrets_free(&world.secrets);
    assert_int_equal(atomic_load(&world.buffers.used), 0);
    memory_counted_assert_returned(&world.memory);
    memory_counted_assert_returned(&world.buffer_memory);
}

/* ---- holders ---- */

static void acquire(uint32_t index)
{
    struct end *end = &world.ends[index];
    char text[64];
    char token[40];

    join(index);
    turn_all();
    snprintf(text, sizeof(text), "l\nholder-%u\n0 100000\n", index);
    transmit_text(index, text);
    turn_all();
    assert_int_equal(sscanf(end->last_line, "ok %39s 100000", token), 1);
    snprintf(end->renewal, sizeof(end->renewal), "n\nholder-%u\n%s 100000\n", index, token);
    end->renewal_length = (uint32_t)strlen(end->renewal);
    end->expected = end->replies;
}

static void renew_some(uint32_t index)
{
    struct end *end = &world.ends[index];
    uint32_t left = end->renewal_length - end->renewal_sent;
    uint32_t part = left;

    if (end->pause > 0) {
        end->pause--;
        return;
    }
    if (seeded_below(&world.random, 2) && left > 1) {
        part = 1 + seeded_below(&world.random, left - 1);
        end->pause = seeded_below(&world.random, 4);
    }
    assert_int_equal(transmit(index, end->renewal + end->renewal_sent, part), part);
    end->renewal_sent += part;
    if (end->renewal_sent < end->renewal_length)
        return;
    end->renewal_sent = 0;
    end->expected++;
    end->pause = seeded_below(&world.random, 20);
}

static void check_holder(uint32_t index)
{
    struct end *end = &world.ends[index];

    assert_false(end->closed);
    assert_int_equal(end->replies, end->expected);
    if (end->replies > 1)
        assert_string_equal(end->last_line, "ok 100000");
}

/* ---- others ---- */

static char many[64 * 1024];

/* Fills `many` with requests, and returns their length. */
static uint32_t write_many(const char *first, const char *request)
{
    uint32_t length = (uint32_t)strlen(first);
    uint32_t one = (uint32_t)strlen(request);

    memcpy(many, first, length);
    for (; length + one <= sizeof(many) - 1; length += one)
        memcpy(many + length, request, one);
    return length;
}

/* One act of a client that may do anything except hold a lease when its turn begins. */
static void act(uint32_t index)
{
    struct end *end = &world.ends[index];
    char key[64];

    if (!end->open || end->closed) {
        if (end->closed)
            join(index);
        return;
    }
    snprintf(key, sizeof(key), "l\nheld-%u\n60\n", index % HOLDERS);
    switch (seeded_below(&world.random, 12)) {
    case 0: /* an incomplete request */
        transmit_text(index, "l\nk");
        break;
    case 1: /* a long line */
        memset(many, 'x', sizeof(many));
        memcpy(many, "auth\n_\n", 7);
        transmit(index, many, 1 + seeded_below(&world.random, sizeof(many) - 1));
        break;
    case 2: /* waits, with requests behind that */
        snprintf(key, sizeof(key), "l\nholder-%u\n60\n", index % HOLDERS);
        transmit(index, many, write_many(key, "ping\n_\n\n"));
        break;
    case 3:
        transmit(index, many, write_many("", "ping\n_\n\n"));
        break;
    case 4: /* does not read */
        end->reads = false;
        transmit(index, many, write_many("", "stats\n_\n\n"));
        break;
    case 5:
        hang_up(index);
        break;
    case 6: /* many replies at once */
        snprintf(key, sizeof(key), "l\nholder-%u\n1\n", index % HOLDERS);
        transmit_text(index, key);
        break;
    default:
        transmit_text(index, "ping\n_\n\n");
        break;
    }
}

static void holders_get_all_replies_whatever_others_do(void **state)
{
    (void)state;
    start("holders_get_all_replies_whatever_others_do", NULL);
    for (uint32_t i = 0; i < HOLDERS; i++)
        acquire(i);
    for (uint32_t i = HOLDERS; i < ALL; i++)
        world.ends[i].closed = true;
    for (uint32_t t = 0; t < TURNS; t++) {
        for (uint32_t i = 0; i < ACTS; i++)
            act(HOLDERS + seeded_below(&world.random, CLIENTS));
        for (uint32_t i = 0; i < HOLDERS; i++)
            renew_some(i);
        turn_all();
        for (uint32_t i = 0; i < HOLDERS; i++)
            check_holder(i);
    }
    finish();
}

/* ---- the evictor ---- */

enum {
    RESERVE = BUFFER_BYTES / BUDGET_RESERVE_PARTS,
    GROUP = 64, /* clients of one kind; what they keep fills two chunks of a pool in each worker */
    UNAUTHENTICATED = 0,
    LEASELESS = GROUP,
    HOLDING = 2 * GROUP,
    CROWD = 300 /* an incomplete request or a reply of each fills twice the reserve */
};

/* Connects clients that send the first byte of a request. */
static void join_group(uint32_t first)
{
    for (uint32_t index = first; index < first + GROUP; index++) {
        char text[64];

        join(index);
        turn_all();
        if (first != UNAUTHENTICATED)
            transmit_text(index, "auth\n_\ns3cret\n");
        snprintf(text, sizeof(text), "l\nkey-%u\n0 100000\n", index);
        if (first == HOLDING)
            transmit_text(index, text);
        transmit_text(index, "a");
        turn_all();
    }
}

static uint32_t count_closed(uint32_t first)
{
    uint32_t count = 0;

    for (uint32_t index = first; index < first + GROUP; index++)
        count += world.ends[index].closed;
    return count;
}

/* Takes memory until `left` bytes are left, or returns it. */
static void squeeze(size_t left)
{
    budget_give(&world.buffers, world.squeezed);
    world.squeezed = BUFFER_BYTES - left - atomic_load(&world.buffers.used);
    assert_true(budget_take(&world.buffers, world.squeezed));
}

static void relax(void)
{
    budget_give(&world.buffers, world.squeezed);
    world.squeezed = 0;
}

static void unauthenticated_clients_pay_first_and_holders_last(void **state)
{
    (void)state;
    start("unauthenticated_clients_pay_first_and_holders_last", "s3cret");
    join_group(UNAUTHENTICATED);
    join_group(LEASELESS);
    join_group(HOLDING);
    squeeze(RESERVE);
    turn_all();
    assert_int_equal(count_closed(UNAUTHENTICATED), 0);

    squeeze(RESERVE - 1);
    turn_all(); /* spare chunks suffice */
    assert_int_equal(count_closed(UNAUTHENTICATED), 0);
    squeeze(RESERVE - 1);
    turn_all();
    assert_in_range(count_closed(UNAUTHENTICATED), 1, GROUP - 1);
    assert_int_equal(count_closed(LEASELESS), 0);

    squeeze(RESERVE - 4 * POOL_CHUNK_BYTES);
    turn_all();
    assert_int_equal(count_closed(UNAUTHENTICATED), GROUP);
    assert_in_range(count_closed(LEASELESS), 1, GROUP - 1);

    squeeze(RESERVE / 2);
    turn_all();
    assert_int_equal(count_closed(LEASELESS), GROUP);
    world.now_ns += 2 * NS_PER_S;
    turn_all();
    assert_int_equal(count_closed(HOLDING), 0);

    /* Half of the reserve is used, and their requests are late. */
    squeeze(RESERVE / 2 - 1);
    world.now_ns += NS_PER_S;
    turn_all();
    assert_in_range(count_closed(HOLDING), 1, GROUP - 1);
    relax();
    finish();
}

static void a_holder_may_complete_its_request_in_the_reserve(void **state)
{
    struct end *end = &world.ends[0];

    (void)state;
    start("a_holder_may_complete_its_request_in_the_reserve", NULL);
    acquire(0);
    squeeze(2 * POOL_CHUNK_BYTES); /* a chunk of a pool for its input, and one for the reply */
    for (uint32_t i = 0; i + 1 < end->renewal_length; i++) {
        transmit(0, end->renewal + i, 1);
        turn_all();
        world.now_ns += NS_PER_MS;
    }
    transmit_text(0, "\n");
    turn_all();
    assert_false(end->closed);
    assert_string_equal(end->last_line, "ok 100000");
    relax();
    finish();
}

/* Connects clients of worker 0 that hold nothing. */
static void join_crowd(void)
{
    for (uint32_t i = 1; i <= CROWD; i++)
        join(i * WORKERS);
    turn_all();
}

static void send_by_crowd(const char *text)
{
    for (uint32_t i = 1; i <= CROWD; i++)
        transmit_text(i * WORKERS, text);
}

static void requests_that_begin_at_once_use_none_of_the_reserve(void **state)
{
    struct end *end = &world.ends[0];
    uint64_t calls;

    (void)state;
    start("requests_that_begin_at_once_use_none_of_the_reserve", NULL);
    acquire(0);
    join_crowd();
    squeeze(RESERVE);
    calls = world.buffer_memory.calls;
    send_by_crowd("l");
    turn(&world.rings[0]);
    assert_int_equal(world.buffer_memory.calls, calls);
    transmit(0, end->renewal, 5);
    turn(&world.rings[0]);
    transmit_text(0, end->renewal + 5);
    turn_all();
    assert_string_equal(end->last_line, "ok 100000");
    relax();
    finish();
}

static void waits_that_end_at_once_leave_room_for_a_holder(void **state)
{
    struct end *end = &world.ends[0];

    (void)state;
    start("waits_that_end_at_once_leave_room_for_a_holder", NULL);
    acquire(0);
    join_crowd();
    send_by_crowd("l\nholder-0\n1\n");
    turn_all();
    transmit_text(0, "l\nholder-0\n1\n");
    turn_all();
    squeeze(RESERVE);
    world.now_ns += 2 * NS_PER_S;
    turn_all();
    turn_all();
    assert_string_equal(end->last_line, "timeout");
    relax();
    finish();
}

static void a_late_request_ends_without_another_event(void **state)
{
    const struct connections *connections = &world.rings[0].connections;

    (void)state;
    start("a_late_request_ends_without_another_event", NULL);
    acquire(0);
    transmit(0, world.ends[0].renewal, 5);
    turn_all();
    squeeze(RESERVE / 4);
    turn_all();
    assert_false(world.ends[0].closed);
    for (int i = 0; i < 20 && !world.ends[0].closed; i++) {
        assert_true(connections_deadline(connections) <= world.now_ns + NS_PER_S);
        if (connections_deadline(connections) > world.now_ns)
            world.now_ns = connections_deadline(connections);
        turn(&world.rings[0]);
    }
    assert_true(world.ends[0].closed);
    relax();
    finish();
}

static void a_peer_that_does_not_read_pays_before_other_holders(void **state)
{
    (void)state;
    start("a_peer_that_does_not_read_pays_before_other_holders", NULL);
    acquire(0);
    acquire(2);
    world.ends[0].reads = false;
    transmit(0, many, write_many("", "ping\n_\n\n"));
    transmit_text(2, "pi");
    turn_all();
    assert_false(world.ends[0].closed);
    squeeze(RESERVE - 1);
    turn_all();
    assert_true(world.ends[0].closed);
    assert_false(world.ends[2].closed);
    relax();
    finish();
}

static void other_workers_are_woken_once_to_free_memory(void **state)
{
    struct session_context *context = &world.rings[0].connections.context.session;

    (void)state;
    start("other_workers_are_woken_once_to_free_memory", NULL);
    join(1);
    turn_all();
    transmit_text(1, "p");
    turn_all();
    context->wake = 0;
    squeeze(RESERVE - 1);
    turn(&world.rings[0]);
    assert_int_equal(context->wake, 2);
    assert_false(world.ends[1].closed);
    turn(&world.rings[1]);
    assert_true(world.ends[1].closed);
    context->wake = 0;
    squeeze(RESERVE - 1);
    turn(&world.rings[0]);
    assert_int_equal(context->wake, 0);
    relax();
    finish();
}

static void spare_chunks_are_freed_when_buffers_are_short(void **state)
{
    (void)state;
    start("spare_chunks_are_freed_when_buffers_are_short", NULL);
    join(0);
    turn_all();
    transmit(0, many, write_many("", "ping\n_\n\n"));
    turn_all();
    assert_in_range(atomic_load(&world.buffers.used), POOL_CHUNK_BYTES, BUFFER_BYTES / 2);
    squeeze(RESERVE - 1);
    turn_all();
    assert_int_equal(atomic_load(&world.buffers.used), world.squeezed);
    assert_false(world.ends[0].closed);
    relax();
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holders_get_all_replies_whatever_others_do),
        cmocka_unit_test(unauthenticated_clients_pay_first_and_holders_last),
        cmocka_unit_test(a_holder_may_complete_its_request_in_the_reserve),
        cmocka_unit_test(requests_that_begin_at_once_use_none_of_the_reserve),
        cmocka_unit_test(waits_that_end_at_once_leave_room_for_a_holder),
        cmocka_unit_test(a_late_request_ends_without_another_event),
        cmocka_unit_test(a_peer_that_does_not_read_pays_before_other_holders),
        cmocka_unit_test(other_workers_are_woken_once_to_free_memory),
        cmocka_unit_test(spare_chunks_are_freed_when_buffers_are_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
