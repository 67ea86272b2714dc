/*
 * Clients move their grants to shared connections against the model of a server in random
 * schedules: as test_lease_random.c, with the code of claim.h and shared.h on connections of the
 * model. Waiting and shared connections break before, while and after `own`.
 *
 * Safety: two clients never have lease_left_ns above 0 at the same time, and a client that has
 * holds the server's grant. A client counts as a holder only until it could see the end of a
 * connection that may own its grant.
 *
 * SEED replays a run. EVENTS is the number of steps of all schedules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lease_world.h"
#include "os/clock.h"

static uint64_t clock_of_the_step(void);
#define clock_boottime_ns clock_of_the_step
/* The clock is a part of the model, so the sources are compiled again for that. */
#include "client/claim.c"
#include "client/claim_text.c"
#include "client/shared.c"

enum {
    CLIENTS_MAX = 3,
    EVENTS_DEFAULT = 600000,
    EVENTS_OF_SCHEDULE = 3000,
    UNSENT_MAX = 32
};

#define PROBE_TOKEN UINT64_MAX /* of no grant */

struct dflockd_connection {
    bool used;
    bool broken;
    int link;
    uint32_t unsent_count;
    struct message unsent[UNSENT_MAX];
};

struct counts {
    uint64_t held;
    uint64_t moved;
    uint64_t refused;
    uint64_t lost_while_moving;
    uint64_t doubted; /* the old connection ended while moving */
    uint64_t verified;
    uint64_t released;
    uint64_t lost;
};

struct client {
    struct claim claim;
    struct servers servers;
    struct extensions extensions;
    struct shared shared;
    struct dflockd_connection *idle;
    bool kept;
    bool runs; /* a step has read the clock */
    uint64_t clock_ns;
    uint64_t resume_ns;
    uint64_t caller_ns;
    uint64_t release_end_ns;
};

static struct {
    struct world world;
    struct client clients[CLIENTS_MAX];
    struct dflockd_connection connections[WORLD_LINKS];
    uint32_t client_count;
    uint32_t pause_one_in;
    uint64_t fault_every_ns;
    uint64_t fault_ns;
    uint64_t clock_ns;
    struct counts counts;
} run;

static struct address server_address;
static struct servers servers = {.addresses = &server_address, .count = 1};

static uint64_t clock_of_the_step(void)
{
    return run.clock_ns;
}

static uint64_t random_ns(uint64_t below_ns)
{
    return world_below(&run.world, below_ns);
}

/* ---- connections ---- */

enum dflockd_status connection_open(struct dflockd_connection **connection,
                                    const struct servers *given, size_t server, bool probe,
                                    char *problem)
{
    int link = world_connect(&run.world);

    if (probe)
        given->extensions[server].survives =
            run.world.own == OWN_CLOSE ? KNOWLEDGE_NO : KNOWLEDGE_YES;
    problem[0] = '\0';
    *connection = NULL;
    if (link == WORLD_NO_LINK)
        return DFLOCKD_STATUS_UNREACHABLE;
    *connection = &run.connections[link];
    **connection = (struct dflockd_connection){.used = true, .link = link};
    return DFLOCKD_STATUS_DONE;
}

void dflockd_connection_close(struct dflockd_connection *connection)
{
    if (!connection)
        return;
    connection->used = false;
    world_close(&run.world, connection->link);
}

enum dflockd_status dflockd_connection_send(struct dflockd_connection *connection,
                                            const struct dflockd_request *request)
{
    static const enum message_kind kinds[DFLOCKD_COMMAND_COUNT] = {
        [DFLOCKD_ACQUIRE] = MESSAGE_ACQUIRE, [DFLOCKD_ENQUEUE] = MESSAGE_ENQUEUE,
        [DFLOCKD_WAIT] = MESSAGE_WAIT,       [DFLOCKD_RENEW] = MESSAGE_RENEW,
        [DFLOCKD_OWN] = MESSAGE_OWN,         [DFLOCKD_RELEASE] = MESSAGE_RELEASE,
    };
    uint64_t token = request->token ? strtoull(request->token, NULL, 16) : 0;

    if (connection->broken)
        return DFLOCKD_STATUS_DISCONNECTED;
    assert_true(connection->unsent_count < UNSENT_MAX);
    connection->unsent[connection->unsent_count++] = (struct message){
        .kind = kinds[request->command],
        .token = token ? token : PROBE_TOKEN,
        .lease_s = request->lease_s,
        .wait_ns = request->timeout_s * NS_PER_S,
    };
    return DFLOCKD_STATUS_DONE;
}

