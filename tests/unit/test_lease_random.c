/*
 * Clients drive their leases against a model of a server in random schedules. Messages are late,
 * connections break, the server pauses, drains and restarts. Each client may pause between two
 * steps for longer than its lease, with a clock that it read before.
 *
 * Safety: two clients never have lease_left_ns above 0 at the same time, and a client that has
 * holds the server's grant.
 *
 * The exception: with auto-release a server releases a grant when the server sees the end of its
 * connection. A client cannot know that before it can see that end too. So a client counts as a
 * holder only until it could see the end of its connection, even if it is paused. In the promised
 * schedules the client can see each end no later than the server. The same holds for a server that
 * forgets its grants in a restart, unless it grants nothing for the longest lease. The schedules
 * outside the promise show ends to the server first, so that holders may overlap. They test only
 * the other rules. LEASE_WATCHED promises nothing, because others renew the lease: it is left out.
 *
 * Liveness: while the server replies in time and clients do not pause, no lease is lost, even if
 * connections break, as long as the server sees the end after `own`.
 *
 * SEED replays a run. EVENTS is the number of steps of all schedules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "client/lease.h"
#include "lease_world.h"

enum {
    CLIENTS_MAX = 4,
    EVENTS_DEFAULT = 1500000,
    EVENTS_OF_SCHEDULE = 3000,
    CALM_BREAK_S = 20
};

enum schedule {
    SCHEDULE_CALM,
    SCHEDULE_PROMISED,
    SCHEDULE_SERVER_FIRST /* outside the promise: the server sees the end of a connection first */
};

/* What a client does next. */
enum phase {
    PHASE_IDLE,
    PHASE_READ,
    PHASE_NEXT,
    PHASE_SEND,
    PHASE_CALLER
};

struct client {
    struct lease lease;
    int link;             /* WORLD_NO_LINK: none */
    uint32_t outstanding; /* requests without a reply */
    enum phase phase;
    struct message request; /* PHASE_SEND */
    uint64_t clock_ns;      /* when it last read the clock */
    uint64_t resume_ns;     /* no step before */
    uint64_t caller_ns;     /* the next call of its program */
    uint64_t lease_s;
    bool asked; /* this step called lease_ask */
};

/* How often each event happened. The test fails if an event never did. */
struct counts {
    uint64_t held;
    uint64_t confirmed;
    uint64_t verified;
    uint64_t lost;
    uint64_t late_replies;
    uint64_t drained;
    uint64_t ended;    /* waits that the client ended */
    uint64_t overlaps; /* outside the promise */
};

struct run {
    struct world world;
    enum schedule schedule;
    struct client clients[CLIENTS_MAX];
    uint32_t client_count;
    uint32_t pause_one_in;
    uint64_t fault_every_ns;
    uint64_t fault_ns;
    struct counts *counts;
};

/* ---- the steps of a client ---- */

static uint64_t random_ns(struct run *run, uint64_t below_ns)
{
    return world_below(&run->world, below_ns);
}

static bool is_over(const struct client *client)
{
    return client->lease.state == LEASE_NONE || client->lease.state == LEASE_LOST;
}

static void client_request(struct client *client, enum message_kind kind)
{
    client->request = (struct message){
        .kind = kind,
        .token = client->lease.fence,
        .lease_s = client->lease_s,
    };
    client->phase = PHASE_SEND;
}

static void client_close(struct run *run, struct client *client)
{
    if (client->link != WORLD_NO_LINK)
        world_close(&run->world, client->link);
    client->link = WORLD_NO_LINK;
    client->outstanding = 0;
}

static bool client_connect(struct run *run, struct client *client)
{
    client_close(run, client);
    client->link = world_connect(&run->world);
    return client->link != WORLD_NO_LINK;
}

