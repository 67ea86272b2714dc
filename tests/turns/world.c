#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/time_units.h"
#include "server/log_events.h"
#include "server/turn.h"
#include "steps.h"
#include "world.h"

enum {
    BUFFERS_BYTES = 1 << 30,
    TURN_NS_MAX = 50000,
    PING_TURNS_MAX = 2,
    PING_RARITY = 2, /* one in so many turns */
    TEXT_MAX = 256,
    ROUNDS_MAX = 1000000,
    SHOWN_STEPS = 4, /* a holder or waiter: records, a system call, text */

    /*
     * The bound of a turn: the parts of all phases in server/turn.h, and what phases may exceed
     * theirs by. EFFECTS takes whole batches; the other phases end with one share or system call.
     */
    BOUND_PARTS = 512 + 1024 + 512 + 128 + 2048 + 512,
    BOUND_EXCESS = 32 * TURN_SYSTEM_CALL + TURN_PHASES * (TURN_SHARE_MIN + 3 * TURN_SYSTEM_CALL) +
                   TURN_SHARE_LATER
};

/* The load has many faults of peers; log lines on them would take most of the time. */
void log_event_of_peer(enum log_event event, uint64_t now_ns, const struct log_peer *peer,
                       const char *reason)
{
    (void)event, (void)now_ns, (void)peer, (void)reason;
}

/* ---- a turn ---- */

static void complete_own(void *context, const struct completion *completion)
{
    (void)context;
    (void)completion; /* a wake-up */
}

static void expire_nothing(void *context)
{
    (void)context;
}

static void flush_worker(void *context)
{
    struct turning_worker *worker = context;

    wakeups_send(&worker->wakeups, &worker->connections.context.session.wake,
                 worker->world->now_ns);
    ring_submit(worker->wakeups.ring);
}

/* Effects are not counted besides the sends that they cause. */
static uint64_t steps_in_all(void)
{
    const struct steps *steps = steps_count();

    return steps->requests + steps->claims * TURN_CLAIM + steps->expired + steps->views +
           steps->shown * SHOWN_STEPS + steps->slots + steps->advances +
           simulated_system_calls() * TURN_SYSTEM_CALL;
}

static void check_steps(struct world *world, uint64_t steps, uint64_t receives)
{
    uint64_t bound = BOUND_PARTS + BOUND_EXCESS + receives * TURN_SHARE_MIN;

    if (steps > world->longest)
        world->longest = steps;
    if (steps > bound)
        fail_msg("a turn takes %llu steps, above the bound of %llu", (unsigned long long)steps,
                 (unsigned long long)bound);
}

static void check_pinger(struct turning_worker *worker)
{
    struct pinger *pinger = &worker->pinger;

    if (!pinger->waits)
        return;
    pinger->waits = simulated_replies(pinger->descriptor)->lines == pinger->replies;
    if (pinger->waits && worker->turns - pinger->turn >= PING_TURNS_MAX)
        fail_msg("a ping has no reply after %d turns", PING_TURNS_MAX);
}

static void send_ping(struct turning_worker *worker)
{
    struct pinger *pinger = &worker->pinger;

    if (pinger->waits || seeded_below(&worker->world->random, PING_RARITY) > 0)
        return;
    pinger->waits = true;
    pinger->turn = worker->turns;
    pinger->replies = simulated_replies(pinger->descriptor)->lines;
    world_send(pinger->descriptor, "ping\n\n\n");
    worker->world->pings++;
}

static uint64_t deadline_of(struct turning_worker *worker)
{
    return stripes_sleep(worker->world->stripes, worker->connections.worker,
                         connections_deadline(&worker->connections));
}