enum dflockd_status dflockd_connection_receive(struct dflockd_connection *connection,
                                               struct dflockd_reply *reply)
{
    struct world *world = &run.world;
    struct link *link = &world->links[connection->link];
    struct message message;

    assert_true(connection->used);
    *reply = (struct dflockd_reply){.status = DFLOCKD_STATUS_DONE};
    if (connection->broken)
        return DFLOCKD_STATUS_DISCONNECTED;
    for (uint32_t i = 0; i < connection->unsent_count; i++)
        world_send(world, connection->link, connection->unsent[i]);
    connection->unsent_count = 0;
    if (world_readable_ns(world, connection->link) > world->now_ns)
        return DFLOCKD_STATUS_AGAIN;
    if (world_pipe_ready_ns(&link->to_client, link->client_end_ns) > world->now_ns) {
        connection->broken = true;
        return DFLOCKD_STATUS_DISCONNECTED;
    }
    message = world_pipe_take(&link->to_client);
    reply->status = message.status;
    reply->fence = message.token;
    reply->lease_s = message.lease_s;
    snprintf(reply->token, sizeof(reply->token), "%032llx", (unsigned long long)message.token);
    return DFLOCKD_STATUS_DONE;
}

int dflockd_connection_descriptor(const struct dflockd_connection *connection)
{
    return connection->link;
}

short dflockd_connection_events(const struct dflockd_connection *connection)
{
    (void)connection;
    return 0;
}

int dflockd_connection_timeout(const struct dflockd_connection *connection)
{
    (void)connection;
    return -1;
}

const char *dflockd_connection_problem(const struct dflockd_connection *connection)
{
    (void)connection;
    return "";
}

const char *dflockd_status_text(enum dflockd_status status)
{
    (void)status;
    return "";
}

/* ---- the steps of a client ---- */

static enum dflockd_status client_connect(void *owner, struct dflockd_connection **connection,
                                          char problem[DFLOCKD_PROBLEM_MAX])
{
    const struct client *client = owner;

    return connection_open(connection, &client->servers, 0, false, problem);
}

static void client_free_connection(struct client *client)
{
    if (!client->claim.connection)
        return;
    dflockd_connection_close(client->idle);
    client->idle = claim_take_connection(&client->claim);
}

static void count_step(const struct claim *claim, enum lease_state state, enum claim_place place)
{
    enum lease_state now = claim->lease.state;

    run.counts.held += state == LEASE_WAITING && now == LEASE_HELD;
    run.counts.moved += place == CLAIM_MOVING && claim->place == CLAIM_SHARED;
    run.counts.refused += place == CLAIM_MOVING && claim->place == CLAIM_APART;
    run.counts.doubted += place == CLAIM_MOVING && state == LEASE_HELD && now == LEASE_UNVERIFIED;
    run.counts.lost += state != LEASE_LOST && now == LEASE_LOST;
    run.counts.lost_while_moving +=
        place == CLAIM_MOVING && state == LEASE_HELD && now == LEASE_LOST;
    run.counts.verified +=
        state == LEASE_UNVERIFIED && now == LEASE_HELD && claim->place == CLAIM_SHARED;
}

static void client_serve(struct client *client)
{
    struct claim *claim = &client->claim;
    enum lease_state state = claim->lease.state;
    enum claim_place place = claim->place;

    claim_step(claim);
    count_step(claim, state, place);
    if (client->kept && claim->lease.state == LEASE_LOST) {
        shared_leave(&client->shared, claim);
        client->kept = false;
    }
    if (!client->kept && claim->lease.state == LEASE_HELD) {
        client->kept = true;
        shared_add(&client->shared, claim);
    }
    if (client->kept)
        shared_move(&client->shared, claim);
    if (claim->place == CLAIM_SHARED)
        client_free_connection(client);
}