static void client_take_reply(struct run *run, struct client *client, const struct message *message)
{
    struct dflockd_reply reply = {
        .status = message->status,
        .fence = message->token,
        .lease_s = message->lease_s,
    };

    client->outstanding--;
    if (message->kind == MESSAGE_RELEASE)
        return;
    snprintf(reply.token, sizeof(reply.token), "%032llx", (unsigned long long)message->token);
    run->counts->late_replies += is_over(client);
    run->counts->drained += message->status == DFLOCKD_STATUS_DRAINING;
    lease_reply(&client->lease, &reply, client->clock_ns);
}

/* One message, or the end of the connection. */
static void client_read(struct run *run, struct client *client)
{
    struct world *world = &run->world;
    struct link *link;

    client->phase = PHASE_NEXT;
    if (client->link == WORLD_NO_LINK || world_readable_ns(world, client->link) > world->now_ns)
        return;
    client->phase = PHASE_READ;
    link = &world->links[client->link];
    if (world_pipe_ready_ns(&link->to_client, link->client_end_ns) <= world->now_ns) {
        struct message message = world_pipe_take(&link->to_client);

        client_take_reply(run, client, &message);
        return;
    }
    client_close(run, client);
    lease_disconnected(&client->lease, DFLOCKD_STATUS_DISCONNECTED, client->clock_ns);
}

static void client_next(struct run *run, struct client *client)
{
    struct lease *lease = &client->lease;

    switch (lease_next(lease, client->clock_ns)) {
    case LEASE_DO_NOTHING:
        assert_true(lease_due_ns(lease) > client->clock_ns);
        if (client->outstanding > 0 && lease->state == LEASE_NONE && !lease->replied) {
            run->counts->ended += lease->why == DFLOCKD_STATUS_TIMED_OUT;
            client_close(run, client);
        }
        client->phase = PHASE_CALLER;
        break;
    case LEASE_SEND_RENEW:
        lease_sent(lease, client->clock_ns);
        client_request(client, MESSAGE_RENEW);
        break;
    case LEASE_SEND_OWN:
        lease_sent(lease, client->clock_ns);
        client_request(client, MESSAGE_OWN);
        break;
    case LEASE_CONNECT:
        lease_sent(lease, client->clock_ns);
        if (client_connect(run, client))
            lease_connected(lease);
        else
            lease_disconnected(lease, DFLOCKD_STATUS_UNREACHABLE, client->clock_ns);
        break;
    }
}

/* Connects again if the old connection may still get a grant. */
static void client_ask(struct run *run, struct client *client)
{
    uint64_t wait_ns = random_ns(run, 20 * NS_PER_S);
    bool clean = client->lease.state == LEASE_NONE &&
                 (client->lease.why == DFLOCKD_STATUS_DONE ||
                  client->lease.why == DFLOCKD_STATUS_TIMED_OUT) &&
                 client->outstanding == 0 && client->link != WORLD_NO_LINK;
    bool queued = client->lease.state == LEASE_QUEUED;
    bool enqueues = !queued && world_chance(&run->world, 4);

    if (!queued && !clean && !client_connect(run, client))
        return;
    client->asked = true;
    lease_ask(&client->lease, enqueues ? 0 : wait_ns, client->clock_ns);
    if (world_chance(&run->world, 2))
        lease_end_wait(&client->lease, client->clock_ns + random_ns(run, wait_ns));
    client_request(client, queued ? MESSAGE_WAIT : enqueues ? MESSAGE_ENQUEUE : MESSAGE_ACQUIRE);
    client->request.wait_ns = wait_ns;
}