/* As worker_run in server/worker.c. */
static void run_turn(struct turning_worker *worker)
{
    const struct connections_hooks hooks = {.complete = complete_own,
                                            .expire = expire_nothing,
                                            .flush = flush_worker,
                                            .context = worker};
    struct world *world = worker->world;
    struct connections *connections = &worker->connections;
    struct session_context *session = &connections->context.session;
    uint64_t steps = steps_in_all();
    uint64_t receives = simulated_receives();

    world->now_ns += 1 + seeded_below(&world->random, TURN_NS_MAX);
    ring_turn(worker->wakeups.ring, 0);
    stripes_awake(world->stripes, connections->worker);
    session->now_ns = world->now_ns;
    worker->busy = connections_turn(connections, &hooks);
    wakeups_send(&worker->wakeups, &session->wake, world->now_ns);
    worker->until_ns = worker->busy ? 0 : deadline_of(worker);
    ring_submit(worker->wakeups.ring);
    worker->turns++;
    check_steps(world, steps_in_all() - steps, simulated_receives() - receives);
    check_pinger(worker);
}

/* ---- all workers ---- */

static bool must_run(const struct turning_worker *worker)
{
    return worker->busy || worker->until_ns <= worker->world->now_ns ||
           simulated_has_completions(worker->wakeups.ring);
}

/* Runs one turn of each worker that has work, in random order. Returns false if none has. */
static bool run_round(struct world *world)
{
    uint32_t first = seeded_below(&world->random, world->worker_count);
    bool ran = false;

    for (uint32_t i = 0; i < world->worker_count; i++) {
        struct turning_worker *worker = &world->workers[(first + i) % world->worker_count];

        if (!must_run(worker) || (ran && seeded_below(&world->random, 4) == 0))
            continue;
        if (world->pinging)
            send_ping(worker);
        run_turn(worker);
        ran = true;
    }
    return ran;
}

/* Silent sends have no completion: what is behind them must not wait for one. */
static void check_silent(const struct list *silent)
{
    const struct list_link *link;

    for (link = list_first(silent); link && link != &silent->head; link = link->next) {
        const struct timeout *write = CONTAINER_OF(link, struct timeout, link);
        const struct transport *transport = CONTAINER_OF(write, struct transport, write);

        assert_true(transport_unsent(transport) <= transport->sent_length);
    }
}

/* All workers sleep: nothing may be left that no deadline brings. */
static void check_asleep(struct world *world)
{
    assert_true(steps_effects_taken());
    for (uint32_t i = 0; i < world->worker_count; i++) {
        const struct connection_context *context = &world->workers[i].connections.context;

        assert_true(list_empty(&context->first));
        assert_true(list_empty(&context->later));
        assert_true(list_empty(&context->starved));
        assert_true(list_empty(&context->denied));
        check_silent(&context->transports.silent);
    }
}

static uint64_t next_deadline(const struct world *world)
{
    uint64_t until_ns = UINT64_MAX;

    for (uint32_t i = 0; i < world->worker_count; i++) {
        if (world->workers[i].until_ns < until_ns)
            until_ns = world->workers[i].until_ns;
    }
    return until_ns;
}

void world_settle(struct world *world)
{
    for (uint32_t i = 0; run_round(world); i++)
        assert_true(i < ROUNDS_MAX);
    check_asleep(world);
}

void world_run(struct world *world, bool (*done)(void *context), void *context)
{
    for (uint32_t i = 0; !done(context); i++) {
        assert_true(i < ROUNDS_MAX);
        if (run_round(world))
            continue;
        check_asleep(world);
        if (next_deadline(world) == UINT64_MAX)
            fail_msg("all workers sleep forever");
        world->now_ns = next_deadline(world);
    }
}

void world_wait(struct world *world, uint64_t duration_ns)
{
    uint64_t end_ns = world->now_ns + duration_ns;

    for (;;) {
        world_settle(world);
        if (next_deadline(world) >= end_ns)
            break;
        world->now_ns = next_deadline(world);
    }
    if (world->now_ns < end_ns)
        world->now_ns = end_ns;
}

/* ---- clients ---- */

int world_connect(struct world *world, uint32_t number)
{
    struct turning_worker *worker = &world->workers[number];
    int descriptor = simulated_connect(worker->wakeups.ring);

    assert_true(connections_open(&worker->connections, descriptor, IP_LIMITS_NONE));
    atomic_fetch_add(&world->open, 1);
    worker->busy = true;
    return descriptor;
}