static void client_serve_shared(struct client *client)
{
    struct shared *shared = &client->shared;
    enum lease_state state = client->claim.lease.state;
    enum claim_place place = client->claim.place;
    struct claim *claim;

    while (shared_next(shared, &claim) != SHARED_NOTHING || shared->unsent) {
        count_step(&client->claim, state, place);
        client_serve(client);
        state = client->claim.lease.state;
        place = client->claim.place;
    }
}

static void client_ask(struct client *client)
{
    struct claim *claim = &client->claim;
    bool queued = claim->lease.state == LEASE_QUEUED;
    bool enqueues = !queued && world_chance(&run.world, 4);
    uint64_t timeout_ns = (1 + world_below(&run.world, 20)) * NS_PER_S;

    if (!queued && !claim->connection && client->idle) {
        claim_give_connection(claim, client->idle);
        client->idle = NULL;
    }
    if (world_chance(&run.world, 3))
        timeout_ns += random_ns(NS_PER_S);
    claim_ask(claim,
              queued     ? DFLOCKD_WAIT
              : enqueues ? DFLOCKD_ENQUEUE
                         : DFLOCKD_ACQUIRE,
              enqueues ? 0 : timeout_ns);
}

/* Over the shared connection, or by the end of the claim's own connection. */
static void client_release(struct client *client)
{
    struct claim *claim = &client->claim;

    client->kept = false;
    client->release_end_ns = run.clock_ns + claim->terms.reply_timeout_ms * NS_PER_MS;
    if (shared_release(&client->shared, claim))
        return;
    shared_leave(&client->shared, claim);
    claim_close(claim);
}

static void client_end_release(struct client *client)
{
    struct claim *claim = &client->claim;

    if (claim->place == CLAIM_APART || client->kept)
        return;
    if (claim->releasing && run.clock_ns < client->release_end_ns)
        return;
    run.counts.released += !claim->releasing && claim->release_status == DFLOCKD_STATUS_DONE;
    if (claim->releasing || claim->release_status == DFLOCKD_STATUS_DISCONNECTED)
        claim_close(claim);
    shared_leave(&client->shared, claim);
    client_free_connection(client);
}

static void client_call(struct client *client)
{
    struct claim *claim = &client->claim;

    if (run.clock_ns < client->caller_ns)
        return;
    client->caller_ns = run.clock_ns + 1 + random_ns(3 * claim->terms.lease_s * NS_PER_S);
    switch (claim->lease.state) {
    case LEASE_NONE:
    case LEASE_LOST:
    case LEASE_QUEUED:
        if (claim->place == CLAIM_APART)
            client_ask(client);
        break;
    case LEASE_HELD:
    case LEASE_UNVERIFIED:
        if (world_chance(&run.world, 3))
            client_release(client);
        else
            claim_demand(claim, 0);
        break;
    case LEASE_WAITING:
    case LEASE_CONFIRMING:
        if (world_chance(&run.world, 8))
            claim_close(claim);
        break;
    }
}

/* A step reads the clock. It runs later, after a pause, by that reading. */
static void client_step(struct client *client)
{
    if (!client->runs) {
        client->clock_ns = run.world.now_ns;
        client->resume_ns = run.world.now_ns + 1 + random_ns(NS_PER_MS);
        if (world_chance(&run.world, run.pause_one_in))
            client->resume_ns += random_ns(3 * client->claim.terms.lease_s * NS_PER_S);
        client->runs = true;
        return;
    }
    run.clock_ns = client->clock_ns;
    client_serve(client);
    client_serve_shared(client);
    client_call(client);
    client_serve(client);
    client_serve_shared(client);
    client_end_release(client);
    client->runs = false;
    client->resume_ns = run.world.now_ns + 1;
}