/* The program acquires, renews or releases. */
static void client_caller(struct run *run, struct client *client)
{
    client->phase = PHASE_IDLE;
    if (run->world.now_ns < client->caller_ns)
        return;
    client->caller_ns = run->world.now_ns + 1 + random_ns(run, 3 * client->lease_s * NS_PER_S);
    switch (client->lease.state) {
    case LEASE_NONE:
    case LEASE_LOST:
    case LEASE_QUEUED:
        client_ask(run, client);
        break;
    case LEASE_HELD:
    case LEASE_UNVERIFIED:
        if (world_chance(&run->world, 2)) {
            lease_demand(&client->lease);
        } else if (client->lease.state == LEASE_HELD) {
            client_request(client, MESSAGE_RELEASE);
            lease_release(&client->lease);
        }
        break;
    case LEASE_WAITING:
    case LEASE_CONFIRMING:
        if (world_chance(&run->world, 8)) {
            lease_release(&client->lease);
            client_close(run, client);
        }
        break;
    }
}

static void client_send(struct run *run, struct client *client)
{
    client->phase = PHASE_NEXT;
    if (client->link == WORLD_NO_LINK)
        return;
    client->outstanding++;
    world_send(&run->world, client->link, client->request);
}

static uint64_t client_due_ns(const struct run *run, const struct client *client)
{
    uint64_t due_ns = client->caller_ns;

    if (client->phase != PHASE_IDLE)
        return client->resume_ns;
    due_ns = world_min(due_ns, lease_due_ns(&client->lease));
    if (client->link != WORLD_NO_LINK)
        due_ns = world_min(due_ns, world_readable_ns(&run->world, client->link));
    return world_max(client->resume_ns, due_ns);
}

static void count_transition(struct run *run, const struct client *client, enum lease_state before)
{
    enum lease_state after = client->lease.state;

    run->counts->held += before == LEASE_WAITING && after == LEASE_HELD;
    run->counts->confirmed += before == LEASE_CONFIRMING && after == LEASE_HELD;
    run->counts->verified += before == LEASE_UNVERIFIED && after == LEASE_HELD;
    run->counts->lost += before != LEASE_LOST && after == LEASE_LOST;
}

static void client_step(struct run *run, struct client *client)
{
    enum lease_state before = client->lease.state;

    client->asked = false;
    switch (client->phase) {
    case PHASE_IDLE:
        client->clock_ns = run->world.now_ns;
        client->phase = PHASE_READ;
        break;
    case PHASE_READ:
        client_read(run, client);
        break;
    case PHASE_NEXT:
        client_next(run, client);
        break;
    case PHASE_SEND:
        client_send(run, client);
        break;
    case PHASE_CALLER:
        client_caller(run, client);
        break;
    }
    if (before == LEASE_LOST && !client->asked)
        assert_int_equal(client->lease.state, LEASE_LOST);
    if (run->schedule == SCHEDULE_CALM)
        assert_int_not_equal(client->lease.state, LEASE_LOST);
    count_transition(run, client, before);
    client->resume_ns = run->world.now_ns + 1 + random_ns(run, NS_PER_MS);
    if (world_chance(&run->world, run->pause_one_in))
        client->resume_ns += random_ns(run, 3 * client->lease_s * NS_PER_S);
}

/* ---- faults ---- */

/* In promised schedules the client sees the end of a connection no later than the server. */
static void break_link(struct run *run)
{
    struct world *world = &run->world;
    struct client *client = &run->clients[world_below(world, run->client_count)];
    struct link *link;

    if (client->link == WORLD_NO_LINK)
        return;
    link = &world->links[client->link];
    if (run->schedule == SCHEDULE_CALM) {
        link->client_end_ns = world_min(link->client_end_ns, world->now_ns);
        link->server_end_ns = world->now_ns + 3 * NS_PER_S + random_ns(run, 10 * NS_PER_S);
        return;
    }
    link->silent = world_chance(world, 2);
    if (run->schedule == SCHEDULE_SERVER_FIRST && world_chance(world, 2)) {
        link->server_end_ns = world_min(link->server_end_ns, world_delay(world));
        return;
    }
    if (world_chance(world, 4))
        return;
    link->client_end_ns = world_min(link->client_end_ns, world_delay(world));
    if (world_chance(world, 4))
        return;
    link->server_end_ns =
        world_min(link->server_end_ns, link->client_end_ns + random_ns(run, 5 * NS_PER_S));
}