void world_send(int client, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    assert_true(length >= 0 && length < TEXT_MAX);
    simulated_write(client, text, (size_t)length);
}

void world_ping(struct world *world)
{
    for (uint32_t i = 0; i < world->worker_count; i++) {
        if (world->workers[i].pinger.descriptor < 0)
            world->workers[i].pinger.descriptor = world_connect(world, i);
    }
    world_settle(world);
    world->pinging = true;
}

/* ---- the world ---- */

static void start_worker(struct world *world, uint32_t number, const struct world_setting *setting)
{
    struct turning_worker *worker = &world->workers[number];
    const struct connections_options options = {
        .memory = world->memory.memory,
        .buffers = &world->buffers,
        .ring = simulated_ring(number),
        .buffer_count = SIMULATED_BUFFERS,
        .worker = number,
        .workers = setting->workers,
        .next_id = &world->next_id,
        .open = &world->open,
        .read_timeout_ns = setting->read_timeout_s * NS_PER_S,
        .write_timeout_ns = setting->write_timeout_s * NS_PER_S,
        .session = {.stripes = world->stripes,
                    .default_lease_s = 100000,
                    .connections = &world->open,
                    .peers = world->peers,
                    .metrics = &world->metrics[number],
                    .now_ns = world->now_ns},
    };

    *worker = (struct turning_worker){.world = world, .pinger.descriptor = -1};
    connections_init(&worker->connections, &options);
    wakeups_init(&worker->wakeups, simulated_ring(number), world->rings, number);
    world->rings[number] = (int)number;
}

void world_start(struct world *world, const struct world_setting *setting)
{
    struct stripes_options stripes = {
        .workers = setting->workers,
        .policy = {.gc_max_idle_ns = 60 * NS_PER_S,
                   .gc_interval_ns = 5 * NS_PER_S,
                   .release_on_disconnect = true},
        .states_max = 10000000,
        .fence_first = 1,
    };

    memset(world, 0, sizeof(*world));
    seeded_init(&world->random, "turns");
    memory_counted_init(&world->memory);
    stripes.memory = world->memory.memory;
    budget_init(&world->buffers, &world->memory.memory, BUFFERS_BYTES);
    world->now_ns = NS_PER_S;
    world->worker_count = setting->workers;
    simulated_start(&world->random, setting->workers);
    steps_start();
    world->stripes = stripes_create(&stripes);
    assert_non_null(world->stripes);
    world->peers = peers_create(&world->memory.memory, setting->workers);
    assert_non_null(world->peers);
    for (uint32_t i = 0; i < setting->workers; i++)
        start_worker(world, i, setting);
}

static bool all_is_closed(void *context)
{
    const struct world *world = context;

    for (uint32_t i = 0; i < world->worker_count; i++) {
        if (connections_count(&world->workers[i].connections) > 0)
            return false;
    }
    return true;
}

void world_end(struct world *world, const char *test)
{
    const char *problem = NULL;

    world->pinging = false;
    for (uint32_t i = 0; i < world->worker_count; i++) {
        connections_abort(&world->workers[i].connections);
        world->workers[i].busy = true;
    }
    world_run(world, all_is_closed, world);
    world_settle(world);
    assert_int_equal(atomic_load(&world->open), 0);
    if (!stripes_check(world->stripes, &problem))
        fail_msg("the stripes are not valid: %s", problem);
    for (uint32_t i = 0; i < world->worker_count; i++)
        connections_free(&world->workers[i].connections);
    stripes_destroy(world->stripes);
    peers_destroy(world->peers);
    memory_counted_assert_returned(&world->memory);
    steps_stop();
    simulated_stop();
    fprintf(stderr, "# %s, %u workers: longest turn %llu steps, %llu pings\n", test,
            world->worker_count, (unsigned long long)world->longest,
            (unsigned long long)world->pings);
}