static uint64_t client_readable_ns(const struct dflockd_connection *connection)
{
    return connection ? world_readable_ns(&run.world, connection->link) : WORLD_NEVER;
}

static uint64_t client_due_ns(const struct client *client)
{
    uint64_t due_ns = client->caller_ns;

    if (client->runs)
        return client->resume_ns;
    due_ns = world_min(due_ns, claim_due_ns(&client->claim));
    due_ns = world_min(due_ns, shared_due_ns(&client->shared));
    if (client->claim.releasing)
        due_ns = world_min(due_ns, client->release_end_ns);
    due_ns = world_min(due_ns, client_readable_ns(client->claim.connection));
    due_ns = world_min(due_ns, client_readable_ns(client->shared.connection));
    return world_max(client->resume_ns, due_ns);
}

/* ---- faults ---- */

/* The client sees the end of a connection no later than the server. */
static void break_link(void)
{
    struct world *world = &run.world;
    struct client *client = &run.clients[world_below(world, run.client_count)];
    struct dflockd_connection *connection = client->claim.connection;
    struct link *link;

    if (!connection || (client->shared.connection && world_chance(world, 2)))
        connection = client->shared.connection;
    if (!connection)
        return;
    link = &world->links[connection->link];
    link->silent = world_chance(world, 4);
    if (world_chance(world, 8))
        return;
    link->client_end_ns = world_min(link->client_end_ns, world_delay(world));
    if (world_chance(world, 4))
        return;
    link->server_end_ns =
        world_min(link->server_end_ns, link->client_end_ns + random_ns(5 * NS_PER_S));
}

static void cause_fault(void)
{
    struct world *world = &run.world;

    run.fault_ns = world->now_ns + run.fault_every_ns / 2 + random_ns(run.fault_every_ns);
    if (!world_chance(world, 4)) {
        break_link();
        return;
    }
    if (world->now_ns < world->down_until_ns || world->drained_ns != WORLD_NEVER)
        return;
    world->restart = (enum restart_kind)world_below(world, 3);
    switch (world_below(world, 3)) {
    case 0:
        world->paused_until_ns = world->now_ns + random_ns(5 * NS_PER_S);
        break;
    case 1:
        world_server_drain(world, world->now_ns + random_ns(5 * NS_PER_S));
        break;
    default:
        world_server_restart(world, random_ns(3 * NS_PER_S));
        break;
    }
}

/* ---- the property ---- */

/* Returns whether the client could see the end of the connection, but has not seen it yet. */
static bool client_overlooks_end(const struct dflockd_connection *connection)
{
    return connection && !connection->broken &&
           run.world.links[connection->link].client_end_ns <= run.world.now_ns;
}

static bool client_holds(const struct client *client)
{
    const struct claim *claim = &client->claim;

    if (lease_left_ns(&claim->lease, run.world.now_ns) == 0)
        return false;
    if (claim->place != CLAIM_SHARED && client_overlooks_end(claim->connection))
        return false;
    return claim->place == CLAIM_APART || !client_overlooks_end(client->shared.connection);
}

static void check_holders(void)
{
    const struct world *world = &run.world;
    uint32_t holders = 0;

    for (uint32_t i = 0; i < run.client_count; i++) {
        const struct client *client = &run.clients[i];

        if (!client_holds(client))
            continue;
        holders++;
        assert_true(world->reserved || world->token == client->claim.lease.fence);
    }
    assert_true(holders <= 1);
}

/* ---- schedules ---- */