static void cause_fault(struct run *run)
{
    struct world *world = &run->world;

    run->fault_ns = world->now_ns + run->fault_every_ns / 2 + random_ns(run, run->fault_every_ns);
    if (run->schedule == SCHEDULE_CALM || world_chance(world, 2)) {
        break_link(run);
        return;
    }
    if (world->now_ns < world->down_until_ns || world->drained_ns != WORLD_NEVER)
        return;
    world->restart = (enum restart_kind)world_below(world, 3);
    switch (world_below(world, 3)) {
    case 0:
        world->paused_until_ns = world->now_ns + random_ns(run, 5 * NS_PER_S);
        break;
    case 1:
        world_server_drain(world, world->now_ns + random_ns(run, 5 * NS_PER_S));
        break;
    default:
        world_server_restart(world, random_ns(run, 3 * NS_PER_S));
        break;
    }
}

/* ---- the property ---- */

static bool client_holds(const struct run *run, const struct client *client)
{
    const struct world *world = &run->world;

    return lease_left_ns(&client->lease, world->now_ns) > 0 &&
           world->links[client->link].client_end_ns > world->now_ns;
}

static void check_holders(const struct run *run)
{
    const struct world *world = &run->world;
    uint32_t holders = 0;

    for (uint32_t i = 0; i < run->client_count; i++) {
        const struct client *client = &run->clients[i];

        if (!client_holds(run, client))
            continue;
        holders++;
        if (run->schedule != SCHEDULE_SERVER_FIRST)
            assert_true(world->reserved || world->token == client->lease.fence);
    }
    if (run->schedule == SCHEDULE_SERVER_FIRST)
        run->counts->overlaps += holders > 1;
    else
        assert_true(holders <= 1);
}

/* ---- schedules ---- */

static void start_clients(struct run *run)
{
    struct world *world = &run->world;
    bool calm = run->schedule == SCHEDULE_CALM;

    run->client_count = 2 + (uint32_t)world_below(world, CLIENTS_MAX - 1);
    for (uint32_t i = 0; i < run->client_count; i++) {
        struct client *client = &run->clients[i];
        const struct lease_terms terms = {
            .mode = calm || world_chance(world, 2) ? LEASE_RENEWED : LEASE_FIXED,
            .renew_ratio = calm ? 0.5 : 0.1 + 0.1 * (double)world_below(world, 9),
            .connect_timeout_ns = (1 + world_below(world, 5)) * NS_PER_S,
            .reply_timeout_ns = (1 + world_below(world, 5)) * NS_PER_S,
        };

        client->link = WORLD_NO_LINK;
        client->lease_s = calm ? WORLD_LEASE_MAX_S : 1 + world_below(world, WORLD_LEASE_MAX_S);
        client->caller_ns = world->now_ns + random_ns(run, NS_PER_S);
        lease_init(&client->lease, &terms);
    }
}

static void start_run(struct run *run, enum schedule schedule, uint64_t seed)
{
    static const uint64_t delays_ms[] = {1, 50, 500, 2000, 6000};
    static const uint32_t pauses[] = {0, 500, 50, 10};
    struct world *world = &run->world;
    struct counts *counts = run->counts;

    memset(run, 0, sizeof(*run));
    run->counts = counts;
    run->schedule = schedule;
    world_init(world, seed);
    world->delay_max_ns = delays_ms[world_below(world, 5)] * NS_PER_MS;
    world->auto_release = !world_chance(world, 4);
    world->own = world_chance(world, 2) ? OWN_KNOWN : (enum own_support)world_below(world, 3);
    run->pause_one_in = pauses[world_below(world, 4)];
    run->fault_every_ns = (1 + world_below(world, 30)) * NS_PER_S;
    if (schedule == SCHEDULE_CALM) {
        world->delay_max_ns = 50 * NS_PER_MS;
        world->auto_release = true;
        world->own = OWN_KNOWN;
        run->pause_one_in = 0;
        run->fault_every_ns = CALM_BREAK_S * NS_PER_S;
    }
    run->fault_ns = world->now_ns + random_ns(run, run->fault_every_ns);
    start_clients(run);
}

/* Runs the next event. Chooses a random client if several are due. */
static void run_event(struct run *run)
{
    struct world *world = &run->world;
    uint32_t first = (uint32_t)world_below(world, run->client_count);
    struct client *next = NULL;
    uint64_t due_ns = WORLD_NEVER;

    for (uint32_t i = 0; i < run->client_count; i++) {
        struct client *client = &run->clients[(first + i) % run->client_count];

        if (client_due_ns(run, client) < due_ns) {
            next = client;
            due_ns = client_due_ns(run, client);
        }
    }
    if (run->fault_ns <= due_ns && run->fault_ns <= world_server_due_ns(world)) {
        world->now_ns = run->fault_ns;
        cause_fault(run);
    } else if (world_server_due_ns(world) <= due_ns) {
        world->now_ns = world_max(world->now_ns, world_server_due_ns(world));
        world_server_step(world);
    } else {
        world->now_ns = world_max(world->now_ns, due_ns);
        client_step(run, next);
    }
    check_holders(run);
}

/* Runs schedules, each with a random seed. */
static void run_schedules(enum schedule schedule, const char *test, struct counts *counts)
{
    const char *given = getenv("EVENTS");
    uint64_t left = given ? strtoull(given, NULL, 10) : EVENTS_DEFAULT;
    static struct run run;
    struct seeded seeded;

    seeded_init(&seeded, test);
    run.counts = counts;
    while (left > 0) {
        start_run(&run, schedule, seeded_next(&seeded));
        for (uint32_t i = 0; i < EVENTS_OF_SCHEDULE && left > 0; i++, left--) {
            if (run.world.link_count == WORLD_LINKS)
                break;
            run_event(&run);
        }
    }
    print_message("# held %llu, confirmed %llu, verified %llu, lost %llu, late replies %llu, "
                  "drained %llu, ended %llu, overlaps %llu\n",
                  (unsigned long long)counts->held, (unsigned long long)counts->confirmed,
                  (unsigned long long)counts->verified, (unsigned long long)counts->lost,
                  (unsigned long long)counts->late_replies, (unsigned long long)counts->drained,
                  (unsigned long long)counts->ended, (unsigned long long)counts->overlaps);
    if (given)
        return;
    assert_true(counts->held > 0 && counts->verified > 0);
}

static void two_clients_never_hold_one_lock(void **state)
{
    struct counts counts = {.held = 0};

    (void)state;
    run_schedules(SCHEDULE_PROMISED, "two_clients_never_hold_one_lock", &counts);
    if (getenv("EVENTS"))
        return;
    assert_true(counts.confirmed > 0 && counts.lost > 0);
    assert_true(counts.late_replies > 0 && counts.drained > 0 && counts.ended > 0);
}

static void no_lease_is_lost_while_the_server_replies_in_time(void **state)
{
    struct counts counts = {.held = 0};

    (void)state;
    run_schedules(SCHEDULE_CALM, "no_lease_is_lost_while_the_server_replies_in_time", &counts);
}

static void a_lost_lease_stays_lost_outside_the_promise_too(void **state)
{
    struct counts counts = {.held = 0};

    (void)state;
    run_schedules(SCHEDULE_SERVER_FIRST, "a_lost_lease_stays_lost_outside_the_promise_too",
                  &counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_clients_never_hold_one_lock),
        cmocka_unit_test(no_lease_is_lost_while_the_server_replies_in_time),
        cmocka_unit_test(a_lost_lease_stays_lost_outside_the_promise_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