static void start_clients(void)
{
    struct world *world = &run.world;

    run.client_count = 2 + (uint32_t)world_below(world, CLIENTS_MAX - 1);
    servers.connect_timeout_ms = 1000 * (1 + (uint32_t)world_below(world, 5));
    servers.reply_timeout_ms = 1000 * (1 + (uint32_t)world_below(world, 5));
    for (uint32_t i = 0; i < run.client_count; i++) {
        struct client *client = &run.clients[i];

        client->caller_ns = world->now_ns + random_ns(NS_PER_S);
        client->servers = servers;
        client->servers.extensions = &client->extensions;
        shared_init(&client->shared, &client->servers, 0);
        claim_init(&client->claim, &(struct claim_terms){
                                       .key = "key",
                                       .lease_s = 1 + world_below(world, WORLD_LEASE_MAX_S),
                                       .mode = world_chance(world, 4) ? LEASE_FIXED : LEASE_RENEWED,
                                       .renew_ratio = 0.1 + 0.1 * (double)world_below(world, 9),
                                       .connect_timeout_ms = servers.connect_timeout_ms,
                                       .reply_timeout_ms = servers.reply_timeout_ms,
                                       .connect = client_connect,
                                       .owner = client,
                                   });
    }
}

static void start_run(uint64_t seed)
{
    static const uint64_t delays_ms[] = {1, 50, 200, 500, 2000};
    static const uint32_t pauses[] = {0, 500, 50, 10};
    struct world *world = &run.world;
    struct counts counts = run.counts;

    memset(&run, 0, sizeof(run));
    run.counts = counts;
    world_init(world, seed);
    run.clock_ns = world->now_ns;
    world->delay_max_ns = delays_ms[world_below(world, 5)] * NS_PER_MS;
    world->auto_release = !world_chance(world, 4);
    world->own = world_chance(world, 8) ? (enum own_support)world_below(world, 3) : OWN_KNOWN;
    run.pause_one_in = pauses[world_below(world, 4)];
    run.fault_every_ns = (1 + world_below(world, 15)) * NS_PER_S;
    run.fault_ns = world->now_ns + random_ns(run.fault_every_ns);
    start_clients();
}

static void run_event(void)
{
    struct world *world = &run.world;
    uint32_t first = (uint32_t)world_below(world, run.client_count);
    struct client *next = NULL;
    uint64_t due_ns = WORLD_NEVER;

    for (uint32_t i = 0; i < run.client_count; i++) {
        struct client *client = &run.clients[(first + i) % run.client_count];

        run.clock_ns = world->now_ns;
        if (client_due_ns(client) < due_ns) {
            next = client;
            due_ns = client_due_ns(client);
        }
    }
    if (run.fault_ns <= due_ns && run.fault_ns <= world_server_due_ns(world)) {
        world->now_ns = run.fault_ns;
        cause_fault();
    } else if (world_server_due_ns(world) <= due_ns) {
        world->now_ns = world_max(world->now_ns, world_server_due_ns(world));
        world_server_step(world);
    } else {
        world->now_ns = world_max(world->now_ns, due_ns);
        client_step(next);
    }
    check_holders();
}

static void two_clients_never_hold_a_lock_that_moves(void **state)
{
    const char *given = getenv("EVENTS");
    uint64_t left = given ? strtoull(given, NULL, 10) : EVENTS_DEFAULT;
    const struct counts *counts = &run.counts;
    struct seeded seeded;

    (void)state;
    seeded_init(&seeded, "two_clients_never_hold_a_lock_that_moves");
    while (left > 0) {
        start_run(seeded_next(&seeded));
        for (uint32_t i = 0; i < EVENTS_OF_SCHEDULE && left > 0; i++, left--) {
            if (run.world.link_count == WORLD_LINKS)
                break;
            run_event();
        }
    }
    print_message("# held %llu, moved %llu, refused %llu, doubted %llu, lost while moving %llu, "
                  "lost %llu, verified %llu, released %llu\n",
                  (unsigned long long)counts->held, (unsigned long long)counts->moved,
                  (unsigned long long)counts->refused, (unsigned long long)counts->doubted,
                  (unsigned long long)counts->lost_while_moving, (unsigned long long)counts->lost,
                  (unsigned long long)counts->verified, (unsigned long long)counts->released);
    if (given)
        return;
    assert_true(counts->moved > 0 && counts->refused > 0 && counts->doubted > 0);
    assert_true(counts->lost_while_moving > 0 && counts->verified > 0 && counts->released > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_clients_never_hold_a_lock_that_moves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
